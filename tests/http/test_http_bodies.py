"""Bodies in any framing and chunking, their limit, and requests that try to smuggle another."""

import tracemalloc

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.harness import HttpEnd, Net, open_net, settle
from tests.properties import examples
from trio.testing import trio_test

from trio_socketio.http.request import Request
from trio_socketio.protocol.connection import OPEN

LIMIT = 1000


class Taker:
    """Reads the body of every request and answers with its size."""

    def __init__(self, net: Net) -> None:
        self.bodies: list[bytes | None] = []
        self.aborts = 0
        self.end: HttpEnd = net.http(self._take)

    def _take(self, request: Request) -> None:
        def on_body(body: bytes | None) -> None:
            self.bodies.append(body)
            if body is not None:
                request.respond(200, [], b"%d" % len(body))

        request.on_abort = self._count
        request.read_body(LIMIT, on_body)

    def _count(self) -> None:
        self.aborts += 1


def with_length(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def in_chunks(parts: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + end


@pytest.mark.req("HTTP-20")
@given(
    bodies=st.lists(
        st.tuples(st.lists(st.binary(max_size=60), max_size=5), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
@settings(max_examples=examples(40), deadline=None)
def test_any_framing_in_any_chunking(
    bodies: list[tuple[list[bytes], bool]], cuts: list[int]
) -> None:
    stream = b"".join(
        in_chunks(parts) if chunked else with_length(b"".join(parts)) for parts, chunked in bodies
    )

    async def main() -> None:
        async with open_net() as net:
            taker = Taker(net)
            at = 0
            for cut in cuts:
                taker.end.receiver.receive_data(stream[at : at + cut] or b"")
                at += cut
                if at >= len(stream):
                    break
            else:
                taker.end.receiver.receive_data(stream[at:])
            await settle()
            assert taker.bodies == [b"".join(parts) for parts, _ in bodies]
            assert taker.aborts == 0
            assert taker.end.peer.read_nowait().count(b"HTTP/1.1 200 OK") == len(bodies)
            assert net.poller.failures == 0

    trio.run(main)


@trio_test
async def test_an_empty_body() -> None:
    async with open_net() as net:
        taker = Taker(net)
        await taker.end.peer.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + with_length(b""))
        assert taker.bodies == [b"", b""]


@pytest.mark.req("HTTP-22", "HTTP-23")
@trio_test
async def test_trailers_and_chunk_extensions_are_skipped() -> None:
    async with open_net() as net:
        taker = Taker(net)
        await taker.end.peer.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;name=value\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n" + with_length(b"next")
        )
        assert taker.bodies == [b"abc", b"next"]


class TestLimit:
    @trio_test
    async def test_the_limit_itself_is_accepted(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(
                with_length(b"z" * LIMIT) + in_chunks([b"z" * 600, b"z" * 400])
            )
            assert taker.bodies == [b"z" * LIMIT] * 2

    @trio_test
    async def test_a_length_over_the_limit_is_413_before_the_body(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            head, _, _ = with_length(b"z" * (LIMIT + 1)).partition(b"z")
            await taker.end.peer.send(head)
            assert taker.end.peer.read_nowait().startswith(b"HTTP/1.1 413 ")
            assert taker.end.peer.eof
            assert taker.bodies == [None]
            assert taker.aborts == 0
            await taker.end.peer.send(b"z" * 500_000)  # drained, not reset
            assert net.poller.failures == 0

    @trio_test
    async def test_chunks_over_the_limit_are_413_while_they_come(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(in_chunks([b"z" * 100] * 10, end=b""))
            assert taker.bodies == []
            await taker.end.peer.send(b"1\r\nz\r\n")
            assert taker.end.peer.read_nowait().startswith(b"HTTP/1.1 413 ")
            assert taker.end.peer.eof
            assert taker.bodies == [None]
            assert taker.aborts == 0

    @trio_test
    async def test_small_chunks_cost_no_more_memory_than_their_bytes(self) -> None:
        async with open_net() as net:
            requests: list[Request] = []

            def take(request: Request) -> None:
                requests.append(request)
                request.read_body(1 << 20, lambda _: None)

            end = net.http(take)
            await end.peer.send(in_chunks([], end=b""))
            tracemalloc.start()
            for _ in range(10):
                await end.peer.send(b"2\r\nab\r\n" * 1000)
            used, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert used < 200_000

    @trio_test
    async def test_nothing_after_a_413_is_handled(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(with_length(b"z" * (LIMIT + 1)) + with_length(b"next"))
            assert len(taker.end.requests) == 1

    @trio_test
    async def test_a_huge_length_is_413(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"
            )
            assert taker.end.peer.read_nowait().startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
            assert taker.end.peer.eof
            assert net.poller.failures == 0


@pytest.mark.req("HTTP-18")
class TestExpect:
    HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"

    @trio_test
    async def test_a_body_that_is_wanted_is_called_for(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(self.HEAD)
            assert taker.end.peer.read_nowait().startswith(b"HTTP/1.1 100 ")
            await taker.end.peer.send(b"body")
            assert taker.bodies == [b"body"]
            assert taker.end.peer.read_nowait().startswith(b"HTTP/1.1 200 ")

    @trio_test
    async def test_a_body_that_is_not_wanted_is_not_called_for(self) -> None:
        async with open_net() as net:
            end = net.http(lambda request: request.respond(403, [], b"no"))
            await end.peer.send(self.HEAD)
            assert end.peer.read_nowait().startswith(b"HTTP/1.1 403 ")
            assert end.peer.eof

    @trio_test
    async def test_a_body_too_long_is_not_called_for(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(self.HEAD.replace(b": 4", b": 4000"))
            assert taker.end.peer.read_nowait().startswith(b"HTTP/1.1 413 ")
            assert taker.end.peer.eof


NEXT = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
AMBIGUOUS = {
    "length and chunked": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two lengths in one": POST + b"Content-Length: 0, 5\r\n\r\n",
    "a signed length": POST + b"Content-Length: +0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length in hex": POST + b"Content-Length: 0x0\r\n\r\n",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "an underscore in a length": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a folded header": POST + b"X-A: b\r\n folded\r\n\r\n",
    "a folded encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a header before the first that is folded": b"GET / HTTP/1.1\r\n X: y\r\n\r\n",
    "an unknown encoding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "an encoding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "chunked twice": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an obscured encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a header without a name": POST + b": x\r\n\r\n",
    "a header without a colon": POST + b"X\r\n\r\n",
    "a NUL in a value": POST + b"X: a\x00b\r\n\r\n",
    "a NUL in a name": POST + b"X\x00: a\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bare CR in a value": POST + b"X: a\rY: b\r\n\r\n",
    "a bare CR before the end": POST + b"X: a\r\r\n\r\n",
    "a bare LF after a header": POST + b"X: a\nY: b\r\n\r\n",
    "a bare LF after the request line": b"GET / HTTP/1.1\nHost: x\r\n\r\n",
    "a head that ends with bare LF": b"GET / HTTP/1.1\r\nHost: x\n\n",
    "a head that ends with LF and CRLF": b"GET / HTTP/1.1\r\nHost: x\n\r\n",
    "a bare CR in the request line": b"GET /\rHTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"z\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"+1\r\nz\r\n0\r\n\r\n",
    "a chunk size in 0x": CHUNKED + b"0x1\r\nz\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"1" * 21 + b"\r\nz\r\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\nz\r\n0\r\n\r\n",
    "a chunk with a bare LF": CHUNKED + b"1\nz\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nzz\r\n0\r\n\r\n",
    "a chunk that ends in something else": CHUNKED + b"1\r\nzXX0\r\n\r\n",
}


OTHER_STATUS = {
    "an unknown encoding": b"501 Not Implemented",
    "an encoding after chunked": b"501 Not Implemented",
    "chunked twice": b"501 Not Implemented",
    "an obscured encoding": b"501 Not Implemented",
    "another version": b"505 HTTP Version Not Supported",
}


class TestSmuggling:
    @pytest.mark.req("HTTP-05", "HTTP-10", "HTTP-11", "HTTP-12", "HTTP-14", "HTTP-26")
    @pytest.mark.parametrize("name", AMBIGUOUS)
    def test_it_is_refused_and_nothing_after_it_is_handled(self, name: str) -> None:
        status = OTHER_STATUS.get(name, b"400 Bad Request")

        async def main() -> None:
            async with open_net() as net:
                whole, torn = Taker(net), Taker(net)
                await whole.end.peer.send(AMBIGUOUS[name] + NEXT)
                for at in range(len(AMBIGUOUS[name])):
                    torn.end.receiver.receive_data(AMBIGUOUS[name][at : at + 1])
                    if torn.end.connection.life is not OPEN:
                        break
                await torn.end.peer.send(NEXT)
                for taker in (whole, torn):
                    received = taker.end.peer.read_nowait()
                    assert received.startswith(b"HTTP/1.1 %b\r\n" % status), received
                    assert received.count(b"Content-Length: ") == 1
                    assert b"connection: close" in received.lower()
                    assert taker.end.peer.eof
                    assert "/smuggled" not in taker.end.targets
                    assert [body for body in taker.bodies if body is not None] == []
                assert net.poller.failures == 0

        trio.run(main)

    @trio_test
    async def test_what_came_before_it_is_answered(self) -> None:
        async with open_net() as net:
            taker = Taker(net)
            await taker.end.peer.send(with_length(b"good") + AMBIGUOUS["no host"] + NEXT)
            received = taker.end.peer.read_nowait()
            assert received.index(b"HTTP/1.1 200 ") < received.index(b"HTTP/1.1 400 ")
            assert received.count(b"HTTP/1.1 ") == 2
            assert taker.bodies == [b"good"]
