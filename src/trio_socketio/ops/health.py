"""Whether the program is ready for clients, and if not, why."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

Check = Callable[[], str]
"""Returns why the program is not ready, in words for a person; empty text if it is."""

_WORDS: Final = {
    "idle": "not serving: the server has not started yet, or has ended",
    "starting": "starting: the app and its adapters are not ready yet",
    "serving": "",
    "stopping": "draining: the server is stopping, and clients should go elsewhere",
}


class Health:
    """Asks every check whether the program is ready. Without any, it is starting."""

    def __init__(self) -> None:
        self._checks: list[Check] = []

    def add(self, check: Check) -> None:
        """Ask this check too."""
        self._checks.append(check)

    def reasons(self) -> list[str]:
        """Return why the program is not ready; nothing if it is."""
        if not self._checks:
            return ["starting: nothing serves yet"]
        return [reason for check in self._checks if (reason := check())]


def check_server(server: "Server") -> Check:
    """Return the check of a server, which is ready from its start until it is told to stop.

    So a server that drains is not ready while it still accepts clients (OPS-30).
    """
    return lambda: _WORDS[server.state]
