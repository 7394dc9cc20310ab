"""Two backends, in Python and in Node, do the same for the same client."""

import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.cli_process import run_cli, serving
from tests.guides.guide import MODULES, SERVE, guide
from tests.guides.programs import Program, running
from tests.interop.server_process import free_port
from trio.testing import trio_test

from trio_socketio.control import ControlClient

GUIDE: Final = guide("beside_a_backend.md")
PROGRAMS: Final = (
    ("python", "# shop.py"), ("js", "// shop.mjs"), ("js", "// buy.mjs"), ("python", "# tell.py")
)  # fmt: skip
LIMIT_S: Final = 30.0


def test_every_block_is_run() -> None:
    assert [(kind, head.split()[:2]) for kind, head in GUIDE.heads] == [
        ("toml", ["#", "shop.toml"]),
        ("", ["trio-socketio", "serve"]),
        ("python", ["#", "shop.py"]),
        ("js", ["//", "shop.mjs"]),
        ("js", ["//", "buy.mjs"]),
        ("python", ["#", "tell.py"]),
        ("sh", ["trio-socketio", "ctl"]),
        ("toml", ["#", "to"]),
    ]


def prepare(folder: Path) -> str:
    """Save the programs; give the path of node."""
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    (folder / "node_modules").symlink_to(MODULES)
    for kind, head in PROGRAMS:
        (folder / head.split()[1]).write_text(GUIDE.block(kind, head))
    return node


@asynccontextmanager
async def buying(node: str, folder: Path, port: int) -> AsyncIterator[Program]:
    """Run the client of the guide, as ann."""
    url = f"http://127.0.0.1:{port}"
    async with running(node, "buy.mjs", url, "for-development", "tea", cwd=folder) as client:
        yield client


@pytest.mark.req("GUIDE-03")
@trio_test
async def test_clients_are_served_by_either_backend(tmp_path: Path) -> None:
    node = prepare(tmp_path)
    (tmp_path / "shop.toml").write_text(GUIDE.block("toml", "# shop.toml"))
    (line,) = GUIDE.commands(SERVE)
    async with serving(*line.split()[2:], cwd=tmp_path, limit_s=LIMIT_S) as server:
        port = await server.wait_port()
        for command in (
            (sys.executable, "shop.py", "unix:run/control.sock"),
            (node, "shop.mjs", "run/control.sock"),
        ):
            assert (
                " ".join(("python" if command[0] != node else "node", *command[1:])) in GUIDE.text
            )
            async with running(*command, cwd=tmp_path) as backend:
                await backend.wait("waiting for orders")
                async with buying(node, tmp_path, port) as client:
                    await client.wait("sold: tea")
                    await client.wait("order: { number: 1 }")
        async with buying(node, tmp_path, port) as client:  # there is no backend now
            await client.wait("not now: ")
            await client.wait("order: {")
            await client.wait("code: 1013")
            await calls_from_elsewhere(client, tmp_path)
        assert await server.end() == 0


async def calls_from_elsewhere(client: Program, folder: Path) -> None:
    """Run the program for scripts, and the commands of the shell."""
    command = [sys.executable, "tell.py", "unix:run/control.sock", "ann", "a gift"]
    told = await trio.run_process(command, cwd=folder, capture_stdout=True)
    assert told.stdout == b"reached 1 clients; missing: {}\nonline: 1\n"
    await client.wait("sold: a gift")
    for line in GUIDE.block("sh").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "trio-socketio"
        done = await trio.to_thread.run_sync(partial(run_cli, *arguments, cwd=folder))
        assert (done.returncode, done.stderr) == (0, ""), line
        if "emit" in arguments:
            await client.wait("sold: everything")


@trio_test
async def test_a_token_may_call_what_it_names(tmp_path: Path) -> None:
    port = free_port()
    text = GUIDE.block("toml", "# shop.toml").partition("[control]")[0]
    text += GUIDE.block("toml", "# to be added").replace("7000", str(port))
    (tmp_path / "shop.toml").write_text(text)
    (tmp_path / "mailer.token").write_text("0123456789abcdef" * 4)
    async with serving("--config", "shop.toml", cwd=tmp_path) as server:
        await server.wait_port()
        with ControlClient(f"tcp:127.0.0.1:{port}", token="0123456789abcdef" * 4) as control:
            params = {"namespace": "/shop"}
            count = await trio.to_thread.run_sync(control.call, "presence.count", params)
        assert count["users"] == 0
