"""Two of our servers and two of Node that share a Redis, a client of each, and an emitter.

The first server of Node has version 8 of the adapter, the second one version 7.
"""

import base64
import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import trio
from tests.redis_server import RedisServer

from trio_socketio import (
    AckTimeout,
    Broadcast,
    Client,
    ClientNamespace,
    ClientOptions,
    Namespace,
    Server,
    ServerOptions,
    open_client,
    open_redis,
    open_server,
)
from trio_socketio.adapters.redis_pubsub import RedisPubSub

SCRIPT: Final = Path(__file__).parent / "redis_node.mjs"
NAMESPACES: Final = ("/", "/chat")
LIMIT_S: Final = 20.0


@dataclass(frozen=True)
class Chosen:
    """Whom something is for, and how it goes there."""

    namespace: str = "/"
    rooms: Sequence[str] = ()
    except_: Sequence[str] = ()
    volatile: bool = False
    compress: bool = True
    local: bool = False


class Incomplete(Exception):
    """Not all have answered; it holds the answers of the others."""

    def __init__(self, responses: list[Any]) -> None:
        super().__init__(responses)
        self.responses = responses


class Member(Protocol):
    """What every server can do, ours and Node's; an emitter does what needs no answer."""

    @property
    def name(self) -> str: ...
    async def emit(self, chosen: Chosen, *arguments: Any) -> None: ...
    async def join(self, chosen: Chosen, *rooms: str) -> None: ...
    async def leave(self, chosen: Chosen, *rooms: str) -> None: ...
    async def disconnect(self, chosen: Chosen, *, close: bool = False) -> None: ...
    async def tell(self, namespace: str, *arguments: Any) -> None: ...


class FullMember(Member, Protocol):
    """A server."""

    port: int

    async def ask(self, chosen: Chosen, timeout_s: float, *arguments: Any) -> list[Any]: ...
    async def fetch(self, chosen: Chosen) -> dict[str, dict[str, Any]]: ...
    async def ask_servers(self, namespace: str, *arguments: Any) -> list[Any]: ...
    async def rooms(self, namespace: str) -> set[str]: ...
    async def count(self, namespace: str) -> int: ...
    async def heard(self) -> list[Any]: ...


class NodeProcess:
    """A server of Node, or an emitter, that does what it is told line by line."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.port = 0
        self._process = process
        self._input = b""
        self._lock = trio.Lock()

    async def read_line(self) -> Any:
        assert self._process.stdout is not None
        while b"\n" not in self._input:
            received = await self._process.stdout.receive_some()
            assert received, f"{self.name} has ended"
            self._input += received
        line, _, self._input = self._input.partition(b"\n")
        return with_binary(json.loads(line))

    async def _do(self, what: str, chosen: Chosen, **details: Any) -> Any:
        request = {
            "do": what,
            "namespace": chosen.namespace,
            "rooms": chosen.rooms,
            "except": chosen.except_,
            "volatile": chosen.volatile,
            "compress": chosen.compress,
            "local": chosen.local,
            **details,
        }
        async with self._lock:
            assert self._process.stdin is not None
            line = json.dumps(without_binary(request)) + "\n"
            await self._process.stdin.send_all(line.encode())
            answer = await self.read_line()
        if "error" in answer:
            raise Incomplete(answer.get("responses", [answer["error"]]))
        return answer.get("result")

    async def emit(self, chosen: Chosen, *arguments: Any) -> None:
        await self._do("emit", chosen, arguments=arguments)

    async def ask(self, chosen: Chosen, timeout_s: float, *arguments: Any) -> list[Any]:
        timeout = int(timeout_s * 1000)
        answers: list[Any] = await self._do("ask", chosen, arguments=arguments, timeout=timeout)
        return answers

    async def fetch(self, chosen: Chosen) -> dict[str, dict[str, Any]]:
        return {found["id"]: found for found in await self._do("fetch", chosen)}

    async def join(self, chosen: Chosen, *rooms: str) -> None:
        await self._do("join", chosen, to=rooms)

    async def leave(self, chosen: Chosen, *rooms: str) -> None:
        await self._do("leave", chosen, to=rooms)

    async def disconnect(self, chosen: Chosen, *, close: bool = False) -> None:
        await self._do("disconnect", chosen, close=close)

    async def tell(self, namespace: str, *arguments: Any) -> None:
        await self._do("tell", Chosen(namespace), arguments=arguments)

    async def ask_servers(self, namespace: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = await self._do("ask servers", Chosen(namespace), arguments=arguments)
        return answers

    async def rooms(self, namespace: str) -> set[str]:
        return set(await self._do("rooms", Chosen(namespace)))

    async def count(self, namespace: str) -> int:
        number: int = await self._do("count", Chosen(namespace))
        return number

    async def call_adapter(self, namespace: str, method: str, *arguments: Any) -> Any:
        return await self._do("call adapter", Chosen(namespace), arguments=[method, *arguments])

    async def heard(self) -> list[Any]:
        heard: list[Any] = await self._do("heard", Chosen())
        return heard


class OurServer:
    """One of our servers, in this process."""

    def __init__(self, name: str, server: Server, pubsub: RedisPubSub, port: int) -> None:
        self.name = name
        self.port = port
        self.pubsub = pubsub
        self.server = server
        self._heard: list[Any] = []
        for namespace in NAMESPACES:
            self._listen(server.of(namespace))

    def _listen(self, namespace: Namespace) -> None:
        @namespace.on("connection")
        def connected(socket: Any) -> None:
            socket.data["from"] = "python"

        @namespace.on_server_side("hello")
        def hello(*values: Any) -> dict[str, Any]:
            self._heard.append([namespace.name, *values])
            return {"from": "python", "values": values}

    def _select(self, chosen: Chosen) -> Broadcast:
        target: Broadcast = self.server.of(chosen.namespace)
        if chosen.rooms:
            target = target.to(chosen.rooms)
        if chosen.except_:
            target = target.except_(chosen.except_)
        if chosen.volatile:
            target = target.volatile
        if not chosen.compress:
            target = target.compress(False)
        return target.local if chosen.local else target

    async def emit(self, chosen: Chosen, *arguments: Any) -> None:
        self._select(chosen).emit(*arguments)
        await trio.lowlevel.checkpoint()

    async def ask(self, chosen: Chosen, timeout_s: float, *arguments: Any) -> list[Any]:
        try:
            return await self._select(chosen).emit_with_ack(*arguments, timeout_s=timeout_s)
        except AckTimeout as error:
            raise Incomplete(error.responses) from error

    async def fetch(self, chosen: Chosen) -> dict[str, dict[str, Any]]:
        return {
            one.id: {
                "rooms": one.rooms,
                "data": one.data,
                "handshake": {"address": one.handshake.address, "query": one.handshake.query},
            }
            for one in await self._select(chosen).fetch_sockets()
        }

    async def join(self, chosen: Chosen, *rooms: str) -> None:
        self._select(chosen).sockets_join(rooms)
        await trio.lowlevel.checkpoint()

    async def leave(self, chosen: Chosen, *rooms: str) -> None:
        self._select(chosen).sockets_leave(rooms)
        await trio.lowlevel.checkpoint()

    async def disconnect(self, chosen: Chosen, *, close: bool = False) -> None:
        self._select(chosen).disconnect_sockets(close)
        await trio.lowlevel.checkpoint()

    async def tell(self, namespace: str, *arguments: Any) -> None:
        self.server.of(namespace).server_side_emit(*arguments)
        await trio.lowlevel.checkpoint()

    async def ask_servers(self, namespace: str, *arguments: Any) -> list[Any]:
        return await self.server.of(namespace).server_side_emit_with_ack(*arguments)

    def _adapter(self, namespace: str) -> Any:
        return self.server.of(namespace).adapter

    async def rooms(self, namespace: str) -> set[str]:
        rooms: set[str] = await self._adapter(namespace).all_rooms()
        return rooms

    async def count(self, namespace: str) -> int:
        number: int = await self._adapter(namespace).node_count()
        return number

    async def heard(self) -> list[Any]:
        await trio.lowlevel.checkpoint()
        heard, self._heard[:] = self._heard[:], []
        return heard


@dataclass
class Visitor:
    """A client of one server in one namespace.

    Attributes:
        got: the events that it has got, in their order.
    """

    member: FullMember
    space: Client | ClientNamespace
    got: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("news", "mark"):
            self._note(name)

        @self.space.on("question")
        def question(*values: Any) -> Any:
            self.got.append(["question", *values])
            return [self.member.name, *values]

    def _note(self, name: str) -> None:
        @self.space.on(name)
        def note(*values: Any) -> None:
            self.got.append([name, *values])

    @property
    def id(self) -> str:
        assert self.space.id is not None
        return self.space.id


@dataclass
class Cluster:
    """All of it.

    Attributes:
        servers: two of ours, then two of Node.
        visitors: the clients, by namespace, in the order of the servers.
    """

    servers: list[FullMember]
    emitter: NodeProcess
    visitors: dict[str, list[Visitor]]

    async def settle(self, sender: Member, namespace: str = "/") -> list[list[Any]]:
        """Return what each client of a namespace has got of all that a sender has sent."""
        await sender.emit(Chosen(namespace), "mark")
        visitors = [one for one in self.visitors[namespace] if one.space.connected]
        with trio.fail_after(LIMIT_S):
            while not all(["mark"] in visitor.got for visitor in visitors):
                await trio.sleep(0.002)
        taken = []
        for visitor in self.visitors[namespace]:
            taken.append([one for one in visitor.got if one != ["mark"]])
            visitor.got.clear()
        return taken


@asynccontextmanager
async def node_process(redis: RedisServer, key: str, name: str) -> AsyncIterator[NodeProcess]:
    """Run a server of Node, or the emitter, and check that it was still at work at the end."""
    role = {"node 1": "8", "node 2": "7"}.get(name, name)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            lambda *, task_status: trio.run_process(
                ["node", str(SCRIPT), str(redis.path), key, role],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                task_status=task_status,
            )
        )
        member = NodeProcess(name, process)
        member.port = await member.read_line()
        yield member
        await member.heard()
        process.kill()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_cluster(
    redis: RedisServer, key: str, *, with_node: bool = True
) -> AsyncIterator[Cluster]:
    """Open the servers and their clients, and wait until every server counts all of them."""
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(LIMIT_S))
        servers: list[FullMember] = []
        for name in ("python 1", "python 2"):
            connection = await stack.enter_async_context(open_redis(redis.url))
            pubsub = RedisPubSub(connection, key=key)
            server = Server(ServerOptions(ping_interval_s=5), adapter=pubsub)
            for namespace in NAMESPACES:
                server.of(namespace)
            addresses = await stack.enter_async_context(open_server(server))
            servers.append(OurServer(name, server, pubsub, addresses[0][1]))
        processes = [
            await stack.enter_async_context(node_process(redis, key, name))
            for name in ("emitter", *(("node 1", "node 2") if with_node else ()))
        ]
        servers += processes[1:]
        for member in servers:
            while {await member.count(namespace) for namespace in NAMESPACES} != {len(servers)}:
                await trio.sleep(0.005)
        visitors: dict[str, list[Visitor]] = {name: [] for name in NAMESPACES}
        for member in servers:
            url = f"http://127.0.0.1:{member.port}"
            client = await stack.enter_async_context(
                open_client(url, transports=("websocket",), options=ClientOptions(reconnect=False))
            )
            chat = client.of("/chat")
            await chat.connect()
            visitors["/"].append(Visitor(member, client))
            visitors["/chat"].append(Visitor(member, chat))
        yield Cluster(servers, processes[0], visitors)


def without_binary(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: without_binary(item) for key, item in value.items()}
    return [without_binary(item) for item in value] if isinstance(value, (list, tuple)) else value


def with_binary(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$binary"}:
            return base64.b64decode(value["$binary"])
        return {key: with_binary(item) for key, item in value.items()}
    return [with_binary(item) for item in value] if isinstance(value, list) else value
