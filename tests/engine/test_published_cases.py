"""The 25 cases of the published Engine.IO suite, each in a form of our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from tests.engine.harness import (
    PATH,
    POLLING,
    WEBSOCKET,
    Engine,
    closing_code,
    in_trio,
    open_engine,
    split,
)
from tests.wire import Rejected, WebSocketClient

INTERVAL_S = 0.3
TIMEOUT_S = 0.2


@asynccontextmanager
async def open_suite_server() -> AsyncIterator[Engine]:
    async with open_engine(ping_interval_s=INTERVAL_S, ping_timeout_s=TIMEOUT_S) as engine:
        yield engine


def assert_handshake(handshake: dict[str, Any], upgrades: list[str]) -> None:
    sid = handshake.pop("sid")
    assert isinstance(sid, str)
    assert sid
    assert handshake == {
        "upgrades": upgrades,
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


# --- handshake


@pytest.mark.req("EIO4-32", "EIO4-33")
@in_trio
async def test_polling_handshake_opens_a_session() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        assert polling.handshake["sid"] in engine.engine.sessions
        assert_handshake(polling.handshake, ["websocket"])


@pytest.mark.req("EIO4-02", "EIO4-08")
@pytest.mark.parametrize("query", ["transport=polling", "EIO=abc&transport=polling"])
@in_trio
async def test_polling_handshake_of_no_known_revision_fails(query: str) -> None:
    async with open_suite_server() as engine:
        assert (await engine.request("GET", f"{PATH}?{query}")).status == 400
        assert engine.listeners == []


@pytest.mark.req("EIO4-02", "EIO4-03")
@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
@in_trio
async def test_polling_handshake_of_no_known_transport_fails(query: str) -> None:
    async with open_suite_server() as engine:
        assert (await engine.request("GET", f"{PATH}?{query}")).status == 400
        assert engine.listeners == []


@pytest.mark.req("EIO4-05")
@pytest.mark.parametrize("method", ["POST", "PUT"])
@in_trio
async def test_handshake_with_another_method_fails(method: str) -> None:
    async with open_suite_server() as engine:
        assert (await engine.request(method, POLLING)).status == 400
        assert engine.listeners == []


@pytest.mark.req("EIO4-32", "EIO4-33")
@in_trio
async def test_websocket_handshake_opens_a_session() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        assert_handshake(websocket.handshake, [])


@pytest.mark.req("EIO4-26", "EIO4-08")
@pytest.mark.parametrize("query", ["transport=websocket", "EIO=abc&transport=websocket"])
@in_trio
async def test_websocket_handshake_of_no_known_revision_fails(query: str) -> None:
    async with open_suite_server() as engine:
        with pytest.raises(Rejected):
            await WebSocketClient.open(engine.port, f"{PATH}?{query}")
        assert engine.listeners == []


@pytest.mark.req("EIO4-26", "EIO4-03")
@pytest.mark.parametrize("query", ["EIO=4", "EIO=4&transport=abc"])
@in_trio
async def test_websocket_handshake_of_no_known_transport_fails(query: str) -> None:
    async with open_suite_server() as engine:
        with pytest.raises(Rejected):
            await WebSocketClient.open(engine.port, f"{PATH}?{query}")
        assert engine.listeners == []


# --- message


async def assert_comes_back(body: str) -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        posted = await polling.post(body)
        assert (posted.status, posted.text) == (200, "ok")
        polled = await polling.poll()
        assert (polled.status, polled.text) == (200, body)


@pytest.mark.req("EIO4-18", "EIO4-39")
@in_trio
async def test_polling_carries_one_text() -> None:
    await assert_comes_back("4hello")


@pytest.mark.req("EIO4-22", "EIO4-31", "EIO4-39")
@in_trio
async def test_polling_carries_several_texts() -> None:
    await assert_comes_back("4one\x1e4two\x1e4three")


@pytest.mark.req("EIO4-31", "EIO4-39", "EIO4-40")
@in_trio
async def test_polling_carries_text_and_binary() -> None:
    await assert_comes_back("4hello\x1ebAQIDBA==")


@pytest.mark.req("EIO4-43")
@in_trio
async def test_polling_closes_upon_an_invalid_packet() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        assert (await polling.post("abc")).status == 400
        assert (await polling.poll()).status == 400


@pytest.mark.req("EIO4-20")
@in_trio
async def test_polling_closes_upon_a_second_get() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        assert (await engine.request("GET", polling.target + "&t=burst")).status == 400
        assert split(await waiting.receive()) == ["1"]
        assert (await polling.poll()).status == 400


@pytest.mark.req("EIO4-24")
@in_trio
async def test_polling_closes_upon_a_cancelled_get() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        await waiting.aclose()
        with trio.fail_after(TIMEOUT_S):  # not by the heartbeat
            await engine.listener.ended.wait()
        assert (await polling.poll()).status == 400


@pytest.mark.req("EIO4-27", "EIO4-39")
@in_trio
async def test_websocket_carries_text() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        await websocket.send("4hello")
        assert await websocket.receive() == "4hello"


@pytest.mark.req("EIO4-41", "EIO4-39")
@in_trio
async def test_websocket_carries_binary() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        await websocket.send(b"\x01\x02\x03\x04")
        assert await websocket.receive() == b"\x01\x02\x03\x04"


@pytest.mark.req("EIO4-43")
@in_trio
async def test_websocket_closes_upon_an_invalid_packet() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        await websocket.send("abc")
        assert await closing_code(websocket.websocket) is not None
        assert engine.listener.reasons == ["parse error"]


# --- heartbeat


@pytest.mark.req("EIO4-35")
@in_trio
async def test_polling_is_pinged_again_and_again() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        for _ in range(3):
            assert split(await polling.poll()) == ["2"]
            assert (await polling.post("3")).status == 200


@pytest.mark.req("EIO4-17", "EIO4-37")
@in_trio
async def test_polling_closes_when_a_ping_is_not_answered() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        await trio.sleep(INTERVAL_S + TIMEOUT_S)
        assert (await polling.poll()).status == 400


@pytest.mark.req("EIO4-35")
@in_trio
async def test_websocket_is_pinged_again_and_again() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        for _ in range(3):
            assert await websocket.receive() == "2"
            await websocket.send("3")


@pytest.mark.req("EIO4-17", "EIO4-37")
@in_trio
async def test_websocket_closes_when_a_ping_is_not_answered() -> None:
    async with open_suite_server() as engine:
        started = trio.current_time()
        websocket = await engine.websocket()
        await closing_code(websocket.websocket)
        assert trio.current_time() - started >= INTERVAL_S + TIMEOUT_S
        assert engine.listener.reasons == ["ping timeout"]


# --- close


@pytest.mark.req("EIO4-54")
@in_trio
async def test_polling_client_closes() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        waiting = await engine.start_get(polling)
        assert (await polling.post("1")).text == "ok"
        assert split(await waiting.receive()) == ["6"]
        assert (await polling.poll()).status == 400


@pytest.mark.req("EIO4-55")
@in_trio
async def test_websocket_client_closes() -> None:
    async with open_suite_server() as engine:
        websocket = await engine.websocket()
        with trio.fail_after(TIMEOUT_S):  # not by the heartbeat
            await websocket.send("1")
            await closing_code(websocket.websocket)


# --- upgrade


@pytest.mark.req("EIO4-48", "EIO4-49", "EIO4-50")
@in_trio
async def test_session_is_upgraded() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        websocket = await engine.probed(polling)
        assert split(await polling.poll()) == ["6"]
        await websocket.send("5")
        await websocket.send("4hello")
        assert await websocket.receive() == "4hello"


@pytest.mark.req("EIO4-51")
@in_trio
async def test_upgraded_session_is_not_disturbed_by_a_poll() -> None:
    async with open_suite_server() as engine:
        polling = await engine.polling()
        websocket = await engine.upgrade(polling)
        assert (await polling.poll()).status == 400
        await websocket.send("4hello")
        assert await websocket.receive() == "4hello"


@pytest.mark.req("EIO4-28", "EIO4-51")
@in_trio
async def test_upgraded_session_is_not_disturbed_by_a_websocket() -> None:
    async with open_suite_server() as engine:
        target = f"{WEBSOCKET}&sid="
        polling = await engine.polling()
        websocket = await engine.upgrade(polling)
        second = await WebSocketClient.open(engine.port, target + polling.handshake["sid"])
        engine.keep(second)
        await closing_code(second)
        await websocket.send("4hello")
        assert await websocket.receive() == "4hello"
