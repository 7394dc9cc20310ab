"""Where an answer ends is found out whatever the pieces, and nothing else is let through."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.forwarded_answer import MAX_HEAD_BYTES, ForwardedAnswer


def feed(follows: ForwardedAnswer, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        follows.receive(piece)


def answer(body: bytes = b"ok", more: bytes = b"", status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Phrase\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        len(body),
        more,
        body,
    )


@pytest.mark.req("FWD-12")
@given(st.binary(max_size=100), st.data())
def test_an_answer_is_passed_on_as_it_is(body: bytes, data: st.DataObject) -> None:
    whole = left = answer(body)
    follows, passed = ForwardedAnswer(), b""
    while left:
        assert not follows.is_over
        size = data.draw(st.integers(1, len(left)))
        passed += follows.receive(left[:size])
        left = left[size:]
    assert passed == whole
    assert follows.is_over
    assert follows.status == 200


def test_what_follows_101_is_no_answer() -> None:
    follows = ForwardedAnswer()
    switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    assert follows.receive(switched) == switched
    assert follows.switches
    assert follows.receive(b"frames") == b"frames"
    assert not follows.is_over


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_need_no_length(status: int) -> None:
    follows = ForwardedAnswer()
    follows.receive(b"HTTP/1.1 %d Phrase\r\nVary: Origin\r\n\r\n" % status)
    assert follows.is_over


@pytest.mark.parametrize("name", [b"Connection", b"connection"])
def test_it_is_told_that_the_connection_ends(name: bytes) -> None:
    follows = ForwardedAnswer()
    follows.receive(answer(more=name + b": close\r\n"))
    assert follows.closes
    follows = ForwardedAnswer()
    follows.receive(answer(b"Connection: close\r\n"))
    assert not follows.closes


@pytest.mark.req("FWD-08")
@pytest.mark.parametrize(
    "pieces",
    [
        [answer() + b"x"],
        [answer()[:-1], b"kx"],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
        [b"pulse\n\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n"],
        [answer(more=b"Content-Length: 3\r\n")],
        [answer(status=100)],
        [b"HTTP/1.1 101 S\r\nContent-Length: 1\r\n\r\nx"],
    ],
)
def test_nothing_else_is_an_answer(pieces: list[bytes]) -> None:
    follows = ForwardedAnswer()
    with pytest.raises(RemoteProtocolError):
        feed(follows, pieces)


@pytest.mark.req("FWD-05")
def test_a_head_is_bounded() -> None:
    follows = ForwardedAnswer()
    with pytest.raises(RemoteProtocolError):
        feed(follows, [b"HTTP/1.1 200 OK\r\n" + b"x" * 1000] * (MAX_HEAD_BYTES // 1000 + 1))
