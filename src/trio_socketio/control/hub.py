"""The parts that all peers and requests of a control service share."""

from dataclasses import dataclass

from trio_socketio.control.access import Access
from trio_socketio.control.api import API_VERSION, Greeting
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.system import System


@dataclass(frozen=True, slots=True)
class Hub:
    """The parts that all peers and requests share.

    Args:
        system: the program around the server.
        options: the bounds.
        access: says what callers may do.
        dispatcher: the methods.
    """

    system: System
    options: ControlOptions
    access: Access
    dispatcher: Dispatcher

    def greeting(self, *, needs_token: bool) -> Greeting:
        """Return the greeting for a new peer (CONTROL-06)."""
        info = self.system.info()
        return Greeting(
            api=API_VERSION,
            server=f"trio-socketio {info.version}",
            node=info.node,
            needs_token=needs_token,
            max_line_bytes=self.options.max_line_bytes,
            max_batch=self.options.max_batch,
        )
