"""Official clients whose sessions were aborted reconnect by themselves."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import trio
from tests.cli_process import serving
from tests.wire import open_client
from trio.testing import trio_test

APP: Final = "tests/apps/lease_app.py:create"
SCRIPT: Final = Path(__file__).with_name("coming_back.mjs")


class Lines:
    """What an official client reports."""

    def __init__(self, stdout: trio.abc.ReceiveStream) -> None:
        self._stdout = stdout
        self._rest = b""

    async def next(self) -> dict[str, str]:
        while b"\n" not in self._rest:
            data = await self._stdout.receive_some()
            assert data, "the client has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        report: dict[str, str] = json.loads(line)
        return report


@pytest.mark.req("LEASE-53")
@pytest.mark.parametrize("transports", ["polling,websocket", "polling", "websocket"])
@trio_test
async def test_an_official_client_comes_back(transports: str) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: it runs the official client; install Node 18+"
    async with serving("--app", APP, limit_s=40) as server:
        port = await server.wait_port()
        process = await trio.lowlevel.open_process(
            [node, str(SCRIPT), f"http://127.0.0.1:{port}", transports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            lines = Lines(process.stdout)
            for _ in range(3):
                assert "connected" in await lines.next()
                async with open_client(port) as other:
                    await other.connect()
                    await other.emit("cut")
                    assert (await lines.next())["lost"] in ("transport close", "transport error")
            assert "connected" in await lines.next()
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
