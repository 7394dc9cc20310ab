"""A connection that comes back while the end of its former self is still to be handled."""

import logging
import select
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import trio
from tests.net.harness import Peer, Recorder, open_net, settle
from trio.testing import MockClock, trio_test

from trio_socketio.net.connection import Connection
from trio_socketio.net.driving import Pollable
from trio_socketio.runtime import connections as connections_module
from trio_socketio.runtime.connections import ENDS_S, Connections
from trio_socketio.runtime.listeners import accept_forever, open_tcp_listeners
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.poller import Poller
from trio_socketio.runtime.readiness import create_poller

pytestmark = pytest.mark.req("RUN-58")

if not hasattr(select, "epoll"):
    pytest.skip("nobody knows of ends without epoll", allow_module_level=True)

HERE, THERE = "192.0.2.1", "192.0.2.2"


class House:
    """A group of connections with few places."""

    def __init__(self, poller: Poller, connections: Connections) -> None:
        self.poller = poller
        self.connections = connections
        self.peers: list[Peer] = []
        self.entered: list[bool] = []
        self.found = 0  # how often somebody looked for connections that their peers have closed

    def limit(self, places: int, per_address: int | None) -> None:
        limits = ConnectionLimits(max_connections=places, max_connections_per_address=per_address)
        self.connections.apply(limits, b"")

    def enter(self, address: str) -> Connection | None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.peers.append(Peer(theirs))
        return self.connections.accept(ours, address)

    def pretend_closed(self, connection: Connection | None) -> None:
        """Have everybody believe that the peer of a connection has closed it."""
        assert connection is not None
        self.poller.find_closed = lambda: [connection]  # type: ignore[method-assign]  # a lie

    async def come(self, address: str) -> None:
        """Wait for a place, and write down whether there was one."""
        await self.connections.wait_place(address)
        self.entered.append(self.enter(address) is not None)

    async def wait(self, address: str) -> float:
        """Wait for a place; return how long that took."""
        began = trio.current_time()
        await self.connections.wait_place(address)
        return trio.current_time() - began


@asynccontextmanager
async def open_house(places: int, per_address: int | None = None) -> AsyncIterator[House]:
    async with open_net(create_poller()) as net:
        limits = ConnectionLimits(max_connections=places)
        connections = Connections(
            net.poller,
            net.deadlines,
            limits,
            lambda connection: connection.set_receiver(Recorder()),
        )
        house = House(net.poller, connections)
        house.limit(places, per_address)
        look = net.poller.find_closed

        def find_closed() -> list[Pollable]:
            house.found += 1
            return look()

        net.poller.find_closed = find_closed  # type: ignore[method-assign]  # a spy
        try:
            yield house
        finally:
            connections.abort_all()
            await settle()
            for peer in house.peers:
                peer.close()


@pytest.mark.parametrize(
    ("places", "per_address", "others"),
    [(2, None, [HERE, HERE]), (3, 2, [HERE, HERE]), (2, 2, [THERE, HERE])],
)
@trio_test
async def test_who_comes_back_gets_a_place_that_becomes_free(
    places: int, per_address: int | None, others: list[str]
) -> None:
    async with open_house(places, per_address) as house:
        leaving, _ = [house.enter(address) for address in others]
        assert house.enter(HERE) is None
        house.pretend_closed(leaving)

        with trio.fail_after(ENDS_S / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.come, HERE)
                await trio.sleep(0.01)
                assert house.entered == []
                house.peers[0].close()
        assert house.entered == [True]
        assert house.connections.refused == 1


@trio_test
async def test_where_there_is_a_place_nobody_waits_or_looks() -> None:
    async with open_house(3, 2) as house:
        house.enter(HERE), house.enter(HERE)
        house.peers[0].close()
        with trio.fail_after(1), trio.CancelScope() as scope:
            scope.cancel()  # so that it may not even reach a checkpoint
            await house.connections.wait_place(THERE)
        assert not scope.cancelled_caught
        assert house.found == 0


@pytest.mark.req("RUN-59")
@trio_test
async def test_nobody_waits_for_one_that_was_reset_while_its_reading_was_held() -> None:
    async with open_house(1) as house:
        held = house.enter(HERE)
        assert held is not None
        held.hold_reading()
        house.peers[0].close()
        assert await house.wait(HERE) < ENDS_S / 2
        await settle()
        assert await house.wait(HERE) < ENDS_S / 2


@pytest.mark.req("RUN-59")
@trio_test
async def test_nobody_waits_for_those_who_are_not_read() -> None:
    async with open_house(3) as house:
        held, paused, heard = (house.enter(HERE) for _ in range(3))
        assert held is not None
        assert paused is not None
        assert heard is not None
        heard.on_end = heard.hold_reading  # as those do whose peers may wait for answers
        for peer in house.peers:
            peer.send_nowait(b"x")
            peer.sock.shutdown(socket.SHUT_WR)
        held.hold_reading()
        paused.pause_reading(1.0)
        assert await house.wait(HERE) < ENDS_S / 2
        assert house.enter(HERE) is None


@trio_test
async def test_nobody_waits_where_nobody_has_left() -> None:
    async with open_house(1) as house:
        house.enter(HERE)
        assert await house.wait(HERE) < ENDS_S / 2


@trio_test
async def test_nobody_waits_for_an_end_at_another_address_that_is_of_no_use() -> None:
    async with open_house(9, 1) as house:
        house.enter(HERE)
        house.pretend_closed(house.enter(THERE))
        assert await house.wait(HERE) < ENDS_S / 2


@trio_test
async def test_of_two_who_wait_for_one_place_the_second_is_refused_once_it_is_taken() -> None:
    async with open_house(1) as house:
        house.pretend_closed(house.enter(HERE))

        with trio.fail_after(ENDS_S / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.come, HERE)
                nursery.start_soon(house.come, HERE)
                await trio.sleep(0.01)
                house.peers[0].close()
        assert house.entered == [True, False]


@trio_test
async def test_who_stops_reading_meanwhile_is_no_longer_waited_for() -> None:
    """What has come before the end of its stream takes long to handle."""
    async with open_house(1) as house:
        connection = house.enter(HERE)
        assert connection is not None
        connection.set_receiver(Recorder(lambda _: connection.hold_reading()))
        house.peers[0].send_nowait(b"x")
        house.peers[0].sock.shutdown(socket.SHUT_WR)
        assert await house.wait(HERE) < ENDS_S / 2


@pytest.mark.req("RUN-58", "RUN-59")
@trio_test
async def test_nobody_waits_for_longer_than_a_second_nor_again_at_once(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock_clock.autojump_threshold = 0.01
    monkeypatch.setattr(connections_module, "TURN_S", 0.1)
    async with open_house(1) as house:
        house.pretend_closed(house.enter(HERE))
        assert await house.wait(HERE) == pytest.approx(ENDS_S)
        assert house.enter(HERE) is None
        assert await house.wait(THERE) == 0.0
        await trio.sleep(ENDS_S)
        assert await house.wait(THERE) == pytest.approx(ENDS_S)


@pytest.mark.parametrize(("look_s", "looks"), [(0.0, 1000), (0.01, 10)])
@trio_test
async def test_looking_takes_a_tenth_of_the_time_at_most(
    look_s: float, looks: int, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes long if thousands of connections are ready."""
    async with open_house(1) as house:
        connection = house.enter(HERE)
        assert connection is not None
        now, count = 0.0, 0

        def find_closed() -> list[Connection]:
            nonlocal now, count
            now += look_s
            count += 1
            return [connection]

        monkeypatch.setattr(connections_module, "perf_counter", lambda: now)
        monkeypatch.setattr(house.poller, "find_closed", find_closed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.connections.wait_place, HERE)
            for _ in range(int(ENDS_S * 1000)):
                await settle()
                mock_clock.jump(0.001)
        assert 0.9 * looks <= count <= 1.1 * looks


@pytest.mark.req("RUN-59")
@pytest.mark.parametrize(("places", "per_address"), [(1, None), (9, 1)])
@trio_test
async def test_looking_in_vain_takes_a_tenth_of_the_time_at_most(
    places: int, per_address: int | None, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many come who are refused, while thousands of others are ready."""
    async with open_house(places, per_address) as house:
        house.enter(HERE)
        now, count = 0.0, 0

        def find_closed() -> list[Connection]:
            nonlocal now, count
            now += 0.01
            count += 1
            return []

        monkeypatch.setattr(connections_module, "perf_counter", lambda: now)
        monkeypatch.setattr(house.poller, "find_closed", find_closed)
        for _ in range(1000):
            await house.connections.wait_place(HERE)
            mock_clock.jump(0.001)
        assert 9 <= count <= 11


@pytest.mark.req("RUN-58", "RUN-59")
@trio_test
async def test_an_address_that_keeps_coming_in_vain_keeps_no_other_one_from_waiting(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock_clock.autojump_threshold = 0.01
    monkeypatch.setattr(connections_module, "TURN_S", 0.1)
    async with open_house(2, 1) as house:
        house.pretend_closed(house.enter(HERE))
        assert await house.wait(HERE) == pytest.approx(ENDS_S)
        house.pretend_closed(house.enter(THERE))
        assert await house.wait("192.0.2.3") == pytest.approx(ENDS_S)


@trio_test
async def test_those_who_leave_while_another_one_waits_make_places_for_their_successors() -> None:
    """Everyone closes a connection and comes back; the ends take long."""
    async with open_house(20) as house:
        for _ in range(20):
            connection = house.enter(HERE)
            assert connection is not None
            received = Recorder()
            received.on_lost = lambda: house.poller.defer(leave)
            connection.set_receiver(received)
        leaving = list(house.peers)

        def leave() -> None:
            if leaving:
                leaving.pop().close()

        leave()
        for _ in range(20):
            await house.connections.wait_place(HERE)
            assert house.enter(HERE) is not None


@trio_test
async def test_the_accept_loop_asks_for_a_place_before_it_hands_a_connection_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And closes one for which it waits in vain, because it is cancelled."""
    caplog.set_level(logging.INFO)
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    told: list[str] = []
    open_door = trio.Event()

    async def wait_place(address: str) -> None:
        told.append(address)
        if len(told) == 2:
            open_door.set()
            await trio.sleep_forever()

    def on_accept(sock: socket.socket, address: str) -> None:
        told.append("accepted")
        sock.close()

    with listener, ExitStack() as clients:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, listener, on_accept, wait_place)
            first = clients.enter_context(socket.create_connection(listener.getsockname()))
            with trio.fail_after(5):
                assert await trio.to_thread.run_sync(first.recv, 1) == b""
            assert told == ["127.0.0.1", "accepted"]
            told.pop()
            second = clients.enter_context(socket.create_connection(listener.getsockname()))
            with trio.fail_after(5):
                await open_door.wait()
            nursery.cancel_scope.cancel()
        second.settimeout(5)
        assert second.recv(1) == b""
        assert told == ["127.0.0.1", "127.0.0.1"]
    assert not caplog.records
