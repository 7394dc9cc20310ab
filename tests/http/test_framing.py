"""The two framings of an answer, whose bytes are the same."""

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.http.test_http import GET, answer, bodies
from tests.net.harness import open_net, settle
from tests.properties import examples
from trio.testing import trio_test

from trio_socketio.http.error_answers import PHRASES
from trio_socketio.http.framing import Framing, PlainFraming
from trio_socketio.http.h11_framing import H11Framing
from trio_socketio.http.request import Headers, Request
from trio_socketio.http.request_head import MAX_HEAD_BYTES, parse_head

HEADS = {
    "GET": GET % b"",
    "upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
}
TOKENS = st.from_regex(rb"[A-Za-z-]{1,12}", fullmatch=True).map(lambda name: b"X-" + name)
VALUES = st.from_regex(rb"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)


async def frame(
    data: bytes, *, plain: bool, status: int, headers: Headers, body: bytes
) -> tuple[bytes, bool]:
    """What is sent for an answer to a request whose body was read."""
    framed: list[tuple[bytes, bool]] = []
    async with open_net() as net:
        http = net.http()
        http.receiver.receive_data(data if plain else data[:10])
        if not plain:
            http.receiver.receive_data(data[10:])
        (request,) = http.requests
        framing: Framing = http.receiver._framing
        assert type(framing) is (PlainFraming if plain else H11Framing)
        request.read_body(10, lambda _: None)
        await settle()
        framed.append(framing.frame_answer(request, status, headers, body))
    return framed[0]


@pytest.mark.req("HTTP-59", "HTTP-62")
@settings(max_examples=examples(40), deadline=None)
@given(
    head=st.sampled_from(sorted(HEADS)),
    status=st.sampled_from(sorted(set(PHRASES) - {101})),
    headers=st.lists(st.tuples(TOKENS, VALUES), max_size=3),
    body=st.binary(max_size=20),
)
@example(head="GET", status=304, headers=[(b"X-A", b"b")], body=b"")
@example(head="upgrade", status=304, headers=[], body=b"")
@example(head="upgrade", status=404, headers=[], body=b"no")
@example(head="POST", status=204, headers=[], body=b"")
def test_both_framings_write_the_same_answer(
    head: str, status: int, headers: Headers, body: bytes
) -> None:
    data = HEADS[head]
    assert parse_head(data, MAX_HEAD_BYTES) is not None
    if status in (204, 304):
        body = b""  # they have none

    async def main() -> None:
        both = [
            await frame(data, plain=plain, status=status, headers=headers, body=body)
            for plain in (True, False)
        ]
        assert both[0] == both[1]
        assert both[0][1] == (head != "upgrade")

    trio.run(main)


@pytest.mark.parametrize("is_passed_on", [False, True])
@trio_test
async def test_a_body_that_was_at_hand_is_not_kept_when_it_was_answered(
    is_passed_on: bool,
) -> None:
    async with open_net() as net:
        http = net.http()
        assert http.receiver._plain.body == b""
        await http.peer.send(HEADS["POST"])
        assert http.receiver._plain.body == b"abc"
        (request,) = http.requests
        if is_passed_on:
            request.pass_on(b"HTTP/1.1 204 No Content\r\n\r\n", is_last=True)
        else:
            request.respond(204)
        assert http.receiver._plain.body == b""
        assert http.receiver._h11 is None


@trio_test
async def test_a_request_behind_a_body_that_was_asked_for_late_is_answered() -> None:
    """The body is at hand, and the next request came before the handler asked for it."""
    async with open_net() as net:
        waiting: list[Request] = []
        http = net.http(
            lambda request: waiting.append(request) if request.method == "POST" else answer(request)
        )
        await http.peer.send(HEADS["POST"])
        await http.peer.send(GET % b"next")
        (request,) = waiting
        request.read_body(10, lambda body: request.respond(200, [], body or b""))
        assert http.targets == ["/"]
        assert bodies(await http.peer.read()) == [b"abc", b"/next"]


@pytest.mark.req("HTTP-59", "HTTP-63")
@pytest.mark.parametrize("is_passed_on", [False, True])
@pytest.mark.parametrize(
    ("rest", "is_kept"),
    [
        (b"\r\n", True),
        (b"Content-Length: 0\r\n\r\n", True),
        (b"Content-Length: 3\r\n\r\n", False),
        (b"Content-Length: 3\r\n\r\nabc", False),
        (b"Transfer-Encoding: chunked\r\n\r\n", False),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (b"Connection: close\r\n\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", False),
    ],
)
@trio_test
async def test_the_connection_is_kept_unless_a_body_was_not_read(
    rest: bytes, is_kept: bool, is_passed_on: bool
) -> None:
    async with open_net() as net:
        http = net.http()
        for piece in (b"POST / HTTP/1.1\r\n", b"Host: x\r\n" + rest):
            await http.peer.send(piece)
        (request,) = http.requests
        if is_passed_on:
            request.pass_on(b"HTTP/1.1 200 OK\r\n\r\n", is_last=True)
        else:
            request.respond(200)
        received = await http.peer.read()
        assert http.peer.eof is not is_kept
        assert (b"Connection: close\r\n" in received) is not (is_kept or is_passed_on)
