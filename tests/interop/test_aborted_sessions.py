"""Official clients whose sessions were aborted reconnect by themselves."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cli_process import serving
from tests.im.held_store import Line
from tests.wire import open_client
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Session, Step
from trio_socketio.im.presence import MemoryStore, Presence

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


def identify(joining: Joining) -> None:
    joining.identify(joining.auth["user"])


@pytest.mark.req("JOIN-39")
@pytest.mark.parametrize("package", ["socket.io-client", "socket.io-client-2"])
@pytest.mark.parametrize("transports", ["polling,websocket", "polling", "websocket"])
@trio_test
async def test_an_official_client_comes_back_when_the_store_does(
    package: str, transports: str
) -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: it runs the official client; install Node 18+"
    line: Any = Line(MemoryStore(lease_s=1.0))
    server = Server(ServerOptions(allow_eio3=True))
    server.of("/chat").add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    Presence(server, line).seat("/chat")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            ((_, port), *_) = await nursery.start(
                lambda task_status: server.serve(port=0, task_status=task_status)
            )
            query = "?user=ann" if package.endswith("2") else ""
            url = f"http://127.0.0.1:{port}/chat{query}"
            process = await trio.lowlevel.open_process(
                [node, str(SCRIPT), url, transports, package],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            try:
                assert process.stdout is not None
                lines = Lines(process.stdout)
                assert "connected" in await lines.next()
                line.cut()
                assert (await lines.next())["lost"] in ("transport close", "transport error")
                await trio.sleep(3)  # it tries in vain
                assert not server.of("/chat").sockets
                line.mend()
                while "connected" not in await lines.next():
                    pass  # a client reports the end of each connection
            finally:
                with trio.CancelScope(shield=True):
                    process.kill()
                    await process.wait()
            server.stop()


@pytest.mark.req("LEASE-52")
@trio_test
async def test_an_official_client_whose_upgrade_is_cut_off_comes_back() -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: it runs the official client; install Node 18+"
    server = Server()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            ((_, port), *_) = await nursery.start(
                lambda task_status: server.serve(port=0, task_status=task_status)
            )
            process = await trio.lowlevel.open_process(
                [node, str(SCRIPT), f"http://127.0.0.1:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            try:
                assert process.stdout is not None
                session = await probed_session(server)
                process.send_signal(signal.SIGSTOP)  # it reads all of what follows at once
                await wait_all_tasks_blocked()
                session.abort()
                await wait_all_tasks_blocked()
                process.send_signal(signal.SIGCONT)
                lines = Lines(process.stdout)
                while "lost" not in await lines.next():
                    pass  # it may have been told that it was connected
                assert "connected" in await lines.next()
            finally:
                with trio.CancelScope(shield=True):
                    process.kill()
                    await process.wait()
            server.stop()


async def probed_session(server: Server) -> Session:
    """The first session whose client is told that it may upgrade, as soon as it is told."""
    running = server._running
    assert running is not None
    while True:
        for session in running.engines[0].sessions.values():
            if session._upgrade is not None and session._upgrade.is_probed:
                return session
        await trio.lowlevel.checkpoint()
