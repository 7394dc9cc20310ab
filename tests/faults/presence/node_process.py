"""A node in a process of its own: ``python -m tests.faults.presence.node_process SETUP``.

SETUP is the JSON of a NodeSetup. The process prints a line when it serves. It writes what it does
into a file, line by line, so that nothing is lost when it is killed.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
import trio

from tests.control.serving import FakeSystem
from tests.faults.presence.history import Act
from trio_socketio import (
    Joining,
    JoiningState,
    Observer,
    RedisPubSub,
    Server,
    ServerOptions,
    Socket,
    Step,
    TcpEndpoint,
    open_redis,
    open_runtime,
)
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.service import ControlService
from trio_socketio.im.presence import Presence, StoreUnavailable
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.user_methods import UserMethods
from trio_socketio.ops.admin import AdminPort, admin_endpoints
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.ops.health import Health, check_server
from trio_socketio.redis.redis import Redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_socketio.protocol.presence_claims import (
        Claimed,
        ClaimRef,
        ClaimRequest,
        Fenced,
        Released,
        Stale,
        Taken,
    )
    from trio_socketio.protocol.presence_cursor import Cursor

T = TypeVar("T")

NAMESPACE: Final = "/chat"
TICK_S: Final = 0.5
TICKED: Final = "ticked"
"""The room of users named u...0, to which something is sent every TICK_S."""


class NodeSetup(msgspec.Struct, frozen=True, kw_only=True):
    """How a node runs.

    Args:
        name: of the node.
        redis: the URL.
        port: where clients reach it.
        admin_port: where operators do.
        control: the path of its control socket.
        acts: the path of the file that it writes.
        lease_s: of the store.
        outage: what becomes of its clients when the store is away.
        ping_interval_s: for clients.
        ping_timeout_s: for clients.
        max_events: of the log.
    """

    name: str
    redis: str
    port: int
    admin_port: int
    control: str
    acts: str
    lease_s: float = 5.0
    outage: Literal["strict", "available"] = "strict"
    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    max_events: int = 100_000


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Recorder:
    """Writes acts into a file, each at once."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def write(self, act: Act) -> None:
        os.write(self._file, self._encode(act) + b"\n")


class RecordingStore(RedisStore):
    """Writes down what the store was asked, and what it has answered."""

    def __init__(self, recorder: Recorder, redis: Redis, **options: Any) -> None:
        super().__init__(redis, **options)
        self._recorder = recorder

    async def claim(self, request: "ClaimRequest") -> "Claimed | Taken | Fenced":
        ask = partial(super().claim, request)
        return await self._note("claim", ask, request.user, request.id, request.boot)

    async def reassert(
        self, request: "ClaimRequest", token: "Cursor"
    ) -> "Claimed | Stale | Fenced":
        ask = partial(super().reassert, request, token)
        return await self._note("reassert", ask, request.user, request.id, request.boot)

    async def release(self, ref: "ClaimRef", reason: str) -> "Released | Stale | Fenced":
        ask = partial(super().release, ref, reason)
        return await self._note("release", ask, ref.user, "", ref.boot, reason)

    async def _note(
        self,
        do: Any,
        ask: Callable[[], Awaitable[T]],
        user: str,
        id_: str,
        boot: str,
        reason: str = "",
    ) -> T:
        outcome, answer = "unknown", None
        try:
            answer = await ask()
            outcome = type(answer).__name__.lower()
            return answer
        except StoreUnavailable as error:
            reason = str(error)
            raise
        finally:
            self._recorder.write(
                Act(
                    at=boottime(),
                    do=do,
                    user=user,
                    id=id_,
                    boot=boot,
                    outcome=outcome,
                    token=str(getattr(answer, "token", "")),
                    cursor=str(getattr(answer, "cursor", "")),
                    reason=reason,
                )
            )


class Watcher(Observer):
    """Writes down who is in."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def joined(self, socket: Socket) -> None:
        self._write("joined", socket)
        if socket.user is not None and socket.user[0] == "u" and socket.user.endswith("0"):
            socket.join(TICKED)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        self._write("left", socket, reason)

    def handled(self, socket: Socket) -> None:
        self._write("handled", socket)

    def _write(self, do: Any, socket: Socket, reason: str = "") -> None:
        act = Act(at=boottime(), do=do, user=socket.user or "", id=socket.public_id, reason=reason)
        self._recorder.write(act)


def add_handlers(server: Server, watcher: Watcher) -> None:
    """Have the namespace identify its clients, and answer some events."""
    chat = server.of(NAMESPACE)

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["user"])

    chat.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    chat.on("here")(watcher.handled)

    @chat.on("later")
    async def later(socket: Socket) -> None:
        watcher.handled(socket)
        await trio.sleep(0.05)
        socket.emit("echo")

    @chat.on("block")
    def block(socket: Socket, seconds: float) -> None:
        watcher.handled(socket)
        time.sleep(min(seconds, 60.0))  # what user code must not do

    @server.lifespan
    async def tick(_: Server) -> "AsyncIterator[None]":
        async def go_on() -> None:
            number = 0
            while True:
                await trio.sleep(TICK_S)
                number += 1
                chat.local.to(TICKED).emit("tick", number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            yield
            nursery.cancel_scope.cancel()


class Numbers:
    """What Redis and presence count, as JSON in place of metrics."""

    def __init__(self, redis: Redis, presence: Presence) -> None:
        self._redis = redis
        self._presence = presence

    async def encode(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return msgspec.json.encode(
            {"redis": self._redis.statistics(), "presence": self._presence.statistics()}
        )


async def serve(setup: NodeSetup) -> None:
    """Run a node until the process ends."""
    recorder = Recorder(setup.acts)
    options = ServerOptions(
        ping_interval_s=setup.ping_interval_s,
        ping_timeout_s=setup.ping_timeout_s,
        max_unjoined_sessions=10_000,
    )
    async with open_redis(setup.redis) as redis, open_runtime() as runtime:
        server = Server(options, adapter=RedisPubSub(redis))
        store = RecordingStore(recorder, redis, lease_s=setup.lease_s, max_events=setup.max_events)
        presence = Presence(server, store, node=setup.name, outage=setup.outage)
        presence.seat(NAMESPACE, policy="newest", takeover="strict")
        watcher = Watcher(recorder)
        server.of(NAMESPACE).observe(watcher)
        add_handlers(server, watcher)
        nodes = ClusterNodes(redis, server, setup.name)
        methods = PresenceMethods(server)
        control = ControlService(
            server,
            FakeSystem(),
            ControlOptions(listen=(f"unix:{setup.control}",)),
            further=[UserMethods(server), methods],
            nodes=nodes,
        )
        health = Health()
        health.add(check_server(server))
        health.add(lambda: "" if redis.connected else f"Redis: {redis.fault or 'connecting'}")
        health.add(lambda: presence.fault)
        admin_options = AdminOptions(listen=f"127.0.0.1:{setup.admin_port}")
        admin = AdminPort(admin_options, health, Numbers(redis, presence))
        admin_serve = partial(admin.serve, runtime, admin_endpoints(admin_options))
        await runtime.start_service("admin", admin_serve, end=admin.end)
        await runtime.start_service("nodes", nodes.run)
        feed = methods.open_feed()
        assert feed is not None
        await runtime.start_service("presence feed", feed.run)
        await runtime.start_service("control", partial(control.run, runtime))
        async with (
            server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=setup.port)),
        ):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            await trio.sleep_forever()


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    trio.run(serve, msgspec.json.decode(sys.argv[1], type=NodeSetup))
