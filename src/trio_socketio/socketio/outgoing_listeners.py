"""Listeners of what is sent to one socket, whether to it alone or as a broadcast."""

from typing import TYPE_CHECKING, Any, Protocol

from trio.lowlevel import enable_ki_protection

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.interception import Listener

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers


class Reachable(Protocol):
    """The socket, as far as its listeners need it."""

    @property
    def public_id(self) -> str:
        """The name of the socket in the log."""

    @property
    def _is_reachable(self) -> bool:
        """Whether its client knows that it is connected."""


class OutgoingListeners:
    """The listeners of what is sent to one socket.

    Args:
        workers: run the listeners.

    Attributes:
        listeners: in the order in which they are called.
    """

    __slots__ = ("_workers", "listeners")

    def __init__(self, workers: "Workers") -> None:
        self._workers = workers
        self.listeners: list[Listener] = []

    # The program may emit in any of its tasks, where a Ctrl-C would pass for a listener's failure.
    @enable_ki_protection
    def overhear(self, socket: Reachable, arguments: list[Any]) -> None:
        """Tell the listeners what is about to be sent, unless the client is gone."""
        if not socket._is_reachable:
            return
        for listener in tuple(self.listeners):
            try:
                self._workers.run(listener, *arguments)
            except BaseException as error:
                name = f"outgoing listener {function_name(listener)}"
                self._workers.log_failure(name, socket.public_id, error)


def check_outgoing(listener: Listener) -> None:
    """Refuse what cannot be a listener of what is sent.

    Raises:
        LocalProtocolError: it cannot be called with an event, or it is async, for which an emit
            could not wait.
    """
    check_function("outgoing listener", listener, ("name",), more=True)
    if is_async(listener):
        raise LocalProtocolError("an outgoing listener must be a plain function, not async")
