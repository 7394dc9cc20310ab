"""A question to some sockets that may be sent again: an answer to any copy of it is its answer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trio_socketio.socketio.acks import Awaited

if TYPE_CHECKING:
    from trio_socketio.socketio.place import Place
    from trio_socketio.socketio.socket import Socket


class RepeatedQuestion:
    """An event that asks sockets of this node for an answer.

    Args:
        namespace: of the sockets.
        acks: told each answer, and each socket that leaves before it has answered.

    Attributes:
        asked: the sockets whose answers are awaited.
    """

    __slots__ = ("_ack_id", "_acks", "_namespace", "asked")

    def __init__(self, namespace: "Place", acks: Awaited) -> None:
        self.asked: dict[str, Socket] = {}
        self._namespace = namespace
        self._acks: Awaited | None = acks
        self._ack_id = namespace._packets.next_ack_id()  # SURF-06: one id for all sockets

    def ask(self, sockets: Iterable["Socket"], arguments: list[Any]) -> int:
        """Ask sockets, or ask them again; return how many. Not after `close`.

        Args:
            sockets: joined sockets of the namespace.
            arguments: the event's name, then its arguments.

        Raises:
            LocalProtocolError: the arguments cannot be sent; nothing was sent.
        """
        if self._namespace._overheard:
            sockets = tuple(sockets)
            for socket in sockets:
                if socket._outgoing is not None:
                    socket._outgoing.overhear(socket, arguments)
        # Encoded and sent after that, because a listener may do anything, even disconnect sockets.
        packet = self._namespace._packets.encode_event(arguments, self._ack_id)
        acks, count = self._acks, 0
        assert acks is not None
        for socket in sockets:
            if socket._is_reachable:
                socket.session.send(packet)
                socket._open_acks().expect(self._ack_id, acks)
                self.asked[socket.public_id] = socket
                count += 1
        return count

    def forget(self, socket_id: str) -> None:
        """Await nothing more of a socket that has left.

        A recovered socket has the id of the one before it, which may leave after it has come.
        """
        socket = self.asked.get(socket_id)
        if socket is not None and not socket._is_reachable:
            del self.asked[socket_id]

    def close(self) -> None:
        """Await no answer any more."""
        asked, self.asked = self.asked, {}
        self._acks = None  # RUN-44: it may hold this question
        for socket in asked.values():
            socket._open_acks().forget(self._ack_id)
