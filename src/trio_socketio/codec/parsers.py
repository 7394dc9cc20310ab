"""The interface of a parser, which defines how packets are written, and the two that exist.

All clients of a server must use its parser, because nothing on the wire says which one is spoken.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Final, Protocol, cast

from trio_socketio.codec import msgpack_packet, socket_packet
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import ConfigurationError, RemoteProtocolError

EncodeArguments = Callable[[Sequence[Any], int | None], Outgoing]
"""Writes the arguments of an event or an acknowledgement, and its ack id, which may be None."""


class Parser(Protocol):
    """Translates packets to Engine.IO messages and back. It has no state."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        """Encode a packet.

        Raises:
            LocalProtocolError: the data cannot be sent.
        """

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        """Return a function that encodes the EVENT or ACK packets of one namespace.

        The function raises the same errors as encode_packet.
        """

    def decode_text(self, text: bytes) -> Packet:
        """Decode an Engine.IO text message, its type character included.

        Raises:
            RemoteProtocolError: it is not a packet.
        """

    def decode_binary(self, data: bytes) -> Packet:
        """Decode a binary message that is not an attachment of a text message.

        Raises:
            RemoteProtocolError: it is not a packet.
        """


class JsonParser:
    """The default parser of all clients: JSON, with each binary value in a message of its own."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        return socket_packet.encode_packet(packet)

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        header = socket_packet.encode_header(packet_type, namespace)
        # Unlike a closure, a bound method adds no Python call of its own to each emit.
        return MethodType(socket_packet.encode_arguments, header)

    def decode_text(self, text: bytes) -> Packet:
        """Decode the text of a packet; its attachments are still to come."""
        return socket_packet.decode_packet(text)

    def decode_binary(self, data: bytes) -> Packet:
        raise RemoteProtocolError("a binary message that no packet announced")


class MsgpackParser:
    """The format of socket.io-msgpack-parser: a packet is one binary message of MessagePack."""

    def encode_packet(self, packet: Packet) -> Outgoing:
        return msgpack_packet.encode_packet(packet)

    def arguments_encoder(self, packet_type: PacketType, namespace: str) -> EncodeArguments:
        return msgpack_packet.arguments_encoder(packet_type, namespace)

    def decode_text(self, text: bytes) -> Packet:
        raise RemoteProtocolError("a text message, but packets are binary with MessagePack")

    def decode_binary(self, data: bytes) -> Packet:
        return msgpack_packet.decode_packet(data)


_METHODS: Final = ("encode_packet", "arguments_encoder", "decode_text", "decode_binary")
JSON: Final[Parser] = JsonParser()
PARSERS: Final[Mapping[str, Parser]] = {"json": JSON, "msgpack": MsgpackParser()}
"""The parsers by their names in ServerOptions."""


def find_parser(parser: object) -> Parser:
    """Return a parser that is given by its name, or one of the program's own.

    Raises:
        ConfigurationError: there is no parser of that name, or it lacks a method of a parser.
    """
    found: Any = PARSERS.get(parser) if isinstance(parser, str) else parser
    # isinstance would not find methods that an object gets from its __getattr__.
    lacks = [name for name in _METHODS if not callable(getattr(found, name, None))]
    if lacks or isinstance(found, type):
        names = ", ".join(map(repr, PARSERS))
        without = f", which has no {lacks[0]}" if 0 < len(lacks) < len(_METHODS) else ""
        raise ConfigurationError(f"parser: expected {names} or a Parser, not {parser!r}{without}")
    return cast("Parser", found)


def connect_encoder(parser: Parser, namespace: str) -> Callable[[dict[str, str]], Outgoing]:
    """Return a function that encodes the CONNECT packets which a server sends for a namespace."""
    if parser is JSON:
        header = socket_packet.encode_header(PacketType.CONNECT, namespace)
        return MethodType(socket_packet.encode_connect, header)  # see JsonParser
    return lambda payload: parser.encode_packet(Packet(PacketType.CONNECT, namespace, payload))
