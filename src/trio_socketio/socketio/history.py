"""Remembers the namespaces that a session has left, and those that it has brought into being."""

from typing import TYPE_CHECKING, Any
from weakref import ref

from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.codec.socket_packet import Packet


class History:
    """The record of the namespaces that a session was in. It is made on first use.

    Args:
        bound: how many namespaces that were left are remembered, since dynamic names have no end.

    Attributes:
        departing: sockets that take no more packets, by namespace, until the batch is done.
        put_off: packets that wait until none departs any more, in order.
        founded: namespaces that the client has brought into being; some may have ended since.
    """

    __slots__ = ("_bound", "_leaving", "_left", "departing", "founded", "put_off")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self.departing: dict[str, Socket] = {}
        self.put_off: list[Packet] = []
        self.founded: list[Any] = []
        # Handlers of some of them may be at work. Their events keep them alive, and nothing else
        # may: what is known of a client that has left is forgotten with its socket (IDENT-94).
        self._leaving: list[ref[Socket]] = []
        self._left: dict[str, None] = {}

    def has_left(self, name: str) -> bool:
        """Whether packets for this namespace may have crossed our DISCONNECT on their way."""
        return name in self._left

    def remember_left(self, name: str) -> None:
        """Tolerate packets for this namespace: they may cross our DISCONNECT on their way."""
        self._left[name] = None
        if len(self._left) > self._bound:
            del self._left[next(iter(self._left))]

    def forget_left(self, name: str) -> None:
        """Forget that the client has left a namespace: it has joined again (SIO5-34)."""
        self._left.pop(name, None)

    def remember_leaving(self, socket: Socket) -> None:
        """Remember a socket that has left while its handlers may still be at work."""
        self._leaving.append(ref(socket))

    @property
    def leaving(self) -> list[Socket]:
        """The sockets that have left or are about to; handlers of their events may go on."""
        left = [socket for one in self._leaving if (socket := one()) is not None]
        return [*self.departing.values(), *left]

    def count_leaving(self) -> int:
        """Return how many of these sockets have handlers at work: they are bounded like others."""
        self._leaving = [one for one in self._leaving if _is_at_work(one())]
        return len(self._leaving)


def _is_at_work(socket: Socket | None) -> bool:
    return bool(socket is not None and socket._events and socket._events.pending)
