"""What is given on the command line holds, whatever the app wanted."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import run_cli, serving
from tests.wire import (
    PATH,
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    Response,
    SocketIOClient,
    WebSocketClient,
    WebSocketEngine,
)
from trio_socketio.cli.arguments import LONGEST_S, duration, seconds, whole

APP = """
import re
from dataclasses import replace
from trio_socketio import Server, ServerOptions

OWN = dict(
    path="/own", ping_interval_s=7, ping_timeout_s=3, max_http_buffer_size_bytes=5000,
    cors_origins=("https://own.example",), cleanup_empty_child_namespaces=True,
)

def address(sio):
    sio.on("address")(lambda socket: socket.handshake.address)
    sio.on("rooms")(lambda socket: [name for name in sio.namespaces if name != "/"])
    sio.of(re.compile("/room-."))
    return sio

as_server = address(Server(ServerOptions(**OWN)))
def deaf(options): return address(Server(ServerOptions(**OWN)))
def stubborn(options): return address(Server(replace(options, **OWN)))
class Silent:
    def __init__(self, session): pass
    def receive_text(self, packet): pass
    def receive_binary(self, data): pass
    def session_closed(self, reason): pass
    def next_deadline(self): return float("inf")
    def expire(self, now): pass

def mounting(options):
    sio = address(Server(options))
    sio.mount("/bare", Silent)
    return sio
mounted = mounting(ServerOptions())
"""
NAMES = ["as_server", "deaf", "stubborn"]
QUERY = "?EIO=4&transport=polling"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "own_options.py"
    path.write_text(APP)
    return path


async def get(port: int, target: str, headers: list[tuple[str, str]] | None = None) -> Response:
    http = HttpClient(port)
    try:
        return await http.request("GET", target, headers or ())
    finally:
        await http.aclose()


async def handshake(port: int, path: str) -> dict[str, Any]:
    answer = await get(port, path + QUERY)
    assert answer.status == 200, answer
    opened: dict[str, Any] = json.loads(answer.text[1:])
    del opened["sid"], opened["upgrades"]
    return opened


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_given_is_the_apps_own(app: Path, name: str) -> None:
    async def main() -> None:
        async with serving("--app", f"{app}:{name}") as server:
            url = await server.wait_url()
            assert url.endswith("/own/")
            own = {"pingInterval": 7000, "pingTimeout": 3000, "maxPayload": 5000}
            assert await handshake(_port(url), "/own/") == own

    trio.run(main)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_overrides_the_app(app: Path, name: str) -> None:
    given = [
        *("--path", "/given", "--ping-interval", "11", "--ping-timeout", "0.5"),
        *("--max-payload", "7777", "--cors-origin", "https://a.example"),
        *("--cors-origin", "https://b.example:8443", "--trusted-proxy", "127.0.0.0/8"),
    ]

    async def main() -> None:
        async with serving("--app", f"{app}:{name}", *given) as server:
            url = await server.wait_url()
            assert url.endswith("/given/")
            port = _port(url)
            told = {"pingInterval": 11000, "pingTimeout": 500, "maxPayload": 7777}
            assert await handshake(port, "/given/") == told
            assert (await get(port, "/own/" + QUERY)).status == 404
            await assert_largest_body(port, "/given/", 7777)
            await assert_origins(port)
            assert await forwarded_address(port) == '31["203.0.113.9"]'

    trio.run(main)


async def assert_largest_body(port: int, path: str, largest: int) -> None:
    engine = await PollingEngine.open(port, path)
    assert (await engine.post("4" * (largest + 1))).status == 413
    await engine.aclose()
    engine = await PollingEngine.open(port, path)
    assert (await engine.post("4" + "0" * (largest - 1))).status == 200
    await engine.aclose()


async def assert_origins(port: int) -> None:
    for origin in ("https://a.example", "https://b.example:8443"):
        answer = await get(port, "/given/" + QUERY, [("Origin", origin)])
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == origin
    for origin in ("https://own.example", "https://b.example"):
        assert (await get(port, "/given/" + QUERY, [("Origin", origin)])).status == 403


async def forwarded_address(port: int) -> str:
    websocket = await WebSocketClient.open(
        port,
        "/given/?EIO=4&transport=websocket",
        [("X-Forwarded-For", "203.0.113.9")],
    )
    opened = await websocket.receive()
    assert isinstance(opened, str)
    client = SocketIOClient(WebSocketEngine(websocket, {}))
    await client.connect()
    await client.emit("address", ack_id=1)
    text, _ = await client.receive()
    await client.aclose()
    return text


@trio_test
async def test_the_options_of_the_lobby_can_be_given() -> None:
    async with serving("--ping-interval", "0.3", "--max-payload", "100000") as server:
        told = await handshake(await server.wait_port(), PATH)
        assert told == {"pingInterval": 300, "pingTimeout": 20000, "maxPayload": 100000}


@pytest.mark.parametrize("name", ["as_server", "stubborn"])
def test_a_given_connect_timeout_is_kept(app: Path, name: str) -> None:
    times = ["--connect-timeout", "0.4", "--ping-interval", "0.3"]

    async def main() -> None:
        async with serving("--app", f"{app}:{name}", *times) as server:
            idle = await WebSocketEngine.open(await server.wait_port(), "/own/")
            assert await idle.receive() == "2"
            with trio.fail_after(2), pytest.raises(ConnectionEnded):
                await idle.receive()
            await idle.aclose()

    trio.run(main)


@pytest.mark.parametrize("name", ["as_server", "stubborn"])
def test_a_given_upgrade_timeout_is_kept(app: Path, name: str) -> None:
    async def main() -> None:
        async with serving("--app", f"{app}:{name}", "--upgrade-timeout", "0.2") as server:
            port = await server.wait_port()
            polling = await PollingEngine.open(port, "/own/")
            sid = polling.handshake["sid"]
            candidate = await WebSocketClient.open(
                port, f"/own/?EIO=4&transport=websocket&sid={sid}"
            )
            await candidate.send("2probe")
            assert await candidate.receive() == "3probe"
            with trio.fail_after(2), pytest.raises(ConnectionEnded):
                await candidate.receive()
            await candidate.aclose()
            await polling.aclose()

    trio.run(main)


@pytest.mark.parametrize("name", ["as_server", "stubborn"])
@pytest.mark.parametrize("given", [[], ["--no-cleanup-empty-child-namespaces"]])
def test_given_bounds_of_dynamic_namespaces_are_kept(
    app: Path, name: str, given: list[str]
) -> None:
    given = ["--max-dynamic-namespaces", "1", *given]

    async def main() -> None:
        async with serving("--app", f"{app}:{name}", *given) as server:
            engine = await WebSocketEngine.open(await server.wait_port(), "/own/")
            client = SocketIOClient(engine)
            await client.connect()
            await client.connect("/room-1")
            full = '4/room-2,{"message":"Too many namespaces"}'
            await client.send("0/room-2,")
            assert (await client.receive())[0] == full
            await client.send("1/room-1,")
            await client.connect()  # the leave is over when this is answered
            await client.send('27["rooms"]')
            left = '["/room-1"]' if len(given) == 3 else "[]"
            assert await client.receive() == (f"37[{left}]", [])
            await client.connect("/room-2")  # there is room for it once nobody is in the other
            await client.aclose()

    trio.run(main)


@pytest.mark.parametrize("flag", ["--max-connections", "--max-connections-per-address"])
def test_connections_over_the_given_number_are_answered_503(app: Path, flag: str) -> None:
    async def main() -> None:
        async with serving("--app", f"{app}:as_server", flag, "2") as server:
            port = await server.wait_port()
            clients = [HttpClient(port) for _ in range(2)]
            for client in clients:
                assert (await client.request("GET", "/own/" + QUERY)).status == 200
            assert (await get(port, "/own/" + QUERY)).status == 503
            for client in clients:
                await client.aclose()

    trio.run(main)


@pytest.mark.req("EIO3-01")
@pytest.mark.parametrize("name", NAMES)
@trio_test
async def test_clients_of_revision_3_are_served_when_allowed(app: Path, name: str) -> None:
    for given, status in (["--allow-eio3"], 200), ([], 400):
        async with serving("--app", f"{app}:{name}", *given) as server:
            port = await server.wait_port()
            assert (await get(port, "/own/?EIO=3&transport=polling")).status == status
            assert (await get(port, "/own/" + QUERY)).status == 200


@pytest.mark.parametrize("name", NAMES)
@trio_test
async def test_recovery_and_the_parser_can_be_given(app: Path, name: str) -> None:
    """Also to an app that has made its server, and its namespaces, without them."""
    given = ["--state-recovery", "--state-recovery-duration", "0.2", "--parser", "msgpack"]
    async with serving("--app", f"{app}:{name}", *given) as server:
        port = await server.wait_port()

        async def join(auth: dict[str, Any]) -> tuple[str, str]:
            engine = await WebSocketEngine.open(port, "/own/")
            packet = {"type": 0, "nsp": "/room-1", "data": auth}
            await engine.send(msgspec.msgpack.encode(packet))
            message = await engine.receive()
            assert isinstance(message, bytes)
            told = msgspec.msgpack.decode(message)["data"]
            await engine.aclose()
            await trio.sleep(0.05)  # the server sees it
            return told["sid"], told["pid"]

        sid, pid = await join({})
        assert await join({"pid": pid}) == (sid, pid)
        await trio.sleep(0.3)
        assert (await join({"pid": pid}))[0] != sid


def test_the_engines_options_can_be_given(app: Path, tmp_path: Path) -> None:
    (tmp_path / "socket.io.js").write_text("var io;" * 1000)
    given = [
        *("--transport", "polling", "--no-upgrades", "--no-trailing-slash", "--cookie", "seat"),
        *("--cors-origin", "https://a.example", "--cors-credentials", "--cors-max-age", "60"),
        *("--no-http-compression", "--no-destroy-upgrade", "--serve-client", str(tmp_path)),
    ]

    async def main() -> None:
        async with serving("--app", f"{app}:stubborn", *given) as server:
            port = _port(await server.wait_url())
            origin = [("Origin", "https://a.example"), ("Accept-Encoding", "gzip")]
            opened = await get(port, "/own" + QUERY, origin)
            assert json.loads(opened.text[1:])["upgrades"] == []
            assert opened.headers["set-cookie"].startswith("seat=")
            assert opened.headers["access-control-allow-credentials"] == "true"
            websocket = QUERY.replace("polling", "websocket")
            refused = await get(port, "/own" + websocket)
            assert refused.json() == {"code": 0, "message": "Transport unknown"}
            script = await get(port, "/own/socket.io.js", origin)
            assert (script.status, script.headers["content-encoding"]) == (200, "gzip")
            http = HttpClient(port)
            preflight = await http.request("OPTIONS", "/own" + QUERY, origin)
            assert preflight.headers["access-control-max-age"] == "60"
            upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
            missing = await http.request("GET", "/elsewhere", upgrade)
            assert (missing.status, "connection" in missing.headers) == (404, False)
            await http.aclose()

    trio.run(main)


@trio_test
async def test_the_browsers_client_can_be_left_out(app: Path) -> None:
    async with serving("--app", f"{app}:as_server", "--no-serve-client") as server:
        answer = await get(await server.wait_port(), "/own/socket.io.js")
        assert answer.status == 400


def test_a_folder_without_a_client_is_refused(app: Path, tmp_path: Path) -> None:
    ended = run_cli("serve", "--port", "0", "--serve-client", str(tmp_path / "none"))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "not a folder of the browser's client" in line
    ended = run_cli("serve", "--cookie", "a b")
    assert ended.returncode == 2
    assert "'a b' cannot be the name of a cookie" in ended.stderr


@trio_test
async def test_a_given_path_above_a_mounted_one_hides_neither(app: Path) -> None:
    async with serving("--app", f"{app}:mounted", "--path", "/", "--max-payload", "7777") as server:
        port = await server.wait_port()
        assert (await handshake(port, "/"))["maxPayload"] == 7777
        websocket = await WebSocketClient.open(port, "/bare/?EIO=4&transport=websocket")
        await websocket.receive()
        await websocket.send("40")  # Socket.IO would answer with a socket's id
        await websocket.send("1")
        with pytest.raises(ConnectionEnded):
            await websocket.receive()
        await websocket.aclose()


@pytest.mark.parametrize("name", ["mounted", "mounting"])
def test_a_given_path_that_the_app_mounted_is_refused(app: Path, name: str) -> None:
    ended = run_cli("serve", "--port", "0", "--app", f"{app}:{name}", "--path", "/bare")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert re.search(r"/bare/ is (asked for twice|served already)", line)


def _port(url: str) -> int:
    return int(url.split(":")[2].partition("/")[0])


@pytest.mark.req("CMD-11")
def test_arguments_without_an_effect_are_warned_of(app: Path) -> None:
    given = ["--cors-credentials", "--cors-max-age", "0", "--state-recovery-duration", "9"]

    async def logged(*arguments: str) -> list[str]:
        async with serving(*arguments, "--log-format", "json") as server:
            await server.wait_url()
            return [json.loads(line)["message"] for line in server.log if "no effect" in line]

    async def main() -> None:
        assert await logged(*given) == [
            "--cors-credentials has no effect without --cors-origin",
            "--cors-max-age has no effect without --cors-origin",
            "--state-recovery-duration has no effect without --state-recovery",
        ]
        assert await logged(*given, "--cors-origin", "http://a.b", "--state-recovery") == []
        told = await logged(*given, "--app", f"{app}:as_server")  # it names an origin by itself
        assert told == ["--state-recovery-duration has no effect without --state-recovery"]

    trio.run(main)


@pytest.mark.req("CMD-12")
@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (duration, "0", 0),
        (duration, "0.00", 0),
        (duration, "31536000", LONGEST_S),
        (seconds, "1e-3", 0.001),
        (seconds, "31536000", LONGEST_S),
        (whole, "0", 0),
        (whole, "60", 60),
    ],
)
def test_the_ends_of_a_range_are_accepted(parse: Any, text: str, value: float) -> None:
    assert parse(text) == value
