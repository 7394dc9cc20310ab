"""How long an HTTP peer is waited for: heads, bodies, rests between requests, and draining."""

import pytest
from tests.http.test_http import GET, answer, bodies
from tests.net.harness import HANDSHAKE_S, KEEP_ALIVE_S, open_net, settle
from trio.testing import MockClock, trio_test

from trio_socketio.http.request import Request
from trio_socketio.net.connection import DRAIN_S


class TestDeadlines:
    @trio_test
    async def test_a_silent_client_is_closed(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await settle()
            mock_clock.jump(HANDSHAKE_S * 0.9)
            await settle()
            assert not http.connection.closed
            mock_clock.jump(HANDSHAKE_S * 0.2)
            await settle()
            assert http.connection.closed

    @trio_test
    async def test_a_head_that_trickles_is_closed(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            http = net.http(answer)
            for byte in b"GET / HTTP/1.1\r\nHost: x":
                await http.peer.send(bytes([byte]))
                mock_clock.jump(HANDSHAKE_S / 8)
                await settle()
                if http.connection.closed:
                    break
            assert http.connection.closed
            assert mock_clock.current_time() <= HANDSHAKE_S * 1.5

    @pytest.mark.req("HTTP-28")
    @trio_test
    async def test_a_body_that_trickles_is_closed(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            aborts: list[int] = []

            def take(request: Request) -> None:
                request.on_abort = lambda: aborts.append(1)
                request.read_body(1000, lambda _: None)

            http = net.http(take)
            await http.peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(20):
                await http.peer.send(b"z")
                mock_clock.jump(HANDSHAKE_S / 8)
                await settle()
                if http.connection.closed:
                    break
            assert http.connection.closed
            assert aborts == [1]

    @pytest.mark.req("HTTP-28")
    @trio_test
    async def test_a_body_that_keeps_coming_is_not_closed(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            read: list[bytes | None] = []
            http = net.http(lambda request: request.read_body(100_000, read.append))
            await http.peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(100):  # 600 bytes a second for 167 seconds
                mock_clock.jump(1000 / 600)
                await http.peer.send(bytes(1000))
            assert read == [bytes(100_000)]

    @trio_test
    async def test_a_connection_at_rest_is_closed_in_the_end(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(GET % b"1")
            mock_clock.jump(KEEP_ALIVE_S * 0.9)
            await http.peer.send(GET % b"2")
            assert len(http.requests) == 2
            mock_clock.jump(KEEP_ALIVE_S * 0.9)
            await settle()
            assert not http.connection.closed
            mock_clock.jump(KEEP_ALIVE_S * 0.2)
            await settle()
            assert http.connection.closed

    @trio_test
    async def test_a_pending_answer_has_no_deadline(self, mock_clock: MockClock) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(GET % b"1")
            mock_clock.jump(KEEP_ALIVE_S * 100)
            await settle()
            answer(http.requests[0])
            assert bodies(await http.peer.read()) == [b"/1"]


@pytest.mark.req("HTTP-19")
class TestDraining:
    @trio_test
    async def test_an_answer_before_the_body_arrives_and_the_rest_is_drained(
        self, mock_clock: MockClock
    ) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.respond(403, [], b"no"))
            await http.peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
            received = http.peer.read_nowait()
            assert received.startswith(b"HTTP/1.1 403 ")
            assert b"connection: close" in received.lower()
            await http.peer.send(bytes(400_000))  # not a broken pipe
            assert http.connection.fileno() >= 0
            mock_clock.jump(DRAIN_S * 1.1)
            await settle()
            assert http.connection.fileno() == -1
            assert len(http.requests) == 1

    @trio_test
    async def test_a_client_that_ends_its_side_is_released_at_once(self) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.respond(403, [], b"no"))
            await http.peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123")
            http.peer.sock.shutdown(1)
            await settle()
            assert http.connection.fileno() == -1

    @trio_test
    async def test_the_chunks_of_a_body_that_is_not_wanted_are_drained(self) -> None:
        """However many came with the head: they are not counted as steps of a turn."""

        def take(request: Request) -> None:
            if request.path == "/wanted":
                request.read_body(1000, lambda _: request.respond(200))
            else:
                request.respond(403)

        async with open_net() as net:
            http = net.http(take)
            await http.peer.send(b"PUT /wanted HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
            head = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            await http.peer.send(head + b"1\r\nz\r\n" * 40)
            assert b"HTTP/1.1 403 " in http.peer.read_nowait()
            await http.peer.send(bytes(2_000_000))
            assert http.connection.fileno() >= 0
