"""What a request tells the code that has it, and what that code can do with it."""

import pytest
from tests.http.test_http import GET, answer, bodies
from tests.net.harness import HttpEnd, Net, open_net, settle
from trio.testing import trio_test

from trio_socketio.http.request import FixedHeaders, Request, encode_headers

HEADERS = ((b"Content-Type", b"text/plain"), (b"X-A", b"b"))
LINES = b"Content-Type: text/plain\r\nX-A: b\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
FRAMED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


def test_fixed_headers_are_headers_whose_lines_are_written_once() -> None:
    fixed = FixedHeaders(*HEADERS)
    assert fixed.lines == encode_headers(HEADERS) == LINES
    assert tuple(fixed) == HEADERS
    assert FixedHeaders().lines == b""


@trio_test
async def test_fixed_headers_are_sent_as_others_are() -> None:
    async with open_net() as net:
        both = [net.http(lambda request: request.respond(200, FixedHeaders(*HEADERS), b"body"))]
        both.append(net.http(lambda request: request.respond(200, HEADERS, b"body")))
        for http in both:
            await http.peer.send(GET % b"")
        fixed, others = (http.peer.read_nowait() for http in both)
        assert fixed == others
        assert LINES in fixed


async def receive(net: Net, data: bytes = GET % b"poll") -> tuple[HttpEnd, Request]:
    """A request that waits for its answer."""
    http = net.http()
    await http.peer.send(data)
    (request,) = http.requests
    return http, request


class TestPlace:
    @pytest.mark.req("FWD-32")
    @trio_test
    async def test_it_comes_from_where_its_connection_comes(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            assert request.connection is http.connection
            assert (request.address, request.secure) == ("", False)
            assert not request.is_forwarded

    @pytest.mark.parametrize(
        ("target", "path", "query_text"),
        [
            ("/a/b?c=d?e", "/a/b", "c=d?e"),
            ("/a://b/c", "/a://b/c", ""),
            ("/?a=b://c/d", "/", "a=b://c/d"),
            ("http://a.example:81/b?c=/d", "/b", "c=/d"),
            ("http://a.example?c=http://d/e", "/", "c=http://d/e"),
            ("http://a.example/b*/c://d", "/b*/c://d", ""),
            ("http://a.example//b", "//b", ""),
            ("*", "/", ""),
        ],
    )
    @trio_test
    async def test_its_path_and_its_query_are_parts_of_the_target(
        self, target: str, path: str, query_text: str
    ) -> None:
        async with open_net() as net:
            request = Request(net.http().receiver, "OPTIONS", target, {})
            assert (request.target, request.path) == (target, path)
            assert request.query_text == query_text
            assert request.query == Request.parse_query(query_text)


class TestAnswer:
    @trio_test
    async def test_only_the_first_answer_is_sent(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            answer(request)
            assert request.answered
            answer(request)
            request.pass_on(FRAMED, is_last=True)
            assert bodies(await http.peer.read()) == [b"/poll"]

    @trio_test
    async def test_an_answer_may_have_neither_headers_nor_a_body(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            request.respond(200)
            assert await http.peer.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    @trio_test
    async def test_a_peer_that_goes_away_need_not_be_heeded(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            http.peer.close()
            await settle()
            assert request.answered
            answer(request)
            assert net.poller.failures == 0


class TestPassingOn:
    @trio_test
    async def test_pieces_are_sent_as_they_are_until_the_last(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            await http.peer.send(GET % b"next")
            for piece in (FRAMED, b"bo"):
                request.pass_on(piece, is_last=False)
                assert not request.answered
                assert await http.peer.read() == piece
                assert len(http.requests) == 1
            request.pass_on(b"dy", is_last=True)
            assert request.answered
            request.pass_on(b"more", is_last=True)
            assert await http.peer.read() == b"dy"
            assert http.targets == ["/poll", "/next"]
            assert not http.peer.eof

    @trio_test
    async def test_a_peer_that_goes_away_between_two_pieces_aborts_the_request(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            aborts: list[int] = []
            request.on_abort = lambda: aborts.append(1)
            request.pass_on(FRAMED, is_last=False)
            http.peer.close()
            await settle()
            assert aborts == [1]
            request.pass_on(b"body", is_last=True)
            assert net.poller.failures == 0

    @trio_test
    async def test_none_follows_an_answer_that_closes(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            await http.peer.send(GET % b"next")
            request.pass_on(FRAMED + b"body", is_last=True, closes=True)
            assert await http.peer.read() == FRAMED + b"body"
            assert http.peer.eof
            assert http.targets == ["/poll"]

    @pytest.mark.parametrize("cut", [len(UPGRADE), 10])
    @trio_test
    async def test_none_follows_a_request_for_another_protocol(self, cut: int) -> None:
        async with open_net() as net:
            http = net.http()
            await http.peer.send(UPGRADE[:cut])
            await http.peer.send(UPGRADE[cut:])
            http.requests[0].pass_on(FRAMED + b"body", is_last=True)
            assert await http.peer.read() == FRAMED + b"body"
            assert http.peer.eof


class TestRelease:
    @trio_test
    async def test_whoever_has_the_request_is_asked_until_it_is_answered(self) -> None:
        async with open_net() as net:
            http, request = await receive(net)
            asked: list[int] = []
            http.receiver.release()  # nobody wants to know
            request.on_release = lambda: asked.append(1)
            http.receiver.release()
            assert asked == [1]
            answer(request)
            request.release()
            http.receiver.release()
            assert asked == [1]
            assert bodies(await http.peer.read()) == [b"/poll"]


class TestTakingOver:
    @pytest.mark.parametrize("held", [b"", b"\x81\x85early"])
    @trio_test
    async def test_the_caller_speaks_for_this_side_from_now_on(self, held: bytes) -> None:
        async with open_net() as net:
            http, request = await receive(net, UPGRADE + held)
            assert request.take_over() == (http.connection, held)
            assert request.answered
            answer(request)
            http.connection.write(b"another protocol")
            assert await http.peer.read() == b"another protocol"
            assert not http.peer.eof

    @trio_test
    async def test_a_switch_is_the_only_answer(self) -> None:
        async with open_net() as net:
            http, request = await receive(net, UPGRADE)
            assert request.switch_protocols(HEADERS) == (http.connection, b"")
            assert request.answered
            answer(request)
            head = b"HTTP/1.1 101 Switching Protocols\r\n" + LINES + b"\r\n"
            assert await http.peer.read() == head
