"""Pages in Chromium, with the client that the server serves.

A page is whatever a server answers where nobody serves: what counts is its origin.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from tests.browser.chromium import Chromium, Page
from tests.interop.server_process import HOST, ServerProcess

FUNCTIONS: Final = Path(__file__).with_name("page.js")
TRANSPORTS: Final = (["polling"], ["websocket"], ["polling", "websocket"])
UPGRADE: Final = ["polling", "websocket"]

OpenPage = Callable[[str], Page]


@pytest.fixture
def open_page(browser: Chromium) -> Iterator[OpenPage]:
    """Opens a page of an origin; it knows the functions of page.js."""
    with ExitStack() as pages:

        def open_page(origin: str) -> Page:
            page = pages.enter_context(browser.open_page(f"{origin}/"))
            page.evaluate(FUNCTIONS.read_text(encoding="utf-8"))
            return page

        yield open_page


def load_client(page: Page, server: ServerProcess, bundle: str = "socket.io.js") -> None:
    page.call("loadScript", f"{server.url}/socket.io/{bundle}")


def binary(data: bytes) -> dict[str, Any]:
    return {"binary": data.hex(), "length": len(data)}


def exchanged(transports: list[str], *, deflate: bool = False) -> dict[str, Any]:
    """What exchange of page.js sees when all is well."""
    data = binary(b"\x00\x01\xfe\xff")
    two, three = binary(b"\x00\x01"), binary(b"\x00\x01\x02")
    return {
        "echo": ["é€😀", {"deep": [1, None, True]}],
        "large": 200_000,
        "binary": [data, {"buffer": data, "after": "text"}],
        "kinds": [binary(b"\xfe\xff"), binary(b"blob"), binary(b"f")],
        "asked": [{"answer": [{"from": ["page", data]}, data]}],
        "made": [{"parts": [two, three], "deep": [{"first": two}, None]}, three],
        "transports": transports,
        "deflate": deflate,
    }


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_text_binary_and_answers_go_both_ways(
    open_page: OpenPage, server: ServerProcess, transports: list[str]
) -> None:
    page = open_page(server.url)
    load_client(page, server)
    seen = page.call("exchange", server.url, {"transports": transports})
    assert seen == exchanged(transports)
    assert page.console == []


def test_the_client_is_a_module_too(open_page: OpenPage, server: ServerProcess) -> None:
    page = open_page(server.url)
    page.call("loadModule", f"{server.url}/socket.io/socket.io.esm.min.js")
    assert page.call("exchange", server.url) == exchanged(UPGRADE)
    assert page.console == []


def test_the_page_comes_back_when_its_connection_is_dropped(
    open_page: OpenPage, server: ServerProcess
) -> None:
    page = open_page(server.url)
    load_client(page, server, "socket.io.min.js")
    assert page.call("reconnect", server.url) == {
        "reason": "transport close",
        "late": ["while away"],
        "another": True,
        "transports": UPGRADE * 2,
    }
    assert page.console == []


def test_the_page_gets_what_it_missed_if_the_server_keeps_it(
    open_page: OpenPage, recovering_server: ServerProcess
) -> None:
    page = open_page(recovering_server.url)
    load_client(page, recovering_server)
    assert page.call("recover", recovering_server.url) == {
        "recovered": True,
        "same": True,
        "missed": ["missed", binary(b"\x07")],
        "next": "next",
    }
    assert page.console == []


def test_the_client_with_messagepack_speaks_to_a_server_with_it(
    open_page: OpenPage, msgpack_server: ServerProcess
) -> None:
    page = open_page(msgpack_server.url)
    load_client(page, msgpack_server, "socket.io.msgpack.min.js")
    beyond_it = dict.fromkeys(("binary", "kinds"))  # of binary it knows ArrayBuffer only
    seen = page.call("exchange", msgpack_server.url)
    assert seen | beyond_it == exchanged(UPGRADE) | beyond_it
    assert page.console == []


def test_messages_are_compressed_if_the_server_agrees(
    open_page: OpenPage, server: ServerProcess, legacy: ServerProcess
) -> None:
    page = open_page(legacy.url)
    load_client(page, server)
    assert page.call("exchange", legacy.url) == exchanged(UPGRADE, deflate=True)
    assert page.console == []


# --- pages of other origins ----------------------------------------------------------------------


@pytest.fixture
def guest(open_page: OpenPage, server: ServerProcess, legacy: ServerProcess) -> Page:
    """A page of an origin that the server allows."""
    page = open_page(legacy.url)
    load_client(page, server)
    return page


@pytest.fixture
def stranger(open_page: OpenPage, server: ServerProcess, legacy: ServerProcess) -> Page:
    """A page of an origin that the server does not allow, for the name of its host."""
    page = open_page(legacy.url.replace(HOST, "localhost"))
    load_client(page, server)
    return page


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_a_page_of_an_allowed_origin_connects(
    guest: Page, server: ServerProcess, transports: list[str]
) -> None:
    seen = guest.call("exchange", server.url, {"transports": transports})
    assert seen == exchanged(transports)
    assert guest.console == []


@pytest.mark.parametrize("brings", [False, True])
def test_an_allowed_page_brings_cookies_if_it_wants_to(
    guest: Page, server: ServerProcess, legacy: ServerProcess, brings: bool
) -> None:
    seen = guest.call("visitTwice", server.url, {"withCredentials": brings})
    assert seen["origin"] == legacy.url
    assert seen["cookie"] == (f"sid={seen['sid']}" if brings else None)
    assert seen["transports"] == UPGRADE
    assert guest.console == []


def test_an_allowed_page_may_send_headers_that_browsers_ask_about(
    guest: Page, server: ServerProcess
) -> None:
    assert guest.call("sendHeader", server.url, "x-token", "secret") == "secret"
    assert guest.console == []


def test_a_page_of_another_origin_cannot_poll(stranger: Page, server: ServerProcess) -> None:
    options = {"transports": ["polling"]}
    assert stranger.call("refusal", server.url, options) == "xhr poll error"
    stranger.wait_status(403)
    stranger.wait_console("blocked by CORS policy")


def test_a_page_of_another_origin_cannot_use_websocket(
    stranger: Page, server: ServerProcess
) -> None:
    options = {"transports": ["websocket"]}
    assert stranger.call("refusal", server.url, options) == "websocket error"
    stranger.wait_console("Unexpected response code: 400")


# --- clients of 2.x ------------------------------------------------------------------------------


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_a_client_of_2_exchanges_text_and_binary(
    open_page: OpenPage, legacy: ServerProcess, transports: list[str]
) -> None:
    page = open_page(legacy.url)
    load_client(page, legacy)
    seen = page.call("exchange", legacy.url, {"transports": transports})
    assert seen == exchanged(transports, deflate="websocket" in transports)
    assert page.console == []


def test_a_client_of_2_polls_by_scripts(open_page: OpenPage, legacy: ServerProcess) -> None:
    page = open_page(legacy.url)
    load_client(page, legacy)
    options = {"forceJSONP": True, "transports": ["polling"]}
    assert page.call("exchange", legacy.url, options) == exchanged(["polling"])
    assert page.console == []


def test_scripts_of_another_origin_are_refused(
    open_page: OpenPage, server: ServerProcess, legacy: ServerProcess
) -> None:
    page = open_page(server.url)
    load_client(page, legacy)
    options = {"forceJSONP": True, "transports": ["polling"]}
    assert page.call("refusal", legacy.url, options) == "jsonp poll error"
    page.wait_status(403)
