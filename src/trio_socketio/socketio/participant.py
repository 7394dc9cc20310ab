"""A client as the namespaces know it: its session, and its sockets and joinings by namespace."""

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import ConnectRefused, RemoteProtocolError
from trio_socketio.socketio.history import History
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.refusing import refuse
from trio_socketio.socketio.socket_life import close, leave_namespace, lose, put_out

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.entrance import Directory
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.revisions import Revision
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


class Participant:
    """One client: takes its packets to the sockets of its namespaces.

    Args:
        host: the server.
        namespaces: of it.
        session: of the client.
        revision: of Socket.IO, that the client speaks.

    Attributes:
        sockets: those that have joined, by namespace.
        held: see Holder.
        join_by: when the client has to have joined something; infinity once it has.
    """

    __slots__ = (
        "_acks_awaited",
        "_closed",
        "_history",
        "_joinings",
        "_joinings_at_work",
        "held",
        "host",
        "join_by",
        "namespaces",
        "revision",
        "session",
        "sockets",
    )

    def __init__(
        self, host: "Host", namespaces: "Directory", session: "Session", revision: "Revision"
    ) -> None:
        self.host = host
        self.namespaces = namespaces
        self.session = session
        self.revision = revision
        self.held = 0
        self.sockets: dict[str, Socket] = {}
        self.join_by = trio.current_time() + host.options.sockets.connect_timeout_s
        self._joinings: dict[str, Joining] | None = None  # undecided ones
        self._joinings_at_work = 0  # those that are decided included, until their tasks end
        self._history: History | None = None
        self._acks_awaited = 0
        self._closed = False

    # -- what the reader hands over

    def takes_events(self, name: str) -> bool:
        """Whether events for that namespace find somebody, so that attachments are collected."""
        joining = self._joinings.get(name) if self._joinings else None
        return name in self.sockets or (joining is not None and joining._is_accepted)

    def receive_packet(self, packet: Packet) -> None:
        """Take a packet, its attachments included.

        Raises:
            RemoteProtocolError: no client may send it.
        """
        kind = packet.type
        socket = self.sockets.get(packet.namespace)
        if socket is None:
            self._receive_unjoined(packet)
        elif kind is _EVENT or kind is _BINARY_EVENT:
            socket._open_events().receive(socket, packet.data, packet.ack_id, packet.weight)
        elif kind is _ACK or kind is _BINARY_ACK:
            if socket._acks is not None:  # SIO5-28: else it answers nothing that is awaited
                socket._acks.receive(packet.ack_id, packet.data, socket.public_id)
        elif kind is _DISCONNECT:
            close(socket, "client namespace disconnect")  # SIO5-31
        elif kind is _CONNECT:
            # SIO5-12: an official client whose disconnect() comes before our answer sends nothing,
            # and then asks again. Its credentials may be others by now, so it joins anew.
            close(socket, "client namespace disconnect")
            self._receive_unjoined(packet)
        else:  # SIO5-13
            raise RemoteProtocolError(f"{kind.name} for a namespace that was joined already")

    def _receive_unjoined(self, packet: Packet) -> None:
        name, history = packet.namespace, self._history
        joining = self._joinings.get(name) if self._joinings else None
        if packet.type is _CONNECT and joining is not None:
            joining._abandon("client namespace disconnect")  # SIO5-60: the last one is answered
            self.connect(name, packet.data or {})
        elif joining is not None and (joining._is_accepted or packet.type is _DISCONNECT):
            joining._receive_packet(packet)
        elif history is not None and history.departing:
            # A socket leaves when the batch is done. What follows may ask for its place: to join
            # again, or to bring another namespace into being than the one that ends with it.
            if not history.put_off:
                self.host.engine._poller.defer(self._receive_put_off)
            history.put_off.append(packet)
        elif packet.type is _CONNECT:
            self.connect(name, packet.data or {})
        elif history is None or not history.has_left(name):  # SIO5-09, SIO5-35
            raise RemoteProtocolError(f"{packet.type.name} for a namespace that was not joined")
        # else: it crossed our DISCONNECT, or our answer to an earlier CONNECT (SIO5-61)

    def _receive_put_off(self) -> None:
        history = self._history
        if history is None:  # the session has ended
            return
        if history.departing:  # another socket leaves in this batch: packets keep their order
            self.host.engine._poller.defer(self._receive_put_off)
            return
        packets, history.put_off = history.put_off, []
        for packet in packets:
            if not self.session.is_open:  # nobody joins behind what ended it
                return
            try:
                self.receive_packet(packet)
            except RemoteProtocolError:
                self.session.lose("parse error")

    def session_closed(self, reason: str) -> None:
        """The session has ended; called once, after the batch in which it did."""
        self._closed = True
        self.host.intake.discard(self)
        for joining in tuple((self._joinings or {}).values()):
            joining._abandon(reason)
        for socket in tuple(self.sockets.values()):
            lose(socket, reason)  # SIO5-37
        self._history = None  # it may hold sockets, which would be a cycle

    # -- joining

    def connect(self, name: str, auth: dict[str, Any]) -> None:
        """Let the client try to join a namespace.

        Args:
            name: of the namespace.
            auth: the payload of the CONNECT.
        """
        count = len(self.sockets) + self._joinings_at_work
        if self._history is not None:
            count += self._history.count_leaving()
        if count >= self.host.options.sockets.max_namespaces_per_session:
            refuse(self, name, {"message": "Too many namespaces"})
            return
        if self._joinings is None:
            self._joinings = {}
        self._joinings_at_work += 1
        joining = self._joinings[name] = Joining(self, name, auth)
        joining._begin()

    def accept(self, socket: "Socket") -> None:
        """Tell the client that it is connected."""
        if self.join_by < inf:
            self.join_by = inf
            self.session.joined()
        told = {"sid": socket.id}  # SIO5-03, RECOVER-01
        if socket._recovery is not None:
            told["pid"] = socket._recovery.pid
        packets = socket.namespace._packets
        if self.revision.tells_credentials:
            self.session.send(packets.encode_connect(told))
        else:
            self.session.send(packets.encode_bare_connect())

    def admit(self, joining: Joining, socket: "Socket") -> None:
        """A socket has joined."""
        assert self._joinings is not None
        del self._joinings[joining.name]
        self.sockets[joining.name] = socket
        if self._history is not None:
            self._history.forget_left(joining.name)

    def forget_joining(self, joining: Joining) -> None:
        """It is decided: the client may ask again, if it was not let in."""
        if self._joinings is not None and self._joinings.get(joining.name) is joining:
            del self._joinings[joining.name]

    def joining_over(self) -> None:
        """Nothing is at work any more for a joining that was decided."""
        self._joinings_at_work -= 1
        if not self._joinings:
            self._joinings = None  # an idle session holds none

    # -- leaving

    def put_out(self, socket: "Socket", reason: str) -> None:
        """Put the client out of one namespace; if it is still on its way in, refuse it."""
        joining = (self._joinings or {}).get(socket.namespace.name)
        if joining is not None and joining.socket is socket:
            joining._refuse(ConnectRefused(PUT_OUT))
        else:
            put_out(socket, reason)

    def disconnect_all(self) -> None:
        """Put the client out of every namespace, and hang up."""
        for joining in tuple((self._joinings or {}).values()):
            joining._refuse(ConnectRefused(PUT_OUT))
        for socket in tuple(self.sockets.values()):
            socket.disconnect()
        self.session.close("forced server close")

    def departs(self, socket: "Socket") -> None:
        """A socket takes no more packets; it leaves its namespace when the batch is done."""
        name = socket.namespace.name
        self.history.departing[name] = self.sockets.pop(name)
        self.host.engine._poller.defer(partial(leave_namespace, socket))

    def forget(self, socket: "Socket") -> None:
        """A socket has left its namespace; the session goes on, if it has not ended (SIO5-33)."""
        name = socket.namespace.name
        if self.sockets.get(name) is socket:
            del self.sockets[name]
        if self._history is not None:
            self._history.departing.pop(name, None)
        if not self._closed:
            self.history.remember_left(name)
            self.history.remember_leaving(socket)

    @property
    def history(self) -> History:
        """What is remembered of the namespaces that the client was in."""
        if self._history is None:
            self._history = History(self.host.options.sockets.max_namespaces_per_session)
        return self._history

    # -- back-pressure

    def burdened(self, *, is_overload: bool) -> None:
        """See Holder. What a handler awaits is still to be read, so reading goes on (BND-03)."""
        if not self._acks_awaited:
            self.session.pause_reading()
        elif is_overload:
            self.session.lose("overload")

    def queue_eased(self) -> None:
        """A socket has caught up, or less waits for the handlers of all of them."""
        sockets, joinings = self.sockets.values(), (self._joinings or {}).values()
        if (
            self.host.intake.has_room(self)
            and all(one._events is None or one._events.has_room for one in sockets)
            and all(joining._has_room for joining in joinings)
        ):
            self.session.resume_reading()

    def ack_awaited(self) -> None:
        """A handler waits for its client: what it waits for may stand behind what is not read."""
        self._acks_awaited += 1
        if not self.host.intake.keeps_back(self):
            self.session.resume_reading()

    def ack_over(self) -> None:
        """One wait is over."""
        self._acks_awaited -= 1
