"""Rules of RFC 9110 and RFC 9112 for requests and answers, one by one."""

import pytest
import trio
from tests.net.harness import open_net

from trio_socketio.http.request import Request
from trio_socketio.protocol.connection import OPEN

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def take(request: Request) -> None:
    """Answers with the body, or with the path of a request that has none."""

    def echo(body: bytes | None) -> None:
        if body is not None:
            request.respond(200, [], body)

    if request.method == "POST":
        request.read_body(100, echo)
    else:
        request.respond(200, [], request.path.encode())


Outcome = tuple[bytes, bool, list[str]]


def exchanges(sent: bytes, status: int) -> list[Outcome]:
    """What is answered, whether the connection is closed then, and which paths were asked for.

    First of one piece, then of single bytes.
    """
    outcomes: list[Outcome] = []

    def answer(request: Request) -> None:
        if status == 200:
            take(request)
        else:
            request.respond(status, [(b"X-A", b"b")], b"a body" if status != 304 else b"")

    async def main() -> None:
        for step in (len(sent), 1):
            async with open_net() as net:
                http = net.http(answer)
                for at in range(0, len(sent), step):
                    if http.connection.life is OPEN:
                        http.receiver.receive_data(sent[at : at + step])
                await trio.testing.wait_all_tasks_blocked(0.003)
                outcomes.append((http.peer.read_nowait(), http.peer.eof, http.targets))
                assert net.poller.failures == 0

    trio.run(main)
    return outcomes


def exchange(sent: bytes, *, status: int = 200) -> Outcome:
    """What comes of it, in whatever pieces it arrives."""
    whole, torn = exchanges(sent, status)
    assert whole == torn
    return whole


def check_refused(sent: bytes, status: bytes = b"400 Bad Request") -> None:
    """It is answered so, the connection closes, and nothing after it is read."""
    for received, closed, targets in exchanges(sent + NEXT, 200):
        assert received.startswith(b"HTTP/1.1 %b\r\n" % status), received
        assert received.count(b"HTTP/1.1 ") == 1
        assert closed
        assert "/next" not in targets


# --- the head ------------------------------------------------------------------------------------


@pytest.mark.req("HTTP-50")
@pytest.mark.parametrize(
    "line",
    [b"GET /\r\n", b"GET\r\n", b"GET  / HTTP/1.1\r\n", b"GET / HTTP/1.1 \r\n", b"\x16\x03\r\n"],
)
def test_a_request_line_has_a_method_a_target_and_a_version(line: bytes) -> None:
    check_refused(line + b"Host: x\r\n\r\n")


@pytest.mark.req("HTTP-06")
def test_a_request_without_a_host_is_refused() -> None:
    check_refused(b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.req("HTTP-51")
@pytest.mark.parametrize("other", [b"x", b"y", b""])
def test_a_request_with_two_hosts_is_refused(other: bytes) -> None:
    check_refused(GET + b"Host: %b\r\n\r\n" % other)


@pytest.mark.req("HTTP-05")
@pytest.mark.parametrize("end", [b"\n\r\n", b"\r\n\n", b"\n\n"])
def test_lines_end_in_crlf(end: bytes) -> None:
    check_refused(b"GET / HTTP/1.1\r\nHost: x" + end)


@pytest.mark.req("HTTP-52")
@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_folded_header_is_refused(blank: bytes) -> None:
    check_refused(GET + b"X-A: b\r\n%bfolded\r\n\r\n" % blank)


# --- how long a body is --------------------------------------------------------------------------


@pytest.mark.req("HTTP-10")
@pytest.mark.parametrize("chunked_first", [True, False])
def test_a_coding_beside_a_length_is_refused(chunked_first: bool) -> None:
    both = [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"]
    lines = b"".join(both if chunked_first else both[::-1])
    check_refused(POST + lines + b"\r\n0\r\n\r\n")


@pytest.mark.req("HTTP-53")
def test_a_coding_in_http_1_0_is_refused() -> None:
    check_refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.req("HTTP-54")
@pytest.mark.parametrize(
    "lines", [b"Content-Length: 3\r\nContent-Length: 5\r\n", b"Content-Length: 3, 5\r\n"]
)
def test_lengths_that_differ_are_refused(lines: bytes) -> None:
    check_refused(POST + lines + b"\r\nabc")


@pytest.mark.req("HTTP-55")
def test_a_body_ends_after_its_length() -> None:
    received, _, targets = exchange(POST + b"Content-Length: 3\r\n\r\nabc" + NEXT)
    assert targets == ["/", "/next"]
    assert received.count(b"\r\n\r\nabc") == 1


@pytest.mark.req("HTTP-56")
def test_a_request_without_a_length_has_no_body() -> None:
    received, _, targets = exchange(POST + b"\r\n" + NEXT)
    assert targets == ["/", "/next"]
    assert b"Content-Length: 0\r\n" in received


@pytest.mark.req("HTTP-57")
@pytest.mark.parametrize("size", [b"z", b"+1", b"-1", b"0x1", b"", b" 1", b"1_0"])
def test_a_chunk_size_is_hexadecimal(size: bytes) -> None:
    check_refused(CHUNKED + size + b"\r\nz\r\n0\r\n\r\n")


@pytest.mark.req("HTTP-58")
@pytest.mark.parametrize("end", [b"", b"\n", b"zz", b"\r\r\n"])
def test_a_chunk_ends_in_crlf(end: bytes) -> None:
    check_refused(CHUNKED + b"1\r\nz" + end + b"0\r\n\r\n")


# --- the connection ------------------------------------------------------------------------------


@pytest.mark.req("HTTP-59")
@pytest.mark.parametrize("header", [b"", b"Connection: keep-alive\r\n", b"Connection: x\r\n"])
def test_a_connection_of_http_1_1_is_kept(header: bytes) -> None:
    received, closed, targets = exchange(GET + header + b"\r\n" + NEXT)
    assert targets == ["/", "/next"]
    assert not closed
    assert b"connection: close" not in received.lower()


@pytest.mark.req("HTTP-16")
@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close", b"x,close"])
def test_a_connection_that_is_to_close_closes(value: bytes) -> None:
    received, closed, targets = exchange(GET + b"Connection: %b\r\n\r\n" % value + NEXT)
    assert targets == ["/"]
    assert closed
    assert b"connection: close\r\n" in received.lower()


@pytest.mark.req("HTTP-60")
def test_a_connection_of_http_1_0_closes() -> None:
    received, closed, targets = exchange(b"GET / HTTP/1.0\r\n\r\n" + NEXT)
    assert targets == ["/"]
    assert closed
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.req("HTTP-61")
def test_the_answer_to_head_has_the_length_of_the_body() -> None:
    received, closed, _ = exchange(b"HEAD /abc HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Content-Length: 4\r\n" in received
    assert not closed


@pytest.mark.req("HTTP-62")
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_304_has_no_body_and_no_length(method: bytes) -> None:
    received, closed, _ = exchange(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n", status=304)
    assert received == b"HTTP/1.1 304 Not Modified\r\nX-A: b\r\n\r\n"
    assert not closed


@pytest.mark.req("HTTP-63")
def test_a_body_that_is_not_wanted_is_not_called_for() -> None:
    head = POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    received, closed, _ = exchange(head, status=403)
    assert received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert closed


@pytest.mark.req("HTTP-64")
def test_http_1_0_is_sent_no_100() -> None:
    head = b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
    received, _, _ = exchange(head)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.req("HTTP-18")
@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue"])
def test_a_body_that_is_wanted_is_called_for(value: bytes) -> None:
    head = POST + b"Content-Length: 3\r\nExpect: %b\r\n\r\n" % value

    async def main() -> None:
        async with open_net() as net:
            http = net.http(take)
            await http.peer.send(head)
            assert http.peer.read_nowait() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await http.peer.send(b"abc")
            assert http.peer.read_nowait().endswith(b"\r\n\r\nabc")

    trio.run(main)
