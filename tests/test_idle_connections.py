"""Ten thousand connections that do nothing cost no task, and little memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import trio_test

from tests.interop.server_process import ROOT, ServerProcess
from tests.socketio.serving import ask, joined, until

COUNT = 10_000
SPARE = 500  # descriptors of anything else
MAX_BYTES_EACH = 8 * 1024
LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """Processes started here may open COUNT connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = COUNT + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(
            f"this test needs {needed} file descriptors for each process, and the hard limit is "
            f"{hard}: raise it (ulimit -Hn {needed}) and run again",
            pytrace=False,
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def census(server: ServerProcess) -> dict[str, int]:
    """What the server holds, without the client that asks, which is gone afterwards."""
    before = descriptors(server.pid)
    async with joined(server.port, "websocket") as (client, _):
        (found,) = await ask(client, "census")
    await until(lambda: descriptors(server.pid) <= before)
    assert isinstance(found, dict)
    return {name: n if name == "tasks" else n - 1 for name, n in found.items()}


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc")
@trio_test
async def test_ten_thousand_idle_connections() -> None:
    app = "tests/apps/idle_app.py"
    with ServerProcess(app, arguments=["--log-level", "warning"]) as server:
        port, pid = server.port, server.pid
        start = await census(server)
        assert start["sessions"] == start["connections"] == start["sockets"] == 0
        start_descriptors, start_bytes = descriptors(pid), resident_bytes(pid)
        with trio.fail_after(LIMIT_S):
            clients = await trio.lowlevel.open_process(
                [sys.executable, "-m", "tests.bare_clients", "idle", str(port), str(COUNT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            assert clients.stdin is not None
            assert clients.stdout is not None
            try:
                assert await clients.stdout.receive_some() == b"open\n"
                full = await census(server)
                assert full["sessions"] == full["sockets"] == full["connections"] == COUNT
                assert full["tasks"] == start["tasks"]
                each = (resident_bytes(pid) - start_bytes) / COUNT
                assert each <= MAX_BYTES_EACH, f"{each:.0f} bytes per connection"
                await clients.stdin.aclose()
                assert await clients.stdout.receive_some() == b"closed\n"
                await clients.wait()
            finally:
                if clients.returncode is None:
                    clients.kill()
            await clients.stdout.aclose()
            await until(lambda: descriptors(pid) <= start_descriptors)
        for _ in range(200):  # what has closed its descriptor is forgotten a turn later
            if await census(server) == start:
                break
            await trio.sleep(0.05)
        assert await census(server) == start
        await until(lambda: descriptors(pid) <= start_descriptors)
    print(f"{each:.0f} bytes per idle connection")  # noqa: T201 - shown by pytest -s
