"""Sessions that have joined nothing are bounded, in all and for each address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.socketio.serving import joined, open_client, serving, until
from tests.wire import HttpClient, PollingEngine, Response, SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import (
    ConfigurationError,
    ConnectRefused,
    LocalProtocolError,
    Server,
    ServerOptions,
    Socket,
    open_server,
)

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
ORIGIN = "https://a.example"
QUICK_S = 0.05  # polling clients that open a session and nothing else fetch no last packet


@asynccontextmanager
async def http_client(port: int) -> AsyncIterator[HttpClient]:
    http = HttpClient(port)
    try:
        yield http
    finally:
        await http.aclose()


async def get(http: HttpClient, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.request("GET", POLLING, headers=list(named.items()))


def check_told(response: Response, status: int, message: str) -> None:
    assert response.status == status
    assert response.json() == {"code": 3, "message": message}
    assert response.headers["retry-after"] == "5"
    assert response.headers["content-type"] == "application/json"


OF_ALL = (503, "Too many sessions that have joined nothing")
OF_ONE = (429, "Too many sessions of this address that have joined nothing")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"max_unjoined_sessions": 3}, OF_ALL, marks=pytest.mark.req("BND-13")),
        pytest.param(
            {"max_unjoined_sessions_per_address": 3}, OF_ONE, marks=pytest.mark.req("BND-14")
        ),
    ],
)
@trio_test
async def test_further_sessions_are_refused(
    options: dict[str, Any], told: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(ServerOptions(stop_flush_s=QUICK_S, cors_origins=ORIGIN, **options))
    async with serving(server) as port, http_client(port) as http:
        for _ in range(3):
            assert (await get(http)).status == 200
        assert server.statistics().sessions_unjoined == 3
        for count in range(1, 4):
            refused = await get(http, origin=ORIGIN)
            check_told(refused, *told)
            assert refused.headers["access-control-allow-origin"] == ORIGIN
            assert server.statistics().sessions_refused == count
        upgrade = await http.request("GET", WEBSOCKET, headers=list(UPGRADE.items()))
        assert (upgrade.status, upgrade.text) == told
        assert upgrade.headers["retry-after"] == "5"
        assert server.statistics().sessions == 3
    assert caplog.text.count(told[1]) == 1  # the log is not flooded


@pytest.mark.req("BND-20")
@trio_test
async def test_an_address_that_opens_sessions_too_fast_is_told_when_to_come_back() -> None:
    proxies = (ip_network("127.0.0.0/8"),)
    server = Server(
        ServerOptions(
            stop_flush_s=QUICK_S,
            cors_origins=ORIGIN,
            trusted_proxies=proxies,
            session_rate_per_address=0.1,
            session_burst_per_address=2,
        )
    )
    async with serving(server) as port, http_client(port) as http:
        for _ in range(2):
            assert (await get(http, x_forwarded_for="192.0.2.1")).status == 200
        refused = await get(http, x_forwarded_for="192.0.2.1", origin=ORIGIN)
        assert refused.status == 429
        assert refused.json() == {"code": 3, "message": "Too many new sessions of this address"}
        assert refused.headers["retry-after"] == "10"
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        headers = [*UPGRADE.items(), ("x-forwarded-for", "192.0.2.1")]
        upgrade = await http.request("GET", WEBSOCKET, headers=headers)
        assert (upgrade.status, upgrade.headers["retry-after"]) == (429, "10")
        assert (await get(http, x_forwarded_for="192.0.2.2")).status == 200
        assert server.statistics().sessions == 3
        assert server.statistics().sessions_refused == 2
        assert server._host.counts.refused == {"sessions of one address too fast": 2}


@pytest.mark.req("BND-20")
@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), True, "2"])
def test_a_rate_of_sessions_is_a_number(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match="session_rate_per_address"):
        Server(ServerOptions(session_rate_per_address=rate))


@pytest.mark.req("BND-15")
@trio_test
async def test_who_joins_makes_room(transport: str) -> None:
    """As many as like may be there, as long as they join."""
    server = Server(
        ServerOptions(
            stop_flush_s=QUICK_S, max_unjoined_sessions=1, max_unjoined_sessions_per_address=1
        )
    )
    async with serving(server) as port, trio.open_nursery() as nursery:
        leave = trio.Event()

        async def be_there(task_status: trio.TaskStatus[None]) -> None:
            async with joined(port, transport):
                task_status.started()
                await leave.wait()

        for _ in range(20):
            await nursery.start(be_there)
        assert server.statistics().sessions == 20
        assert server.statistics().sessions_unjoined == 0
        leave.set()
    assert server.statistics().sessions_refused == 0


@pytest.mark.req("BND-15")
@trio_test
async def test_who_is_refused_or_asked_takes_its_place_until_it_goes(transport: str) -> None:
    server = Server(ServerOptions(stop_flush_s=QUICK_S, max_unjoined_sessions=2))
    go_on = trio.Event()

    @server.use
    async def check(socket: Socket) -> None:
        if socket.handshake.auth.get("wait"):
            await go_on.wait()
        else:
            raise ConnectRefused("no")

    async with serving(server) as port:
        async with (
            open_client(port, transport) as refused,
            open_client(port, transport) as asked,
            http_client(port) as http,
        ):
            await refused.send("0")
            assert (await refused.receive())[0].startswith("4")
            await asked.send('0{"wait":true}')
            check_told(await get(http), *OF_ALL)
            go_on.set()
            assert (await asked.receive())[0].startswith("0")
            assert server.statistics().sessions_unjoined == 1
        await until(lambda: server.statistics().sessions_unjoined == 0)


@pytest.mark.req("BND-15")
@trio_test
async def test_clients_of_2_join_as_they_come() -> None:
    server = Server(ServerOptions(stop_flush_s=QUICK_S, allow_eio3=True, max_unjoined_sessions=1))
    async with serving(server) as port, http_client(port) as http:
        for _ in range(3):
            response = await http.request("GET", POLLING.replace("EIO=4", "EIO=3"))
            assert response.status == 200
        assert server.statistics().sessions_unjoined == 0


@pytest.mark.req("BND-14")
@trio_test
async def test_the_address_is_the_one_that_a_trusted_proxy_names() -> None:
    options = ServerOptions(
        stop_flush_s=QUICK_S,
        max_unjoined_sessions_per_address=1,
        trusted_proxies=(ip_network("127.0.0.0/8"),),
    )
    async with serving(Server(options)) as port, http_client(port) as http:
        for address, status in (
            ("203.0.113.1", 200),
            ("203.0.113.1", 429),
            ("203.0.113.2", 200),
            ("::ffff:203.0.113.2", 429),
            ("2001:db8:0:1::1", 200),
            ("2001:db8:0:1:2:3:4:5", 429),  # one site, as providers hand them out
            ("2001:db8:0:2::1", 200),
        ):
            assert (await get(http, x_forwarded_for=address)).status == status, address


@trio_test
async def test_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(ServerOptions(stop_flush_s=QUICK_S, max_unjoined_sessions_per_address=1))
    head = f"GET {POLLING} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with open_server(server, unix_path=path):
        for _ in range(3):
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(head)
                assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 200")
        assert server.statistics().sessions_unjoined == 3


@trio_test
async def test_bare_engine_sessions_count_until_the_app_knows_them() -> None:
    server = Server(ServerOptions(stop_flush_s=QUICK_S, max_unjoined_sessions=1))
    sessions: list[Any] = []

    class Quiet:
        def receive_text(self, packet: bytes) -> None: ...
        def receive_binary(self, data: bytes) -> None: ...
        def session_closed(self, reason: str) -> None: ...
        def next_deadline(self) -> float:
            return float("inf")

        def expire(self, now: float) -> None: ...

    def open_session(session: Any) -> Quiet:
        sessions.append(session)
        return Quiet()

    server.mount("/bare/", open_session)
    async with serving(server) as port, http_client(port) as http:
        bare = "/bare/?EIO=4&transport=polling"
        assert (await http.request("GET", bare)).status == 200
        check_told(await http.request("GET", bare), *OF_ALL)
        check_told(await get(http), *OF_ALL)
        for _ in range(3):
            sessions[-1].joined()  # the app knows who it is
            assert (await http.request("GET", bare)).status == 200
        assert server.statistics().sessions_unjoined == 1
        sessions[-1].joined()
        assert (await get(http)).status == 200
        for session in sessions:
            session.lose("transport close")


@trio_test
async def test_an_app_that_fails_to_open_a_session_costs_that_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(ServerOptions(stop_flush_s=QUICK_S))
    failing: Any = lambda session: 1 / 0  # noqa: E731 - a def would not be Any
    useless: Any = lambda session: None  # noqa: E731 - likewise
    server.mount("/bad/", failing)
    server.mount("/none/", useless)
    for path in ("relative", "/a b/"):
        with pytest.raises(ConfigurationError, match="path"):
            server.mount(path, useless)
    with pytest.raises(LocalProtocolError, match="open_session"):
        server.mount("/five/", 5)  # type: ignore[arg-type]  # that is the point
    async with serving(server) as port, http_client(port) as http:
        for path in ("/bad/", "/none/"):
            response = await http.request("GET", f"{path}?EIO=4&transport=polling")
            assert response.status == 200
            assert response.body == b"1"  # it is closed
        assert (await get(http)).status == 200
        await until(lambda: server.statistics().sessions == 1)
        assert server.statistics().handler_failures == 2
        assert server.statistics().defects == 0
    assert "open_session of /bad/" in caplog.text
    assert "which has no receive_text" in caplog.text
    caplog.clear()


@pytest.mark.alone
@trio_test
async def test_a_storm_of_clients_that_join_is_let_in() -> None:
    """A restart: all clients come at once, from one address, more than may be unjoined."""
    server = Server(ServerOptions(stop_flush_s=QUICK_S, max_unjoined_sessions_per_address=300))
    count = 1000
    async with serving(server) as port:
        clients: list[SocketIOClient] = []

        async def come(number: int) -> None:
            engine = await (WebSocketEngine if number % 2 else PollingEngine).open(port)
            client = SocketIOClient(engine)
            await client.connect()
            clients.append(client)

        async with trio.open_nursery() as nursery:
            limit = trio.CapacityLimiter(250)

            async def come_soon(number: int) -> None:
                async with limit:
                    await come(number)

            for number in range(count):
                nursery.start_soon(come_soon, number)
        assert len(clients) == count
        assert server.statistics().sessions_refused == 0
        for client in clients:
            await client.aclose()
        server.stop()
