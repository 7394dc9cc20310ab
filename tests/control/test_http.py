"""``POST /rpc``: the same methods over HTTP, and who is kept out."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import Controlled, FakeSystem, controlled, write_token
from tests.ops.operated import operated
from tests.socketio.serving import until
from tests.wire import HttpClient, Response
from trio.testing import trio_test

from trio_socketio import Server, TcpEndpoint
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.options import ControlOptions, ControlToken
from trio_socketio.control.service import ControlService
from trio_socketio.http.options import HttpOptions
from trio_socketio.http.routes import Routes
from trio_socketio.http.server import open_http_connections
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.runtime import Runtime, open_runtime

SECRET = "s" * 32
JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", f"Bearer {SECRET}")


@asynccontextmanager
async def admin(runtime: Runtime, service: ControlService) -> AsyncIterator[int]:
    """An admin port that has nothing but /rpc."""
    routes = Routes(destroy_upgrade=True)
    routes.add("/rpc", service.receive_rpc)
    connections = open_http_connections(
        runtime.poller,
        runtime.deadlines,
        ConnectionLimits(),
        HttpOptions(),
        routes.receive_request,
    )
    async with (
        runtime.holding(connections, flush_s=1),
        runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
    ):
        yield addresses[0][1]


@asynccontextmanager
async def over_http(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[Controlled, HttpClient]]:
    token = ControlToken(
        name="web",
        file=write_token(tmp_path, secret=SECRET),
        methods=("emit", "emit_with_ack", "system.*", "backend.*"),
    )
    async with (
        controlled(tmp_path, tokens=(token,), **options) as where,
        admin(where.runtime, where.service) as port,
    ):
        http = HttpClient(port)
        yield where, http
        await http.aclose()


async def post(http: HttpClient, message: Any, *headers: tuple[str, str]) -> Response:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await http.request("POST", "/rpc", headers or (JSON, BEARER), body)


def call(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}


@trio_test
async def test_methods_over_http(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (where, http), where.client() as (client, socket_id):
        response = await post(http, call("emit", event="e", args=[1], all=True))
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"
        assert response.json() == {
            "jsonrpc": "2.0",
            "id": 1,
            "result": {"reached": 1, "missing": {}},
        }
        assert await client.receive_event() == ["e", 1]
        async with trio.open_nursery() as nursery:

            async def acknowledge() -> None:
                assert (await client.receive())[0] == '20["q"]'
                await client.send('30["yes"]')

            nursery.start_soon(acknowledge)
            response = await post(http, call("emit_with_ack", event="q", sockets=[socket_id]))
        assert response.json()["result"]["answers"] == [{"socket": socket_id, "answer": "yes"}]
        response = await post(http, [call("system.info"), call("no_such"), 1])
        assert [one["id"] for one in response.json()] == [1, 1, None]
        response = await post(http, b"{")
        assert (response.status, response.json()["error"]["code"]) == (200, Code.PARSE_ERROR)
        assert (await post(http, call("rooms.list"))).json()["error"]["code"] == Code.FORBIDDEN


@pytest.mark.req("CONTROL-44")
@trio_test
async def test_notifications_are_not_answered(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (where, http), where.client() as (client, _):
        note = {"jsonrpc": "2.0", "method": "emit", "params": {"event": "e", "all": True}}
        for message in (note, [note, note]):
            response = await post(http, message)
            assert (response.status, response.body) == (204, b"")
        for _ in range(3):
            assert await client.receive_event() == ["e"]


@pytest.mark.req("CONTROL-40", "CONTROL-41", "CONTROL-42")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((JSON,), 401),
        ((JSON, ("Authorization", "Bearer wrong")), 401),
        ((JSON, ("Authorization", f"Basic {SECRET}")), 401),
        ((JSON, ("Authorization", "")), 401),
        ((BEARER, ("Content-Type", "text/plain")), 415),
        ((BEARER, ("Content-Type", "application/x-www-form-urlencoded")), 415),
        ((BEARER,), 415),
        ((BEARER, JSON, ("Origin", "http://127.0.0.1")), 403),
        ((BEARER, JSON, ("Origin", "null")), 403),
        ((BEARER, ("content-type", "Application/JSON; charset=utf-8")), 200),
        ((("authorization", f"bearer {SECRET}"), JSON), 200),
    ],
)
@trio_test
async def test_who_is_kept_out(
    tmp_path: Path,
    headers: tuple[tuple[str, str], ...],
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with over_http(tmp_path) as (_, http):
        response = await post(http, call("system.info"), *headers)
        assert response.status == status
        assert "access-control-allow-origin" not in response.headers
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"]["code"] == Code.UNAUTHORIZED
            was_given = ("Authorization", "Bearer wrong") in headers
            assert ("no such token" in response.text) is was_given
            assert ("127.0.0.1: there is no such token" in caplog.text) is was_given
            assert "Bearer" not in caplog.text


@pytest.mark.req("OPS-05", "CONTROL-42")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost.", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:9000", 200),
        ("127.0.0.1:", 200),
        ("[::1]:9000", 200),
        ("[::1]", 200),
        ("ops.example:9000", 200),
        ("ops.example.", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
    ],
)
@trio_test
async def test_the_port_knows_by_which_names_it_may_be_asked(
    tmp_path: Path, host: str, status: int
) -> None:
    options = AdminOptions(listen="127.0.0.1:0", hosts=("Ops.example",))
    body = json.dumps(call("system.info"))
    requests = (
        f"GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"POST /rpc HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n{body}",
    )
    async with (
        over_http(tmp_path) as (where, _),
        operated(Server(), options, rpc=where.service.receive_rpc) as port,
    ):
        for request in requests:
            async with await trio.open_tcp_stream("127.0.0.1", port.admin) as stream:
                await stream.send_all(request.encode())
                with trio.fail_after(5):
                    answer = bytes(await stream.receive_some())
            assert answer.startswith(b"HTTP/1.1 %d " % status), request


@pytest.mark.req("CONTROL-42", "PAGE-21")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("HTTP://127.0.0.1:{port}", 200),
        ("https://127.0.0.1:{port}", 200),  # of a proxy that speaks TLS
        ("http://127.0.0.1:1", 403),
        ("http://127.0.0.1", 403),
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1:{port}.evil.example", 403),
        ("http://evil.example", 403),
        ("127.0.0.1:{port}", 403),
        ("null", 403),
        ("", 403),
    ],
)
@trio_test
async def test_the_page_of_the_port_may_call(tmp_path: Path, origin: str, status: int) -> None:
    async with over_http(tmp_path) as (_, http):
        headers = (JSON, BEARER, ("Origin", origin.format(port=http.port)))
        response = await post(http, call("system.info"), *headers)
        assert response.status == status
        assert "access-control-allow-origin" not in response.headers


@trio_test
async def test_other_methods_of_http_are_refused(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (_, http):
        for method in ("GET", "PUT", "OPTIONS", "DELETE"):
            response = await http.request(method, "/rpc", (BEARER,))
            assert response.status == 405
            assert response.headers["allow"] == "POST"


@trio_test
async def test_a_body_above_the_bound_is_refused(tmp_path: Path) -> None:
    async with over_http(tmp_path, max_line_bytes=2000) as (_, http):
        response = await post(http, b"[" + b" " * 3000 + b"]")
        assert response.status == 413
        assert response.json()["error"] == {
            "code": Code.TOO_LARGE,
            "message": "a body may have at most 2000 bytes",
            "data": {"retryable": False, "max_line_bytes": 2000},
        }
        assert (await post(http, call("system.info"))).status == 200


@trio_test
async def test_the_server_cannot_call_back_over_http(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (_, http):
        error = (await post(http, call("backend.register"))).json()["error"]
        assert error["code"] == Code.INVALID_REQUEST
        answer = (await post(http, {"jsonrpc": "2.0", "id": 1, "result": 1})).json()
        assert answer["error"]["code"] == Code.INVALID_REQUEST
        granted = (await post(http, call("auth", token=SECRET))).json()["result"]
        assert granted["name"] == "web"
        assert (await post(http, call("auth"))).json()["result"] == granted
        wrong = (await post(http, call("auth", token="x"))).json()["error"]
        assert wrong["code"] == Code.UNAUTHORIZED


@pytest.mark.req("CONTROL-43")
@trio_test
async def test_requests_that_wait_are_bounded_and_end_with_their_connection(tmp_path: Path) -> None:
    async with (
        over_http(tmp_path, max_http_calls=1) as (where, http),
        where.client() as (client, socket_id),
    ):
        ask = call("emit_with_ack", event="q", sockets=[socket_id], timeout_s=60)
        waiting = HttpClient(http.port)
        await waiting.send("POST", "/rpc", (JSON, BEARER), json.dumps(ask).encode())
        assert (await client.receive())[0] == '20["q"]'
        response = await post(http, ask)
        assert response.status == 503
        assert response.json()["error"]["code"] == Code.OVERLOADED
        assert (await post(http, call("system.info"))).status == 200  # it does not wait
        await waiting.aclose()
        await until(lambda: where.service._http._at_work == 0)
        (socket,) = where.server.of("/").sockets.values()
        assert socket._acks is not None
        assert not socket._acks._waiting


@trio_test
async def test_the_service_ends_while_a_body_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps([call("system.info")]).encode()
    async with over_http(tmp_path) as (where, http):
        async with await trio.open_tcp_stream("127.0.0.1", http.port) as stream:
            await stream.send_all(
                b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
                % (SECRET.encode(), len(body), body[:5])
            )
            await http.request("GET", "/rpc")  # so that the head has been read
            monkeypatch.setattr(where.service._http, "nursery", None)
            await stream.send_all(body[5:])
            with trio.fail_after(5):
                answer = bytes(await stream.receive_some())
            monkeypatch.undo()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"the control service does not run" in answer


@trio_test
async def test_before_the_service_runs(tmp_path: Path) -> None:
    service = ControlService(Server(), FakeSystem(), ControlOptions())
    async with open_runtime() as runtime, admin(runtime, service) as port:
        http = HttpClient(port)
        response = await post(http, call("system.info"))
        assert response.status == 503
        assert response.json()["error"]["code"] == Code.UNAVAILABLE
        await http.aclose()
