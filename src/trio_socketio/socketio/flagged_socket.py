"""A socket with flags for what is sent to it: an immutable chain; each step is a new value."""

from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S, PendingAck, check_timeout
from trio_socketio.errors import AckTimeout, SessionClosed
from trio_socketio.socketio.broadcast import Broadcast, check_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.acks import PendingAcks
    from trio_socketio.socketio.outgoing_listeners import OutgoingListeners
    from trio_socketio.socketio.place import Place
    from trio_socketio.socketio.socket_recovery import SocketRecovery
    from trio_socketio.socketio.target import Target


class Receiver(Protocol):
    """The socket that a FlaggedSocket sends to. The contracts are those of Socket."""

    @property
    def id(self) -> str:
        """The id of the socket."""

    @property
    def public_id(self) -> str:
        """The id that others may see, as in the log."""

    @property
    def namespace(self) -> "Place":
        """The namespace that it is in."""

    @property
    def session(self) -> "Session":
        """The session with the client."""

    @property
    def connected(self) -> bool:
        """Whether it is in its namespace."""

    @property
    def _is_reachable(self) -> bool:
        """Whether its client knows that it is connected."""

    @property
    def _outgoing(self) -> "OutgoingListeners | None":
        """The listeners of what is sent to it; None if there are none."""

    @property
    def _recovery(self) -> "SocketRecovery | None":
        """Its part in state recovery; None while that is off."""

    def _open_acks(self) -> "PendingAcks":
        """Return what pairs answers with questions; it is made on first use."""

    def _closed(self) -> SessionClosed:
        """Return the error for a question that no client can answer."""


class FlaggedSocket:
    """Emits to a socket with flags, and broadcasts to the other sockets with the same flags.

    Args:
        socket: the socket.
        target: selects the other sockets, and holds the flags.
    """

    __slots__ = ("_socket", "_target")

    def __init__(self, socket: Receiver, target: "Target") -> None:
        self._socket = socket
        self._target = target

    @property
    def volatile(self) -> "FlaggedSocket":
        """Emit what may be lost if the client cannot take it at once."""
        return FlaggedSocket(self._socket, self.broadcast.volatile._target)

    def compress(self, compress: bool) -> "FlaggedSocket":
        """Say whether transports that compress may compress the event. By default they may."""
        return FlaggedSocket(self._socket, self.broadcast.compress(compress)._target)

    def timeout(self, timeout_s: float) -> "FlaggedSocket":
        """Set how long the answer may take, in seconds.

        Raises:
            LocalProtocolError: it is not above zero.
        """
        return FlaggedSocket(self._socket, self.broadcast.timeout(timeout_s)._target)

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event to the client with these flags. Never blocks.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        socket, target = self._socket, self._target
        socket.namespace._workers.check_thread()
        if socket._recovery is not None:
            check_event(event)
            socket._recovery.emit(
                socket, [event, *arguments], volatile=target.volatile, compress=target.compress
            )
            return
        packet = self._encode([event, *arguments], None)
        if not socket._is_reachable:
            socket.session.drop()
        elif target.volatile:
            socket.session.send_volatile(packet)
        else:
            socket.session.send(packet)

    def send(self, *arguments: Any) -> None:
        """Emit "message"."""
        self.emit("message", *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float | None = None
    ) -> Any:
        """Send an event and wait for the client's answer.

        Args:
            event: the name.
            arguments: of the event.
            timeout_s: how long the answer may take; None means what `timeout` has set, or 20 s.
        Returns:
            None for no argument, the argument itself, or a tuple of several.
        Raises:
            AckTimeout: no answer in time; or the event is volatile and the client cannot take it
                now.
            SessionClosed: the client is gone.
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
        """
        socket = self._socket
        socket.namespace._workers.check_thread()
        if timeout_s is None:
            timeout_s = self._target.timeout_s or DEFAULT_ACK_TIMEOUT_S
        check_timeout(timeout_s)
        ack_id = socket.namespace._packets.next_ack_id()
        packet = self._encode([event, *arguments], ack_id)
        if not socket._is_reachable:
            raise socket._closed()
        if self._target.volatile and not socket.session.is_writable:
            socket.session.drop()
            raise AckTimeout("the volatile event was dropped, because the client is behind")
        pending = PendingAck()
        socket.session.send(packet)
        acks = socket._open_acks()
        acks.expect(ack_id, pending)
        try:
            return await pending.wait(timeout_s)
        finally:
            acks.forget(ack_id)

    def _encode(self, arguments: list[Any], ack_id: int | None) -> "Outgoing":
        check_event(arguments[0])
        socket = self._socket
        packet = socket.namespace._packets.encode_event(arguments, ack_id)
        packet.compress = self._target.compress
        if socket._outgoing is not None:
            socket._outgoing.overhear(socket, arguments)
        return packet

    @property
    def broadcast(self) -> Broadcast:
        """All sockets of the namespace except this one, with these flags."""
        return Broadcast(self._socket.namespace, self._target)

    @property
    def local(self) -> Broadcast:
        """The other sockets on this node."""
        return self.broadcast.local

    def to(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The other sockets in these rooms."""
        return self.broadcast.to(rooms)

    in_ = to

    def except_(self, rooms: "str | Iterable[str]") -> Broadcast:
        """The other sockets, except those in these rooms."""
        return self.broadcast.except_(rooms)
