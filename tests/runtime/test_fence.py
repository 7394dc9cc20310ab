"""The fence of a lease: noticed before anything more is read or sent, on both pollers."""

import select
import time
from collections.abc import Callable
from math import inf

import pytest
import trio
from tests.net.harness import Net, Recorder, open_net, settle
from trio.testing import trio_test

from trio_socketio.net.connection import EARLY_FLUSH_BYTES
from trio_socketio.runtime.agenda import Agenda
from trio_socketio.runtime.fence import RETRY_S, Fence, Fences, boottime
from trio_socketio.runtime.poller import Poller
from trio_socketio.runtime.readiness import EpollPoller, PortablePoller

CREATORS: list[Callable[[], Poller]] = [PortablePoller]
if hasattr(select, "epoll"):
    CREATORS.append(EpollPoller)

every_poller = pytest.mark.parametrize("create", CREATORS)


class Clock:
    """Tells what the test says, and how often it was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


class Holder:
    """Holds a lease until 110."""

    def __init__(self, fences: Fences, error: BaseException | None = None) -> None:
        self.fence = Fence(fences)
        self.fence.use(self.passed)
        self.fence.at = 110.0
        self.error = error
        self.calls = 0
        self.on_passed: Callable[[], object] = lambda: None

    def passed(self) -> None:
        self.calls += 1
        self.on_passed()
        if self.error is not None:
            raise self.error


# --- alone


@pytest.mark.req("LEASE-55")
def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # which only Linux has
    before = time.clock_gettime(clock)
    assert before <= boottime() <= time.clock_gettime(clock)


def test_the_clock_is_not_read_without_a_lease() -> None:
    clock = Clock()
    fences = Fences(clock)
    assert not fences.is_passed()
    holder = Holder(fences)
    holder.fence.at = inf
    assert not fences.is_passed()
    assert clock.reads == 0


@pytest.mark.req("LEASE-42")
def test_a_holder_is_told_once_and_from_the_moment_itself() -> None:
    clock = Clock()
    fences = Fences(clock)
    holder = Holder(fences)
    clock.now = 109.999
    assert not fences.is_passed()
    assert not fences.look()
    clock.now = 110.0
    assert fences.is_passed()
    assert fences.look()
    assert not fences.is_passed()
    assert not fences.look()
    assert holder.calls == 1
    assert holder.fence.at == fences.at == inf


@pytest.mark.req("LEASE-42")
def test_a_holder_is_told_again_when_its_next_lease_ends() -> None:
    clock = Clock()
    fences = Fences(clock)
    holder = Holder(fences)
    clock.now = 110.0

    def enroll() -> None:
        holder.fence.at = 120.0

    holder.on_passed = enroll
    assert fences.look()
    assert fences.at == 120.0
    clock.now = 125.0
    assert fences.look()
    assert holder.calls == 2


def test_each_holder_has_a_time_of_its_own() -> None:
    clock = Clock()
    fences = Fences(clock)
    early, late = Holder(fences), Holder(fences)
    late.fence.at = 130.0
    assert fences.at == 110.0
    clock.now = 115.0
    assert fences.look()
    assert (early.calls, late.calls) == (1, 0)
    assert fences.at == 130.0
    late.fence.close()
    assert fences.at == inf


@pytest.mark.req("LEASE-44")
@pytest.mark.parametrize("error", [ValueError("a defect"), SystemExit()])
def test_a_holder_that_fails_is_told_again(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    fences = Fences(clock)
    broken, fine = Holder(fences, error), Holder(fences)
    clock.now = 110.0
    assert fences.look()
    assert (broken.calls, fine.calls, fences.failures) == (1, 1, 1)
    assert "the end of a lease was not dealt with" in caplog.text
    clock.now += RETRY_S
    assert fences.look()
    assert (broken.calls, fine.calls, fences.failures) == (2, 1, 2)


@pytest.mark.req("LEASE-44")
def test_a_holder_that_has_a_lease_again_before_it_fails_is_left_alone() -> None:
    clock = Clock()
    fences = Fences(clock)
    holder = Holder(fences, ValueError("a defect"))

    def enroll() -> None:
        holder.fence.at = 200.0

    holder.on_passed = enroll
    clock.now = 110.0
    assert fences.look()
    assert fences.at == 200.0


# --- in the agenda


class Flushed:
    """Output that takes its time to leave."""

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        self.on_flush = on_flush
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        self.on_flush()

    def fail(self, error: BaseException) -> None:
        raise error


@pytest.mark.req("LEASE-41")
def test_what_a_call_took_is_noticed_before_anything_is_sent() -> None:
    clock = Clock()
    fences = Fences(clock)
    agenda = Agenda(lambda _: None, fences)
    holder, output = Holder(fences), Flushed()
    left: list[int] = []
    agenda.dirty.append(output)
    agenda.deferred.append(lambda: setattr(clock, "now", 111.0))
    holder.on_passed = lambda: agenda.deferred.append(lambda: left.append(output.flushes))
    assert agenda.settle(inf)
    assert holder.calls == 1
    assert left == [0]  # what the holder has ended has left before anything was sent
    assert output.flushes == 1


@pytest.mark.req("LEASE-41")
def test_every_slice_of_the_output_begins_with_a_look() -> None:
    clock = Clock()
    fences = Fences(clock)
    agenda = Agenda(lambda _: None, fences)
    holder = Holder(fences)
    sent_before: list[int] = []
    outputs = [Flushed() for _ in range(200)]
    outputs[70].on_flush = lambda: setattr(clock, "now", 111.0)  # stopped in the second slice
    holder.on_passed = lambda: sent_before.append(sum(one.flushes for one in outputs))
    agenda.dirty += outputs
    assert not agenda.settle(inf)
    assert sum(one.flushes for one in outputs) == 128
    assert agenda.settle(inf)
    assert sent_before == [128]
    assert all(one.flushes == 1 for one in outputs)


# --- on the pollers


def use_clock(net: Net) -> Clock:
    """Have the poller look at a clock of the test's."""
    clock = Clock()
    net.poller.fences._clock = clock
    return clock


@every_poller
class TestPollers:
    @pytest.mark.req("LEASE-40")
    @trio_test
    async def test_nothing_is_read_before_the_holder_is_told(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            received = Recorder()
            connection, _, peer = net.connect(received)
            holder.on_passed = connection.abort
            await peer.send(b"early")
            assert received.data == b"early"
            clock.now = 111.0  # the process was stopped
            await peer.send(b"late")
            assert holder.calls == 1
            assert received.data == b"early"

    @pytest.mark.req("LEASE-40")
    @trio_test
    async def test_the_rest_of_a_batch_waits_for_the_holder(
        self, create: Callable[[], Poller]
    ) -> None:
        """Whoever of the two is called first stands still for longer than a turn."""
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            ends = [(Recorder(), net.pair()) for _ in range(2)]

            def stand_still(_: bytes) -> None:
                clock.now = 111.0
                time.sleep(0.002)

            for received, (connection, _, peer) in ends:
                received.on_data = stand_still
                connection.set_receiver(received)
                net.poller.register(connection)
                peer.send_nowait(b"x")

            def abort_all() -> None:
                for _, (connection, _, _) in ends:
                    connection.abort()

            holder.on_passed = abort_all
            await settle()
            assert sorted(received.data for received, _ in ends) == [b"", b"x"]
            assert holder.calls == 1

    @pytest.mark.req("LEASE-41")
    @trio_test
    async def test_what_a_turn_has_written_is_not_sent(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            received = Recorder()
            connection, sock, peer = net.connect(received)
            holder.on_passed = connection.abort

            def answer(_: bytes) -> None:
                connection.write(b"an answer")
                clock.now = 111.0

            received.on_data = answer
            await peer.send(b"x")
            assert holder.calls == 1
            assert sock.sent == []

    @pytest.mark.req("LEASE-41")
    @trio_test
    async def test_what_was_written_outside_a_turn_is_not_sent(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            connection, sock, _ = net.connect(Recorder())
            holder.on_passed = connection.abort
            connection.write(b"an answer")
            clock.now = 111.0
            await settle()
            assert holder.calls == 1
            assert sock.sent == []

    @pytest.mark.req("LEASE-43")
    @trio_test
    async def test_large_output_does_not_leave_early(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            connection, sock, _ = net.connect(Recorder())
            holder.on_passed = connection.abort
            clock.now = 111.0
            connection.write(bytes(EARLY_FLUSH_BYTES + 1))
            assert sock.sent == []
            await settle()
            assert holder.calls == 1
            assert sock.sent == []

    @pytest.mark.req("LEASE-44")
    @trio_test
    async def test_a_holder_that_fails_harms_no_connection(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            Holder(net.poller.fences, ValueError("a defect"))
            received = Recorder()
            _, _, peer = net.connect(received)
            clock.now = 111.0
            await peer.send(b"x")
            assert received.data == b"x"
            assert net.poller.failures == 1

    @trio_test
    async def test_those_who_wait_go_on_when_everything_has_ended(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            clock = use_clock(net)
            holder = Holder(net.poller.fences)
            events: list[str] = []

            def end() -> None:
                events.append("passed")
                net.poller.defer(lambda: events.append("left"))

            holder.on_passed = end
            clock.now = 111.0
            assert net.poller.is_fenced()
            with trio.fail_after(3):
                await net.poller.wait_fenced()
            assert events == ["passed", "left"]
            assert not net.poller.is_fenced()


@pytest.mark.req("FWD-24", "LEASE-44")
def test_all_followers_are_called_whatever_one_raises() -> None:
    clock = Clock()
    fences = Fences(clock)
    holder = Holder(fences)
    called: list[str] = []

    def fail() -> None:
        called.append("fails")
        raise ValueError

    fences.followers += [fail, lambda: called.append("follows")]
    assert not fences.look()
    assert called == []
    clock.now = 110.0
    assert fences.look()
    assert (holder.calls, called) == (1, ["fails", "follows"])
    assert fences.failures == 1
    assert holder.fence.at == inf  # only its own function is called again
