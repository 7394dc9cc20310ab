"""The table of the guide about Redis that is slow, full or away: each state made, and looked at."""

import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

import redis
from tests.cli_process import ServingProcess
from tests.cluster_guide import TEXT, Ports, block, join_lobby, open_nodes
from tests.redis_server import RedisServer
from tests.test_cli_services import get
from tests.wire import SocketIOClient, open_client

LIMIT_S: Final = 25.0
PASSWORD: Final = "secret"
_QUOTED: Final = re.compile("`([^`]+)`")
_SAMPLE: Final = re.compile(r"^(tsio_\S+) (\S+)$", re.MULTILINE)


def read_table() -> dict[str, list[list[str]]]:
    """What the guide quotes in each row: the lines of the log, /readyz, the metrics."""
    _, _, text = TEXT.partition("| Redis | what clients notice | log |")
    rows = [line.strip("|").split("|") for line in text.split("\n\n")[0].splitlines()[2:]]
    return {row[0].strip(): [_QUOTED.findall(cell) for cell in row[2:]] for row in rows}


ROWS: Final = read_table()


USER: Final = block("", "ACL SETUSER").replace("PASSWORD", PASSWORD).split()[2:]
"""The user that the guide makes: the name and the rules."""


def make_user(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", *USER)


class Scene:
    """The nodes of the guide, clients of a and b, and a Redis that a test may spoil.

    The client of a counts aloud, and that of b listens. The nodes log in as the user that the guide
    makes.

    Args:
        server: the Redis.
        nodes: by name; what is looked at is node a.
        ports: those that stand for the ports of the guide.
        folder: has the file with the password.
    """

    def __init__(
        self, server: RedisServer, nodes: dict[str, ServingProcess], ports: Ports, folder: Path
    ) -> None:
        self.server = server
        self.nodes = nodes
        self.ports = ports
        self.node = nodes["a"]
        self.heard: list[int] = []
        self.said = 0
        self._admin = ports[9001]
        self._folder = folder
        self._from = 0
        self._before: dict[str, float] = {}

    async def begin(self) -> None:
        """Look only at what is logged and counted from now on."""
        self._from = len(self.node.log)
        self._before = await self.measure()

    async def measure(self) -> dict[str, float]:
        """Read the metrics of a."""
        metrics = (await get(self._admin, "/metrics")).text
        return {name: float(value) for name, value in _SAMPLE.findall(metrics)}

    async def check(self, state: str) -> None:
        """Wait until all is so that the guide says about a state of Redis."""
        lines, answers, metrics = ROWS[state]
        for line in lines:
            await self.wait(f"the log has {line!r}", partial(self._has_logged, line))
        for answer in answers:
            await self.wait(f"/readyz has {answer!r}", partial(self._answers, answer))
        for metric in metrics:
            await self.wait(f"{metric} grows", partial(self._grows, metric))

    async def wait_logged(self, name: str, part: str) -> None:
        """Wait until a node has written a line that has a part in it."""

        async def has() -> bool:
            return any(part in line for line in self.nodes[name].log)

        await self.wait(f"{name} has logged {part!r}", has)

    async def _has_logged(self, part: str) -> bool:
        return any(part in line for line in self.node.log[self._from :])

    async def _answers(self, part: str) -> bool:
        answer = await get(self._admin, "/readyz")
        return part in answer.text and (answer.status == 200) is (part == "ready")

    async def _grows(self, metric: str) -> bool:
        return (await self.measure())[metric] > self._before.get(metric, 0)

    async def wait(self, what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so."""
        ends = trio.current_time() + LIMIT_S
        while trio.current_time() < ends:
            if await is_so():
                return
            await trio.sleep(0.05)
        raise AssertionError(f"it is not so that {what}: {self.node.log[self._from :]}")

    async def wait_heard(self) -> None:
        """Wait until b's client hears a's again."""
        self.heard.clear()

        async def hears() -> bool:
            return bool(self.heard)

        await self.wait("clients of other nodes hear", hears)
        assert self.heard == sorted(self.heard)

    # -- states of Redis

    async def go_away(self) -> None:
        self.server.stop()
        await self.check("is away")

    async def come_back(self) -> None:
        # With its user: a node that is sooner than ACL SETUSER would be told a wrong password.
        await trio.to_thread.run_sync(self.server.start, "--user", *USER)
        await self.check("is back")
        await self.wait_heard()

    async def have_no_memory(self) -> None:
        """What clients notice is nothing: everything that is said arrives."""
        self.server.command("CONFIG", "SET", "maxmemory", "1")
        self.heard.clear()
        await self.check("has no memory left (`maxmemory`)")
        await self.wait_heard()
        await trio.sleep(0.3)
        assert self.heard == [*range(self.heard[0], self.heard[-1] + 1)]
        self.server.command("CONFIG", "SET", "maxmemory", "0")

    async def take_right(self) -> None:
        self.server.command("ACL", "SETUSER", "trio-socketio", "-publish")
        await self.check("has taken a right from the user")
        self.server.command("ACL", "SETUSER", "trio-socketio", "+publish")
        await self.wait_heard()

    async def change_password(self) -> None:
        self.server.command("ACL", "SETUSER", "trio-socketio", "resetpass", ">another")
        await self.wait_heard()  # nothing happens, until the connection is lost
        self.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await self.check("has another password")
        await trio.Path(self._folder / "password").write_text("another")
        await self.wait_heard()
        make_user(self.server)
        await trio.Path(self._folder / "password").write_text(PASSWORD)

    async def be_slow(self) -> None:
        for _ in range(5):
            self.server.freeze()
            await trio.sleep(0.7)
            self.server.thaw()
            await trio.sleep(0.02)
        await self.check("is slow")
        await self.wait_heard()

    async def stand_still(self) -> None:
        self.server.freeze()
        try:
            await self.check("stands still")
            await self.check("has stood still for 10 to 15 s")
        finally:
            self.server.thaw()
        await self.wait_heard()

    async def drop_who_does_not_read(self) -> None:
        self.server.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 0")
        self.node.process.send_signal(signal.SIGSTOP)
        try:
            before, ends = self._subscribers(), trio.current_time() + LIMIT_S
            # Redis notices some time after the bound is passed, and a node that goes on before
            # takes all of it and keeps its connection.
            while self._subscribers() == before and trio.current_time() < ends:
                self.server.command("PUBLISH", "socket.io#/#nobody#", os.urandom(200_000))
        finally:
            self.node.process.send_signal(signal.SIGCONT)
        await self.check("closes the connection of a node that does not read")
        await self.wait_heard()

    def _subscribers(self) -> int:
        return len(self.server.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())

    async def take_no_more(self) -> None:
        with redis.Redis(
            unix_socket_path=str(self.server.path), single_connection_client=True
        ) as own:
            own.execute_command("CONFIG", "SET", "maxclients", "1")
            own.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await self.check("takes no more connections (`maxclients`)")
            own.execute_command("CONFIG", "SET", "maxclients", "100")
        await self.wait_heard()


@asynccontextmanager
async def open_scene(server: RedisServer, folder: Path) -> AsyncIterator[Scene]:
    """Start the nodes and the clients."""
    ports = Ports(server.port)
    make_user(server)
    secret = folder / "password"
    await trio.Path(secret).write_text(PASSWORD)
    variables = {
        "TRIO_SOCKETIO__REDIS__URL": server.tcp_url.replace("://", "://trio-socketio@"),
        "TRIO_SOCKETIO__REDIS__PASSWORD_FILE": str(secret),
    }
    async with (
        open_nodes(folder, ports, **variables) as nodes,
        open_client(ports[3001]) as ann,
        open_client(ports[3002]) as bob,
        trio.open_nursery() as tasks,  # last: its tasks end before their clients are closed
    ):
        scene = Scene(server, nodes, ports, folder)
        for node in nodes.values():
            tasks.start_soon(_follow, node)
        await join_lobby(ann)
        await join_lobby(bob)
        tasks.start_soon(_say, scene, ann)
        tasks.start_soon(_hear, scene, bob)
        await scene.wait_heard()
        yield scene
        tasks.cancel_scope.cancel()


async def _follow(node: ServingProcess) -> None:
    while await node._read_line():
        pass


async def _say(scene: Scene, client: SocketIOClient) -> None:
    while True:
        scene.said += 1
        await client.emit("message", "lobby", scene.said)
        await trio.sleep(0.05)


async def _hear(scene: Scene, client: SocketIOClient) -> None:
    while True:
        try:
            event: Any = await client.receive_event()
        except trio.TooSlowError:  # nobody says anything
            continue
        if event[0] == "message":
            scene.heard.append(event[3])
