"""Each case of the published Socket.IO v5 test suite, against the app that is made for it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.apps.protocol_suite import create
from tests.socketio.serving import bare_polling, bare_websocket, check_closed, open_client, serving
from tests.wire import (
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    Rejected,
    SocketIOClient,
    WebSocketClient,
)
from trio.testing import trio_test

from trio_socketio import ServerOptions

INTERVAL_S = 0.12
TIMEOUT_S = 0.08
PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
ATTACHMENTS = (b"\x01\x02\x03", b"\x04\x05\x06")
PATH = "/socket.io/"


def suite_app(connect_timeout_s: float = 30.0) -> Any:
    return create(
        ServerOptions(
            ping_interval_s=INTERVAL_S,
            ping_timeout_s=TIMEOUT_S,
            connect_timeout_s=connect_timeout_s,
        )
    )


@asynccontextmanager
async def suite_port() -> AsyncIterator[int]:
    async with serving(suite_app()) as port:
        yield port


@asynccontextmanager
async def greeted() -> AsyncIterator[SocketIOClient]:
    """A client in the main namespace that has read its auth."""
    async with suite_port() as port, open_client(port) as client:
        await client.connect()
        assert await client.receive_event() == ["auth", {}]
        yield client


async def status_of(port: int, method: str, query: str) -> int:
    http = HttpClient(port)
    response = await http.request(method, f"{PATH}?{query}")
    await http.aclose()
    return response.status


def check_handshake(handshake: dict[str, Any], upgrades: list[str]) -> None:
    handshake = dict(handshake)
    sid = handshake.pop("sid")
    assert isinstance(sid, str)
    assert sid
    assert handshake == {
        "upgrades": upgrades,
        "pingInterval": round(INTERVAL_S * 1000),
        "pingTimeout": round(TIMEOUT_S * 1000),
        "maxPayload": 1_000_000,
    }


# --- engine: handshake ---------------------------------------------------------------------------


@trio_test
async def test_polling_opens_a_session() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        check_handshake(engine.handshake, ["websocket"])


@pytest.mark.parametrize("query", ["transport=polling", "EIO=abc&transport=polling"])
@trio_test
async def test_polling_needs_the_protocol_version(query: str) -> None:
    async with suite_port() as port:
        assert await status_of(port, "GET", query) == 400


@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
@trio_test
async def test_polling_needs_a_known_transport(query: str) -> None:
    async with suite_port() as port:
        assert await status_of(port, "GET", query) == 400


@pytest.mark.parametrize("method", ["POST", "PUT"])
@trio_test
async def test_polling_opens_with_get_only(method: str) -> None:
    async with suite_port() as port:
        assert await status_of(port, method, "EIO=4&transport=polling") == 400


@trio_test
async def test_websocket_opens_a_session() -> None:
    async with suite_port() as port, bare_websocket(port) as engine:
        check_handshake(engine.handshake, [])


@pytest.mark.parametrize("query", ["transport=websocket", "EIO=abc&transport=websocket"])
@trio_test
async def test_websocket_needs_the_protocol_version(query: str) -> None:
    async with suite_port() as port:
        with pytest.raises(Rejected) as caught:
            await WebSocketClient.open(port, f"{PATH}?{query}")
        assert caught.value.status == 400


@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
@trio_test
async def test_websocket_needs_a_known_transport(query: str) -> None:
    async with suite_port() as port:
        with pytest.raises(Rejected) as caught:
            await WebSocketClient.open(port, f"{PATH}?{query}")
        assert caught.value.status == 400


# --- engine: heartbeat ---------------------------------------------------------------------------


@trio_test
async def test_polling_is_pinged_and_lives_while_it_answers() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        for _ in range(3):
            response = await engine.poll()
            assert (response.status, response.body) == (200, b"2")
            assert (await engine.post("3")).status == 200


@trio_test
async def test_polling_ends_when_no_pong_comes() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        await trio.sleep(INTERVAL_S + TIMEOUT_S)
        assert (await engine.poll()).status == 400


@trio_test
async def test_websocket_is_pinged_and_lives_while_it_answers() -> None:
    async with suite_port() as port, bare_websocket(port) as engine:
        for _ in range(3):
            assert await engine.receive() == "2"
            await engine.send("3")


@trio_test
async def test_websocket_ends_when_no_pong_comes() -> None:
    async with suite_port() as port, bare_websocket(port) as engine:
        began = trio.current_time()
        assert await engine.receive() == "2"
        with pytest.raises(ConnectionEnded):
            await engine.receive()
        assert trio.current_time() - began >= TIMEOUT_S


# --- engine: close -------------------------------------------------------------------------------


@trio_test
async def test_polling_close_packet_releases_the_get_and_ends_the_session() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        await engine.getter.send("GET", engine.target)
        assert (await engine.post("1")).status == 200
        released = await engine.getter.receive()
        assert (released.status, released.body) == (200, b"6")
        assert (await engine.poll()).status == 400


@trio_test
async def test_websocket_close_packet_ends_the_session() -> None:
    async with suite_port() as port, bare_websocket(port) as engine:
        await engine.send("1")
        with pytest.raises(ConnectionEnded):
            await engine.receive()


# --- engine: upgrade -----------------------------------------------------------------------------


async def upgrade(port: int, engine: PollingEngine) -> WebSocketClient:
    websocket = await WebSocketClient.open(port, candidate(engine))
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await websocket.send("5")
    return websocket


def candidate(engine: PollingEngine) -> str:
    return f"{PATH}?EIO=4&transport=websocket&sid={engine.handshake['sid']}"


@trio_test
async def test_upgrade_moves_the_session_to_websocket() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        websocket = await upgrade(port, engine)
        assert await websocket.receive() == "2"  # what the session sends comes here now
        await websocket.aclose()


@trio_test
async def test_polling_is_refused_after_the_upgrade() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        websocket = await upgrade(port, engine)
        await websocket.send("40")  # read after the upgrade packet: the upgrade is done
        answer = await websocket.receive()
        assert isinstance(answer, str)
        assert answer.startswith("40")
        assert (await engine.poll()).status == 400
        await websocket.aclose()


@trio_test
async def test_a_second_websocket_is_closed_after_the_upgrade() -> None:
    async with suite_port() as port, bare_polling(port) as engine:
        first = await upgrade(port, engine)
        second = await WebSocketClient.open(port, candidate(engine))
        with pytest.raises(ConnectionEnded):
            await second.receive()
        assert await first.receive() == "2"
        await first.aclose()
        await second.aclose()


# --- socket: connect -----------------------------------------------------------------------------


@pytest.mark.req("SIO5-02", "SIO5-03", "SIO5-05", "SIO5-14")
@pytest.mark.parametrize(
    ("sent", "prefix", "auth"),
    [
        ("0", "0", "{}"),
        ('0{"token":"123"}', "0", '{"token":"123"}'),
        ("0/custom,", "0/custom,", "{}"),
        ('0/custom,{"token":"abc"}', "0/custom,", '{"token":"abc"}'),
    ],
)
@trio_test
async def test_connect_is_answered_with_an_id_then_the_auth_comes_back(
    sent: str, prefix: str, auth: str
) -> None:
    async with suite_port() as port, open_client(port) as client:
        await client.send(sent)
        text, _ = await client.receive()
        assert text.startswith(prefix)
        payload = json.loads(text[len(prefix) :])
        assert list(payload) == ["sid"]
        assert isinstance(payload["sid"], str)
        assert (await client.receive())[0] == f'2{prefix[1:]}["auth",{auth}]'


@pytest.mark.req("SIO5-08")
@trio_test
async def test_unknown_namespace_is_refused() -> None:
    async with suite_port() as port, open_client(port) as client:
        await client.send("0/random")
        assert (await client.receive())[0] == '4/random,{"message":"Invalid namespace"}'


@trio_test
async def test_malformed_first_packet_closes() -> None:
    async with suite_port() as port, open_client(port) as client:
        await client.send("abc")
        await check_closed(client)


@pytest.mark.req("SIO5-10")
@trio_test
async def test_a_client_that_joins_nothing_is_closed() -> None:
    async with serving(suite_app(connect_timeout_s=0.2)) as port, open_client(port) as client:
        began = trio.current_time()
        await check_closed(client)
        assert 0.1 < trio.current_time() - began < 2


# --- socket: disconnect --------------------------------------------------------------------------


@pytest.mark.req("SIO5-31", "SIO5-33")
@trio_test
async def test_leaving_the_main_namespace_keeps_the_connection() -> None:
    async with greeted() as client:
        await client.send("1")
        assert await client.engine.receive() == "2"


@pytest.mark.req("SIO5-31", "SIO5-33")
@trio_test
async def test_leaving_a_custom_namespace_keeps_the_main_one() -> None:
    async with greeted() as client:
        await client.connect("/custom")
        assert await client.receive_event("/custom") == ["auth", {}]
        await client.send("1/custom")
        await client.emit("message", "still here")
        assert await client.receive_event() == ["message-back", "still here"]


# --- socket: message -----------------------------------------------------------------------------


@pytest.mark.req("SIO5-19")
@trio_test
async def test_text_event_comes_back() -> None:
    async with greeted() as client:
        await client.send('2["message",1,"2",{"3":[true]}]')
        assert (await client.receive())[0] == '2["message-back",1,"2",{"3":[true]}]'


@pytest.mark.req("SIO5-19")
@trio_test
async def test_binary_event_comes_back() -> None:
    async with greeted() as client:
        await client.send(f'52-["message",{PLACEHOLDERS}]', *ATTACHMENTS)
        text, attachments = await client.receive()
        assert text == f'52-["message-back",{PLACEHOLDERS}]'
        assert attachments == list(ATTACHMENTS)


@pytest.mark.req("SIO5-26")
@trio_test
async def test_text_event_is_acknowledged() -> None:
    async with greeted() as client:
        await client.send('2456["message-with-ack",1,"2",{"3":[false]}]')
        assert (await client.receive())[0] == '3456[1,"2",{"3":[false]}]'


@pytest.mark.req("SIO5-26")
@trio_test
async def test_binary_event_is_acknowledged() -> None:
    async with greeted() as client:
        await client.send(f'52-789["message-with-ack",{PLACEHOLDERS}]', *ATTACHMENTS)
        text, attachments = await client.receive()
        assert text == f"62-789[{PLACEHOLDERS}]"
        assert attachments == list(ATTACHMENTS)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param("abc", id="unknown packet type"),
        pytest.param("2{}", id="payload is no array"),
        pytest.param('2abc["message-with-ack",1,"2",{"3":[false]}]', id="ack id is no number"),
    ],
)
@trio_test
async def test_a_broken_packet_closes(packet: str) -> None:
    async with greeted() as client:
        await client.send(packet)
        await check_closed(client)
