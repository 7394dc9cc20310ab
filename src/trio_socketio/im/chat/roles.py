"""What chat events need of others: permission to do what clients ask, and confirmed delivery."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from trio_socketio.socketio.socket import Socket


class Denial(Protocol):
    """Why a client may not do something."""

    @property
    def reason(self) -> str:
        """Names the reason in metrics."""

    @property
    def message(self) -> str:
        """What the client is told."""

    @property
    def retry_after_s(self) -> float | None:
        """When it may be tried again, in seconds from now; None if retrying cannot help."""


class Permits(Protocol):
    """Says what clients may do. None means that they may."""

    def may_join(self, socket: Socket, room: str) -> Denial | None:
        """Whether a client may join a room."""

    def may_send(self, socket: Socket, room: str) -> Denial | None:
        """Whether a client may send to a room, now."""

    def may_send_to_user(self, socket: Socket, user: str) -> Denial | None:
        """Whether a client may send to a user, now."""


class ToConfirm(NamedTuple):
    """A message whose delivery has to be confirmed.

    Args:
        namespace: of the receivers.
        event: its name.
        message: the argument of the event; its id names the delivery.
        users: whom it is for.
        rooms: for whose users it is.
        sender: the user who sends it; None if nothing has established that.
    """

    namespace: str
    event: str
    message: dict[str, Any]
    users: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    sender: str | None = None


Confirm = Callable[[Sequence[ToConfirm], list[str]], Awaitable[object]]
"""Accepts the messages of an event for confirmed delivery, and appends the ids of those that it has
accepted to a list. It raises ControlError if one cannot be accepted, and accepts none of them if
that can be known beforehand."""
