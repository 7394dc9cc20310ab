"""How packets are written: the interface of a parser, and the two that there are.

Every client of a server speaks its parser; nothing on the wire says which one that is.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Final, Protocol, runtime_checkable

from trio_socketio.codec import msgpack_packet, socket_packet
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError

EncodeArguments = Callable[[Sequence[Any], int | None], Outgoing]
"""Writes the arguments of an event or answer, and the id that it asks for or answers."""


@runtime_checkable
class Parser(Protocol):
    """Packets to messages and back. It keeps nothing between two calls."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        """Write a packet.

        Raises:
            LocalProtocolError: the data cannot be sent.
        """

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        """What writes EVENT or ACK packets of one namespace; it raises what encode_packet does."""

    def decode_text(self, text: bytes) -> Packet:
        """Read an Engine.IO text message, its type character included.

        Raises:
            RemoteProtocolError: it is no packet.
        """

    def decode_binary(self, data: bytes) -> Packet:
        """Read a binary message that is no attachment of a text.

        Raises:
            RemoteProtocolError: it is no packet.
        """


class JsonParser:
    """JSON, with binary in messages of its own: what clients speak unless they are told."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        """See Parser."""
        return socket_packet.encode_packet(packet)

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        """See Parser."""
        header = socket_packet.encode_header(packet_type, namespace)
        return MethodType(socket_packet.encode_arguments, header)  # costs no call of its own

    def decode_text(self, text: bytes) -> Packet:
        """See Parser; attachments are still to come."""
        return socket_packet.decode_packet(text)

    def decode_binary(self, data: bytes) -> Packet:
        """See Parser."""
        raise RemoteProtocolError("binary that no packet announced")


class MsgpackParser:
    """MessagePack: a packet is one binary message. What socket.io-msgpack-parser speaks."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        """See Parser."""
        return msgpack_packet.encode_packet(packet)

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        """See Parser."""
        return msgpack_packet.arguments_encoder(packet_type, namespace)

    def decode_text(self, text: bytes) -> Packet:
        """See Parser."""
        raise RemoteProtocolError("text, where packets are MessagePack")

    def decode_binary(self, data: bytes) -> Packet:
        """See Parser."""
        return msgpack_packet.decode_packet(data)


JSON: Final[Parser] = JsonParser()
PARSERS: Final[Mapping[str, Parser]] = {"json": JSON, "msgpack": MsgpackParser()}
"""By their names in ServerOptions."""


def connect_encoder(parser: Parser, namespace: str) -> Callable[[dict[str, str]], Outgoing]:
    """What writes the CONNECT packets of one namespace that a server sends."""
    if parser is JSON:
        header = socket_packet.encode_header(PacketType.CONNECT, namespace)
        return MethodType(socket_packet.encode_connect, header)  # costs no call of its own
    return lambda payload: parser.encode_packet(Packet(PacketType.CONNECT, namespace, payload))
