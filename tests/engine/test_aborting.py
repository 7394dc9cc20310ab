"""Aborted sessions: nothing that is queued is sent, and their clients reconnect."""

import select
import socket
from typing import Any

import h11
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
from tests.wire import ConnectionEnded, HttpClient, WebSocketClient
from tests.wire_v3 import PollingEngineV3, WebSocketEngineV3
from trio.testing import MockClock

from trio_socketio import Session


async def check_hung_up(http: HttpClient) -> None:
    """The server ends the connection without an answer."""
    with pytest.raises((h11.RemoteProtocolError, trio.BrokenResourceError)) as ended:
        await http.receive()
    if isinstance(ended.value, h11.RemoteProtocolError):
        assert "SEND_RESPONSE" in str(ended.value)  # not even the head has come


async def check_ended(engine: Engine, session: Session, reason: str = "service restart") -> None:
    """Nothing is left of a session, and its listener has heard why."""
    await settle()
    assert session.is_closed
    assert session.aborted
    assert session.reason == reason
    assert session.sid not in engine.engine.sessions
    reasons = [one.reasons for one in engine.listeners if one.session is session]
    assert reasons == [[reason]]


def has_received(websocket: WebSocketClient) -> bool:
    """Whether anything lies unread, or the server has ended the connection."""
    assert isinstance(websocket.stream, trio.SocketStream)
    return bool(select.select([websocket.stream.socket], [], [], 0)[0])


# --- WebSocket


@pytest.mark.req("LEASE-46")
@in_trio
async def test_a_websocket_gets_a_close_and_nothing_else() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        session = engine.session
        session.send_text(b"gathered")
        session.send_text(b"gathered too")
        session.abort()
        session.send_text(b"late")
        with pytest.raises(ConnectionEnded) as ended:
            await websocket.receive()
        assert ended.value.code == 1012
        await check_ended(engine, session)
        assert engine.engine.packets_dropped == 3  # LEASE-51


@pytest.mark.req("LEASE-46")
@in_trio
async def test_a_client_of_revision_3_is_cut_off_likewise() -> None:
    async with open_engine(allow_eio3=True) as engine:
        websocket = engine.keep(await WebSocketEngineV3.open(engine.port, "/engine.io/"))
        session = engine.session
        session.send_binary(b"gathered")
        session.abort("a reason of its own")
        with pytest.raises(ConnectionEnded) as ended:
            await websocket.receive()
        assert ended.value.code == 1012
        await check_ended(engine, session, "a reason of its own")


@pytest.mark.req("LEASE-49")
@in_trio
async def test_no_close_follows_a_part_of_a_frame() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        session = engine.session
        transport: Any = session._transport
        connection = transport.connection
        connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        session.send_text(b"x" * 8_000_000)
        await settle()
        assert connection.is_blocked
        session.send_text(b"behind it")
        session.abort()
        await settle()
        assert connection.closed
        assert await closing_code(websocket.websocket) is None
        await check_ended(engine, session)
        assert engine.engine.packets_dropped == 1


@pytest.mark.req("LEASE-49")
@in_trio
async def test_no_close_comes_before_the_websocket_is_one() -> None:
    """Its 101 answer is dropped with the rest."""
    async with open_engine(configure=None) as engine:
        opened: list[Session] = []

        def abort(session: Session) -> Any:
            opened.append(session)
            session.abort()
            return engine.listener

        await engine.websocket()
        engine.engine._opening._open_session = abort
        stream = await engine.connect()
        await stream.send_all(
            b"GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with trio.fail_after(5):
            try:
                data = bytes(await stream.receive_some())
            except trio.BrokenResourceError:
                data = b""
        assert data == b""
        assert opened[0].is_closed


@in_trio
async def test_nothing_more_is_handled_of_what_has_come() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        session = engine.session
        engine.listener.on_message = lambda _: session.abort()
        for number in range(3):
            send_unseen(websocket.websocket, f"4{number}")
        assert await closing_code(websocket.websocket) == 1012
        assert engine.listener.received == ["0"]
        await check_ended(engine, session)


@in_trio
async def test_to_abort_twice_or_after_the_end_does_nothing() -> None:
    async with open_engine() as engine:
        websocket = await engine.websocket()
        session = engine.session
        session.abort("first")
        session.abort("second")
        session.close("third")
        session.lose("fourth")
        assert await closing_code(websocket.websocket) == 1012
        await check_ended(engine, session, "first")
        other = await engine.websocket()
        engine.session.close("in order")
        engine.session.abort()
        assert await closing_code(other.websocket) == 1000
        assert engine.listener.reasons == ["in order"]


# --- polling


@pytest.mark.req("LEASE-47")
@in_trio
async def test_a_poll_that_waits_is_hung_up_on() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        session.abort()
        await check_hung_up(waiting)
        assert_refused(await polling.poll(), 1)
        await check_ended(engine, session)


@pytest.mark.req("LEASE-47")
@in_trio
async def test_what_waits_for_a_poll_is_dropped() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        session.send_text(b"one")
        session.send_text(b"two")
        session.abort()
        session.send_text(b"late")
        await settle()
        assert_refused(await polling.poll(), 1)
        await check_ended(engine, session)
        assert engine.engine.packets_dropped == 3


@pytest.mark.req("LEASE-47")
@in_trio
async def test_an_answer_that_has_not_left_is_dropped() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        session.send_text(b"one")
        session._transport.flush()  # type: ignore[attr-defined]  # as a slice of a flush does
        session.abort()
        await check_hung_up(waiting)
        await check_ended(engine, session)


@in_trio
async def test_an_answer_on_its_way_keeps_no_session_alive() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        engine.session.send_text(b"one")
        transport: Any = engine.session._transport
        transport.flush()
        carrier = transport._carrier
        assert carrier.on_drained is not None
        engine.session.lose("transport close")
        assert carrier.on_drained is None
        assert split(await waiting.receive()) == ["4one"]


@pytest.mark.req("LEASE-47")
@in_trio
async def test_a_connection_that_has_brought_its_answer_is_left_alone() -> None:
    """It may be a proxy's, and carry the requests of others too."""
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        session.send_text(b"one")
        assert split(await waiting.receive()) == ["4one"]
        other = await engine.polling()
        await waiting.send("GET", other.target)
        await settle()
        engine.session.send_text(b"for the other")
        transport: Any = engine.session._transport
        transport.flush()
        session.abort()
        assert split(await waiting.receive()) == ["4for the other"]
        await check_ended(engine, session)


@pytest.mark.req("LEASE-47")
@in_trio
async def test_a_post_that_is_half_sent_is_hung_up_on() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        stream = await engine.connect()
        await stream.send_all(
            f"POST {polling.target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4a".encode()
        )
        await settle()
        session.abort()
        with trio.fail_after(5):
            try:
                data = bytes(await stream.receive_some())
            except trio.BrokenResourceError:
                data = b""
        assert data == b""
        await check_ended(engine, session)
        assert engine.listener.received == []


@pytest.mark.req("LEASE-47")
@in_trio
async def test_a_poll_of_revision_3_is_hung_up_on() -> None:
    async with open_engine(allow_eio3=True) as engine:
        polling = engine.keep(await PollingEngineV3.open(engine.port, "/engine.io/"))
        session = engine.session
        http = engine.http()
        await http.send("GET", polling.target)
        await settle()
        session.abort()
        await check_hung_up(http)
        await check_ended(engine, session)


@pytest.mark.req("LEASE-47")
@in_trio
async def test_a_session_that_closes_in_order_can_be_cut_off_still() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        session.send_text(b"one")
        session.close("in order")
        session.abort()
        await settle()
        assert_refused(await polling.poll(), 1)
        assert engine.listener.reasons == ["in order"]
        assert engine.engine.sessions == {}
        assert engine.engine.packets_dropped == 1


@in_trio
async def test_a_listener_can_cut_off_the_session_whose_post_it_takes() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        engine.listener.on_message = lambda _: session.abort()
        await polling.post("4one\x1e4two")
        await check_hung_up(waiting)
        assert engine.listener.received == ["one"]
        await check_ended(engine, session)


# --- the upgrade


@pytest.mark.req("LEASE-52")
@in_trio
async def test_a_session_is_cut_off_before_the_probe_of_its_upgrade() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        websocket = await engine.candidate(polling)
        session.send_text(b"gathered")
        session.abort()
        assert await closing_code(websocket) == 1012
        await check_hung_up(waiting)
        await check_ended(engine, session)
        assert engine.engine.packets_dropped == 1


@pytest.mark.req("LEASE-52")
@pytest.mark.parametrize("packet", ["5", "4late"])
@in_trio
async def test_a_client_that_was_told_to_upgrade_does_so_before_it_is_cut_off(packet: str) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        waiting = await engine.start_get(polling)
        websocket = await engine.probed(polling)
        assert split(await waiting.receive()) == ["6"]
        session.send_text(b"gathered")
        session.abort()
        await check_ended(engine, session)
        assert engine.engine.packets_dropped == 1
        assert not has_received(websocket)
        await websocket.send(packet)
        assert await closing_code(websocket) == 1012
        assert engine.listener.received == []


@pytest.mark.req("LEASE-52")
@on_mock_clock
async def test_a_client_that_was_cut_off_is_waited_for_until_its_upgrade_times_out(
    clock: MockClock,
) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.abort()
        clock.jump(9)
        await settle()
        assert not has_received(websocket)
        clock.jump(2)
        assert await closing_code(websocket) == 1012


@pytest.mark.req("LEASE-52")
@in_trio
async def test_a_client_that_was_cut_off_may_leave_by_itself() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        engine.session.abort()
        await settle()
        before = engine.server.statistics().connections
        await websocket.aclose()
        await settle()
        assert engine.server.statistics().connections == before - 1


@pytest.mark.req("LEASE-52")
@in_trio
async def test_a_session_is_cut_off_after_its_upgrade() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        session = engine.session
        websocket = await engine.upgrade(polling)
        session.send_text(b"gathered")
        session.abort()
        assert await closing_code(websocket) == 1012
        await check_ended(engine, session)
