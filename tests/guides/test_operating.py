"""The page about running a server: what it shows of the log is what a server writes."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cli_process import serving
from tests.guides.guide import guide
from tests.wire import HttpClient
from trio.testing import trio_test

from trio_socketio import ConnectRefused, open_client

GUIDE: Final = guide("operating.md")
AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
_CHANGING: Final = re.compile(r"^\S+T\S+ |\b[0-9a-f]{8}\b|\b\d+(\.\d+)?\b")


def test_every_block_is_read() -> None:
    assert [kind for kind, _ in GUIDE.blocks] == ["ini", "ini", "ini", "", "json"]  # test_systemd


def shape(line: str) -> str:
    """A line without what is another in each run: times, ids and numbers."""
    return _CHANGING.sub("#", line)


@trio_test
async def test_the_log_has_the_lines_that_are_shown(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from trio_socketio import Server\n\nsio = Server()\n")
    lines = {log_format: await log_of(tmp_path, log_format) for log_format in ("text", "json")}
    shown = GUIDE.block("").splitlines()
    assert len(shown) == 5
    written = {shape(line) for line in lines["text"]}
    assert [line for line in shown if shape(line) not in written] == []
    example: dict[str, Any] = json.loads(GUIDE.block("json"))
    records = [json.loads(line) for line in lines["json"]]
    (ended,) = [one for one in records if one.get("user_agent") == AGENT and "reason" in one]
    assert list(ended) == list(example)
    assert {name: type(value) for name, value in ended.items()} == {
        name: type(value) for name, value in example.items()
    }


async def log_of(folder: Path, log_format: str) -> list[str]:
    """Serve one client that comes and goes, and three that are refused; the log of that."""
    arguments = ("--app", "app.py", "--log-format", log_format)
    async with serving(*arguments, cwd=folder) as server:
        port = await server.wait_port()
        url, agent = f"http://127.0.0.1:{port}", {"User-Agent": AGENT}
        async with open_client(url, transports=["websocket"], headers=agent) as client:
            assert client.connected
        http = HttpClient(port)
        target = "/socket.io/?EIO=4&transport=polling"
        foreign = await http.request("GET", target, [("Origin", "https://example.org")])
        old = await http.request("GET", target.replace("4", "3"))
        await http.aclose()
        assert (foreign.status, old.status) == (403, 400)
        with pytest.raises(ConnectRefused, match="Invalid namespace"):
            async with open_client(url, transports=["websocket"], namespaces="/admin"):
                raise AssertionError
        assert await server.end() == 0
    return server.log
