"""A session on WebSocket: packets and messages, and what ends it."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.harness import (
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_upgrade_refused,
    closing_code,
    in_trio,
    open_engine,
    settle,
)
from tests.properties import examples
from tests.wire import WebSocketClient
from wsproto.events import BytesMessage, TextMessage

from trio_socketio import RemoteProtocolError


async def assert_ended(engine: Engine, reason: str) -> None:
    """The listener was told once, and the sid names nothing any more."""
    await settle()
    assert engine.listener.reasons == [reason]
    target = f"{WEBSOCKET}&sid={engine.session.sid}"
    assert_upgrade_refused(await engine.request("GET", target, UPGRADE_HEADERS), 1)
    assert engine.engine.sessions == {}


@pytest.mark.req("EIO4-27")
@in_trio
async def test_a_message_is_one_packet_and_nothing_separates_packets_in_it() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.send("4a\x1e4b\x1e1")
        assert await websocket.receive() == "4a\x1e4b\x1e1"
        assert engine.listener.received == ["a\x1e4b\x1e1"]


@pytest.mark.req("EIO4-27", "EIO4-41")
@in_trio
async def test_packets_sent_together_are_messages_of_their_own() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        for number in range(3):
            engine.session.send_text(b"%d" % number)
            engine.session.send_binary(b"%d" % number)
        engine.session.send_text(b"")
        engine.session.send_binary(b"")
        received = [await websocket.receive() for _ in range(8)]
        assert received == ["40", b"0", "41", b"1", "42", b"2", "4", b""]


@pytest.mark.req("EIO4-41")
@in_trio
async def test_every_binary_frame_is_a_message_whatever_it_starts_with() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        frames = [b"", b"1", b"2", b"4a", b"bAAEC", b"\xff" * 70_000]
        for frame in frames:
            await websocket.send(frame)
        assert [await websocket.receive() for _ in frames] == frames
        assert engine.listener.received == frames


@pytest.mark.req("EIO4-39")
@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=20))
def test_any_messages_come_back_unchanged_and_in_order(sent: list[str | bytes]) -> None:
    @in_trio
    async def echo() -> None:
        async with open_engine() as engine:
            websocket = await engine.websocket()
            packets = ["4" + item if isinstance(item, str) else item for item in sent]
            data = b""
            for packet in packets:
                event = TextMessage(packet) if isinstance(packet, str) else BytesMessage(packet)
                data += websocket.websocket.ws.send(event)
            await websocket.websocket.stream.send_all(data)
            assert [await websocket.receive() for _ in packets] == packets
            assert engine.listener.received == sent

    echo()


@pytest.mark.req("EIO4-28")
@in_trio
async def test_a_second_websocket_of_a_session_is_closed() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        target = f"{WEBSOCKET}&sid={engine.session.sid}"
        second = engine.keep(await WebSocketClient.open(engine.port, target))
        await second.stream.send_all(b"\x81\x86\0\0\0\0" + b"4stray")
        assert await closing_code(second) == 1008
        await websocket.send("4on")
        assert await websocket.receive() == "4on"
        assert engine.listener.received == ["on"]


@pytest.mark.req("EIO4-46")
@in_trio
async def test_a_message_of_the_announced_size_is_taken() -> None:
    async with open_engine(max_http_buffer_size_bytes=1000) as engine:
        websocket = await engine.websocket()
        await websocket.send("4" + "a" * 999)
        assert await websocket.receive() == "4" + "a" * 999


@pytest.mark.req("EIO4-46")
@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("binary", [False, True])
@in_trio
async def test_a_larger_message_ends_the_session(parts: int, binary: bool) -> None:
    async with open_engine(max_http_buffer_size_bytes=1000) as engine:
        websocket = (await engine.websocket()).websocket
        whole = "4" + "a" * 1003
        size = len(whole) // parts
        for at in range(0, len(whole), size):
            text, finished = whole[at : at + size], at + size == len(whole)
            message = (
                BytesMessage(text.encode(), message_finished=finished)
                if binary
                else TextMessage(text, message_finished=finished)
            )
            await websocket.stream.send_all(websocket.ws.send(message))
        assert await closing_code(websocket) == 1009
        assert engine.listener.received == []
        await assert_ended(engine, "transport error")


@pytest.mark.req("EIO4-55")
@in_trio
async def test_a_close_packet_ends_the_session_and_the_websocket() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        data = b"".join(
            websocket.websocket.ws.send(TextMessage(packet)) for packet in ("4a", "1", "4late")
        )
        await websocket.websocket.stream.send_all(data)
        assert await closing_code(websocket.websocket) == 1000
        assert engine.listener.received == ["a"]
        await assert_ended(engine, "transport close")


@pytest.mark.req("EIO4-43", "EIO4-36")
@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("", "parse error"),
        ("abc", "parse error"),
        ("b!", "parse error"),
        (" 4", "parse error"),
        ("é", "parse error"),
        ("٤", "parse error"),  # a digit, but not ours
        ("2", "transport error"),
        ("2probe", "transport error"),
        ("0{}", "transport error"),
    ],
)
@in_trio
async def test_a_packet_that_no_client_sends_ends_the_session(packet: str, reason: str) -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.send(packet)
        assert await closing_code(websocket.websocket) == 1000
        await assert_ended(engine, reason)


@pytest.mark.req("EIO4-57")
@pytest.mark.parametrize("packet", ["5", "6", "3", "3x", "5x", "6x"])
@in_trio
async def test_a_packet_that_says_nothing_is_ignored(packet: str) -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.send(packet)
        await websocket.send("4on")
        assert await websocket.receive() == "4on"
        assert engine.listener.received == ["on"]


@pytest.mark.req("EIO4-42")
@in_trio
async def test_text_that_is_not_utf8_ends_the_session() -> None:
    async with open_engine() as engine:
        websocket = (await engine.websocket()).websocket
        await websocket.stream.send_all(b"\x81\x82\0\0\0\0" + b"4\xff")
        assert await closing_code(websocket) == 1007
        assert engine.listener.received == []
        await assert_ended(engine, "transport error")


@in_trio
async def test_a_connection_that_breaks_ends_the_session() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.aclose()
        with trio.fail_after(1):
            await engine.listener.ended.wait()
        await assert_ended(engine, "transport close")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RemoteProtocolError("x"), "parse error"), (KeyError("x"), "transport error")],
)
@pytest.mark.parametrize("message", ["4a", b"a"])
@in_trio
async def test_a_listener_that_raises_ends_its_session_alone(
    error: Exception, reason: str, message: str | bytes
) -> None:
    async with open_engine() as engine:
        other = await engine.websocket()
        websocket = await engine.websocket()

        def fail(_: object) -> None:
            raise error

        engine.listener.on_message = fail
        await websocket.send(message)
        await closing_code(websocket.websocket)
        await assert_ended_alone(engine, reason)
        await other.send("4on")
        assert await other.receive() == "4on"


async def assert_ended_alone(engine: Engine, reason: str) -> None:
    await settle()
    assert engine.listener.reasons == [reason]
    assert engine.listeners[0].reasons == []
    assert list(engine.engine.sessions) == [engine.listeners[0].session.sid]


@in_trio
async def test_binary_of_a_client_that_forces_base64() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.send("bAAEC")
        assert await websocket.receive() == b"\0\1\2"


@in_trio
async def test_broken_base64_closes() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        await websocket.send("b!")
        assert await closing_code(websocket.websocket) == 1000
        await assert_ended(engine, "parse error")


@in_trio
async def test_only_a_get_becomes_a_websocket() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        target = f"{WEBSOCKET}&sid={polling.handshake['sid']}"
        assert_upgrade_refused(await engine.request("POST", target, UPGRADE_HEADERS), 3)
        assert engine.session.is_open
