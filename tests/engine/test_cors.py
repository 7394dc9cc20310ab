"""What CORS can be set to: origins by name, pattern and function, credentials, headers, times."""

import logging
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.harness import POLLING, WEBSOCKET, assert_refused, in_trio, open_engine
from tests.engine.test_origins import cors_of
from tests.wire import Rejected, WebSocketClient

from trio_socketio import ConfigurationError, ServerOptions

FRIEND: Final = "https://friend.example"
FOREIGN: Final = "https://elsewhere.example"
NAMED: Final = {"access-control-allow-origin": FRIEND, "vary": "Origin"}

ORIGINS: Final[dict[str, Any]] = {
    "text": FRIEND,
    "list": ["http://other.example", FRIEND],
    "pattern": re.compile(r"https://[a-z]+\.example(?<!elsewhere\.example)"),
    "function": lambda origin: origin == FRIEND,
    "mixed": ("http://other.example", re.compile("https://friend.*")),
}


@pytest.mark.req("EIO4-60", "EIO4-66")
@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("kind", ORIGINS)
@in_trio
async def test_every_kind_of_origin_allows_and_refuses(kind: str, credentials: bool) -> None:
    expected = NAMED | ({"access-control-allow-credentials": "true"} if credentials else {})
    async with open_engine(cors_origins=ORIGINS[kind], cors_credentials=credentials) as engine:
        allowed = await engine.request("GET", POLLING, [("Origin", FRIEND)])
        assert (allowed.status, cors_of(allowed)) == (200, expected)
        for origin in (FOREIGN, "null", FRIEND + ".evil.test", "http://evil.test/" + FRIEND):
            if kind == "mixed" and origin.startswith(FRIEND):
                continue  # what that pattern says
            refused = await engine.request("GET", POLLING, [("Origin", origin)])
            assert_refused(refused, 4)
            assert cors_of(refused) == {"vary": "Origin"}
            with pytest.raises(Rejected):
                await WebSocketClient.open(engine.port, WEBSOCKET, [("Origin", origin)])
        engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET, [("Origin", FRIEND)]))
        assert len(engine.listeners) == 2


@pytest.mark.req("EIO4-66")
@in_trio
async def test_a_pattern_must_match_the_whole_origin() -> None:
    async with open_engine(cors_origins=re.compile(r"https://friend\.example")) as engine:
        for origin in (FRIEND + ".evil.test", "x" + FRIEND):
            assert (await engine.request("GET", POLLING, [("Origin", origin)])).status == 403
        assert (await engine.request("GET", POLLING, [("Origin", FRIEND)])).status == 200


async def _async_check(origin: str) -> bool:
    return True


@pytest.mark.req("EIO4-66")
@pytest.mark.parametrize("check", [lambda _: 1 / 0, lambda _: "yes", lambda _: None])
@in_trio
async def test_a_function_that_fails_or_does_not_say_true_refuses(
    check: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(cors_origins=check) as engine:
        with caplog.at_level(logging.CRITICAL):
            refused = await engine.request("GET", POLLING, [("Origin", FRIEND)])
        assert_refused(refused, 4)
        own = await engine.request("GET", POLLING, [("Origin", f"http://127.0.0.1:{engine.port}")])
        assert own.status == 200


@pytest.mark.req("EIO4-66")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {"access-control-allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE"}),
        ({"cors_methods": ("GET", "POST")}, {"access-control-allow-methods": "GET,POST"}),
        ({"cors_allowed_headers": ("X-A", "X-B")}, {"access-control-allow-headers": "X-A,X-B"}),
        ({"cors_allowed_headers": None}, {"access-control-allow-headers": "x-asked"}),
        ({"cors_max_age_s": 600}, {"access-control-max-age": "600"}),
        ({"cors_max_age_s": 0}, {"access-control-max-age": "0"}),
        ({"cors_credentials": True}, {"access-control-allow-credentials": "true"}),
    ],
)
@in_trio
async def test_a_preflight_is_told_what_is_set(
    options: dict[str, Any], told: dict[str, str]
) -> None:
    usual = {
        "access-control-allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
        "access-control-allow-headers": "x-asked",
    }
    async with open_engine(cors_origins=FRIEND, **options) as engine:
        response = await engine.request(
            "OPTIONS",
            POLLING,
            [("Origin", FRIEND), ("Access-Control-Request-Headers", "x-asked")],
        )
        assert (response.status, response.body) == (204, b"")
        assert cors_of(response) == NAMED | usual | told


@pytest.mark.req("EIO4-66")
@in_trio
async def test_exposed_headers_are_told_with_answers_but_not_with_preflights() -> None:
    async with open_engine(cors_origins=FRIEND, cors_exposed_headers=("X-A", "X-B")) as engine:
        response = await engine.request("GET", POLLING, [("Origin", FRIEND)])
        assert cors_of(response) == NAMED | {"access-control-expose-headers": "X-A,X-B"}
        preflight = await engine.request("OPTIONS", POLLING, [("Origin", FRIEND)])
        assert "access-control-expose-headers" not in preflight.headers


@pytest.mark.parametrize(
    "given",
    [
        {"cors_origins": "example.com"},
        {"cors_origins": ("https://a.example", "b.example")},
        {"cors_origins": 5},
        {"cors_origins": (None,)},
        {"cors_origins": re.compile(b"x")},
        {"cors_origins": _async_check},
        {"cors_origins": "*", "cors_credentials": True},
        {"cors_methods": ("GET, POST",)},
        {"cors_methods": ("GET\r\nX: y",)},
        {"cors_allowed_headers": ("x a",)},
        {"cors_exposed_headers": ("x\n",)},
        {"cors_max_age_s": -1},
    ],
)
def test_unusable_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ServerOptions(**given)


@given(st.text())
def test_no_name_of_a_method_breaks_out_of_its_header(name: str) -> None:
    try:
        options = ServerOptions(cors_methods=(name,))
    except ConfigurationError:
        return
    assert re.fullmatch(r"[!-~]+", options.cors_methods[0])
    assert not set(name) & set(',;:"\\')
