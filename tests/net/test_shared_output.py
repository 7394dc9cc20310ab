"""Output that many connections share: who may share it, how much it is, and when that is over."""

from collections.abc import Callable

import pytest
from tests.net.harness import Net, Peer, Recorder, open_net, settle
from trio.testing import trio_test

from trio_socketio.net.connection import Connection
from trio_socketio.net.shared_output import MAX_BYTES, MAX_BYTES_BEFORE, SharedOutput


class Ends:
    """Counts how often it is told that no more is taken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def connect(net: Net, count: int) -> list[tuple[Connection, Peer]]:
    made = [net.connect(Recorder()) for _ in range(count)]
    return [(connection, peer) for connection, _, peer in made]


@pytest.mark.req("RUN-45")
@trio_test
async def test_it_is_sent_behind_what_was_written_and_then_takes_no_more() -> None:
    async with open_net() as net:
        (first, first_peer), (second, second_peer) = connect(net, 2)
        ended = Ends()
        first.write(b"<")
        shared = SharedOutput(b"a", ended)
        assert shared.attach(first)
        assert shared.attach(second)
        assert shared.add(b"b")
        assert first.unflushed == (3, 3)
        assert second.waiting_bytes == 2
        assert ended.count == 0
        await settle()
        assert (await first_peer.read(), await second_peer.read()) == (b"<ab", b"ab")
        assert (first.traffic.packets_out, first.traffic.bytes_out) == (5, 5)  # of both
        assert ended.count == 1
        assert not shared.add(b"c")
        assert first.waiting_bytes == second.waiting_bytes == 0


@pytest.mark.req("RUN-45")
@trio_test
async def test_who_is_written_to_is_detached_with_a_copy() -> None:
    async with open_net() as net:
        (first, first_peer), (second, second_peer) = connect(net, 2)
        ended = Ends()
        shared = SharedOutput(b"a", ended)
        assert shared.attach(first)
        assert shared.attach(second)
        first.write(b"1")
        assert shared.detached == [first]
        assert first.unflushed == (2, 2)
        assert shared.add(b"b")
        other = SharedOutput(b"x", ended)
        assert other.attach(second)
        assert shared.detached == [first, second]
        assert ended.count == 1, "nobody shares the first one any more"
        assert not shared.add(b"c")
        await settle()
        assert (await first_peer.read(), await second_peer.read()) == (b"a1", b"abx")
        assert ended.count == 2


@pytest.mark.req("RUN-45")
@pytest.mark.parametrize("drop", [Connection.drop_output, Connection.abort])
@trio_test
async def test_what_is_dropped_is_counted(drop: Callable[[Connection], object]) -> None:
    async with open_net() as net:
        (first, _), (second, second_peer) = connect(net, 2)
        shared = SharedOutput(b"a", Ends())
        assert shared.attach(first)
        assert shared.attach(second)
        shared.add(b"b")
        assert drop(first) in (2, None)
        assert first.waiting_bytes == 0
        shared.add(b"c")
        assert first.waiting_bytes == 0
        await settle()
        assert await second_peer.read() == b"abc"


@pytest.mark.req("RUN-46")
@trio_test
async def test_it_is_bounded() -> None:
    async with open_net() as net:
        ((connection, peer),) = connect(net, 1)
        shared = SharedOutput(bytes(MAX_BYTES - 1), Ends())
        assert shared.attach(connection)
        assert not shared.add(b"ab")
        assert shared.add(b"a")
        assert not shared.add(b"a")
        assert len(await peer.read_until(MAX_BYTES)) == MAX_BYTES


@pytest.mark.req("RUN-46")
@trio_test
async def test_it_is_attached_to_no_connection_with_much_output_or_without_any() -> None:
    async with open_net() as net:
        (full, full_peer), (small, _), (closed, _) = connect(net, 3)
        shared = SharedOutput(b"a", Ends())
        full.write(bytes(MAX_BYTES_BEFORE + 1))
        assert not shared.attach(full)
        small.write(bytes(MAX_BYTES_BEFORE))
        assert shared.attach(small)
        closed.abort()
        assert not shared.attach(closed)
        small.drop_output()
        assert len(await full_peer.read_until(MAX_BYTES_BEFORE + 1)) == MAX_BYTES_BEFORE + 1
        blocked, _, peer = net.connect(Recorder(), buffer_bytes=4096)
        blocked.write(bytes(1 << 18))
        await settle()
        assert blocked.is_blocked
        assert not SharedOutput(b"a", Ends()).attach(blocked)
        waiting = blocked.waiting_bytes
        sent = await peer.read_until((1 << 18) - waiting)
        assert not any(sent)


@pytest.mark.req("RUN-46")
@trio_test
async def test_the_output_of_one_turn_stays_bounded() -> None:
    """Who is detached takes a copy, which counts: then the output is written, and sent early."""
    async with open_net() as net:
        ((connection, peer),) = connect(net, 1)
        attached = 0
        while SharedOutput(bytes(MAX_BYTES), Ends()).attach(connection):
            attached += 1
            assert connection.waiting_bytes <= MAX_BYTES_BEFORE + MAX_BYTES
        assert attached == MAX_BYTES_BEFORE // MAX_BYTES + 1
        assert len(await peer.read_until(attached * MAX_BYTES)) == attached * MAX_BYTES
