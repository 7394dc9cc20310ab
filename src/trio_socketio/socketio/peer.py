"""One Engine.IO session's part in Socket.IO: its packets, and its sockets by namespace."""

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from trio_socketio.codec.attachments import MAX_ATTACHMENTS
from trio_socketio.codec.socket_packet import (
    Packet,
    PacketType,
    Reassembly,
    decode_packet,
)
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.socketio.event_queue import OVERLOAD_FACTOR
from trio_socketio.socketio.intake import weigh_text
from trio_socketio.socketio.parent_namespace import Search
from trio_socketio.socketio.restoration import Restoration, take_pid
from trio_socketio.socketio.socket import Socket

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.saved_session import SavedSession
    from trio_socketio.socketio.server import Server

# Names of the module: looking a member up in its Enum costs as much as decoding a packet.
_CONNECT: Final = PacketType.CONNECT
_DISCONNECT: Final = PacketType.DISCONNECT
_EVENT: Final = PacketType.EVENT
_ACK: Final = PacketType.ACK
_BINARY_EVENT: Final = PacketType.BINARY_EVENT
_BINARY_ACK: Final = PacketType.BINARY_ACK


class Peer:
    """Listens to a session.

    Args:
        server: knows the namespaces.
        session: freshly opened.
    """

    recovers: ClassVar = True
    """Whether its client can go on with a session that it lost."""

    __slots__ = (
        "_acks_awaited",
        "_admitting",
        "_closed",
        "_connect_by",
        "_connecting",
        "_leaving",
        "_left",
        "_reassembly",
        "_server",
        "_sockets",
        "founded",
        "held",
        "intake",
        "session",
    )

    def __init__(self, server: "Server", session: "Session") -> None:
        self._server = server
        self.session = session
        self._sockets: dict[str, Socket] = {}
        self._connecting: dict[str, Socket | Search | Restoration] | None = (
            None  # user code is asked
        )
        self._admitting = 0  # middleware at work, wanted or not any more
        self._leaving: list[Socket] | None = None  # forgotten, their handlers perhaps not done
        self._left: dict[str, None] | None = None  # namespaces it was put out of, or left
        self._reassembly: Reassembly | None = None
        self._acks_awaited = 0
        self.intake = server.intake
        self.held = 0  # see Holder
        self.founded: list[Namespace] | None = None  # see Founder
        self._closed = False
        self._connect_by = trio.current_time() + server.options.connect_timeout_s

    # -- Listener

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """See Listener.

        Args:
            packet: as it came.
            weight: of a packet that was put off and whose turn it is now.
        """
        if self._reassembly is not None:
            raise RemoteProtocolError("text before the attachments of a binary packet are complete")
        if not weight:
            weight = len(packet)
            if weight > self.intake.weigh_above:
                weight = weigh_text(packet)
                if self.intake.put_off(self, self.receive_text, packet, weight):
                    return
        decoded = decode_packet(packet)
        socket = self._sockets.get(decoded.namespace)
        if decoded.type is _EVENT and socket is not None and socket.connected:
            socket.receive_event(decoded.data, decoded.ack_id, weight)  # as _receive_packet would
            return
        decoded.weight = weight
        if decoded.attachments:
            self._expect_attachments(decoded)
        else:
            self._receive_packet(decoded)

    def receive_binary(self, data: bytes) -> None:
        """See Listener."""
        reassembly = self._reassembly
        if reassembly is None:
            raise RemoteProtocolError("binary that no packet announced")
        packet = reassembly.receive_attachment(data)
        if packet is None:
            self.intake.collect(self, len(data))
        else:
            self._reassembly = None
            self.intake.stop_collecting(self, reassembly.weight)
            packet.weight = reassembly.weight + len(data)
            self._receive_packet(packet)

    def session_closed(self, reason: str) -> None:
        """See Listener."""
        self._closed = True
        self.drop_collected()
        self.intake.discard(self)
        self._connecting = None
        for socket in list(self._sockets.values()):
            if socket.connected:
                socket.connected = False
                socket.reason = reason
                socket.leave_namespace()

    def next_deadline(self) -> float:
        """See Listener."""
        return min(
            self._connect_by, inf if self._reassembly is None else self._reassembly.expires_at
        )

    def expire(self, now: float) -> None:
        """See Listener."""
        if self._connect_by <= now:
            self._connect_by = inf
            self.session.close("forced server close")
        else:
            self.drop_collected()
            self.session.lose("parse error")

    # -- packets

    def _expect_attachments(self, packet: Packet) -> None:
        if packet.namespace not in self._sockets:
            self._receive_packet(packet)  # refused, or tolerated without its attachments
            if not self.session.is_open:
                return
        options = self._server.options
        self._reassembly = Reassembly(
            packet,
            MAX_ATTACHMENTS * options.max_http_buffer_size_bytes,
            trio.current_time() + options.attachments_timeout_s,
        )
        self._server.engine.deadlines.schedule(self.session)
        self.intake.collect(self, packet.weight)

    def _receive_packet(self, packet: Packet) -> None:
        kind = packet.type
        socket = self._sockets.get(packet.namespace)
        if socket is None:
            self._receive_unjoined(packet)
        elif not socket.connected:
            # It leaves when the batch is done; what follows may ask to join again.
            self._server.engine.poller.defer(partial(self._receive_later, packet))
        elif kind is _EVENT or kind is _BINARY_EVENT:
            socket.receive_event(packet.data, packet.ack_id, packet.weight)
        elif kind is _ACK or kind is _BINARY_ACK:
            socket.receive_ack(packet.ack_id, packet.data)
        elif kind is _DISCONNECT:
            socket.close("client namespace disconnect")
        else:
            raise RemoteProtocolError(f"{kind.name} for a namespace that was joined already")

    def _receive_unjoined(self, packet: Packet) -> None:
        name = packet.namespace
        connecting = self._connecting is not None and name in self._connecting
        if packet.type is _CONNECT and not connecting:
            self._connect(name, packet.data or {})
        elif packet.type is _DISCONNECT and connecting and self._connecting is not None:
            del self._connecting[name]
        elif connecting or self._left is None or name not in self._left:
            raise RemoteProtocolError(f"{packet.type.name} for a namespace that was not joined")
        # else: it crossed our DISCONNECT on its way

    def _receive_later(self, packet: Packet) -> None:
        if not self._closed:
            try:
                Peer._receive_packet(self, packet)  # a PeerV3 has cut its query off already
            except RemoteProtocolError:
                self.session.lose("parse error")

    def _connect(self, name: str, auth: dict[str, Any]) -> None:
        namespace = self._server.namespaces.get(name)
        joined = sum(socket.connected for socket in self._sockets.values())
        joined += self._admitting + self._count_leaving()
        if namespace is None and not self._server.parents:
            self.refuse(name, {"message": "Invalid namespace"})
        elif joined >= self._server.options.max_namespaces_per_session:
            self.refuse(name, {"message": "Too many namespaces"})
        else:
            if self._connecting is None:
                self._connecting = {}
            self._admitting += 1
            if namespace is None:
                search = self._connecting[name] = Search(self._server, self, name, auth)
                self._server.workers.submit(search)
            else:
                self._join(namespace, auth)

    def _join(self, namespace: "Namespace", auth: dict[str, Any]) -> None:
        assert self._connecting is not None
        if namespace.server.recovery is not None and self.recovers:
            lost = take_pid(auth)
            if lost is not None:
                restoration = Restoration(namespace, self, auth, *lost)
                self._connecting[namespace.name] = restoration
                restoration.begin()
                return
        self._ask_middleware(namespace.connect(self, auth))

    def _ask_middleware(self, socket: "Socket") -> None:
        assert self._connecting is not None
        self._connecting[socket.namespace.name] = socket
        socket.namespace.ask_middleware(socket)

    def _count_leaving(self) -> int:
        """Sockets that have left while their handlers go on: they are bounded like the others."""
        if self._leaving is not None:
            self._leaving = [socket for socket in self._leaving if socket.is_busy] or None
        return len(self._leaving or ())

    def new_socket_id(self, name: str) -> str:
        """Public name of a socket in the namespace called name."""
        return self._server.new_socket_id()

    def accept(self, socket: "Socket") -> None:
        """Tell the client that it has joined."""
        self._send(Packet(PacketType.CONNECT, socket.namespace.name, socket.credentials()))

    def refuse(self, name: str, data: dict[str, Any]) -> None:
        """Tell the client that it may not join."""
        self._send(Packet(PacketType.CONNECT_ERROR, name, data))

    def _send(self, packet: Packet) -> None:
        self.session.send(self._server.parser.encode_packet(packet))

    # -- sockets

    def is_connecting(self, wish: "Socket | Search | Restoration") -> bool:
        """Whether the client still wants what user code was asked about."""
        name = wish.namespace.name if isinstance(wish, Socket) else wish.name
        return (
            self._connecting is not None
            and self._connecting.get(name) is wish
            and self.session.is_open
        )

    def search_succeeded(self, search: "Search", namespace: "Namespace") -> None:
        """There is such a namespace now: its middleware is asked."""
        if self.is_connecting(search):
            self._join(namespace, search.auth)
        else:
            self._admitting -= 1
            namespace.end_if_deserted()

    def search_failed(self, search: "Search", why: str) -> None:
        """There is no such namespace."""
        wanted = self.is_connecting(search)
        self._admitting -= 1
        self._forget_wish(search.name, search)
        if wanted:
            self.refuse(search.name, {"message": why})

    def restored(self, restoration: "Restoration", session: "SavedSession | None") -> bool:
        """The session that a client wants to go on with is found, or is not; whether it is used."""
        if not self.is_connecting(restoration):
            self._admitting -= 1
            return False
        self._ask_middleware(restoration.namespace.connect(self, restoration.auth, session))
        return True

    def settle(self, socket: "Socket", *, joined: bool) -> None:
        """Middleware has decided."""
        self._admitting -= 1
        name = socket.namespace.name
        self._forget_wish(name, socket)
        if joined:
            self._sockets[name] = socket
            if self._connect_by < inf:
                self._connect_by = inf
                self.session.joined()
            if self._left is not None:
                self._left.pop(name, None)

    def _forget_wish(self, name: str, wish: "Socket | Search | Restoration") -> None:
        if self._connecting is not None and self._connecting.get(name) is wish:
            del self._connecting[name]
            if not self._connecting:
                self._connecting = None

    def forget(self, socket: "Socket") -> None:
        """A socket has left its namespace; the session goes on."""
        name = socket.namespace.name
        if self._sockets.get(name) is socket:
            del self._sockets[name]
            if not self._closed:
                if self._left is None:
                    self._left = {}
                self._left[name] = None
                if len(self._left) > self._server.options.max_namespaces_per_session:
                    del self._left[next(iter(self._left))]  # dynamic ones have endless names
                if self._leaving is None:
                    self._leaving = []
                self._leaving.append(socket)

    def disconnect_all(self) -> None:
        """Put the client out of every namespace, and hang up."""
        for socket in list(self._sockets.values()):
            socket.disconnect()
        self.session.close("forced server close")

    # -- back-pressure

    def queue_full(self, pending: int) -> None:
        """A socket's events pile up: stop reading, unless what is awaited is still to be read."""
        if not self._acks_awaited:
            self.session.pause_reading()
        elif pending >= OVERLOAD_FACTOR * self._server.options.handler_queue:
            self.session.lose("overload")

    def burdened(self, before: int) -> None:
        """See Holder."""
        if not self._acks_awaited:
            self.session.pause_reading()
        elif self.intake.is_overload(before, OVERLOAD_FACTOR):
            self.session.lose("overload")

    def queue_eased(self) -> None:
        """A socket has caught up, or less waits for the handlers of all of them."""
        if self.intake.has_room(self) and all(socket.has_room for socket in self._sockets.values()):
            self.session.resume_reading()

    def ack_awaited(self) -> None:
        """A handler waits for its client: what it waits for may stand behind what is not read."""
        self._acks_awaited += 1
        if not self.intake.keeps_back(self):
            self.session.resume_reading()

    def ack_over(self) -> None:
        """One wait is over."""
        self._acks_awaited -= 1

    # -- attachments, as the intake sees them

    @property
    def collected(self) -> int:
        """See Holder."""
        return 0 if self._reassembly is None else self._reassembly.weight

    def drop_collected(self) -> None:
        """See Holder."""
        reassembly, self._reassembly = self._reassembly, None
        if reassembly is not None:
            self.intake.stop_collecting(self, reassembly.weight)
