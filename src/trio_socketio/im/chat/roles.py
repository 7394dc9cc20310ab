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

    @property
    def number(self) -> int | None:
        """Which of several rooms or users it is about; None for all of them together."""


class Permits(Protocol):
    """Says what clients may do, by the event that asks for it. None means that they may."""

    def may_join(self, socket: Socket, event: str, rooms: Sequence[str]) -> Denial | None:
        """Whether a client may join all of these rooms, now."""

    def may_send(self, socket: Socket, event: str, rooms: Sequence[str]) -> Denial | None:
        """Whether a client may send a message to each of these rooms, now."""

    def may_send_to_users(self, socket: Socket, event: str, users: Sequence[str]) -> Denial | None:
        """Whether a client may send a message to each of these users, now."""


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
