"""How what steps have done is undone: in which order, for how long, and whatever fails."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, trio_test

from trio_socketio.runtime.jobs import Workers
from trio_socketio.socketio.undos import Undos


class Seen:
    """What was undone, by the names of the undos."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def plain(self, name: str, error: BaseException | None = None) -> Callable[[], None]:
        def undo() -> None:
            self.names.append(name)
            if error is not None:
                raise error

        return undo

    def slow(self, name: str, seconds: float = 1) -> Callable[[], Coroutine[Any, Any, None]]:
        async def undo() -> None:
            await trio.sleep(seconds)
            self.names.append(name)

        return undo


@asynccontextmanager
async def undos() -> AsyncIterator[tuple[Undos, Workers]]:
    """The undos of a client that was joining /chat, and who calls them."""
    workers = Workers()
    async with trio.open_nursery() as nursery:
        workers.start(nursery)
        yield Undos(workers, "/chat"), workers


@pytest.mark.req("JOIN-12")
@trio_test
async def test_plain_and_async_ones_are_called_in_reverse_order(autojump_clock: MockClock) -> None:
    seen = Seen()
    async with undos() as (undoing, workers):
        for undo in (seen.plain("1"), seen.slow("2"), seen.plain("3"), seen.slow("4")):
            undoing.add(undo)
        await undoing.run_async()
    assert seen.names == ["4", "3", "2", "1"]
    assert workers.failed == 0


@pytest.mark.req("JOIN-12")
@trio_test
async def test_each_has_a_time_of_its_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    async with undos() as (undoing, workers):
        for undo in (seen.slow("in time", 4.9), seen.slow("late", 5.1), seen.slow("later", 60)):
            undoing.add(undo)
        began = trio.current_time()
        await undoing.run_async()
        assert trio.current_time() - began == pytest.approx(5 + 5 + 4.9)
    assert seen.names == ["in time"]
    assert workers.failed == 2
    assert caplog.text.count("an undo of joining failed for socket /chat") == 2
    assert "it took longer than 5.0 s, and was cancelled" in caplog.text


@pytest.mark.req("JOIN-12")
@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt()])
@pytest.mark.parametrize("by_task", [False, True])
@trio_test
async def test_one_that_fails_stops_no_other(error: BaseException, by_task: bool) -> None:
    seen = Seen()
    async with undos() as (undoing, workers):
        for undo in (seen.plain("1"), seen.plain("2", error), seen.plain("3")):
            undoing.add(undo)
        if by_task:
            await undoing.run_async()
        else:
            undoing.run()
        assert seen.names == ["3", "2", "1"]
        undoing.run()
        await undoing.run_async()
    assert seen.names == ["3", "2", "1"]  # each is called once
    assert workers.failed == 1


@pytest.mark.req("JOIN-11")
@trio_test
async def test_the_end_of_the_server_cancels_none(autojump_clock: MockClock) -> None:
    seen = Seen()
    async with undos() as (undoing, workers):
        undoing.add(seen.slow("claim"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await undoing.run_async()
    assert seen.names == ["claim"]
    assert workers.failed == 0


@trio_test
async def test_only_async_ones_need_a_task() -> None:
    async def undo(_: int) -> None:
        """Takes no time."""

    async with undos() as (undoing, _):
        needs = []
        for function in (Seen().plain("1"), partial(undo, 1), Seen().plain("2")):
            undoing.add(function)
            needs.append(undoing.has_async)
        await undoing.run_async()
        assert [*needs, undoing.has_async] == [False, True, True, False]
