"""Connections whose clients have joined come before those of newcomers."""

import select
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from tests.net.harness import Net, Passes, Peer, Recorder, open_net, settle
from tests.runtime.test_poller import CREATORS
from trio.testing import trio_test

from trio_socketio.net.connection import Connection
from trio_socketio.net.driving import READ
from trio_socketio.runtime import agenda as agenda_module
from trio_socketio.runtime import poller as poller_module
from trio_socketio.runtime import readiness
from trio_socketio.runtime.poller import TURN_S, Poller
from trio_socketio.runtime.readiness import BATCH

if not hasattr(select, "epoll"):
    pytest.skip("only EpollPoller knows an order", allow_module_level=True)

from trio_socketio.runtime.readiness import EpollPoller

every_poller = pytest.mark.parametrize("create", CREATORS)


class Clock:
    """The clock of the poller, on which only what the test says takes time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (readiness, poller_module, agenda_module):
        monkeypatch.setattr(module, "perf_counter", clock)
    return clock


class Order:
    """Writes down which connections are read, each of which takes some time.

    Args:
        net: where they are.
        clock: of the poller.
    """

    def __init__(self, net: Net, clock: Clock) -> None:
        self.read: list[str] = []
        self._net = net
        self._clock = clock

    def add(
        self,
        name: str,
        turns: float = 0.0,
        *,
        preferred: bool = False,
        then: Callable[[], None] | None = None,
    ) -> tuple[Connection, Peer]:
        def on_data(_: bytes) -> None:
            self.read.append(name)
            self._clock.now += turns * TURN_S
            if then is not None:
                then()

        connection, _, peer = self._net.connect(Recorder(on_data), preferred=preferred)
        return connection, peer


class TestOrder:
    @pytest.mark.req("RUN-47")
    @trio_test
    async def test_a_preferred_connection_comes_before_newcomers_that_were_ready_earlier(
        self, clock: Clock
    ) -> None:
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            _, peer = order.add("preferred", preferred=True)
            for number in range(BATCH + 50):
                order.add(f"{number}")[1].send_nowait(b"x")
            peer.send_nowait(b"x")
            await settle()
            assert order.read == ["preferred", *(f"{number}" for number in range(BATCH + 50))]

    @pytest.mark.req("RUN-47")
    @trio_test
    async def test_one_that_becomes_ready_meanwhile_waits_for_a_turn_of_newcomers_alone(
        self, clock: Clock
    ) -> None:
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            _, peer = order.add("preferred", preferred=True)
            order.add("0", 0.2, then=lambda: peer.send_nowait(b"x"))[1].send_nowait(b"x")
            for number in range(1, 50):
                order.add(f"{number}", 0.3)[1].send_nowait(b"x")
            await settle()
            assert order.read[:5] == ["0", "1", "2", "3", "preferred"]
            assert len(order.read) == 51

    @pytest.mark.req("RUN-47")
    @trio_test
    async def test_one_that_was_a_newcomer_comes_first_from_then_on(self, clock: Clock) -> None:
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            connection, peer = order.add("joined")
            peer.send_nowait(b"x")
            await settle()
            for number in range(3):
                order.add(f"{number}")[1].send_nowait(b"x")
            peer.send_nowait(b"x")
            net.poller.prefer(connection)
            await settle()
            assert order.read == ["joined", "joined", "0", "1", "2"]

    @pytest.mark.req("RUN-49")
    @trio_test
    async def test_newcomers_keep_their_order(self, clock: Clock) -> None:
        """Those that were found ready and not reached come before those that are ready later."""
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            late = [order.add(f"late {number}", 2)[1] for number in range(3)]

            def send_late() -> None:
                for peer in late:
                    peer.send_nowait(b"x")

            order.add("0", 2, then=send_late)[1].send_nowait(b"x")
            for number in range(1, BATCH + 20):
                order.add(f"{number}", 2)[1].send_nowait(b"x")
            await settle()
            early = [f"{number}" for number in range(BATCH + 20)]
            assert order.read == [*early, "late 0", "late 1", "late 2"]


class TestShares:
    @pytest.mark.req("RUN-48")
    @pytest.mark.parametrize(
        ("busy", "new", "share"),
        [
            (0.4, 0.35, 2),  # what is left of the turn
            (0.9, 0.35, 3),  # as long as the other took: beyond the end of its turn
            (5, 1.01, 2),  # two turns at most
            (300, 0.6, 4),
            (1, 20, 1),  # one at least
        ],
    )
    @trio_test
    async def test_newcomers_are_not_starved(
        self, busy: float, new: float, share: int, clock: Clock
    ) -> None:
        """A preferred connection has bytes all the time, and takes a number of turns each time."""
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            rounds = 0

            def go_on() -> None:
                nonlocal rounds
                rounds += 1
                if rounds < 5:
                    peer.send_nowait(b"x")

            _, peer = order.add("busy", busy, preferred=True, then=go_on)
            for _ in range(60):
                order.add("new", new)[1].send_nowait(b"x")
            peer.send_nowait(b"x")
            await settle()
            assert order.read[: 4 * (share + 1)] == ["busy", *["new"] * share] * 4
            assert order.read.count("new") == 60

    @pytest.mark.req("RUN-47", "RUN-48")
    @trio_test
    async def test_newcomers_have_a_turn_in_each_round_of_a_crowd(self, clock: Clock) -> None:
        """Far more preferred connections are ready all the time than fit into a round."""
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            handled = 0

            def send_again() -> None:
                nonlocal handled
                handled += 1
                if handled < 10 * BATCH:
                    peers[(handled - 1) % len(peers)].send_nowait(b"x")

            peers = [
                order.add("busy", 0.01, preferred=True, then=send_again)[1]
                for _ in range(2 * BATCH + 20)
            ]
            for _ in range(9):
                order.add("new", 3)[1].send_nowait(b"x")
            for peer in peers:
                peer.send_nowait(b"x")
            await settle()
            turns = [at for at, name in enumerate(order.read) if name == "new"]
            between = [after - before - 1 for before, after in pairwise([-1, *turns])]
            # Their own object may be one of those that are ready.
            assert len(between) == 9
            assert set(between) <= {BATCH - 1, BATCH}

    @pytest.mark.req("RUN-48")
    @trio_test
    async def test_a_turn_of_newcomers_ends_in_time(self, clock: Clock) -> None:
        """Other tasks run after each turn, also within a long share of the newcomers."""
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            passes: list[int] = []
            counted = Passes()

            def note() -> None:
                passes.append(counted.passes)

            _, peer = order.add("busy", 10, preferred=True, then=note)
            for _ in range(12):
                order.add("new", 0.6, then=note)[1].send_nowait(b"x")
            peer.send_nowait(b"x")
            trio.lowlevel.add_instrument(counted)
            await settle()
            assert order.read == ["busy", *["new"] * 12]
            assert [passes.count(one) for one in sorted(set(passes))] == [1, *[2] * 6]

    @trio_test
    async def test_what_was_deferred_comes_before_anything_is_read(self, clock: Clock) -> None:
        """Outside a turn, and more than fits into one."""
        async with open_net(EpollPoller()) as net:
            order: list[str] = []

            def end() -> None:
                order.append("deferred")
                clock.now += 2 * TURN_S

            received = Recorder(lambda _: order.append("read"))
            _, _, peer = net.connect(received, preferred=True)
            peer.send_nowait(b"x")
            for _ in range(10):
                net.poller.defer(end)
            await settle()
            assert order == [*["deferred"] * 10, "read"]

    @pytest.mark.parametrize(
        ("preferred", "number_closed"), [(False, 0), (True, 0), (True, 3 * BATCH)]
    )
    @trio_test
    async def test_what_is_deferred_between_two_turns_comes_before_the_next_one(
        self, preferred: bool, number_closed: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is more than fits into a turn.

        The first turn is over after one of the connections, or after a batch of closed ones.
        """
        poller = EpollPoller()
        order: list[str] = []
        put_off, checkpoint = poller._put_off, trio.lowlevel.checkpoint

        def end() -> None:
            order.append("deferred")
            clock.now += 0.6 * TURN_S

        def start(_: object = None) -> None:
            if not order:
                order.append("first")
                clock.now += 2 * TURN_S

        def put_off_and_start(one: Any, events: int) -> bool:
            start()
            return put_off(one, events)

        async def run_others() -> None:
            if order == ["first"]:
                order.append("others")
                for _ in range(4):
                    poller.defer(end)
            await checkpoint()

        monkeypatch.setattr(poller, "_put_off", put_off_and_start)
        monkeypatch.setattr(readiness, "checkpoint", run_others)
        async with open_net(poller) as net:
            for _ in range(number_closed):
                net.connect(Recorder(), preferred=True)[2].close()
            if not number_closed:
                net.connect(Recorder(start), preferred=preferred)[2].send_nowait(b"x")
            received = Recorder(lambda _: order.append("read"))
            net.connect(received, preferred=preferred)[2].send_nowait(b"x")
            await settle()
        assert order == ["first", "others", *["deferred"] * 4, "read"]


class TestMoving:
    @pytest.mark.req("RUN-57")
    @trio_test
    async def test_a_connection_is_moved_once(self) -> None:
        poller = EpollPoller()
        async with open_net(poller) as net:
            connection, _, peer = net.connect(Recorder())
            calls: list[str] = []
            poller._epoll = _Told(poller._epoll, "first", calls)  # type: ignore[assignment]  # it has what is called
            newcomers = poller._newcomers
            newcomers.epoll = _Told(newcomers.epoll, "second", calls)  # type: ignore[assignment]  # as above
            for _ in range(3):
                poller.prefer(connection)
                await peer.send(b"x")
            assert calls == ["first register", "second unregister"]
            connection.abort()
            await settle()
            poller.prefer(connection)  # it has ended: ignored
            assert calls[2:] == ["first unregister"]

    @pytest.mark.req("RUN-57")
    @trio_test
    async def test_nothing_is_kept_of_a_newcomer_that_has_ended(self) -> None:
        poller = EpollPoller()
        async with open_net(poller) as net:
            connection, _, _ = net.connect(Recorder())
            connection.abort()
            await settle()
            received = Recorder()
            other, _, peer = net.connect(received)  # it may have the same number
            poller.prefer(connection)
            assert list(poller._newcomers.connections.values()) == [other]
            assert list(poller._newcomers.numbers) == [other]
            poller.prefer(other)
            assert not poller._newcomers.connections
            assert not poller._newcomers.numbers
            await peer.send(b"x")
            assert received.data == b"x"

    @pytest.mark.req("RUN-57")
    @every_poller
    @trio_test
    async def test_what_a_connection_is_watched_for_stays(
        self, create: Callable[[], Poller]
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            held, _, held_peer = net.connect(received)
            held.hold_reading()
            blocked, _, blocked_peer = net.connect(Recorder(), buffer_bytes=4096)
            data = bytes(range(256)) * 4096
            blocked.write(data)
            await settle()
            assert blocked.waiting_bytes > 0
            net.poller.prefer(held)
            net.poller.prefer(blocked)
            await held_peer.send(b"x")
            assert received.data == b""
            held.resume_reading()
            await settle()
            assert received.data == b"x"
            assert await blocked_peer.read_until(len(data)) == data
            await settle()
            assert not blocked.is_blocked
            held.hold_reading()
            await held_peer.send(b"y")
            assert received.data == b"x"

    @pytest.mark.req("RUN-57")
    @every_poller
    @trio_test
    async def test_what_a_connection_was_watched_for_is_forgotten(
        self, create: Callable[[], Poller]
    ) -> None:
        """A poller that went on to watch for WRITE would find it ready again and again."""
        async with open_net(create()) as net:
            drained, _, peer = net.connect(Recorder(), buffer_bytes=4096)
            ended, _, _ = net.connect(Recorder(), buffer_bytes=4096)
            for connection in (drained, ended):
                connection.write(bytes(1 << 20))
            await settle()
            number = ended.fileno()
            ended.abort()
            await peer.read_until(1 << 20)
            await settle()
            net.poller.prefer(drained)
            numbers = set[int]()
            while number not in numbers:  # which the system gives to one of the next connections
                successor, _, _ = net.connect(Recorder())
                net.poller.prefer(successor)
                numbers.add(successor.fileno())
            await settle()

    @every_poller
    @pytest.mark.parametrize("preferred", [False, True])
    @trio_test
    async def test_a_connection_that_is_not_registered_any_more_is_not_called(
        self, create: Callable[[], Poller], preferred: bool
    ) -> None:
        async with open_net(create()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received, preferred=preferred)
            await settle()
            net.poller.unregister(connection)
            await peer.send(b"x")
            assert received.data == b""

    @pytest.mark.req("RUN-57")
    @trio_test
    async def test_without_memory_it_stays_a_newcomer(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poller = EpollPoller()
        async with open_net(poller) as net:
            order = Order(net, clock)
            _, other = order.add("preferred", preferred=True)
            connection, peer = order.add("new")
            with monkeypatch.context() as patched:
                patched.setattr(poller, "_epoll", _Full(poller._epoll))
                poller.prefer(connection)
            peer.send_nowait(b"x")
            other.send_nowait(b"x")
            await settle()
            assert order.read == ["preferred", "new"]

    @trio_test
    async def test_one_that_waits_for_its_turn_and_is_closed_hears_nothing_more(
        self, clock: Clock
    ) -> None:
        async with open_net(EpollPoller()) as net:
            order = Order(net, clock)
            ends: list[tuple[Connection, Peer]] = []
            ends.append(order.add("0", 2, then=lambda: ends[10][0].abort()))
            ends += [order.add(f"{number}", 2) for number in range(1, 20)]
            for _, peer in ends:
                peer.send_nowait(b"x")
            await settle()
            assert order.read == [f"{number}" for number in range(20) if number != 10]
            assert net.released == [ends[10][0]]
            assert net.poller.failures == 0

    @pytest.mark.req("EIO4-82")
    @pytest.mark.req("RUN-56")
    @trio_test
    async def test_one_that_is_moved_while_all_are_read_is_read_too(self, clock: Clock) -> None:
        poller = EpollPoller()
        net = Net(poller)
        try:
            order = Order(net, clock)
            moved, moved_peer = order.add("moved")
            _, peer = order.add("preferred", preferred=True, then=lambda: poller.prefer(moved))
            moved_peer.send_nowait(b"x")
            peer.send_nowait(b"x")
            await poller.read_ready()  # the poller does not run, so nothing else reads them
            assert order.read == ["preferred", "moved"]
        finally:
            for connection in net.connections:
                connection.abort()
            poller.settle_all()
            poller._close()
            net.close_all()


class Held:
    """A connection that only writes down for what it was called."""

    def __init__(self) -> None:
        self.sock, self.peer = socket.socketpair()
        self.events: list[int] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_ready(self, events: int) -> None:
        self.events.append(events)

    def on_more(self) -> None:
        raise AssertionError("it has not asked for more")

    def flush(self) -> None:
        raise AssertionError("it has no output")

    def fail(self, error: BaseException) -> None:
        raise error

    def release(self) -> None:
        self.sock.close()


class TestClosed:
    @pytest.mark.req("RUN-55")
    @pytest.mark.parametrize("half", [False, True])
    @trio_test
    async def test_those_whose_peers_have_closed_come_after_the_others(
        self, half: bool, clock: Clock
    ) -> None:
        """Three batches of them lie before the one that has something to say."""
        async with open_net(EpollPoller()) as net:
            order: list[str] = []
            _, _, newcomer = net.connect(Recorder(lambda _: order.append("new")))
            newcomer.send_nowait(b"x")
            for _ in range(3 * BATCH):
                received = Recorder()
                received.on_lost = lambda: order.append("lost")
                _, _, peer = net.connect(received, preferred=True)
                if half:
                    peer.sock.shutdown(1)
                else:
                    peer.close()
            _, _, peer = net.connect(Recorder(lambda _: order.append("read")), preferred=True)
            peer.send_nowait(b"x")
            await settle()
            assert order == ["read", *["lost"] * 3 * BATCH, "new"]
            assert net.poller.failures == 0

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_the_ends_of_many_clients_do_not_keep_others_waiting(self, clock: Clock) -> None:
        """What they have left for the end of the turn takes long, and they themselves no time."""
        async with open_net(EpollPoller()) as net:
            order: list[str] = []

            def end() -> None:
                order.append("ended")
                clock.now += TURN_S
                if len(order) == 1:
                    peer.send_nowait(b"x")

            for _ in range(100):
                received = Recorder()
                received.on_lost = lambda: net.poller.defer(end)
                _, _, closing = net.connect(received, preferred=True)
                closing.close()
            _, _, peer = net.connect(Recorder(lambda _: order.append("read")), preferred=True)
            await settle()
            assert order.index("read") < 20
            assert order.count("ended") == 100

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_others_run_while_many_are_put_off(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poller = EpollPoller()
        put_off, passes, counted = poller._put_off, list[int](), Passes()

        def take_time(*entry: Any) -> bool:
            passes.append(counted.passes)
            clock.now += TURN_S
            return put_off(*entry)

        monkeypatch.setattr(poller, "_put_off", take_time)
        async with open_net(poller) as net:
            for _ in range(3 * BATCH):
                net.connect(Recorder(), preferred=True)[2].close()
            trio.lowlevel.add_instrument(counted)
            await settle()
            assert len(passes) == 3 * BATCH
            assert max(passes.count(one) for one in set(passes)) <= BATCH

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_those_that_are_put_off_are_watched_for_the_same_as_before(
        self, clock: Clock
    ) -> None:
        """The peer has closed a connection that is to read nothing now."""
        async with open_net(EpollPoller()) as net:
            held = Held()
            net.poller.register(held, preferred=True)
            net.poller.watch(held, 0)
            held.peer.close()
            for _ in range(BATCH):
                net.connect(Recorder(), preferred=True)[2].send_nowait(b"x")
            await settle()
            assert held.events
            net.poller.unregister(held)
            net.poller.close_later(held)
            assert not any(events & READ for events in held.events)

    @pytest.mark.req("RUN-58")
    @pytest.mark.parametrize("preferred", [False, True])
    @trio_test
    async def test_they_are_found_before_their_turn_comes(self, preferred: bool) -> None:
        async with open_net(EpollPoller()) as net:
            connections = [net.connect(Recorder(), preferred=preferred) for _ in range(4)]
            connections[0][2].close()
            connections[1][2].sock.shutdown(1)
            connections[2][2].send_nowait(b"x")
            assert set(net.poller.find_closed()) == {connections[0][0], connections[1][0]}

    @pytest.mark.req("RUN-59")
    @pytest.mark.parametrize("preferred", [False, True])
    @trio_test
    async def test_to_look_for_them_takes_nothing_from_those_that_are_not_read(
        self, preferred: bool
    ) -> None:
        async with open_net(EpollPoller()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received, preferred=preferred)
            connection.pause_reading(1.0)
            peer.close()
            assert net.poller.find_closed() == []
            await settle()
            assert received.lost == ["transport close"]

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_the_others_are_called_once_in_a_round(self, clock: Clock) -> None:
        """The kernel reports them again with each further batch of those that are put off."""
        async with open_net(EpollPoller()) as net:
            read: list[bytes] = []
            for _ in range(10):
                received = Recorder(read.append)
                _, _, peer = net.connect(received, preferred=True)
                peer.send_nowait(bytes(100_000))  # more than one read takes
            for _ in range(3 * BATCH):
                received = Recorder()
                received.on_lost = lambda: read.append(b"lost")
                net.connect(received, preferred=True)[2].close()
            await settle()
            assert b"lost" not in read[:10]
            assert b"lost" in read[10:20]

    @pytest.mark.req("RUN-60")
    @pytest.mark.parametrize("preferred", [False, True])
    @pytest.mark.parametrize("is_reset", [False, True])
    @trio_test
    async def test_a_peer_that_closes_while_reading_is_held_keeps_nobody_busy(
        self, is_reset: bool, preferred: bool
    ) -> None:
        async with open_net(EpollPoller()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received, preferred=preferred)
            connection.hold_reading()
            if is_reset:
                peer.close()
            else:
                peer.sock.shutdown(1)
            await settle()  # it would not if the poller were called again and again
            assert net.poller.find_closed() == []
            await net.poller.read_ready()
            assert received.lost == []
            connection.resume_reading()
            await settle()
            assert received.lost == ["transport close"]

    @pytest.mark.req("RUN-60")
    @pytest.mark.parametrize("preferred", [False, True])
    @trio_test
    async def test_that_a_peer_has_closed_while_reading_was_held_is_noticed_when_it_pauses(
        self, preferred: bool
    ) -> None:
        async with open_net(EpollPoller()) as net:
            received = Recorder()
            connection, _, peer = net.connect(received, preferred=preferred)
            connection.hold_reading()
            peer.close()
            await settle()
            assert received.lost == []
            connection.pause_reading(1.0)
            await settle()
            assert received.lost == ["transport close"]

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_what_is_left_to_say_is_heard(self, clock: Clock) -> None:
        """A peer that has closed, or half closed, has sent more than one read takes."""
        async with open_net(EpollPoller()) as net:
            ends = [(Recorder(), Recorder(), Recorder()) for _ in range(10)]
            for trio_of in ends:
                for number, received in enumerate(trio_of):
                    connection, _, peer = net.connect(received, preferred=True)
                    peer.send_nowait(bytes(100_000))
                    if number == 0:
                        peer.close()
                    elif number == 1:
                        peer.sock.shutdown(1)
                        received.on_lost = connection.abort
            await settle()
            assert {len(received.data) for several in ends for received in several} == {100_000}
            assert all(one.lost == two.lost == ["transport close"] for one, two, _ in ends)
            assert all(three.lost == [] for _, _, three in ends)

    @pytest.mark.req("RUN-55")
    @trio_test
    async def test_without_memory_they_are_called_where_they_are(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poller = EpollPoller()
        async with open_net(poller) as net:
            ends = [(Recorder(), net.connect(preferred=True)) for _ in range(40)]
            for received, (connection, _, peer) in ends:
                connection.set_receiver(received)
                peer.close()
            monkeypatch.setattr(poller._newcomers, "epoll", _Full(poller._newcomers.epoll))
            await settle()
            assert all(received.lost == ["transport close"] for received, _ in ends)


class _Told:
    """An epoll object that tells how it is changed."""

    def __init__(self, epoll: Any, name: str, calls: list[str]) -> None:
        self._epoll = epoll
        self._name = name
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in ("register", "unregister", "modify"):
            self._calls.append(f"{self._name} {name}")
        return getattr(self._epoll, name)


class _Full:
    """An epoll object that watches nothing more."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def register(self, *_: Any) -> None:
        raise OSError(28, "No space left on device")
