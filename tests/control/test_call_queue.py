"""Calls begin in order, wait side by side, and end with their peer."""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.control.call_queue import CallQueue, drive


class Calls:
    """A queue, and what its calls have told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.told: list[str] = []
        self.queue = CallQueue(nursery, lambda: self.told.append(f"done {self.queue.count}"))

    async def call(self, name: str, *steps: Callable[[], Awaitable[object]]) -> None:
        self.told.append(f"{name} begins")
        try:
            for step in steps:
                await step()
        except trio.Cancelled:
            self.told.append(f"{name} is cancelled")
            raise
        self.told.append(f"{name} ends")

    def add(self, name: str, *steps: Callable[[], Awaitable[object]]) -> None:
        self.queue.add(partial(self.call, name, *steps))


@pytest.mark.req("CONTROL-09")
@trio_test
async def test_calls_begin_in_order_and_wait_side_by_side(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.add("a", partial(trio.sleep, 2), partial(trio.sleep, 2))
        calls.add("b")
        calls.add("c", partial(trio.sleep, 1))
        calls.add("d")
        assert calls.queue.count == 4
        assert calls.told == []
        await wait_all_tasks_blocked()
        assert calls.told == ["a begins", "b begins", "b ends", "done 3", "c begins", "d begins",
                              "d ends", "done 2"]  # fmt: skip
        assert calls.queue.is_idle
        assert calls.queue.count == 2
    assert calls.told[8:] == ["c ends", "done 1", "a ends", "done 0"]


@pytest.mark.req("CONTROL-24")
@trio_test
async def test_calls_begin_although_their_peer_has_gone(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.add("a", trio.sleep_forever)
        await wait_all_tasks_blocked()
        calls.add("b", trio.sleep_forever)
        calls.add("c")
        calls.queue.cancel()
        calls.queue.cancel()
    assert sorted(calls.told) == [
        "a begins",
        "a is cancelled",
        "b begins",
        "b is cancelled",
        "c begins",
        "c ends",
        "done 0",
        "done 1",
        "done 2",
    ]
    assert calls.told.index("b begins") < calls.told.index("c begins")


@trio_test
async def test_the_end_of_the_service_cancels_all() -> None:
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.add("a", trio.sleep_forever)
        calls.add("b", trio.sleep_forever)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert calls.queue.count == 0
    assert {"a is cancelled", "b is cancelled"} <= set(calls.told)


def test_what_is_thrown_in_reaches_the_call() -> None:
    """Trio throws into a task when it has crashed itself."""

    class Trap:
        def __await__(self) -> Generator[str, None, None]:
            try:
                yield "trap"
            except KeyError:
                yield "caught"

    async def call() -> None:
        await Trap()

    suspended: list[bool] = []
    driven: Any = drive(call(), lambda: suspended.append(True))
    assert next(driven) == "trap"
    assert driven.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration):
        next(driven)
    assert suspended == [True]
