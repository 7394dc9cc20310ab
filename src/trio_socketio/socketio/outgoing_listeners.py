"""Listeners of what is sent to one socket, whether it is sent to it alone or broadcast."""

from typing import TYPE_CHECKING, Any, Protocol

from trio.lowlevel import enable_ki_protection

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.interception import Listener

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers


class Reachable(Protocol):
    """A socket."""

    @property
    def id(self) -> str:
        """See Socket."""

    @property
    def _is_reachable(self) -> bool:
        """See Socket."""


class OutgoingListeners:
    """The listeners of what is sent to one socket.

    Args:
        workers: run them.

    Attributes:
        listeners: in the order in which they are called.
    """

    __slots__ = ("_workers", "listeners")

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self.listeners: list[Listener] = []

    @enable_ki_protection  # the program may emit in any task: Ctrl-C is not a listener's failure
    def overhear(self, socket: Reachable, arguments: list[Any]) -> None:
        """Tell the listeners what is about to be sent; nothing is, to one who is gone."""
        if not socket._is_reachable:
            return
        for listener in tuple(self.listeners):
            try:
                self._workers.run(listener, *arguments)
            except BaseException as error:
                name = f"outgoing listener {function_name(listener)}"
                self._workers.log_failure(name, socket.id, error)


def check_outgoing(listener: Listener) -> None:
    """Refuse what cannot listen.

    Raises:
        LocalProtocolError: it cannot be called with an event, or it is async, and an emit cannot
            wait for it.
    """
    check_function("outgoing listener", listener, ("name",), more=True)
    if is_async(listener):
        raise LocalProtocolError("a listener of what is sent is a plain function")
