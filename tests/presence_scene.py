"""The guide about presence over nodes: its blocks, and the two nodes that it starts."""

import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from tests.cli_process import ServingProcess, serving
from tests.cluster_guide import Ports
from tests.redis_server import RedisServer
from tests.redis_states import PASSWORD, make_user
from tests.test_cli_services import get
from trio_socketio.control import open_control

GUIDE: Final = Path(__file__).resolve().parents[1] / "spec" / "guide" / "presence_over_nodes.md"
TEXT: Final = GUIDE.read_text(encoding="utf-8")
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)
TOKEN: Final = {"token": "for-development"}
USERS: Final = "tsio:{presence#0}:ns:/chat:users"
LEASE_S: Final = 3.0
LIMIT_S: Final = 90.0
WAIT_S: Final = 20.0
_QUOTED: Final = re.compile("`([^`]+)`")
_SAMPLE: Final = re.compile(r"^(tsio_\S+) (\S+)$", re.MULTILINE)
_ADMINS: Final = {"a": 9001, "b": 9002}


def block(language: str, part: str = "") -> str:
    """The only block of a language that has a part in it."""
    (found,) = [code for kind, code in BLOCKS if kind == language and part in code]
    return found


def read_table() -> dict[str, list[list[str]]]:
    """What the guide quotes in each row: the lines of the log, /readyz, the metrics."""
    _, _, text = TEXT.partition("| what fails | log |")
    rows = [line.strip("|").split("|") for line in text.split("\n\n")[0].splitlines()[2:]]
    return {row[0].strip(): [_QUOTED.findall(cell) for cell in row[1:4]] for row in rows}


ROWS: Final = read_table()


class Scene:
    """Two nodes of the guide.

    Args:
        server: their Redis.
        nodes: by name.
        ports: those that stand for the ports of the guide.
        folder: where they run.
    """

    def __init__(
        self, server: RedisServer, nodes: dict[str, ServingProcess], ports: Ports, folder: Path
    ) -> None:
        self.server = server
        self.nodes = nodes
        self.port = {"a": ports[3001], "b": ports[3002]}
        self._ports = ports
        self._folder = folder
        self._from: dict[str, int] = {}
        self._before: dict[str, dict[str, float]] = {}

    async def begin(self) -> None:
        """Look only at what is logged and counted from now on."""
        for name, node in self.nodes.items():
            self._from[name] = len(node.log)
            self._before[name] = await self._measure(name)

    async def check(self, name: str, row: str) -> None:
        """Wait until all is so on a node that the guide says in a row."""
        lines, answers, metrics = ROWS[row]
        for line in lines:
            await self.wait(f"{name} logs {line!r}", partial(self._has_logged, name, line))
        for answer in answers:
            await self.wait_ready(name, answer)
        for metric in metrics:
            await self.wait(f"{metric} changes", partial(self._has_changed, name, metric))

    async def wait_ready(self, name: str, part: str = "ready") -> None:
        """Wait for an answer of /readyz of a node."""
        await self.wait(f"/readyz of {name} has {part!r}", partial(self._answers, name, part))

    async def count(self, name: str) -> int:
        """Ask a node how many users are online."""
        found = await self.call(name, "presence.count", {"namespace": "/chat"})
        users: int = found["users"]
        return users

    def control(self, name: str) -> str:
        """The address of a node's control socket."""
        return f"unix:{self._folder}/{name}/control.sock"

    async def call(self, name: str, method: str, params: Any) -> Any:
        """Call a method of a node."""
        async with open_control(self.control(name)) as control:
            return await control.call(method, params)

    def online(self) -> int:
        """How many users are online in Redis."""
        users: int = self.server.command("HLEN", USERS)
        return users

    async def wait_online(self, users: int) -> None:
        """Wait until so many users are online."""

        async def is_so() -> bool:
            return self.online() == users

        await self.wait(f"{users} users are online", is_so)

    async def _measure(self, name: str) -> dict[str, float]:
        metrics = (await get(self._ports[_ADMINS[name]], "/metrics")).text
        return {metric: float(value) for metric, value in _SAMPLE.findall(metrics)}

    async def _has_logged(self, name: str, part: str) -> bool:
        return any(part in line for line in self.nodes[name].log[self._from[name] :])

    async def _answers(self, name: str, part: str) -> bool:
        answer = await get(self._ports[_ADMINS[name]], "/readyz")
        return part in answer.text and (answer.status == 200) is (part == "ready")

    async def _has_changed(self, name: str, metric: str) -> bool:
        now, before = await self._measure(name), self._before[name]
        return now[metric] > before[metric] if metric.endswith("_total") else metric in now

    async def wait(self, what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so."""
        ends = trio.current_time() + WAIT_S
        while trio.current_time() < ends:
            if await is_so():
                return
            await trio.sleep(0.05)
        logs = {name: node.log[self._from.get(name, 0) :] for name, node in self.nodes.items()}
        raise AssertionError(f"it is not so that {what}: {logs}")


@asynccontextmanager
async def open_scene(server: RedisServer, folder: Path) -> AsyncIterator[Scene]:
    """Start the nodes, as the guide says, with the user that the guide about clusters makes."""
    ports = Ports(server.port)
    make_user(server)
    (folder / "password").write_text(PASSWORD)
    variables = {
        "TRIO_SOCKETIO__REDIS__URL": server.tcp_url.replace("://", "://trio-socketio@"),
        "TRIO_SOCKETIO__REDIS__PASSWORD_FILE": f"{folder}/password",
    }
    first, second = block("", "trio-socketio serve").splitlines()
    async with (
        open_node(first, folder, ports, **variables) as a,
        open_node(second, folder, ports, **variables) as b,
        trio.open_nursery() as tasks,
    ):
        nodes = {"a": a, "b": b}
        for node in nodes.values():
            await node.wait_port()
            tasks.start_soon(_follow, node)
        yield Scene(server, nodes, ports, folder)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_node(
    command: str, folder: Path, ports: Ports, **variables: str
) -> AsyncIterator[ServingProcess]:
    """Start a node.

    Args:
        command: of the guide.
        folder: where it runs.
        ports: its own, and that of Redis.
        variables: further ones of the environment; they override the file.
    """
    program, serve, *arguments = shlex.split(ports.put_into(command))
    assert [program, serve] == ["trio-socketio", "serve"]
    name = arguments[arguments.index("--node") + 1]
    at = arguments.index("--port")
    port = int(arguments[at + 1])
    del arguments[at : at + 2]
    text = ports.put_into(block("toml", "# im.toml"))
    assert text.count("/run/chat/control.sock") == 1
    text = text.replace("/run/chat/control.sock", f"{folder}/{name}/control.sock")
    place = folder / f"of-{name}"
    place.mkdir(exist_ok=True)
    (place / "im.toml").write_text(text)
    variables["TRIO_SOCKETIO__PRESENCE__LEASE_S"] = f"{LEASE_S:g}"
    async with serving(
        *arguments, cwd=place, port=port, limit_s=LIMIT_S, variables=variables
    ) as node:
        yield node


async def _follow(node: ServingProcess) -> None:
    while await node._read_line():
        pass
