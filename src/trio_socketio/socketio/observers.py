"""Those who see sockets come and go, at the moment itself."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.errors import ConnectRefused
    from trio_socketio.runtime.jobs import Workers


class Observing(Protocol):
    """See Observer, which programs derive from."""

    def joined(self, socket: Any) -> None:
        """See Observer."""

    def left(self, socket: Any, reason: str, recoverable: bool) -> None:
        """See Observer."""

    def refused(self, joining: Any, error: "ConnectRefused") -> None:
        """See Observer."""

    def abandoned(self, joining: Any) -> None:
        """See Observer."""


class Observers:
    """The observers of one namespace.

    Attributes:
        all: the observers, in the order in which they are told.
    """

    __slots__ = ("_workers", "all")

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self.all: tuple[Observing, ...] = ()

    def add(self, observers: "Iterable[Observing]") -> None:
        """Tell these too, from now on."""
        self.all = (*self.all, *observers)

    def joined(self, socket: Any) -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.joined(socket)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def left(self, socket: Any, reason: str, recoverable: bool) -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.left(socket, reason, recoverable)
            except BaseException as error:
                self._log(observer, socket.public_id, error)

    def refused(self, joining: Any, error: "ConnectRefused") -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.refused(joining, error)
            except BaseException as fault:
                self._log(observer, joining.name, fault)

    def abandoned(self, joining: Any) -> None:
        """See Observer."""
        for observer in self.all:
            try:
                observer.abandoned(joining)
            except BaseException as error:
                self._log(observer, joining.name, error)

    def _log(self, observer: Observing, whom: str, error: BaseException) -> None:
        self._workers.log_failure(f"observer {type(observer).__qualname__}", whom, error)
