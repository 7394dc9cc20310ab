"""A namespace: its sockets and rooms, its handlers, and its adapter."""

from typing import TYPE_CHECKING, Protocol

from trio_socketio.errors import ConnectRefused
from trio_socketio.socketio.adapter import Adapter
from trio_socketio.socketio.adapter_life import AdapterLife, State
from trio_socketio.socketio.channel import Channel
from trio_socketio.socketio.namespace_recovery import NamespaceRecovery
from trio_socketio.socketio.packets import PacketWriter
from trio_socketio.socketio.registry import Registry
from trio_socketio.socketio.rooms import Rooms
from trio_socketio.socketio.socket_life import put_out

if TYPE_CHECKING:
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket


class Owner(Protocol):
    """The namespaces of a server, as far as one of them needs the others; see Namespaces."""

    @property
    def host(self) -> "Host":
        """The options of the server, and the parts that are shared."""

    def create_adapter(self, namespace: "Namespace") -> Adapter:
        """Make the adapter of a namespace."""

    def child_deserted(self, child: "Namespace") -> None:
        """Note that a namespace which clients had asked for is empty."""


class Namespace(Channel):
    """A channel of the server that clients join by name. It is a broadcast to all its sockets.

    Args:
        owner: the namespaces of the server.
        name: starts with a slash.
        family: the name that all namespaces of one parent share in the log; None for a namespace
            that the program made.

    Attributes:
        adapter: performs its broadcasts and changes of rooms, on whatever node.
        name: starts with a slash.
        rooms: the rooms of this node's sockets. Do not change them.
    """

    def __init__(self, owner: Owner, name: str, family: str | None = None) -> None:
        super().__init__(Registry(name, owner.host.workers), self)
        self.name = name
        self.rooms: Rooms[Socket] = Rooms()
        self._owner = owner
        self._workers = owner.host.workers
        self._is_dynamic = family is not None
        self._family = family or name
        self._packets = PacketWriter(owner.host.parser, name)
        self._overheard: set[object] = set()
        self._joinings: dict[Joining, None] = {}
        self._allows_recovery = True
        self._recovery: NamespaceRecovery | None = None
        self._plug_recovery()
        self._make_adapter()

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    @property
    def sockets(self) -> "dict[str, Socket]":
        """The connected sockets of this node, by id. Do not change it."""
        return self.rooms.sockets

    # -- serving

    def _begin(self) -> None:
        """Take the options of the server as they are now: serving begins."""
        self._packets.speak(self._owner.host.parser)
        self._plug_recovery()
        if self._adapter_life.state is State.CLOSED:  # the server has served before
            self._make_adapter()

    def _make_adapter(self) -> None:
        self.adapter = self._owner.create_adapter(self)
        self._adapter_life = AdapterLife(self.adapter, self.name, self._workers)

    def _allow_recovery(self, allows: bool) -> None:
        """Say whether lost clients may come back, if state_recovery is on; before any joins."""
        self._allows_recovery = allows  # NSP-11
        self._plug_recovery()

    def _plug_recovery(self) -> None:
        recovery = self._owner.host.recovery if self._allows_recovery else None
        self._recovery = None if recovery is None else NamespaceRecovery(self, recovery)

    # -- its end

    def _put_everybody_out(self, reason: str) -> "list[Socket]":
        """Disconnect all sockets, and refuse all clients that are joining (JOIN-29).

        Returns:
            The sockets, whose handlers may still be at work.
        """
        for joining in tuple(self._joinings):
            joining._refuse(ConnectRefused(reason))
        sockets = list(self.sockets.values())
        for socket in sockets:
            put_out(socket, reason)
        return sockets

    @property
    def _is_deserted(self) -> bool:
        """Whether it has no sockets, and no client is joining it."""
        return not self.rooms.sockets and not self._joinings

    def _end_if_deserted(self) -> None:
        """Tell the owner if clients had asked for this namespace, and it is empty now."""
        if self._is_dynamic and self._is_deserted:
            self._owner.child_deserted(self)
