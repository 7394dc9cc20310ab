"""One socket, and how to send to it: an immutable chain, each step a new one."""

from typing import TYPE_CHECKING, Any

from trio_socketio.acks import PendingAck
from trio_socketio.errors import AckTimeout, SessionClosed
from trio_socketio.socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.socketio.broadcast import Broadcast, check_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.socketio.adapter import Target
    from trio_socketio.socketio.socket import Socket


class FlaggedSocket:
    """Emits to a socket with flags; what it broadcasts to the others has them too.

    Args:
        socket: which.
        target: the other sockets, with the flags.
    """

    __slots__ = ("_socket", "_target")

    def __init__(self, socket: "Socket", target: "Target") -> None:
        self._socket = socket
        self._target = target

    @property
    def volatile(self) -> "FlaggedSocket":
        """See Socket.volatile."""
        return type(self)(self._socket, self.broadcast.volatile.target)

    def compress(self, compress: bool) -> "FlaggedSocket":
        """See Socket.compress."""
        return type(self)(self._socket, self.broadcast.compress(compress).target)

    def timeout(self, timeout_s: float) -> "FlaggedSocket":
        """See Socket.timeout."""
        return type(self)(self._socket, self.broadcast.timeout(timeout_s).target)

    def emit(self, event: str, *arguments: Any) -> None:
        """See Socket.emit."""
        self._socket.namespace.workers.check_thread()
        packet = self._encode([event, *arguments], None)
        socket = self._socket
        if not socket.is_reachable:
            socket.session.drop()
        elif self._target.volatile:
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
        self._socket.namespace.workers.check_thread()
        if timeout_s is None:
            timeout_s = self._target.timeout_s or DEFAULT_ACK_TIMEOUT_S
        check_timeout(timeout_s)
        socket = self._socket
        ack_id = socket.namespace.next_ack_id()
        packet = self._encode([event, *arguments], ack_id)
        if not socket.is_reachable:
            raise SessionClosed(socket.reason or "the client has not joined yet", socket.id)
        if self._target.volatile and not socket.session.is_writable:
            socket.session.drop()
            raise AckTimeout("the volatile question was dropped: the client is behind")
        pending = PendingAck()
        socket.session.send(packet)
        socket.expect_ack(ack_id, pending)
        try:
            return await pending.wait(timeout_s)
        finally:
            socket.forget_ack(ack_id)

    def _encode(self, arguments: list[Any], ack_id: int | None) -> "Outgoing":
        check_event(arguments[0])
        packet = self._socket.namespace.encode_event(arguments, ack_id)
        packet.compress = self._target.compress
        if self._socket.is_overheard:
            self._socket.overhear(arguments)
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
