"""Engine.IO v3: who may speak it, its handshake, heartbeat, binary messages, upgrade and end."""

from typing import Any, Final

import pytest
from tests.engine.harness import (
    PATH,
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_refused,
    closing_code,
    in_trio,
    on_mock_clock,
    open_engine,
    settle,
)
from tests.wire import EngineClient, Rejected, Response, WebSocketClient
from tests.wire_v3 import PollingEngineV3, WebSocketEngineV3, pack, unpack
from trio.testing import MockClock

from trio_socketio.codec.engine_packet import Outgoing

INTERVAL_S: Final = 10.0
TIMEOUT_S: Final = 4.0
SWEEP_S: Final = 0.06
POLLING_3: Final = f"{PATH}?EIO=3&transport=polling"
TRANSPORTS: Final = ["polling", "websocket"]


def options(**more: Any) -> dict[str, Any]:
    return {"allow_eio3": True, "ping_interval_s": INTERVAL_S, "ping_timeout_s": TIMEOUT_S, **more}


async def polling(engine: Engine, query: str = "&EIO=3") -> PollingEngineV3:
    return engine.keep(await PollingEngineV3.open(engine.port, PATH, query))


async def websocket(engine: Engine, query: str = "&EIO=3") -> WebSocketEngineV3:
    return engine.keep(await WebSocketEngineV3.open(engine.port, PATH, query))


async def either(engine: Engine, transport: str) -> PollingEngineV3 | WebSocketEngineV3:
    return await (polling(engine) if transport == "polling" else websocket(engine))


async def candidate(engine: Engine, client: PollingEngineV3, query: str = "") -> WebSocketClient:
    target = f"{PATH}?EIO=3&transport=websocket&sid={client.handshake['sid']}{query}"
    return engine.keep(await WebSocketClient.open(engine.port, target))


async def start_poll(engine: Engine, client: PollingEngineV3) -> Any:
    http = engine.http()
    await http.send("GET", client.target)
    await settle()
    return http


def the_reason(engine: Engine) -> str:
    (reason,) = engine.listener.reasons
    return reason


# --- who may speak it


@pytest.mark.req("EIO3-01", "EIO4-08")
@pytest.mark.parametrize("query", ["&EIO=3", "", "&EIO="])
@in_trio
async def test_it_is_refused_unless_allowed(query: str) -> None:
    async with open_engine() as engine:
        assert_refused(await engine.request("GET", f"{PATH}?transport=polling{query}"), 5)
        with pytest.raises(Rejected, match="Unsupported protocol version"):
            await WebSocketClient.open(engine.port, f"{PATH}?transport=websocket{query}")
        assert engine.engine.sessions == {}


@pytest.mark.req("EIO3-02")
@pytest.mark.parametrize("query", ["&EIO=3", "", "&EIO="])
@in_trio
async def test_it_is_served_beside_revision_4(query: str) -> None:
    async with open_engine(**options()) as engine:
        old = await polling(engine, query)
        assert engine.session.protocol == 3
        other = await websocket(engine, query)
        assert engine.session.protocol == 3
        new = await engine.polling()
        assert engine.session.protocol == 4
        for client in (old, other, new):
            await client.send("4hello")
            assert await client.receive() == "4hello"


@pytest.mark.req("EIO3-02")
@pytest.mark.parametrize("revision", ["2", "5", "03", "3.0", "three"])
@in_trio
async def test_other_revisions_are_refused(revision: str) -> None:
    async with open_engine(**options()) as engine:
        target = f"{PATH}?EIO={revision}&transport=polling"
        assert_refused(await engine.request("GET", target), 5)


@pytest.mark.req("EIO3-03", "EIO4-12")
@in_trio
async def test_a_session_keeps_its_revision() -> None:
    async with open_engine(**options()) as engine:
        sid = (await polling(engine)).handshake["sid"]
        for method in ("GET", "POST"):
            assert_refused(await engine.request(method, f"{POLLING}&sid={sid}"), 5)
        with pytest.raises(Rejected, match="Unsupported protocol version"):
            await WebSocketClient.open(engine.port, f"{WEBSOCKET}&sid={sid}")
        sid = (await engine.polling()).handshake["sid"]
        for query in ("&EIO=3", ""):
            target = f"{PATH}?transport=polling&sid={sid}{query}"
            assert_refused(await engine.request("GET", target), 5)
        assert len(engine.engine.sessions) == 2


@pytest.mark.req("EIO3-04")
@pytest.mark.parametrize("transport", TRANSPORTS)
@in_trio
async def test_the_handshake_has_what_clients_need(transport: str) -> None:
    async with open_engine(**options()) as engine:
        handshake = (await either(engine, transport)).handshake
        assert handshake == {
            "sid": engine.session.sid,
            "upgrades": ["websocket"] if transport == "polling" else [],
            "pingInterval": 10_000,
            "pingTimeout": 4_000,
            "maxPayload": 1_000_000,
        }


@pytest.mark.req("EIO3-04")
@in_trio
async def test_a_handshake_behind_an_answer_that_is_not_taken_yet_keeps_its_place() -> None:
    size = 7_000_000
    bounds = {"initial_packet": "x" * size, "output_bound_bytes": 4 * size}
    async with open_engine(**options(**bounds)) as engine:
        stream = await engine.connect()
        upgrade = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE_HEADERS)
        for target, more in ((POLLING_3, ""), (f"{PATH}?EIO=3&transport=websocket", upgrade)):
            head = f"GET {target} HTTP/1.1\r\nHost: x\r\n{more}\r\n"
            await stream.send_all(head.encode())
        await settle()
        received = bytearray()
        while b"HTTP/1.1 101 " not in received and len(received) < size + 1000:
            received += await stream.receive_some(1 << 20)
        answer, _, _ = bytes(received).partition(b"HTTP/1.1 101 ")
        assert answer.endswith(b":4" + b"x" * size)


# --- heartbeat


@pytest.mark.req("EIO3-05")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("data", ["", "probe", "é€😀"])
@in_trio
async def test_a_ping_is_answered_with_its_data(transport: str, data: str) -> None:
    async with open_engine(**options()) as engine:
        client = await either(engine, transport)
        await client.send("2" + data)
        assert await client.receive() == "3" + data
        assert engine.listener.received == []


@pytest.mark.req("EIO3-06", "EIO3-07")
@pytest.mark.parametrize("transport", TRANSPORTS)
@on_mock_clock
async def test_a_silent_client_is_dead_after_interval_and_timeout(
    clock: MockClock, transport: str
) -> None:
    async with open_engine(**options()) as engine:
        client = await either(engine, transport)
        clock.jump(INTERVAL_S + TIMEOUT_S - 0.01)
        await settle()
        assert engine.session.is_open
        assert not engine.session.waiting_bytes  # nobody pinged
        clock.jump(0.01 + SWEEP_S)
        await settle()
        assert the_reason(engine) == "ping timeout"
        if isinstance(client, PollingEngineV3):
            assert_refused(await client.post(pack("2")), 1)
        else:
            assert await closing_code(client.websocket) == 1000  # and no ping before


@pytest.mark.req("EIO3-07")
@on_mock_clock
async def test_death_is_judged_by_the_clock_and_not_by_the_sweep(clock: MockClock) -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        clock.jump(INTERVAL_S + TIMEOUT_S)
        assert_refused(await client.post(pack("2")), 1)
        assert the_reason(engine) == "ping timeout"


@pytest.mark.req("EIO3-08")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("packet", ["2", "4hello", "6", b"\1\2"])
@on_mock_clock
async def test_any_packet_is_a_sign_of_life(
    clock: MockClock, transport: str, packet: str | bytes
) -> None:
    async with open_engine(**options(), echo=False) as engine:
        client = await either(engine, transport)
        for _ in range(4):
            clock.jump(INTERVAL_S)
            await client.send(packet)
            await settle()
        assert engine.session.is_open
        clock.jump(INTERVAL_S + TIMEOUT_S + SWEEP_S)
        await settle()
        assert the_reason(engine) == "ping timeout"


@pytest.mark.req("EIO3-29")
@pytest.mark.parametrize("transport", TRANSPORTS)
@on_mock_clock
async def test_a_client_that_is_not_read_is_kept_from_giving_up(
    clock: MockClock, transport: str
) -> None:
    async with open_engine(**options()) as engine:
        client = await either(engine, transport)
        engine.session.pause_reading()
        if isinstance(client, WebSocketEngineV3):
            await client.send("2")  # its pong would be due in TIMEOUT_S
        for _ in range(8):
            clock.jump(TIMEOUT_S / 2 + SWEEP_S)
            assert await client.receive() == "6"
        engine.session.resume_reading()
        if isinstance(client, WebSocketEngineV3):
            assert await client.receive() == "3"
        clock.jump(INTERVAL_S + TIMEOUT_S - 0.01)
        await settle()
        assert engine.session.is_open
        clock.jump(0.01 + SWEEP_S)
        await settle()
        assert the_reason(engine) == "ping timeout"


@pytest.mark.req("EIO3-22")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("packet", "reason"),
    [("3", "transport error"), ("0{}", "transport error"), ("7", "transport error"),
     ("x", "parse error"), ("b2AQ==", "parse error"), ("b4!", "parse error")],
)  # fmt: skip
@in_trio
async def test_what_no_client_sends_ends_the_session(
    transport: str, packet: str, reason: str
) -> None:
    async with open_engine(**options()) as engine:
        client = await either(engine, transport)
        if isinstance(client, WebSocketEngineV3):
            await client.send(packet)
            assert await closing_code(client.websocket) == 1000
        else:
            await client.post(pack(packet))
            assert_refused(await client.poll(), 1)
        # A payload is refused as a whole.
        expected = "parse error" if transport == "polling" and packet == "7" else reason
        assert the_reason(engine) == expected
        assert engine.listener.received == []


# --- payloads


@pytest.mark.req("EIO3-09")
@in_trio
async def test_a_text_payload_goes_both_ways() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine, "&EIO=3&b64=1")
        response = await client.post("6:4hello3:4😀4:4é€!")
        assert (response.status, response.text) == (200, "ok")
        assert response.headers["content-type"] == "text/html"
        response = await client.poll()
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.text == "6:4hello3:4😀4:4é€!"


@pytest.mark.req("EIO3-11", "EIO3-13")
@in_trio
async def test_a_client_without_binary_gets_base64() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine, "&EIO=3&b64=1")
        await client.post("6:4hello10:b4AQIDBA==")
        assert engine.listener.received == ["hello", b"\1\2\3\4"]
        response = await client.poll()
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.text == "6:4hello10:b4AQIDBA=="


@pytest.mark.req("EIO3-12", "EIO3-15")
@in_trio
async def test_a_client_with_binary_gets_binary_where_text_would_not_do() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        await client.post("6:4hello10:b4AQIDBA==")
        response = await client.poll()
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.body == b"\0\6\xff4hello\1\5\xff\4\1\2\3\4"
        await client.post("6:4hello")
        response = await client.poll()
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.text == "6:4hello"
        await client.post("2:4€")
        assert (await client.poll()).body == b"\0\4\xff4\xe2\x82\xac"


@pytest.mark.req("EIO3-14")
@in_trio
async def test_a_binary_payload_is_read() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        response = await client.post(b"\0\4\xff4\xe2\x82\xac\1\5\xff\4\1\2\3\4\0\1\xff2")
        assert (response.status, response.text) == (200, "ok")
        assert engine.listener.received == ["€", b"\1\2\3\4"]
        assert unpack(await client.poll()) == ["4€", b"\1\2\3\4", "3"]


@pytest.mark.req("EIO3-10")
@pytest.mark.parametrize("body", ["abc", "", "2:4", "9:4hello", b"\0\2\xff4", b"", b"2:4a"])
@in_trio
async def test_a_broken_payload_ends_its_session_alone(body: str | bytes) -> None:
    async with open_engine(**options()) as engine:
        other = await polling(engine)
        client = await polling(engine)
        assert_refused(await client.post(body), 3)
        assert the_reason(engine) == "parse error"
        assert_refused(await client.poll(), 1)
        await other.send("4still here")
        assert await other.receive() == "4still here"


@in_trio
async def test_a_payload_over_the_bound_is_refused() -> None:
    async with open_engine(**options(max_http_buffer_size_bytes=100)) as engine:
        client = await polling(engine)
        response: Response = await client.post(pack("4" + "x" * 100))
        assert response.status == 413
        assert engine.session.is_open


# --- WebSocket


@pytest.mark.req("EIO3-16")
@in_trio
async def test_binary_frames_carry_their_type() -> None:
    async with open_engine(**options()) as engine:
        client = (await websocket(engine)).websocket
        for data in (b"\4\1\2\3\4", b"\4", b"\4" + bytes(70_000)):
            await client.send(data)
            assert await client.receive() == data
            assert engine.listener.received.pop() == data[1:]


@pytest.mark.req("EIO3-17")
@in_trio
async def test_a_websocket_without_binary_gets_base64() -> None:
    async with open_engine(**options()) as engine:
        client = (await websocket(engine, "&EIO=3&b64=1")).websocket
        await client.send("b4AQIDBA==")
        assert await client.receive() == "b4AQIDBA=="
        assert engine.listener.received == [b"\1\2\3\4"]


@pytest.mark.req("EIO3-17", "EIO3-19")
@pytest.mark.parametrize("query", ["", "&b64=1"])
@in_trio
async def test_each_transport_says_itself_whether_it_takes_binary(query: str) -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine, "&EIO=3&b64=1")
        socket = await candidate(engine, client, query)
        engine.session.send_binary(b"\1")
        assert (await client.poll()).text == "6:b4AQ=="
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        engine.session.send_binary(b"\2")
        await socket.send("5")
        assert await socket.receive() == ("b4Ag==" if query else b"\4\2")


@pytest.mark.req("EIO3-18")
@pytest.mark.parametrize("frame", [b"", b"\2", b"\0\1", b"4text", b"\xff"])
@in_trio
async def test_a_binary_frame_that_is_no_message_ends_the_session(frame: bytes) -> None:
    async with open_engine(**options()) as engine:
        client = (await websocket(engine)).websocket
        await client.send(frame)
        assert await closing_code(client) == 1000
        assert the_reason(engine) == "parse error"
        assert engine.listener.received == []


@pytest.mark.req("EIO3-19", "EIO3-20")
@in_trio
async def test_an_upgrade_takes_what_waits_along_in_order() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        waiting = await start_poll(engine, client)
        socket = await candidate(engine, client)
        await socket.send("2probe")
        assert await socket.receive() == "3probe"
        assert (await waiting.receive()).text == "1:6"
        engine.session.send_text(b"one")
        engine.session.send_binary(b"two")
        await socket.send("5")
        assert [await socket.receive(), await socket.receive()] == ["4one", b"\4two"]
        await socket.send(b"\4three")
        assert await socket.receive() == b"\4three"
        await socket.send("2")
        assert await socket.receive() == "3"
        assert_refused(await client.poll(), 3)


@pytest.mark.req("EIO3-19")
@in_trio
async def test_a_candidate_that_does_not_probe_changes_nothing() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        socket = await candidate(engine, client)
        await socket.send(b"\4early")
        assert await closing_code(socket) == 1002
        await client.send("4still here")
        assert await client.receive() == "4still here"


# --- the end


@pytest.mark.req("EIO3-20", "EIO3-21")
@in_trio
async def test_a_close_packet_releases_the_get() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        waiting = await start_poll(engine, client)
        assert (await client.post("1:1")).text == "ok"
        assert (await waiting.receive()).text == "1:6"
        assert the_reason(engine) == "transport close"
        assert_refused(await client.poll(), 1)


@pytest.mark.req("EIO3-21")
@in_trio
async def test_a_close_packet_ends_a_websocket() -> None:
    async with open_engine(**options()) as engine:
        client = (await websocket(engine)).websocket
        await client.send("1")
        assert await closing_code(client) == 1000
        assert the_reason(engine) == "transport close"


@pytest.mark.req("EIO3-21")
@in_trio
async def test_a_server_that_closes_sends_the_rest_and_then_the_close() -> None:
    async with open_engine(**options()) as engine:
        client = await polling(engine)
        engine.session.send_text(b"last")
        engine.session.close()
        assert (await client.poll()).text == "5:4last"
        assert (await client.poll()).text == "1:1"


@pytest.mark.req("EIO3-32")
@in_trio
async def test_one_packet_serves_receivers_of_every_kind() -> None:
    async with open_engine(**options()) as engine:
        clients: list[EngineClient] = [
            await websocket(engine),
            await websocket(engine, "&EIO=3&b64=1"),
            await polling(engine),
            await polling(engine, "&EIO=3&b64=1"),
            await engine.websocket(),
            await engine.polling(),
        ]
        packet = Outgoing(b"4text", (b"\1\2", b""))
        for _ in range(2):
            for listener in engine.listeners:
                listener.session.send(packet)
        expected = ["4text", b"\1\2", b""] * 2
        for client in clients:
            received = [await client.receive() for _ in expected]
            assert [b"" if item == "b4" else item for item in received] == [
                "b4AQI=" if client is clients[1] and item == b"\1\2" else item for item in expected
            ]
        assert packet.v3 is not None
        assert None not in (packet.v3.messages, packet.v3.base64_messages)
        assert None not in (packet.v3.body, packet.v3.binary_body)
