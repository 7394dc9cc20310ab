"""SIGHUP: a service is asked to reload, or the terminal was closed; nohup has it ignored."""

import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import COMMAND, LIMIT_S, ServingProcess, serving
from tests.wire import WebSocketEngine

NOTHING = "reloaded the configuration: nothing has changed"


@asynccontextmanager
async def serving_in_session(prepare: Callable[[], object]) -> AsyncIterator[ServingProcess]:
    """A server in a session of its own, prepared in the child before it begins."""
    with trio.fail_after(LIMIT_S):
        process = await trio.lowlevel.open_process(
            [*COMMAND, "serve", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare,
        )
        try:
            yield ServingProcess(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()


async def check_serving(port: int) -> None:
    engine = await WebSocketEngine.open(port)
    await engine.aclose()


@pytest.mark.req("SYS-01")
@trio_test
async def test_a_hang_up_during_the_start_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import sys, time\nfrom trio_socketio import Server\n"
        "print('importing', file=sys.stderr, flush=True)\ntime.sleep(0.5)\nsio = Server()\n"
    )
    async with serving("--app", "slow.py", cwd=tmp_path) as server:
        await server.wait_logged("importing")
        server.process.send_signal(signal.SIGHUP)
        await check_serving(await server.wait_port())
        assert await server.end() == 0


@pytest.mark.req("SYS-01")
@trio_test
async def test_a_service_that_is_asked_to_reload_says_that_nothing_has_changed() -> None:
    async with serving_in_session(lambda: None) as server:
        port = await server.wait_port()
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
            await server.wait_logged(NOTHING)
            server.log.clear()
            await check_serving(port)
        assert await server.end() == 0


@pytest.mark.req("SYS-01")
@trio_test
async def test_a_terminal_that_is_closed_ends_the_server_in_order() -> None:
    master, slave = os.openpty()
    try:

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        async with serving_in_session(take_terminal) as server:
            port = await server.wait_port()
            server.process.send_signal(signal.SIGHUP)  # from somebody: the terminal is there
            await server.wait_logged(NOTHING)
            await check_serving(port)
            os.close(slave)
            os.close(master)
            await server.wait_logged("received SIGHUP: stopping")
            assert await server.wait_end() == 0
            assert server.log[-1].endswith("stopped")
    finally:
        for end in (master, slave):
            with suppress(OSError):
                os.close(end)


@pytest.mark.req("SYS-01")
@trio_test
async def test_nohup_is_respected() -> None:
    async with serving_in_session(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server:
        port = await server.wait_port()
        server.process.send_signal(signal.SIGHUP)
        await check_serving(port)
        assert await server.end() == 0
        assert not [line for line in server.log if "SIGHUP" in line]
