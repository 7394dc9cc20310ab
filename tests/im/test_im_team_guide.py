"""The guide for an IM team: every block of it is run, and its tables are those of the server."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.cli_process import COMMAND, ServingProcess, run_cli, serving
from tests.cluster_guide import Ports
from tests.im.identity.test_des_tokens import IV, KEY
from tests.redis_server import RedisServer
from tests.test_cli_services import get
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlClient
from trio_socketio.control.legacy_routes import _STATUSES
from trio_socketio.control.service import describe_api
from trio_socketio.im.namespaces.methods import DefinitionMethods
from trio_socketio.im.presence.user_methods import UserMethods

GUIDE: Final = Path(__file__).resolve().parents[2] / "spec" / "guide" / "im_team.md"
TEXT: Final = GUIDE.read_text(encoding="utf-8")
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)
MODULES: Final = Path(__file__).parents[1] / "interop" / "node_modules"
LIMIT_S: Final = 60.0
_FLAGS: Final = ("--port", "--control")
_METRIC: Final = re.compile(r"`(tsio_\w+)")


def block(language: str, part: str = "") -> str:
    """The only block of a language that has a part in it."""
    (found,) = [code for kind, code in BLOCKS if kind == language and part in code]
    return found


def rows(head: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    _, _, text = TEXT.partition(head)
    lines = text.split("\n\n")[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|") and not line.startswith("|---")
    ]


def test_every_block_is_run() -> None:
    heads = [(kind, code.split("\n", 1)[0].split(":")[0]) for kind, code in BLOCKS]
    assert heads == [
        ("", "pip install 'trio-socketio[server]'"),
        ("toml", "# im.toml"),
        ("python", "# login.py USER"),
        ("js", "// chat.mjs URL TOKEN ROOM TEXT"),
        ("sh", "trio-socketio ctl --control unix"),
        ("python", "# push.py CONTROL ROOM TEXT"),
        ("js", "// push.mjs CONTROL-FILE ROOM TEXT"),
        ("sh", "trio-socketio ctl --control unix"),
        ("toml", "# to be added to im.toml"),
        ("", "trio-socketio serve --config im.toml --port 3001 --node a --admin 127.0.0.1"),
        ("toml", "# legacy.toml"),
        ("toml", "# routes.toml"),
    ]


class Folder:
    """The folder in which somebody follows the guide.

    Args:
        path: of it.
        ports: stand for those of the guide.
    """

    def __init__(self, path: Path, ports: Ports) -> None:
        self.path = path
        self.ports = ports
        (path / "node_modules").symlink_to(MODULES)
        shutil.copy(GUIDE.with_name("im_client.mjs"), path)
        for kind, part in (
            ("python", "# login.py"), ("python", "# push.py"),
            ("js", "// chat.mjs"), ("js", "// push.mjs"), ("toml", "# im.toml"),
        ):  # fmt: skip
            (path / part.split(" ")[1]).write_text(block(kind, part))
        _, make_key, _ = block("", "pip install").splitlines()
        subprocess.run(
            make_key.replace("python", sys.executable, 1), shell=True, cwd=path, check=True
        )

    def put_into(self, text: str) -> str:
        """Replace what is another folder or port in the guide."""
        return self.ports.put_into(text.replace("unix:run/", f"unix:{self.path}/"))

    @asynccontextmanager
    async def serving(self, command: str) -> AsyncIterator[ServingProcess]:
        """Run a command of the guide that serves."""
        program, serve, *arguments = shlex.split(self.put_into(command))
        assert [program, serve] == ["trio-socketio", "serve"]
        at = arguments.index("--port")
        port = int(arguments[at + 1])
        del arguments[at : at + 2]
        async with serving(*arguments, cwd=self.path, port=port, limit_s=LIMIT_S) as node:
            await node.wait_port()
            yield node

    def run(self, *command: str) -> str:
        """Run a program to its end, and return what it prints."""
        ended = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, timeout=LIMIT_S, check=False,
            env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    async def run_beside(self, *command: str) -> str:
        return await trio.to_thread.run_sync(self.run, *command)

    @asynccontextmanager
    async def chatting(self, user: str, port: int, text: str) -> AsyncIterator["Chatting"]:
        """Run the client of the guide."""
        token = await self.run_beside(sys.executable, "login.py", user)
        process = await trio.lowlevel.open_process(
            [node(), "chat.mjs", f"http://127.0.0.1:{self.ports[port]}", token, "r1", text],
            cwd=self.path,
            stdout=subprocess.PIPE,
        )
        try:
            yield Chatting(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


class Chatting:
    """A running client; what it shows is read as it comes."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = ""

    async def wait(self, part: str) -> None:
        """Wait until it has shown something."""
        assert self._process.stdout is not None
        while part not in self._text:
            data = await self._process.stdout.receive_some()
            assert data, f"it ended without showing {part!r}: {self._text}"
            self._text += data.decode()


def node() -> str:
    found = shutil.which("node")
    assert found is not None, "node is missing: install Node 18+"
    return found


@pytest.mark.req("IM-33")
@pytest.mark.time_limit(90)
@trio_test
async def test_one_node(tmp_path: Path) -> None:
    folder = Folder(tmp_path, Ports(0))
    *_, command = block("", "pip install").splitlines()
    async with (
        folder.serving(command) as server,
        folder.chatting("ann", 3001, "I am ann") as ann,
        folder.chatting("bob", 3001, "I am bob") as bob,
    ):
        await ann.wait("ann: I am ann")
        await bob.wait("bob: I am bob")
        for line in (block("sh", " emit ") + block("sh", "namespaces.create")).splitlines():
            program, *arguments = shlex.split(folder.put_into(line))
            assert program == "trio-socketio"
            await folder.run_beside(*COMMAND, *arguments)
        await ann.wait("server: tea is ready")
        await ann.wait("server (to you): for you")
        await bob.wait("server: tea is ready")
        control = f"{tmp_path}/a.sock"
        told = await folder.run_beside(
            sys.executable, "push.py", f"unix:{control}", "r1", "by Python"
        )
        assert told == "reached 2 clients; missing: {}"
        await bob.wait("server: by Python")
        told = await folder.run_beside(node(), "push.mjs", control, "r1", "by Node")
        assert told == "reached 2 clients"
        await ann.wait("server: by Node")
        with ControlClient(f"unix:{control}") as backend:  # after ctl has made the namespace
            sent = await trio.to_thread.run_sync(
                backend.call, "emit", {"namespace": "/auction", "all": True, "event": "e"}
            )
            assert sent["reached"] == 0
            count = await trio.to_thread.run_sync(
                backend.call, "presence.count", {"namespace": "/chat"}
            )
            assert count["users"] == 2
        assert await server.end() == 0


@pytest.mark.req("IM-33")
@pytest.mark.time_limit(90)
@trio_test
async def test_two_nodes(tmp_path: Path, redis_server: RedisServer) -> None:
    folder = Folder(tmp_path, Ports(redis_server.port))
    with (tmp_path / "im.toml").open("a") as file:
        file.write(folder.put_into(block("toml", "# to be added")))
    first, second = block("", "--node a").splitlines()
    async with (
        folder.serving(first),
        folder.serving(second),
        folder.chatting("ann", 3001, "I am ann") as ann,
    ):
        await ann.wait("ann: I am ann")
        async with folder.chatting("bob", 3002, "I am bob") as bob:
            await ann.wait("bob: I am bob")
            control = f"unix:{tmp_path}/b.sock"
            told = await folder.run_beside(sys.executable, "push.py", control, "r1", "to both")
            assert told.startswith("reached 2 clients")
            for client in (ann, bob):
                await client.wait("server: to both")
        metrics = (await get(folder.ports[9001], "/metrics")).text
        named = [name for row in rows("| alert when | for |") for name in _METRIC.findall(row[0])]
        assert len(named) >= 10
        known = set(re.findall(r"^# TYPE (\w+) ", metrics, re.MULTILINE))
        known.add("tsio_state_usable")  # without Redis; tests/test_cli_namespaces.py finds it
        assert [name for name in named if name not in known] == []


def test_the_other_files_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "des.key").write_text(KEY)
    (tmp_path / "des.iv").write_text(IV)
    (tmp_path / "jwt.key").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "business.key").write_text("0123456789abcdef0123456789abcdef")
    text = block("toml", "# legacy.toml") + block("toml", "# routes.toml")  # they go together
    (tmp_path / "im.toml").write_text(f'{text}\n[admin]\nlisten = "127.0.0.1:0"\n')
    ended = run_cli("check-config", "im.toml", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("warning") == 1, ended.stderr  # that DES tokens are weak


def test_the_table_names_methods_of_the_server() -> None:
    described = describe_api([DefinitionMethods, UserMethods])
    known = {method["name"] for method in described["methods"]} | {"deliver"}
    for original, ours, _ in rows("| of the original | ours | |\n"):
        named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", ours)
        named = [name for name in named if name not in ("users", "rooms")]
        assert named, original
        assert set(named) <= known, (original, named)


def test_the_table_of_errors_is_that_of_the_routes() -> None:
    told: dict[int, tuple[int, int]] = {}
    for codes, route, _ in rows("| code of a method | status and errcode of a route | meaning |"):
        status, errcode = map(int, route.split(","))
        for code in filter(None, codes.split(", ")):
            told[int(code)] = status, errcode
    left_out = {Code.METHOD_NOT_FOUND}
    assert told == {int(code): pair for code, pair in _STATUSES.items() if code not in left_out}
