"""What a program may not set."""

import re
from dataclasses import fields
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio import (
    ClientOptions,
    ConfigurationError,
    Cookie,
    HttpCompression,
    PerMessageDeflate,
    ServerOptions,
)

KINDS = (ServerOptions, ClientOptions, HttpCompression, PerMessageDeflate, Cookie)
COUNTS = [(kind, f.name) for kind in KINDS for f in fields(kind) if f.type in (int, int | None)]
TIMES = [(kind, f.name) for kind in KINDS for f in fields(kind) if f.type is float]
SWITCHES = [(kind, f.name) for kind in KINDS for f in fields(kind) if f.type is bool]
TEXTS = [(kind, f.name) for kind in KINDS for f in fields(kind) if f.type in (str, str | None)]


@pytest.mark.parametrize(
    ("known", "of_them"),
    [(COUNTS, "handler_queue"), (TIMES, "ping_timeout_s"), (SWITCHES, "secure"), (TEXTS, "path")],
)
def test_the_options_of_a_kind_are_found(known: list[tuple[type, str]], of_them: str) -> None:
    assert of_them in [name for _, name in known]


@given(st.sampled_from(COUNTS), st.floats() | st.booleans() | st.text())
def test_a_count_is_a_whole_number(option: tuple[Any, str], value: object) -> None:
    check_refused(*option, value)


@given(st.sampled_from(TIMES), st.booleans() | st.text() | st.just(nan) | st.none())
def test_a_time_is_a_number(option: tuple[Any, str], value: object) -> None:
    check_refused(*option, value)


@given(st.sampled_from(SWITCHES), st.integers() | st.text() | st.none())
def test_a_switch_is_on_or_off(option: tuple[Any, str], value: object) -> None:
    check_refused(*option, value)


@given(st.sampled_from(TEXTS), st.integers() | st.binary() | st.just(Path("/io")))
def test_text_is_text(option: tuple[Any, str], value: object) -> None:
    check_refused(*option, value)


@given(
    st.sampled_from([ServerOptions, ClientOptions]),
    st.text().filter(lambda text: not text.startswith("/"))
    | st.builds(
        "/{}{}".format,
        st.text(),
        st.characters().filter(lambda c: not "!" <= c <= "~" or c in "?#"),
    ),
)
def test_a_path_is_one_that_a_request_can_have(kind: Any, path: str) -> None:
    check_refused(kind, "path", path)


def test_the_folder_of_the_client_is_a_path() -> None:
    check_refused(ServerOptions, "client_dist", "node_modules")
    assert ServerOptions(client_dist=Path("node_modules")).client_dist == Path("node_modules")


def test_numbers_that_are_whole_may_stand_for_times() -> None:
    assert ServerOptions(ping_interval_s=5, path="/a-b~%20/").path == "/a-b~%20/"


def check_refused(kind: Any, name: str, value: object) -> None:
    """The error says which option it was, and what it was given."""
    with pytest.raises(ConfigurationError) as caught:
        kind(**{name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value) or str(value) in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"ping_interval_s": inf},
        {"ping_timeout_s": inf},
        {"ping_timeout_s": 0},
        {"trusted_proxies": ("127.0.0.0/8",)},
        {"cors_origins": ("example.com",)},
        {"cors_origins": lambda: True},
        {"allow_request": lambda: True},
        {"allow_request": lambda a, b: True},
        {"generate_id": lambda *, a: True},
        {"path": "socket.io"},
        {"max_dynamic_namespaces": 0},
        {"parser": "yaml"},
        {"state_recovery_max_disconnection_s": 0},
        {"state_recovery_max_packets": 0},
        {"state_recovery_max_bytes": -1},
        {"state_recovery_max_sessions": 0},
        {"initial_packet": "\ud800"},
        {"initial_packet": 5},
        {"hook_timeout_s": 0},
        {"http_compression": True},
        {"per_message_deflate": True},
        {"cookie": "io"},
        {"allow_request": True},
        {"generate_id": "name"},
        {"cors_methods": "GET"},
        {"cors_allowed_headers": "authorization"},
        {"cors_exposed_headers": "etag"},
    ],
)
def test_unusable_options_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ServerOptions(**given)


@pytest.mark.req("SURF-38")
@pytest.mark.parametrize(
    "origin",
    ["https://a.example", "http://localhost:3000", "https://a.example:80", "http://[::1]:3000",
     "http://127.0.0.1", "https://xn--bcher-kva.example", "https://under_score.example",
     "capacitor://localhost", "chrome-extension://abcdefgh", "app://.", "null", "file://", "*"],
)  # fmt: skip
def test_what_browsers_send_is_an_origin(origin: str) -> None:
    assert ServerOptions(cors_origins=origin).cors_origins == (origin,)


@pytest.mark.req("SURF-38")
@pytest.mark.parametrize(
    ("origin", "spelled"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/page?x#y", "https://a.example"),
        ("https://A.Example", "https://a.example"),
        ("HTTPS://a.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:", "http://a.example"),
        ("http://a.example:08080", "http://a.example:8080"),
        ("wss://a.example", "https://a.example"),
        ("ws://a.example:3000", "http://a.example:3000"),
        ("a.example", "https://a.example"),
        ("localhost:3000", "https://localhost:3000"),
        ("https://user:password@a.example", "https://a.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::0001]:3000", "http://[::1]:3000"),
        (" https://a.example ", "https://a.example"),
        ("NULL", "null"),
        ("file:///home/page.html", "file://"),
    ],
)
def test_what_no_browser_sends_is_refused_with_the_right_spelling(
    origin: str, spelled: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"write {re.escape(repr(spelled))}$"):
        ServerOptions(cors_origins=("https://other.example", origin))
    ServerOptions(cors_origins=spelled)


@pytest.mark.req("SURF-38")
@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ("", "as browsers send it"),
        ("https://", "as browsers send it"),
        ("https://a b.example", "as browsers send it"),
        ("https://a.example:port", "as browsers send it"),
        ("http://[::1", "as browsers send it"),
        ("http://[zz::1]", "as browsers send it"),
        ("https://" + "ü" * 99, "as browsers send it"),
        ("https://*.example.com", "compiled pattern"),
        ("https://a.example:*", "compiled pattern"),
    ],
)
def test_what_is_no_origin_is_refused(origin: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ServerOptions(cors_origins=origin)
