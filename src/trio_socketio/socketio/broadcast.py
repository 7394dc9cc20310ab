"""Whom to emit to: an immutable chain, each step a new one."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.socketio.adapter import Target

if TYPE_CHECKING:
    from trio_socketio.socketio.adapter import Adapter


class Broadcast:
    """A choice of sockets of one namespace."""

    __slots__ = ("_adapter", "_target")

    def __init__(self, adapter: "Adapter", target: Target) -> None:
        self._adapter = adapter
        self._target = target

    def to(self, rooms: str | Iterable[str]) -> "Broadcast":
        """Also the sockets in rooms."""
        return self._with(rooms=(*self._target.rooms, *_names(rooms)))

    in_ = to

    def except_(self, rooms: str | Iterable[str]) -> "Broadcast":
        """But not the sockets in rooms."""
        return self._with(excluded=(*self._target.excluded, *_names(rooms)))

    @property
    def volatile(self) -> "Broadcast":
        """Drop the event for those who cannot take it at once."""
        return self._with(volatile=True)

    @property
    def local(self) -> "Broadcast":
        """This node's sockets only."""
        return self._with(local=True)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to each chosen socket once.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        check_event(event)
        self._adapter.broadcast([event, *arguments], self._target)

    def _with(self, **changes: Any) -> "Broadcast":
        return Broadcast(self._adapter, replace(self._target, **changes))


def _names(rooms: str | Iterable[str]) -> Iterable[str]:
    return (rooms,) if isinstance(rooms, str) else rooms


def check_event(event: str) -> None:
    """Refuse names that mean something else on the other side, and what is no name at all.

    Raises:
        LocalProtocolError: it is one of them.
    """
    if not isinstance(event, str):  # official clients hang up on it
        raise LocalProtocolError(f"an event's name is text, not {event!r}")
    if event in RESERVED_EVENTS:
        raise LocalProtocolError(f"the event name {event!r} is reserved")
