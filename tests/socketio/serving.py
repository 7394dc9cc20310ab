"""A server of the test's own on a real port, its clients, and what its handlers saw."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from struct import pack
from typing import Any

import trio
from tests import wire
from tests.wire import (
    TIMEOUT_S,
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    SocketIOClient,
    WebSocketEngine,
)

from trio_socketio import Server, Session, Socket, open_server


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port. No defect may have been contained."""
    async with open_server(server) as addresses:
        yield addresses[0][1]
        assert server.statistics().defects == 0


@asynccontextmanager
async def open_client(port: int, transport: str = "websocket") -> AsyncIterator[SocketIOClient]:
    """A client that has joined nothing yet, and says goodbye at the end."""
    async with wire.open_client(port, transport) as client:
        try:
            yield client
        finally:
            if isinstance(client.engine, PollingEngine):
                await leave(client.engine)


async def leave(engine: PollingEngine) -> None:
    """End a session, if it is still there: nobody else tells the server that its client is gone."""
    await engine.getter.aclose()
    http = HttpClient(engine.port)
    with trio.move_on_after(1), suppress(OSError, ConnectionEnded):
        await http.request("POST", engine.target, body=b"1")
        # The server may have closed, and waits to tell: its last packets first, then the close.
        while (await http.request("GET", engine.target)).status == 200:
            pass
    await http.aclose()


@asynccontextmanager
async def joined(
    port: int, transport: str, namespace: str = "/", auth: Any = None
) -> AsyncIterator[tuple[SocketIOClient, str]]:
    """A client that is in a namespace, and its socket's id."""
    async with open_client(port, transport) as client:
        yield client, await client.connect(namespace, auth)


@asynccontextmanager
async def bare_polling(port: int) -> AsyncIterator[PollingEngine]:
    """An Engine.IO session on polling."""
    engine = await PollingEngine.open(port)
    try:
        yield engine
    finally:
        await leave(engine)
        await engine.aclose()


@asynccontextmanager
async def bare_websocket(port: int) -> AsyncIterator[WebSocketEngine]:
    """An Engine.IO session on WebSocket."""
    engine = await WebSocketEngine.open(port)
    try:
        yield engine
    finally:
        await engine.aclose()


class Record:
    """What handlers saw, in order."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def add(self, entry: Any) -> None:
        self.entries.append(entry)

    async def wait(self, count: int) -> list[Any]:
        """All entries, as soon as there are count of them."""
        await until(lambda: len(self.entries) >= count)
        return self.entries


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that real sockets bring about, at most TIMEOUT_S."""
    with trio.fail_after(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - what happens in the kernel sets no event
            await trio.sleep(0.002)


def the_socket(server: Server, namespace: str = "/") -> Socket:
    """The only socket of a namespace."""
    (socket,) = server.of(namespace).sockets.values()
    return socket


def the_session(server: Server) -> Session:
    """The only session of a server that is running."""
    assert server._running is not None
    (session,) = server._running.engine.sessions.values()
    return session


def pending(socket: Socket) -> int:
    """How many events of it wait or run."""
    return 0 if socket._events is None else socket._events.pending


def frame(text: str) -> bytes:
    """A whole text frame from a client; its mask is zero."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        head = pack("!BB", 0x81, 0x80 | size)
    elif size < 65536:
        head = pack("!BBH", 0x81, 0xFE, size)
    else:
        head = pack("!BBQ", 0x81, 0xFF, size)
    return head + b"\0\0\0\0" + payload


async def send_batch(client: SocketIOClient, packets: Sequence[str]) -> None:
    """Send packets, given without the leading 4, in one write or one POST."""
    engine = client.engine
    if isinstance(engine, WebSocketEngine):
        await engine.websocket.stream.send_all(b"".join(frame("4" + text) for text in packets))
    else:
        assert isinstance(engine, PollingEngine)
        response = await engine.post("\x1e".join("4" + text for text in packets))
        assert response.status == 200


async def ask(
    client: SocketIOClient, *arguments: Any, namespace: str = "/", ack_id: int = 7
) -> list[Any]:
    """Emit an event and read its ack, which must be the next packet."""
    await client.emit(*arguments, namespace=namespace, ack_id=ack_id)
    prefix = "3" + ("" if namespace == "/" else namespace + ",") + str(ack_id)
    text, _ = await client.receive()
    assert text.startswith(prefix), text
    answer: list[Any] = json.loads(text[len(prefix) :])
    return answer


async def check_closed(client: SocketIOClient) -> None:
    """The server has ended the session; whatever it still sent is skipped."""
    with trio.fail_after(TIMEOUT_S):
        while True:
            try:
                await client.receive()
            except ConnectionEnded:
                return


async def send_unanswered(client: SocketIOClient, text: str) -> None:
    """Send what the server closes for; on polling the answer may be the refusal."""
    with suppress(ConnectionEnded):
        await client.send(text)
