"""Middleware, allow_request, generate_id and events of the engine: what they may do, and cannot."""

import logging
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from typing import Any, Final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.harness import (
    PATH,
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_refused,
    assert_upgrade_refused,
    in_trio,
    on_mock_clock,
    open_engine,
    settle,
    split,
)
from tests.wire import ConnectionEnded, HttpClient, Rejected, WebSocketClient
from trio.testing import MockClock

from trio_socketio import (
    ConnectRefused,
    EngineRequest,
    LocalProtocolError,
    RefusedRequest,
    ResponseHeaders,
    Server,
    ServerOptions,
    Session,
    open_server,
)
from trio_socketio.runtime.failures import IN_FULL

HOOK_S: Final = 10.0


async def upgrade(engine: Engine, target: str = WEBSOCKET) -> Any:
    return await engine.request("GET", target, UPGRADE_HEADERS)


def both(function: Callable[[EngineRequest], Any]) -> list[Callable[[EngineRequest], Any]]:
    """The function plain, and async with a suspension before it decides."""

    async def suspended(request: EngineRequest) -> Any:
        await trio.lowlevel.checkpoint()
        return function(request)

    return [function, suspended]


def refuse(message: str) -> Callable[[EngineRequest], Any]:
    def hook(_: EngineRequest) -> Any:
        raise ConnectRefused(message)

    return hook


# --- allow_request


@pytest.mark.req("EIO4-07")
@pytest.mark.parametrize("hook", both(lambda request: "token" in request.headers))
@in_trio
async def test_allow_request_lets_in_or_forbids(hook: Callable[[EngineRequest], Any]) -> None:
    async with open_engine(allow_request=hook) as engine:
        assert_refused(await engine.request("GET", POLLING), 4)
        assert_upgrade_refused(await upgrade(engine), 4)
        assert engine.listeners == []
        token = [("Token", "t")]
        opened = await engine.request("GET", POLLING, token)
        assert split(opened)[0].startswith("0{")
        websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET, token))
        await websocket.receive()
        await websocket.send("4x")
        assert await websocket.receive() == "4x"


@pytest.mark.req("EIO4-07")
@pytest.mark.parametrize(
    ("hook", "message"),
    [
        *((hook, "no \u20ac") for hook in both(refuse("no \u20ac"))),
        (refuse("half \ud800"), "half ?"),
    ],
)
@in_trio
async def test_allow_request_may_say_why(
    hook: Callable[[EngineRequest], Any], message: str
) -> None:
    async with open_engine(allow_request=hook) as engine:
        assert_refused(await engine.request("GET", POLLING), 4, message)
        assert_upgrade_refused(await upgrade(engine), 4, message)


def _fail(_: EngineRequest) -> bool:
    raise RuntimeError("out of luck")


async def _coroutine(_: EngineRequest) -> bool:
    return True


@pytest.mark.req("EIO4-07")
@in_trio
async def test_a_session_that_nobody_listens_to_after_a_hook_does_not_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, hook = both(lambda _: True)

    def fail(_: Session) -> Any:
        raise RuntimeError("a defect")

    ended: list[Session] = []
    server = Server(ServerOptions(allow_request=hook))
    server.mount(PATH, fail)
    server.engine.on("connection")(ended.append)
    with caplog.at_level(logging.CRITICAL):
        async with open_server(server) as addresses:
            client = HttpClient(addresses[0][1])
            with suppress(Exception):  # how it is told is not at issue
                await client.request("GET", POLLING)
            await client.aclose()
            websocket = await WebSocketClient.open(addresses[0][1], WEBSOCKET)
            await websocket.receive()  # the open packet had left already
            with pytest.raises(ConnectionEnded):
                await websocket.receive()
            await websocket.aclose()
            assert server._running is not None
            assert [engine.sessions for engine in server._running.engines] == [{}, {}]
            assert server.statistics().handler_failures == 2
            assert server.statistics().defects == 0
    assert ended == []


@pytest.mark.req("EIO4-07")
@pytest.mark.parametrize("hook", [*both(_fail), *both(lambda _: None), *both(lambda _: "yes")])
@in_trio
async def test_only_true_lets_in(
    hook: Callable[[EngineRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(allow_request=hook) as engine:
        with caplog.at_level(logging.CRITICAL):
            assert_refused(await engine.request("GET", POLLING), 4)
        assert engine.server.statistics().handler_failures == 1
        assert engine.listeners == []


@pytest.mark.req("EIO4-07", "EIO4-11")
@in_trio
async def test_allow_request_is_asked_about_handshakes_only_and_before_the_revision() -> None:
    asked: list[str] = []

    def allow(request: EngineRequest) -> bool:
        asked.append(request.url)
        return "no" not in request.query

    async with open_engine(allow_request=allow) as engine:
        polling = await engine.polling()
        await polling.send("4x")
        assert await polling.receive() == "4x"
        await engine.upgrade(polling)
        assert asked == [POLLING]
        old = f"{PATH}?EIO=2&transport=polling"
        assert_refused(await engine.request("GET", old), 5)
        assert_refused(await engine.request("GET", old + "&no=1"), 4)
        assert_refused(await engine.request("GET", f"{PATH}?EIO=4&transport=x&no=1"), 0)
        assert_refused(await engine.request("POST", POLLING + "&no=1", body=b""), 2)
        assert len(asked) == 3


@pytest.mark.req("EIO4-67")
@on_mock_clock
async def test_an_async_hook_has_a_deadline_and_keeps_nobody_waiting(
    clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def allow(request: EngineRequest) -> bool:
        if "wait" in request.query:
            await trio.sleep_forever()
        return True

    async with open_engine(allow_request=allow, hook_timeout_s=HOOK_S) as engine:
        waiting = engine.http()
        await waiting.send("GET", POLLING + "&wait=1")
        await settle()
        polling = await engine.polling()
        await polling.send("4x")
        assert await polling.receive() == "4x"
        clock.jump(HOOK_S - 0.1)
        await settle()
        assert len(engine.listeners) == 1
        clock.jump(0.2)
        assert_refused(await waiting.receive(), 4)
        assert engine.server.statistics().handler_failures == 1


@pytest.mark.req("EIO4-67")
@on_mock_clock
async def test_a_hook_that_shields_itself_is_late_all_the_same(
    clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def allow(request: EngineRequest) -> bool:
        with trio.CancelScope(shield=True):
            await trio.sleep(HOOK_S + 1)
        return True

    async with open_engine(allow_request=allow, hook_timeout_s=HOOK_S) as engine:
        waiting = engine.http()
        await waiting.send("GET", POLLING)
        await settle()
        clock.jump(HOOK_S + 2)
        assert_refused(await waiting.receive(), 4)
        assert not engine.listeners


@pytest.mark.req("EIO4-67")
@in_trio
async def test_a_refusal_in_a_group_of_one_is_that_refusal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it leaves a nursery, which is how programs on trio wait for two things at once."""

    async def refuse() -> None:
        raise ConnectRefused("not today")

    async def allow(request: EngineRequest) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
        return True

    async with open_engine(allow_request=allow) as engine:
        response = await engine.request("GET", POLLING)
        assert response.status == 403
        assert response.json() == {"code": 4, "message": "not today"}
        assert engine.server.statistics().handler_failures == 0
    assert caplog.records == []


@pytest.mark.req("EIO4-67")
@in_trio
async def test_requests_of_one_connection_wait_for_a_hook_and_are_answered_in_turn() -> None:
    go_on = trio.Event()

    async def allow(request: EngineRequest) -> bool:
        if "wait" in request.query:
            await go_on.wait()
        return "no" not in request.query

    async with open_engine(allow_request=allow) as engine:
        stream = await engine.connect()
        for more in ("&wait=1", "&no=1", ""):
            await stream.send_all(f"GET {POLLING}{more} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await settle()
        assert engine.listeners == []
        go_on.set()
        answer = b""
        while answer.count(b"HTTP/1.1") < 3 or not answer.endswith(b"}"):
            answer += await stream.receive_some()
        assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"403", b"200"]


@pytest.mark.req("EIO4-67")
@in_trio
async def test_a_client_that_leaves_while_a_hook_waits_opens_nothing() -> None:
    cancelled: list[str] = []
    started = trio.Event()

    async def allow(request: EngineRequest) -> bool:
        started.set()
        try:
            await trio.sleep(1000)
        except trio.Cancelled:
            cancelled.append(request.method)
            raise
        return True

    async with open_engine(allow_request=allow) as engine:
        http = engine.http()
        await http.send("GET", POLLING)
        await started.wait()
        await http.aclose()
        await settle()
        assert cancelled == ["GET"]
        assert engine.engine.sessions == {}
        assert engine.server.statistics().handler_failures == 0


# --- middleware


@pytest.mark.req("EIO4-68")
@pytest.mark.parametrize("kind", [0, 1])
@in_trio
async def test_middleware_sees_every_request_and_sets_headers(kind: int) -> None:
    seen: list[tuple[str, str | None, bool]] = []

    def middleware(request: EngineRequest) -> None:
        seen.append((request.method, request.sid, request.is_upgrade))
        request.response_headers["X-Seen"] = str(len(seen))
        request.response_headers.add("Set-Cookie", "a=1")
        request.response_headers.add("Set-Cookie", "b=2")

    async with open_engine(configure=lambda s: s.engine.use(both(middleware)[kind])) as engine:
        opened = await engine.request("GET", POLLING)
        sid = engine.session.sid
        target = f"{POLLING}&sid={sid}"
        assert opened.headers["x-seen"] == "1"
        posted = await engine.request("POST", target, body=b"4" + b"x" * 100_000)
        assert (posted.text, posted.headers["x-seen"]) == ("ok", "2")
        polled = await engine.request("GET", target)
        assert (len(polled.body), polled.headers["x-seen"]) == (100_001, "3")
        refused = await engine.request("GET", target + "x")
        assert_refused(refused, 1)
        assert refused.headers["x-seen"] == "4"
        stream = await engine.connect()
        lines = [f"GET {WEBSOCKET} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in UPGRADE_HEADERS]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nx-seen: 5\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n" in answer
        assert seen == [
            ("GET", None, False),
            ("POST", sid, False),
            ("GET", sid, False),
            ("GET", sid + "x", False),
            ("GET", None, True),
        ]


@pytest.mark.req("EIO4-68")
@pytest.mark.parametrize("kind", [0, 1])
@in_trio
async def test_middleware_refuses_with_code_3(kind: int) -> None:
    def configure(server: Server) -> None:
        server.engine.use(both(refuse("no token"))[kind])
        server.engine.use(lambda _: reached.append(1))

    reached: list[int] = []
    async with open_engine(configure=configure) as engine:
        assert_refused(await engine.request("GET", POLLING), 3, "no token")
        assert_refused(await engine.request("GET", f"{PATH}?transport=x"), 3, "no token")
        assert_upgrade_refused(await upgrade(engine), 3, "no token")
        assert reached == []


@pytest.mark.req("EIO4-68")
@pytest.mark.parametrize("hook", [*both(_fail), lambda request: _coroutine(request)])
@in_trio
async def test_middleware_that_fails_refuses(
    hook: Callable[[EngineRequest], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(configure=lambda server: server.engine.use(hook)) as engine:
        with caplog.at_level(logging.CRITICAL):
            assert_refused(await engine.request("GET", POLLING), 3)
        assert engine.server.statistics().handler_failures == 1


@pytest.mark.req("SURF-32")
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("verdict", "message"),
    [(False, "Bad request"), (ConnectRefused("no"), "no"), (KeyError("k"), "Bad request")],
)
@in_trio
async def test_a_refusal_that_middleware_returns_refuses(
    kind: int, verdict: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard = both(lambda _: verdict)[kind]
    async with open_engine(configure=lambda server: server.engine.use(guard)) as engine:
        assert_refused(await engine.request("GET", POLLING), 3, message)
        assert_upgrade_refused(await upgrade(engine), 3, message)
        assert engine.server.statistics().handler_failures == 2
    assert "raise ConnectRefused" in caplog.text
    assert [record.exc_info for record in caplog.records] == [None, None]


@pytest.mark.req("SURF-32")
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("verdict", "message"),
    [(ConnectRefused("no"), "no"), (KeyError("k"), "Forbidden"), (None, "Forbidden")],
)
@in_trio
async def test_allow_request_that_returns_a_refusal_refuses(
    kind: int, verdict: Any, message: str
) -> None:
    async with open_engine(allow_request=both(lambda _: verdict)[kind]) as engine:
        assert_refused(await engine.request("GET", POLLING), 4, message)
        assert engine.server.statistics().handler_failures == 1


@pytest.mark.parametrize("kind", [0, 1])
@in_trio
async def test_hooks_that_keep_failing_are_summed_up(
    kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    def configure(server: Server) -> None:
        server.engine.use(both(lambda request: request.query.get("ok") or _fail(request))[kind])
        server.engine.on("connection_error")(_fail)

    async with open_engine(configure=configure) as engine:
        for _ in range(50):
            assert_refused(await engine.request("GET", POLLING), 3)
        assert engine.server.statistics().handler_failures == 100
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 2 * IN_FULL
    assert sum("more times" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.req("EIO4-68")
@in_trio
async def test_a_body_waits_for_async_middleware_in_any_pieces() -> None:
    async def middleware(_: EngineRequest) -> None:
        await trio.sleep(0.001)

    async with open_engine(
        configure=lambda server: server.engine.use(middleware),
        max_http_buffer_size_bytes=1000,
        http_compression=None,
    ) as engine:
        polling = await engine.polling()
        for message in ("x", "y" * 999):
            await polling.send("4" + message)
            assert await polling.receive() == "4" + message
        stream = await engine.connect()
        head = f"POST {polling.target} HTTP/1.1\r\nHost: x\r\n".encode()
        for chunk in (head, b"Transfer-Encoding: chunked\r\n\r\n3\r\n", b"4ab\r\n", b"0\r\n\r\n"):
            await stream.send_all(chunk)
            await settle()
        assert b" 200 " in await stream.receive_some()
        assert await polling.receive() == "4ab"
        too_long = await engine.request("POST", polling.target, body=b"4" + b"z" * 1000)
        assert too_long.status == 413
        await stream.send_all(head + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"4" * 2000)
        assert b" 413 " in await stream.receive_some()
        assert engine.session.is_open


@in_trio
async def test_plain_hooks_decide_without_a_task() -> None:
    async with open_engine(
        configure=lambda server: server.engine.use(lambda _: None), allow_request=lambda _: True
    ) as engine:
        submitted: list[Any] = []
        workers: Any = engine.server._workers
        workers.submit = submitted.append
        polling = await engine.polling()
        await polling.send("4x")
        assert await polling.receive() == "4x"
        assert submitted == []


# --- ids


@pytest.mark.req("EIO4-69")
@pytest.mark.parametrize("kind", [0, 1])
@in_trio
async def test_a_program_names_its_sessions(kind: int) -> None:
    ids = iter(["first", "a" * 128, "-._~"])
    async with open_engine(generate_id=both(lambda _: next(ids))[kind]) as engine:
        assert (await engine.polling()).handshake["sid"] == "first"
        assert (await engine.websocket()).handshake["sid"] == "a" * 128
        polling = await engine.polling()
        assert polling.handshake["sid"] == "-._~"
        await polling.send("4x")
        assert await polling.receive() == "4x"


@pytest.mark.req("EIO4-69")
@pytest.mark.parametrize(
    "named", ["", "a" * 129, "a b", "a\r\nb", "\u20ac", "a;b", "a=b", None, 5, "taken"]
)
@in_trio
async def test_what_cannot_name_a_session_is_refused(
    named: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids = iter(["taken", named, named])
    async with open_engine(generate_id=lambda _: next(ids)) as engine:
        first = await engine.polling()
        with caplog.at_level(logging.CRITICAL):
            assert_refused(await engine.request("GET", POLLING), 3)
            assert_upgrade_refused(await upgrade(engine), 3)
        assert engine.server.statistics().handler_failures == 2
        await first.send("4mine")
        assert await first.receive() == "4mine"


@pytest.mark.req("EIO4-69")
@in_trio
async def test_the_same_id_at_the_same_time_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    both_asked = trio.Event()
    asked: list[int] = []

    async def generate(_: EngineRequest) -> str:
        asked.append(1)
        if len(asked) == 2:
            both_asked.set()
        await both_asked.wait()
        return "same"

    async with open_engine(generate_id=generate) as engine:
        clients = [engine.http(), engine.http()]
        for http in clients:
            await http.send("GET", POLLING)
        with caplog.at_level(logging.CRITICAL):
            assert sorted([(await http.receive()).status for http in clients]) == [200, 400]
        assert len(engine.listeners) == 1


# --- events


@pytest.mark.req("EIO4-70")
@in_trio
async def test_listeners_add_headers_to_the_answers_of_a_session() -> None:
    def configure(server: Server) -> None:
        @server.engine.on("initial_headers")
        def initial(headers: ResponseHeaders, request: EngineRequest) -> None:
            headers["X-Initial"] = request.method

        @server.engine.on("headers")
        def every(headers: ResponseHeaders, request: EngineRequest) -> None:
            headers["X-Every"] = f"{headers.get('x-initial', 'none')} {request.is_upgrade}"

    async with open_engine(configure=configure) as engine:
        opened = await engine.request("GET", POLLING)
        assert opened.headers["x-initial"] == "GET"
        assert opened.headers["x-every"] == "GET False"
        target = f"{POLLING}&sid={engine.session.sid}"
        posted = await engine.request("POST", target, body=b"4x")
        polled = await engine.request("GET", target)
        for response in (posted, polled):
            assert "x-initial" not in response.headers
            assert response.headers["x-every"] == "none False"
        refused = await engine.request("GET", target + "x")
        assert "x-every" not in refused.headers


@pytest.mark.req("EIO4-70")
@in_trio
async def test_a_refused_request_and_a_new_session_are_told() -> None:
    errors: list[tuple[int, str, str, str]] = []
    sessions: list[str] = []

    def configure(server: Server) -> None:
        @server.engine.on("connection_error")
        def refused(error: RefusedRequest) -> None:
            errors.append((error.code, error.message, error.context, error.request.path))

        @server.engine.on("connection")
        def opened(session: Session) -> None:
            sessions.append(session.sid)

    async with open_engine(
        configure=configure, allow_request=lambda r: "no" not in r.query
    ) as engine:
        await engine.request("GET", POLLING + "x")
        await engine.request("GET", POLLING + "&sid=x")
        await engine.request("GET", POLLING + "&no=1")
        await engine.request("GET", POLLING, [("Origin", "https://elsewhere.example")])
        with pytest.raises(Rejected):
            await WebSocketClient.open(engine.port, WEBSOCKET + "&sid=x")
        broken = [item for item in UPGRADE_HEADERS if item[0] != "Sec-WebSocket-Key"]
        await engine.request("GET", WEBSOCKET, broken)
        assert [error[:3] for error in errors] == [
            (0, "Transport unknown", ""),
            (1, "Session ID unknown", ""),
            (4, "Forbidden", ""),
            (4, "Forbidden", ""),
            (1, "Session ID unknown", ""),
            (3, "Bad request", ""),
        ]
        assert {error[3] for error in errors} == {PATH}
        assert sessions == []
        await engine.polling()
        assert sessions == [engine.session.sid]


@pytest.mark.req("EIO4-70")
@in_trio
async def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def configure(server: Server) -> None:
        server.engine.on("headers")(lambda headers, _: headers.add("X-Bad", "a\r\nb: c"))
        server.engine.on("connection")(lambda session: 1 / 0)

    async with open_engine(configure=configure) as engine:
        with caplog.at_level(logging.CRITICAL):
            polling = await engine.polling()
            await polling.send("4x")
            assert await polling.receive() == "4x"
        assert engine.server.statistics().handler_failures == 4


@in_trio
async def test_hooks_are_registered_before_serving() -> None:
    server = Server()
    with pytest.raises(LocalProtocolError, match="no event 'nothing'"):
        server.engine.on("nothing")
    with pytest.raises(LocalProtocolError, match="is async"):
        server.engine.on("connection_error")(_coroutine)
    async with open_server(server):
        with pytest.raises(LocalProtocolError, match="before it serves"):
            server.engine.use(_coroutine)
        with pytest.raises(LocalProtocolError, match="before it serves"):
            server.engine.on("headers")(print)
    server.engine.use(_coroutine)


# --- headers


@pytest.mark.req("EIO4-71")
@given(st.text(max_size=20), st.text(max_size=20))
def test_no_header_breaks_out(name: str, value: str) -> None:
    headers = ResponseHeaders()
    try:
        headers[name] = value
        headers.add(name, value)
    except LocalProtocolError:
        assert "\r" in name + value or not headers or name.lower() not in headers
        return
    for encoded_name, encoded in headers.encode():
        assert not set(encoded_name) & set(b'\r\n\0: ()"')
        assert not set(encoded) & set(b"\r\n\0")
        assert encoded == encoded.strip(b" \t")


@pytest.mark.req("EIO4-71")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nSet-Cookie: b=c"),
        ("X", "a\nb"),
        ("X", "a\0"),
        ("X", "\u20ac"),
        ("X\r\nY", "a"),
        ("X: Y", "a"),
        ("", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Sec-WebSocket-Extensions", "x"),
        ("CONTENT-TYPE", "text/html"),
    ],
)
def test_what_would_change_the_answer_is_refused(name: str, value: str) -> None:
    headers = ResponseHeaders()
    with pytest.raises(LocalProtocolError):
        headers[name] = value
    with pytest.raises(LocalProtocolError):
        headers.add(name, value)
    assert len(headers) == 0


def test_headers_are_a_mapping_whose_names_have_no_case() -> None:
    headers = ResponseHeaders()
    headers["X-A"] = "1"
    headers.add("x-a", "2")
    assert (headers["X-a"], list(headers), len(headers)) == ("1, 2", ["x-a"], 1)
    headers["x-A"] = "3"
    assert headers.encode() == [(b"x-a", b"3")]
    del headers["X-A"]
    assert dict(headers) == {}


@in_trio
async def test_a_hook_sees_the_client_that_a_trusted_proxy_names() -> None:
    seen: list[tuple[str, bool, dict[str, str]]] = []

    def allow(request: EngineRequest) -> bool:
        seen.append((request.address, request.secure, request.query))
        return True

    forwarded = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")]
    async with open_engine(
        allow_request=allow, trusted_proxies=(ip_network("127.0.0.0/8"),)
    ) as engine:
        http = HttpClient(engine.port)
        await http.request("GET", POLLING + "&a=b", forwarded)
        await http.aclose()
    query = {"EIO": "4", "transport": "polling", "a": "b"}
    assert seen == [("203.0.113.9", True, query)]
