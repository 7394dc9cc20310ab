"""Whether the program is ready for clients, and if not, why."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

Check = Callable[[], str]
"""Returns why the program is not ready, in plain words; empty text if it is ready."""

_WORDS: Final = {
    "idle": "not serving: the server has not started yet, or has ended",
    "starting": "starting: the app and its adapters are not ready yet",
    "serving": "",
    "stopping": "draining: the server is stopping, and clients should go elsewhere",
}


class Health:
    """Asks every check whether the program is ready. Without checks, it is starting."""

    def __init__(self) -> None:
        self._checks: list[Check] = []
        self._notes: list[Check] = []

    def add(self, check: Check) -> None:
        """Add a check."""
        self._checks.append(check)

    def add_note(self, check: Check) -> None:
        """Add a check that leaves the program ready; what it returns is shown below "ready"."""
        self._notes.append(check)

    def notes(self) -> list[str]:
        """Return what is wrong although the program is ready."""
        return [note for check in self._notes if (note := check())]

    def reasons(self) -> list[str]:
        """Return the reasons why the program is not ready; none if it is ready."""
        if not self._checks:
            return ["starting: no server has started yet"]
        return [reason for check in self._checks if (reason := check())]


def check_server(server: "Server") -> Check:
    """Return the check of a server, which is ready from its start until it is told to stop.

    A server that drains is therefore not ready although it still accepts clients (OPS-30).
    """
    return lambda: _WORDS[server.state]
