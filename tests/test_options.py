"""What a program may not set."""

import re
from dataclasses import fields
from ipaddress import ip_network
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio import (
    ClientOptions,
    ConfigurationError,
    Cookie,
    HttpCompression,
    PerMessageDeflate,
    RedisOptions,
    ServerOptions,
)
from trio_socketio.control import BackendOptions, ControlOptions, ForwardedEvents
from trio_socketio.option_checks import OptionGroup
from trio_socketio.socketio.options import FLAT_NAMES, ServerGroups, group_options

GROUPS = {
    name: type(group)
    for name, group in ServerGroups()._asdict().items()
    if isinstance(group, OptionGroup)
}
KINDS: tuple[type[OptionGroup], ...] = (
    ClientOptions,
    HttpCompression,
    PerMessageDeflate,
    Cookie,
    BackendOptions,
    ControlOptions,
    ForwardedEvents,
    RedisOptions,
    *GROUPS.values(),
)
FIELDS: list[tuple[type, str, Any]] = [
    (ServerOptions, f.name, f.type) for f in fields(ServerOptions)
] + [(kind, f.name, f.type) for kind in KINDS for f in msgspec.structs.fields(kind)]
COUNTS = [(kind, name) for kind, name, type_ in FIELDS if type_ in (int, int | None)]
TIMES = [(kind, name) for kind, name, type_ in FIELDS if type_ is float]
SWITCHES = [(kind, name) for kind, name, type_ in FIELDS if type_ is bool]
TEXTS = [(kind, name) for kind, name, type_ in FIELDS if type_ in (str, str | None)]


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


# -- groups


OTHER: dict[str, Any] = {
    "path": "/other/",
    "transports": ("websocket",),
    "http_compression": HttpCompression(level=9),
    "per_message_deflate": PerMessageDeflate(),
    "cookie": Cookie(),
    "initial_packet": "hello",
    "sid_prefix": "n-01",
    "cors_origins": ("https://a.example",),
    "cors_methods": ("GET",),
    "cors_allowed_headers": ("authorization",),
    "cors_exposed_headers": ("etag",),
    "cors_max_age_s": 60,
    "trusted_proxies": (ip_network("10.0.0.0/8"),),
    "client_dist": Path("dist"),
    "max_connections_per_address": 5,
    "session_rate_per_address": 2.5,
    "parser": "msgpack",
}
"""Other values than the default, of options that are neither switches nor have a number."""


def another(name: str) -> Any:
    default = getattr(ServerOptions(), name)
    if isinstance(default, bool):
        return not default
    return OTHER[name] if name in OTHER else default + 1


def test_every_option_has_one_flat_name() -> None:
    names = [name for of_group in FLAT_NAMES.values() for name in of_group.values()]
    flat = {field.name for field in fields(ServerOptions)}
    assert len(names) == len(set(names))
    assert flat - set(names) == {"allow_request", "generate_id"}  # a file cannot hold functions
    assert set(names) <= flat
    assert {group: set(kind.__struct_fields__) for group, kind in GROUPS.items()} == {
        group: set(of_group) | ({"deadline_slack_s"} if group == "runtime" else set())
        for group, of_group in FLAT_NAMES.items()
    }


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group, names in FLAT_NAMES.items() for option in names],
)
def test_an_option_reaches_its_owner(group: str, option: str) -> None:
    name = FLAT_NAMES[group][option]
    value = another(name)
    before, after = ServerGroups(), group_options(ServerOptions(**{name: value}))
    assert getattr(getattr(after, group), option) == value
    assert {other for other in GROUPS if getattr(before, other) != getattr(after, other)} == {group}


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_described_by_its_owner(kind: type[OptionGroup]) -> None:
    doc = (kind.__doc__ or "").replace("path, domain: ", "path: domain: ")
    assert [name for name in kind.__struct_fields__ if f" {name}: " not in doc] == [
        name for name in kind.__struct_fields__ if name == "deadline_slack_s" and name not in doc
    ]


def test_the_flat_names_say_where_they_are_described() -> None:
    doc = re.split(r"[\s(),.:]+", ServerOptions.__doc__ or "")
    assert {field.name for field in fields(ServerOptions)} - set(doc) == set()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cors_credentials": True, "cors_origins": "*"}, "^cors_credentials: .*origins"),
        ({"cors_max_age_s": -1}, "^cors_max_age_s: must be zero or more, not -1$"),
        ({"state_recovery_max_packets": 0}, "^state_recovery_max_packets: must be above zero"),
        ({"state_recovery": "yes"}, "^state_recovery: expected True or False, not 'yes'$"),
        ({"serve_client": 1}, "^serve_client: "),
        ({"transports": 5}, "^transports: expected a tuple of names, not 5$"),
        ({"transports": "polling"}, "^transports: expected a tuple of names, not 'polling'$"),
        ({"transports": ([],)}, r"^transports: a transport is polling or websocket, not \[\]$"),
        ({"transports": ("carrier pigeon",)}, "^transports: .*not 'carrier pigeon'$"),
        ({"allow_request": lambda: True}, "^allow_request: .*request"),
    ],
)
def test_an_error_has_the_name_that_was_written(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        ServerOptions(**given)


@pytest.mark.req("SURF-60")
@pytest.mark.parametrize(("interval_s", "timeout_s"), [(2147484, 1), (25, 1e9), (2147463.5, 20)])
def test_a_heartbeat_is_no_longer_than_a_timer_in_javascript(
    interval_s: float, timeout_s: float
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServerOptions(ping_interval_s=interval_s, ping_timeout_s=timeout_s)
    assert str(caught.value) == (
        "ping_interval_s: must be at most 2147483 together with ping_timeout_s, because timers in "
        "JavaScript cannot run for longer and would end the session at once; it is "
        f"{interval_s:.10g}, and ping_timeout_s is {timeout_s:.10g}"
    )


@pytest.mark.req("SURF-60")
def test_the_longest_heartbeat_is_accepted() -> None:
    options = ServerOptions(ping_interval_s=2147463, ping_timeout_s=20)
    assert (options.ping_interval_s + options.ping_timeout_s) * 1000 < 2**31


def test_origins_are_read_once() -> None:
    pattern = re.compile("https://[a-z]+")
    options = ServerOptions(cors_origins=iter(("https://a.example", pattern)))
    groups = group_options(options)
    assert groups == group_options(options)._replace(origin_checks=groups.origin_checks)
    assert groups.cors.origins == ("https://a.example",)
    (check,) = groups.origin_checks
    assert check("https://abc")
    assert not check("https://abc/")
