"""The callers of methods: peers on the control socket, and requests to ``/rpc``."""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Raw

from trio_socketio.control.tokens import Grant


class Caller(Protocol):
    """Makes a call; a method with a parameter of this type receives its caller."""

    @property
    def grant(self) -> Grant | None:
        """The permissions of the caller now; None if it has given no token that is valid."""

    def authenticate(self, secret: str) -> Grant:
        """Take a token.

        Raises:
            ControlError: there is no such token.
        """

    def connected(self) -> "BackendPeer | None":
        """Return the connection on which the server can call back; None for a request of HTTP.

        Raises:
            ControlError: the connection ends, or has ended.
        """


class BackendPeer(Protocol):
    """A connection on which the server calls methods of a backend."""

    name: str
    """Its name in the log."""

    @property
    def pending(self) -> int:
        """The number of calls that it has not answered yet."""

    def may_be_backend(self) -> bool:
        """Whether it is connected, and may be told of events of clients now."""

    def allows(self, method: str) -> bool:
        """Whether it is connected, and its token allows this method now."""

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have a function called once, when the peer sends nothing more or has gone."""

    def notify(self, message: bytes) -> None:
        """Send a notification that is encoded already. Does nothing once the peer has gone."""

    async def wait_room(self) -> None:
        """Wait until the peer has taken nearly all that was sent to it, or has gone."""

    async def call(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Call a method of the backend, and wait for its result.

        Raises:
            ControlError: the backend has answered with an error, or not in time, or has gone.
        """

    async def ask(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Do the same because of a client that nobody knows yet, within bounds of its own."""
