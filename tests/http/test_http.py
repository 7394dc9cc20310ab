"""Requests in turn: keep-alive, pipelining, reading ahead, aborts and upgrades."""

from collections.abc import Callable

import pytest
import trio
from tests.net.harness import (
    LATE_S,
    HttpEnd,
    Recorder,
    measure_lateness,
    open_net,
    settle,
)
from trio.testing import trio_test

from trio_socketio.http.exchange import READ_AHEAD_BYTES, STEPS_PER_TURN
from trio_socketio.http.request import Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, MAX_HEADERS

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(request: Request) -> None:
    request.respond(200, [(b"X-Target", request.target.encode())], request.target.encode())


def bodies(received: bytes) -> list[bytes]:
    """Of answers as the function above makes them."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        _, _, length = head.lower().partition(b"content-length: ")
        size = int(length.split(b"\r\n")[0])
        found.append(rest[:size])
        received = rest[size:]
    return found


class TestInTurn:
    @trio_test
    async def test_a_request_is_what_was_sent(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(
                b"POST /a/b?x=1&y=%20z&x=2&e= HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
            )
            (request,) = http.requests
            assert (request.method, request.path) == ("POST", "/a/b")
            assert request.query_text == "x=1&y=%20z&x=2&e="
            assert request.query == {"x": "2", "y": " z", "e": ""}
            assert request.headers == {"host": "h", "x-a": "1, 2"}
            assert (request.address, request.secure) == ("", False)

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("", {}),
            ("a=1&b=2&a=3", {"a": "3", "b": "2"}),
            ("a=1&b=%32&a=%33", {"a": "3", "b": "2"}),
            ("a=&b", {"a": "", "b": ""}),
            ("a==1&&=2&b=", {"a": "=1", "": "2", "b": ""}),
        ],
    )
    def test_of_a_repeated_parameter_the_last_counts(
        self, text: str, query: dict[str, str]
    ) -> None:
        assert Request.parse_query(text) == query

    @trio_test
    async def test_a_connection_is_kept_for_the_next_request(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            for number in range(20):
                await http.peer.send(GET % b"%d" % number)
                assert bodies(http.peer.read_nowait()) == [b"/%d" % number]
            assert not http.peer.eof

    @trio_test
    async def test_a_head_in_single_bytes(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            for at in range(len(GET) - 2):
                await http.peer.send((GET % b"")[at : at + 1])
            assert http.targets == ["/"]
            assert bodies(http.peer.read_nowait()) == [b"/"]

    @pytest.mark.req("HTTP-15")
    @trio_test
    async def test_pipelined_requests_are_answered_in_order(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(b"".join(GET % b"%d" % n for n in range(500)))
            assert bodies(await http.peer.read()) == [b"/%d" % n for n in range(500)]

    @pytest.mark.req("HTTP-15")
    @trio_test
    async def test_answers_that_come_later_keep_the_order(self) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(b"".join(GET % b"%d" % n for n in range(5)))
            for number in range(5):
                assert len(http.requests) == number + 1, "the next waits for this answer"
                answer(http.requests[number])
                answer(http.requests[number])  # a second answer does nothing
                await settle()
            assert bodies(http.peer.read_nowait()) == [b"/%d" % n for n in range(5)]

    @trio_test
    async def test_pipelined_bodies_and_late_answers(self) -> None:
        async with open_net() as net:
            read: list[bytes | None] = []
            http = net.http(lambda request: request.read_body(100, read.append))
            one = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
            two = b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            await http.peer.send(one + two + b"2\r\ntw\r\n1\r\no\r\n0\r\n\r\n" + one)
            assert read == [b"one"]
            answer(http.requests[0])
            await settle()
            assert read == [b"one", b"two"]
            answer(http.requests[1])
            await settle()
            answer(http.requests[2])
            await settle()
            assert read == [b"one", b"two", b"one"]
            assert bodies(http.peer.read_nowait()) == [b"/1", b"/2", b"/1"]

    @pytest.mark.req("HTTP-29")
    @trio_test
    async def test_what_is_read_ahead_of_an_answer_is_bounded(self) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(GET % b"first")
            await self._pour(http)
            assert self._ahead(http) <= READ_AHEAD_BYTES + 65536

    @pytest.mark.req("HTTP-29")
    @trio_test
    async def test_the_bound_holds_over_many_answers(self) -> None:
        """Each answer frees one request of some 30 bytes; only as much may be read anew."""
        async with open_net() as net:
            http = net.http()
            await http.peer.send(GET % b"first")
            for number in range(30):
                await self._pour(http)
                answer(http.requests[number])
                await settle()
            assert self._ahead(http) <= READ_AHEAD_BYTES + 65536

    @trio_test
    async def test_reading_goes_on_when_what_was_read_ahead_is_used_up(self) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(GET % b"first")
            size = READ_AHEAD_BYTES * 3
            head = b"POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
            read: list[bytes | None] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.peer.send, head + b"z" * size + GET % b"last")
                await settle()
                answer(http.requests[0])
                await settle()
                http.requests[1].read_body(size, read.append)
                http.connection.call_again()  # the body was asked for out of turn
                await settle()
            assert read == [b"z" * size]
            answer(http.requests[1])
            await settle()
            assert http.targets == ["/first", "/big", "/last"]

    async def _pour(self, http: HttpEnd) -> None:
        """Send until nothing more is taken."""
        for _ in range(100):
            try:
                http.peer.sock.send(GET % b"x" * 1000)
            except BlockingIOError:
                return
            await settle()
        raise AssertionError("everything is taken: nothing bounds it")

    def _ahead(self, http: HttpEnd) -> int:
        assert http.receiver._h11 is not None
        return len(http.receiver._h11.held())

    @trio_test
    async def test_others_are_not_kept_waiting_by_pipelined_requests(self) -> None:
        async with open_net() as net:
            ends = [net.http(answer) for _ in range(20)]
            sent = [0] * len(ends)

            def flood() -> None:
                for number, http in enumerate(ends):
                    http.peer.read_nowait()
                    if len(http.requests) == sent[number]:  # more may not fit into its socket
                        http.peer.sock.send(GET % b"x" * 1000)
                        sent[number] += 1000

            assert await measure_lateness(flood, rounds=7) < LATE_S


class TestForms:
    @pytest.mark.req("HTTP-17")
    @trio_test
    async def test_head_has_no_body_and_keeps_the_connection(self) -> None:
        async with open_net() as net:
            http = net.http(lambda request: request.respond(200, [], b"body"))
            await http.peer.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = http.peer.read_nowait()
            assert head.endswith(b"\r\n\r\n")
            assert b"Content-Length: 4\r\n" in head
            await http.peer.send(GET % b"")
            assert http.peer.read_nowait().endswith(b"\r\n\r\nbody")

    @trio_test
    async def test_http_1_0_is_answered_and_closed(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(b"GET /old HTTP/1.0\r\n\r\n")
            received = http.peer.read_nowait()
            assert b"connection: close" in received.lower()
            assert received.endswith(b"\r\n\r\n/old")
            assert http.peer.eof

    @pytest.mark.req("HTTP-16")
    @trio_test
    async def test_connection_close_is_obeyed(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(
                b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET % b"b"
            )
            assert bodies(http.peer.read_nowait()) == [b"/a"]
            assert http.peer.eof
            assert http.targets == ["/a"]

    @pytest.mark.parametrize(
        ("target", "path", "query"),
        [
            ("http://example.org/a/b?x=1", "/a/b", {"x": "1"}),
            ("https://example.org:8080/", "/", {}),
            ("http://example.org", "/", {}),
        ],
    )
    def test_absolute_targets(self, target: str, path: str, query: dict[str, str]) -> None:
        @trio_test
        async def main() -> None:
            async with open_net() as net:
                http = net.http(answer)
                await http.peer.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target.encode())
                (request,) = http.requests
                assert (request.path, request.query) == (path, query)

        main()

    @trio_test
    async def test_too_long_a_head_is_431(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES)
            assert http.peer.read_nowait().startswith(b"HTTP/1.1 431 ")
            assert http.peer.eof
            assert http.requests == []

    @trio_test
    async def test_too_many_headers_are_431(self) -> None:
        async with open_net() as net:
            fits, over = net.http(answer), net.http(answer)
            head = b"GET / HTTP/1.1\r\nHost: x\r\n"
            headers = [b"X-%d: y\r\n" % number for number in range(MAX_HEADERS)]
            await fits.peer.send(head + b"".join(headers[1:]) + b"\r\n")
            assert fits.peer.read_nowait().startswith(b"HTTP/1.1 200 ")
            await over.peer.send(head + b"".join(headers) + b"\r\n")
            assert over.peer.read_nowait().startswith(b"HTTP/1.1 431 ")
            assert over.requests == []


class TestAborts:
    @trio_test
    async def test_a_peer_that_hangs_up_aborts_its_request_once(self) -> None:
        async with open_net() as net:
            http = net.http()
            aborts: list[int] = []
            await http.peer.send(GET % b"poll")
            http.requests[0].on_abort = lambda: aborts.append(1)
            http.peer.close()
            await settle()
            assert aborts == [1]
            answer(http.requests[0])
            await settle()
            assert aborts == [1]
            assert net.poller.failures == 0

    @trio_test
    async def test_no_abort_after_the_answer(self) -> None:
        async with open_net() as net:
            http = net.http()
            aborts: list[int] = []
            await http.peer.send(GET % b"poll")
            http.requests[0].on_abort = lambda: aborts.append(1)
            answer(http.requests[0])
            http.peer.close()
            await settle()
            assert aborts == []

    @trio_test
    async def test_a_hang_up_after_pipelined_requests_is_noticed(self) -> None:
        """However many were answered at once before the one that waits."""
        async with open_net() as net:
            http = net.http(lambda request: answer(request) if request.path != "/wait" else None)
            aborts: list[int] = []
            await http.peer.send(GET % b"go" * 300 + GET % b"wait")
            assert http.targets[-1] == "/wait"
            http.requests[-1].on_abort = lambda: aborts.append(1)
            http.peer.sock.shutdown(1)
            await settle()
            assert aborts == [1]


class TestSwitching:
    @trio_test
    async def test_it_hands_over_what_was_read_ahead(self) -> None:
        async with open_net() as net:
            taken: list[tuple[object, bytes]] = []

            def switch(request: Request) -> None:
                taken.append(request.switch_protocols([(b"Upgrade", b"websocket")]))

            http = net.http(switch)
            await http.peer.send(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\n\r\n\x81\x85early"
            )
            assert taken == [(http.connection, b"\x81\x85early")]
            assert http.peer.read_nowait() == (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
            )
            assert not http.connection.closed

    @trio_test
    async def test_the_next_receiver_may_pause_at_once(self) -> None:
        async with open_net() as net:
            received = Recorder()

            def switch(request: Request) -> None:
                connection, _ = request.switch_protocols([])
                connection.set_receiver(received)
                connection.hold_reading()

            http = net.http(switch)
            await http.peer.send(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            await http.peer.send(b"too early")
            assert received.data == b""

    @trio_test
    async def test_reading_goes_on_although_earlier_requests_held_it(self) -> None:
        async with open_net() as net:
            received = Recorder()

            def switch_last(request: Request) -> None:
                if request.target == "/last":
                    connection, ahead = request.switch_protocols([])
                    connection.set_receiver(received)
                    assert ahead == b""
                else:
                    answer(request)

            end = net.http(switch_last)
            await end.peer.send(GET % b"first" * STEPS_PER_TURN + GET % b"last")
            await end.peer.send(b"frames")
            assert received.data == b"frames"

    @trio_test
    async def test_a_refused_upgrade_closes(self) -> None:
        async with open_net() as net:
            http = net.http(answer)
            await http.peer.send(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\n\r\n\x81\x85early"
            )
            assert bodies(http.peer.read_nowait()) == [b"/ws"]
            assert http.peer.eof
            assert http.targets == ["/ws"]


def make_failing(error: Exception) -> Callable[[Request], None]:
    def fail(request: Request) -> None:
        raise error

    return fail


@trio_test
async def test_a_router_that_fails_closes_only_its_connection() -> None:
    async with open_net() as net:
        broken, fine = net.http(make_failing(KeyError("a defect"))), net.http(answer)
        await broken.peer.send(GET % b"")
        await fine.peer.send(GET % b"")
        assert broken.connection.closed
        assert bodies(fine.peer.read_nowait()) == [b"/"]
        assert net.poller.failures == 1


@pytest.mark.req("HTTP-13")
@pytest.mark.parametrize("target", [b"example.org:443", b"/", b"x:=a"])
@trio_test
async def test_connect_is_refused_before_anybody_could_accept_it(target: bytes) -> None:
    async with open_net() as net:
        http = net.http(answer)
        await http.peer.send(b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert http.peer.read_nowait().startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
        assert http.peer.eof
        assert http.requests == []
