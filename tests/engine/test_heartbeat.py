"""Pings at their times, pongs late or unasked, and who is dead from when on."""

import time
from select import select
from typing import Any

import pytest
import trio
from tests.engine.harness import (
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_refused,
    assert_upgrade_refused,
    closing_code,
    in_trio,
    on_mock_clock,
    open_engine,
    send_unseen,
    settle,
    split,
)
from tests.wire import WebSocketClient
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


@pytest.mark.req("EIO4-35")
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


@pytest.mark.req("EIO4-35", "EIO4-50")
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


@pytest.mark.req("EIO4-17", "EIO4-37")
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


@pytest.mark.req("EIO4-17", "EIO4-37")
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


@pytest.mark.req("EIO4-37", "EIO4-04")
@pytest.mark.parametrize("request_by", ["GET", "POST", "websocket"])
@on_mock_clock
async def test_a_dead_session_is_dead_although_the_sweep_is_late(
    clock: MockClock, request_by: str
) -> None:
    async with open_engine(**options()) as engine:
        polling = await engine.polling()
        engine.engine.deadlines.forget(engine.session)  # the sweep never comes
        await pass_time(clock, INTERVAL_S + TIMEOUT_S - EARLY_S)
        await polling.send("4alive")
        assert engine.listener.received == ["alive"]
        await pass_time(clock, EARLY_S)
        if request_by == "websocket":
            target = f"{WEBSOCKET}&sid={engine.session.sid}"
            assert_upgrade_refused(await engine.request("GET", target, UPGRADE_HEADERS), 1)
        else:
            body = b"3" if request_by == "POST" else None
            assert_refused(await engine.request(request_by, polling.target, body=body), 1)
        await settle()
        assert engine.listener.reasons == ["ping timeout"]
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-17")
@in_trio
async def test_a_pong_that_lies_unread_while_the_program_is_busy_counts() -> None:
    async with open_engine(ping_interval_s=0.05, ping_timeout_s=0.05) as engine:
        websocket = (await engine.websocket()).websocket
        for _ in range(3):
            assert await websocket.receive() == "2"
            send_unseen(websocket, "3")
            time.sleep(0.08)  # noqa: ASYNC251 - what a busy program does
            engine.session.expire(trio.current_time())  # the sweep comes before the read
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
