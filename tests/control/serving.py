"""A server with a control socket, on one runtime, and raw peers that see every line."""

import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio
from tests import wire
from tests.socketio.serving import leave
from tests.wire import PollingEngine, SocketIOClient

from trio_socketio import Server, TcpEndpoint
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService, describe_api
from trio_socketio.control.system import Reloaded, SystemInfo
from trio_socketio.control.workers import WorkerMethods
from trio_socketio.errors import ConfigurationError
from trio_socketio.im.deliveries.methods import DeliveryMethods
from trio_socketio.im.deliveries.service import Deliveries
from trio_socketio.im.identity.methods import AuthMethods
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.identity.service import IdentityService
from trio_socketio.im.namespaces.methods import DefinitionMethods
from trio_socketio.im.namespaces.service import DefinedNamespaces
from trio_socketio.im.presence.legacy_methods import LegacyMethods
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.im.presence.turns import Turns
from trio_socketio.im.presence.user_methods import UserMethods
from trio_socketio.runtime.runtime import Runtime, open_runtime

TIMEOUT_S = 5.0
SECRET = "0123456789abcdef0123456789abcdef"


@dataclass
class FakeSystem:
    """The program around the server, as far as methods ask of it."""

    reload_error: str = ""
    reloads: int = 0
    waits: bool = False
    is_slow: bool = False
    drained: int = 0
    resume: trio.Event = field(default_factory=trio.Event)

    def info(self) -> SystemInfo:
        return SystemInfo(
            version="0.1.0", node="n0de", pid=1, started_at_s=time.time(), state="serving"
        )

    async def statistics(self) -> dict[str, Any]:
        return {"engine": {"sessions": 1}, "control": {"peers": 1}}

    async def reload(self) -> Reloaded:
        if self.reload_error:
            raise ConfigurationError(self.reload_error)
        if self.is_slow:
            raise TimeoutError("not read within 30 s")
        if self.waits:
            await self.resume.wait()
        await trio.lowlevel.checkpoint()
        self.reloads += 1
        return Reloaded(changed=["log.level"], needs_restart=["listen.port"])

    def drain(self) -> None:
        self.drained += 1


@dataclass
class Controlled:
    """A server that serves, and its control socket."""

    server: Server
    system: FakeSystem
    service: ControlService
    presence: PresenceMethods
    runtime: Runtime
    port: int
    addresses: list[Any]

    @property
    def unix(self) -> str:
        return next(where for where in self.addresses if isinstance(where, str))

    @property
    def address(self) -> str:
        return f"unix:{self.unix}"

    @property
    def tcp_port(self) -> int:
        return int(next(where for where in self.addresses if not isinstance(where, str))[1])

    @asynccontextmanager
    async def client(
        self, namespace: str = "/", transport: str = "websocket", auth: Any = None
    ) -> AsyncIterator[tuple[SocketIOClient, str]]:
        """A Socket.IO client that has joined, and its id."""
        async with wire.open_client(self.port, transport) as client:
            try:
                yield client, await client.connect(namespace, auth)
            finally:
                if isinstance(client.engine, PollingEngine):
                    await leave(client.engine)


def describe_whole_api() -> dict[str, Any]:
    """The description of all methods that the binary has."""
    kinds = [AuthMethods, LegacyMethods, PresenceMethods, UserMethods]
    return describe_api([*kinds, DefinitionMethods, DeliveryMethods, WorkerMethods])


@asynccontextmanager
async def controlled(
    folder: Path,
    server: Server | None = None,
    *,
    system: FakeSystem | None = None,
    identity: IdentityOptions | None = None,
    turns: Turns | None = None,
    deliveries: Deliveries | None = None,
    **options: Any,
) -> AsyncIterator[Controlled]:
    """Serve on a port and on a Unix socket in the folder while the block runs."""
    server = Server() if server is None else server
    system = FakeSystem() if system is None else system
    options.setdefault("listen", (f"unix:{folder / 'control' / 'c.sock'}",))
    methods = AuthMethods(None)
    control_options = ControlOptions(**options)
    presence = PresenceMethods(server, control_options.max_line_bytes)
    delivery = DeliveryMethods(deliveries)
    defined = DefinitionMethods(DefinedNamespaces(server, None))
    users, legacy = UserMethods(server), LegacyMethods(None)
    further = [methods, presence, users, legacy, defined, delivery, WorkerMethods(None)]
    service = ControlService(server, system, control_options, further=further)
    if identity is not None:
        methods.service = IdentityService(server, identity, service.backends.authenticate)
    async with (
        open_runtime() as runtime,
        server.mounted(runtime) as connections,
        runtime.listening(connections, TcpEndpoint(port=0)) as ports,
    ):
        feed = presence.open_feed(turns)
        if feed is not None:
            await runtime.start_service("presence feed", feed.run)
        addresses = await runtime.start_service("control", partial(service.run, runtime))
        if methods.service is not None:
            await runtime.start_service("identity", partial(methods.service.run, runtime))
        yield Controlled(server, system, service, presence, runtime, ports[0][1], addresses)
        assert runtime.poller.failures == 0


class RawPeer:
    """One connection to the control socket; nothing is done unasked."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""
        self._last_id = 0
        self.greeting: dict[str, Any] = {}

    async def send(self, *messages: Any) -> None:
        """Send messages, each in a line; text and bytes are sent as they are."""
        lines = [
            one if isinstance(one, bytes) else one.encode() if isinstance(one, str)
            else json.dumps(one).encode()
            for one in messages
        ]  # fmt: skip
        with trio.fail_after(TIMEOUT_S):
            await self.stream.send_all(b"".join(line + b"\n" for line in lines))

    async def receive(self, timeout_s: float = TIMEOUT_S) -> Any:
        """The next line, decoded; EOFError if the server has closed."""
        with trio.fail_after(timeout_s):
            while b"\n" not in self._buffer:
                try:
                    data = await self.stream.receive_some(1 << 16)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    raise EOFError
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        given = {name.removesuffix("_"): value for name, value in params.items()}
        return {"jsonrpc": "2.0", "method": method, "params": given, "id": self._last_id}

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return the whole answer, which must be the next line."""
        request = self.request(method, **params)
        await self.send(request)
        answer: dict[str, Any] = await self.receive()
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == request["id"], answer
        return answer

    async def call(self, method: str, **params: Any) -> Any:
        answer = await self.ask(method, **params)
        assert "error" not in answer, answer
        return answer["result"]

    async def fail(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method that must fail; return its error."""
        answer = await self.ask(method, **params)
        assert "result" not in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def is_closed(self) -> bool:
        """Whether the server closes, whatever it sends before."""
        try:
            while True:
                await self.receive()
        except EOFError:
            return True


@asynccontextmanager
async def peer(where: Controlled) -> AsyncIterator[RawPeer]:
    """A peer on the Unix socket that was greeted."""
    async with await trio.open_unix_socket(where.unix) as stream:
        raw = RawPeer(stream)
        raw.greeting = await raw.receive()
        yield raw


@asynccontextmanager
async def tcp_peer(
    where: Controlled, context: ssl.SSLContext | None = None
) -> AsyncIterator[RawPeer]:
    """A peer over TCP that was greeted."""
    stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", where.tcp_port)
    if context is not None:
        assert isinstance(stream, trio.SocketStream)
        stream = trio.SSLStream(stream, context, server_hostname="localhost")
    async with stream:
        raw = RawPeer(stream)
        raw.greeting = await raw.receive()
        yield raw


def write_token(folder: Path, name: str = "token", secret: str = SECRET) -> str:
    """A file with a secret; its path."""
    path = folder / name
    path.write_text(secret + "\n")
    return str(path)


def little_buffer(stream: trio.abc.Stream) -> None:
    """Have the kernel take little that the peer does not read."""
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def ids_of(clients: Sequence[tuple[Any, str]]) -> list[str]:
    return [socket_id for _, socket_id in clients]
