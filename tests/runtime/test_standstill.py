"""The explanation of a standstill says no more than the program can know."""

import re
import time
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

import pytest
import trio
from tests.socketio.serving import joined
from trio.testing import MockClock, trio_test

from trio_socketio import Server, Socket
from trio_socketio.runtime import standstill
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.endpoints import TcpEndpoint
from trio_socketio.runtime.fence import Fence, Fences, boottime
from trio_socketio.runtime.options import RuntimeOptions
from trio_socketio.runtime.runtime import Runtime, open_runtime
from trio_socketio.runtime.standstill import Clocks, Standstill


class FakeClocks(Clocks):
    """Clocks that the test moves."""

    def __init__(self) -> None:
        self.total_s = 1000.0
        self.awake_s = 900.0
        self.computed_s = 5.0

    def total(self) -> float:
        return self.total_s

    def awake(self) -> float:
        return self.awake_s

    def computed(self) -> float:
        return self.computed_s

    def move(self, *, computing: float = 0.0, waiting: float = 0.0, asleep: float = 0.0) -> None:
        self.total_s += computing + waiting + asleep
        self.awake_s += computing + waiting
        self.computed_s += computing


class World:
    """A standstill with a fence in use, between two pulses."""

    def __init__(self) -> None:
        self.clocks = FakeClocks()
        self.fences = Fences(self.clocks.total)
        self.deadlines = Deadlines(0.001)
        self.forgot = 0
        self.still = Standstill(self.fences, self.deadlines, self._forget, self.clocks)
        self.fence = Fence(self.fences)
        self.fence.at = self.clocks.total_s + 9.0
        self.clocks.move(waiting=0.5)

    def _forget(self) -> None:
        self.forgot += 1

    def pulse(self) -> None:
        self.still.expire(trio.current_time())


@trio_test
async def test_a_program_that_goes_on_has_nothing_to_say() -> None:
    world = World()
    assert world.still.describe() == ""
    world.clocks.move(waiting=0.5)
    world.pulse()
    world.clocks.move(waiting=1.4)  # within what is usual under load
    assert world.still.describe() == ""


@pytest.mark.req("LEASE-56")
@trio_test
async def test_a_handler_that_computed_is_named() -> None:
    world = World()
    world.still.note(0.2, "handler other of 'e' blocked the server for")
    world.clocks.move(computing=12.3)
    world.still.note(12.3, "handler f of 'e' blocked the server for")
    world.still.note(0.3, "handler other of 'e' blocked the server for")
    assert world.still.describe() == "handler f of 'e' blocked the server for 12.3 s"


@pytest.mark.req("LEASE-57")
@trio_test
async def test_a_handler_that_waited_may_have_been_stopped() -> None:
    world = World()
    world.clocks.move(waiting=12.2, computing=0.1)
    world.still.note(12.3, "handler f of 'e' blocked the server for")
    assert world.still.describe() == (
        "handler f of 'e' blocked the server for 12.3 s, and computed for 0.1 s of it: for the "
        "rest it has waited without letting others run, or the process was stopped or got no "
        "processor"
    )


@pytest.mark.req("LEASE-58")
@trio_test
async def test_no_handler_is_blamed_where_none_ran() -> None:
    world = World()
    world.still.note(0.2, "handler f of 'e' blocked the server for")
    world.clocks.move(waiting=20.5)
    told = world.still.describe()
    assert told.startswith("nothing of the program ran for 20.0 s: the process was stopped or")


@pytest.mark.req("LEASE-58")
@trio_test
async def test_a_task_that_computed_is_no_handler() -> None:
    world = World()
    world.clocks.move(computing=12.5)
    told = world.still.describe()
    assert told.startswith("the program computed for 12.5 s without letting others run, but in no")


@pytest.mark.req("LEASE-59")
@trio_test
async def test_a_suspended_machine_is_told_from_everything_else() -> None:
    world = World()
    world.still.note(0.8, "handler f of 'e' blocked the server for")
    world.clocks.move(asleep=3600.0, computing=0.8)
    assert world.still.describe() == "the machine was suspended for 3600.0 s"


@trio_test
async def test_the_next_pulse_remembers_and_a_renewal_forgets() -> None:
    world = World()
    world.clocks.move(computing=5.0)
    world.still.note(5.0, "f took")
    world.pulse()  # late
    world.clocks.move(waiting=1.0)
    world.pulse()
    assert world.still.describe() == "f took 5.0 s"
    world.fence.at = world.clocks.total_s - 1.0  # the answer to a renewal before it: too late
    assert world.still.describe() == "f took 5.0 s"
    world.fence.at = world.clocks.total_s + 9.0
    assert world.still.describe() == ""
    assert world.forgot == 3


@trio_test
async def test_it_is_known_until_right_after_the_loss() -> None:
    world = World()
    world.clocks.move(waiting=20.0)
    world.fence.at = inf
    assert world.still.describe().startswith("nothing of the program ran")


@trio_test
async def test_without_a_fence_there_is_no_pulse(autojump_clock: MockClock) -> None:
    async with open_runtime() as runtime:
        still = runtime._standstill
        await trio.sleep(60)
        assert still.next_deadline() == inf
        assert runtime.deadlines._heap == []
        fence = Fence(runtime.poller.fences)
        fence.at = boottime() + 3600.0
        await trio.sleep(5)
        assert still.next_deadline() < trio.current_time() + 1.1
        fence.at = inf
        await trio.sleep(5)
        assert still.next_deadline() == inf
        assert runtime.deadlines._heap == []
        assert runtime.last_blocked() == ""


# --- a real program


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def compute(seconds: float) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


class Program:
    """A server whose lease is shorter than what its handlers do, with pulses that are faster."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(standstill, "PULSE_S", 0.2)
        monkeypatch.setattr(standstill, "STILL_S", 0.2)
        self.server = Server()
        self.told: list[str] = []
        self.passed = trio.Event()
        self.runtime: Runtime | None = None
        self.server.lifespan(self._live)

    async def _live(self, server: Server) -> AsyncIterator[None]:
        server._fence.use(self._pass)
        yield

    def _pass(self) -> None:
        assert self.runtime is not None
        self.told.append(self.runtime.last_blocked())
        self.passed.set()

    def outlast(self, block: Callable[[float], None]) -> None:
        """Block for longer than the lease goes on."""
        self.server._fence.at = boottime() + 0.3
        block(0.9)

    async def run(self, *event: Any) -> str:
        """Send an event; return what is said when the lease has ended."""
        async with (
            open_runtime(RuntimeOptions(slow_handler_s=inf)) as runtime,
            self.server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
            joined(addresses[0][1], "websocket") as (client, _),
        ):
            self.runtime = runtime
            self.server._fence.at = boottime() + 60.0
            await trio.sleep(0.3)  # a pulse, and another one
            await client.emit(*event)
            with trio.fail_after(10):
                await self.passed.wait()
        (told,) = self.told
        return told


BLOCKING: list[Callable[[float], None]] = [sleep, compute]


def check_computed(told: str, block: Callable[[float], None]) -> None:
    """It is said that a function waited, and not that one that computed did so."""
    if block is sleep:
        assert ", and computed for 0." in told
        assert told.endswith("or the process was stopped or got no processor")
    else:  # which may have got no processor for a while, as the machine has other work too
        assert ", and computed for" not in told or ", and computed for 0.9" in told


@pytest.mark.req("LEASE-56")
@pytest.mark.parametrize("block", BLOCKING)
@trio_test
async def test_a_plain_handler_is_named(
    block: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(monkeypatch)

    @program.server.on("hog")
    def hog(_: Socket) -> None:
        program.outlast(block)

    told = await program.run("hog")
    assert re.search("hog of 'hog' was called last in a turn that took [0-9.]+ s", told)
    check_computed(told, block)


@pytest.mark.req("LEASE-56")
@pytest.mark.parametrize("block", BLOCKING)
@trio_test
async def test_an_async_handler_is_named(
    block: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(monkeypatch)

    @program.server.on("hog")
    async def hog(_: Socket) -> None:
        await trio.sleep(0.01)
        program.outlast(block)
        await trio.sleep(0.01)

    told = await program.run("hog")
    assert re.search("hog of 'hog' blocked the server for [0-9.]+ s", told)
    check_computed(told, block)


@pytest.mark.req("LEASE-58")
@trio_test
async def test_a_task_of_the_app_is_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(monkeypatch)

    @program.server.on("start")
    def start(_: Socket) -> None:
        pass

    @program.server.lifespan
    async def lifespan(server: Server) -> AsyncIterator[None]:
        async def hog() -> None:
            await trio.sleep(0.7)
            program.outlast(sleep)

        async with trio.open_nursery() as tasks:
            tasks.start_soon(hog)
            yield

    told = await program.run("start")
    assert re.match(r"nothing of the program ran for [0-9.]+ s: the process was stopped", told)
    assert "or a task that is no handler" in told
