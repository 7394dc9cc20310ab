"""Clients that do not fetch, and listeners that are behind."""

import os
from typing import Final

import pytest
import trio
from tests.engine.harness import (
    assert_refused,
    closing_code,
    in_trio,
    on_mock_clock,
    open_engine,
    settle,
    split,
)
from trio.testing import MockClock

MIB = 1 << 20
SWEEP_S = 0.06

# --- a polling client that does not poll


@on_mock_clock
async def test_a_client_that_fetches_nothing_is_closed_in_time(clock: MockClock) -> None:
    async with open_engine(slow_client_s=5) as engine:
        polling = await engine.polling()
        for _ in range(16):
            engine.session.send_text(b"x" * (MIB // 16 - 1))
        clock.jump(6)
        await settle()
        assert engine.session.is_open  # just the bound, not over it
        engine.session.send_text(b"x")
        clock.jump(4.9)
        await settle()
        assert engine.session.is_open
        clock.jump(0.1 + SWEEP_S)
        await settle()
        assert engine.listener.reasons == ["slow client"]
        assert_refused(await polling.poll(), 1)
        assert engine.engine.packets_dropped == 17
        assert engine.session.waiting_bytes == 0


@on_mock_clock
async def test_a_client_that_fetches_in_time_is_not_closed(clock: MockClock) -> None:
    async with open_engine(slow_client_s=5, output_bound_bytes=1000) as engine:
        polling = await engine.polling()
        for _ in range(3):
            engine.session.send_text(b"x" * 1500)
            clock.jump(4.9)
            await settle()
            assert split(await polling.poll()) == ["4" + "x" * 1500]
        clock.jump(6)
        await settle()
        assert engine.session.is_open


@in_trio
async def test_a_client_that_is_hopelessly_behind_is_closed_at_once() -> None:
    async with open_engine(output_bound_bytes=1000) as engine:
        polling = await engine.polling()
        for _ in range(8):
            engine.session.send_text(b"x" * 999)
        await settle()
        assert engine.session.is_open  # 8 times the bound, not over it
        engine.session.send_text(b"x")
        await settle()
        assert engine.listener.reasons == ["slow client"]
        assert_refused(await polling.poll(), 1)


@pytest.mark.req("BND-11")
@pytest.mark.parametrize("waiting", [True, False])
@in_trio
async def test_what_a_polling_client_is_sent_in_one_turn_is_bounded(waiting: bool) -> None:
    async with open_engine(output_bound_bytes=1000) as engine:
        polling = await engine.polling()
        if waiting:
            get = await engine.start_get(polling)
        engine.session.send_text(b"x" * 20_000)  # an empty queue takes any one packet
        for _ in range(3):
            engine.session.send_text(b"y" * 20_000)
        assert engine.session.waiting_bytes == 20_001
        assert engine.engine.packets_dropped == 3
        assert engine.session.is_open  # nobody is closed from inside a send
        await settle()
        assert engine.listener.reasons == ["slow client"]
        assert engine.engine.packets_dropped == 4
        if waiting:
            assert split(await get.receive()) == ["1"]


@in_trio
async def test_one_packet_of_any_size_waits_for_its_get() -> None:
    async with open_engine(output_bound_bytes=1000) as engine:
        polling = await engine.polling()
        engine.session.send_text(b"x" * 20_000)
        await settle()
        assert split(await polling.poll()) == ["4" + "x" * 20_000]
        assert engine.session.is_open


# --- a listener that is behind


@in_trio
async def test_a_post_is_not_answered_while_the_listener_is_behind() -> None:
    async with open_engine(echo=False) as engine:
        polling = await engine.polling()
        engine.listener.on_message = lambda message: (
            engine.session.pause_reading() if message in ("a", "c") else None
        )
        http = engine.http()
        await http.send("POST", polling.target, body=b"4a\x1e4b\x1e4c\x1ebAAEC\x1e4d")
        await settle()
        assert engine.listener.received == ["a"]
        with trio.move_on_after(0.02) as waited:
            await http.receive()
        assert waited.cancelled_caught
        engine.session.resume_reading()
        assert engine.listener.received == ["a"]  # not from inside the call
        await settle()
        assert engine.listener.received == ["a", "b", "c"]
        engine.session.resume_reading()
        assert (await http.receive()).text == "ok"
        assert engine.listener.received == ["a", "b", "c", b"\0\1\2", "d"]
        assert (await polling.post("4e")).text == "ok"


@on_mock_clock
async def test_a_listener_that_is_behind_still_sends(clock: MockClock) -> None:
    async with open_engine(ping_interval_s=25, ping_timeout_s=2) as engine:
        polling = await engine.polling()
        engine.session.pause_reading()
        clock.jump(20)
        await settle()
        waiting = await engine.start_get(polling)
        engine.session.send_text(b"out")
        assert split(await waiting.receive()) == ["4out"]


@in_trio
async def test_a_websocket_is_not_read_while_the_listener_is_behind() -> None:
    async with open_engine(echo=False) as engine:
        websocket = (await engine.websocket()).websocket
        engine.listener.on_message = lambda _: engine.session.pause_reading()
        frame = b"\x81\x82\0\0\0\0" + b"4a"
        await websocket.stream.send_all(frame * 3)
        for count in (1, 2, 3):
            await settle()
            assert len(engine.listener.received) == count
            engine.session.resume_reading()
            assert len(engine.listener.received) == count  # not from inside the call


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@on_mock_clock
async def test_the_heartbeat_stands_while_the_listener_is_behind(
    clock: MockClock, transport: str
) -> None:
    async with open_engine(ping_interval_s=3, ping_timeout_s=2) as engine:
        client = await (engine.polling() if transport == "polling" else engine.websocket())
        engine.session.pause_reading()
        clock.jump(29.9)
        await settle()
        assert engine.session.is_open
        assert await client.receive() == "2"  # it is not answered, and nobody is judged by that
        engine.session.resume_reading()
        await client.send("4on")
        assert await client.receive() == "4on"
        clock.jump(3 + SWEEP_S)
        assert await client.receive() == "2"  # an interval after the resumption


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@on_mock_clock
async def test_a_listener_that_stays_behind_loses_its_session(
    clock: MockClock, transport: str
) -> None:
    async with open_engine(echo=False) as engine:
        engine_client = await (engine.polling() if transport == "polling" else engine.websocket())
        engine.listener.on_message = lambda _: engine.session.pause_reading()
        http = engine.http()
        if transport == "polling":
            target = f"/engine.io/?EIO=4&transport=polling&sid={engine.session.sid}"
            await http.send("POST", target, body=b"4a\x1e4b")
        else:
            await engine_client.send("4a")
        await settle()
        clock.jump(29.9)
        await settle()
        assert engine.session.is_open
        clock.jump(0.1 + SWEEP_S)
        await settle()
        assert engine.listener.reasons == ["overload"]
        if transport == "polling":
            assert_refused(await http.receive(), 3)  # not all of it was taken
        assert engine.listener.received == ["a"]
        engine.session.resume_reading()
        await settle()
        assert engine.engine.sessions == {}


@in_trio
async def test_a_post_that_is_held_back_is_refused_when_its_session_ends() -> None:
    async with open_engine(echo=False) as engine:
        polling = await engine.polling()
        engine.listener.on_message = lambda _: engine.session.pause_reading()
        http = engine.http()
        await http.send("POST", polling.target, body=b"4a\x1e4b")
        await settle()
        engine.session.close()
        assert split(await polling.poll()) == ["1"]
        assert_refused(await http.receive(), 3)
        assert engine.listener.received == ["a"]


@in_trio
async def test_a_websocket_that_is_not_read_is_still_closed_in_order() -> None:
    async with open_engine(echo=False) as engine:
        websocket = (await engine.websocket()).websocket
        engine.session.pause_reading()
        engine.session.close()
        assert await closing_code(websocket) == 1000


@on_mock_clock
async def test_pings_go_on_while_nothing_is_read_and_after(clock: MockClock) -> None:
    async with open_engine(ping_interval_s=5, ping_timeout_s=5) as engine:
        websocket = await engine.websocket()
        engine.session.pause_reading()
        for _ in range(4):  # 20 s without a pong that could be read: nobody is judged by that
            clock.jump(5 + SWEEP_S)
            assert await websocket.receive() == "2"
        engine.session.resume_reading()
        clock.jump(5 + SWEEP_S)
        assert await websocket.receive() == "2"
        clock.jump(5 + SWEEP_S)  # from now on a pong is due
        assert await closing_code(websocket.websocket) == 1000
        assert engine.listener.reasons == ["ping timeout"]


# --- clients that take what they are sent slowly, but steadily


RATE: Final = 100_000
SLOW_S: Final = 10.0


async def take(stream: trio.SocketStream, size: int) -> int:
    """Read up to that many bytes, and no more than are there; how many there were."""
    taken = 0
    while taken < size:
        try:
            part = os.read(stream.socket.fileno(), size - taken)
        except BlockingIOError:
            break
        if not part:
            break
        taken += len(part)
    await settle()
    return taken


@pytest.mark.req("EIO4-84")
@on_mock_clock
async def test_who_still_takes_the_last_answer_is_not_late_for_the_next(clock: MockClock) -> None:
    async with open_engine(slow_client_s=SLOW_S, ping_interval_s=1000.0) as engine:
        polling = await engine.polling()
        engine.session.send_binary(bytes(5_000_000))
        stream = await engine.connect()
        await stream.send_all(f"GET {polling.target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await settle()
        engine.session.send_binary(bytes(2_000_000))  # waits for the next GET
        engine.session.send_binary(bytes(10))
        for _ in range(30):
            await take(stream, RATE)
            clock.jump(1.0)
            await settle()
        assert engine.session.is_open
        for _ in range(3):
            clock.jump(SLOW_S)
            await settle()
        assert engine.listener.reasons == ["slow client"]


@pytest.mark.req("EIO4-84")
@pytest.mark.parametrize("steady", [True, False])
@on_mock_clock
async def test_a_ping_behind_what_is_still_being_taken_is_waited_for(
    clock: MockClock, steady: bool
) -> None:
    async with open_engine(
        echo=False, ping_interval_s=5.0, ping_timeout_s=5.0, slow_client_s=1000.0
    ) as engine:
        websocket = (await engine.websocket()).websocket
        stream = websocket.stream
        assert isinstance(stream, trio.SocketStream)
        for _ in range(70):
            engine.session.send_binary(bytes(RATE))
        await settle()
        for _ in range(30):
            if steady:
                await take(stream, RATE)
            clock.jump(1.0)
            await settle()
        assert engine.session.is_open is steady
        if not steady:
            assert engine.listener.reasons == ["ping timeout"]
