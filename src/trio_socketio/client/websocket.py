"""A WebSocket from the client's side.

No compression is offered, because wsproto inflates without a bound.
"""

from collections.abc import Callable
from typing import Final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import ProtocolError as ForeignProtocolError

from trio_socketio.client.endpoint import Dialer
from trio_socketio.codec.engine_packet import Outgoing, Packet, PacketType, decode_packet
from trio_socketio.errors import PayloadTooLarge, RemoteProtocolError, SessionClosed
from trio_socketio.http.client import CHUNK_BYTES, close_stream, refusal

Sent = Callable[[int], None]

_MAX_REFUSAL_BYTES: Final = 4096


class WebSocketTransport:
    """Carries a session. The caller bounds the time of every call.

    Spec: Engine.IO v4, "WebSocket".

    Args:
        dialer: opens streams.
        max_message_bytes: the limit for one message.
    """

    def __init__(self, dialer: Dialer, max_message_bytes: int) -> None:
        self._dialer = dialer
        self._max_message_bytes = max_message_bytes
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._stream: trio.abc.Stream | None = None
        self._sending = trio.Lock()  # answers to pings go out beside what the program sends
        self._parts: list[bytes] = []  # of a message that has not ended
        self._size = 0
        self._end: Exception | None = None  # what the next call raises

    async def open(self, sid: str = "") -> list[Packet]:
        """Open the WebSocket.

        Args:
            sid: of the session that it is to carry; empty to open a session.
        Returns:
            The packets that came together with the server's answer.
        Raises:
            ConnectFailed: the server refuses, or cannot be reached.
            SessionClosed: the server went away.
            RemoteProtocolError: the server does not speak the protocol.
        """
        self._stream = await self._dialer.open_stream()
        request = Request(
            host=self._dialer.endpoint.authority,
            target=self._dialer.endpoint.target("websocket", sid),
            extra_headers=[
                (name.encode(), value.encode()) for name, value in self._dialer.request_headers()
            ],
        )
        await self._send(self._ws.send(request))
        status, body = 0, b""
        while True:
            events = await self._next_events()
            for at, event in enumerate(events):
                if isinstance(event, AcceptConnection):
                    return await self._receive_events(events[at + 1 :])
                if isinstance(event, RejectConnection):
                    status = event.status_code
                    if not event.has_body:
                        raise refusal(status, b"")
                elif isinstance(event, RejectData):
                    body += event.data
                    if event.body_finished or len(body) > _MAX_REFUSAL_BYTES:
                        raise refusal(status, body)

    async def receive(self) -> list[Packet]:
        """Wait for packets.

        Raises:
            SessionClosed: the server has closed the WebSocket, or went away.
            RemoteProtocolError: a frame or a packet is invalid, or too large.
        """
        while True:
            if self._end is not None:
                raise self._end
            packets = await self._receive_events(await self._next_events())
            if packets:
                return packets

    async def send(self, packets: list[Outgoing], sent: Sent | None = None) -> None:
        """Send packets.

        Args:
            packets: in their order.
            sent: is called with their number when the network has taken them.
        Raises:
            SessionClosed: the server went away.
        """
        frames = []
        for packet in packets:
            if packet.text:
                frames.append(self._frame(TextMessage(packet.text.decode())))
            frames += [self._frame(BytesMessage(data)) for data in packet.attachments]
        await self._send(b"".join(frames))
        if sent is not None:
            sent(len(packets))

    async def say_goodbye(self) -> bool:
        """Send a close frame, and return True, because the server should answer it."""
        if self._ws.state is ConnectionState.OPEN:
            await self._send(self._ws.send(CloseConnection(1000)))
        return True

    async def aclose(self) -> None:
        """Close the stream at once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await close_stream(stream)

    def _frame(self, message: TextMessage | BytesMessage) -> bytes:
        if self._ws.state is not ConnectionState.OPEN:
            raise SessionClosed("transport close")
        return self._ws.send(message)

    async def _send(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            raise SessionClosed("transport close")
        try:
            async with self._sending:
                await stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise SessionClosed("transport error") from error

    async def _next_events(self) -> list[Event]:
        if self._stream is None:
            raise SessionClosed("transport close")
        try:
            data = await self._stream.receive_some(CHUNK_BYTES)
        except trio.BrokenResourceError as error:
            raise SessionClosed("transport error") from error
        if not data:
            raise SessionClosed("transport close")
        try:
            self._ws.receive_data(bytes(data))
            return list(self._ws.events())
        except ForeignProtocolError as error:
            raise RemoteProtocolError(f"the answer is not that of a WebSocket: {error}") from None

    async def _receive_events(self, events: list[Event]) -> list[Packet]:
        packets: list[Packet] = []
        for event in events:
            if isinstance(event, TextMessage):
                text = self._collect(event.data.encode(), finished=event.message_finished)
                if text is not None:
                    packets.append(_decode(text))
            elif isinstance(event, BytesMessage):
                data = self._collect(bytes(event.data), finished=event.message_finished)
                if data is not None:
                    packets.append(Packet(PacketType.MESSAGE, data, binary=True))
            elif isinstance(event, Ping):
                # CLI-44: an answer must not follow our close frame, and need not follow theirs.
                if self._ws.state is ConnectionState.OPEN:
                    await self._send(self._ws.send(event.response()))
            elif isinstance(event, CloseConnection):
                self._end = SessionClosed("transport close")
                if self._ws.state is ConnectionState.OPEN:  # wsproto's own: a frame was invalid
                    self._end = RemoteProtocolError(f"a broken frame: {event.reason}")
                elif self._ws.state is ConnectionState.REMOTE_CLOSING:
                    await self._send(self._ws.send(event.response()))
                break
        return packets

    def _collect(self, part: bytes, *, finished: bool) -> bytes | None:
        """Gather the parts of a message, and return the whole message when its last part comes."""
        self._size += len(part)
        if self._size > self._max_message_bytes:
            raise PayloadTooLarge(f"a message of more than {self._max_message_bytes} bytes")
        if finished and not self._parts:
            self._size = 0
            return part
        if part:  # an empty part would take memory that is not counted
            self._parts.append(part)
        if not finished:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return whole


def _decode(text: bytes) -> Packet:
    packet = decode_packet(text)
    if packet.binary:
        raise RemoteProtocolError("base64 on a WebSocket, which carries binary as it is")
    return packet
