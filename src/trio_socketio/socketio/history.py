"""The namespaces that a session has left, and those that it has brought into being."""

from typing import TYPE_CHECKING, Any

from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.codec.socket_packet import Packet


class History:
    """What has to be remembered of the namespaces that a session was in. Idle sessions have none.

    Args:
        bound: how many that were left are remembered: dynamic namespaces have endless names.

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
        self._leaving: list[Socket] = []  # forgotten, their handlers perhaps not done
        self._left: dict[str, None] = {}

    def has_left(self, name: str) -> bool:
        """Whether packets for that namespace may have crossed our DISCONNECT on their way."""
        return name in self._left

    def remember_left(self, name: str) -> None:
        """Packets that cross our DISCONNECT on their way are no offence."""
        self._left[name] = None
        if len(self._left) > self._bound:
            del self._left[next(iter(self._left))]

    def forget_left(self, name: str) -> None:
        """The client has joined that namespace again."""
        self._left.pop(name, None)

    def remember_leaving(self, socket: Socket) -> None:
        """A socket has left while its handlers may go on."""
        self._leaving.append(socket)

    def count_leaving(self) -> int:
        """Sockets that have left while their handlers go on: they are bounded like the others."""
        self._leaving = [one for one in self._leaving if one._events and one._events.pending]
        return len(self._leaving)
