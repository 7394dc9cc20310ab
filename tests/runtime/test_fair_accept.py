"""The accept loop of a process that shares its listening socket with others."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, trio_test

from trio_socketio.runtime.fair_accept import (
    LEAVE_S,
    REST_S,
    VAIN_S,
    Patience,
    accept_fairly,
)
from trio_socketio.runtime.listeners import open_tcp_listeners


class FakeBalance:
    """Other processes that want the next connections, or not."""

    def __init__(self) -> None:
        self.is_for_others = False
        self.published: list[int] = []

    def publish(self, count: int) -> None:
        self.published.append(count)

    def is_ahead(self, count: int) -> bool:
        return self.is_for_others


class Accepted:
    """The connections that a process has accepted, and when."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []
        self.times: list[float] = []
        self.changed = trio.Event()

    def add(self, sock: socket.socket, address: str) -> None:
        self.socks.append(sock)
        self.times.append(trio.current_time())
        self.changed.set()

    def __len__(self) -> int:
        return len(self.socks)

    async def wait(self, number: int) -> None:
        with trio.fail_after(5):
            while len(self) < number:
                self.changed = trio.Event()
                await self.changed.wait()


@pytest.fixture
def accepted() -> Iterator[Accepted]:
    found = Accepted()
    yield found
    for sock in found.socks:
        sock.close()


@trio_test
async def test_one_that_is_not_ahead_takes_all_and_tells_how_many(accepted: Accepted) -> None:
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    balance = FakeBalance()
    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_fairly, listener, accepted.add, balance, accepted.__len__)
            clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            await accepted.wait(5)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert balance.published[-1] == 5
        assert {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in accepted.socks}
        for client in clients:
            client.close()


@pytest.mark.req("WORK-31")
@trio_test
async def test_a_connection_that_no_other_takes_is_taken_after_a_moment(
    accepted: Accepted,
) -> None:
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    balance = FakeBalance()
    balance.is_for_others = True
    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_fairly, listener, accepted.add, balance, accepted.__len__)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            with socket.create_connection(listener.getsockname()):
                await accepted.wait(1)
            assert accepted.times[0] - began >= LEAVE_S * 0.9
            nursery.cancel_scope.cancel()


@pytest.mark.req("WORK-30")
@trio_test
async def test_a_connection_that_another_takes_is_left_to_it(
    accepted: Accepted, autojump_clock: MockClock
) -> None:
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    ahead, behind = FakeBalance(), FakeBalance()
    ahead.is_for_others = True
    others = Accepted()
    with listener, listener.dup() as shared:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_fairly, listener, accepted.add, ahead, accepted.__len__)
            nursery.start_soon(accept_fairly, shared, others.add, behind, others.__len__)
            clients = []
            for number in range(1, 21):
                clients.append(socket.create_connection(listener.getsockname()))
                await others.wait(number)
            nursery.cancel_scope.cancel()
        assert len(accepted) == 0
        for sock in (*clients, *others.socks):
            sock.close()


@pytest.mark.req("WORK-30")
@trio_test
async def test_it_looks_at_the_others_before_each_connection(
    accepted: Accepted, autojump_clock: MockClock
) -> None:
    """Those that wait must not be taken in one go by the first that wakes."""

    class Ahead(FakeBalance):
        def is_ahead(self, count: int) -> bool:
            return count > 1

    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    with listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_fairly, listener, accepted.add, Ahead(), accepted.__len__)
            await accepted.wait(5)
            nursery.cancel_scope.cancel()
        for sock in clients:
            sock.close()
    gaps = [later - sooner for sooner, later in pairwise(accepted.times)]
    assert gaps[0] < LEAVE_S
    assert min(gaps[1:]) >= LEAVE_S


@pytest.mark.req("WORK-34")
@trio_test
async def test_others_are_given_up_only_when_they_take_nothing_for_a_while(
    autojump_clock: MockClock,
) -> None:
    patience = Patience()

    async def leave_in_vain(times: int, pause_s: float = LEAVE_S) -> None:
        for _ in range(times):
            await trio.sleep(pause_s)
            patience.was_in_vain()

    often = round(VAIN_S / LEAVE_S)
    await leave_in_vain(often - 10)
    assert not patience.is_over()
    patience.was_rewarded()
    await leave_in_vain(often - 10)
    assert not patience.is_over(), "one was taken in between"
    await leave_in_vain(15)
    assert patience.is_over()
    for _ in range(3):
        await trio.sleep(REST_S)
        assert not patience.is_over()
        await leave_in_vain(1)
        assert patience.is_over()
    await trio.sleep(10)
    await leave_in_vain(10, pause_s=1.0)
    assert not patience.is_over(), "few connections come"
    await leave_in_vain(often + 5)
    assert patience.is_over()
    patience.was_rewarded()
    assert not patience.is_over()


@pytest.mark.req("WORK-34")
@trio_test
async def test_a_process_that_stands_still_does_not_make_the_others_slow(
    accepted: Accepted, autojump_clock: MockClock
) -> None:
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    balance = FakeBalance()
    balance.is_for_others = True
    with listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(500)]
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(accept_fairly, listener, accepted.add, balance, accepted.__len__)
            await accepted.wait(500)
            assert trio.current_time() - began < VAIN_S + 5 * LEAVE_S
            nursery.cancel_scope.cancel()
    for client in clients:
        client.close()
