"""Clients on TCP that take their output slowly but steadily, and those that only pretend to.

The kernel's buffers are large and say late that they have room: nothing here would show on a pair
of Unix sockets.
"""

import socket
import ssl

import pytest
import trio
from tests.net.harness import CountingSocket, Net, Peer, Recorder, open_net, settle
from tests.net.test_tls import HOST, Certificates, certificates
from trio.testing import MockClock, trio_test

from trio_socketio.net.connection import Connection
from trio_socketio.net.tls import TlsConnection

__all__ = ["certificates"]  # a fixture

BOUND = 1 << 20
SLOW_S = 10.0
SENT = 7_000_000
RATE = 100_000


def connect(
    net: Net,
    *,
    peer_buffer_bytes: int | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[Connection, Recorder, Peer]:
    """A connection over TCP, on the poller."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        if peer_buffer_bytes is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, peer_buffer_bytes)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    sock, peer, received = CountingSocket(ours), Peer(theirs), Recorder()
    connection = (
        Connection(net, sock, "127.0.0.1")
        if context is None
        else TlsConnection(net, sock, "127.0.0.1", context)
    )
    connection.set_receiver(received)
    net.connections.append(connection)
    net.peers.append(peer)
    net._socks.append(sock)
    net.poller.register(connection)
    return connection, received, peer


def take(peer: Peer, size: int) -> int:
    """Read up to that many bytes, and no more of them than are there."""
    taken = 0
    while taken < size:
        try:
            part = peer.sock.recv(size - taken)
        except BlockingIOError:
            break
        if not part:
            break
        taken += len(part)
    return taken


@pytest.mark.req("HTTP-40")
@pytest.mark.parametrize("peer_buffer_bytes", [None, 65536])
@trio_test
async def test_a_client_that_takes_100_kb_a_second_gets_all_of_7_mb(
    mock_clock: MockClock, peer_buffer_bytes: int | None
) -> None:
    async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
        connection, received, peer = connect(net, peer_buffer_bytes=peer_buffer_bytes)
        connection.write(bytes(SENT))
        await settle()
        assert connection.waiting_bytes > BOUND
        got = 0
        while got < SENT and not received.lost:
            got += take(peer, RATE)
            mock_clock.jump(1.0)
            await settle()
        assert (got, received.lost) == (SENT, [])
        assert connection.waiting_bytes == 0


async def shake_hands(peer: Peer, context: ssl.SSLContext) -> None:
    """The client's side of a TLS handshake; what follows need not be decrypted to be taken."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    with trio.fail_after(1000):
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                await peer.send(outgoing.read())
                incoming.write(peer.read_nowait())
            else:
                await peer.send(outgoing.read())
                return


@pytest.mark.req("HTTP-40")
def test_over_tls_progress_counts_alike(certificates: Certificates) -> None:
    async def main(clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, peer = connect(net, context=certificates.server)
            await shake_hands(peer, certificates.client)
            connection.write(bytes(SENT))
            await settle()
            assert connection.waiting_bytes > BOUND
            got = 0
            while got < SENT and not received.lost:
                got += take(peer, RATE)
                clock.jump(1.0)
                await settle()
            assert received.lost == []
            assert got >= SENT
            connection.write(bytes(SENT * 2))
            await settle()
            for _ in range(3):
                clock.jump(SLOW_S)
                await settle()
            assert received.lost == ["slow client"]

    clock = MockClock()
    trio.run(main, clock, clock=clock)


@pytest.mark.req("HTTP-40")
@pytest.mark.parametrize("every_s", [60.0, 3.0])
@trio_test
async def test_a_client_that_takes_a_byte_now_and_then_is_closed(
    mock_clock: MockClock, every_s: float
) -> None:
    async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
        connection, received, peer = connect(net)
        connection.write(bytes(SENT))
        await settle()
        while not received.lost:
            take(peer, 1)
            mock_clock.jump(every_s)
            await settle()
            # The first byte makes the kernel open the window a little wider, and no later one.
            assert mock_clock.current_time() <= SLOW_S * 3 + every_s * 2
        assert received.lost == ["slow client"]


@pytest.mark.req("HTTP-40")
@trio_test
async def test_a_client_that_stops_taking_is_closed_slow_client_s_later(
    mock_clock: MockClock,
) -> None:
    async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
        connection, received, peer = connect(net)
        connection.write(bytes(SENT * 2))
        for _ in range(20):
            await settle()
            take(peer, RATE)
            mock_clock.jump(1.0)
        await settle()
        assert received.lost == []
        stopped = mock_clock.current_time()
        while not received.lost:
            mock_clock.jump(SLOW_S / 4)
            await settle()
            assert mock_clock.current_time() <= stopped + SLOW_S * 2.5
        assert received.lost == ["slow client"]


@pytest.mark.req("HTTP-41")
@trio_test
async def test_progress_does_not_help_over_the_hard_bound(mock_clock: MockClock) -> None:
    async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
        connection, received, peer = connect(net)
        for _ in range(100):
            connection.write(bytes(BOUND))
            take(peer, RATE)
            await settle()
            if received.lost:
                break
        assert received.lost == ["slow client"]
