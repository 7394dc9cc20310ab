"""The link between a program and a worker: lines in any pieces, bounds, and an end that is gone."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, trio_test

from trio_socketio.cluster.workers.link import Link, LinkLost
from trio_socketio.codec.worker_messages import Drain, End, Failed, decode_order, encode_line
from trio_socketio.errors import RemoteProtocolError

MOST = 1000


@pytest.fixture
def pair() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield Link(ours, MOST), theirs


async def read(link: Link) -> list[bytes]:
    async with link.reading() as lines:
        return [line async for line in lines]


@given(st.lists(st.binary(max_size=50).map(lambda data: data.replace(b"\n", b"")), max_size=5),
       st.lists(st.integers(1, 300), max_size=8))  # fmt: skip
def test_lines_in_any_pieces_are_the_same_lines(sent: list[bytes], cuts: list[int]) -> None:
    async def play() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        link = Link(ours, MOST)
        found: list[bytes] = []

        async def receive() -> None:
            found.extend(await read(link))

        text = b"".join(line + b"\n" for line in sent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for cut in cuts:
                theirs.sendall(text[:cut])
                text = text[cut:]
                await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(text)
            theirs.close()
        assert found == sent
        link.close()

    trio.run(play)


@pytest.mark.req("WORK-05")
@trio_test
async def test_a_line_that_does_not_end_is_an_error(pair: tuple[Link, socket.socket]) -> None:
    link, theirs = pair
    theirs.sendall(b"x" * (MOST + 1))
    with pytest.raises(RemoteProtocolError, match="more than 1000 bytes"):
        await read(link)


@trio_test
async def test_messages_of_several_tasks_do_not_mix(pair: tuple[Link, socket.socket]) -> None:
    link, theirs = pair
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for one in (Drain(), End(), Drain()):
                nursery.start_soon(link.send, one)
    theirs.settimeout(5)
    text = theirs.recv(1000)
    assert [type(decode_order(line)) for line in text.splitlines()].count(Drain) == 2


@trio_test
async def test_an_end_that_is_gone_is_told(pair: tuple[Link, socket.socket]) -> None:
    link, theirs = pair
    theirs.sendall(b"last words\nhal")
    theirs.close()
    assert await read(link) == [b"last words"], "half a line is none"
    with pytest.raises(LinkLost, match="broken"):
        await link.send(Drain())


def test_an_end_that_reads_nothing_is_given_up() -> None:
    async def play() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        link = Link(ours, MOST)
        with theirs:
            with pytest.raises(LinkLost, match="nothing for 3 s"):
                await link.send(Failed(reason="x" * (4 << 20)), 3.0)
            assert not link.is_sending
            with pytest.raises(LinkLost, match="broken"):  # half a line is on its way
                await link.send(Drain())
        link.close()

    trio.run(play, clock=MockClock(autojump_threshold=0.01))


@trio_test
async def test_an_end_that_we_close_meanwhile_is_lost(pair: tuple[Link, socket.socket]) -> None:
    """What a worker has started may hold its end open when it has ended itself."""
    link, _ = pair

    async def send() -> None:
        with pytest.raises(LinkLost, match="closed"):
            await link.send(Failed(reason="x" * (4 << 20)))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            link.close()


@trio_test
async def test_what_was_given_up_before_it_began_leaves_no_half_of_a_line(
    pair: tuple[Link, socket.socket],
) -> None:
    """A worker that stood still for long can still be told to drain."""
    link, theirs = pair
    theirs.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            os.write(link._sock.fileno(), b"\n" * 1024)
    with pytest.raises(LinkLost, match="nothing for"):
        await link.send(Drain(), 0.05)
    with suppress(BlockingIOError):
        while True:
            theirs.recv(1 << 16)
    await link.send(End())
    assert decode_order(theirs.recv(1000)) == End()


def test_an_order_fits_into_the_bound() -> None:
    assert len(encode_line(Drain())) < MOST
