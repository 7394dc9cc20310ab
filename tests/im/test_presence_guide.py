"""Every program of the guide does what the text beside it says."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.cli_process import serving
from tests.control.serving import controlled
from tests.im.feed_world import Crowd, Restartable, crowded
from tests.socketio.serving import until
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.engine.counts import ENDS
from trio_socketio.im.presence import MemoryStore
from trio_socketio.im.presence.seats import NOT_JOINED
from trio_socketio.protocol.presence_claims import KICKED, NODE_LOST, RECOVERED, REPLACED

GUIDE: Final = Path(__file__).resolve().parents[2] / "spec" / "guide" / "presence.md"
BLOCKS: Final[list[tuple[str, str]]] = re.findall(
    r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
PROGRAMS: Final = {"python": "count.py", "js": "count.mjs"}
EACH: Final = pytest.mark.parametrize("language", PROGRAMS)
LIMIT_S: Final = 30


@asynccontextmanager
async def counting(language: str, folder: Path) -> AsyncIterator[trio.Process]:
    """Run a program of the guide; it is killed at the end, as it may be at any time."""
    (code,) = [code for kind, code in BLOCKS if kind == language]
    program = folder / PROGRAMS[language]
    program.write_text(code, encoding="utf-8")
    interpreter, where = sys.executable, f"unix:{folder / 'control' / 'c.sock'}"
    if language == "js":
        node = shutil.which("node")
        assert node is not None, "node is missing: install Node 18+"
        interpreter, where = node, where.removeprefix("unix:")
    command = [interpreter, str(program), where, str(folder / "state")]
    with (folder / "errors").open("ab") as errors:
        process: trio.Process = await trio.lowlevel.open_process(
            command, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


async def agrees(folder: Path, crowd: Crowd) -> None:
    """Wait until the program has stored the count of those that are online."""
    expected = {"online": len(crowd.online), "cursor": str(await crowd.head())}
    path = folder / "state"
    await until(lambda: path.exists() and json.loads(path.read_text()) == expected)


def test_every_program_is_run() -> None:
    assert [kind for kind, _ in BLOCKS] == ["toml", *PROGRAMS]
    for _, code in BLOCKS:
        assert len(code.splitlines()) <= 35


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_counts_on_a_server_with_the_configuration_of_the_guide(
    language: str, tmp_path: Path
) -> None:
    (text,) = [code for kind, code in BLOCKS if kind == "toml"]
    place = str(tmp_path / "control" / "c.sock")
    assert text.count("unix:run/control.sock") == 1
    (tmp_path / "chat.toml").write_text(text.replace("unix:run/control.sock", f"unix:{place}"))
    state = tmp_path / "state"

    def counts(online: int) -> bool:
        return state.exists() and json.loads(state.read_text())["online"] == online

    async with (
        serving("--config", "chat.toml", cwd=tmp_path, limit_s=LIMIT_S) as server,
        counting(language, tmp_path),
    ):
        port = await server.wait_port()
        async with open_client(port) as client:
            await until(lambda: counts(0))
            await client.connect("/")
            await client.connect("/chat", {"token": "for-development"})
            await until(lambda: counts(1))
        await until(lambda: counts(0))
        assert await server.end() == 0


@pytest.mark.parametrize(
    "reason", [*ENDS, KICKED, NODE_LOST, NOT_JOINED, RECOVERED, REPLACED, "reasserted"]
)
def test_the_reasons_of_the_server_are_in_the_guide(reason: str) -> None:
    assert f"`{reason}`" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1012, 1013])
def test_the_errors_of_the_table_are_those_of_the_server(code: int) -> None:
    table = GUIDE.read_text(encoding="utf-8")
    assert f"{code} `{Code(code).name.lower()}`" in table


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_counts_from_the_beginning(language: str, tmp_path: Path) -> None:
    async with crowded(tmp_path) as (_, crowd):
        await crowd.come("ann", "bob")
        async with counting(language, tmp_path):
            await agrees(tmp_path, crowd)
            await crowd.come("carl", "ann")
            await crowd.go("bob")
            await agrees(tmp_path, crowd)
            await crowd.churn(2500)
            await agrees(tmp_path, crowd)


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_survives_its_own_restarts(language: str, tmp_path: Path) -> None:
    async with crowded(tmp_path) as (_, crowd):
        await crowd.come("ann")
        for _ in range(3):
            async with counting(language, tmp_path):
                await agrees(tmp_path, crowd)
                await crowd.churn(701)
                await trio.sleep(0.01)
            await crowd.churn(300)
        async with counting(language, tmp_path):
            await agrees(tmp_path, crowd)


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_survives_restarts_of_the_server(language: str, tmp_path: Path) -> None:
    """It starts before there is a server, and each server begins a new log."""
    async with counting(language, tmp_path) as process:
        for number in (3, 1):
            await trio.sleep(0.5)
            async with crowded(tmp_path) as (_, crowd):
                await crowd.come(*(f"user {one}" for one in range(number)))
                await agrees(tmp_path, crowd)
                await crowd.churn(100)
                await agrees(tmp_path, crowd)
        assert process.poll() is None


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_counts_anew_when_its_cursor_has_expired(language: str, tmp_path: Path) -> None:
    async with crowded(tmp_path, MemoryStore(max_events=100)) as (where, crowd):
        await crowd.come("ann")
        async with counting(language, tmp_path):
            await agrees(tmp_path, crowd)
        await crowd.churn(1000)
        async with counting(language, tmp_path):
            await agrees(tmp_path, crowd)
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().ended == {"cursor_expired": 1}


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_counts_anew_when_the_log_is_lost(language: str, tmp_path: Path) -> None:
    store = Restartable()
    async with crowded(tmp_path, store) as (_, crowd), counting(language, tmp_path):
        await crowd.come("ann", "bob")
        await agrees(tmp_path, crowd)
        store.restart()
        crowd.online.clear()
        await crowd.start()
        await crowd.come("carl")
        await agrees(tmp_path, crowd)


@pytest.mark.req("FEED-50")
@EACH
@trio_test
async def test_it_tries_again_after_other_errors(language: str, tmp_path: Path) -> None:
    """The server says that it keeps no presence (unavailable); then it is one that does."""
    async with counting(language, tmp_path) as process:
        async with controlled(tmp_path) as where:
            await until(lambda: where.service.statistics().methods["presence.count"][0] > 0)
        async with crowded(tmp_path) as (_, crowd):
            await crowd.come("ann")
            await agrees(tmp_path, crowd)
        assert process.poll() is None
        assert "1013" in (tmp_path / "errors").read_text()
