"""The control socket: its server, and its clients for trio and for threads.

The public names, nothing else.
"""

from typing import TYPE_CHECKING, Final

from trio_socketio.lazy_names import lazy_names

if TYPE_CHECKING:
    from trio_socketio.control.api import Authentication, BackendEvent, Greeting
    from trio_socketio.control.client import Control, open_control
    from trio_socketio.control.options import (
        BackendOptions,
        ControlOptions,
        ControlToken,
        ForwardedEvents,
    )
    from trio_socketio.control.presence_client import PresenceBatches, follow_presence
    from trio_socketio.control.presence_following import PresenceBatch
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
    "PresenceBatch",
    "PresenceBatches",
    "Reloaded",
    "System",
    "SystemInfo",
    "TokenTable",
    "follow_presence",
    "open_control",
]

# A name is imported when it is first used, so that `trio-socketio ctl` and the client for threads
# start without importing a server. Each name is listed with its module.
_HOMES: Final = {
    "Authentication": "control.api",
    "BackendEvent": "control.api",
    "BackendOptions": "control.options",
    "Control": "control.client",
    "ControlClient": "control.sync_client",
    "ControlError": "errors",
    "ControlOptions": "control.options",
    "ControlService": "control.service",
    "ControlStatistics": "control.service",
    "ControlToken": "control.options",
    "ForwardedEvents": "control.options",
    "Greeting": "control.api",
    "PresenceBatch": "control.presence_following",
    "PresenceBatches": "control.presence_client",
    "Reloaded": "control.system",
    "System": "control.system",
    "SystemInfo": "control.system",
    "TokenTable": "control.tokens",
    "follow_presence": "control.presence_client",
    "open_control": "control.client",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
