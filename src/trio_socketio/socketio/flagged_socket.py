"""One socket with flags for what is sent to it: an immutable chain, each step a new one."""

from typing import TYPE_CHECKING, Any, Protocol

from trio_socketio.acks import PendingAck, check_timeout
from trio_socketio.errors import AckTimeout, SessionClosed
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S
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
    """The socket that a FlaggedSocket sends to."""

    @property
    def id(self) -> str:
        """See Socket."""

    @property
    def namespace(self) -> "Place":
        """See Socket."""

    @property
    def session(self) -> "Session":
        """See Socket."""

    @property
    def connected(self) -> bool:
        """See Socket."""

    @property
    def _is_reachable(self) -> bool:
        """See Socket."""

    @property
    def _outgoing(self) -> "OutgoingListeners | None":
        """See Socket."""

    @property
    def _recovery(self) -> "SocketRecovery | None":
        """See Socket."""

    def _open_acks(self) -> "PendingAcks":
        """See Socket."""

    def _closed(self) -> SessionClosed:
        """See Socket."""


class FlaggedSocket:
    """Emits to a socket with flags; what it broadcasts to the others has them too.

    Args:
        socket: which.
        target: the other sockets, with the flags.
    """

    __slots__ = ("_socket", "_target")

    def __init__(self, socket: Receiver, target: "Target") -> None:
        self._socket = socket
        self._target = target

    @property
    def volatile(self) -> "FlaggedSocket":
        """See Socket.volatile."""
        return FlaggedSocket(self._socket, self.broadcast.volatile._target)

    def compress(self, compress: bool) -> "FlaggedSocket":
        """See Socket.compress."""
        return FlaggedSocket(self._socket, self.broadcast.compress(compress)._target)

    def timeout(self, timeout_s: float) -> "FlaggedSocket":
        """See Socket.timeout."""
        return FlaggedSocket(self._socket, self.broadcast.timeout(timeout_s)._target)

    def emit(self, event: str, *arguments: Any) -> None:
        """See Socket.emit."""
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
        """See Socket.emit_with_ack; AckTimeout at once if it is volatile and cannot leave."""
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
            raise AckTimeout("the volatile question was dropped: the client is behind")
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
        """See Socket.broadcast."""
        return Broadcast(self._socket.namespace, self._target)

    @property
    def local(self) -> Broadcast:
        """See Socket.local."""
        return self.broadcast.local

    def to(self, rooms: "str | Iterable[str]") -> Broadcast:
        """See Socket.to."""
        return self.broadcast.to(rooms)

    in_ = to

    def except_(self, rooms: "str | Iterable[str]") -> Broadcast:
        """See Socket.except_."""
        return self.broadcast.except_(rooms)
