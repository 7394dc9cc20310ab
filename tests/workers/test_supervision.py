"""The life of the workers of a program, with processes that the test plays."""

from typing import Any

import pytest
import trio
from tests.workers.fake_workers import STOP_S, FakeChild, FakeWorkers, obey, supervised
from trio.testing import MockClock

from trio_socketio.cluster.workers.record import Worker
from trio_socketio.cluster.workers.supervision import (
    ASK_S,
    END_S,
    START_S,
    UNSERVED_S,
    Supervision,
    _stop_unserved,
)
from trio_socketio.codec.worker_messages import Answer, Call, Count, Drain, End, Ready
from trio_socketio.control.workers import Restarting, WorkerInfo, WorkerMethods
from trio_socketio.errors import ConfigurationError, ControlError, ProgramFailed
from trio_socketio.protocol.worker_life import LOOK_S, NOTICE_S


def play(test: Any, *arguments: Any) -> None:
    """Run a test on a clock that jumps."""

    async def bounded() -> None:
        with trio.fail_after(10_000):
            await test(*arguments)

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


def states(workers: Supervision) -> list[str]:
    return [one.state for one in workers.listed()]


def test_all_serve_and_are_told_to_drain_together() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            assert states(workers) == ["serving"] * 3
            assert workers.check() == ""
            fake.of(2)[0].say(Count(connections=7))
            await trio.sleep(0.1)
            shown = workers.listed()[1]
            assert shown == WorkerInfo(
                index=2,
                node="a-2",
                pid=fake.of(2)[0].pid,
                state="serving",
                connections=7,
                restarts=0,
                since_s=shown.since_s,
            )
        assert workers.count_states()["dead"] == 3
        assert [child.told for child in fake.started] == [["Drain"]] * 3

    play(test)


@pytest.mark.req("WORK-18")
def test_a_stop_drains_all_at_the_same_time() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.obey = lambda child, order: None
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            workers.drain()
            await trio.sleep(0.1)
            assert [child.told for child in fake.living()] == [["Drain"]] * 3
            assert states(workers) == ["draining"] * 3
            for child in fake.living():
                child.end(0)

    play(test)


@pytest.mark.req("WORK-02", "WORK-10", "WORK-33")
def test_a_worker_that_dies_is_started_again_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake, ended = FakeWorkers(), list[int]()
        async with supervised(fake, 2, ended) as workers:
            await workers.wait_serving()
            fake.of(2)[0].say(Count(connections=7))
            await trio.sleep(12.5)
            assert workers.count_connections() == 7
            fake.of(2)[0].kill()
            await trio.sleep(0.1)
            assert workers.count_connections() == 0
            assert ended == [2]
            assert states(workers) == ["serving", "serving"]
            assert workers.listed()[1].restarts == 1
            assert "SIGKILL" in workers.listed()[1].died_of
            fake.of(2)[1].end(3)
            await trio.sleep(0.1)
            assert states(workers) == ["serving", "waiting"]
            assert workers.listed()[1].pid is None
            await trio.sleep(1)
            assert states(workers) == ["serving", "serving"]
            assert len(fake.of(1)) == 1
            assert workers.restarts["signal"] == workers.restarts["exit"] == 1
            fake.of(2)[2].end(-63)
            await trio.sleep(0.1)

    play(test)
    first, second, third = (one for one in caplog.text.splitlines() if "has died" in one)
    assert "worker 2 (pid 200) has died after 12." in first
    assert (
        "SIGKILL ended it (perhaps the system ran out of memory); it is started again now" in first
    )
    assert "it ended with exit code 3; it is started again in 1 s" in second
    assert "the signal 63 ended it" in third


@pytest.mark.req("WORK-11")
def test_too_many_deaths_end_the_program_and_all_other_workers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with supervised(fake, 2) as workers:
            await workers.wait_serving()
            fake.act = lambda child: child.end(1)
            fake.of(1)[0].end(1)
            await trio.sleep(100)

    fake = FakeWorkers()
    with pytest.raises(ProgramFailed, match=r"died 6 times within 60 s.*exit code 1"):
        play(test)
    assert len(fake.of(1)) == 6
    assert fake.of(2)[0].told == ["End"]
    told = [one for one in caplog.text.splitlines() if "has died" in one]
    assert ["it is started again" in one for one in told] == [True] * 5 + [False]
    assert told[-1].endswith("exit code 1; it is not started again, because too many have died")


@pytest.mark.req("WORK-12")
def test_a_configuration_that_no_worker_can_use_ends_the_start() -> None:
    async def test() -> None:
        fake.act = lambda child: child.fail("FILE: [listen] port: is wrong")
        workers = Supervision(["a-1", "a-2", "a-3"], fake, lambda _: None, STOP_S)
        async with fake.playing():
            await workers.run()

    fake = FakeWorkers()
    with pytest.raises(ConfigurationError) as caught:
        play(test)
    assert str(caught.value) == "FILE: [listen] port: is wrong"


@pytest.mark.req("WORK-12")
def test_one_that_cannot_use_its_configuration_later_leaves_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            fake.act = lambda child: child.fail("FILE: is not TOML")
            fake.of(1)[0].kill()
            fake.of(3)[0].kill()
            await trio.sleep(200)
            assert states(workers) == ["waiting", "serving", "waiting"]
            assert workers.listed()[0].died_of == "FILE: is not TOML"
            # More often than others may die, because it is no danger to these.
            assert 10 < len(fake.of(1)) < 16
            assert 10 < len(fake.of(3)) < 16
            fake.act = lambda child: child.say(Ready())
            await trio.sleep(15)
            assert states(workers) == ["serving"] * 3
            fake.of(1)[-1].kill()
            await trio.sleep(0.1)
            assert "SIGKILL" in workers.listed()[0].died_of
        assert len(fake.of(2)) == 1

    play(test)
    assert "FILE: is not TOML; it is started again in 15 s" in caplog.text


def test_a_system_that_cannot_start_a_process_is_asked_again() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake) as workers:
            await workers.wait_serving()
            fake.fail_to_start = True
            fake.of(1)[0].kill()
            await trio.sleep(0.1)
            assert states(workers) == ["waiting", "serving"]
            assert "temporarily unavailable" in workers.listed()[0].died_of
            fake.fail_to_start = False
            await trio.sleep(5)
            assert states(workers) == ["serving", "serving"]
            assert workers.restarts["not started"] == 1

    play(test)


@pytest.mark.req("WORK-05", "WORK-67")
@pytest.mark.parametrize("garbage", [b"hello\n", b'{"type":"ready","x":[\n', b"x" * (17 << 20)])
def test_a_worker_that_talks_nonsense_is_killed(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake) as workers:
            await workers.wait_serving()
            theirs = trio.socket.from_stdlib_socket(fake.of(1)[0].theirs)
            left = memoryview(garbage)
            try:
                while left:
                    left = left[await theirs.send(left) :]
            except (OSError, trio.ClosedResourceError):
                assert fake.of(1)[0].killed
            await trio.sleep(1)
            assert fake.of(1)[0].killed
            assert states(workers) == ["serving", "serving"]

    play(test)
    assert "makes no sense" in caplog.text
    (told,) = [one for one in caplog.text.splitlines() if "has died" in one]
    assert "it says what makes no sense" in told
    assert "was killed; it is started again now" in told
    assert "memory" not in told


# --- the end


@pytest.mark.req("WORK-13")
@pytest.mark.parametrize("obeys", [True, False])
def test_cancelling_ends_all_processes(obeys: bool) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        if not obeys:
            fake.obey = lambda child, order: None
        workers = Supervision(["a-1", "a-2"], fake, lambda _: None, STOP_S)
        async with fake.playing():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(workers.run)
                await workers.wait_serving()
                began = trio.current_time()
                nursery.cancel_scope.cancel()
            assert trio.current_time() - began <= END_S + 0.1
        assert [child.killed for child in fake.started] == [not obeys] * 2

    play(test)


@pytest.mark.req("WORK-14")
def test_a_worker_that_does_not_stop_in_time_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.obey = lambda child, order: child.end(0) if child.index == 1 else None
        async with supervised(fake) as workers:
            await workers.wait_serving()
            began = trio.current_time()
        assert STOP_S <= trio.current_time() - began < STOP_S + 1
        assert not fake.of(1)[0].killed
        assert fake.of(2)[0].killed

    play(test)
    assert f"has not stopped within {STOP_S:g} s, and is killed" in caplog.text


@pytest.mark.req("WORK-19")
def test_a_stop_before_they_serve_does_not_wait_for_the_app_to_be_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A worker reads nothing from its link while it loads the app, so a signal ends it."""

    caplog.set_level("INFO")

    async def test() -> None:
        fake = LoadsLong()
        fake.act = lambda child: child.say(Ready()) if child.index == 2 else None
        async with supervised(fake) as workers:
            fake.blocked.add(fake.of(1)[0])
            await trio.sleep(0.1)
            began = trio.current_time()
            fake.signal_ends = True
            assert workers.count_states()["serving"] == 1
        assert trio.current_time() - began < 0.1
        assert not fake.of(1)[0].killed
        assert fake.of(2)[0].told == ["Drain"]

    play(test)
    assert "worker 1 (pid 100) has not served yet, and is told to end" in caplog.text
    assert "worker 1 (pid 100) has ended" in caplog.text
    assert "WARNING" not in caplog.text


class LoadsLong(FakeWorkers):
    """Its first worker ends by SIGTERM, if it does."""

    signal_ends = False

    async def start(self, index: int) -> FakeChild:
        child = await super().start(index)
        if index == 1:
            child.terminate = lambda: child.end(-15) if self.signal_ends else None  # type: ignore[method-assign] # as the system does
        return child


@pytest.mark.req("WORK-19")
@pytest.mark.parametrize("obeys", [True, False])
def test_one_that_has_not_served_has_to_end_soon(
    obeys: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.act = lambda child: None
        fake.obey = lambda child, order: child.end(0) if obeys and isinstance(order, End) else None
        async with supervised(fake):
            began = trio.current_time()
        lasted_s = trio.current_time() - began
        assert UNSERVED_S <= lasted_s <= UNSERVED_S + (0.1 if obeys else END_S + 0.1)
        assert [child.told for child in fake.started] == [["SIGTERM", "Drain", "End"]] * 2
        assert [child.killed for child in fake.started] == [not obeys] * 2

    play(test)
    assert ("it has not ended, though it has not served yet, and was killed" in caplog.text) is (
        not obeys
    )


def test_one_that_was_about_to_serve_has_the_time_of_its_stages() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.act = lambda child: None
        fake.obey = lambda child, order: child.say(Ready()) if isinstance(order, Drain) else None
        async with supervised(fake, 1) as workers:
            workers.drain()
            await trio.sleep(UNSERVED_S + END_S + 1)
            (child,) = fake.living()
            assert child.told == ["SIGTERM", "Drain"]
            child.end(0)

    play(test)


def test_a_stop_before_all_serve_ends_all() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.act = lambda child: None
        async with supervised(fake, 3) as workers:
            fake.of(3)[0].end(1)
            fake.of(2)[0].say(Ready())
            await trio.sleep(0.05)
        assert workers.count_states()["dead"] == 3
        assert workers.check() == "no worker serves clients"

    play(test)


def test_one_whose_process_is_just_being_started_is_told_to_drain_as_well() -> None:
    async def test() -> None:
        fake = SlowToStart()
        async with supervised(fake, 2) as workers:
            assert fake.started == []
            workers.drain()
            fake.goes_on.set()
            await trio.sleep(0.1)
            assert [child.told for child in fake.started] == [["SIGTERM", "Drain"]] * 2
        assert workers.count_states()["dead"] == 2

    play(test)


class SlowToStart(FakeWorkers):
    """The system takes its time to start a process."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = trio.Event()

    async def start(self, index: int) -> FakeChild:
        await self.goes_on.wait()
        return await super().start(index)


def test_a_stop_before_they_are_started_starts_none() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        workers = Supervision(["a-1"], fake, lambda _: None, STOP_S)
        workers.drain()
        await workers.run()
        assert fake.started == []

    play(test)


def test_one_that_waits_to_be_started_again_is_not_started_in_a_stop() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake) as workers:
            await workers.wait_serving()
            for _ in range(3):
                fake.of(1)[-1].end(1)
                await trio.sleep(0.1)
            assert states(workers)[0] == "waiting"
        assert workers.count_states()["dead"] == 2

    play(test)


# --- one after the other


@pytest.mark.req("WORK-22")
def test_a_restart_replaces_one_after_the_other() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.act = lambda child: None
        async with supervised(fake, 3) as workers:
            with pytest.raises(ControlError, match="start or stop"):
                workers.restart()
            for child in fake.started:
                child.say(Ready())
            await workers.wait_serving()
            least: list[int] = []

            def start(child: FakeChild) -> None:
                least.append(workers.count_states()["serving"])
                child.say(Ready())

            fake.act = start
            assert workers.restart() == [1, 2, 3]
            with pytest.raises(ControlError, match="already"):
                workers.restart()
            await trio.sleep(10)
            assert least == [2, 2, 2]
            assert [child.index for child in fake.started[3:]] == [1, 2, 3]
            assert states(workers) == ["serving"] * 3
            assert workers.restarts["asked"] == 3
            assert workers.restart() == [1, 2, 3]
            await trio.sleep(10)
        with pytest.raises(ControlError, match="start or stop"):
            workers.restart()

    play(test)


@pytest.mark.req("WORK-22")
def test_a_restart_ends_at_a_worker_that_does_not_come_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            fake.act = lambda child: None
            workers.restart()
            await trio.sleep(START_S + 1)
            assert states(workers) == ["starting", "serving", "serving"]
            assert len(fake.started) == 4
            fake.started[-1].say(Ready())
            await trio.sleep(1)

    play(test)
    assert "worker 1 (pid 101) does not serve, so the others are left as they are" in caplog.text


@pytest.mark.req("WORK-14")
def test_a_restart_kills_a_worker_that_does_not_stop() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake) as workers:
            await workers.wait_serving()
            fake.obey = lambda child, order: None if child.pid == 100 else obey(child, order)
            workers.restart()
            await trio.sleep(STOP_S + 5)
            assert fake.of(1)[0].killed
            assert states(workers) == ["serving", "serving"]

    play(test)


def test_a_stop_ends_a_restart() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            fake.obey = lambda child, order: None if child.index == 1 else obey(child, order)
            workers.restart()
            await trio.sleep(1)
            fake.obey = obey
            fake.of(1)[0].end(0)
        assert len(fake.started) == 3

    play(test)


# --- questions


def test_all_are_asked_at_the_same_time() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            assert await workers.ask("metrics") == {
                1: "metrics of 1",
                2: "metrics of 2",
                3: "metrics of 3",
            }

    play(test)


@pytest.mark.req("WORK-42")
def test_one_that_does_not_answer_in_time_is_left_out_and_counted() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        late: list[Call] = []

        def answer(child: FakeChild, order: Any) -> None:
            if isinstance(order, Call) and child.index == 1:
                late.append(order)
            elif isinstance(order, Call) and child.index == 2:
                child.say(Answer(number=order.number, fault="it has none"))
            else:
                obey(child, order)

        fake.obey = answer
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            began = trio.current_time()
            assert await workers.ask("metrics") == {3: "metrics of 3"}
            assert trio.current_time() - began < ASK_S + 0.1
            assert workers.unanswered == 2
            fake.of(1)[0].say(Answer(number=late[0].number))  # nobody waits for it any more
            await trio.sleep(0.1)
            fake.obey = lambda child, order: (
                child.end(1) if isinstance(order, Call) else obey(child, order)
            )
            assert await workers.ask("metrics") == {}
            fake.obey = obey
            await trio.sleep(5)

    play(test)


@pytest.mark.req("WORK-23")
def test_a_reload_goes_from_one_to_the_next_and_says_which_has_failed() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        order_of: list[int] = []

        def reload(child: FakeChild, order: Any) -> None:
            if not isinstance(order, Call):
                obey(child, order)
                return
            order_of.append(child.index)
            fault = "FILE: is not TOML" if child.index == 2 else ""
            child.say(Answer(number=order.number, fault=fault))

        fake.obey = reload
        async with supervised(fake, 4) as workers:
            await workers.wait_serving()
            fake.act = lambda child: child.end(1)
            for _ in range(2):
                fake.of(4)[-1].end(1)
                await trio.sleep(0.1)
            assert states(workers)[3] == "waiting"  # it reads the configuration when it starts
            assert await workers.reload() == ["worker 2: FILE: is not TOML"]
            assert order_of == [1, 2, 3]
            fake.act = lambda child: child.say(Ready())

    play(test)


@pytest.mark.req("WORK-23")
def test_a_reload_leaves_out_one_that_is_being_replaced() -> None:
    """The next process of that worker reads the configuration when it starts."""

    async def test() -> None:
        fake = FakeWorkers()

        def keep_waiting(child: FakeChild, order: Any) -> None:
            if child.index == 3 or not isinstance(order, Call | Drain):
                obey(child, order)

        fake.obey = keep_waiting
        async with supervised(fake, 3) as workers:
            await workers.wait_serving()
            workers.restart()
            await trio.sleep(0.1)
            assert states(workers) == ["draining", "serving", "serving"]
            faults: list[str] = []

            async def reload() -> None:
                faults.extend(await workers.reload())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reload)
                await trio.sleep(0.1)
                assert fake.of(2)[0].told == ["Call"]
                fake.obey = obey
                fake.of(2)[0].end(1)  # another one has begun before its answer
                await trio.sleep(0.1)
            assert faults == []
            assert fake.of(1)[0].told == ["Drain"]
            fake.of(1)[0].end(0)

    play(test)


# --- one that does not answer


def blocked_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.text.splitlines() if "answer" in one]


@pytest.mark.req("WORK-60", "WORK-33")
def test_one_that_does_not_answer_is_shown_and_told_once_and_so_is_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake, away = FakeWorkers(), list[int]()
        async with supervised(fake, 2, away) as workers:
            await workers.wait_serving()
            await trio.sleep(100.5)
            assert states(workers) == ["serving", "serving"]
            (child,) = fake.of(2)
            fake.blocked.add(child)
            await trio.sleep(NOTICE_S - LOOK_S)
            assert states(workers) == ["serving", "serving"]
            assert away == []
            await trio.sleep(2 * LOOK_S)
            assert states(workers) == ["serving", "blocked"]
            assert workers.count_states()["blocked"] == 1
            assert workers.check() == ""
            assert away == [2]
            fake.blocked.add(fake.of(1)[0])
            await trio.sleep(1000)  # it is not killed, because max_blocked_s is 0
            assert workers.check() == "no worker serves clients"
            for one in (child, fake.of(1)[0]):
                fake.unblock(one)
            await trio.sleep(0.1)
            assert states(workers) == ["serving", "serving"]
            assert not child.killed
            assert child.told == []

    play(test)
    lines = blocked_lines(caplog)
    assert len(lines) == 4
    assert "ERROR" in lines[0]
    assert (
        "worker 2 (pid 200) has not answered for 5 s: its app seems to block it; it is left"
        in lines[0]
    )
    assert "worker 2 (pid 200) answers again, after 100" in lines[2] + lines[3]


@pytest.mark.req("WORK-61", "WORK-67")
def test_one_that_does_not_answer_for_long_is_killed_and_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=30.0) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            await trio.sleep(29)
            assert states(workers) == ["blocked", "serving"]
            await trio.sleep(3)
            assert child.killed
            assert states(workers) == ["serving", "serving"]
            assert workers.restarts["blocked"] == 1
            assert workers.restarts["signal"] == 0
            shown = workers.listed()[0]
            assert shown.restarts == 1
            assert shown.died_of == "it has not answered for 30 s, and was killed"
            await trio.sleep(100)
            assert len(fake.started) == 3

    play(test)
    assert "for 5 s: its app seems to block it; after 30 s it is killed" in caplog.text
    assert "it has not answered for 30 s, and was killed; it is started again now" in caplog.text
    assert "memory" not in caplog.text


@pytest.mark.req("WORK-61")
def test_many_that_are_blocked_together_do_not_end_the_program() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, 8, max_blocked_s=10.0) as workers:
            await workers.wait_serving()
            fake.blocked.update(fake.started)
            await trio.sleep(12)
            assert workers.restarts["blocked"] == 8
            assert states(workers) == ["serving"] * 8

    play(test)


@pytest.mark.req("WORK-62")
def test_the_time_in_which_the_parent_stood_still_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(clock: MockClock) -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=30.0) as workers:
            await workers.wait_serving()
            fake.blocked.update(fake.started)
            await trio.sleep(2)
            clock.jump(10_000)  # as if the machine had been suspended
            await trio.sleep(1)
            assert states(workers) == ["serving", "serving"]
            for child in fake.started:
                fake.unblock(child)
            await trio.sleep(10)

    clock = MockClock(autojump_threshold=0)
    trio.run(test, clock, clock=clock)
    assert blocked_lines(caplog) == []


@pytest.mark.req("WORK-63")
def test_one_that_was_stopped_by_a_debugger_is_told_but_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=30.0) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            child.stopped = True
            await trio.sleep(1000)
            assert not child.killed
            assert states(workers) == ["blocked", "serving"]
            child.stopped = False  # it was let go on, but it is blocked all the same
            await trio.sleep(23)
            assert not child.killed
            await trio.sleep(5)
            assert child.killed

    play(test)
    assert "a signal or a debugger has stopped it, and it is left alone" in caplog.text


@pytest.mark.req("WORK-61")
def test_one_that_does_not_end_when_it_is_killed_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that waits for a disk ends only when it has its answer."""

    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=30.0) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            monkeypatch.setattr(child, "kill", lambda: None)
            await trio.sleep(100)
            assert states(workers) == ["blocked", "serving"]
            child.end(-9)
            await trio.sleep(0.1)
            assert workers.restarts["blocked"] == 1

    play(test)
    assert caplog.text.count("and is killed") == 1


@pytest.mark.req("WORK-68")
def test_one_that_drains_is_not_killed_because_it_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its event loop has ended, and its interpreter waits for a thread."""

    async def test() -> None:
        fake = FakeWorkers()
        fake.obey = lambda child, order: None
        async with supervised(fake, max_blocked_s=8.0) as workers:
            await workers.wait_serving()
            workers.drain()
            await trio.sleep(1)
            fake.blocked.update(fake.started)
            await trio.sleep(STOP_S - 2)
            assert states(workers) == ["draining", "draining"]
            fake.of(1)[0].end(0)
            await trio.sleep(2)
            assert [fake.of(index)[0].killed for index in (1, 2)] == [False, True]
            assert [one.died_of for one in workers.listed()] == [
                "",
                f"it has not stopped within {STOP_S:g} s, and was killed",
            ]

    play(test)
    assert blocked_lines(caplog) == []


@pytest.mark.req("WORK-68")
def test_one_that_answers_again_while_it_drains_has_its_time_to_drain() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.obey = lambda child, order: None
        async with supervised(fake, max_blocked_s=8.0) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            await trio.sleep(7)
            workers.drain()
            fake.unblock(child)
            await trio.sleep(0.1)
            fake.blocked.add(child)
            await trio.sleep(STOP_S - 1)
            assert not child.killed
            for one in fake.started:
                one.end(0)

    play(test)


def test_an_error_about_one_worker_leaves_the_others_and_the_program_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> bool:
        raise ValueError("it cannot be read")

    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=30.0) as workers:
            await workers.wait_serving()
            (first,), (second,) = fake.of(1), fake.of(2)
            monkeypatch.setattr(first, "is_stopped", fails)
            fake.blocked.update(fake.started)
            await trio.sleep(35)
            assert second.killed
            assert states(workers) == ["blocked", "serving"]
            fake.unblock(first)
            await trio.sleep(10)
            assert states(workers) == ["serving", "serving"]

    play(test)
    assert caplog.text.count("could not be looked at") == 1
    assert caplog.text.count("ValueError: it cannot be read") == 1


@pytest.mark.req("WORK-64")
def test_nobody_waits_for_one_that_does_not_answer() -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            began = trio.current_time()
            (fault,) = await workers.reload()  # it is noticed meanwhile
            assert NOTICE_S <= trio.current_time() - began <= NOTICE_S + 2 * LOOK_S
            assert fault.startswith("worker 1: it has not answered for ")
            assert fault.endswith(" s, and reloads when it answers again")
            began = trio.current_time()
            assert len(await workers.reload()) == 1
            assert list(await workers.ask("metrics")) == [2]
            assert trio.current_time() - began < 0.1
            assert workers.unanswered == 1
            fake.unblock(child)
            await trio.sleep(0.1)
            assert child.told == ["Call", "Call"]  # it reloads when it goes on
            assert list(await workers.ask("metrics")) == [1, 2]

    play(test)


@pytest.mark.req("WORK-64")
def test_a_restart_says_which_one_does_not_answer_and_replaces_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=12.0) as workers:
            await workers.wait_serving()
            (child,) = fake.of(1)
            fake.blocked.add(child)
            await trio.sleep(7)
            methods = WorkerMethods(workers)
            assert methods.restart() == Restarting(workers=[1, 2], blocked=[1])
            await trio.sleep(0.1)
            assert "worker 1 (pid 100) does not answer" in caplog.text
            assert states(workers) == ["draining", "serving"]
            await trio.sleep(7)  # less than STOP_S
            assert child.killed
            assert states(workers) == ["serving", "serving"]
            assert workers.restarts["asked"] == 2
            assert workers.restarts["blocked"] == 0
            assert methods.restart().blocked == []
            await trio.sleep(1)

    play(test)
    assert "all workers were replaced" in caplog.text


@pytest.mark.req("WORK-64")
def test_a_worker_without_a_process_is_not_said_to_be_silent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        async with supervised(fake, max_blocked_s=12.0) as workers:
            await workers.wait_serving()
            fake.of(1)[0].end(1)
            await trio.sleep(0.1)
            (_, child) = fake.of(1)
            fake.blocked.add(child)
            fake.fail_to_start = True
            await trio.sleep(13)
            assert child.killed
            assert states(workers) == ["waiting", "serving"]
            caplog.clear()
            assert WorkerMethods(workers).restart().blocked == []
            fake.fail_to_start = False
            await trio.sleep(1)
            assert states(workers) == ["serving", "serving"]

    play(test)
    assert blocked_lines(caplog) == []


@pytest.mark.req("WORK-19")
@pytest.mark.parametrize("replaced_after_s", [1.0, UNSERVED_S + 0.5])
def test_the_next_process_of_a_worker_is_not_killed_for_the_one_before(
    replaced_after_s: float,
) -> None:
    """It is told of the end of a process later than the worker is."""

    async def test() -> None:
        worker = Worker(1, "a-1", trio.current_time(), 0.0)
        old, new = FakeChild(1, 100), FakeChild(1, 101)
        worker.begin(old)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(_stop_unserved, worker, old)
            await trio.sleep(replaced_after_s)
            worker.end()
            worker.begin(new)
        assert not new.killed
        for child in (old, new):
            child.end(0)
            child.link.close()

    play(test)


@pytest.mark.req("WORK-60")
def test_one_that_loads_its_app_is_not_expected_to_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        fake = FakeWorkers()
        fake.act = lambda child: None
        async with supervised(fake, max_blocked_s=10.0) as workers:
            fake.blocked.update(fake.started)
            await trio.sleep(100)
            assert states(workers) == ["starting", "starting"]
            for child in fake.started:
                fake.unblock(child)
                child.say(Ready())
            await workers.wait_serving()

    play(test)
    assert blocked_lines(caplog) == []
