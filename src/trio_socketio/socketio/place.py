"""A namespace as its sockets know it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.acks import Ack, Keep
from trio_socketio.socketio.broadcast import Audience, Broadcast, Reaching
from trio_socketio.socketio.remote_socket import RemoteSocket

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.rooms import Rooms
    from trio_socketio.socketio.saved_session import SavedSession


class Membering(Reaching, Protocol):
    """The part of an adapter that a socket needs. The contracts are those of Adapter."""

    @property
    def reaches_other_nodes(self) -> bool:
        """Whether there may be sockets beyond this node."""

    @property
    def unpublished(self) -> int:
        """How many messages could not be sent to the other nodes so far."""

    def add(self, socket: Any, room: str) -> None:
        """Put a socket into a room."""

    def remove(self, socket: Any, room: str) -> None:
        """Take a socket out of a room."""

    def remove_all(self, socket: Any) -> None:
        """Take a socket out of all its rooms and out of the namespace."""

    async def persist_session(self, session: "SavedSession") -> None:
        """Keep what a client that lost its connection needs to go on."""


class Place(Audience, Protocol):
    """The namespace of a socket: what programs may do with it, and what the socket needs of it.

    At run time it is the Namespace, which stands above sockets, while this module stands below
    them. It has 24 methods because it repeats what programs may do with any Broadcast, which has
    the contracts.
    """

    @property
    def name(self) -> str:
        """The name; starts with a slash."""

    @property
    def adapter(self) -> Membering:
        """Puts sockets into rooms, on whatever node."""

    @property
    def rooms(self) -> "Rooms[Any]":
        """The rooms of this node's sockets."""

    @property
    def sockets(self) -> dict[str, Any]:
        """The connected sockets of this node, by id."""

    # -- what sockets need

    @property
    def _registry(self) -> "Registry":
        """The registrations of the namespace."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes the packets of the namespace."""

    @property
    def _recovery(self) -> "NamespaceRecovery | None":
        """Logs what is sent; None while state_recovery is off."""

    @property
    def _overheard(self) -> set[object]:
        """The sockets that have listeners of what is sent to them."""

    def _end_if_deserted(self) -> None:
        """End a dynamic namespace that is empty and not being joined, if the options say so."""

    # -- broadcasts; see Broadcast

    @property
    def local(self) -> Broadcast:
        """Select only sockets of this node."""

    @property
    def volatile(self) -> Broadcast:
        """Drop the event for clients that cannot take it at once."""

    def to(self, rooms: str | Iterable[str]) -> Broadcast:
        """Select the sockets in these rooms."""

    def in_(self, rooms: str | Iterable[str]) -> Broadcast:
        """Do the same as `to`."""

    def except_(self, rooms: str | Iterable[str]) -> Broadcast:
        """Leave out the sockets in these rooms."""

    def compress(self, compress: bool) -> Broadcast:
        """Say whether transports that compress may compress the event."""

    def timeout(self, timeout_s: float) -> Broadcast:
        """Set how long answers may take, in seconds."""

    def emit(self, event: str, *arguments: Any) -> int:
        """Send an event to each socket once."""

    def send(self, *arguments: Any) -> int:
        """Emit "message"."""

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """Send an event to each socket once, and wait for the answer of each client."""

    async def gather_acks(
        self,
        event: str,
        *arguments: Any,
        timeout_s: float | None = None,
        keep: Keep | None = None,
    ) -> list[Ack]:
        """Do the same, and say which clients have answered."""

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Describe the sockets of all nodes, as they are now."""

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """Put the sockets into rooms."""

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """Take the sockets out of rooms."""

    def disconnect_sockets(self, close: bool = False) -> None:
        """Put the clients out of the namespace, or out of all of them."""
