"""Puts the messages of one session together to packets."""

from typing import Protocol

from trio_socketio.codec.parsers import Parser
from trio_socketio.codec.socket_packet import Packet, Reassembly
from trio_socketio.errors import RemoteProtocolError


class Receiver(Protocol):
    """Receives the packets of a session."""

    def receive_packet(self, packet: Packet, size_bytes: int) -> None:
        """Take a packet that has arrived with all its attachments.

        Args:
            packet: decoded.
            size_bytes: as it came, attachments included.
        Raises:
            RemoteProtocolError: it is out of place.
        """

    async def wait_ready(self) -> None:
        """Wait until it can take more packets."""


class PacketReader:
    """Decodes messages and gives each packet its attachments (CLI-12).

    Args:
        receiver: gets the packets.
        parser: the parser of the server.
        max_message_bytes: the limit for a packet with its attachments.
    """

    def __init__(self, receiver: Receiver, parser: Parser, max_message_bytes: int) -> None:
        self._receiver = receiver
        self._parser = parser
        self._max_message_bytes = max_message_bytes
        self._reassembly: Reassembly | None = None
        self._size = 0  # bytes of the packet whose attachments are arriving

    def receive_text(self, packet: bytes) -> None:
        """Take a text message; see session.Reader."""
        if self._reassembly is not None:
            raise RemoteProtocolError("text before the attachments of a binary packet are complete")
        decoded = self._parser.decode_text(packet)
        if decoded.attachments:
            # It needs no deadline: it holds no more than one message may (CLI-41), and heartbeats
            # go on beside it.
            self._reassembly = Reassembly(decoded, self._max_message_bytes)
            self._size = len(packet)
        else:
            self._receiver.receive_packet(decoded, len(packet))

    def receive_binary(self, data: bytes) -> None:
        """Take a binary message; see session.Reader."""
        if self._reassembly is None:
            decoded = self._parser.decode_binary(data)
            if decoded.attachments:
                raise RemoteProtocolError("a binary packet that announces attachments")
            self._receiver.receive_packet(decoded, len(data))
            return
        self._size += len(data)
        packet = self._reassembly.receive_attachment(data)
        if packet is not None:
            self._reassembly = None
            self._receiver.receive_packet(packet, self._size)

    async def wait_ready(self) -> None:
        """Wait until the receiver can take more packets."""
        await self._receiver.wait_ready()
