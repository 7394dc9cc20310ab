"""A session that the server ends, and what is left when it has ended."""

import os
from typing import Any

import pytest
import trio
from tests.engine.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    assert_refused,
    closing_code,
    in_trio,
    on_mock_clock,
    open_engine,
    settle,
    split,
)
from tests.wire import ConnectionEnded
from trio.testing import MockClock, assert_checkpoints

from trio_socketio import SessionClosed
from trio_socketio.codec.engine_packet import Outgoing


def count_descriptors() -> int:
    """Open files of this process; always 0 where the system does not tell."""
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


# --- polling


@pytest.mark.req("EIO4-56")
@in_trio
async def test_a_waiting_get_brings_what_was_sent_and_the_next_the_close() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        engine.session.send_text(b"one")
        engine.session.send_text(b"two")
        engine.session.close()
        engine.session.send_text(b"late")
        assert split(await waiting.receive()) == ["4one", "4two"]
        assert split(await polling.poll()) == ["1"]
        assert engine.listener.reasons == ["forced close"]
        assert_refused(await polling.poll(), 1)
        assert engine.engine.packets_dropped == 1


@pytest.mark.req("EIO4-56")
@on_mock_clock
async def test_a_later_get_brings_what_was_sent_and_the_next_the_close(clock: MockClock) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_text(b"one")
        engine.session.close("my reason")
        engine.session.send_text(b"late")
        await settle()
        assert engine.listener.reasons == ["my reason"]  # told at once
        clock.jump(29.9)
        await settle()
        assert split(await polling.poll()) == ["4one"]
        assert split(await polling.poll()) == ["1"]
        assert_refused(await polling.poll(), 1)
        assert engine.engine.sessions == {}
        assert engine.listener.reasons == ["my reason"]


@pytest.mark.req("EIO4-56")
@on_mock_clock
async def test_a_closed_session_is_forgotten_when_nobody_fetches_its_close(
    clock: MockClock,
) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_text(b"one")
        engine.session.close()
        clock.jump(29.9)
        await settle()
        assert list(engine.engine.sessions) == [engine.session.sid]
        clock.jump(0.2)
        await settle()
        assert engine.engine.sessions == {}
        assert_refused(await polling.poll(), 1)
        assert engine.listener.reasons == ["forced close"]
        assert engine.engine.packets_dropped == 1


@in_trio
async def test_what_a_client_posts_to_a_closing_session_is_ignored() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.close()
        assert (await polling.post("4late\x1ebAAEC")).text == "ok"
        assert engine.listener.received == []
        assert split(await polling.poll()) == ["1"]


@in_trio
async def test_closing_twice_is_closing_once() -> None:
    async with open_engine() as engine:
        await engine.polling()
        engine.session.close("first")
        engine.session.close("second")
        engine.session.lose("third")
        engine.session.lose("fourth")
        await settle()
        assert engine.listener.reasons == ["first"]
        assert engine.engine.sessions == {}


# --- WebSocket


@pytest.mark.req("EIO4-56")
@in_trio
async def test_a_websocket_brings_what_was_sent_and_is_closed() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        engine.session.send_text(b"x" * 300_000)
        engine.session.send_binary(b"two")
        engine.session.close(code=1012)
        engine.session.send_text(b"late")
        assert await websocket.receive() == "4" + "x" * 300_000
        assert await websocket.receive() == b"two"
        with pytest.raises(ConnectionEnded) as ended:
            await websocket.receive()
        assert ended.value.code == 1012
        assert engine.listener.reasons == ["forced close"]
        assert engine.engine.sessions == {}
        assert engine.engine.packets_dropped == 1


@in_trio
async def test_frames_behind_the_one_that_made_the_listener_close_are_not_read() -> None:
    async with open_engine() as engine:
        websocket = (await engine.websocket()).websocket
        engine.listener.on_message = lambda _: engine.session.close()
        frame = b"\x81\x82\0\0\0\0" + b"4a"
        await websocket.stream.send_all(frame * 3)
        assert await closing_code(websocket) == 1000
        assert engine.listener.received == ["a"]


@in_trio
async def test_a_session_closed_while_it_opens_sends_its_open_packet() -> None:
    async with open_engine() as engine:
        opening: Any = engine.engine._opening
        opened = opening._open_session

        def refuse(session: object) -> object:
            listener = opened(session)
            engine.session.close("refused")
            return listener

        opening._open_session = refuse
        websocket = await engine.websocket()
        await closing_code(websocket.websocket)
        assert engine.engine.sessions == {}
        response = await engine.request("GET", POLLING)
        (opened_packet,) = split(response)
        assert opened_packet[0] == "0"
        target = f"{POLLING}&sid={engine.session.sid}"
        assert split(await engine.request("GET", target)) == ["1"]
        assert engine.engine.sessions == {}
        await settle()
        assert [listener.reasons for listener in engine.listeners] == [["refused"], ["refused"]]


# --- the whole server


@in_trio
async def test_a_server_that_stops_says_goodbye_and_opens_nothing() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        websocket = await engine.websocket()
        other = await engine.connect()
        engine.engine.close_all("server shutting down", code=1012)
        assert split(await waiting.receive()) == ["1"]
        assert await closing_code(websocket.websocket) == 1012
        for target, headers in ((POLLING, ()), (WEBSOCKET, UPGRADE_HEADERS)):
            assert (await engine.request("GET", target, headers)).status == 503  # OPS-48
        assert {reason for item in engine.listeners for reason in item.reasons} == {
            "server shutting down"
        }
        assert len(engine.listeners) == 2
        await other.aclose()


@in_trio
async def test_descriptors_sessions_and_tasks_return_to_the_start() -> None:
    async with open_engine() as engine:
        await settle()
        tasks = trio.lowlevel.current_statistics().tasks_living
        descriptors = count_descriptors()
        for _ in range(10):
            polling = await engine.polling()
            await engine.start_get(polling)
            await engine.candidate(polling)
            await engine.upgrade(await engine.polling())
            await engine.websocket()
            await engine.request("GET", POLLING + "x")
            await engine.request("GET", WEBSOCKET, UPGRADE_HEADERS[:2])
        assert len(engine.engine.sessions) == 30
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        await engine.close_clients()
        for listener in engine.listeners:
            await listener.ended.wait()
        await settle()
        assert engine.engine.sessions == {}
        assert engine.server.statistics().connections == 0
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert count_descriptors() == descriptors


# --- who waits for output


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@in_trio
async def test_a_producer_waits_until_all_has_left(transport: str) -> None:
    async with open_engine() as engine:
        client = await (engine.polling() if transport == "polling" else engine.websocket())
        session = engine.session
        with trio.fail_after(1):
            await session.wait_drained()
        session.send_text(b"x" * 5_000_000)
        assert session.waiting_bytes > 1_000_000  # the kernel has taken some of it already
        drained = trio.Event()

        async def produce() -> None:
            await session.wait_drained()
            drained.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            await settle()
            assert not drained.is_set()
            assert await client.receive() == "4" + "x" * 5_000_000
        assert session.waiting_bytes == 0


@in_trio
async def test_a_producer_lets_others_run_although_nothing_waits() -> None:
    async with open_engine() as engine:
        await engine.websocket()
        await settle()
        with assert_checkpoints():
            await engine.session.wait_drained()


@in_trio
async def test_a_producer_is_told_that_the_session_has_ended() -> None:
    async with open_engine() as engine:
        await engine.polling()
        engine.session.send_text(b"x")
        engine.session.lose("my reason")
        with pytest.raises(SessionClosed) as closed:
            await engine.session.wait_drained()
        assert closed.value.reason == "my reason"


@in_trio
async def test_a_producer_that_waits_is_told_when_the_session_ends() -> None:
    async with open_engine() as engine:
        await engine.polling()
        engine.session.send_text(b"x")
        reasons: list[str] = []

        async def produce() -> None:
            try:
                await engine.session.wait_drained()
            except SessionClosed as closed:
                reasons.append(closed.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            await settle()
            engine.session.close("my reason")
        assert reasons == ["my reason"]


@in_trio
async def test_a_volatile_packet_leaves_at_once_or_is_dropped() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_volatile(Outgoing(b"4lost"))
        assert engine.engine.packets_dropped == 1
        waiting = await engine.start_get(polling)
        assert engine.session.is_writable
        engine.session.send_volatile(Outgoing(b"4now"))
        assert split(await waiting.receive()) == ["4now"]
        websocket = await engine.upgrade(polling)
        engine.session.send_volatile(Outgoing(b"4there"))
        assert await websocket.receive() == "4there"
