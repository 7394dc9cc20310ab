"""What one node passes on to another arrives as it was, once, and from nodes alone."""

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.forwarding import (
    MAX_LINE_BYTES,
    PULSE,
    Answerer,
    Arrived,
    Dialer,
    Refused,
    State,
)

SECRET = b"s" * 32
OTHER = b"o" * 32
NONCES = b"d" * 16, b"a" * 16
HEAD = b"POST /socket.io/?sid=x HTTP/1.1\r\nhost:h\r\ncontent-length:2\r\n\r\n"
MAX_HEAD, MAX_BODY = 1000, 5000


def dialer(
    secret: bytes = SECRET, *, to: str = "b", process: str = "1-2", nonce: int = 0
) -> Dialer:
    return Dialer("a", to, process, secret, bytes([nonce]) * 16)


def answerer(*secrets: bytes, nonce: int = 1) -> Answerer:
    return Answerer("b", "1-2", secrets, bytes([nonce]) * 16, MAX_HEAD, MAX_BODY)


def opened(secret: bytes = SECRET, nonces: tuple[int, int] = (0, 1)) -> tuple[Dialer, Answerer]:
    """Two sides that have proven themselves."""
    one = dialer(secret, nonce=nonces[0])
    other = answerer(*([secret] if secret else []), nonce=nonces[1])
    (event,) = other.receive(one.hello)
    one.receive_welcome(event.answer.rstrip(b"\n"))
    return one, other


def request(one: Dialer, body: bytes = b"hi", address: str = "192.0.2.1") -> bytes:
    return one.encode_request(HEAD, body, address, secure=True)


def arrived(answering: Answerer, data: bytes) -> list[Arrived]:
    return [one.arrived for one in answering.receive(data) if one.arrived is not None]


def feed(answering: Answerer, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        assert arrived(answering, piece) == []


def refuse(answering: Answerer, *pieces: bytes) -> Refused:
    """The refusal of what is sent, of which nothing has arrived."""
    with pytest.raises(Refused) as caught:
        feed(answering, pieces)
    assert answering.state is State.ENDED
    assert answering.receive(b"more") == []  # and nothing of what follows
    return caught.value


@pytest.mark.req("FWD-02", "FWD-03", "FWD-31")
@given(
    st.lists(
        st.tuples(st.binary(max_size=200), st.sampled_from(("192.0.2.1", "::1%eth0", ""))),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from((SECRET, b"")),
    st.data(),
)
def test_requests_arrive_as_they_were(
    sent: list[tuple[bytes, str]], secret: bytes, data: st.DataObject
) -> None:
    one, other = dialer(secret), answerer(*([secret] if secret else []))
    with pytest.raises(LocalProtocolError):
        request(one)  # before the other side has proven itself
    for piece in cut(one.hello, data.draw):
        for event in other.receive(piece):
            one.receive_welcome(event.answer.rstrip(b"\n"))
    assert one.is_open
    for body, address in sent:
        got: list[Arrived] = []
        for piece in cut(request(one, body, address), data.draw):
            assert not got
            got += arrived(other, piece)
        assert got == [Arrived(HEAD + body, address, True)]
        other.rest()
        assert [event.answer for event in other.receive(one.encode_pulse())] == [PULSE]


def cut(whole: bytes, draw: Callable[[st.SearchStrategy[int]], int]) -> Iterable[bytes]:
    """The same bytes in pieces."""
    while whole:
        size = draw(st.integers(1, len(whole)))
        yield whole[:size]
        whole = whole[size:]


@pytest.mark.req("FWD-04")
def test_each_request_is_signed_by_a_key_of_its_connection_and_a_number() -> None:
    one, _ = opened()
    nonces = f"{bytes(16).hex()} {(bytes([1]) * 16).hex()}"
    key = hmac.digest(SECRET, b"key " + nonces.encode(), "sha256")
    for number in (1, 2, 3):
        signed = b"%d request 61 2 s 192.0.2.1\n%b" % (number, HEAD)
        mac = hmac.digest(key, signed, "sha256").hex().encode()
        assert request(one) == b"request " + mac + b" 61 2 s 192.0.2.1\n" + HEAD + b"hi"


@pytest.mark.req("FWD-04")
@given(st.integers(0), st.integers(1, 255))
def test_a_forged_request_reaches_nobody(place: int, change: int) -> None:
    """Whichever byte of a line or head is another one."""
    one, other = opened()
    sent = request(one)
    place %= len(sent) - 2  # the body is not covered
    forged = bytearray(sent)
    forged[place] ^= change
    # A line feed that is gone makes the line longer, and lengths may be larger, so more comes.
    refuse(other, bytes(forged), b"\n" * (MAX_HEAD + MAX_BODY))


@pytest.mark.req("FWD-04")
@pytest.mark.parametrize("nonces", [(0, 2), (3, 1), (3, 2)])
def test_what_was_said_on_one_connection_is_worthless_on_another(nonces: tuple[int, int]) -> None:
    one, other = opened()
    sent = request(one)
    assert arrived(other, sent)
    _, later = opened(nonces=nonces)
    assert refuse(later, sent).reason == "proof"


@pytest.mark.req("FWD-04")
def test_a_recorded_opening_opens_nothing() -> None:
    one, other = opened()
    sent = request(one)
    assert arrived(other, sent)
    later = answerer(SECRET, nonce=9)
    assert len(later.receive(one.hello)) == 1  # it is answered,
    assert refuse(later, sent).reason == "proof"  # but what was sent then has another key


@pytest.mark.req("FWD-04")
def test_lines_of_one_connection_cannot_be_repeated_or_exchanged() -> None:
    one, other = opened()
    first, second = request(one), request(one)
    assert refuse(opened()[1], second).reason == "proof"
    assert arrived(other, first)
    other.rest()
    assert refuse(other, first).reason == "proof"
    one, other = opened()
    pulse = one.encode_pulse()
    other.receive(pulse)
    assert refuse(other, pulse).reason == "proof"


@pytest.mark.req("FWD-04")
@given(st.integers(0))
def test_a_truncated_request_never_arrives(size: int) -> None:
    one, other = opened()
    sent = request(one)
    assert arrived(other, sent[: size % len(sent)]) == []


@pytest.mark.req("FWD-03")
@pytest.mark.parametrize("secrets", [(OTHER,), (OTHER, b"x" * 32)])
def test_a_node_without_the_secret_is_refused(secrets: tuple[bytes, ...]) -> None:
    assert refuse(answerer(*secrets), dialer().hello).reason == "proof"
    assert refuse(answerer(SECRET), dialer(b"").hello).reason == "proof"


@pytest.mark.req("FWD-44")
def test_any_of_the_secrets_is_accepted() -> None:
    for secrets in ((SECRET, OTHER), (OTHER, SECRET)):
        one, other = dialer(), answerer(*secrets)
        (event,) = other.receive(one.hello)
        one.receive_welcome(event.answer.rstrip(b"\n"))
        assert arrived(other, request(one))


@pytest.mark.req("FWD-03")
@given(st.binary(max_size=80))
def test_nothing_but_a_welcome_opens(line: bytes) -> None:
    one = dialer()
    with pytest.raises(Refused):
        one.receive_welcome(line)
    assert not one.is_open


@pytest.mark.req("FWD-08", "FWD-26")
def test_an_answer_can_be_asked_for_while_it_is_waited_for() -> None:
    one, other = opened()
    assert arrived(other, request(one))
    assert [event.releases for event in other.receive(one.encode_release())] == [True]
    other.rest()
    assert [event.releases for event in other.receive(one.encode_release())] == [False]
    assert arrived(other, request(one))
    release = one.encode_release()
    assert refuse(other, release.replace(b"release ", b"release 0")).reason == "malformed"
    one, other = opened()
    assert arrived(other, request(one))
    assert refuse(other, b"release " + b"0" * 64 + b"\n").reason == "proof"


@pytest.mark.req("FWD-03")
def test_who_answers_has_to_prove_itself_too() -> None:
    for line in (
        dialer(OTHER).hello,
        b"welcome 1 " + b"61" * 16 + b" " + b"0" * 64,
        b"welcome 1 " + b"61" * 16 + b" -",
        answerer(SECRET).receive(dialer(nonce=7).hello)[0].answer.rstrip(b"\n"),  # of another hello
    ):
        one = dialer()
        with pytest.raises(Refused):
            one.receive_welcome(line)
        with pytest.raises(LocalProtocolError):
            one.encode_pulse()


@pytest.mark.req("FWD-06")
def test_another_version_is_refused_with_both() -> None:
    hello = dialer().hello.replace(b"hello 1 ", b"hello 2 ")
    for line in (hello, b"hello 2 and what nobody knows yet\n", b"hello 2\n"):
        refused = refuse(answerer(SECRET), line)
        assert refused.reason == "version"
        assert refused.line == b"refused version this node speaks 1, not 2\n"
    one = dialer()
    with pytest.raises(Refused, match=r"this node speaks 1, not 2") as caught:
        one.receive_welcome(refused.line.rstrip(b"\n"))
    assert caught.value.reason == "version"
    with pytest.raises(Refused, match="this node speaks 1, not 3"):
        one.receive_welcome(b"welcome 3 " + b"61" * 16 + b" " + b"0" * 64)


@pytest.mark.req("FWD-07")
@pytest.mark.parametrize("meant", [{"to": "c"}, {"process": "1-1"}])
def test_a_hello_for_another_node_is_refused(meant: dict[str, Any]) -> None:
    refused = refuse(answerer(SECRET), dialer(**meant).hello)
    assert refused.reason == "node"
    with pytest.raises(Refused) as caught:
        dialer().receive_welcome(refused.line.rstrip(b"\n"))
    assert caught.value.reason == "node"


@pytest.mark.req("FWD-05")
@pytest.mark.parametrize("size", [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 1 << 16])
def test_an_endless_line_is_refused(size: int) -> None:
    assert refuse(answerer(SECRET), b"h" * size).reason == "malformed"
    assert refuse(opened()[1], *[b"r"] * size).reason == "malformed"


@pytest.mark.req("FWD-05")
def test_the_longest_hello_is_accepted() -> None:
    name = "n" * 128
    one = Dialer(name, name, "b" * 32, SECRET, NONCES[0])
    other = Answerer(name, "b" * 32, (SECRET,), NONCES[1], MAX_HEAD, MAX_BODY)
    assert len(other.receive(one.hello)) == 1


@pytest.mark.req("FWD-05")
@pytest.mark.parametrize(("head", "body"), [(MAX_HEAD + 1, 0), (1, MAX_BODY + 1)])
def test_a_request_that_is_too_large_is_refused_by_its_line(head: int, body: int) -> None:
    line = b"request %b %d %d c -\n" % (b"0" * 64, head, body)
    assert refuse(opened()[1], line).reason == "malformed"


@pytest.mark.req("FWD-05")
def test_a_body_is_not_held_before_its_head_is_proven() -> None:
    line = b"request %b %d %d c -\n" % (b"0" * 64, len(HEAD), MAX_BODY)
    assert refuse(opened()[1], line, HEAD).reason == "proof"


@pytest.mark.req("FWD-08")
def test_nothing_may_come_before_the_answer() -> None:
    one, other = opened()
    assert arrived(other, request(one))
    assert refuse(other, request(one)).reason == "malformed"
    one, other = opened()
    assert refuse(other, request(one) + b"x").reason == "malformed"  # not even the first arrives
    with pytest.raises(LocalProtocolError):
        opened()[1].rest()


@pytest.mark.req("FWD-05")
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
def test_garbage_is_refused_or_waits(pieces: list[bytes]) -> None:
    for other in (answerer(SECRET), opened()[1]):
        try:
            for piece in pieces:
                assert other.receive(piece) == []
        except Refused as refused:
            assert refused.line.endswith(b"\n")  # noqa: PT017 - it need not be raised
            assert re.match(rb"refused [a-z]+ ", refused.line)  # noqa: PT017 - likewise


@pytest.mark.req("FWD-31")
def test_an_address_that_cannot_be_written_is_left_out() -> None:
    one, other = opened()
    assert [got.address for got in arrived(other, request(one, address="a b"))] == [""]


@pytest.mark.req("FWD-53")
@given(st.binary(max_size=600))
def test_who_begins_with_tls_is_told_to_leave_it_out(rest: bytes) -> None:
    refused = refuse(answerer(SECRET), b"\x16" + rest)
    assert refused.reason == "tls"
    assert "it speaks TLS, and this node does not" in str(refused)


@pytest.mark.req("FWD-54")
@pytest.mark.parametrize(
    ("line", "reason", "told"),
    [
        (b"refused proof it has no secret", "proof", "it refuses: it has no secret"),
        (b"refused tls", "tls", "it refuses: tls"),
        (b"refused moon it is full", "malformed", "it refuses: it is full"),
    ],
)
def test_what_the_other_node_says_is_told(line: bytes, reason: str, told: str) -> None:
    with pytest.raises(Refused) as caught:
        dialer().receive_welcome(line)
    assert (caught.value.reason, str(caught.value)) == (reason, told)
