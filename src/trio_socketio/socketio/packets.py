"""Writes the packets of one namespace."""

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
        encode_connect: encodes the CONNECT that tells a client that it is connected.
        encode_event: encodes an event: its name and arguments, and the id for the answer or None.
        encode_ack: encodes an answer: its arguments and the id of the event.
    """

    __slots__ = ("_ack_id", "_name", "_parser", "encode_ack", "encode_connect", "encode_event")

    def __init__(self, parser: "Parser", name: str) -> None:
        self._name = name
        self._ack_id = 0
        self.speak(parser)

    def speak(self, parser: "Parser") -> None:
        """Use this parser from now on: the options hold as they are when serving begins."""
        self._parser = parser
        self.encode_connect = connect_encoder(parser, self._name)
        self.encode_event = parser.arguments_encoder(PacketType.EVENT, self._name)
        self.encode_ack = parser.arguments_encoder(PacketType.ACK, self._name)

    def encode_bare_connect(self) -> "Outgoing":
        """Encode a CONNECT without payload: clients 1.x and 2.x know their id (SIO4-02)."""
        return self._parser.encode_packet(Packet(PacketType.CONNECT, self._name))

    def encode_disconnect(self) -> "Outgoing":
        """Encode the DISCONNECT that puts a client out."""
        return self._parser.encode_packet(Packet(PacketType.DISCONNECT, self._name))

    def next_ack_id(self) -> int:
        """Return an id for an event that asks for an answer (SIO5-29).

        It is unique in the namespace, because a broadcast has one id for all sockets (SURF-06).
        """
        self._ack_id += 1
        return self._ack_id - 1
