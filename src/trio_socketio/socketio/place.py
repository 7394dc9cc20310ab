"""A namespace as its sockets know it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.acks import Ack
from trio_socketio.socketio.broadcast import Audience, Broadcast, Reaching
from trio_socketio.socketio.remote_socket import RemoteSocket

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.registry import Registry
    from trio_socketio.socketio.rooms import Rooms
    from trio_socketio.socketio.saved_session import SavedSession


class Membering(Reaching, Protocol):
    """What a socket asks of an adapter; see Adapter."""

    def add(self, socket: Any, room: str) -> None:
        """See Adapter."""

    def remove(self, socket: Any, room: str) -> None:
        """See Adapter."""

    def remove_all(self, socket: Any) -> None:
        """See Adapter."""

    async def persist_session(self, session: "SavedSession") -> None:
        """See Adapter."""


class Place(Audience, Protocol):
    """The namespace of a socket: what programs may ask of it there, and what the socket needs.

    At run time it is the Namespace. This module stands below sockets, the Namespace above them. It
    has 24 methods, as it repeats what programs may do with any Broadcast.
    """

    @property
    def name(self) -> str:
        """Begins with a slash."""

    @property
    def adapter(self) -> Membering:
        """See Namespace."""

    @property
    def rooms(self) -> "Rooms[Any]":
        """See Namespace."""

    @property
    def sockets(self) -> dict[str, Any]:
        """See Namespace."""

    # -- what sockets need

    @property
    def _registry(self) -> "Registry":
        """What was registered."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes its packets."""

    @property
    def _recovery(self) -> "NamespaceRecovery | None":
        """Logs what is sent, while state_recovery is on."""

    @property
    def _overheard(self) -> set[object]:
        """The sockets with listeners of what is sent to them."""

    def _end_if_deserted(self) -> None:
        """See Namespace."""

    # -- broadcasts; see Broadcast

    @property
    def local(self) -> Broadcast:
        """See Broadcast."""

    @property
    def volatile(self) -> Broadcast:
        """See Broadcast."""

    def to(self, rooms: str | Iterable[str]) -> Broadcast:
        """See Broadcast."""

    def in_(self, rooms: str | Iterable[str]) -> Broadcast:
        """See Broadcast."""

    def except_(self, rooms: str | Iterable[str]) -> Broadcast:
        """See Broadcast."""

    def compress(self, compress: bool) -> Broadcast:
        """See Broadcast."""

    def timeout(self, timeout_s: float) -> Broadcast:
        """See Broadcast."""

    def emit(self, event: str, *arguments: Any) -> int:
        """See Broadcast."""

    def send(self, *arguments: Any) -> int:
        """See Broadcast."""

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Any]:
        """See Broadcast."""

    async def gather_acks(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> list[Ack]:
        """See Broadcast."""

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """See Broadcast."""

    def sockets_join(self, rooms: str | Iterable[str]) -> None:
        """See Broadcast."""

    def sockets_leave(self, rooms: str | Iterable[str]) -> None:
        """See Broadcast."""

    def disconnect_sockets(self, close: bool = False) -> None:
        """See Broadcast."""
