"""The first app: its parts make one program, and its clients see what the guide says."""

import shutil
import sys
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.cli_process import COMMAND, serving
from tests.guides.guide import MODULES, SERVE, guide
from tests.guides.programs import running, saved
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import ConnectRefused, open_client

GUIDE: Final = guide("first_app.md")
LIMIT_S: Final = 40.0


def app() -> str:
    """The whole of tea.py."""
    return "\n".join(GUIDE.all("python", "# tea.py"))


def test_every_block_is_run() -> None:
    assert GUIDE.heads == [
        ("python", "# tea.py"),
        ("", "trio-socketio serve --app tea.py"),
        ("python", "# tea.py, continued"),
        ("python", "# tea.py, continued"),
        ("python", "# cook.py"),
        ("js", "// guest.mjs DISH"),
        ("", "trio-socketio serve --app tea.py --cors-origin http://127.0.0.1:8000"),
        ("html", "<!doctype html>"),  # tests/browser
        ("", "trio-socketio serve --app tea.py --allow-eio3"),
    ]


@trio_test
async def test_the_first_part_answers_the_keyboard(tmp_path: Path) -> None:
    saved(tmp_path, "tea.py", GUIDE.all("python", "# tea.py")[0])
    async with serving("--app", "tea.py", cwd=tmp_path) as server:
        command = [*COMMAND, "connect", await server.wait_url()]
        assert '`?sit "4"`' in GUIDE.text
        ended = await trio.run_process(command, stdin=b'?sit "4"\n', capture_stdout=True)
        assert b"welcome to table 4" in ended.stdout


@pytest.mark.req("GUIDE-03")
@trio_test
async def test_guests_and_cooks(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    (tmp_path / "node_modules").symlink_to(MODULES)
    saved(tmp_path, "tea.py", app())
    async with serving("--app", "tea.py", cwd=tmp_path, limit_s=LIMIT_S) as server:
        port = await server.wait_port()
        saved(tmp_path, "guest.mjs", GUIDE.block("js", "// guest.mjs"), port)
        saved(tmp_path, "cook.py", GUIDE.block("python", "# cook.py"), port)
        with pytest.raises(ConnectRefused, match="cooks only"):
            async with open_client(f"http://127.0.0.1:{port}", namespaces="/kitchen"):
                raise AssertionError
        async with running(node, "guest.mjs", "scones", cwd=tmp_path) as first:
            await first.wait("welcome to table 4")
            await first.wait("the kitchen is closed")
            async with running(sys.executable, "cook.py", cwd=tmp_path) as cook:
                await wait_for_the_cook(port)
                async with running(node, "guest.mjs", "cake", cwd=tmp_path) as second:
                    await second.wait("cake in 4 minutes")
                    await cook.wait("cake for table 4")
                    await first.wait("news: somebody sits down beside you")
                    await first.wait("news: your neighbour has ordered cake")
        async with open_client(f"http://127.0.0.1:{port}") as client:
            numbers: list[int] = []
            client.on("guests")(numbers.append)
            assert await client.emit_with_ack("order", "tea") == "please sit down first"
            await until(lambda: bool(numbers))
            assert numbers[0] >= 1
        assert await server.end() == 0


async def wait_for_the_cook(port: int) -> None:
    """Order until somebody is in the kitchen."""
    async with open_client(f"http://127.0.0.1:{port}") as client:
        await client.emit_with_ack("sit", "5")
        answer = "the kitchen is closed"
        while answer == "the kitchen is closed":
            answer = await client.emit_with_ack("order", "tea")


@pytest.mark.parametrize("line", GUIDE.commands(SERVE)[1:])
@trio_test
async def test_a_command_serves(line: str, tmp_path: Path) -> None:
    saved(tmp_path, "tea.py", app())
    async with serving(*line.split()[2:], cwd=tmp_path) as server:
        assert await server.wait_port()
        assert await server.end() == 0
