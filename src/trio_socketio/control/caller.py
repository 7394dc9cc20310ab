"""Whoever calls a method: a peer on the control socket, or a request to ``/rpc``."""

from typing import Any, Protocol

from msgspec import Raw

from trio_socketio.control.tokens import Grant


class Caller(Protocol):
    """A method that has a parameter of this type is given its caller."""

    @property
    def grant(self) -> Grant | None:
        """What the caller may do; None before it has given a token."""

    def authenticate(self, secret: str) -> Grant:
        """Take a token.

        Raises:
            ControlError: there is no such token.
        """

    def connected(self) -> "BackendPeer | None":
        """Return the connection on which the server can call back; None for a request of HTTP."""


class BackendPeer(Protocol):
    """A connection on which the server calls methods of a backend."""

    name: str
    """What the log calls it."""

    @property
    def pending(self) -> int:
        """How many calls it has not answered yet."""

    async def call(self, method: str, params: Any, timeout_s: float) -> Raw:
        """Call a method of the backend, and wait for its result.

        Raises:
            ControlError: the backend has answered with an error, or not in time, or has gone.
        """

    def close(self, reason: str) -> None:
        """Close the connection."""
