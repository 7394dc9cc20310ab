"""A bare Engine.IO server inside the test, on real sockets, and a clock that the test moves."""

import inspect
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Concatenate, Final, ParamSpec, Protocol, Self, TypeVar

import trio
from tests.wire import (
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    Response,
    WebSocketClient,
    WebSocketEngine,
)
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import TextMessage

from trio_socketio import Server, ServerOptions, Session
from trio_socketio.engine.server import EngineServer

PATH: Final = "/engine.io/"
POLLING: Final = f"{PATH}?EIO=4&transport=polling"
WEBSOCKET: Final = f"{PATH}?EIO=4&transport=websocket"
UPGRADE_HEADERS: Final[tuple[tuple[str, str], ...]] = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
REAL_TIMEOUT_S: Final = 20.0
MESSAGES: Final = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}

P = ParamSpec("P")
Client = TypeVar("Client", bound="Closable")


class Closable(Protocol):
    async def aclose(self) -> None: ...


def in_trio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on the real clock, bounded as a whole."""

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            with trio.fail_after(REAL_TIMEOUT_S):
                await test(*args, **kwargs)

        trio.run(main)

    return _like(test, run, inspect.signature(test))


def on_mock_clock(test: Callable[Concatenate[MockClock, P], Awaitable[None]]) -> Callable[P, None]:
    """Run an async test with real sockets on a clock that stands until the test moves it.

    A thread keeps the real time, so that a test that hangs ends all the same.
    """

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        clock = MockClock()
        done = threading.Event()

        async def watch() -> None:
            if not await trio.to_thread.run_sync(done.wait, REAL_TIMEOUT_S, abandon_on_cancel=True):
                raise TimeoutError(f"more than {REAL_TIMEOUT_S} s of real time")

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await test(clock, *args, **kwargs)
                nursery.cancel_scope.cancel()

        try:
            trio.run(main, clock=clock)
        finally:
            done.set()

    signature = inspect.signature(test)
    return _like(test, run, signature.replace(parameters=list(signature.parameters.values())[1:]))


def _like(test: Any, run: Callable[P, None], signature: inspect.Signature) -> Callable[P, None]:
    """Let pytest see the test's name and the arguments that it has to give."""
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(run, name, getattr(test, name))
    run.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks at
    return run


async def settle() -> None:
    """Let everything happen that can happen without the test: local sockets deliver at once."""
    await wait_all_tasks_blocked(0.003)


class Recorder:
    """Listens to one session: writes down what it is told, and echoes if asked."""

    def __init__(self, session: Session, *, echo: bool) -> None:
        self.session = session
        self.echo = echo
        self.received: list[str | bytes] = []
        self.reasons: list[str] = []
        self.ended = trio.Event()
        self.on_message: Callable[[str | bytes], None] | None = None

    def receive_text(self, packet: bytes) -> None:
        assert packet[:1] == b"4"
        self._receive(packet[1:].decode())
        if self.echo:
            self.session.send_text(packet[1:])

    def receive_binary(self, data: bytes) -> None:
        self._receive(data)
        if self.echo:
            self.session.send_binary(data)

    def _receive(self, message: str | bytes) -> None:
        self.received.append(message)
        if self.on_message is not None:
            self.on_message(message)

    def session_closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended.set()

    def next_deadline(self) -> float:
        return inf

    def expire(self, now: float) -> None:
        raise AssertionError("no deadline was asked for")


class Engine:
    """The server under test, and clients that are closed with it."""

    def __init__(
        self, server: Server, engine: EngineServer, port: int, listeners: list[Recorder]
    ) -> None:
        self.server = server
        self.engine = engine
        self.port = port
        self.listeners = listeners
        self._clients: list[Closable] = []

    @property
    def listener(self) -> Recorder:
        """Of the newest session."""
        return self.listeners[-1]

    @property
    def session(self) -> Session:
        """The newest one."""
        return self.listener.session

    def keep(self, client: Client) -> Client:
        """Have client closed at the end."""
        self._clients.append(client)
        return client

    def http(self) -> HttpClient:
        """A keep-alive connection of its own."""
        return self.keep(HttpClient(self.port))

    async def connect(self) -> trio.SocketStream:
        """A connection for bytes of the test's own making."""
        return self.keep(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def polling(self) -> PollingEngine:
        """A session on polling."""
        return self.keep(await PollingEngine.open(self.port, PATH))

    async def websocket(self) -> WebSocketEngine:
        """A session on WebSocket."""
        return self.keep(await WebSocketEngine.open(self.port, PATH))

    async def candidate(self, polling: PollingEngine) -> WebSocketClient:
        """A WebSocket that names the session of polling."""
        target = f"{WEBSOCKET}&sid={polling.handshake['sid']}"
        return self.keep(await WebSocketClient.open(self.port, target))

    async def probed(self, polling: PollingEngine) -> WebSocketClient:
        """A candidate whose probe was answered."""
        websocket = await self.candidate(polling)
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        return websocket

    async def upgrade(self, polling: PollingEngine) -> WebSocketClient:
        """Take a session over to WebSocket, as official clients do."""
        websocket = await self.probed(polling)
        await websocket.send("5")
        await settle()
        return websocket

    async def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str | bytes]] = (),
        body: bytes | None = None,
    ) -> Response:
        """One request on a connection of its own."""
        http = HttpClient(self.port)
        try:
            return await http.request(method, target, headers, body)
        finally:
            await http.aclose()

    async def start_get(self, polling: PollingEngine) -> HttpClient:
        """Send a GET, to be answered later."""
        http = self.http()
        await http.send("GET", polling.target)
        await settle()
        return http

    async def close_clients(self) -> None:
        """Drop every connection."""
        for client in self._clients:
            if isinstance(client, trio.SocketStream):
                await trio.aclose_forcefully(client)
            else:
                await client.aclose()
        self._clients.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self.close_clients()


@asynccontextmanager
async def open_engine(
    *, echo: bool = True, configure: Callable[[Server], object] | None = None, **options: Any
) -> AsyncIterator[Engine]:
    """Serve bare Engine.IO; at the end no exception may have reached the server's last barrier."""
    listeners: list[Recorder] = []

    def open_session(session: Session) -> Recorder:
        listeners.append(Recorder(session, echo=echo))
        return listeners[-1]

    server = Server(ServerOptions(**options))
    server.mount(PATH, open_session)
    if configure is not None:
        configure(server)

    async def serve(task_status: trio.TaskStatus[list[Any]]) -> None:
        await server.serve(host="127.0.0.1", port=0, task_status=task_status)

    async with trio.open_nursery() as nursery:
        addresses: list[Any] = await nursery.start(serve)
        running = server._running
        assert running is not None
        async with Engine(server, running.engines[1], addresses[0][1], listeners) as engine:
            yield engine
            assert server.statistics().defects == 0
        nursery.cancel_scope.cancel()


def assert_refused(response: Response, code: int, message: str | None = None) -> None:
    """An error answer: exactly the reference's status, type, members and text."""
    message = message or MESSAGES[code]
    assert response.status == (403 if code == 4 else 400)
    assert response.headers["content-type"] == "application/json"
    assert response.body == b'{"code":%d,"message":"%b"}' % (code, message.encode())
    assert json.loads(response.body) == {"code": code, "message": message}
    assert response.headers["content-length"] == str(len(response.body))


def assert_upgrade_refused(response: Response, code: int, message: str | None = None) -> None:
    """An error answer to a WebSocket handshake."""
    assert response.status == 400
    assert response.headers["content-type"] == "text/html"
    assert response.headers["connection"] == "close"
    assert response.text == (message or MESSAGES[code])


def split(response: Response) -> list[str]:
    """The packets of a polling answer."""
    assert response.status == 200, response
    return response.text.split("\x1e")


def send_unseen(websocket: WebSocketClient, packet: str) -> None:
    """Put a packet into the kernel without giving the server a turn."""
    assert isinstance(websocket.stream, trio.SocketStream)
    data = websocket.ws.send(TextMessage(packet))
    sent = os.write(websocket.stream.socket.fileno(), data)
    assert sent == len(data)


async def closing_code(websocket: WebSocketClient) -> int | None:
    """Read on until the server closes; the code that it gave."""
    while True:
        try:
            await websocket.receive()
        except ConnectionEnded as ended:
            return ended.code
