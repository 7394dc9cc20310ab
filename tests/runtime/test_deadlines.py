"""One task walks every deadline."""

import heapq
import logging
from math import inf

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.net.harness import settle
from trio.testing import MockClock, trio_test

from trio_socketio.runtime import deadlines as deadlines_module
from trio_socketio.runtime.deadlines import Deadlines, Entry


class Item:
    def __init__(self, at: float = inf) -> None:
        self.deadline_entry: Entry | None = None
        self.at = at
        self.expired: list[float] = []
        self.then: float = inf

    def next_deadline(self) -> float:
        return self.at

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.at, self.then = self.then, inf


class Broken(Item):
    def expire(self, now: float) -> None:
        super().expire(now)
        raise ValueError("a defect")


class Unanswering(Item):
    is_broken = True

    def next_deadline(self) -> float:
        if self.is_broken:
            raise ValueError("a defect")
        return super().next_deadline()


async def walk(deadlines: Deadlines, nursery: trio.Nursery) -> None:
    nursery.start_soon(deadlines.run)
    await settle()


@trio_test
async def test_it_expires_when_due_and_not_before(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(5)
    async with trio.open_nursery() as nursery:
        await walk(deadlines, nursery)
        deadlines.schedule(item)
        await settle()
        mock_clock.jump(4.9)
        await settle()
        assert item.expired == []
        mock_clock.jump(0.2)
        await settle()
        assert item.expired == [pytest.approx(5.1)]
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_nearer_deadline_wakes_the_walk(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    far, near = Item(1000), Item(10)
    async with trio.open_nursery() as nursery:
        deadlines.schedule(far)
        await walk(deadlines, nursery)
        mock_clock.jump(1)
        await settle()
        deadlines.schedule(near)
        await settle()
        mock_clock.jump(0.1)
        await settle()
        mock_clock.jump(9)
        await settle()
        assert near.expired
        assert not far.expired
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_deadline_that_moved_away_is_met_later(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(5)
    async with trio.open_nursery() as nursery:
        deadlines.schedule(item)
        await walk(deadlines, nursery)
        item.at = 20
        deadlines.schedule(item)
        for now in (6, 19):
            mock_clock.jump(now - mock_clock.current_time())
            await settle()
            assert item.expired == []
        mock_clock.jump(2)
        await settle()
        assert len(item.expired) == 1
        nursery.cancel_scope.cancel()


@trio_test
async def test_a_deadline_that_came_nearer_is_met_once(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(50)
    async with trio.open_nursery() as nursery:
        deadlines.schedule(item)
        item.at = 5
        deadlines.schedule(item)
        await walk(deadlines, nursery)
        for _ in range(100):
            mock_clock.jump(1)
            await settle()
        assert len(item.expired) == 1
        nursery.cancel_scope.cancel()


def test_an_item_has_one_place_however_often_its_deadline_moves() -> None:
    deadlines = Deadlines(0.01)
    item = Item()
    for at in (50, 5, 7, 3, inf, 4, 2):
        item.at = at
        deadlines.schedule(item)
        places = [entry for entry in deadlines._heap if entry.item is item]
        assert places == ([] if item.deadline_entry is None else [item.deadline_entry])


@trio_test
async def test_what_was_taken_back_may_be_scheduled_again(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(5)
    async with trio.open_nursery() as nursery:
        for at in (5, inf, 8):
            item.at = at
            deadlines.schedule(item)
        await walk(deadlines, nursery)
        mock_clock.jump(9)
        await settle()
        assert item.expired == [pytest.approx(9)]
        nursery.cancel_scope.cancel()


@trio_test
async def test_expiring_may_set_the_next(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(5)
    item.then = 15
    async with trio.open_nursery() as nursery:
        deadlines.schedule(item)
        await walk(deadlines, nursery)
        for _ in range(20):
            mock_clock.jump(1)
            await settle()
        assert [round(at) for at in item.expired] == [5, 15]
        nursery.cancel_scope.cancel()


@trio_test
async def test_what_is_forgotten_or_taken_back_never_expires(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    forgotten, taken_back, never = Item(5), Item(5), Item()
    async with trio.open_nursery() as nursery:
        for item in (forgotten, taken_back, never):
            deadlines.schedule(item)
        deadlines.forget(forgotten)
        deadlines.forget(never)
        taken_back.at = inf
        deadlines.schedule(taken_back)
        await walk(deadlines, nursery)
        mock_clock.jump(100)
        await settle()
        assert forgotten.expired == taken_back.expired == never.expired == []
        assert forgotten.deadline_entry is None
        assert deadlines._heap == []
        nursery.cancel_scope.cancel()


@trio_test
async def test_one_that_fails_does_not_stop_the_others(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    deadlines = Deadlines(0.01)
    items = [Item(5), Broken(5), Item(5)]
    async with trio.open_nursery() as nursery:
        for item in items:
            deadlines.schedule(item)
        await walk(deadlines, nursery)
        with caplog.at_level(logging.ERROR):
            mock_clock.jump(6)
            await settle()
        assert [len(item.expired) for item in items] == [1, 1, 1]
        assert "a defect" in caplog.text
        nursery.cancel_scope.cancel()


@trio_test
async def test_an_item_that_fails_is_tried_again(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    deadlines = Deadlines(0.01)
    broken, unanswering = Broken(5), Unanswering(5)
    broken.then = 7
    unanswering.is_broken = False  # until it is scheduled
    async with trio.open_nursery() as nursery:
        deadlines.schedule(broken)
        deadlines.schedule(unanswering)
        unanswering.is_broken = True
        await walk(deadlines, nursery)
        with caplog.at_level(logging.ERROR):
            mock_clock.jump(6)
            await settle()
        assert caplog.text.count("ValueError: a defect") == 2
        unanswering.is_broken = False
        mock_clock.jump(9.9)
        await settle()
        assert len(broken.expired) == 1
        mock_clock.jump(0.2)
        await settle()
        assert len(broken.expired) == 2
        assert len(unanswering.expired) == 1
        nursery.cancel_scope.cancel()


@trio_test
async def test_thousands_at_once_let_others_run_between(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    items = [Item(5) for _ in range(2000)]
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append(sum(bool(item.expired) for item in items))
            if seen[-1] == len(items):
                return
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for item in items:
            deadlines.schedule(item)
        await walk(deadlines, nursery)
        mock_clock.jump(6)
        await look()
        assert len(set(seen)) > 5
        assert {count % 128 for count in seen[:-1]} == {0}
        nursery.cancel_scope.cancel()


@trio_test
async def test_moving_a_deadline_on_costs_no_memory(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    item = Item(1)
    for number in range(10_000):
        item.at = 1 + number
        deadlines.schedule(item)
    assert len(deadlines._heap) == 1


@trio_test
async def test_what_is_forgotten_is_swept_out(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    kept = [Item(10 + number) for number in range(100)]
    for item in kept:
        deadlines.schedule(item)
    for _ in range(20_000):
        item = Item(60)
        deadlines.schedule(item)
        deadlines.forget(item)
    assert len(deadlines._heap) < 3000
    async with trio.open_nursery() as nursery:
        await walk(deadlines, nursery)
        mock_clock.jump(200)
        await settle()
        nursery.cancel_scope.cancel()
    assert all(len(item.expired) == 1 for item in kept)


def forget_some(deadlines: Deadlines, count: int, at: float = 60) -> None:
    """Schedule and forget so many."""
    for _ in range(count):
        item = Item(at)
        deadlines.schedule(item)
        deadlines.forget(item)


def test_it_is_swept_when_there_are_many_and_they_are_most() -> None:
    few, many = Deadlines(0.01), Deadlines(0.01)
    for deadlines, kept in ((few, 100), (many, 2000)):
        for _ in range(kept):
            deadlines.schedule(Item(10))
    for count, length in ((1000, 1100), (1, 100), (1000, 1100), (1, 100)):
        forget_some(few, count)
        assert len(few._heap) == length
    for count, length in ((1001, 3001), (999, 4000), (1, 2000), (1, 2001)):
        forget_some(many, count)
        assert len(many._heap) == length


@trio_test
async def test_what_was_met_empty_is_not_counted_any_more(mock_clock: MockClock) -> None:
    deadlines = Deadlines(0.01)
    async with trio.open_nursery() as nursery:
        forget_some(deadlines, 600, at=1)
        await walk(deadlines, nursery)
        mock_clock.jump(2)
        await settle()
        assert deadlines._heap == []
        nursery.cancel_scope.cancel()
    forget_some(deadlines, 1000)
    assert len(deadlines._heap) == 1000
    forget_some(deadlines, 1)
    assert deadlines._heap == []


@trio_test
async def test_deadlines_that_lie_close_are_met_together(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    deadlines = Deadlines(0.05)
    items = [Item(1.0), Item(1.01), Item(1.049), Item(1.06)]
    async with trio.open_nursery() as nursery:
        for item in items:
            deadlines.schedule(item)
        nursery.start_soon(deadlines.run)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert [round(item.expired[0], 3) for item in items] == [1.0, 1.05, 1.05, 1.1]


class Steps(trio.abc.Instrument):
    """Counts the steps of one kind of task."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += self._name in task.name


@trio_test
async def test_a_walk_sleeps_until_something_is_due(mock_clock: MockClock) -> None:
    """A server with a thousand idle clients must not wake twenty times a second."""
    mock_clock.autojump_threshold = 0
    deadlines = Deadlines(0.01)
    item = Item(50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        await trio.sleep(1)
        deadlines.schedule(item)  # wakes it once
        await trio.sleep(1)
        steps = Steps("Deadlines.run")
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(40)
        assert steps.count == 0
        deadlines.schedule(Item(60))  # later than the next: it need not wake
        await trio.sleep(1)
        assert steps.count == 0
        await trio.sleep(100)
        trio.lowlevel.remove_instrument(steps)
        assert item.expired
        assert steps.count < 10
        nursery.cancel_scope.cancel()


@trio_test
async def test_what_is_due_this_very_moment_is_judged_after_reading(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    deadlines = Deadlines(0.01)
    order: list[str] = []

    class Judged(Item):
        def expire(self, now: float) -> None:
            super().expire(now)
            order.append("judged")
            assert trio.lowlevel.currently_ki_protected()  # Ctrl-C is not an item's failure

    async def read_ready() -> None:
        order.append("read")
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        deadlines.schedule(Judged(5))
        nursery.start_soon(deadlines.run, read_ready)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert order == ["read", "judged"]


@pytest.mark.req("RUN-43")
@trio_test
async def test_many_that_are_due_wait_for_one_reading(autojump_clock: MockClock) -> None:
    deadlines, items = Deadlines(0.01), [Item(5) for _ in range(1000)]
    reads: list[float] = []

    async def read_ready() -> None:
        reads.append(trio.current_time())
        await trio.sleep(1)  # the server has a lot to do

    async with trio.open_nursery() as nursery:
        for item in items:
            deadlines.schedule(item)
        nursery.start_soon(deadlines.run, read_ready)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert reads == [pytest.approx(5)]
    assert [item.expired for item in items] == [reads] * 1000


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_they_are_met_in_order_whatever_is_swept(scheduled: list[tuple[int, bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines_module, "_SWEEP_AT", 1)
        deadlines = Deadlines(0.01)
        kept = []
        for at, stays in scheduled:
            item = Item(at)
            deadlines.schedule(item)
            if stays:
                kept.append(item)
            else:
                deadlines.forget(item)
        met = []
        while deadlines._heap:
            entry = heapq.heappop(deadlines._heap)
            if entry.item is not None:
                met.append(entry.item)
    assert met == sorted(kept, key=Item.next_deadline)  # stable: those of one time by their number
