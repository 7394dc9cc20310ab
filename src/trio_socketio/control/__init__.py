"""The control socket: its server, and its clients for trio and for threads.

The public names, nothing else.
"""

from trio_socketio.control.api import Authentication, BackendEvent, Greeting
from trio_socketio.control.client import Control, open_control
from trio_socketio.control.options import (
    BackendOptions,
    ControlOptions,
    ControlToken,
    ForwardedEvents,
)
from trio_socketio.control.service import ControlService, ControlStatistics
from trio_socketio.control.sync_client import ControlClient
from trio_socketio.control.system import Reloaded, System, SystemInfo
from trio_socketio.control.tokens import TokenTable
from trio_socketio.errors import ControlError

__all__ = [
    "Authentication",
    "BackendEvent",
    "BackendOptions",
    "Control",
    "ControlClient",
    "ControlError",
    "ControlOptions",
    "ControlService",
    "ControlStatistics",
    "ControlToken",
    "ForwardedEvents",
    "Greeting",
    "Reloaded",
    "System",
    "SystemInfo",
    "TokenTable",
    "open_control",
]
