"""One Engine.IO session's part in Socket.IO: its packets, and its sockets by namespace."""

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
from trio_socketio.engine.ids import SOCKET_ID_CHARACTERS
from trio_socketio.errors import ConnectRefused, LocalProtocolError, RemoteProtocolError
from trio_socketio.socketio.credentials import ERROR_EVENT, describe_refusal
from trio_socketio.socketio.event_queue import OVERLOAD_FACTOR
from trio_socketio.socketio.intake import weigh_text
from trio_socketio.socketio.joining import Joining

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

# Names of the module: looking a member up in its Enum costs as much as decoding a packet.
_CONNECT: Final = PacketType.CONNECT
_DISCONNECT: Final = PacketType.DISCONNECT
_EVENT: Final = PacketType.EVENT
_ACK: Final = PacketType.ACK
_BINARY_EVENT: Final = PacketType.BINARY_EVENT
_BINARY_ACK: Final = PacketType.BINARY_ACK


PUT_OUT: Final = "disconnected by the server"
"""What a client is told that user code disconnects while it is on its way in."""


class Peer:
    """Listens to a session.

    Args:
        server: knows the namespaces.
        session: freshly opened.
    """

    recovers: ClassVar = True
    """Whether its client can go on with a session that it lost."""

    ids_are_secret: ClassVar = False
    """Whether the ids of its sockets must not be shown to others."""

    __slots__ = (
        "_acks_awaited",
        "_closed",
        "_connect_by",
        "_departing",
        "_joinings",
        "_joinings_at_work",
        "_leaving",
        "_left",
        "_put_off",
        "_reassembly",
        "_sockets",
        "founded",
        "held",
        "intake",
        "server",
        "session",
    )

    def __init__(self, server: "Server", session: "Session") -> None:
        self.server = server
        self.session = session
        self._sockets: dict[str, Socket] = {}
        self._departing: dict[str, Socket] | None = None  # until the batch is done
        self._put_off: list[Packet] | None = None  # packets that wait for that
        self._joinings: dict[str, Joining] | None = None  # undecided ones
        self._joinings_at_work = 0  # those that are decided included, until their tasks end
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
        if decoded.type is _EVENT and socket is not None:
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
        for joining in tuple((self._joinings or {}).values()):
            joining.abandon(reason)
        for socket in tuple(self._sockets.values()):
            socket.lose(reason)

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
        name = packet.namespace
        joining = self._joinings.get(name) if self._joinings else None
        if name not in self._sockets and (joining is None or not joining.is_accepted):
            self._receive_packet(packet)  # refused, or tolerated without its attachments
            if not self.session.is_open:
                return
        options = self.server.options
        self._reassembly = Reassembly(
            packet,
            MAX_ATTACHMENTS * options.max_http_buffer_size_bytes,
            trio.current_time() + options.attachments_timeout_s,
        )
        self.session.reschedule()
        self.intake.collect(self, packet.weight)

    def _receive_packet(self, packet: Packet) -> None:
        kind = packet.type
        socket = self._sockets.get(packet.namespace)
        if socket is None:
            self._receive_unjoined(packet)
        elif kind is _EVENT or kind is _BINARY_EVENT:
            socket.receive_event(packet.data, packet.ack_id, packet.weight)
        elif kind is _ACK or kind is _BINARY_ACK:
            socket.receive_ack(packet.ack_id, packet.data)
        elif kind is _DISCONNECT:
            socket.close("client namespace disconnect")
        elif kind is _CONNECT:
            # SIO5-12: an official client whose disconnect() comes before our answer sends nothing,
            # and then asks again. Its credentials may be others by now, so it joins anew.
            socket.close("client namespace disconnect")
            self._receive_unjoined(packet)
        else:
            raise RemoteProtocolError(f"{kind.name} for a namespace that was joined already")

    def _receive_unjoined(self, packet: Packet) -> None:
        name = packet.namespace
        joining = self._joinings.get(name) if self._joinings else None
        if packet.type is _CONNECT and joining is not None:
            joining.abandon("client namespace disconnect")  # the last CONNECT alone is answered
            self._connect(name, packet.data or {})
        elif joining is not None and (joining.is_accepted or packet.type is _DISCONNECT):
            joining.receive_packet(packet)
        elif self._departing:
            # A socket leaves when the batch is done. What follows may ask for its place: to join
            # again, or to bring another namespace into being than the one that ends with it.
            if self._put_off is None:
                self._put_off = []
                self.server.engine.poller.defer(self._receive_put_off)
            self._put_off.append(packet)
        elif packet.type is _CONNECT:
            self._connect(name, packet.data or {})
        elif self._left is None or name not in self._left:
            raise RemoteProtocolError(f"{packet.type.name} for a namespace that was not joined")
        # else: it crossed our DISCONNECT, or our answer to an earlier CONNECT

    def _receive_put_off(self) -> None:
        if (
            self._departing
        ):  # another socket that leaves in this batch: all of them keep their order
            self.server.engine.poller.defer(self._receive_put_off)
            return
        packets, self._put_off = self._put_off or [], None
        for packet in packets:
            if not self.session.is_open:  # what ended it came before
                return
            try:
                Peer._receive_packet(self, packet)  # a PeerV3 has cut its query off already
            except RemoteProtocolError:
                self.session.lose("parse error")

    def _connect(self, name: str, auth: dict[str, Any]) -> None:
        count = len(self._sockets) + self._joinings_at_work
        if self._leaving is not None:
            count += self._count_leaving()
        if count >= self.server.options.max_namespaces_per_session:
            self.refuse(name, {"message": "Too many namespaces"})
            return
        if self._joinings is None:
            self._joinings = {}
        self._joinings_at_work += 1
        joining = self._joinings[name] = Joining(self, name, auth)
        joining.begin()

    def _count_leaving(self) -> int:
        """Sockets that have left while their handlers go on: they are bounded like the others."""
        if self._leaving is not None:
            self._leaving = [socket for socket in self._leaving if socket.is_busy] or None
        return len(self._leaving or ())

    def new_socket_id(self, name: str) -> str:
        """The id of a socket in the namespace called name, where it is not just a random one."""
        return self.server.draw_id(SOCKET_ID_CHARACTERS)

    def accept(self, socket: "Socket") -> None:
        """Tell the client that it is connected."""
        if self._connect_by < inf:
            self._connect_by = inf
            self.session.joined()
        self.session.send(socket.namespace.encode_connect(socket.credentials()))

    def refuse(self, name: str, data: dict[str, Any]) -> None:
        """Tell the client that it may not join."""
        self._send(Packet(PacketType.CONNECT_ERROR, name, data))

    def _send(self, packet: Packet) -> None:
        self.session.send(self.server.parser.encode_packet(packet))

    # -- joining

    def admit(self, joining: Joining, socket: "Socket") -> None:
        """A socket has joined."""
        assert self._joinings is not None
        del self._joinings[joining.name]
        self._sockets[joining.name] = socket
        if self._left is not None:
            self._left.pop(joining.name, None)

    def turn_away(self, joining: Joining, error: ConnectRefused, errcode: int) -> None:
        """Tell a client that it may not join; hang up on one that was accepted for nothing."""
        name, socket = joining.name, joining.socket
        if socket is not None and socket.is_reachable:
            if joining.credentials:
                self._tell_error(socket, describe_refusal(error, errcode))
            self._send(Packet(_DISCONNECT, name))
            self._remember_left(name)
            if joining.credentials and not any(one.user for one in self._sockets.values()):
                self.session.close("forced server close")
            return
        answer = {"message": error.message}
        if error.data is not None:
            answer["data"] = error.data
        try:
            self.refuse(name, answer)
        except BaseException as fault:  # what it was refused with cannot be sent
            self.server.workers.log_failure(f"refusing a client of {name}", name, fault)
            self.refuse(name, {"message": "Internal server error"})

    def _tell_error(self, socket: "Socket", error: dict[str, Any]) -> None:
        try:
            socket.emit(ERROR_EVENT, error)
        except LocalProtocolError as fault:  # the message cannot be sent
            self.server.workers.log_failure("refusing a client", socket.public_id, fault)
            socket.emit(ERROR_EVENT, {**error, "errmsg": "Internal server error"})

    def forget_joining(self, joining: Joining) -> None:
        """It is decided: the client may ask again, if it was not let in."""
        if self._joinings is not None and self._joinings.get(joining.name) is joining:
            del self._joinings[joining.name]

    def joining_over(self, joining: Joining) -> None:
        """Nothing is at work for it any more."""
        self._joinings_at_work -= 1
        if not self._joinings:
            self._joinings = None  # an idle session holds none

    def refuse_joining(self, socket: "Socket") -> bool:
        """Refuse a socket that is still on its way in; whether it is."""
        joining = (self._joinings or {}).get(socket.namespace.name)
        if joining is None or joining.socket is not socket:
            return False
        joining.refuse(ConnectRefused(PUT_OUT))
        return True

    # -- sockets

    def departs(self, socket: "Socket") -> None:
        """A socket takes no more packets; it is forgotten when the batch is done."""
        if self._departing is None:
            self._departing = {}
        name = socket.namespace.name
        self._departing[name] = self._sockets.pop(name)

    def forget(self, socket: "Socket") -> None:
        """A socket has left its namespace; the session may go on."""
        name = socket.namespace.name
        if self._sockets.get(name) is socket:
            del self._sockets[name]
        if self._departing is not None:
            self._departing.pop(name, None)
            self._departing = self._departing or None
        if not self._closed:
            self._remember_left(name)
            if self._leaving is None:
                self._leaving = []
            self._leaving.append(socket)

    def _remember_left(self, name: str) -> None:
        """Packets that cross our DISCONNECT on their way are no offence."""
        if self._left is None:
            self._left = {}
        self._left[name] = None
        if len(self._left) > self.server.options.max_namespaces_per_session:
            del self._left[next(iter(self._left))]  # dynamic ones have endless names

    def disconnect_all(self) -> None:
        """Put the client out of every namespace, and hang up."""
        for joining in tuple((self._joinings or {}).values()):
            joining.refuse(ConnectRefused(PUT_OUT))
        for socket in tuple(self._sockets.values()):
            socket.disconnect()
        self.session.close("forced server close")

    # -- back-pressure

    def queue_full(self, pending: int) -> None:
        """A socket's events pile up: stop reading, unless what is awaited is still to be read."""
        if not self._acks_awaited:
            self.session.pause_reading()
        elif pending >= OVERLOAD_FACTOR * self.server.options.handler_queue:
            self.session.lose("overload")

    def burdened(self, before: int) -> None:
        """See Holder."""
        if not self._acks_awaited:
            self.session.pause_reading()
        elif self.intake.is_overload(before, OVERLOAD_FACTOR):
            self.session.lose("overload")

    def queue_eased(self) -> None:
        """A socket has caught up, or less waits for the handlers of all of them."""
        if (
            self.intake.has_room(self)
            and all(socket.has_room for socket in self._sockets.values())
            and all(joining.has_room for joining in (self._joinings or {}).values())
        ):
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
