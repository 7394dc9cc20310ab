"""How the packets of one namespace are written."""

from typing import TYPE_CHECKING

from trio_socketio.codec.parsers import connect_encoder
from trio_socketio.codec.socket_packet import Packet, PacketType

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.codec.parsers import Parser


class PacketWriter:
    """Writes the packets of one namespace, and numbers the events that ask for an answer.

    Args:
        parser: of the server.
        name: of the namespace.

    Attributes:
        encode_connect: writes the CONNECT that tells a client it is connected.
        encode_event: writes an event: its name and arguments, and the id of the answer or None.
        encode_ack: writes an answer: its arguments and the id.
    """

    __slots__ = ("_ack_id", "_name", "_parser", "encode_ack", "encode_connect", "encode_event")

    def __init__(self, parser: "Parser", name: str) -> None:
        self._name = name
        self._ack_id = 0
        self.speak(parser)

    def speak(self, parser: "Parser") -> None:
        """Write in another parser's way: the server's options hold from the start of serving."""
        self._parser = parser
        self.encode_connect = connect_encoder(parser, self._name)
        self.encode_event = parser.arguments_encoder(PacketType.EVENT, self._name)
        self.encode_ack = parser.arguments_encoder(PacketType.ACK, self._name)

    def encode_bare_connect(self) -> "Outgoing":
        """Write a CONNECT without payload: clients 1.x and 2.x know their id."""
        return self._parser.encode_packet(Packet(PacketType.CONNECT, self._name))

    def encode_disconnect(self) -> "Outgoing":
        """Write the DISCONNECT that puts a client out."""
        return self._parser.encode_packet(Packet(PacketType.DISCONNECT, self._name))

    def next_ack_id(self) -> int:
        """Number an event that asks for an answer: unique among the sockets of the namespace."""
        self._ack_id += 1
        return self._ack_id - 1
