"""Bounds, progress, closing: what a connection does with a peer that is slow, silent or gone."""

import gc
import socket
import tracemalloc

import pytest
import trio
from tests.net.harness import Net, Peer, Recorder, open_net, settle
from trio.testing import MockClock, trio_test

from trio_socketio.net.backlog import HARD_BOUND_FACTOR
from trio_socketio.net.connection import DRAIN_S, EARLY_FLUSH_BYTES, Connection
from trio_socketio.net.driving import READ, WRITE
from trio_socketio.protocol.connection import Life

BOUND = 64 * 1024
SLOW_S = 10.0


async def choke(net: Net, size: int) -> tuple[Connection, Recorder, Peer]:
    """A connection with size bytes that its peer does not take."""
    received = Recorder()
    connection, _, peer = net.connect(received, buffer_bytes=4096)
    connection.write(bytes(size))
    await settle()
    return connection, received, peer


class TestSlowReaders:
    @pytest.mark.req("HTTP-40")
    @trio_test
    async def test_no_progress_over_the_bound_closes(self, mock_clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, _ = await choke(net, 4 * BOUND)
            assert connection.waiting_bytes > BOUND
            mock_clock.jump(SLOW_S * 0.9)
            await settle()
            assert received.lost == []
            mock_clock.jump(SLOW_S * 0.2)
            await settle()
            assert received.lost == ["slow client"]
            assert connection.fileno() == -1

    @trio_test
    async def test_below_the_bound_a_silent_peer_has_time(self, mock_clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, _ = await choke(net, BOUND)
            assert 0 < connection.waiting_bytes <= BOUND
            mock_clock.jump(SLOW_S * 100)
            await settle()
            assert received.lost == []

    @pytest.mark.req("HTTP-40")
    @trio_test
    async def test_progress_keeps_a_slow_peer(self, mock_clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, peer = await choke(net, 20 * BOUND)
            for _ in range(10):
                mock_clock.jump(SLOW_S * 0.7)
                peer.read_nowait(32 * 1024)
                await settle()
            assert connection.waiting_bytes > BOUND
            assert received.lost == []
            mock_clock.jump(SLOW_S * 1.1)
            await settle()
            assert received.lost == ["slow client"]

    @trio_test
    async def test_who_catches_up_is_given_time_anew(self, mock_clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, peer = await choke(net, 4 * BOUND)
            mock_clock.jump(SLOW_S * 0.9)
            await peer.read_until(4 * BOUND)
            await settle()
            assert connection.waiting_bytes == 0
            mock_clock.jump(SLOW_S)
            await settle()
            connection.write(bytes(4 * BOUND))
            mock_clock.jump(SLOW_S * 0.9)
            await settle()
            assert received.lost == []

    @trio_test
    async def test_small_packets_over_the_bound_start_the_clock(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, received, _ = await choke(net, BOUND)
            for _ in range(10):
                connection.write(bytes(BOUND // 4))
            await settle()
            assert received.lost == []
            mock_clock.jump(SLOW_S * 1.1)
            await settle()
            assert received.lost == ["slow client"]

    @pytest.mark.req("HTTP-41")
    @trio_test
    async def test_over_the_hard_bound_it_is_closed_after_the_turn(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net(output_bound_bytes=BOUND) as net:
            connection, received, _ = await choke(net, BOUND)
            writes = 0
            while not received.lost and writes < 100 * HARD_BOUND_FACTOR:
                connection.write(bytes(BOUND))
                writes += 1
                assert not connection.closed, "nobody is closed while somebody writes"
                if connection.waiting_bytes > BOUND * HARD_BOUND_FACTOR:
                    kept = connection.waiting_bytes
                    connection.write(bytes(BOUND))
                    connection.write(bytes(BOUND))
                    assert connection.waiting_bytes == kept
                    assert net.writes_dropped == 2
                    await settle()
            assert received.lost == ["slow client"]
            assert HARD_BOUND_FACTOR - 2 <= writes <= HARD_BOUND_FACTOR + 1
            assert connection.fileno() == -1
            assert net.poller.failures == 0

    @pytest.mark.req("HTTP-41")
    @trio_test
    async def test_a_client_that_is_given_up_gets_nothing_more(self) -> None:
        async with open_net(output_bound_bytes=BOUND) as net:
            connection, sock, peer = net.connect(Recorder(), buffer_bytes=4096)
            connection.write(bytes(BOUND * HARD_BOUND_FACTOR * 2))
            await settle()
            connection.write(b"too much")
            sent = list(sock.sent)
            peer.read_nowait()
            connection.on_ready(WRITE)  # in the same turn
            assert sock.sent == sent
            assert connection.is_blocked

    @trio_test
    async def test_an_empty_queue_takes_one_packet_of_any_size(self) -> None:
        async with open_net(output_bound_bytes=BOUND) as net:
            size = BOUND * HARD_BOUND_FACTOR * 4
            connection, received, peer = await choke(net, size)
            assert len(await peer.read_until(size)) == size
            await settle()
            assert received.lost == []
            assert connection.waiting_bytes == 0

    @pytest.mark.req("BND-11")
    @trio_test
    async def test_output_of_one_turn_is_bounded_too(self) -> None:
        """Nothing was offered to the kernel before: it is asked within the turn."""
        async with open_net(output_bound_bytes=BOUND) as net:
            connection, sock, peer = net.connect(received := Recorder(), buffer_bytes=4096)
            huge = BOUND * HARD_BOUND_FACTOR * 4
            connection.write(b"a" * 100)
            connection.write(b"b" * huge)  # an empty queue takes any one packet
            kept = connection.waiting_bytes
            for _ in range(3):
                connection.write(b"c" * huge)
            assert connection.waiting_bytes == kept <= huge + 100
            assert net.writes_dropped == 3
            assert sum(sock.sent) == huge + 100 - kept
            assert peer.read_nowait(200).startswith(b"a" * 100 + b"b" * 100)
            await settle()
            assert received.lost == ["slow client"]
            assert net.poller.failures == 0

    @pytest.mark.req("BND-11")
    @trio_test
    async def test_an_early_flush_keeps_the_order_and_the_connection(self) -> None:
        async with open_net(output_bound_bytes=1 << 24) as net:
            connection, sock, peer = net.connect(received := Recorder())
            parts = [bytes([number]) * 70_000 for number in range(40)]
            for part in parts:
                connection.write(part)
            assert len(sock.sent) > 0  # within the turn
            assert await peer.read_until(40 * 70_000) == b"".join(parts)
            await settle()
            assert connection.waiting_bytes == 0
            assert received.lost == []
            connection.write(b"end")
            assert await peer.read_until(3) == b"end"

    @trio_test
    async def test_what_was_finished_is_not_flushed_early(self) -> None:
        """Its last flush shuts our direction down, so it has to be the last one."""
        async with open_net() as net:
            connection, sock, peer = net.connect(Recorder())
            connection.write(b"x")
            connection.finish()
            connection.write(b"y" * (EARLY_FLUSH_BYTES + 1))
            assert sock.sent == []
            assert await peer.read_to_end() == b"x" + b"y" * (EARLY_FLUSH_BYTES + 1)

    @trio_test
    async def test_memory_of_a_choked_connection_is_bounded(self) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=1000) as net:
            connection, received, _ = await choke(net, BOUND)
            gc.collect()
            tracemalloc.start()
            try:
                for number in range(5000):
                    connection.write(b"%d" % number * 1000)
                    if number % 500 == 0:
                        await settle()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < BOUND * (HARD_BOUND_FACTOR + 2)
            await settle()
            assert received.lost == ["slow client"]


class TestDrained:
    @trio_test
    async def test_it_is_told_once_when_all_output_has_left(self) -> None:
        async with open_net() as net:
            connection, _, peer = await choke(net, 1 << 20)
            told: list[int] = []
            connection.on_drained = lambda: told.append(connection.waiting_bytes)
            connection.write(b"the end")
            await peer.read_until(1 << 19)
            await settle()
            assert told == []
            await peer.read_until((1 << 19) + 7)
            await settle()
            assert told == [0]
            connection.write(b"more")
            await settle()
            assert told == [0]

    @trio_test
    async def test_output_keeps_its_order_through_every_pause(self) -> None:
        async with open_net(output_bound_bytes=1 << 22) as net:
            connection, _, peer = net.connect(Recorder(), buffer_bytes=4096)
            sent = b""
            taken = b""
            for number in range(200):
                part = b"%04d" % number * 500
                sent += part
                connection.write(part)
                if number % 3 == 0:
                    await settle()
                    taken += peer.read_nowait(3000)
            taken += await peer.read_until(len(sent) - len(taken))
            assert taken == sent


class TestEnding:
    @trio_test
    async def test_the_peers_end_is_told_once(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            await peer.send(b"bye")
            peer.close()
            await settle()
            assert received.data == b"bye"
            assert received.lost == ["transport close"]
            assert net.released == [connection]

    @trio_test
    async def test_a_write_to_one_who_left_is_a_loss_not_an_error(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.hold_reading()
            peer.close()
            connection.write(b"anybody?")
            await settle()
            assert len(received.lost) == 1
            assert received.lost[0] in ("transport error", "transport close")
            connection.write(b"nobody")
            await settle()
            assert net.poller.failures == 0

    @trio_test
    async def test_abort_tells_nobody_and_drops_output(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.write(b"never")
            connection.abort()
            connection.write(b"never")
            assert await peer.read() == b""
            assert peer.eof
            assert received.lost == []
            assert connection.waiting_bytes == 0

    @trio_test
    async def test_what_another_has_closed_in_the_same_batch_is_not_read(self) -> None:
        async with open_net() as net:
            connection, sock, peer = net.connect(Recorder())
            connection.hold_reading()
            peer.send_nowait(b"unread")
            connection.abort()
            connection.on_ready(READ)
            connection.resume_reading()
            connection.on_ready(READ)
            assert sock.recv(100) == b"unread"

    @trio_test
    async def test_finish_sends_what_was_written_first(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.write(b"the answer")
            connection.finish()
            assert await peer.read() == b"the answer"
            assert peer.eof
            peer.close()
            await settle()
            assert received.lost == []
            assert net.released == [connection]

    @trio_test
    async def test_finish_sends_what_was_written_while_blocked(self) -> None:
        async with open_net() as net:
            connection, _, peer = await choke(net, 1 << 18)
            assert connection.is_blocked
            connection.write(b"the end")
            connection.finish()
            data = await peer.read_to_end()
            assert len(data) == (1 << 18) + 7
            assert data.endswith(b"the end")

    @trio_test
    async def test_it_finishes_although_all_was_flushed_early(self) -> None:
        async with open_net() as net:
            connection, sock, peer = net.connect(Recorder(), buffer_bytes=1 << 21)
            connection.write(bytes(EARLY_FLUSH_BYTES + 1))
            assert sum(sock.sent) == EARLY_FLUSH_BYTES + 1, "the kernel's buffer is too small"
            connection.finish()
            assert len(await peer.read_to_end()) == EARLY_FLUSH_BYTES + 1

    @pytest.mark.req("HTTP-19")
    @trio_test
    async def test_a_peer_that_was_slow_has_no_longer_to_end(self, mock_clock: MockClock) -> None:
        async with open_net(slow_client_s=SLOW_S) as net:
            connection, received, peer = await choke(net, 1 << 18)
            connection.finish()
            await peer.read_to_end()
            await settle()
            assert connection.life is Life.DRAINING
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert net.released == [connection]
            assert received.lost == []

    @trio_test
    async def test_a_peer_that_has_said_all_is_not_waited_for(self) -> None:
        async with open_net() as net:
            connection, _, peer = await choke(net, 1 << 18)
            connection.finish(heard_all=True)
            assert connection.life is Life.PARTING
            assert len(await peer.read_to_end()) == 1 << 18
            await settle()
            assert net.released == [connection]

    @trio_test
    async def test_what_is_written_after_the_end_of_the_output_is_dropped(self) -> None:
        async with open_net() as net:
            connection, sock, peer = net.connect(Recorder())
            connection.finish()
            assert connection.life is Life.DRAINING
            connection.write(b"too late")
            await settle()
            assert (sock.sent, connection.waiting_bytes) == ([], 0)
            assert connection.life is Life.DRAINING
            assert await peer.read_to_end() == b""

    @trio_test
    async def test_what_comes_after_finish_is_read_but_not_handed_over(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.finish()
            await settle()
            for _ in range(20):
                await peer.send(bytes(50_000))
            assert received.data == b""
            assert not connection.closed
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert net.released == [connection]
            assert received.lost == []

    @trio_test
    async def test_a_peer_that_takes_nothing_cannot_hold_finish_up(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net(slow_client_s=SLOW_S) as net:
            connection, _, _ = await choke(net, 1 << 19)
            connection.finish()
            await settle()
            assert connection.fileno() >= 0
            mock_clock.jump(SLOW_S * 1.1)
            await settle()
            assert net.released == [connection]

    @trio_test
    async def test_progress_keeps_what_was_finished(self, mock_clock: MockClock) -> None:
        async with open_net(output_bound_bytes=BOUND, slow_client_s=SLOW_S) as net:
            connection, _, peer = await choke(net, 8 * BOUND)
            connection.finish()
            got = 0
            while part := peer.read_nowait(32 * 1024):
                got += len(part)
                mock_clock.jump(SLOW_S * 0.7)
                await settle()
            assert got == 8 * BOUND

    @trio_test
    async def test_a_deadline_closes_and_can_be_taken_back(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            first, second = Recorder(), Recorder()
            one, _, _ = net.connect(first)
            two, _, _ = net.connect(second)
            one.set_deadline(trio.current_time() + 5)
            two.set_deadline(trio.current_time() + 5)
            two.set_deadline(float("inf"))
            await settle()
            mock_clock.jump(6)
            await settle()
            assert first.lost == ["timeout"]
            assert second.lost == []

    @trio_test
    async def test_pausing_a_tcp_connection_bounds_a_dead_peer(self) -> None:
        async with open_net() as net:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours, _ = listener.accept()
            ours.setblocking(False)
            connection = Connection(net, ours, "127.0.0.1")
            net.connections.append(connection)
            net.poller.register(connection)
            connection.pause_reading(20)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                set_to = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert set_to == 20_000
            theirs.close()


class TestHeldReading:
    @trio_test
    async def test_a_hang_up_waits_until_what_was_read_is_worked_on(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.hold_reading()
            await peer.send(b"last words")
            peer.close()  # a Unix socket's peer hangs up in both directions
            await settle_briefly()
            assert received.lost == []
            connection.resume_reading()
            await settle()
            assert received.data == b"last words"
            assert received.lost == ["transport close"]

    @trio_test
    async def test_a_hang_up_ends_a_pause(self) -> None:
        async with open_net() as net:
            received = Recorder()
            connection, _, peer = net.connect(received)
            connection.hold_reading()
            connection.pause_reading(10)
            peer.close()
            with trio.fail_after(2):  # a portable poller looks now and then
                while not received.lost:  # noqa: ASYNC110 - the kernel sets no event
                    await trio.sleep(0.01)
            assert received.lost == ["transport close"]


async def settle_briefly() -> None:
    """For a poller that is told of a hang-up again and again: it never comes to rest."""
    await trio.sleep(0.02)


class TestTraffic:
    @pytest.mark.req("OPS-20")
    @trio_test
    async def test_only_packets_are_counted_and_only_once_they_are_sent(self) -> None:
        """A number that was taken back would be a restart to Prometheus."""
        async with open_net() as net:
            connection, _, peer = net.connect(Recorder())
            connection.write(b"the 101 answer")
            connection.count_apart()
            traffic, seen = connection.traffic, [0]

            def look() -> None:
                seen.append(traffic.packets_out)

            connection.write(b"packet")
            connection.write_apart(b"pong")
            look()
            await settle()
            look()
            connection.write_apart(bytes(EARLY_FLUSH_BYTES + 1))  # flushed within the turn
            look()
            connection.write(b"packet")
            await peer.read_until(traffic.bytes_out)
            await settle()
            look()
            connection.write(b"never sent")
            connection.write_apart(b"never sent")
            connection.abort()
            connection.write_apart(b"dropped")
            look()
            assert seen == [0, 0, 1, 1, 2, 2]
            assert net.traffic.bytes_out == 0
