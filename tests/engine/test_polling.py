"""Long-polling: what a GET and a POST are answered, and what ends the session."""

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.harness import (
    Engine,
    assert_refused,
    in_trio,
    on_mock_clock,
    open_engine,
    settle,
    split,
)
from tests.properties import examples
from tests.wire import PollingEngine
from trio.testing import MockClock

from trio_socketio import Session
from trio_socketio.engine.reader import ReaderV4


async def start_post(
    engine: Engine, polling: PollingEngine, part: bytes, size: int
) -> trio.SocketStream:
    """Begin a POST of size bytes with a part of its body."""
    stream = await engine.connect()
    head = f"POST {polling.target} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    await stream.send_all(head.encode() + part)
    await settle()
    return stream


@asynccontextmanager
async def polling_session(
    *, echo: bool = False, **options: Any
) -> AsyncIterator[tuple[Engine, PollingEngine]]:
    async with open_engine(echo=echo, **options) as engine:
        yield engine, await engine.polling()


async def assert_ended(engine: Engine, polling: PollingEngine, reason: str) -> None:
    """The listener was told once, and the sid names nothing any more."""
    await settle()
    assert engine.listener.reasons == [reason]
    assert_refused(await engine.request("GET", polling.target), 1)
    assert_refused(await engine.request("POST", polling.target, body=b"4late"), 1)
    assert engine.engine.sessions == {}


# --- GET


@pytest.mark.req("EIO4-15")
@in_trio
async def test_an_answer_with_packets_has_its_headers() -> None:
    async with polling_session() as (engine, polling):
        engine.session.send_text("grüße €".encode())
        response = await polling.poll()
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.headers["content-length"] == str(len("4grüße €".encode()))
        assert response.headers["cache-control"] == "no-store"
        assert response.text == "4grüße €"


@pytest.mark.req("EIO4-21", "EIO4-22")
@on_mock_clock
async def test_a_get_waits_for_a_packet(clock: MockClock) -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        clock.jump(24)
        await settle()
        assert engine.session.is_writable
        engine.session.send_text(b"now")
        assert split(await waiting.receive()) == ["4now"]
        assert not engine.session.is_writable


@pytest.mark.req("EIO4-22")
@in_trio
async def test_a_waiting_get_takes_all_that_was_sent_together() -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        for number in range(5):
            engine.session.send_text(b"%d" % number)
        assert split(await waiting.receive()) == ["40", "41", "42", "43", "44"]


@pytest.mark.req("EIO4-22")
@in_trio
async def test_packets_sent_before_the_get_answer_it_in_order() -> None:
    async with polling_session() as (engine, polling):
        for number in range(3):
            engine.session.send_text(b"%d" % number)
            engine.session.send_binary(b"%d" % number)
            await settle()
        assert split(await polling.poll()) == ["40", "bMA==", "41", "bMQ==", "42", "bMg=="]
        engine.session.send_text(b"3")
        assert split(await polling.poll()) == ["43"]


@pytest.mark.req("EIO4-20", "EIO4-111", "EIO4-112")
@in_trio
async def test_a_second_get_ends_the_session() -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        assert_refused(await engine.request("GET", polling.target), 3)
        assert split(await waiting.receive()) == ["1"]
        await assert_ended(engine, polling, "transport error")


@pytest.mark.req("EIO4-24")
@pytest.mark.parametrize("half", [False, True])
@in_trio
async def test_a_client_that_drops_its_get_is_gone(half: bool) -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        assert isinstance(waiting.stream, trio.SocketStream)
        await (waiting.stream.send_eof() if half else waiting.aclose())
        await assert_ended(engine, polling, "transport error")


@pytest.mark.req("EIO4-114")
@in_trio
async def test_a_client_that_drops_its_connection_between_polls_is_not_gone() -> None:
    async with polling_session() as (engine, polling):
        await polling.send("4a")
        await polling.aclose()
        await settle()
        engine.session.send_text(b"b")
        assert split(await polling.poll()) == ["4b"]


# --- POST


@pytest.mark.req("EIO4-18")
@in_trio
async def test_a_post_is_answered_ok() -> None:
    async with polling_session() as (engine, polling):
        response = await polling.post("4a")
        assert (response.status, response.body) == (200, b"ok")
        assert response.headers["content-type"] == "text/html"
        assert response.headers["content-length"] == "2"
        assert response.headers["cache-control"] == "no-store"
        assert engine.listener.received == ["a"]


@in_trio
async def test_packets_that_take_long_are_spread_over_turns() -> None:
    async with polling_session() as (engine, polling):
        turns: list[float] = []

        def take_long(_: str | bytes) -> None:
            turns.append(engine.engine.poller.turn_ends)
            use_up_turn(engine)

        engine.listener.on_message = take_long
        response = await polling.post("\x1e".join(f"4{n}" for n in range(20)))
        assert response.text == "ok"
        assert engine.listener.received == [str(n) for n in range(20)]
        assert len(set(turns)) == 20
        assert (await polling.post("4next")).text == "ok"


@in_trio
async def test_a_session_that_ends_while_packets_wait_for_their_turn_refuses_them() -> None:
    async with polling_session() as (engine, polling):

        def take_long(message: str | bytes) -> None:
            use_up_turn(engine)
            if message == "5":
                engine.engine.poller.defer(lambda: engine.session.lose("transport error"))

        engine.listener.on_message = take_long
        response = await polling.post("\x1e".join(f"4{n}" for n in range(20)))
        assert_refused(response, 3)
        assert engine.listener.received == [str(n) for n in range(6)]


def use_up_turn(engine: Engine) -> None:
    while time.perf_counter() <= engine.engine.poller.turn_ends:
        pass


@pytest.mark.req("EIO4-16")
@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "x", ""],
)
@in_trio
async def test_a_post_of_any_other_type_is_text(content_type: str | None) -> None:
    async with polling_session() as (engine, polling):
        headers = [] if content_type is None else [("Content-Type", content_type)]
        body = "4€\x1ebAAEC".encode()
        response = await engine.request("POST", polling.target, headers, body)
        assert response.text == "ok"
        assert engine.listener.received == ["€", b"\0\1\2"]


@pytest.mark.req("EIO4-14")
@in_trio
async def test_a_binary_post_ends_the_session() -> None:
    async with polling_session() as (engine, polling):
        headers = [("Content-Type", "application/octet-stream")]
        response = await engine.request("POST", polling.target, headers, b"4a")
        assert_refused(response, 3)
        assert engine.listener.received == []
        await assert_ended(engine, polling, "transport error")


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """Everything up to the server's end of the stream."""
    answer = b""
    while part := bytes(await stream.receive_some()):
        answer += part
    return answer


REFUSED = b'{"code":3,"message":"Bad request"}'


@pytest.mark.req("EIO4-19", "EIO4-81", "EIO4-110")
@in_trio
async def test_a_second_post_ends_the_session_and_the_first_is_answered_at_once() -> None:
    async with polling_session(cors_origins="*") as (engine, polling):
        waiting = await engine.start_get(polling)
        first = await start_post(engine, polling, b"4hel", 6)
        assert_refused(await engine.request("POST", polling.target, body=b"4b"), 3)
        answer = await read_to_end(first)  # although two bytes of it never come
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in answer
        assert answer.endswith(b"\r\n\r\n" + REFUSED)
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.received == []
        await assert_ended(engine, polling, "transport error")


@pytest.mark.req("EIO4-19", "EIO4-81", "EIO4-110")
@pytest.mark.parametrize("chunked", [False, True])
@in_trio
async def test_the_second_post_may_be_half_sent_as_well(chunked: bool) -> None:
    async with polling_session() as (engine, polling):
        first = await start_post(engine, polling, b"", 6)
        second = await engine.connect()
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 6"
        head = f"POST {polling.target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
        await second.send_all(head.encode())
        for stream in (second, first):
            answer = await read_to_end(stream)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.endswith(REFUSED)
        await assert_ended(engine, polling, "transport error")


@pytest.mark.req("EIO4-81")
@pytest.mark.parametrize("how", ["close packet", "lost", "closed"])
@in_trio
async def test_a_half_sent_post_is_answered_when_the_session_ends(how: str) -> None:
    async with polling_session() as (engine, polling):
        post = await start_post(engine, polling, b"4hel", 6)
        if how == "closed":
            engine.session.close()
            assert split(await polling.poll()) == ["1"]
        elif how == "lost":
            engine.session.lose("ping timeout")
        else:
            ReaderV4(engine.session).receive_text(b"1")
        assert (await read_to_end(post)).endswith(REFUSED)
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-19", "EIO4-20")
@in_trio
async def test_a_get_and_a_post_do_not_overlap() -> None:
    async with polling_session(echo=True) as (engine, polling):
        waiting = await engine.start_get(polling)
        first = await start_post(engine, polling, b"4hel", 6)
        await first.send_all(b"lo")
        assert split(await waiting.receive()) == ["4hello"]
        assert b"\r\n\r\nok" in await first.receive_some()
        await polling.send("4again")
        assert split(await polling.poll()) == ["4again"]


@pytest.mark.req("EIO4-113")
@pytest.mark.parametrize("half", [False, True])
@in_trio
async def test_a_client_that_drops_its_post_is_gone(half: bool) -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        stream = await start_post(engine, polling, b"4hel", 6)
        await (stream.send_eof() if half else stream.aclose())
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.received == []
        await assert_ended(engine, polling, "transport error")


@pytest.mark.req("EIO4-43", "EIO4-42")
@pytest.mark.parametrize(
    "body", [b"", b"7", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"4\xff", b"bA"]
)
@in_trio
async def test_a_post_that_cannot_be_read_ends_the_session(body: bytes) -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        assert_refused(await engine.request("POST", polling.target, body=body), 3)
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.received == []
        await assert_ended(engine, polling, "parse error")


@pytest.mark.req("EIO4-54")
@in_trio
async def test_a_close_packet_ends_the_session_in_order() -> None:
    async with polling_session() as (engine, polling):
        waiting = await engine.start_get(polling)
        response = await polling.post("4first\x1e1\x1e4late\x1ebAAEC\x1e1\x1e2")
        assert (response.status, response.text) == (200, "ok")
        assert split(await waiting.receive()) == ["6"]
        assert engine.listener.received == ["first"]
        await assert_ended(engine, polling, "transport close")


@pytest.mark.req("EIO4-54")
@in_trio
async def test_packets_after_the_listener_closed_are_ignored() -> None:
    async with polling_session() as (engine, polling):
        engine.listener.on_message = lambda _: engine.session.close()
        waiting = await engine.start_get(polling)
        assert (await polling.post("4first\x1e4late\x1ebAAEC")).text == "ok"
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.received == ["first"]
        await assert_ended(engine, polling, "forced close")


# --- the largest body


@pytest.mark.req("EIO4-23")
@in_trio
async def test_a_body_of_the_announced_size_is_taken() -> None:
    async with polling_session(max_http_buffer_size_bytes=1000) as (engine, polling):
        assert polling.handshake["maxPayload"] == 1000
        assert (await polling.post("4" + "a" * 999)).text == "ok"
        assert engine.listener.received == ["a" * 999]


@pytest.mark.req("EIO4-23")
@pytest.mark.parametrize("chunked", [False, True])
@in_trio
async def test_a_larger_body_is_answered_413_and_the_session_goes_on(chunked: bool) -> None:
    async with polling_session(max_http_buffer_size_bytes=1000) as (engine, polling):
        body = b"4small\x1e4" + b"a" * 993
        assert len(body) == 1001
        stream = await engine.connect()
        head = f"POST {polling.target} HTTP/1.1\r\nHost: a\r\n"
        if chunked:
            head += "Transfer-Encoding: chunked\r\n\r\n"
            for part in (body[:500], body[500:]):
                head += f"{len(part):x}\r\n{part.decode()}\r\n"
            head += "0\r\n\r\n"
        else:
            head += f"Content-Length: 1001\r\n\r\n{body.decode()}"
        await stream.send_all(head.encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 413 ")
        assert engine.listener.received == []
        assert (await polling.post("4less")).text == "ok"
        assert engine.listener.received == ["less"]


@pytest.mark.req("EIO4-23")
@in_trio
async def test_a_declared_length_is_refused_before_the_body_comes() -> None:
    async with polling_session(max_http_buffer_size_bytes=1000) as (engine, polling):
        stream = await start_post(engine, polling, b"", 10**15)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 413 ")


# --- contents


messages = st.lists(st.text(max_size=40) | st.binary(max_size=40), min_size=1, max_size=8)


def as_packet(message: str | bytes) -> str:
    return "4" + message if isinstance(message, str) else "b" + b64encode(message).decode()


@pytest.mark.req("EIO4-39")
@settings(max_examples=examples(25), deadline=None)
@given(st.lists(messages.filter(lambda sent: "\x1e" not in "".join(map(str, sent))), max_size=3))
def test_any_messages_come_back_unchanged_and_in_order(bodies: list[list[str | bytes]]) -> None:
    @in_trio
    async def echo() -> None:
        async with polling_session(echo=True) as (engine, polling):
            for body in bodies:
                await polling.send("\x1e".join(map(as_packet, body)))
            sent = [message for body in bodies for message in body]
            assert engine.listener.received == sent
            if sent:
                assert split(await polling.poll()) == [as_packet(message) for message in sent]

    echo()


@pytest.mark.req("EIO4-18", "EIO4-81")
@pytest.mark.parametrize("end", [Session.lose, Session.close])
@in_trio
async def test_a_post_whose_listener_pauses_and_then_ends_the_session_is_answered(
    end: Callable[[Session, str], None],
) -> None:
    async with polling_session() as (engine, polling):
        session = engine.session

        def give_up(_: str | bytes) -> None:
            session.pause_reading()
            end(session, "forced close")

        engine.listener.on_message = give_up
        post = await start_post(engine, polling, b"4one\x1e4two", 9)
        assert b"\r\n\r\nok" in await post.receive_some()
        assert engine.listener.received == ["one"]
        session.resume_reading()
        assert engine.listener.reasons == ["forced close"]
