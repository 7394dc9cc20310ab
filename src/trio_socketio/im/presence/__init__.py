"""Who is online, exactly and in order: seats for clients, and the log of who comes and goes."""

from trio_socketio.im.presence.hook_options import PresenceWebhookOptions
from trio_socketio.im.presence.memory import MemoryStore
from trio_socketio.im.presence.options import NamespaceSeats, PresenceOptions
from trio_socketio.im.presence.seat_options import SeatOptions
from trio_socketio.im.presence.service import (
    KickResult,
    Presence,
    PresenceStatistics,
    presence_of,
)
from trio_socketio.im.presence.store import AtOnce, PresenceStore, StoreUnavailable
from trio_socketio.im.presence.webhook import PresenceWebhook, WebhookStatistics
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import (
    CursorExpired,
    Entries,
    Entry,
    GenerationChanged,
)

__all__ = [
    "AtOnce",
    "Cursor",
    "CursorExpired",
    "Entries",
    "Entry",
    "GenerationChanged",
    "KickResult",
    "MemoryStore",
    "NamespaceSeats",
    "Presence",
    "PresenceOptions",
    "PresenceStatistics",
    "PresenceStore",
    "PresenceWebhook",
    "PresenceWebhookOptions",
    "SeatOptions",
    "StoreUnavailable",
    "WebhookStatistics",
    "parse_cursor",
    "presence_of",
]
