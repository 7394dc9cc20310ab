"""Tells observers of sockets that come and go, at the moment itself."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.errors import ConnectRefused
    from trio_socketio.runtime.jobs import Workers


class Observing(Protocol):
    """The interface of observers; programs derive from Observer, which has the contracts."""

    def joined(self, socket: Any) -> None:
        """A socket is in its namespace."""

    def left(self, socket: Any, reason: str, recoverable: bool) -> None:
        """A socket has left its rooms."""

    def refused(self, joining: Any, error: "ConnectRefused") -> None:
        """A client that wanted to join was turned away."""

    def abandoned(self, joining: Any) -> None:
        """A client that wanted to join has left, or the server stops."""


class Observers:
    """The observers of one namespace. One that raises is logged, and affects no other (JOIN-17).

    Attributes:
        all: the observers, in the order in which they are told.
    """

    __slots__ = ("_workers", "all")

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self.all: tuple[Observing, ...] = ()

    def add(self, observers: "Iterable[Observing]") -> None:
        """Tell these observers too, from now on."""
        self.all = (*self.all, *observers)

    def joined(self, socket: Any) -> None:
        """Tell that a socket is in its namespace."""
        for observer in self.all:
            try:
                observer.joined(socket)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def left(self, socket: Any, reason: str, recoverable: bool) -> None:
        """Tell that a socket has left its rooms."""
        for observer in self.all:
            try:
                observer.left(socket, reason, recoverable)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def refused(self, joining: Any, error: "ConnectRefused") -> None:
        """Tell that a client was turned away."""
        for observer in self.all:
            try:
                observer.refused(joining, error)
            except BaseException as fault:
                self._log(observer, joining.name, fault)

    def abandoned(self, joining: Any) -> None:
        """Tell that a client has left before it joined, or that the server stops."""
        for observer in self.all:
            try:
                observer.abandoned(joining)
            except BaseException as error:
                self._log(observer, joining.name, error)

    def _log(self, observer: Observing, whom: str, error: BaseException) -> None:
        self._workers.log_failure(f"observer {type(observer).__qualname__}", whom, error)
