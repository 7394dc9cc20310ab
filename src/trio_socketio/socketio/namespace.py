"""A namespace: its sockets and rooms, its middleware, its handlers."""

from typing import TYPE_CHECKING, Protocol

import trio

from trio_socketio.errors import ConnectRefused
from trio_socketio.socketio.adapter import Adapter
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
        """The server."""

    def create_adapter(self, namespace: "Namespace") -> Adapter:
        """The adapter of a namespace."""

    def remove_child(self, child: "Namespace") -> None:
        """A namespace that clients had asked for is deserted."""


class Namespace(Channel):
    """A channel of the server that clients join by name. It broadcasts to all who are in it.

    Args:
        owner: the namespaces of the server.
        name: begins with a slash.
        family: of a namespace that clients asked for, one name for all that their parent made.

    Attributes:
        adapter: what its rooms and broadcasts reach.
        name: begins with a slash.
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
        self._recovery: NamespaceRecovery | None = None
        self._plug_recovery()
        self.adapter = owner.create_adapter(self)
        self._adapter_is_closed = False
        self._adapter_is_started = not _has_start(self.adapter)
        self._starting = trio.Lock()

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    @property
    def sockets(self) -> "dict[str, Socket]":
        """Connected sockets of this node, by id. Do not change it."""
        return self.rooms.sockets

    # -- serving

    def _begin(self) -> None:
        """Serving begins: the options of the server hold from here on."""
        self._packets.speak(self._owner.host.parser)
        self._plug_recovery()
        if self._adapter_is_closed:  # of the last time
            self.adapter = self._owner.create_adapter(self)
            self._adapter_is_closed = False
            self._adapter_is_started = not _has_start(self.adapter)

    async def _start_adapter(self) -> None:
        """Have the adapter reach the other nodes, once, before anybody joins.

        Raises:
            Exception: whatever the adapter raises.
        """
        async with self._starting:
            if not self._adapter_is_started:
                await self.adapter.start()
                self._adapter_is_started = True

    def _plug_recovery(self) -> None:
        recovery = self._owner.host.recovery
        self._recovery = None if recovery is None else NamespaceRecovery(self, recovery)

    def _close_adapter(self) -> None:
        """The namespace or the server ends. Once for each adapter; contained."""
        if self._adapter_is_closed:
            return
        self._adapter_is_closed = True
        try:
            self.adapter.close()
        except BaseException as error:
            self._workers.log_failure("closing the adapter", self.name, error)

    # -- its end

    def _put_everybody_out(self, reason: str) -> "list[Socket]":
        """Disconnect all sockets and refuse all clients that are on their way in.

        Returns:
            The sockets, whose handlers may still be at work.
        """
        for joining in tuple(self._joinings):
            joining._refuse(ConnectRefused(reason))
        sockets = list(self.sockets.values())
        for socket in sockets:
            put_out(socket, reason)
        return sockets

    def _end_if_deserted(self) -> None:
        """A child that nobody is in or about to join ends, if the options say so."""
        if (
            self._is_dynamic
            and not self.rooms.sockets
            and not self._joinings
            and self._owner.host.options.sockets.cleanup_empty_child_namespaces
        ):
            self._owner.remove_child(self)


def _has_start(adapter: Adapter) -> bool:
    """Whether an adapter has something to start: a single node has not, and must cost nothing."""
    return type(adapter).start is not Adapter.start
