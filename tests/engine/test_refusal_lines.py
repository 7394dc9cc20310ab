"""The lines of the log about refused clients: why, and what to do."""

import logging
from typing import Any

import pytest
from tests.engine.harness import POLLING, UPGRADE_HEADERS, WEBSOCKET, in_trio, open_engine
from tests.socketio.serving import joined, open_client, serving, the_session
from tests.wire import HttpClient
from trio.testing import trio_test

from trio_socketio import ConnectRefused, Server, ServerOptions, Socket
from trio_socketio.engine.hooks import EngineRequest
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.engine.refusals import MAX_SHOWN
from trio_socketio.runtime.sampling import REFUSALS

BEGINS = "refused a request from 127.0.0.1: "


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_socketio")


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("refused ")]


@pytest.mark.req("LOG-21")
@pytest.mark.parametrize(
    ("target", "headers", "told"),
    [
        (
            POLLING,
            [("Origin", "https://evil.example")],
            "its page has the foreign origin 'https://evil.example'; to let pages of an origin "
            "connect, name it with --cors-origin, [cors] origins or cors_origins",
        ),
        (
            f"{POLLING}&sid=0123456789abcdefghij",
            [],
            f"session {shorten_sid('0123456789abcdefghij')} is unknown: it belongs to another "
            "node, or to this one before a restart; a load balancer must send all requests "
            "of a session to the same node (sticky sessions)",
        ),
        (
            POLLING.replace("EIO=4", "EIO=3"),
            [],
            "EIO='3' means socket.io-client 1.x or 2.x; to serve it, use --allow-eio3 ([engine] "
            "allow_eio3)",
        ),
        (
            POLLING.replace("EIO=4", "EIO=5"),
            [],
            "EIO='5' is not a revision of Engine.IO that this server speaks",
        ),
        (
            WEBSOCKET,
            UPGRADE_HEADERS,
            "transport='websocket' is not among [engine] transports",
        ),
        (
            POLLING.replace("polling", "carrier-pigeon"),
            [],
            "transport='carrier-pigeon' is not a transport; if the client is not one of Socket.IO, "
            "another program uses this path",
        ),
    ],
)
@in_trio
async def test_a_refused_request_has_a_line_that_says_what_to_do(
    target: str, headers: list[tuple[str, str]], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(transports=("polling",)) as engine:
        response = await engine.request("GET", target, headers)
        assert response.status in (400, 403)
        assert refusals(caplog) == [BEGINS + told]


@pytest.mark.req("LOG-21")
@in_trio
async def test_other_refusals_have_their_reasons(caplog: pytest.LogCaptureFixture) -> None:
    async with open_engine() as engine:
        await engine.request("POST", POLLING)
        await engine.request("GET", WEBSOCKET)
        await engine.request(
            "GET",
            WEBSOCKET,
            [*UPGRADE_HEADERS[:2], ("Sec-WebSocket-Version", "7"), UPGRADE_HEADERS[3]],
        )
        polling = await engine.polling()
        sid = polling.handshake["sid"]
        await engine.request("GET", POLLING.replace("EIO=4", "EIO=3") + f"&sid={sid}")
        engine.session.lose("transport error")
        await engine.request("GET", polling.target)
        engine.engine.open_no_more()
        await engine.request("GET", POLLING)
    assert refusals(caplog) == [
        BEGINS + told
        for told in (
            "POST without a sid: only a GET opens a session",
            "GET with transport='websocket' does not fit its session, or is not a valid WebSocket "
            "handshake",
            "it asks for a version of WebSocket other than 13",
            "EIO='3' is not the revision of its session",
            f"session {shorten_sid(sid)} is unknown: it has ended",
            "the server is stopping and opens no more sessions",
        )
    ]
    assert sid not in caplog.text


@pytest.mark.req("OPS-48")
@in_trio
async def test_a_server_that_stops_sends_proxies_to_another() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.engine.open_no_more()
        for target, headers in ((POLLING, ()), (WEBSOCKET, UPGRADE_HEADERS)):
            response = await engine.request("GET", target, headers)
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
        malformed = await engine.request("POST", POLLING)
        assert malformed.status == 400
        assert (await engine.request("POST", polling.target, body=b"4")).text == "ok"


@pytest.mark.req("LOG-21")
@in_trio
async def test_hooks_that_refuse_have_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def allow(request: EngineRequest) -> bool:
        if "token" not in request.headers:
            raise ConnectRefused("no token")
        return True

    def configure(server: Server) -> None:
        @server.engine.use
        def check(request: EngineRequest) -> None:
            if "bad" in request.headers:
                raise ConnectRefused("bad")

    def name(_: EngineRequest) -> Any:
        return "not valid"

    async with open_engine(configure=configure, allow_request=allow, generate_id=name) as engine:
        await engine.request("GET", POLLING)
        await engine.request("GET", POLLING, [("Bad", "1")])
        await engine.request("GET", POLLING, [("Token", "1")])
    assert refusals(caplog) == [
        f"{BEGINS}allow_request refused it: 'no token'",
        f"{BEGINS}middleware of the engine refused it: 'bad'",
        f"{BEGINS}generate_id did not return a new id for its session",
    ]


@pytest.mark.req("LOG-21")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"max_unjoined_sessions": 1},
            "Too many sessions that have joined nothing (1): see --max-unjoined-sessions "
            "(max_unjoined_sessions)",
        ),
        (
            {"max_unjoined_sessions_per_address": 1},
            "Too many sessions of this address that have joined nothing (1): see "
            "--max-unjoined-sessions-per-address (max_unjoined_sessions_per_address)",
        ),
        (
            {"session_rate_per_address": 0.1, "session_burst_per_address": 1},
            "it opens more than 0.1 sessions a second (1 at once); it may come back in 10 s: see "
            "[engine] session_rate_per_address; if a proxy stands between, name it in "
            "trusted_proxies",
        ),
    ],
)
@in_trio
async def test_a_full_server_names_the_option(
    options: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(**options) as engine:
        for _ in range(2):
            await engine.request("GET", POLLING)
        assert refusals(caplog) == [BEGINS + told]


@pytest.mark.req("LOG-23")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"max_connections": 1},
            "refused a connection from 127.0.0.1: 1 are open, which is max_connections "
            "(--max-connections, or the limit of open files)",
        ),
        (
            {"max_connections_per_address": 1},
            "refused a connection from 127.0.0.1: it has 1 open, which is "
            "max_connections_per_address (--max-connections-per-address)",
        ),
    ],
)
@in_trio
async def test_a_refused_connection_names_the_option(
    options: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(**options) as engine:
        await engine.connect()
        response = await engine.request("GET", POLLING)
        assert response.status == 503
        (record,) = [one for one in caplog.records if one.getMessage().startswith("refused")]
        assert (record.getMessage(), record.levelname) == (told, "WARNING")


@pytest.mark.req("LOG-22")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_a_client_that_may_not_join_has_a_line(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(ServerOptions(max_namespaces_per_session=1))

    @server.of("/chat").use
    def check(_: Socket) -> None:
        raise ConnectRefused("not\nauthorized", data={"secret": "hunter2"})

    async with serving(server) as port:
        async with open_client(port, transport) as client:
            session = the_session(server)
            for name in ("/chat", "/nowhere" + "x" * 1000):
                await client.send(f"0{name},")
                assert (await client.receive())[0].startswith("4")
        who = f"refused session {shorten_sid(session.sid)} in namespace "
        async with joined(port, transport) as (client, _):
            await client.send("0/chat,")
            assert (await client.receive())[0].startswith("4")
        first, second, third = [line for line in refusals(caplog) if "namespace" in line]
        assert first == f"{who}'/chat': 'not\\nauthorized'"
        assert second.startswith(
            f"{who}'/nowhere{'x' * (MAX_SHOWN - 8)}...': 'Invalid namespace'; neither the app "
        )
        assert third.endswith(
            "'/chat': 'Too many namespaces'; see [sockets] max_namespaces_per_session and "
            "max_dynamic_namespaces"
        )
        assert "hunter2" not in caplog.text


@pytest.mark.req("LOG-25")
@in_trio
async def test_an_origin_is_cut_off_and_quoted(caplog: pytest.LogCaptureFixture) -> None:
    async with open_engine() as engine:
        stream = await engine.connect()
        request = b"GET %b HTTP/1.1\r\nHost: x\r\nOrigin: https://\x9b'%b\r\n\r\n"
        await stream.send_all(request % (POLLING.encode(), b"x" * 5000))
        await stream.receive_some()
        (line,) = refusals(caplog)
        assert line.isprintable()
        assert len(line) < MAX_SHOWN + 250


@pytest.mark.req("LOG-20")
@in_trio
async def test_a_storm_of_refusals_is_summed_up_by_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REFUSALS, "burst", 2)
    monkeypatch.setattr(REFUSALS, "per_s", 0)
    async with open_engine() as engine:
        http = engine.http()
        for _ in range(20):
            await http.request("GET", POLLING, [("Origin", "https://evil.example")])
        await http.request("GET", f"{POLLING}&sid=x")
        assert len(refusals(caplog)) == 3
    assert "foreign origins refused: 18 more in 0 s" in caplog.messages


@in_trio
async def test_broken_requests_have_a_line_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_socketio.http")
    async with open_engine(max_http_buffer_size_bytes=10) as engine:
        stream = await engine.connect()
        await stream.send_all(b"nonsense\r\n\r\n")
        while await stream.receive_some():
            pass
        polling = await engine.polling()
        http = engine.http()
        await http.request("POST", polling.target, body=b"4" * 100)
    assert isinstance(http, HttpClient)
    told = refusals(caplog)
    assert told[0].startswith("refused a request from 127.0.0.1: 400, ")
    assert told[1] == "refused a request from 127.0.0.1: its body is too large"
