"""Pings at their times, pongs late or unasked, and who is dead from when on."""

import os
import time
from select import select
from typing import Any, Final

import pytest
import trio
from tests.engine.harness import (
    Engine,
    assert_refused,
    closing_code,
    in_trio,
    on_mock_clock,
    open_engine,
    send_unseen,
    settle,
    split,
)
from tests.wire import PollingEngine, WebSocketClient
from trio.testing import MockClock

INTERVAL_S = 10.0
TIMEOUT_S = 4.0
SWEEP_S = 0.06  # deadlines that lie closer are met together
EARLY_S = 0.01


def options() -> dict[str, Any]:
    return {"ping_interval_s": INTERVAL_S, "ping_timeout_s": TIMEOUT_S}


async def packet_there(websocket: WebSocketClient) -> bool:
    """Whether something can be read now."""
    await settle()
    assert isinstance(websocket.stream, trio.SocketStream)
    return bool(select([websocket.stream.socket.fileno()], [], [], 0)[0])


async def pass_time(clock: MockClock, seconds: float) -> None:
    clock.jump(seconds)
    await settle()


# --- pings


@pytest.mark.req("EIO4-35", "EIO4-115")
@on_mock_clock
async def test_a_ping_comes_an_interval_after_the_handshake_and_after_each_pong(
    clock: MockClock,
) -> None:
    async with open_engine(**options()) as engine:
        websocket = (await engine.websocket()).websocket
        for delay in (0.0, 1.0, 3.5):
            await pass_time(clock, INTERVAL_S - EARLY_S)
            assert not await packet_there(websocket)
            await pass_time(clock, EARLY_S + SWEEP_S)
            assert await websocket.receive() == "2"
            await pass_time(clock, delay)
            await websocket.send("3")
            await settle()
        assert engine.session.is_open
        assert engine.listener.received == []


@pytest.mark.req("EIO4-35")
@on_mock_clock
async def test_a_ping_answers_a_waiting_get_or_the_next_one(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        assert split(await waiting.receive()) == ["2"]
        await polling.send("3")
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        assert split(await polling.poll()) == ["2"]


@pytest.mark.req("EIO4-116")
@on_mock_clock
async def test_an_upgrade_does_not_move_the_ping(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        await pass_time(clock, 6)
        websocket = await engine.upgrade(polling)
        await pass_time(clock, 3)
        assert not await packet_there(websocket)
        await pass_time(clock, 1 + SWEEP_S)
        assert await websocket.receive() == "2"


@pytest.mark.req("EIO4-17")
@on_mock_clock
async def test_a_ping_asked_by_polling_may_be_answered_by_websocket(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        assert split(await polling.poll()) == ["2"]
        websocket = await engine.upgrade(polling)
        await websocket.send("3")
        await pass_time(clock, TIMEOUT_S + 1)
        assert engine.session.is_open


# --- the deadline


async def ping(clock: MockClock, engine: Engine) -> None:
    """Let the ping be sent; 4 s less the sweep are left for the pong."""
    await pass_time(clock, INTERVAL_S + SWEEP_S)
    assert engine.session.is_open


@pytest.mark.req("EIO4-17")
@on_mock_clock
async def test_a_pong_just_in_time_keeps_the_session(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        websocket = await engine.websocket()
        await ping(clock, engine)
        await pass_time(clock, TIMEOUT_S - SWEEP_S - EARLY_S)
        await websocket.send("3")
        await pass_time(clock, INTERVAL_S - EARLY_S)
        assert engine.session.is_open


@pytest.mark.req("EIO4-17", "EIO4-118")
@on_mock_clock
async def test_without_a_pong_the_websocket_is_closed(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        websocket = await engine.websocket()
        await ping(clock, engine)
        await pass_time(clock, TIMEOUT_S - SWEEP_S - EARLY_S)
        assert engine.session.is_open
        await pass_time(clock, EARLY_S + SWEEP_S)
        assert engine.listener.reasons == ["ping timeout"]
        assert await websocket.receive() == "2"
        assert await closing_code(websocket.websocket) == 1000
        await websocket.websocket.stream.send_all(b"\x81\x81\0\0\0\0" + b"3")  # too late
        await settle()
        assert engine.listener.reasons == ["ping timeout"]
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-17", "EIO4-37", "EIO4-117")
@on_mock_clock
async def test_without_a_pong_a_waiting_get_is_closed(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        await ping(clock, engine)
        assert split(await polling.poll()) == ["2"]
        waiting = await engine.start_get(polling)
        await pass_time(clock, TIMEOUT_S)
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.reasons == ["ping timeout"]
        assert_refused(await polling.post("3"), 1)
        assert_refused(await polling.poll(), 1)


def write_unseen(stream: trio.abc.Stream | None, data: bytes) -> None:
    """Put bytes into the kernel without giving the server a turn."""
    assert isinstance(stream, trio.SocketStream)
    assert os.write(stream.socket.fileno(), data) == len(data)


def post_of(polling: PollingEngine, body: bytes) -> bytes:
    head = f"POST {polling.target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.req("EIO4-83")
@on_mock_clock
async def test_a_post_that_comes_before_the_judgement_brings_its_pong(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        engine.engine.deadlines.forget(engine.session._liveness)  # the sweep never comes
        await pass_time(clock, INTERVAL_S + TIMEOUT_S + EARLY_S)
        await polling.send("3")
        engine.session.reschedule()
        await pass_time(clock, INTERVAL_S - EARLY_S)
        assert engine.session.is_open
        assert not engine.session.waiting_bytes
        await pass_time(clock, EARLY_S + SWEEP_S)
        assert split(await polling.poll()) == ["2"]


@pytest.mark.req("EIO4-83")
@pytest.mark.parametrize("sent", ["4alive", None])
@on_mock_clock
async def test_a_request_without_a_pong_gives_one_more_timeout_and_no_second(
    clock: MockClock, sent: str | None
) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        assert split(await polling.poll()) == ["2"]
        for late in (True, False):
            engine.engine.deadlines.forget(engine.session._liveness)
            await pass_time(clock, TIMEOUT_S)
            if sent is not None:
                await polling.send(sent)
            elif late:
                waiting = await engine.start_get(polling)
            engine.session.reschedule()
            await pass_time(clock, SWEEP_S)
            assert engine.session.is_open is late
        if sent is None:
            assert split(await waiting.receive()) == ["1"]
        assert engine.listener.reasons == ["ping timeout"]
        assert_refused(await polling.poll(), 1)


@pytest.mark.req("EIO4-83")
@on_mock_clock
async def test_a_post_that_is_half_sent_is_waited_for_once(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        stream = await engine.connect()
        await stream.send_all(post_of(polling, b"4" + b"a" * 9000 + b"\x1e3")[:-2])
        await pass_time(clock, TIMEOUT_S)
        assert engine.session.is_open
        await pass_time(clock, TIMEOUT_S - SWEEP_S - EARLY_S)
        assert engine.session.is_open
        await stream.send_all(b"\x1e3")
        await pass_time(clock, SWEEP_S + EARLY_S)
        assert engine.session.is_open
        silent = await engine.polling()
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        await (await engine.connect()).send_all(post_of(silent, b"4ab")[:-2])
        for _ in range(2):
            assert engine.listener.reasons == []
            await pass_time(clock, TIMEOUT_S + SWEEP_S)
        assert engine.listener.reasons == ["ping timeout"]


LARGE: Final = b"\x82\xfe\x10\x00\0\0\0\0" + bytes(4096)
BUSY: Final[dict[str, Any]] = {"ping_interval_s": 0.5, "ping_timeout_s": 0.4}
STANDSTILL_S: Final = 0.6


@pytest.mark.req("EIO4-82")
@pytest.mark.parametrize("parts", [1, 2])
@in_trio
async def test_after_a_standstill_polling_clients_are_read_before_they_are_judged(
    parts: int,
) -> None:
    """Many of them: who was judged and who was read first would be a matter of luck."""
    async with open_engine(**BUSY) as engine:
        clients = [await engine.polling() for _ in range(20)]
        posts = [engine.http() for _ in clients]
        for post in posts:
            post.stream = await engine.connect()
        for polling in clients:
            assert split(await polling.poll()) == ["2"]
        for post, polling in zip(posts, clients, strict=True):
            data = post_of(polling, b"4" + b"a" * 1000 + b"\x1e3")
            write_unseen(post.stream, data[:-500] if parts == 2 else data)
        time.sleep(STANDSTILL_S)  # noqa: ASYNC251 - what a process that is stopped does
        await trio.sleep(0.02)
        if parts == 2:
            for post in posts:
                write_unseen(post.stream, (b"a" * 498 + b"\x1e3"))
        await settle()
        assert all(listener.reasons == [] for listener in engine.listeners)
        assert all(listener.received == ["a" * 1000] for listener in engine.listeners)


@pytest.mark.req("EIO4-82")
@in_trio
async def test_after_a_standstill_silent_polling_clients_are_given_up() -> None:
    async with open_engine(**BUSY) as engine:
        assert split(await (await engine.polling()).poll()) == ["2"]
        time.sleep(STANDSTILL_S)  # noqa: ASYNC251 - what a process that is stopped does
        await engine.listener.ended.wait()
        assert engine.listener.reasons == ["ping timeout"]


@pytest.mark.req("EIO4-82")
@pytest.mark.parametrize("before", [LARGE, b"\x81\x82\0\0\0\x004x"])
@in_trio
async def test_a_pong_behind_much_else_is_waited_for(before: bytes) -> None:
    """More than one read takes, or more messages than one turn hands over."""
    async with open_engine(echo=False, **BUSY) as engine:
        websocket = (await engine.websocket()).websocket
        assert await websocket.receive() == "2"
        write_unseen(websocket.stream, before * (80_000 // len(before)))
        send_unseen(websocket, "3")
        time.sleep(STANDSTILL_S)  # noqa: ASYNC251 - what a process that is stopped does
        engine.session._liveness.expire(trio.current_time())
        assert engine.session.is_open
        assert await websocket.receive() == "2"
        assert len(engine.listener.received) == 80_000 // len(before)


@pytest.mark.req("EIO4-82")
@on_mock_clock
async def test_who_sends_everything_but_pongs_is_given_up(clock: MockClock) -> None:
    async with open_engine(echo=False, **options()) as engine:
        websocket = (await engine.websocket()).websocket
        await pass_time(clock, INTERVAL_S + SWEEP_S)
        for is_first in (True, False):
            engine.engine.deadlines.forget(engine.session._liveness)
            await pass_time(clock, TIMEOUT_S)
            write_unseen(websocket.stream, LARGE * 19)
            engine.session._liveness.expire(trio.current_time())
            assert engine.session.is_open is is_first
        await settle()
        assert engine.listener.reasons == ["ping timeout"]


@pytest.mark.req("EIO4-17")
@in_trio
async def test_a_pong_that_lies_unread_while_the_program_is_busy_counts() -> None:
    async with open_engine(ping_interval_s=0.05, ping_timeout_s=0.05) as engine:
        websocket = (await engine.websocket()).websocket
        for _ in range(3):
            assert await websocket.receive() == "2"
            send_unseen(websocket, "3")
            time.sleep(0.08)  # noqa: ASYNC251 - what a busy program does
            engine.session._liveness.expire(trio.current_time())  # the sweep comes before the read
            assert engine.session.is_open
        await websocket.send("4on")
        while (packet := await websocket.receive()) == "2":
            await websocket.send("3")
        assert packet == "4on"


@pytest.mark.req("EIO4-17")
@in_trio
async def test_a_busy_program_does_not_keep_the_silent_alive() -> None:
    async with open_engine(ping_interval_s=0.05, ping_timeout_s=0.05) as engine:
        websocket = (await engine.websocket()).websocket
        assert await websocket.receive() == "2"
        time.sleep(0.08)  # noqa: ASYNC251 - what a busy program does
        await engine.listener.ended.wait()
        assert engine.listener.reasons == ["ping timeout"]


# --- pongs that nobody asked for, and pings from the wrong side


@pytest.mark.req("EIO4-57")
@in_trio
async def test_a_hundred_thousand_unasked_pongs_cost_nothing() -> None:
    async with open_engine() as engine:
        websocket = (await engine.websocket()).websocket
        tasks = trio.lowlevel.current_statistics().tasks_living
        entries = len(engine.engine.deadlines._heap)
        frames = (b"\x81\x81\0\0\0\0" + b"3") * 1000
        for _ in range(100):
            await websocket.stream.send_all(frames)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        await websocket.send("4on")
        assert await websocket.receive() == "4on"
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(engine.engine.deadlines._heap) <= entries + 2
        assert engine.listener.received == ["on"]
        assert engine.session.is_open


@pytest.mark.req("EIO4-57")
@in_trio
async def test_a_body_of_unasked_pongs_is_taken() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        assert (await polling.post("\x1e".join(["3"] * 9_999 + ["4on"]))).text == "ok"
        assert split(await polling.poll()) == ["4on"]


@pytest.mark.req("EIO4-57")
@on_mock_clock
async def test_an_unasked_pong_starts_the_interval_anew(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        websocket = (await engine.websocket()).websocket
        await pass_time(clock, 6)
        await websocket.send("3")
        await settle()
        await pass_time(clock, INTERVAL_S - EARLY_S)
        assert not await packet_there(websocket)
        await pass_time(clock, EARLY_S + SWEEP_S)
        assert await websocket.receive() == "2"


@pytest.mark.req("EIO4-36")
@pytest.mark.parametrize("packet", ["2", "2probe"])
@in_trio
async def test_a_ping_of_the_client_ends_a_polling_session(packet: str) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        assert (await polling.post(packet + "\x1e4late")).status == 200
        assert split(await waiting.receive()) == ["1"]
        assert engine.listener.received == []
        assert engine.listener.reasons == ["transport error"]
        assert_refused(await polling.poll(), 1)


@pytest.mark.req("EIO4-36")
@in_trio
async def test_a_ping_of_the_client_ends_an_upgraded_session() -> None:
    async with open_engine() as engine:
        websocket = await engine.upgrade(await engine.polling())
        await websocket.send("2probe")
        await closing_code(websocket)
        await settle()
        assert engine.listener.reasons == ["transport error"]
