"""The guide about clusters: its blocks, and the three nodes that it starts, on free ports."""

import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.cli_process import ServingProcess, serving
from tests.interop.server_process import free_port
from tests.wire import SocketIOClient

GUIDE: Final = Path(__file__).resolve().parents[1] / "spec" / "guide" / "cluster.md"
TEXT: Final = GUIDE.read_text(encoding="utf-8")
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)
PREFIXES: Final = {"a": "aaaa", "b": "bbbb", "c": "cccc"}
_PORTS: Final = re.compile(r"\b(300[0-3]|400[12]|410[1-3]|900[1-3]|6379)\b")
LIMIT_S: Final = 110.0
STICKY, FORWARDING = "cluster.toml", "forwarding.toml"
"""The files of nodes whose balancer finds the node of a session, and of those that forward."""


def blocks(language: str, part: str = "") -> list[str]:
    """The blocks of a language that have a part in them, in their order."""
    return [code for kind, code in BLOCKS if kind == language and part in code]


def block(language: str, part: str = "") -> str:
    """The only block of a language that has a part in it."""
    (found,) = blocks(language, part)
    return found


class Ports:
    """Stand for the ports of the guide.

    Args:
        redis: the port of the Redis server.
    """

    def __init__(self, redis: int) -> None:
        self._ports = {6379: redis}

    def __getitem__(self, port: int) -> int:
        if port not in self._ports:
            self._ports[port] = free_port()
        return self._ports[port]

    def put_into(self, text: str) -> str:
        """Replace the ports in a text of the guide."""
        return _PORTS.sub(lambda found: str(self[int(found[0])]), text)


def commands(part: str) -> list[str]:
    """The commands of a block that start the nodes."""
    return [line for line in block("", part).splitlines() if "trio-socketio serve " in line]


def make_secret(folder: Path) -> None:
    """Run the command of the guide that makes the secret of the nodes."""
    command = block("", f"--config {FORWARDING}").splitlines()[0]
    subprocess.run(["bash", "-c", command], cwd=folder, check=True, timeout=10)


@asynccontextmanager
async def open_node(
    name: str, folder: Path, ports: Ports, file: str = STICKY, **variables: str
) -> AsyncIterator[ServingProcess]:
    """Start the node of this name as the guide says.

    Args:
        name: a, b or c.
        folder: where it runs.
        ports: its own, and that of Redis.
        file: the file of all nodes.
        variables: further ones of the environment; they override the file.
    """
    if not (folder / file).exists():  # another node may be reading it
        (folder / file).write_text(ports.put_into(block("toml", f"# {file}")))
    (command,) = [line for line in commands(f"--config {file}") if f"--node {name} " in line]
    before, _, after = ports.put_into(command).partition("trio-socketio serve ")
    own = dict(variable.split("=") for variable in shlex.split(before))
    arguments = shlex.split(after)
    at = arguments.index("--port")
    port = int(arguments[at + 1])
    del arguments[at : at + 2]
    async with serving(
        *arguments, cwd=folder, port=port, limit_s=LIMIT_S, variables={**own, **variables}
    ) as node:
        yield node


@asynccontextmanager
async def open_nodes(
    folder: Path, ports: Ports, file: str = STICKY, **variables: str
) -> AsyncIterator[dict[str, ServingProcess]]:
    """Start the three nodes of the guide, and wait until they serve; see open_node."""
    if file == FORWARDING:
        make_secret(folder)
    async with AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(open_node(name, folder, ports, file, **variables))
            for name in PREFIXES
        }
        for node in nodes.values():
            await node.wait_port()
        yield nodes


async def join_lobby(client: SocketIOClient) -> None:
    """Have a client of the lobby join the room that is named so, too."""
    await client.connect()
    await client.emit("join", "lobby", ack_id=1)
    while not (await client.receive())[0].startswith("31"):
        pass  # others have joined
