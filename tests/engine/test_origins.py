"""Pages of other origins: who may talk to the server, and what lets a page read the answers."""

from ipaddress import ip_network
from typing import Final

import pytest
from tests.engine.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    assert_refused,
    assert_upgrade_refused,
    in_trio,
    open_engine,
)
from tests.wire import Response, WebSocketClient

FOREIGN: Final = "https://elsewhere.example"
FRIEND: Final = "https://friend.example"
LOCAL_PROXY: Final = (ip_network("127.0.0.0/8"),)


async def ask(engine: Engine, method: str, target: str, *headers: tuple[str, str]) -> Response:
    """One request with exactly these headers: Host is one of them."""
    stream = await engine.connect()
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    await stream.send_all("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
    answer = b""
    while part := bytes(await stream.receive_some()):
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    named = [field.partition(": ") for field in fields]
    return Response(int(status.split()[1]), {name.lower(): value for name, _, value in named}, body)


def cors_of(response: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


# --- the default: pages of our own origin


@pytest.mark.req("EIO4-60")
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("chat.example", "http://chat.example"),
        ("chat.example:80", "http://chat.example"),
        ("chat.example", "http://chat.example:80"),
        ("chat.example", "https://chat.example"),  # TLS ends at a proxy
        ("chat.example:443", "https://chat.example"),
        ("chat.example:3000", "http://chat.example:3000"),
        ("Chat.Example", "http://chat.example"),
        ("[::1]:3000", "http://[::1]:3000"),
    ],
)
@in_trio
async def test_a_page_of_the_same_origin_may_connect(host: str, origin: str) -> None:
    async with open_engine() as engine:
        response = await ask(engine, "GET", POLLING, ("Host", host), ("Origin", origin))
        assert response.status == 200
        assert cors_of(response) == {}


@pytest.mark.req("EIO4-60")
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("chat.example", FOREIGN),
        ("chat.example", "http://chat.example:8080"),
        ("chat.example:8080", "http://chat.example"),
        ("chat.example:80", "https://chat.example"),
        ("chat.example", "http://www.chat.example"),
        ("chat.example", "http://chat.example.evil.example"),
        ("chat.example", "http://chat.example@evil.example"),
        ("chat.example", "null"),
        ("chat.example", ""),
        ("chat.example", "file://chat.example"),
        ("chat.example", "chat.example"),
        ("chat.example", "http://chat.example:99999"),
        ("chat.example", "http://[chat.example"),
        ("", "http://"),
        ("", "null"),
    ],
)
@in_trio
async def test_a_page_of_another_origin_is_refused(host: str, origin: str) -> None:
    async with open_engine() as engine:
        headers = (("Host", host), ("Origin", origin))
        assert_refused(await ask(engine, "GET", POLLING, *headers), 4)
        upgrade = [item for item in UPGRADE_HEADERS if item[0] != "Connection"]
        stream = await engine.connect()
        lines = [f"GET {WEBSOCKET} HTTP/1.1", "Connection: Upgrade"]
        lines += [f"{name}: {value}" for name, value in (*headers, *upgrade)]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        answer = bytes(await stream.receive_some())
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"\r\n\r\nForbidden")
        assert engine.listeners == []


@pytest.mark.req("EIO4-60", "EIO4-10")
@in_trio
async def test_a_foreign_websocket_is_refused_in_the_upgrades_form() -> None:
    async with open_engine() as engine:
        headers = [*UPGRADE_HEADERS, ("Origin", FOREIGN)]
        assert_upgrade_refused(await engine.request("GET", WEBSOCKET, headers), 4)


@pytest.mark.req("EIO4-60")
@in_trio
async def test_a_foreign_page_cannot_reach_a_session_that_is_there() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        foreign = [("Origin", FOREIGN)]
        assert_refused(await engine.request("GET", polling.target, foreign), 4)
        assert_refused(await engine.request("POST", polling.target, foreign, b"4x"), 4)
        target = f"{WEBSOCKET}&sid={polling.handshake['sid']}"
        response = await engine.request("GET", target, [*UPGRADE_HEADERS, *foreign])
        assert_upgrade_refused(response, 4)
        await polling.send("4mine")
        assert engine.listener.received == ["mine"]


@in_trio
async def test_who_is_no_page_sends_no_origin_and_may_connect() -> None:
    async with open_engine(cors_origins=(FRIEND,)) as engine:
        assert (await engine.request("GET", POLLING)).status == 200


@pytest.mark.req("EIO4-60")
@in_trio
async def test_by_default_a_preflight_of_a_foreign_page_is_refused() -> None:
    async with open_engine() as engine:
        headers = [("Origin", FOREIGN), ("Access-Control-Request-Method", "POST")]
        response = await engine.request("OPTIONS", POLLING, headers)
        assert_refused(response, 4)
        assert cors_of(response) == {}


# --- behind a proxy that changes Host


@pytest.mark.req("EIO4-60")
@pytest.mark.parametrize(
    ("trusted", "forwarded_host", "allowed"),
    [
        (LOCAL_PROXY, "chat.example", True),
        (LOCAL_PROXY, "other.example", False),
        ((ip_network("10.0.0.0/8"),), "chat.example", False),
        ((), "chat.example", False),
    ],
)
@in_trio
async def test_only_a_trusted_proxy_says_which_host_was_asked(
    trusted: tuple[object, ...], forwarded_host: str, allowed: bool
) -> None:
    async with open_engine(trusted_proxies=trusted) as engine:
        response = await ask(
            engine,
            "GET",
            POLLING,
            ("Host", "backend:3000"),
            ("X-Forwarded-Host", forwarded_host),
            ("Origin", "https://chat.example"),
        )
        assert response.status == (200 if allowed else 403)


# --- configured origins


@pytest.mark.req("EIO4-60")
@in_trio
async def test_a_configured_origin_is_named_in_every_answer() -> None:
    async with open_engine(cors_origins=(FRIEND, "http://other.example:81")) as engine:
        named = {"access-control-allow-origin": FRIEND, "vary": "Origin"}
        origin = [("Origin", FRIEND)]
        opened = await engine.request("GET", POLLING, origin)
        assert (opened.status, cors_of(opened)) == (200, named)
        target = f"{POLLING}&sid={engine.session.sid}"
        posted = await engine.request("POST", target, origin, b"4x")
        assert (posted.status, cors_of(posted)) == (200, named)
        polled = await engine.request("GET", target, origin)
        assert (polled.text, cors_of(polled)) == ("4x", named)
        refused = await engine.request("GET", POLLING + "x", origin)
        assert_refused(refused, 0)
        assert cors_of(refused) == named
        broken = await engine.request("POST", target, origin, b"x")
        assert (broken.status, cors_of(broken)) == (400, named)
        second = await engine.request("GET", POLLING, [("Origin", "http://other.example:81")])
        assert cors_of(second)["access-control-allow-origin"] == "http://other.example:81"


@pytest.mark.req("EIO4-60")
@in_trio
async def test_an_origin_that_was_not_configured_is_refused() -> None:
    async with open_engine(cors_origins=(FRIEND,)) as engine:
        for origin in (FOREIGN, "null", FRIEND + ":444", FRIEND.upper()):
            response = await engine.request("GET", POLLING, [("Origin", origin)])
            assert_refused(response, 4)
            assert cors_of(response) == {"vary": "Origin"}
        own = await engine.request("GET", POLLING, [("Origin", f"http://127.0.0.1:{engine.port}")])
        assert (own.status, cors_of(own)) == (200, {"vary": "Origin"})


@pytest.mark.req("EIO4-60")
@pytest.mark.parametrize("origin", [FRIEND, f"http://127.0.0.1:{0}", None])
@in_trio
async def test_allowed_pages_open_websockets(origin: str | None) -> None:
    async with open_engine(cors_origins=(FRIEND,)) as engine:
        if origin is not None and origin.endswith(":0"):
            origin = f"http://127.0.0.1:{engine.port}"
        headers = [] if origin is None else [("Origin", origin)]
        websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET, headers))
        assert str(await websocket.receive()).startswith("0{")


@pytest.mark.req("SURF-38")
@pytest.mark.parametrize("origin", ["null", "file://"])
@in_trio
async def test_pages_without_a_host_can_be_allowed(origin: str) -> None:
    async with open_engine(cors_origins=(origin,)) as engine:
        response = await engine.request("GET", POLLING, [("Origin", origin)])
        assert response.status == 200
        assert cors_of(response)["access-control-allow-origin"] == origin
        for other in {"null", "file://", FOREIGN} - {origin}:
            assert_refused(await engine.request("GET", POLLING, [("Origin", other)]), 4)


@pytest.mark.req("EIO4-60")
@in_trio
async def test_a_star_allows_any_origin() -> None:
    async with open_engine(cors_origins=("*",)) as engine:
        for origin in (FOREIGN, "null", "x"):
            response = await engine.request("GET", POLLING, [("Origin", origin)])
            assert response.status == 200
            assert cors_of(response) == {"access-control-allow-origin": "*"}
        headers = [("Origin", FOREIGN)]
        engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET, headers))
        refused = await engine.request("GET", POLLING + "x", headers)
        assert cors_of(refused) == {"access-control-allow-origin": "*"}


@pytest.mark.req("EIO4-60")
@pytest.mark.parametrize(
    ("configured", "named"),
    [
        ((FRIEND,), {"access-control-allow-origin": FRIEND, "vary": "Origin"}),
        (("*",), {"access-control-allow-origin": "*"}),
    ],
)
@in_trio
async def test_a_preflight_is_answered(configured: tuple[str, ...], named: dict[str, str]) -> None:
    async with open_engine(cors_origins=configured) as engine:
        polling = await engine.polling()
        for target in (POLLING, polling.target):
            response = await engine.request(
                "OPTIONS",
                target,
                [
                    ("Origin", FRIEND),
                    ("Access-Control-Request-Method", "POST"),
                    ("Access-Control-Request-Headers", "content-type, x-token"),
                ],
            )
            assert (response.status, response.body) == (204, b"")
            assert cors_of(response) == named | {
                "access-control-allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
                "access-control-allow-headers": "content-type, x-token",
            }
        simple = await engine.request("OPTIONS", POLLING, [("Origin", FRIEND)])
        assert "access-control-allow-headers" not in simple.headers
        assert len(engine.listeners) == 1
        refused = await engine.request("OPTIONS", POLLING, [("Origin", FOREIGN)])
        assert refused.status == (204 if "*" in configured else 403)


@in_trio
async def test_a_preflight_whose_repeated_header_ends_empty_is_answered() -> None:
    async with open_engine(cors_origins=("*",)) as engine:
        asked = [("Access-Control-Request-Headers", value) for value in ("x-a", "")]
        response = await ask(engine, "OPTIONS", POLLING, ("Host", "x"), *asked)
        assert response.status == 204
        assert response.headers["access-control-allow-headers"] == "x-a,"
