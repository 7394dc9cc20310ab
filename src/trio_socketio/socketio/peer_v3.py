"""Socket.IO v4, as clients 1.x and 2.x speak it: everybody is in the main namespace."""

from math import inf
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.codec.parsers import JSON
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.http.request import Request
from trio_socketio.socketio.intake import Receive, weigh_msgpack
from trio_socketio.socketio.peer import Peer

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.socketio.server import Server
    from trio_socketio.socketio.socket import Socket

MAX_QUERY: Final = 4096
"""Characters in the query of a CONNECT."""


class PeerV3(Peer):
    """See Peer. Spec: Socket.IO v4."""

    recovers = False
    ids_are_secret = True  # they contain the sid

    __slots__ = ()

    def connect_main(self) -> None:
        """Join the main namespace: these clients do not ask for it."""
        self._connect("/", {})

    def new_socket_id(self, name: str) -> str:
        """Clients are not told: they put it together from the sid in the same way."""
        sid = self.session.sid
        return sid if name == "/" else f"{name}#{sid}"

    def accept(self, socket: "Socket") -> None:
        """See Peer."""
        if self._connect_by < inf:
            self._connect_by = inf
            self.session.joined()
        self._send(Packet(PacketType.CONNECT, socket.namespace.name))

    def refuse(self, name: str, data: dict[str, Any]) -> None:
        """See Peer. The client is told the data alone if there is some, else the message."""
        told = data.get("data", data["message"])
        self._send(Packet(PacketType.CONNECT_ERROR, name, told))

    def _expect_attachments(self, packet: Packet) -> None:
        _take_query(packet)
        super()._expect_attachments(packet)

    def _receive_packet(self, packet: Packet) -> None:
        query = _take_query(packet)
        if packet.type is PacketType.CONNECT:
            packet.data = Request.parse_query(query)
        super()._receive_packet(packet)


class ParsingPeer(Peer):
    """A Peer whose client speaks another parser than JSON: each message is a whole packet."""

    __slots__ = ()

    def receive_text(self, packet: bytes, weight: int = 0) -> None:
        """See Peer."""
        weight = weight or self._weigh(self.receive_text, packet)
        if weight:
            self._receive(self.server.parser.decode_text(packet), weight)

    def receive_binary(self, data: bytes, weight: int = 0) -> None:
        """See Peer.receive_text."""
        weight = weight or self._weigh(self.receive_binary, data)
        if weight:
            self._receive(self.server.parser.decode_binary(data), weight)

    def _weigh(self, receive: Receive, packet: bytes) -> int:
        """The weight of a packet; 0 when it was put off."""
        if len(packet) <= self.intake.weigh_above:
            return len(packet) or 1
        weight = weigh_msgpack(packet)
        return 0 if self.intake.put_off(self, receive, packet, weight) else weight

    def _receive(self, packet: Packet, weight: int) -> None:
        if packet.attachments:
            raise RemoteProtocolError("a packet whose attachments nobody would put in")
        packet.weight = weight
        self._receive_packet(packet)


def _take_query(packet: Packet) -> str:
    """Cut off what a client has put behind the namespace's name."""
    packet.namespace, _, query = packet.namespace.partition("?")
    if len(query) > MAX_QUERY:
        raise RemoteProtocolError(f"more than {MAX_QUERY} characters of query in a CONNECT")
    return query


def open_peer(server: "Server", session: "Session") -> Peer:
    """Listen to a session in the way that its client speaks."""
    if server.parser is not JSON:
        return ParsingPeer(server, session)
    if session.protocol != 3:
        return Peer(server, session)
    peer = PeerV3(server, session)
    peer.connect_main()
    return peer
