"""Those who see sockets come and go, at the moment itself."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.errors import ConnectRefused
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket


class Observer:
    """Override what is of interest. The methods are plain, and are called inside the server's turn.

    Every socket is told about with `joined` and later `left`, each once, or else with `refused` or
    `abandoned`, once.
    """

    def joined(self, socket: "Socket") -> None:
        """A socket is in its namespace; its "connection" handler has not been called yet."""

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        """A socket has left its rooms; handlers of earlier events may still be at work.

        Args:
            socket: still knows the rooms that it was in.
            reason: of its disconnect.
            recoverable: whether its client may come back to the same id.
        """

    def refused(self, joining: "Joining", error: "ConnectRefused") -> None:
        """A client that wanted to join was turned away."""

    def abandoned(self, joining: "Joining") -> None:
        """A client that wanted to join has left, or the server stops."""


class Observers:
    """The observers of one namespace.

    Attributes:
        all: the observers, in the order in which they are told.
    """

    __slots__ = ("_workers", "all")

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self.all: tuple[Observer, ...] = ()

    def add(self, observers: "Iterable[Observer]") -> None:
        """Tell these too, from now on."""
        self.all = (*self.all, *observers)

    def joined(self, socket: "Socket") -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.joined(socket)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.left(socket, reason, recoverable)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def refused(self, joining: "Joining", error: "ConnectRefused") -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.refused(joining, error)
            except BaseException as fault:
                self._log(observer, joining.name, fault)

    def abandoned(self, joining: "Joining") -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.abandoned(joining)
            except BaseException as error:
                self._log(observer, joining.name, error)

    def _log(self, observer: Observer, whom: str, error: BaseException) -> None:
        self._workers.log_failure(f"observer {type(observer).__qualname__}", whom, error)
