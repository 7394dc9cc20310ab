"""Calls begin in order, wait side by side, and end with their peer."""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.control.call_queue import CallQueue, drive, pause


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
    # Which of the two tasks runs first is up to trio; in each, the order is ours.
    told = [line for line in calls.told if not line.startswith(("a", "done"))]
    assert told in (
        ["b begins", "b is cancelled", "c begins", "c ends"],
        ["b begins", "c begins", "c ends", "b is cancelled"],
    )
    assert calls.told.count("a is cancelled") == 1
    assert [line for line in calls.told if line.startswith("done")] == [
        "done 2",
        "done 1",
        "done 0",
    ]


@pytest.mark.req("CONTROL-09", "CONTROL-79")
@trio_test
async def test_a_call_that_pauses_is_not_overtaken(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.add("a", pause, trio.lowlevel.cancel_shielded_checkpoint, pause)
        calls.add("b", *[pause] * 3, partial(trio.sleep, 1))
        calls.add("c", pause)
        calls.add("d", pause)
        await wait_all_tasks_blocked()
        # The checkpoint of a is a wait as any other; its last pause comes after the first of b.
        told = [line for line in calls.told if not line.startswith("done")]
        assert told[:2] == ["a begins", "b begins"]
        assert [line for line in told if line[0] in "bcd"] == [
            "b begins", "c begins", "c ends", "d begins", "d ends",
        ]  # fmt: skip
        calls.queue.cancel()
    assert calls.told[-2:] == ["b is cancelled", "done 0"]


@pytest.mark.req("CONTROL-24")
@trio_test
async def test_a_call_that_pauses_goes_on_although_its_peer_has_gone() -> None:
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)

        async def leave() -> None:
            calls.queue.cancel()

        calls.add("a", pause, leave, pause, pause)
        calls.add("b", pause, trio.sleep_forever, pause)
        await wait_all_tasks_blocked()
    assert calls.told == ["a begins", "a ends", "done 1", "b begins", "b is cancelled", "done 0"]
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)
        calls.add("a", trio.lowlevel.checkpoint, pause, leave, pause)
    assert calls.told == ["a begins", "a ends", "done 0"]


@pytest.mark.req("CONTROL-71")
@trio_test
async def test_calls_that_do_not_wait_let_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("trio_socketio.control.call_queue.perf_counter", lambda: now)
    async with trio.open_nursery() as nursery:
        calls = Calls(nursery)

        async def work() -> None:
            nonlocal now
            now += 0.0004

        async def watch() -> None:
            while calls.queue.count:
                calls.told.append("another task")
                await trio.lowlevel.checkpoint()

        for name in "abcdefg":
            calls.add(name, work)
        nursery.start_soon(watch)
    told = [line for line in calls.told if "begins" in line or "task" in line]
    begun = "".join(line[0] if "begins" in line else " " for line in told)
    assert begun.replace(" ", "") == "abcdefg"
    # Three fill a slice. Trio shuffles the tasks of a pass, so two slices may be neighbours.
    assert " " in begun[begun.index("c") + 1 : begun.index("g")]


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

    waits: list[bool] = []
    driven: Any = drive(call(), lambda: waits.append(True), waits.clear)
    assert next(driven) == "trap"
    assert driven.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration):
        next(driven)
    assert waits == [True, True]
