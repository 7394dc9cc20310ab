"""Chat events: clients join rooms, and send messages to rooms, to users and to everybody."""

from trio_socketio.im.chat.options import ChatOptions
from trio_socketio.im.chat.refusals import Refused
from trio_socketio.im.chat.roles import Confirm, Denial, Permits, ToConfirm
from trio_socketio.im.chat.service import Chat, ChatStatistics

__all__ = [
    "Chat",
    "ChatOptions",
    "ChatStatistics",
    "Confirm",
    "Denial",
    "Permits",
    "Refused",
    "ToConfirm",
]
