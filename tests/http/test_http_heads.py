"""Heads of requests: their limits whatever the segmentation, and what must not be in them."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.http.test_http import GET, answer, bodies
from tests.net.harness import HANDSHAKE_S, KEEP_ALIVE_S, Net, open_net, settle
from tests.properties import examples
from trio.testing import MockClock, trio_test

from trio_socketio.http.error_answers import PHRASES
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request import Headers, Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, MAX_HEADERS, find_origin
from trio_socketio.protocol.connection import OPEN

PIECES = [1_000_000, 60_000, 15_000, 4_000, 700]


async def answer_in_pieces(data: bytes, size: int) -> bytes:
    """What a request is answered that is written in pieces of that size."""
    async with open_net() as net:
        http = net.http(answer)
        for at in range(0, len(data), size):
            if http.connection.life is OPEN:
                await http.peer.send(data[at : at + size])
        received = http.peer.read_nowait()
        assert len(http.requests) == (1 if received.startswith(b"HTTP/1.1 200 ") else 0)
        assert net.poller.failures == 0
        return received


@pytest.mark.req("HTTP-01")
@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("over", [1, 4_000, 40_000])
@pytest.mark.parametrize("where", ["target", "value", "name"])
@trio_test
async def test_too_large_a_head_is_431_in_any_pieces(where: str, over: int, size: int) -> None:
    def head(padding: int) -> bytes:
        parts = {"target": b"/%b", "value": b"%b", "name": b"x%b"}
        filled = {
            key: part % (b"y" * padding if key == where else b"") for key, part in parts.items()
        }
        return b"GET %b HTTP/1.1\r\nHost: x\r\n%b: %b\r\n\r\n" % (
            filled["target"] or b"/",
            filled["name"],
            filled["value"],
        )

    room = MAX_HEAD_BYTES - len(head(0))
    assert (await answer_in_pieces(head(room), size)).startswith(b"HTTP/1.1 200 ")
    assert (await answer_in_pieces(head(room + over), size)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.req("HTTP-01", "HTTP-02")
def test_the_limits_are_those_that_the_guide_names() -> None:
    page = Path("spec/guide/limits.md").read_text(encoding="utf-8")
    (told,) = [line for line in page.splitlines() if line.startswith("| request head |")]
    assert told.split("|")[2].strip() == "16 KiB, 64 headers, 10 s"
    assert (MAX_HEAD_BYTES, MAX_HEADERS) == (16 * 1024, 64)


@pytest.mark.req("HTTP-02")
@pytest.mark.parametrize("size", PIECES)
@trio_test
async def test_too_many_headers_are_431_in_any_pieces(size: int) -> None:
    for count, status in ((MAX_HEADERS, b"200"), (MAX_HEADERS + 1, b"431"), (900, b"431")):
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(count - 1))
        data = b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n"
        assert (await answer_in_pieces(data, size)).startswith(b"HTTP/1.1 " + status), count


@pytest.mark.req("HTTP-01")
@trio_test
async def test_what_follows_a_head_does_not_count_to_it() -> None:
    async with open_net() as net:
        http = net.http(answer)
        await http.peer.send(GET % b"a" * 1000)
        assert len(bodies(http.peer.read_nowait())) == 1000


@pytest.mark.req("HTTP-04")
@pytest.mark.parametrize("character", [*range(1, 9), *range(11, 13), *range(14, 32), 0x7F])
@pytest.mark.parametrize("size", [1_000_000, 1])
@trio_test
async def test_a_control_character_in_a_value_is_400(character: int, size: int) -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://a%cb\r\n\r\n" % character
    received = await answer_in_pieces(data, size)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert bytes([character]) not in received


@pytest.mark.req("HTTP-04")
@trio_test
async def test_a_tab_and_foreign_letters_are_taken() -> None:
    data = b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\tb \xe4\xff\r\n\r\n"
    assert (await answer_in_pieces(data, 1000)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.req("HTTP-06")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"chat.example", b"200"),
        (b"chat.example:8080", b"200"),
        (b"chat_1.example", b"200"),
        (b"127.0.0.1:1", b"200"),
        (b"[::1]:80", b"200"),
        (b"[fe80::1%25eth0]", b"200"),
        (b"", b"200"),
        (b"a b", b"400"),
        (b"a/b", b"400"),
        (b"a@b", b"400"),
        (b"a, b", b"400"),
        (b"a:b", b"400"),
        (b"a\xff", b"400"),
        (b"[::1", b"400"),
        (b'"><x>', b"400"),
    ],
)
@trio_test
async def test_a_host_is_a_name_or_an_address(host: bytes, status: bytes) -> None:
    data = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    for size in (1000, 1):
        assert (await answer_in_pieces(data, size)).startswith(b"HTTP/1.1 " + status)


@pytest.mark.req("HTTP-07")
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"OPTIONS", b"*", b"200"),
        (b"GET", b"//a/b", b"200"),
        (b"GET", b"*", b"400"),
        (b"GET", b"a/b", b"400"),
        (b"GET", b"?a=b", b"400"),
        (b"GET", b"http://", b"400"),
        (b"GET", b"http:///a", b"400"),
        (b"GET", b"http://user@a/", b"400"),
        (b"GET", b"://a/", b"400"),
    ],
)
@trio_test
async def test_a_target_is_a_path_or_a_url(method: bytes, target: bytes, status: bytes) -> None:
    data = b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, target)
    assert (await answer_in_pieces(data, 1000)).startswith(b"HTTP/1.1 " + status)


@pytest.mark.req("HTTP-08")
@trio_test
async def test_the_authority_of_the_target_counts_instead_of_the_host() -> None:
    async with open_net() as net:
        http = net.http(answer)
        for target, path, query in (
            (b"http://a.example:81/b?c=/d", "/b", {"c": "/d"}),
            (b"http://a.example:81?c=/d", "/", {"c": "/d"}),
            (b"HTTP://a.example:81", "/", {}),
        ):
            await http.peer.send(b"GET %b HTTP/1.1\r\nHost: b.example\r\n\r\n" % target)
            request = http.requests[-1]
            assert (request.path, request.query) == (path, query)
            assert request.headers["host"] == "a.example:81"


# --- the time for a head


async def trickle(net: Net, clock: MockClock, before: bytes = b"") -> float:
    """Seconds until a client is closed that goes on with a head byte by byte, for ever."""
    http = net.http(answer)
    if before:
        clock.jump(HANDSHAKE_S * 0.9)
        await http.peer.send(before)
        http.peer.read_nowait()
    began = clock.current_time() if before else 0.0
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 1000
    for at in range(len(head)):
        clock.jump(HANDSHAKE_S / 20 if before or at else HANDSHAKE_S * 0.9)
        await settle()
        if http.connection.closed:
            return clock.current_time() - began
        await http.peer.send(head[at : at + 1])
    raise AssertionError("it was never closed")


@pytest.mark.req("HTTP-03")
@trio_test
async def test_the_first_head_has_its_time_from_the_connections_first_moment(
    mock_clock: MockClock,
) -> None:
    async with open_net() as net:
        assert await trickle(net, mock_clock) <= HANDSHAKE_S * 1.06


@pytest.mark.req("HTTP-03")
@pytest.mark.parametrize(
    "before", [GET % b"a", b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", GET % b"a" + b"G"]
)
@trio_test
async def test_a_later_head_has_its_time_from_its_first_byte(
    mock_clock: MockClock, before: bytes
) -> None:
    async with open_net() as net:
        took = await trickle(net, mock_clock, before)
        assert HANDSHAKE_S * 0.9 <= took <= HANDSHAKE_S * 1.15


@pytest.mark.req("HTTP-03")
@trio_test
async def test_a_head_that_began_while_an_answer_was_pending_has_its_time_from_then(
    mock_clock: MockClock,
) -> None:
    async with open_net() as net:
        http = net.http()
        await http.peer.send(GET % b"a" + b"GET / HT")
        mock_clock.jump(KEEP_ALIVE_S * 2)
        await settle()
        assert not http.connection.closed
        answer(http.requests[0])
        await settle()
        mock_clock.jump(HANDSHAKE_S * 1.1)
        await settle()
        assert http.connection.closed


# --- what an error says


def cors(origin: str | None) -> Headers:
    return [(b"X-Origin", (origin or "unknown").encode())]


async def refuse(data: Sequence[bytes]) -> bytes:
    """The answer to pieces of a request of which nothing is taken."""
    async with open_net() as net:
        connection, _, peer = net.pair()
        receiver = HttpReceiver(connection, _take, HANDSHAKE_S, KEEP_ALIVE_S, cors)
        connection.set_receiver(receiver)
        net.poller.register(connection)
        for piece in data:
            await peer.send(piece)
        assert net.poller.failures == 0
        return peer.read_nowait()


def _take(request: Request) -> None:
    request.read_body(10, lambda body: request.respond(200) if body is not None else None)


ORIGIN = b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://a.example\r\n"
POST = ORIGIN.replace(b"GET", b"POST")
ERRORS = {
    "a head too large": (431, ORIGIN + b"X: " + b"y" * 20_000 + b"\r\n\r\n"),
    "a head too large that does not end": (431, ORIGIN + b"X: " + b"y" * 20_000),
    "too many headers": (431, ORIGIN + b"X: y\r\n" * 65 + b"\r\n"),
    "a control character": (400, ORIGIN + b"X: \x01\r\n\r\n"),
    "no header": (400, ORIGIN + b"X\r\n\r\n"),
    "another version": (505, ORIGIN.replace(b"1.1", b"2.0") + b"\r\n"),
    "CONNECT": (405, ORIGIN.replace(b"GET /", b"CONNECT a:1") + b"\r\n"),
    "a coding": (501, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "a body too long": (413, POST + b"Content-Length: 11\r\n\r\n"),
    "chunks too long": (413, POST + b"Transfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n"),
    "no chunk": (400, POST + b"Transfer-Encoding: chunked\r\n\r\nz\r\n"),
    "no end of a chunk": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc"),
}


@pytest.mark.req("HTTP-25")
@pytest.mark.parametrize("name", ERRORS)
@trio_test
async def test_every_error_knows_the_origin_as_far_as_the_head_was_read(name: str) -> None:
    status, data = ERRORS[name]
    for pieces in ([data], [data[: len(ORIGIN)], data[len(ORIGIN) :]]):
        received = await refuse(pieces)
        assert received.startswith(b"HTTP/1.1 %d %b\r\n" % (status, PHRASES[status]))
        assert b"\r\nX-Origin: http://a.example\r\n" in received
        assert b"\r\nConnection: close\r\n" in received
        received = await refuse([piece.replace(b"\r\nOrigin:", b"\r\nNone:") for piece in pieces])
        assert b"\r\nX-Origin: unknown\r\n" in received


@pytest.mark.parametrize(
    ("head", "origin"),
    [
        (b"GET / HTTP/1.1\r\norigin:http://a\r\nX", "http://a"),
        (b"GET / HTTP/1.1\r\nORIGIN: \t http://a \r\n\r\n", "http://a"),
        (b"GET / HTTP/1.1\r\nOrigin: http://a", None),  # it may go on
        (b"GET / HTTP/1.1\r\nOrigin: http://a\r\nOrigin: http://a\r\n", None),
        (b"GET / HTTP/1.1\r\nOrigin: http://a\x01\r\n", None),
        (b"GET / HTTP/1.1\r\nOrigin: a b\r\n", None),
        (b"GET / HTTP/1.1\r\nX-Origin: http://a\r\n", None),
        (b"POST / HTTP/1.1\r\nX: y\r\n\r\nOrigin: http://a\r\n", None),
        (b"", None),
    ],
)
def test_the_origin_of_a_head_that_cannot_be_read(head: bytes, origin: str | None) -> None:
    assert find_origin(head) == origin


MARK = b"Zq7"
LINES = st.lists(
    st.sampled_from(
        [
            b"Host: x",
            b"Content-Length: ",
            b"Transfer-Encoding: ",
            b"chunked",
            b"Expect: ",
            b": ",
            b" ",
        ]
    )
    | st.just(MARK)
    | st.binary(max_size=3),
    max_size=8,
)


@pytest.mark.req("HTTP-24")
@settings(max_examples=examples(60), deadline=None)
@given(st.lists(LINES.map(b"".join), max_size=6), st.sampled_from([b"\r\n", b"\n"]))
@example([b"GET / HTTP/1.1", b"Host: x", MARK], b"\r\n")
@example([MARK + b"\x01"], b"\r\n")
@example([b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", b"", MARK], b"\r\n")
@example([b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", b"", b"1", MARK], b"\r\n")
@example([b"POST / HTTP/1.1", b"Host: x", b"Content-Length: " + MARK], b"\r\n")
@example([b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: " + MARK], b"\r\n")
def test_an_error_repeats_nothing_of_the_request(lines: list[bytes], end: bytes) -> None:
    received = trio.run(refuse, [end.join([*lines, b"", b""])])
    assert MARK not in received
    if received and not received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 100 ")):
        head, _, body = received.partition(b"\r\n\r\n")
        assert re.fullmatch(rb"[ -~]*", body)
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head
