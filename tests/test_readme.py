"""Every program and command of the README does what the text beside it says."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import trio
from trio.testing import trio_test

from tests.cli_process import COMMAND, serving
from tests.guides.guide import MODULES, ROOT, SERVE, Guide
from tests.guides.programs import running, saved
from tests.socketio.serving import until
from trio_socketio import open_client

README: Final = Guide(ROOT / "README.md")
MAKEFILE: Final = ROOT / "Makefile"


def test_every_block_is_run() -> None:
    assert [(kind, head.split()[0]) for kind, head in README.heads] == [
        ("", "make"),
        ("", ".venv/bin/trio-socketio"),
        ("python", "#"),
        ("", "trio-socketio"),
        ("js", "//"),
    ]


def test_make_has_the_commands() -> None:
    targets = re.findall(r"^([\w-]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line.split()[1] for line in README.commands("make ")] == ["serve", "test"]
    pages = [README, *map(Guide, (ROOT / "spec" / "guide").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"`make ([\w-]+)", page.text)}
    assert len(named) > 8
    assert named | {"serve", "test"} <= set(targets)


@trio_test
async def test_the_terminal_comes_into_the_lobby(tmp_path: Path) -> None:
    make = MAKEFILE.read_text(encoding="utf-8")
    assert "\nCONTROL := unix:$(VENV)/$(PORT).sock\n" in make
    assert "TRIO_SOCKETIO__CONTROL__LISTEN=$(CONTROL)" in make
    (tmp_path / ".venv").mkdir()
    connect, *operate = README.commands(".venv/bin/trio-socketio ")
    async with serving("--control", "unix:.venv/3000.sock", cwd=tmp_path) as server:
        url = await server.wait_url()

        def run(line: str, typed: str = "") -> str:
            line = line.replace("http://127.0.0.1:3000", url)
            arguments = [*COMMAND, *shlex.split(line)[1:]]
            ended = subprocess.run(
                arguments, cwd=tmp_path, input=typed, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        async with open_client(url, auth={"name": "ann"}) as ann:
            heard: list[tuple[object, ...]] = []
            ann.on("message")(lambda *values: heard.append(values))
            await ann.emit_with_ack("join", "tea")
            typed = 'join "tea"\nmessage "tea" "hello"\n?list\n'
            assert all(f"`{line}`" in README.text for line in typed.splitlines()[:2])
            assert '{"tea": 2}' in await trio.to_thread.run_sync(run, connect, typed)
            await until(lambda: bool(heard))
            assert heard[0][2:] == ("hello",)
            shown, kicked = [await trio.to_thread.run_sync(run, line) for line in operate]
            assert "ann" in shown
            assert kicked.split()[:2] == ["done", "1"]
            await ann.wait_closed()
        assert await server.end() == 0


@trio_test
async def test_two_clients_say_hello(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    (tmp_path / "node_modules").symlink_to(MODULES)
    saved(tmp_path, "hello.py", README.block("python", "# hello.py"))
    assert len(README.block("python", "# hello.py").splitlines()) <= 12
    (line,) = README.commands(SERVE)
    async with serving(*line.split()[2:], cwd=tmp_path) as server:
        saved(tmp_path, "hello.mjs", README.block("js", "hello.mjs"), await server.wait_port())
        async with running(node, "hello.mjs", cwd=tmp_path) as first:
            await first.wait("Hello, ann!")
            async with running(node, "hello.mjs", cwd=tmp_path) as second:
                await second.wait("Hello, ann!")
                await first.wait("ann is here")
        assert await server.end() == 0


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\((\S+\.png)\)", README.text)
    assert len(pictures) == 2
    assert all((ROOT / picture).stat().st_size < 100_000 for picture in pictures)
