"""The framing of chunked bodies: what is refused, how early, and that any pieces mean the same."""

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.http.test_http_bodies import CHUNKED, NEXT, Taker
from tests.net.harness import open_net
from trio.testing import trio_test

from trio_socketio.http.chunks import MAX_SPARE_BYTES, ChunkFraming
from trio_socketio.protocol.connection import OPEN

HEX = "0123456789abcdefABCDEF"
extensions = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(
    lambda text: f";{text}".encode()
)
chunks = st.tuples(st.binary(min_size=1, max_size=30), st.just(b"") | extensions)
trailers = st.lists(st.sampled_from([b"A: b\r\n", b"Expires: never\r\n"]), max_size=3)
pieces = st.lists(st.integers(1, 12), min_size=1, max_size=50)


def write_body(parts: list[tuple[bytes, bytes]], trailer: list[bytes]) -> bytes:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(data), extra, data) for data, extra in parts)
    return body + b"0\r\n" + b"".join(trailer) + b"\r\n"


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    found, at = [], 0
    for size in sizes:
        found.append(data[at : at + size])
        at += size
    return [piece for piece in [*found, data[at:]] if piece]


@pytest.mark.req("HTTP-20")
@given(st.lists(chunks, max_size=6), trailers, pieces, st.binary(max_size=9))
def test_the_end_is_found_in_any_pieces(
    parts: list[tuple[bytes, bytes]], trailer: list[bytes], sizes: list[int], behind: bytes
) -> None:
    body = write_body(parts, trailer)
    framing = ChunkFraming()
    seen = 0
    for piece in cut(body, sizes):
        assert not framing.ended
        framing.receive(piece)
        seen += len(piece)
    assert framing.ended
    assert seen == len(body)
    framing.receive(behind)
    whole = ChunkFraming()
    whole.receive(body + behind)
    assert whole.ended


@given(st.binary(max_size=60) | st.text(HEX + "\r\n; x", max_size=60).map(str.encode), pieces)
def test_nothing_undocumented_is_raised_and_pieces_do_not_matter(
    data: bytes, sizes: list[int]
) -> None:
    def outcome(parts: list[bytes]) -> object:
        framing = ChunkFraming()
        try:
            for part in parts:
                framing.receive(part)
        except h11.RemoteProtocolError as error:
            return error.error_status_hint
        return framing.ended

    assert outcome([data] if data else []) == outcome(cut(data, sizes))


@given(st.lists(chunks, max_size=4), trailers, pieces)
def test_h11_reads_what_is_let_through(
    parts: list[tuple[bytes, bytes]], trailer: list[bytes], sizes: list[int]
) -> None:
    taker: list[bytes] = []

    async def main() -> None:
        async with open_net() as net:
            end = net.http(
                lambda request: request.read_body(1000, lambda body: taker.append(body or b""))
            )
            for piece in cut(CHUNKED + write_body(parts, trailer), sizes):
                end.receiver.receive_data(piece)

    trio.run(main)
    assert taker == [b"".join(data for data, _ in parts)]


async def answer_to(body: bytes) -> bytes:
    """What a body is answered as far as it has come; without an answer it is waited for."""
    async with open_net() as net:
        taker = Taker(net)
        for at in range(0, len(body), 8192):
            await taker.end.peer.send((CHUNKED if at == 0 else b"") + body[at : at + 8192])
            if taker.end.connection.life is not OPEN:
                break
        return taker.end.peer.read_nowait()


@pytest.mark.req("HTTP-21")
@pytest.mark.parametrize("digits", ["1" * 17, "0" * 17, "f" * 40, "0" * 5000])
@pytest.mark.parametrize("end", ["", "\r\n"])
@trio_test
async def test_too_long_a_size_is_refused_before_its_line_ends(digits: str, end: str) -> None:
    received = await answer_to((digits + end).encode())
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.req("HTTP-21")
@trio_test
async def test_sixteen_digits_are_a_size() -> None:
    assert await answer_to(b"0" * 15 + b"3") == b""
    received = await answer_to(b"0" * 15 + b"3\r\nabc\r\n0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n3")
    received = await answer_to(b"f" * 16 + b"\r\n" + b"z" * 2000)
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.req("HTTP-22")
@pytest.mark.parametrize("size", [1, 100, 12_000])
@trio_test
async def test_extensions_are_bounded_over_the_whole_body(size: int) -> None:
    chunk = b"1;" + b"x" * size + b"\r\nz\r\n"
    count = (MAX_SPARE_BYTES + 12_000) // size + 2
    small = size < 10
    received = await answer_to(chunk * min(count, 900) + b"0\r\n\r\n")
    if small:  # no longer than a size may be
        assert received.startswith(b"HTTP/1.1 200 ")
    else:
        assert received.startswith(b"HTTP/1.1 400 ")


SPARE = 16 * 1024  # bytes of extensions and trailers
LONGEST_SIZE = 18  # a line with sixteen digits


def size_line(length: int) -> bytes:
    return b"1;" + b"x" * (length - 4) + b"\r\n"


@pytest.mark.req("HTTP-22")
@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("torn", [False, True])
def test_extensions_are_counted_to_the_byte(lines: int, torn: bool) -> None:
    share = SPARE // lines
    exact = [LONGEST_SIZE + share] * (lines - 1) + [LONGEST_SIZE + SPARE - share * (lines - 1)]
    for more in (0, 1):
        framing = ChunkFraming()
        for length in exact[:-1]:
            framing.receive(size_line(length) + b"z\r\n")
        last = size_line(exact[-1] + more)
        if torn:
            last = last[:-1]  # it is refused before it ends
        if more:
            with pytest.raises(h11.RemoteProtocolError, match="extensions"):
                framing.receive(last + (b"x" if torn else b""))
        else:
            framing.receive(last)


@pytest.mark.req("HTTP-22", "HTTP-23")
def test_lines_no_longer_than_a_size_cost_nothing() -> None:
    framing = ChunkFraming()
    framing.receive((size_line(LONGEST_SIZE) + b"z\r\n") * 2000)
    framing.receive(size_line(LONGEST_SIZE + 1) + b"z\r\n")  # this costs one byte
    with pytest.raises(h11.RemoteProtocolError, match="extensions"):
        framing.receive(size_line(LONGEST_SIZE + SPARE))


@pytest.mark.req("HTTP-23")
@pytest.mark.parametrize("more", [0, 1])
def test_trailers_are_counted_to_the_byte(more: int) -> None:
    framing = ChunkFraming()
    framing.receive(b"0\r\n" + b"X: y\r\n" * 100)
    rest = SPARE - 600 - len(b"Y: \r\n\r\n") + more
    trailer = b"Y: " + b"z" * rest + b"\r\n\r\n"
    if more:
        with pytest.raises(h11.RemoteProtocolError, match="trailers") as caught:
            framing.receive(trailer)
        assert caught.value.error_status_hint == 431
        assert not framing.ended
    else:
        framing.receive(trailer)
        assert framing.ended


@pytest.mark.req("HTTP-22")
@trio_test
async def test_an_extension_without_end_is_refused() -> None:
    received = await answer_to(b"1;" + b"x" * (MAX_SPARE_BYTES * 4))
    assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.req("HTTP-23")
@pytest.mark.parametrize(
    "trailers", [b"X: " + b"y" * MAX_SPARE_BYTES * 4, b"X: y\r\n" * (MAX_SPARE_BYTES // 3)]
)
@trio_test
async def test_trailers_without_end_are_refused(trailers: bytes) -> None:
    received = await answer_to(b"1\r\nz\r\n0\r\n" + trailers)
    assert received.startswith(b"HTTP/1.1 431 ")


@pytest.mark.req("HTTP-22", "HTTP-23", "HTTP-05")
@pytest.mark.parametrize(
    "body",
    [
        b"1;a\x01\r\nz\r\n0\r\n\r\n",
        b"1;a\rb\r\nz\r\n0\r\n\r\n",
        b"1;a\nz\r\n0\r\n\r\n",
        b"1\r\nz\r\n0\r\n\n",
        b"1\r\nz\r\n0\r\nX: y\n\r\n",
        b"1\r\nz\r\n0\r\nX: y\x00\r\n\r\n",
        b"1\r\nz\r\n0\n\n",
    ],
)
@pytest.mark.parametrize("torn", [False, True])
@trio_test
async def test_lines_that_others_read_differently_are_refused(body: bytes, torn: bool) -> None:
    async with open_net() as net:
        taker = Taker(net)
        if torn:
            for at in range(len(CHUNKED + body)):
                taker.end.receiver.receive_data((CHUNKED + body)[at : at + 1])
                if taker.end.connection.life is not OPEN:
                    break
            await taker.end.peer.send(NEXT)
        else:
            await taker.end.peer.send(CHUNKED + body + NEXT)
        received = taker.end.peer.read_nowait()
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.count(b"HTTP/1.1 ") == 1
        assert len(taker.end.requests) <= 1
