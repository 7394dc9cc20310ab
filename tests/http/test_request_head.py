"""Requests read without h11 mean what h11 says they mean."""

from collections.abc import Sequence
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.net.harness import open_net
from trio.testing import trio_test

from trio_socketio.http.request import Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, parse_head

NAMES = st.sampled_from(
    ["Host", "host", "Content-Length", "Connection", "Upgrade", "Transfer-Encoding", "Expect"]
) | st.from_regex(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
VALUES = st.sampled_from(
    ["x", "0", "3", "03", "+3", "3, 3", "keep-alive", "close", "Upgrade", "websocket", "chunked"]
) | st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=12)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests, most of them valid, some spoilt."""
    method = draw(st.sampled_from(["GET", "POST", "get", "HEAD", "PUT"]))
    target = draw(st.from_regex(r"/[!-~]{0,20}", fullmatch=True) | st.sampled_from(["*", "a b"]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "http/1.1"]))
    headers = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    if draw(st.booleans()):
        headers.insert(0, ("Host", "x"))
    body = draw(st.binary(max_size=4))
    if draw(st.booleans()):
        headers.append(("Content-Length", str(len(body))))
    colon = draw(st.sampled_from([": ", ":", ":\t ", " :"]))
    lines = "".join(f"{name}{colon}{value}\r\n" for name, value in headers)
    return f"{method} {target} {version}\r\n{lines}\r\n".encode("latin-1") + body


def read_by_h11(data: bytes) -> tuple[h11.Request, bytes] | None:
    """One whole request with nothing after it, as h11 reads it; None if it is not that."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    body = b""
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            return None
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage) or connection.trailing_data[0]:
        return None
    return request, body


@given(requests())
@example(b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Y:  z \t\r\nContent-Length: 2\r\n\r\nok")
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nA: \x80\xff\r\n\r\n")
def test_what_is_read_h11_reads_alike(data: bytes) -> None:
    head = parse_head(data, MAX_HEAD_BYTES)
    if head is not None:
        read = read_by_h11(data)
        assert read is not None, "h11 refuses it"
        request, body = read
        assert (head.method, head.target) == (request.method.decode(), request.target.decode())
        assert request.http_version == b"1.1"
        assert data[head.size :] == body
        assert head.headers == {
            name.decode(): value.decode("latin-1") for name, value in request.headers
        }
        assert len(head.headers) == len(list(request.headers))


COMMON = [
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]
UNCOMMON = [
    b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\no",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2\r\n\r\nok",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 70 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", COMMON)
def test_the_common_shape_is_read_here(data: bytes) -> None:
    assert parse_head(data, MAX_HEAD_BYTES) is not None


@pytest.mark.parametrize("data", UNCOMMON)
def test_anything_else_is_left_to_h11(data: bytes) -> None:
    assert parse_head(data, MAX_HEAD_BYTES) is None


def serve(request: Request) -> None:
    """Echo what was understood, after the body where there is one."""

    def answer(body: bytes | None) -> None:
        told = repr(
            (request.method, request.target, request.query, sorted(request.headers.items()))
        )
        request.respond(200, [(b"X-A", b"1")], told.encode() + (body or b"-"))

    if request.method == "POST":
        request.read_body(100, answer)
    else:
        answer(None)


async def outcome(pieces: Sequence[bytes]) -> tuple[bytes, bool]:
    """Everything that comes back, and whether the connection ended."""
    async with open_net() as net:
        http = net.http(serve)
        for piece in pieces:
            await http.peer.send(piece)
        return http.peer.read_nowait(), http.peer.eof


@pytest.mark.parametrize(
    "data",
    [
        *COMMON,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"POST /?a=%41&a=b&c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok",
        b"GET /?a=b&=c&&d=e=f HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
@trio_test
async def test_whole_or_in_pieces_the_outcome_is_one(data: bytes) -> None:
    assert parse_head(data, MAX_HEAD_BYTES) is not None
    whole = await outcome([data])
    for cut in (1, 20, data.index(b"\r\n\r\n") + 2):
        assert await outcome([data[:cut], data[cut:]]) == whole  # by h11
    assert whole[0].startswith(b"HTTP/1.1 ")


@trio_test
async def test_both_ways_take_turns_on_one_connection() -> None:
    get, post = COMMON[0], COMMON[2]
    stream = get + post + get + get + post
    cuts = [0, len(get), len(get) + 7, len(get + post), len(get + post + get) + 9, len(stream)]
    received, _ = await outcome([stream[a:b] for a, b in pairwise(cuts)])
    alone = [(await outcome([data]))[0] for data in (get, post, get, get, post)]
    assert received == b"".join(alone)
