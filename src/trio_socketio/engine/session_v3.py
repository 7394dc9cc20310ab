"""A session of Engine.IO v3: the client pings, and binary messages carry their type."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from trio_socketio.codec.engine_packet import CLOSE, NOOP, Outgoing, OutgoingV3, PacketType
from trio_socketio.codec.engine_packet_v3 import (
    BINARY_MESSAGE,
    decode_binary,
    decode_packet,
    encode_binary,
)
from trio_socketio.engine.session import Session
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.net.frames import BINARY, TEXT, encode_frame, encode_frames
from trio_socketio.protocol.heartbeat import ClientHeartbeat

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Handshake
    from trio_socketio.engine.server import EngineServer

_PING: Final = ord("0") + PacketType.PING
_BASE64: Final = ord("b")
_IGNORED: Final = frozenset(b"56")  # as in revision 4


class SessionV3(Session):
    """See Session. Spec: Engine.IO v3."""

    protocol: ClassVar = 3

    __slots__ = ("_base64", "_client_heartbeat")

    def __init__(self, server: "EngineServer", sid: str, handshake: "Handshake") -> None:
        super().__init__(server, sid, handshake)
        options = server.options
        self._base64 = False  # the WebSocket cannot carry binary messages
        self._heartbeat = self._client_heartbeat = ClientHeartbeat(
            options.ping_interval_s, options.ping_timeout_s
        )
        self._heartbeat.receive_pong(trio.current_time())

    def prepare_websocket(self, query: Mapping[str, str]) -> None:
        """See Session."""
        self._base64 = bool(query.get("b64"))

    def send(self, packet: Outgoing) -> None:
        """See Session."""
        connection = self._connection
        if connection is None:
            self._hold(packet)
        elif not packet.attachments:
            connection.write(packet.frames or encode_frames(packet))
        else:
            connection.write(self._encode_attached(packet))

    def _encode_attached(self, packet: Outgoing) -> bytes:
        encodings = packet.v3
        if encodings is None:
            encodings = packet.v3 = OutgoingV3()
        frames = encodings.base64_frames if self._base64 else encodings.frames
        if frames is None:
            parts = [encode_frame(TEXT, packet.text)] if packet.text else []
            if self._base64:
                parts += [encode_frame(TEXT, encode_binary(data)) for data in packet.attachments]
                frames = encodings.base64_frames = b"".join(parts)
            else:
                parts += [
                    encode_frame(BINARY, BINARY_MESSAGE + data) for data in packet.attachments
                ]
                frames = encodings.frames = b"".join(parts)
        return frames

    def receive_text(self, packet: bytes) -> None:
        """See Session. Any packet is a sign of life."""
        self._heartbeat.receive_pong(trio.current_time())
        super().receive_text(packet)

    def receive_binary(self, data: bytes) -> None:
        """See Session."""
        self._heartbeat.receive_pong(trio.current_time())
        super().receive_binary(data)

    def receive_frame(self, data: bytes) -> None:
        """A binary WebSocket message arrived: a packet with its type in front."""
        try:
            message = decode_binary(data)
        except RemoteProtocolError as error:
            self._server.contain(self, error)
        else:
            self.receive_binary(message)

    def _receive_control(self, packet: bytes) -> None:
        kind = packet[0] if packet else 0
        if kind == _PING:
            self.send(Outgoing(b"3" + packet[1:]))
        elif packet == CLOSE.text:
            self.lose("transport close")
        elif kind == _BASE64:
            try:
                message = decode_packet(packet).data
            except RemoteProtocolError as error:
                self._server.contain(self, error)
            else:
                self.receive_binary(message)
        elif kind not in _IGNORED:
            # A pong goes from server to client; an open packet too; nothing else exists.
            self.lose("transport error" if packet[:1].isdigit() else "parse error")

    def pause_reading(self, *, briefly: bool = False) -> None:
        """See Session."""
        super().pause_reading(briefly=briefly)
        if self.paused:
            self._client_heartbeat.pause(trio.current_time())
            self._server.deadlines.schedule(self)

    def _reassure(self, now: float) -> None:
        """Nothing is read: the client gives us up unless it hears something; its ping waits."""
        self.send(NOOP)
        self._client_heartbeat.pause(now)
