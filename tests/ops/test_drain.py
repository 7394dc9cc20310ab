"""A server is taken out of service: what its clients, its operators and its log are told, when."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from tests.cli_process import ServingProcess
from tests.ops.operated import operated
from tests.socketio.serving import ask, bare_websocket, check_closed, joined, until
from tests.wire import HttpClient
from trio.testing import MockClock, trio_test

from trio_socketio import Server, ServerOptions
from trio_socketio.errors import OptionError
from trio_socketio.ops.drain import drain
from trio_socketio.socketio.stopping import Stopping

PROGRAM: Final = Path(__file__).with_name("program.py")


class Closed:
    """Stands for a session."""

    def __init__(self) -> None:
        self.at = -1.0

    def close(self) -> None:
        assert self.at < 0, "closed twice"
        self.at = trio.current_time()


async def close_all(stopping: Stopping, sessions: list[Closed]) -> None:
    await stopping.close_all(sessions, Closed.close)


@pytest.mark.req("RUN-20", "OPS-32", "OPS-33")
@trio_test
async def test_closes_are_spread_evenly(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sessions = [Closed() for _ in range(2000)]
    began = trio.current_time()
    await close_all(Stopping(30.0), sessions)
    for number, session in enumerate(sessions):
        assert abs(session.at - began - 30 * number / 2000) < 0.06
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "closing 2000 sessions over 30 s"
    counts = [
        int(found[1]) for line in told[1:] if (found := re.match(r"closed (\d+) of 2000", line))
    ]
    assert len(counts) == 5
    assert all(abs(count - 333 * number) < 30 for number, count in enumerate(counts, 1))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@trio_test
async def test_few_sessions(autojump_clock: MockClock, count: int) -> None:
    sessions = [Closed() for _ in range(count)]
    began = trio.current_time()
    await close_all(Stopping(9.0), sessions)
    assert [round(session.at - began) for session in sessions] == [0, 9 / max(count, 1), 6][
        :count
    ] or (count == 2)
    assert all(session.at - began <= 9 for session in sessions)


@trio_test
async def test_no_window_lets_other_tasks_run(autojump_clock: MockClock) -> None:
    ran = 0
    done = trio.Event()

    async def other() -> None:
        nonlocal ran
        while not done.is_set():
            await trio.lowlevel.checkpoint()
            ran += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await close_all(Stopping(0.0), [Closed() for _ in range(1000)])
        done.set()
    assert ran >= 10


@pytest.mark.req("OPS-31")
@trio_test
async def test_a_second_stop_brings_the_closing_forward(autojump_clock: MockClock) -> None:
    sessions = [Closed() for _ in range(100)]
    stopping = Stopping(0.0)
    stopping.ask(5.0, 100.0, is_first=True)
    began = trio.current_time()
    await stopping.wait_accepting_over()
    assert trio.current_time() == began + 5

    async def hurry() -> None:
        await trio.sleep(50.1)
        stopping.ask(99.0, 200.0, is_first=False)  # later than planned: nothing changes
        stopping.ask(99.0, 10.0, is_first=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry)
        await close_all(stopping, sessions)
    half = [session.at - began - 5 for session in sessions]
    assert half[49] == pytest.approx(49, abs=0.1)
    assert half[75] == pytest.approx(50.1 + 10 * 24 / 49, abs=0.5)
    assert half[99] <= 60.2


@pytest.mark.req("OPS-31")
@trio_test
async def test_a_second_stop_puts_nothing_off(autojump_clock: MockClock) -> None:
    stopping = Stopping(0.0)
    stopping.ask(5.0, 10.0, is_first=True)
    began = trio.current_time()

    async def insist() -> None:
        for _ in range(14):
            await trio.sleep(1)
            stopping.ask(5.0, 10.0, is_first=False)

    sessions = [Closed() for _ in range(11)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(insist)
        await stopping.wait_accepting_over()
        assert trio.current_time() == began + 5
        await close_all(stopping, sessions)
    assert sessions[10].at == pytest.approx(began + 5 + 10 * 10 / 11, abs=0.1)


@pytest.mark.req("OPS-31")
@trio_test
async def test_a_second_stop_brings_the_delay_forward(autojump_clock: MockClock) -> None:
    stopping = Stopping(0.0)
    stopping.ask(50.0, 10.0, is_first=True)
    began = trio.current_time()

    async def hurry() -> None:
        await trio.sleep(1)
        stopping.ask(100.0, 100.0, is_first=False)
        stopping.ask(1.0, 2.0, is_first=False)

    sessions = [Closed() for _ in range(10)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry)
        await stopping.wait_accepting_over()
        assert trio.current_time() == pytest.approx(began + 2, abs=0.01)
        await close_all(stopping, sessions)
    assert sessions[9].at == pytest.approx(began + 2 + 2 * 0.9, abs=0.1)


@pytest.mark.req("OPS-30", "OPS-31", "OPS-33")
@trio_test
async def test_a_drain_of_a_server() -> None:
    server = Server(ServerOptions(stop_delay_s=60, stop_window_s=60))
    server.on("ping")(lambda _: "pong")
    assert not drain(server).has_begun  # it does not serve, and stops when it has started
    server = Server(ServerOptions(stop_delay_s=60, stop_window_s=60))
    server.on("ping")(lambda _: "pong")
    async with operated(server) as program, joined(program.port, "websocket") as (client, _):
        assert (await program.get("/readyz")).status == 200
        found = drain(server)
        assert (found.sessions, found.has_begun) == (1, True)
        answer = await program.get("/readyz")
        assert answer.status == 503
        assert answer.text.startswith("draining: ")
        async with joined(program.port, "polling") as (other, _):  # it is still accepted
            assert await ask(other, "ping") == ["pong"]
            assert (await program.scrape())["tsio_drain_remaining"] == 2
        again = drain(server, delay_s=120, window_s=120)
        assert (again.sessions, again.has_begun) == (1, False)
        with trio.move_on_after(0.1) as scope:
            await server.wait_closing()
        assert scope.cancelled_caught
        drain(server, delay_s=0, window_s=0)
        with trio.fail_after(1):
            await server.wait_closing()
        assert await ask(client, "ping") == ["pong"]
    assert server.state == "idle"


@pytest.mark.parametrize("option", ["delay_s", "window_s"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "5"])
@trio_test
async def test_times_that_are_none(option: str, value: Any) -> None:
    server = Server()
    with pytest.raises(OptionError, match=f"^{option}: expected a number of seconds"):
        drain(server, **{option: value})
    assert server.state == "idle"
    async with operated(server) as program:
        with pytest.raises(OptionError):
            server.stop(**{option: value})
        assert (await program.get("/readyz")).status == 200


@trio_test
async def test_a_drain_while_the_server_starts() -> None:
    """Nobody was told that it is ready, so nobody is waited for."""
    server = Server(ServerOptions(stop_delay_s=60, stop_window_s=60))

    @server.lifespan
    async def lifespan(server: Server) -> AsyncIterator[None]:
        assert not drain(server).has_begun
        assert not drain(server, delay_s=30).has_begun
        yield

    with trio.fail_after(5):
        await server.serve(port=0)
    assert server.state == "idle"


# -- a process; tests/test_operators_day.py drains one that has a thousand clients


@asynccontextmanager
async def running(
    arguments: tuple[str, ...] = (sys.executable, str(PROGRAM)),
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[ServingProcess, int, int]]:
    """The program of this folder, and its two ports; killed at the end."""
    process = await trio.lowlevel.open_process(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        **options,
    )
    try:
        serving = ServingProcess(process)
        with trio.fail_after(15):
            line = await serving.wait_logged("program: serving")
        public, admin = map(int, line.split()[-2:])
        yield serving, public, admin
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


@trio_test
async def test_a_second_signal_cuts_the_drain_short(transport: str) -> None:
    async with (
        running(environment={"WINDOW_S": "60"}) as (program, port, _),
        joined(port, transport) as (client, _),
        bare_websocket(port),
    ):
        program.process.send_signal(signal.SIGTERM)
        await program.wait_logged("closing 2 sessions over 60 s")
        with pytest.raises(OSError, match="all attempts to connect"):
            await HttpClient(port).request("GET", "/")
        program.process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            assert await program.wait_end() == 0
        if transport == "websocket":  # a GET is cut off instead
            await check_closed(client)


@trio_test
async def test_what_the_metrics_tell_at_the_end() -> None:
    """Counters are kept when the server has ended; the port still answers then."""
    server = Server()
    async with operated(server) as program:
        async with joined(program.port, "websocket") as (client, _):
            server.stop()
            assert (await program.scrape())["tsio_drain_remaining"] == 1
            del client
        await until(lambda: not server.statistics().sessions)
        samples = await program.scrape()
        assert samples.by("tsio_sessions_closed_total", "reason") == {"transport close": 1}
