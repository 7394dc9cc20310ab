"""A server of Node whose clients are moved over to ours."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Final

import trio

SCRIPT: Final = Path(__file__).with_name("old_server.mjs")


class OldServer:
    """A server of Node with the official adapter; see old_server.mjs."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def drain(self, seconds: float) -> None:
        """Have it close its sessions over a time."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{seconds}\n".encode())
        assert await self.read() == b"0\n"

    async def read(self) -> bytes:
        """Read a line that it prints."""
        assert self._process.stdout is not None
        return bytes(await self._process.stdout.receive_some())


@asynccontextmanager
async def open_old_server(redis_url: str, port: int, drain: Path) -> AsyncIterator[OldServer]:
    """Start one, and wait until it serves.

    Args:
        redis_url: the Redis of the cluster.
        port: where it listens.
        drain: the module that drains it.
    """
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    command = [node, str(SCRIPT), redis_url, str(port), str(drain)]
    process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE)
    try:
        server = OldServer(process)
        assert await server.read() == b"serving\n"
        yield server
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
