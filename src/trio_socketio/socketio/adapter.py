"""The Adapter: what a namespace asks of the world, and the adapter of a single node.

Delivery guarantee: within one node, packets to one socket arrive in the order in which they were
emitted, each at most once, and all of them while its session lives (volatile packets excepted).
Local delivery happens inside the call; a remote part may come later, in order.

`broadcast`, `add` and `remove` are plain: an emit never waits. What asks other nodes is async.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trio_socketio.codec.socket_packet import encode_arguments

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.socket import Socket


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a broadcast is for.

    Args:
        rooms: sockets in any of them; none is the whole namespace.
        excluded: but not sockets in any of these.
        volatile: drop it for those who cannot take it at once.
        local: this node only.
    """

    rooms: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    volatile: bool = False
    local: bool = False


class Adapter:
    """One node, in memory: the default, and the base of those that reach further.

    Args:
        namespace: whose sockets it serves.
    """

    def __init__(self, namespace: "Namespace") -> None:
        self._namespace = namespace

    def add(self, socket: "Socket", room: str) -> None:
        """A socket joins a room."""
        self._namespace.rooms.add(socket, room)

    def remove(self, socket: "Socket", room: str) -> None:
        """A socket leaves a room."""
        self._namespace.rooms.remove(socket, room)

    def remove_all(self, socket: "Socket") -> None:
        """A socket leaves the namespace."""
        self._namespace.rooms.remove_all(socket)

    def broadcast(self, arguments: list[Any], target: Target) -> None:
        """Send an event to the sockets of target.

        Args:
            arguments: the event's name, then what goes with it.
            target: see Target.
        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was.
        """
        packet = encode_arguments(self._namespace.event_header, arguments, None)
        chosen = self._namespace.rooms.select(target.rooms, target.excluded)
        if target.volatile:
            for socket in chosen:
                socket.session.send_volatile(packet)
        else:
            for socket in chosen:
                socket.session.send(packet)


AdapterFactory = Callable[["Namespace"], Adapter]
