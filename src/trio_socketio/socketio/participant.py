"""A client as the namespaces know it: its session, its sockets, and what it is joining."""

import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import ConnectRefused, RemoteProtocolError
from trio_socketio.protocol.socket_life import Life
from trio_socketio.socketio.history import History
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.refusing import refuse, tell_refused
from trio_socketio.socketio.socket_life import close, leave_namespace, lose, put_out

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.entrance import Directory
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.revisions import Revision
    from trio_socketio.socketio.socket import Socket

log = logging.getLogger(__name__)

# Names of the module: looking a member up in its Enum costs as much as decoding a packet.
_CONNECT: Final = PacketType.CONNECT
_DISCONNECT: Final = PacketType.DISCONNECT
_EVENT: Final = PacketType.EVENT
_ACK: Final = PacketType.ACK
_BINARY_EVENT: Final = PacketType.BINARY_EVENT
_BINARY_ACK: Final = PacketType.BINARY_ACK
_ACCEPTED: Final = Life.ACCEPTED


PUT_OUT: Final = "disconnected by the server"
"""The message to a client that user code disconnects while it is joining."""


class Participant:
    """One client: takes its packets to the sockets of its namespaces.

    It has 14 attributes, four of which say how far it has come: whether it was accepted, whether it
    has joined anything, until when it must have, and whether its session has ended.

    Args:
        host: the options of the server, and the parts that are shared.
        namespaces: of the server.
        session: with the client.
        revision: of Socket.IO that the client speaks.

    Attributes:
        held: the weight of what the client has sent; kept by Intake.
        join_by: when the client must have joined a namespace, on trio's clock; infinity once it
            has, and while it is accepted for the first time.
        sockets: those that have joined, by namespace.
    """

    __slots__ = (
        "__weakref__",
        "_acks_awaited",
        "_closed",
        "_has_joined",
        "_history",
        "_is_timed_anew",
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
        self._joinings: dict[str, Joining] | None = None  # those that are undecided, by namespace
        self._joinings_at_work = 0  # also decided ones, until their tasks end
        self._history: History | None = None
        self._has_joined = False
        self._is_timed_anew = False  # JOIN-42
        self._acks_awaited = 0
        self._closed = False

    # -- what the reader hands over

    def takes_events(self, name: str) -> bool:
        """Whether a socket takes events for this namespace.

        If not, the attachments of a binary event are not worth collecting. While a socket departs,
        nobody can tell: the event waits, and a CONNECT before it may have a socket join meanwhile.
        """
        if self._history is not None and self._history.departing:
            return True
        joining = self._joinings.get(name) if self._joinings else None
        return name in self.sockets or (joining is not None and joining._is_accepted)

    def receive_packet(self, packet: Packet) -> None:
        """Take a packet, its attachments included.

        Raises:
            RemoteProtocolError: no client may send it now.
        """
        kind = packet.type
        socket = self.sockets.get(packet.namespace)  # SIO5-11
        if socket is None:
            self._receive_unjoined(packet)
        elif kind is _EVENT or kind is _BINARY_EVENT:
            socket._open_events().receive(socket, packet.data, packet.ack_id, packet.weight)
        elif kind is _ACK or kind is _BINARY_ACK:
            if socket._acks is not None:  # SIO5-28: otherwise no answer is awaited; SIO4-20
                socket._acks.receive(packet.ack_id, packet.data, socket.public_id)
        elif kind is _DISCONNECT:
            close(socket, "client namespace disconnect")  # SIO5-31, SIO4-09
        elif kind is _CONNECT:
            # SIO5-12, SIO4-13: an official client whose disconnect() comes before our answer sends
            # nothing, and then asks again. Its credentials may be others by now, so it joins anew
            # (SIO5-81); its other namespaces are left alone (SIO5-82).
            close(socket, "client namespace disconnect")
            self._receive_unjoined(packet)
        else:  # SIO5-13, SIO4-08
            raise RemoteProtocolError(f"{kind.name} for a namespace that the client is in")

    def _receive_unjoined(self, packet: Packet) -> None:
        """Take a packet for a namespace in which the client has no socket.

        Raises:
            RemoteProtocolError: no client may send it now.
        """
        name, history = packet.namespace, self._history
        joining = self._joinings.get(name) if self._joinings else None
        if packet.type is _CONNECT and joining is not None:
            joining._abandon("client namespace disconnect")  # SIO5-60: the last one is answered
            self.connect(name, packet.data or {})
        elif joining is not None and (joining._is_accepted or packet.type is _DISCONNECT):
            joining._receive_packet(packet)
        elif history is not None and history.departing:
            # A socket leaves when the batch is done, and the packet may need its place: to join
            # again, or to bring a namespace into being when another one ends with that socket.
            if not history.put_off:
                self.host.engine._poller.defer(self._receive_put_off)
            history.put_off.append(packet)
        elif packet.type is _CONNECT:
            self.connect(name, packet.data or {})
        elif history is None or not history.has_left(name):  # SIO5-09, SIO5-35, SIO4-08
            raise RemoteProtocolError(f"{packet.type.name} for a namespace that was not joined")
        # Otherwise it crossed our DISCONNECT (SIO5-36), or it was for the socket that an earlier
        # CONNECT has replaced (SIO5-61): it is ignored.

    def _receive_put_off(self) -> None:
        history = self._history
        if history is None:  # the session has ended
            return
        if history.departing:  # another socket leaves in this batch: packets keep their order
            self.host.engine._poller.defer(self._receive_put_off)
            return
        packets, history.put_off = history.put_off, []
        for packet in packets:
            if not self.session.is_open:  # no client joins after its session has ended
                return
            try:
                self.receive_packet(packet)
            except RemoteProtocolError:
                self.session.lose("parse error")

    def session_closed(self, reason: str) -> None:
        """Let every socket leave: the session has ended. Called once, after the batch."""
        self._closed = True
        sockets = (*self.sockets.values(), *(self._history.leaving if self._history else ()))
        waiting = [one._events for one in sockets if one._events is not None]
        self.host.intake.discard(self, waiting)
        if self.session.aborted:  # LEASE-48
            for events in waiting:
                events.drop_waiting()
        for joining in tuple((self._joinings or {}).values()):
            joining._abandon(reason)
        for socket in tuple(self.sockets.values()):
            lose(socket, reason)  # SIO5-37
        self._history = None  # it may hold sockets, which hold the participant: a cycle

    # -- joining

    def connect(self, name: str, auth: dict[str, Any]) -> None:
        """Let the client try to join a namespace. It is answered exactly once (SIO5-02).

        Args:
            name: of the namespace.
            auth: the payload of the CONNECT (SIO5-05).
        """
        # Sockets whose handlers are still at work count too. Otherwise a client could pile them up
        # by leaving and joining again.
        count = len(self.sockets) + self._joinings_at_work
        if self._history is not None:
            count += self._history.count_leaving()
        if count >= self.host.options.sockets.max_namespaces_per_session:
            tell_refused(self, name, "Too many namespaces")
            refuse(self, name, {"message": "Too many namespaces"})
            return
        if self._joinings is None:
            self._joinings = {}
        self._joinings_at_work += 1
        joining = self._joinings[name] = Joining(self, name, auth)
        joining._begin()

    def accept(self, socket: "Socket") -> None:
        """Tell the client that it is connected."""
        if socket._membership.life is _ACCEPTED and not self._is_timed_anew:
            self.join_by = inf  # JOIN-19: it has a time of its own for its credentials
        told = {"sid": socket.id}  # SIO5-03, RECOVER-01
        # FWD-33: a client whose requests come by way of any node will come back to any node.
        if socket._recovery is not None and not self.session.handshake.is_forwarded:
            told["pid"] = socket._recovery.pid
        packets = socket.namespace._packets
        if self.revision.tells_credentials:
            self.session.send(packets.encode_connect(told))
        else:
            self.session.send(packets.encode_bare_connect())  # SIO4-02

    def admit(self, joining: Joining, socket: "Socket") -> None:
        """Take in the socket of a joining that has ended in JOINED."""
        assert self._joinings is not None
        del self._joinings[joining.name]
        if not self._has_joined:  # BND-15, RUN-50
            self._has_joined = True
            self.join_by = inf
            self.session.joined()
        self.sockets[joining.name] = socket
        log.debug("%s: socket %s has joined %r", self.session, socket.public_id, joining.name)
        if self._history is not None:
            self._history.forget_left(joining.name)

    def forget_joining(self, joining: Joining) -> None:
        """Let the client ask again: a joining was decided against it."""
        if self._joinings is not None and self._joinings.get(joining.name) is joining:
            del self._joinings[joining.name]
        if joining.credentials is not None and self.join_by == inf and not self._has_joined:
            # JOIN-42: it was accepted, and has left or was turned away.
            self._is_timed_anew = True
            self.join_by = trio.current_time() + self.host.options.sockets.connect_timeout_s
            self.session.reschedule()

    def joining_over(self) -> None:
        """Stop counting a joining of which nothing is at work."""
        self._joinings_at_work -= 1
        if not self._joinings:
            self._joinings = None  # so that an idle session holds no dict

    # -- leaving

    def put_out(self, socket: "Socket", reason: str) -> None:
        """Put the client out of one namespace, or refuse it if it is still joining."""
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
        """Have a socket that takes no more packets leave when the batch is done."""
        name = socket.namespace.name
        self.history.departing[name] = self.sockets.pop(name)
        self.host.engine._poller.defer(partial(leave_namespace, socket))

    def forget(self, socket: "Socket") -> None:
        """Forget a socket that has left its namespace. The session goes on (SIO5-33).

        Packets for the namespace may still be on their way, and are tolerated from now on.
        """
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
        """The namespaces that the client has left; made on first use."""
        if self._history is None:
            self._history = History(self.host.options.sockets.max_namespaces_per_session)
        return self._history

    # -- back-pressure

    def burdened(self, *, is_overload: bool) -> None:
        """Stop reading, unless an answer is awaited, which may be the next thing to read (BND-03).

        Args:
            is_overload: whether even that is no excuse any more, so that the session is closed.
        """
        if not self._acks_awaited:
            self.session.pause_reading()
        elif is_overload:
            self.session.lose("overload")

    def queue_eased(self) -> None:
        """Read on, unless a socket, a joining or the client as a whole still holds too much."""
        sockets, joinings = self.sockets.values(), (self._joinings or {}).values()
        if (
            self.host.intake.has_room(self)
            and all(one._events is None or one._events.has_room for one in sockets)
            and all(joining._has_room for joining in joinings)
        ):
            self.session.resume_reading()

    def ack_awaited(self) -> None:
        """Read on: a handler awaits an answer, which may stand behind what is not read."""
        self._acks_awaited += 1
        if not self.host.intake.keeps_back(self):
            self.session.resume_reading()

    def ack_over(self) -> None:
        """One answer fewer is awaited."""
        self._acks_awaited -= 1
