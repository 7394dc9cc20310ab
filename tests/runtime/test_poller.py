"""One contract for both pollers."""

import gc
import select
import time
from collections.abc import Callable

import pytest
import trio
import trio.testing
from tests.net.harness import (
    LATE_S,
    Net,
    Passes,
    Peer,
    Recorder,
    measure_lateness,
    open_net,
    settle,
)
from trio.testing import trio_test

from trio_socketio.net.connection import Connection
from trio_socketio.runtime import poller as poller_module
from trio_socketio.runtime.poller import Poller
from trio_socketio.runtime.readiness import EpollPoller, PortablePoller, create_poller

CREATORS: list[Callable[[], Poller]] = [PortablePoller]
if hasattr(select, "epoll"):
    CREATORS.append(EpollPoller)

every_poller = pytest.mark.parametrize("create", CREATORS)


def test_the_fastest_poller_is_created() -> None:
    assert type(create_poller()) is (EpollPoller if hasattr(select, "epoll") else PortablePoller)


@every_poller
class TestReadingAndWriting:
    @trio_test
    async def test_what_arrives_is_handed_over(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            _, _, peer = net.connect(received)
            await peer.send(b"one")
            await peer.send(b"two")
            assert received.data == b"onetwo"
            assert received.lost == []

    @pytest.mark.req("EIO4-82")
    @pytest.mark.req("RUN-56")
    @trio_test
    async def test_what_has_arrived_is_read_on_demand(self, create: Callable[[], Poller]) -> None:
        """Without waiting for the poller's own turn, however many there are; once each."""
        async with open_net(create()) as net:
            ends = [(Recorder(), net.pair()) for _ in range(800)]
            for number, (received, (connection, _, peer)) in enumerate(ends):
                connection.set_receiver(received)
                net.poller.register(connection, preferred=number % 2 == 0)
                peer.send_nowait(bytes(70_000))
            ends[0][1][0].hold_reading()
            ends[1][1][0].abort()
            await net.poller.read_ready()
            assert all(received.data for received, _ in ends[2:])
            assert ends[0][0].data == ends[1][0].data == b""
            await net.poller.read_ready()  # nothing is there
            assert net.poller.failures == 0

    @pytest.mark.req("EIO4-82")
    @trio_test
    async def test_a_connection_that_fails_does_not_keep_others_from_being_read(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:

            def fail(_: bytes) -> None:
                raise KeyError("a defect")

            broken, fine = Recorder(fail), Recorder()
            for received in (broken, fine):
                _, _, peer = net.connect(received)
                peer.send_nowait(b"x")
            await net.poller.read_ready()
            assert fine.data == b"x"
            assert net.poller.failures == 1

    @trio_test
    async def test_a_blocked_write_resumes(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            connection, sock, peer = net.connect(Recorder(), buffer_bytes=4096)
            data = bytes(range(256)) * 4096
            connection.write(data)
            await settle()
            assert connection.is_blocked
            assert await peer.read_until(len(data)) == data
            await settle()
            assert connection.waiting_bytes == 0
            assert len(sock.sent) > 1

    @trio_test
    async def test_reading_goes_on_while_output_is_blocked(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received, buffer_bytes=4096)
            connection.write(bytes(1 << 20))
            await settle()
            assert connection.is_blocked
            await peer.send(b"still here")
            assert received.data == b"still here"

    @trio_test
    async def test_output_of_one_turn_leaves_with_one_send(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, sock, peer = net.connect(received)

            def answer(_: bytes) -> None:
                for number in range(10):
                    connection.write(b"%d" % number)
                assert sock.sent == []

            received.on_data = answer
            await peer.send(b"go")
            assert peer.read_nowait() == b"0123456789"
            assert sock.sent == [10]

    @trio_test
    async def test_output_made_outside_a_turn_leaves_at_once(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            connection, sock, peer = net.connect(Recorder())
            await settle()
            connection.write(b"first")
            connection.write(b"second")
            await trio.testing.wait_all_tasks_blocked()
            assert peer.read_nowait() == b"firstsecond"
            assert sock.sent == [11]

    @trio_test
    async def test_pausing_stops_reading_and_resuming_loses_nothing(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.hold_reading()
            await settle()
            await peer.send(b"early")
            assert received.data == b""
            connection.resume_reading()
            await settle()
            assert received.data == b"early"
            await peer.send(b" late")
            assert received.data == b"early late"

    @trio_test
    async def test_a_paused_connection_still_writes(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            connection, _, peer = net.connect(Recorder(), buffer_bytes=4096)
            connection.hold_reading()
            data = bytes(1 << 18)
            connection.write(data)
            assert await peer.read_until(len(data)) == data

    @trio_test
    async def test_a_hang_up_is_noticed_while_paused(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.pause_reading(30)
            await settle()
            lost = trio.Event()
            received.on_lost = lost.set
            peer.close()
            with trio.fail_after(3):
                await lost.wait()
            assert received.lost == ["transport close"]


@every_poller
class TestBarriers:
    @trio_test
    async def test_a_receiver_that_raises_harms_no_other(
        self, create: Callable[[], Poller], caplog: pytest.LogCaptureFixture
    ) -> None:
        def explode(_: bytes) -> None:
            raise ValueError("a defect")

        async with open_net(create()) as net:
            broken, fine = Recorder(explode), Recorder()
            first, _, first_peer = net.connect(broken)
            _, _, second_peer = net.connect(fine)
            first_peer.send_nowait(b"x")
            second_peer.send_nowait(b"y")
            await settle()
            assert fine.data == b"y"
            assert fine.lost == []
            assert broken.lost == ["transport error"]
            assert first.fileno() == -1
            assert net.poller.failures == 1
            await second_peer.send(b"z")
            assert fine.data == b"yz"
        assert "a defect" in caplog.text

    @trio_test
    async def test_a_flush_that_raises_harms_no_other(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            item = BrokenFlush()
            connection, _, peer = net.connect(Recorder())
            net.poller.mark_dirty(item)
            connection.write(b"fine")
            assert await peer.read() == b"fine"
            assert item.failed == 1
            assert net.poller.failures == 1

    @trio_test
    async def test_a_deferred_call_that_raises_harms_no_other(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            called: list[int] = []
            net.poller.defer(lambda: called.append(1 // 0))
            net.poller.defer(lambda: called.append(2))
            await settle()
            assert called == [2]
            assert net.poller.failures == 1

    @trio_test
    async def test_a_promised_call_that_raises_harms_no_other(
        self, create: Callable[[], Poller]
    ) -> None:
        def explode() -> None:
            raise ValueError("a defect")

        async with open_net(create()) as net:
            broken, fine = Recorder(), Recorder()
            broken.on_more = explode
            first, _, _ = net.connect(broken)
            second, _, _ = net.connect(fine)
            first.call_again()
            second.call_again()
            await settle()
            assert fine.more == 1
            assert broken.lost == ["transport error"]
            assert net.poller.failures == 1

    @trio_test
    async def test_a_lost_callback_that_raises_harms_no_other(
        self, create: Callable[[], Poller]
    ) -> None:
        def explode() -> None:
            raise ValueError("a defect")

        async with open_net(create()) as net:
            broken, fine = Recorder(), Recorder()
            broken.on_lost = explode
            connection, _, peer = net.connect(broken)
            _, _, other = net.connect(fine)
            peer.close()
            await settle()
            assert connection.fileno() == -1
            await other.send(b"ok")
            assert fine.data == b"ok"
            assert net.poller.failures == 1


class BrokenFlush:
    def __init__(self) -> None:
        self.failed = 0

    def flush(self) -> None:
        raise ValueError("a defect")

    def fail(self, error: BaseException) -> None:
        assert str(error) == "a defect"
        self.failed += 1


@every_poller
class TestClosing:
    @trio_test
    async def test_one_closed_by_another_in_its_batch_hears_nothing_more(
        self, create: Callable[[], Poller]
    ) -> None:
        """Whichever comes first closes the other, whose bytes are there already."""
        async with open_net(create()) as net:
            first, second = Recorder(), Recorder()
            one, _, one_peer = net.connect(first)
            two, _, two_peer = net.connect(second)
            first.on_data = lambda _: two.abort()
            second.on_data = lambda _: one.abort()
            one_peer.send_nowait(b"1")
            two_peer.send_nowait(b"2")
            await settle()
            assert sorted([first.data, second.data]) == [b"", max(first.data, second.data)]
            assert first.lost == second.lost == []
            assert [one.closed, two.closed].count(True) == 1
            assert len(net.released) == 1
            assert net.poller.failures == 0

    @trio_test
    async def test_a_descriptor_is_closed_after_the_turn_and_once(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            open_in_turn: list[bool] = []

            def close(_: bytes) -> None:
                connection.abort()
                connection.abort()
                open_in_turn.append(connection.fileno() >= 0)

            received.on_data = close
            await peer.send(b"x")
            assert open_in_turn == [True]
            assert connection.fileno() == -1
            assert net.released == [connection]

    @trio_test
    async def test_reused_numbers_are_not_mixed_up(self, create: Callable[[], Poller]) -> None:
        """Each read closes a neighbour and opens a new one, which takes the number over."""
        async with open_net(create()) as net:
            crowd = Crowd(net)
            for _ in range(8):
                crowd.add()
            for _ in range(30):
                for _, _, peer, sent in list(crowd.members):
                    if len(sent) < 64:
                        peer.send_nowait(sent[:1])
                await settle()
                crowd.check()
            assert net.poller.failures == 0
            assert len(net.released) >= 30

    @trio_test
    async def test_what_is_open_when_running_ends_is_released(
        self, create: Callable[[], Poller]
    ) -> None:
        poller = create()
        net = Net(poller)
        async with poller.running():
            connection, _, peer = net.connect(Recorder())
            other, _, _ = net.connect(Recorder())
            preferred, _, _ = net.connect(Recorder(), preferred=True)
            other.abort()
            await settle()
        assert connection.fileno() == preferred.fileno() == -1
        assert net.released[0] is other
        assert set(net.released[1:]) == {connection, preferred}
        assert peer.read_nowait() == b""
        assert peer.eof
        net.close_all()

    @trio_test
    async def test_cancellation_releases_everything(self, create: Callable[[], Poller]) -> None:
        poller = create()
        net = Net(poller)
        with trio.CancelScope() as scope:
            async with poller.running():
                connection, _, _ = net.connect(Recorder())
                connection.write(b"written just before")
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert connection.fileno() == -1
        assert net.released == [connection]
        assert net.peers[0].read_nowait() == b"written just before"
        net.close_all()
        del poller
        gc.collect()  # a descriptor of the poller that was left open would warn


class Crowd:
    """Connections that replace each other while they are called."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.members: list[tuple[Connection, Recorder, Peer, bytes]] = []
        self._number = 0

    def add(self) -> None:
        self._number += 1
        mark = bytes([self._number % 251 + 1])
        received = Recorder()
        connection, _, peer = self.net.connect(received, preferred=self._number % 3 == 0)
        if self._number % 3 == 1:
            self.net.poller.prefer(connection)
        member = (connection, received, peer, mark)
        received.on_data = lambda _: self.replace(member)
        self.members.append(member)

    def replace(self, member: tuple[Connection, Recorder, Peer, bytes]) -> None:
        if len(self.members) > 6:
            at = (self.members.index(member) + 1) % len(self.members)
            self.members.pop(at)[0].abort()
            self.net.poller.defer(self.add)

    def check(self) -> None:
        for connection, received, _, mark in self.members:
            assert set(received.data) <= set(mark), "somebody else's bytes"
            assert not connection.closed
            assert received.lost == []


@every_poller
class TestTurns:
    @trio_test
    async def test_a_call_again_comes_in_a_later_turn(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            order: list[str] = []

            def ask(_: bytes) -> None:
                connection.call_again()
                order.append("read")
                net.poller.defer(lambda: order.append("deferred"))

            received.on_data = ask
            received.on_more = lambda: order.append("more")
            await peer.send(b"x")
            assert order == ["read", "deferred", "more"]

    @trio_test
    async def test_a_chain_of_calls_again_is_not_recursive_and_ends(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received)

            def go_on() -> None:
                if received.more < 3000:
                    connection.call_again()

            received.on_data = lambda _: connection.call_again()
            received.on_more = go_on
            await peer.send(b"x")
            assert received.more == 3000

    @trio_test
    async def test_deferred_calls_are_never_made_from_within_defer(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            order: list[int] = []

            def outer() -> None:
                net.poller.defer(lambda: order.append(2))
                order.append(1)

            net.poller.defer(outer)
            assert order == []
            await settle()
            assert order == [1, 2]

    @trio_test
    async def test_a_slow_turn_is_told(self, create: Callable[[], Poller]) -> None:
        async with open_net(create()) as net:
            told: list[float] = []
            net.poller.on_slow_turn(0.02, told.append)
            received = Recorder(lambda _: time.sleep(0.03))  # a handler that blocks
            _, _, peer = net.connect(received)
            await peer.send(b"x")
            assert len(told) == 1
            assert 0.02 < told[0] < 0.2
            received.on_data = None
            await peer.send(b"x")
            assert len(told) == 1

    @pytest.mark.parametrize(("send_s", "joined"), [(1.0, True), (0.0, False)])
    @trio_test
    async def test_what_goes_on_joins_its_output_for_as_long_as_sending_takes(
        self,
        create: Callable[[], Poller],
        send_s: float,
        joined: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Several broadcasts in one read, each longer than a turn: others run in between."""
        monkeypatch.setattr(poller_module, "_SEND_S", send_s)
        async with open_net(create()) as net:
            others = [net.connect(Recorder()) for _ in range(20)]
            received = Recorder()
            connection, _, peer = net.connect(received)
            passes: list[int] = []

            def broadcast() -> None:
                passes.append(counted.passes)
                for other, _, _ in others:
                    other.write(b"%d" % len(passes))
                if len(passes) < 5:
                    connection.call_again()

            received.on_data = lambda _: broadcast()
            received.on_more = broadcast
            counted = Passes()
            trio.lowlevel.add_instrument(counted)
            await peer.send(b"x")
            assert len(set(passes)) == 5
            for _, sock, other_peer in others:
                assert other_peer.read_nowait() == b"12345"
                assert sock.sent == ([5] if joined else [1] * 5)

    @trio_test
    async def test_others_are_not_kept_waiting_by_a_flood(
        self, create: Callable[[], Poller]
    ) -> None:
        """200 connections have bytes all the time, and each costs 0.2 ms: 40 ms a round."""
        async with open_net(create()) as net:
            calls = 0

            def work(_: bytes) -> None:
                nonlocal calls
                calls += 1
                ends = time.perf_counter() + 0.0002
                while time.perf_counter() < ends:
                    pass

            peers = [net.connect(Recorder(work))[2] for _ in range(200)]

            def flood() -> None:
                for peer in peers:
                    peer.send_nowait(b"x")

            late = await measure_lateness(flood)
            assert calls > 20
            assert late < LATE_S, f"{late * 1000:.1f} ms late"

    @trio_test
    async def test_others_are_not_kept_waiting_by_deferred_calls(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:

            def burst() -> None:
                for _ in range(100):
                    net.poller.defer(lambda: time.sleep(0.0003))

            assert await measure_lateness(burst, rounds=5) < LATE_S
