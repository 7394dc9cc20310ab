"""Clients for tests that see every byte: HTTP over h11, WebSocket over wsproto, Engine.IO on both.

They know nothing of the package under test, except that it listens somewhere.
"""

import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import h11
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

PATH = "/socket.io/"
TIMEOUT_S = 5.0


class ConnectionEnded(Exception):
    """The server closed: with a close code, or without (None)."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Rejected(Exception):
    """A WebSocket handshake was answered with an HTTP response."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """One keep-alive connection."""

    def __init__(self, port: int, stream: trio.abc.Stream | None = None) -> None:
        self.port = port
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str | bytes]] = (),
        body: bytes | None = None,
    ) -> Response:
        """Send a request and read its answer, within TIMEOUT_S."""
        with trio.fail_after(TIMEOUT_S):
            await self.send(method, target, headers, body)
            return await self.receive()

    async def send(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str | bytes]] = (),
        body: bytes | None = None,
    ) -> None:
        if self.stream is None:
            self.stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        sent: list[tuple[str, str | bytes]] = [("Host", f"127.0.0.1:{self.port}"), *headers]
        if body is not None:
            sent.append(("Content-Length", str(len(body))))
        raw = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("ascii"))
            for name, value in sent
        ]
        data = self._http.send(h11.Request(method=method, target=target, headers=raw))
        assert data is not None
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def receive(self) -> Response:
        assert self.stream is not None
        status, headers, body = 0, {}, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionEnded(None)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            await self.aclose()
        return Response(status, headers, body)

    async def aclose(self) -> None:
        if self.stream is not None:
            await trio.aclose_forcefully(self.stream)
        self.stream = None
        self._http = h11.Connection(h11.CLIENT)


class WebSocketClient:
    """One WebSocket; pings are answered."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)
        self._messages: deque[str | bytes] = deque()
        self._closed: ConnectionEnded | None = None
        self._parts: list[str | bytes] = []

    @classmethod
    async def open(
        cls,
        port: int,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        stream: trio.abc.Stream | None = None,
    ) -> "WebSocketClient":
        """Shake hands.

        Raises:
            Rejected: the server answered with something else.
        """
        self = cls(stream or await trio.open_tcp_stream("127.0.0.1", port))
        try:
            await self._shake_hands(port, target, headers)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _shake_hands(
        self, port: int, target: str, headers: Sequence[tuple[str, str]]
    ) -> None:
        request = Request(
            host=f"127.0.0.1:{port}",
            target=target,
            extra_headers=[(k.encode(), v.encode()) for k, v in headers],
        )
        await self.stream.send_all(self.ws.send(request))
        rejected: RejectConnection | None = None
        body = b""
        with trio.fail_after(TIMEOUT_S):
            while True:
                data = bytes(await self.stream.receive_some())
                self.ws.receive_data(data or None)
                for event in self.ws.events():
                    if isinstance(event, AcceptConnection):
                        await self._take()  # what came in the same read
                        return
                    if isinstance(event, RejectConnection):
                        rejected = event
                        if not event.has_body:
                            raise Rejected(event.status_code, b"")
                    elif isinstance(event, RejectData):
                        body += event.data
                        if event.body_finished and rejected is not None:
                            raise Rejected(rejected.status_code, body)
                if not data:
                    raise ConnectionEnded(None)

    async def send(self, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        await self.stream.send_all(self.ws.send(event))

    async def receive(self) -> str | bytes:
        """The next message, within TIMEOUT_S.

        Raises:
            ConnectionEnded: the server closed.
        """
        with trio.fail_after(TIMEOUT_S):
            while not self._messages:
                if self._closed is not None:
                    raise self._closed
                try:
                    data = bytes(await self.stream.receive_some())
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    self._closed = self._closed or ConnectionEnded(None)
                    continue
                self.ws.receive_data(data)
                await self._take()
        return self._messages.popleft()

    async def _take(self) -> None:
        for event in self.ws.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self._parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
                if event.message_finished:
                    empty: Any = "" if isinstance(event, TextMessage) else b""
                    self._messages.append(empty.join(self._parts))
                    self._parts.clear()
            elif isinstance(event, Ping):
                await self.stream.send_all(self.ws.send(event.response()))
            elif isinstance(event, CloseConnection):
                self._closed = ConnectionEnded(event.code)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self.stream)


class EngineClient(Protocol):
    """An Engine.IO session; packets are text with their type, or bytes for binary messages."""

    handshake: dict[str, Any]

    async def send(self, packet: str | bytes) -> None: ...

    async def receive(self) -> str | bytes:
        """The next packet, pings and noops included."""

    async def aclose(self) -> None: ...


class WebSocketEngine:
    """An Engine.IO session on WebSocket."""

    def __init__(self, websocket: WebSocketClient, handshake: dict[str, Any]) -> None:
        self.websocket = websocket
        self.handshake = handshake

    @classmethod
    async def open(cls, port: int, path: str = PATH) -> "WebSocketEngine":
        websocket = await WebSocketClient.open(port, f"{path}?EIO=4&transport=websocket")
        try:
            opened = await websocket.receive()
        except BaseException:
            await trio.aclose_forcefully(websocket.stream)
            raise
        assert isinstance(opened, str)
        assert opened[0] == "0"
        return cls(websocket, json.loads(opened[1:]))

    async def send(self, packet: str | bytes) -> None:
        await self.websocket.send(packet)

    async def receive(self) -> str | bytes:
        return await self.websocket.receive()

    async def aclose(self) -> None:
        await self.websocket.aclose()


class PollingEngine:
    """An Engine.IO session on long-polling; each send is a POST, receive polls when it must."""

    def __init__(self, port: int, path: str, handshake: dict[str, Any]) -> None:
        self.port = port
        self.path = path
        self.handshake = handshake
        self.getter = HttpClient(port)
        self.poster = HttpClient(port)
        self._packets: deque[str | bytes] = deque()

    @classmethod
    async def open(cls, port: int, path: str = PATH) -> "PollingEngine":
        http = HttpClient(port)
        try:
            response = await http.request("GET", f"{path}?EIO=4&transport=polling")
        finally:
            await http.aclose()
        assert response.status == 200, response
        first, *rest = response.text.split("\x1e")
        self = cls(port, path, json.loads(first[1:]))
        self._packets.extend(map(_unpack, rest))
        return self

    @property
    def target(self) -> str:
        return f"{self.path}?EIO=4&transport=polling&sid={self.handshake['sid']}"

    async def post(self, body: str) -> Response:
        return await self.poster.request("POST", self.target, body=body.encode())

    async def poll(self) -> Response:
        return await self.getter.request("GET", self.target)

    async def send(self, packet: str | bytes) -> None:
        response = await self.post(
            packet if isinstance(packet, str) else "b" + b64encode(packet).decode()
        )
        if response.status != 200:
            raise ConnectionEnded(response.status)

    async def receive(self) -> str | bytes:
        while not self._packets:
            response = await self.poll()
            if response.status != 200:
                raise ConnectionEnded(response.status)
            self._packets.extend(map(_unpack, response.text.split("\x1e")))
        packet = self._packets.popleft()
        if packet == "1":
            raise ConnectionEnded(None)
        return packet

    async def aclose(self) -> None:
        """Drop the connections; the session ends by timeout, or at once if a GET is out."""
        await self.getter.aclose()
        await self.poster.aclose()


def _unpack(packet: str) -> str | bytes:
    return b64decode(packet[1:]) if packet.startswith("b") else packet


class SocketIOClient:
    """A Socket.IO client on either transport; pings are answered, packets come decoded."""

    def __init__(self, engine: EngineClient) -> None:
        self.engine = engine

    async def receive(self) -> tuple[str, list[bytes]]:
        """The next Socket.IO packet: its text without the leading 4, and its attachments."""
        text = await self._next()
        assert isinstance(text, str), text
        assert text[0] == "4", text
        attachments = []
        if text[1] in "56":
            for _ in range(int(text[2 : text.index("-")])):
                attachment = await self._next()
                assert isinstance(attachment, bytes)
                attachments.append(attachment)
        return text[1:], attachments

    async def _next(self) -> str | bytes:
        while True:
            packet = await self.engine.receive()
            if packet == "2":
                await self.engine.send("3")
            elif packet != "6":
                return packet

    async def send(self, text: str, *attachments: bytes) -> None:
        """Send a Socket.IO packet given without the leading 4."""
        await self.engine.send("4" + text)
        for attachment in attachments:
            await self.engine.send(attachment)

    async def connect(self, namespace: str = "/", auth: Any = None) -> str:
        """Join a namespace; gives the socket's id."""
        prefix = "" if namespace == "/" else namespace + ","
        await self.send("0" + prefix + ("" if auth is None else json.dumps(auth)))
        text, _ = await self.receive()
        assert text.startswith("0" + prefix), text
        sid: str = json.loads(text[1 + len(prefix) :])["sid"]
        return sid

    async def emit(self, *arguments: Any, namespace: str = "/", ack_id: int | None = None) -> None:
        """Send an event without binary."""
        prefix = "" if namespace == "/" else namespace + ","
        number = "" if ack_id is None else str(ack_id)
        await self.send("2" + prefix + number + json.dumps(arguments))

    async def receive_event(self, namespace: str = "/") -> list[Any]:
        """The next packet, which must be an event without binary."""
        prefix = "2" + ("" if namespace == "/" else namespace + ",")
        text, _ = await self.receive()
        assert text.startswith(prefix), text
        arguments: list[Any] = json.loads(text[len(prefix) :])
        return arguments

    async def aclose(self) -> None:
        await self.engine.aclose()


@asynccontextmanager
async def open_client(
    port: int, transport: str = "websocket", path: str = PATH
) -> AsyncIterator[SocketIOClient]:
    """A Socket.IO client that has joined nothing yet."""
    engine: EngineClient
    if transport == "websocket":
        engine = await WebSocketEngine.open(port, path)
    else:
        engine = await PollingEngine.open(port, path)
    client = SocketIOClient(engine)
    try:
        yield client
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()
