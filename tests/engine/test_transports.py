"""Which ways a server offers: transports, upgrades, its path, the first message."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.engine.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    assert_refused,
    assert_upgrade_refused,
    in_trio,
    open_engine,
    settle,
    split,
)
from tests.wire import PollingEngine, Rejected, WebSocketClient, WebSocketEngine

from trio_socketio import ConfigurationError, Server, ServerOptions, open_server

SOCKET_IO = "/socket.io/?EIO=4&transport=polling"


def opened(text: str) -> dict[str, Any]:
    assert text[0] == "0"
    handshake: dict[str, Any] = json.loads(text[1:])
    return handshake


@pytest.mark.req("EIO4-61")
@in_trio
async def test_only_polling() -> None:
    async with open_engine(transports=("polling",)) as engine:
        polling = await engine.polling()
        assert polling.handshake["upgrades"] == []
        assert_upgrade_refused(await engine.request("GET", WEBSOCKET, UPGRADE_HEADERS), 0)
        candidate = f"{WEBSOCKET}&sid={polling.handshake['sid']}"
        assert_upgrade_refused(await engine.request("GET", candidate, UPGRADE_HEADERS), 0)
        await polling.send("4still here")
        assert await polling.receive() == "4still here"


@pytest.mark.req("EIO4-61")
@in_trio
async def test_only_websocket() -> None:
    async with open_engine(transports=("websocket",)) as engine:
        assert_refused(await engine.request("GET", POLLING), 0)
        websocket = await engine.websocket()
        assert websocket.handshake["upgrades"] == []
        await websocket.send("4x")
        assert await websocket.receive() == "4x"


@pytest.mark.req("EIO4-62")
@in_trio
async def test_without_upgrades_none_is_told_or_taken() -> None:
    async with open_engine(allow_upgrades=False) as engine:
        polling = await engine.polling()
        assert polling.handshake["upgrades"] == []
        with pytest.raises(Rejected) as refused:
            await engine.candidate(polling)
        assert (refused.value.status, refused.value.body) == (400, b"Bad request")
        await polling.send("4still here")
        assert await polling.receive() == "4still here"
        await engine.websocket()  # from the start


@pytest.mark.parametrize("transports", [(), ("webtransport",), ("polling", "carrier pigeon")])
def test_other_transports_are_refused(transports: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        ServerOptions(transports=transports)


# --- the path


@pytest.mark.parametrize(
    ("given", "slash", "path"),
    [
        ("/socket.io", True, "/socket.io/"),
        ("/socket.io/", True, "/socket.io/"),
        ("/socket.io/", False, "/socket.io"),
        ("/", True, "/"),
        ("/", False, "/"),
    ],
)
def test_a_trailing_slash_is_added_or_not(given: str, slash: bool, path: str) -> None:
    assert ServerOptions(path=given, add_trailing_slash=slash).path == path


@pytest.mark.req("EIO4-01", "EIO4-63")
@in_trio
async def test_with_a_trailing_slash_only_that_is_answered() -> None:
    async with open_engine() as engine:
        assert (await engine.request("GET", SOCKET_IO)).status == 200
        assert (await engine.request("GET", SOCKET_IO.replace("/?", "?"))).status == 404


@pytest.mark.req("EIO4-63")
@in_trio
async def test_without_a_trailing_slash_both_are_answered_and_no_longer_names() -> None:
    async with open_engine(add_trailing_slash=False) as engine:
        assert (await engine.request("GET", SOCKET_IO)).status == 200
        assert (await engine.request("GET", SOCKET_IO.replace("/?", "?"))).status == 200
        assert (await engine.request("GET", SOCKET_IO.replace("/?", "x?"))).status == 404


@pytest.mark.parametrize("slash", [True, False])
def test_the_own_path_cannot_be_mounted(slash: bool) -> None:
    server = Server(ServerOptions(add_trailing_slash=slash))
    with pytest.raises(Exception, match="served already"):
        server.mount("/socket.io", lambda _: None)  # type: ignore[arg-type,return-value]  # never called


# --- upgrades that nobody serves


@pytest.mark.req("EIO4-64")
@pytest.mark.parametrize("destroy", [True, False])
@in_trio
async def test_an_upgrade_elsewhere_is_not_found_and_closes_unless_kept(destroy: bool) -> None:
    async with open_engine(destroy_upgrade=destroy) as engine:
        http = engine.http()
        response = await http.request("GET", "/elsewhere", UPGRADE_HEADERS)
        assert response.status == 404
        assert (response.headers.get("connection") == "close") is destroy
        if destroy:
            assert http.stream is None  # the client saw that it is over
        else:
            again = await http.request("GET", POLLING)
            assert (again.status, len(engine.listeners)) == (200, 1)


# --- the first message


@pytest.mark.req("EIO4-65")
@pytest.mark.parametrize(
    ("packet", "on_polling", "on_websocket"),
    [
        ("hello \u20ac", "4hello \u20ac", "4hello \u20ac"),
        (b"\x00\x01", "bAAE=", b"\x00\x01"),
        ("", "4", "4"),
    ],
)
@in_trio
async def test_an_initial_packet_follows_the_open_packet(
    packet: str | bytes, on_polling: str, on_websocket: str | bytes
) -> None:
    async with open_engine(initial_packet=packet) as engine:
        first, second = split(await engine.request("GET", POLLING))
        assert opened(first)["sid"] == engine.session.sid
        assert second == on_polling
        for _ in range(2):
            websocket = await engine.websocket()
            assert await websocket.receive() == on_websocket


@in_trio
async def test_clients_are_counted() -> None:
    async with open_engine() as engine:
        server = engine.server
        websocket = await WebSocketEngine.open(engine.port)
        polling = await PollingEngine.open(engine.port)
        await engine.websocket()  # at another path
        assert server.engine.clients_count == 2
        await websocket.aclose()
        await polling.aclose()
        await settle()
        assert server.engine.clients_count == 1  # polling may come back
    assert server.engine.clients_count == 0


@in_trio
async def test_a_wrong_folder_of_the_client_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a folder of the browser"):
        async with open_server(Server(ServerOptions(client_dist=tmp_path))):
            pass


@in_trio
async def test_a_websocket_that_starts_alone_needs_no_polling() -> None:
    async with open_engine(transports=("websocket",), allow_upgrades=False) as engine:
        engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET))
        assert len(engine.listeners) == 1
