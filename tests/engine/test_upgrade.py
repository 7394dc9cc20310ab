"""From polling to WebSocket: the probe, the noop, the takeover, and candidates that fail."""

import pytest
import trio
from tests.engine.harness import (
    POLLING,
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
from tests.wire import PollingEngine, WebSocketClient
from trio.testing import MockClock
from wsproto.events import BytesMessage, TextMessage


async def send_together(websocket: WebSocketClient, *packets: str | bytes) -> None:
    """All in one segment."""
    data = b""
    for packet in packets:
        event = TextMessage(packet) if isinstance(packet, str) else BytesMessage(packet)
        data += websocket.ws.send(event)
    await websocket.stream.send_all(data)


async def assert_polling_works(engine: Engine, polling: PollingEngine) -> None:
    await polling.send("4still")
    assert engine.listener.received[-1] == "still"
    assert split(await polling.poll()) == ["4still"]
    assert engine.session.transport == "polling"


# --- probe and noop


@pytest.mark.req("EIO4-48")
@in_trio
async def test_a_probe_is_answered_on_the_candidate_each_time() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        for _ in range(2):
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
        assert engine.session.transport == "polling"
        assert engine.listener.received == []


@pytest.mark.req("EIO4-49")
@in_trio
async def test_a_waiting_get_is_released_by_the_probe() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        websocket = await engine.candidate(polling)
        with trio.fail_after(0.1):
            await websocket.send("2probe")
            assert split(await waiting.receive()) == ["6"]


@pytest.mark.req("EIO4-49")
@in_trio
async def test_a_get_after_the_probe_is_released_at_once() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        await engine.probed(polling)
        for _ in range(2):
            with trio.fail_after(0.1):
                assert split(await polling.poll()) == ["6"]


@pytest.mark.req("EIO4-49")
@in_trio
async def test_a_get_after_the_probe_brings_what_was_sent_before() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.send_text(b"before")
        assert split(await polling.poll()) == ["4before"]
        await websocket.send("5")
        engine.session.send_text(b"after")
        assert await websocket.receive() == "4after"


@pytest.mark.req("EIO4-49")
@in_trio
async def test_a_candidate_that_has_not_probed_releases_nobody() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        await engine.candidate(polling)
        await settle()
        engine.session.send_text(b"first")
        assert split(await waiting.receive()) == ["4first"]


@pytest.mark.req("EIO4-49")
@pytest.mark.parametrize("failed", [False, True])
@in_trio
async def test_a_get_waits_while_no_probe_is_answered(failed: bool) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        if failed:
            await send_together(websocket, "2probe", "x")
            await closing_code(websocket)
        waiting = await engine.start_get(polling)
        assert engine.session.is_writable
        engine.session.send_text(b"first")
        assert split(await waiting.receive()) == ["4first"]


# --- the takeover


@pytest.mark.req("EIO4-50", "EIO4-119")
@in_trio
async def test_buffered_packets_follow_on_the_websocket_in_order() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        for number in range(3):
            engine.session.send_text(b"%d" % number)
            engine.session.send_binary(b"%d" % number)
        await websocket.send("5")
        received = [await websocket.receive() for _ in range(6)]
        engine.session.send_text(b"last")
        assert [*received, await websocket.receive()] == [
            "40",
            b"0",
            "41",
            b"1",
            "42",
            b"2",
            "4last",
        ]
        assert engine.session.transport == "websocket"
        assert engine.engine.packets_dropped == 0


@pytest.mark.req("EIO4-50")
@in_trio
async def test_packets_in_one_segment_with_the_upgrade_are_messages() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        await send_together(websocket, "2probe", "5", "4hello", b"\0\1", "4again")
        received = [await websocket.receive() for _ in range(4)]
        assert received == ["3probe", "4hello", b"\0\1", "4again"]
        assert engine.listener.received == ["hello", b"\0\1", "again"]


@pytest.mark.req("EIO4-50", "EIO4-55")
@in_trio
async def test_a_close_in_one_segment_with_the_upgrade_ends_the_session() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        await send_together(websocket, "5", "4hello", "1", "4late")
        await closing_code(websocket)
        await settle()
        assert engine.listener.received == ["hello"]
        assert engine.listener.reasons == ["transport close"]


@pytest.mark.req("EIO4-53")
@in_trio
async def test_an_upgrade_needs_no_probe() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        websocket = await engine.candidate(polling)
        await send_together(websocket, "5", "4hello")
        assert await websocket.receive() == "4hello"
        assert split(await waiting.receive()) == ["6"]


@pytest.mark.req("EIO4-51", "EIO4-120", "EIO4-123")
@in_trio
async def test_an_upgraded_session_answers_no_poll_and_lives_on() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.upgrade(polling)
        assert_refused(await polling.poll(), 3)
        assert_refused(await polling.post("4lost"), 3)
        second = await engine.candidate(polling)
        assert await closing_code(second) == 1008
        await websocket.send("4on")
        assert await websocket.receive() == "4on"
        assert engine.listener.received == ["on"]


@in_trio
async def test_an_upgraded_session_ends_with_its_websocket() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.upgrade(polling)
        await websocket.aclose()
        with trio.fail_after(1):
            await engine.listener.ended.wait()
        assert engine.listener.reasons == ["transport close"]
        assert_refused(await polling.poll(), 1)


# --- candidates that fail


@pytest.mark.req("EIO4-52", "EIO4-122")
@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize(
    "failing", ["4early", "2", "3probe", "2probe2", "6", "1", "", "x", b"binary", b"5", None]
)
@in_trio
async def test_a_candidate_that_fails_leaves_polling_and_a_new_try(
    failing: str | bytes | None, probed: bool
) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        if probed:
            await websocket.send("2probe")
            await websocket.receive()
        if failing is None:
            await websocket.aclose()
            await settle()
        else:
            await websocket.send(failing)
            assert await closing_code(websocket) == 1002
        await assert_polling_works(engine, polling)
        again = await engine.upgrade(polling)
        await again.send("4hello")
        assert await again.receive() == "4hello"
        assert engine.listener.received == ["still", "hello"]
        assert engine.listener.reasons == []


@pytest.mark.req("EIO4-52")
@in_trio
async def test_a_candidate_that_breaks_the_frames_fails_too() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        await websocket.stream.send_all(b"\x83\x80\0\0\0\0")  # no such opcode
        assert await closing_code(websocket) == 1002
        await assert_polling_works(engine, polling)
        await engine.upgrade(polling)
        assert engine.session.transport == "websocket"


@pytest.mark.req("EIO4-52")
@in_trio
async def test_nothing_after_a_failed_probe_is_taken() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        await send_together(websocket, "2probe", "4early", "5", "4late", b"late")
        assert await websocket.receive() == "3probe"
        await closing_code(websocket)
        assert engine.listener.received == []
        await assert_polling_works(engine, polling)


@pytest.mark.req("EIO4-121", "EIO4-122")
@pytest.mark.parametrize("probed", [False, True])
@on_mock_clock
async def test_a_candidate_has_until_the_upgrade_timeout(clock: MockClock, probed: bool) -> None:
    async with open_engine(upgrade_timeout_s=5) as engine:
        polling = await engine.polling()
        websocket = await engine.candidate(polling)
        clock.jump(4)
        if probed:  # a probe wins no time
            await websocket.send("2probe")
            await websocket.receive()
        clock.jump(0.9)
        await settle()
        assert engine.session._upgrade is not None
        clock.jump(0.2)
        assert await closing_code(websocket) == 1002
        await assert_polling_works(engine, polling)
        await engine.upgrade(polling)
        clock.jump(6)  # a timeout that was met is not met again
        await settle()
        assert engine.session.transport == "websocket"
        assert engine.session.is_open


@pytest.mark.req("EIO4-28")
@pytest.mark.parametrize("probed", [False, True])
@in_trio
async def test_a_second_candidate_is_closed_and_the_first_goes_on(probed: bool) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        first = await engine.candidate(polling)
        if probed:
            await first.send("2probe")
            await first.receive()
        second = await engine.candidate(polling)
        assert await closing_code(second) == 1008
        await send_together(first, "2probe", "5", "4hello")
        assert [await first.receive() for _ in range(2)] == ["3probe", "4hello"]


@pytest.mark.req("EIO4-04")
@in_trio
async def test_a_candidate_of_no_living_session_is_refused() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        await polling.send("1")
        for sid in (polling.handshake["sid"], "none"):
            target = f"{WEBSOCKET}&sid={sid}"
            response = await engine.request("GET", target, UPGRADE_HEADERS)
            assert_upgrade_refused(response, 1)


# --- sessions that end meanwhile


@pytest.mark.parametrize("how", ["1", "x", "abort"])
@in_trio
async def test_a_session_that_ends_takes_its_candidate_along(how: str) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        if how == "abort":
            engine.session.lose("transport error")
        else:
            await polling.post(how)
        assert await closing_code(websocket) == 1000
        assert len(engine.listener.reasons) == 1
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-56")
@in_trio
async def test_a_session_closed_during_an_upgrade_says_so_by_polling_if_asked() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.send_text(b"last")
        engine.session.close()
        assert split(await polling.poll()) == ["4last"]
        assert split(await polling.poll()) == ["1"]
        assert await closing_code(websocket) == 1000
        assert engine.listener.reasons == ["forced close"]
        assert_refused(await polling.poll(), 1)


@pytest.mark.req("EIO4-124")
@pytest.mark.parametrize("code", [1000, 1012])
@in_trio
async def test_a_session_closed_during_an_upgrade_says_so_on_the_websocket(code: int) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.send_text(b"last")
        engine.session.close(code=code)
        await websocket.send("5")
        assert await websocket.receive() == "4last"
        assert await closing_code(websocket) == code
        assert engine.listener.reasons == ["forced close"]
        assert engine.engine.sessions == {}
        assert_refused(await polling.poll(), 1)


@pytest.mark.req("EIO4-124")
@on_mock_clock
async def test_a_closing_session_waits_30_s_for_the_upgrade(clock: MockClock) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.close(code=1012)
        clock.jump(29)
        await settle()
        assert len(engine.engine.sessions) == 1
        clock.jump(2)
        assert await closing_code(websocket) == 1012
        assert engine.engine.sessions == {}


@in_trio
async def test_a_closing_session_takes_no_candidate() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.close()
        websocket = await engine.candidate(polling)
        assert await closing_code(websocket) == 1008
        assert split(await polling.poll()) == ["1"]


@pytest.mark.req("EIO4-124")
@in_trio
async def test_an_upgrade_packet_that_crosses_the_close_completes_the_upgrade() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        send_unseen(websocket, "5")
        send_unseen(websocket, "4late")
        engine.session.close()  # before the server reads
        assert await closing_code(websocket) == 1000
        assert engine.listener.received == []
        assert engine.listener.reasons == ["forced close"]
        assert_refused(await polling.poll(), 1)


@in_trio
async def test_a_paused_session_stays_paused_through_the_upgrade() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.pause_reading()
        websocket = await engine.candidate(polling)
        await send_together(websocket, "2probe", "5", "4held")
        assert await websocket.receive() == "3probe"
        await settle()
        assert engine.session.transport == "websocket"
        assert engine.listener.received == []
        engine.session.resume_reading()
        assert await websocket.receive() == "4held"


@in_trio
async def test_a_get_that_is_dropped_after_the_upgrade_ends_nothing() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        await engine.start_get(polling)
        websocket = await engine.upgrade(polling)
        await polling.aclose()
        response = await engine.request("GET", f"{POLLING}&sid={polling.handshake['sid']}")
        assert_refused(response, 3)
        await websocket.send("4on")
        assert await websocket.receive() == "4on"
