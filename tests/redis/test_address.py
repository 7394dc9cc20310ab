"""Which URLs are taken, and what they mean."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio import ConfigurationError, RedisOptions
from trio_socketio.redis.address import Address, parse_address

TCP = Address("h", 6379, None, is_secure=False, user=None, password=None, db=0)


def address(**changes: object) -> Address:
    known = {name: getattr(TCP, name) for name in Address.__slots__}
    return Address(**{**known, **changes})


@pytest.mark.req("REDIS-02")
@pytest.mark.parametrize(
    ("url", "meant", "shown"),
    [
        ("redis://h", address(), "redis://h:6379/0"),
        ("redis://", address(host="localhost"), "redis://localhost:6379/0"),
        ("redis://h:6380/3", address(port=6380, db=3), "redis://h:6380/3"),
        ("redis://h/?db=4", address(db=4), "redis://h:6379/4"),
        ("redis://[::1]:1", address(host="::1", port=1), "redis://[::1]:1/0"),
        ("rediss://h/1", address(is_secure=True, db=1), "rediss://h:6379/1"),
        ("redis://:p%40%2F@h", address(password="p@/"), "redis://h:6379/0"),
        ("redis://u:p@h", address(user="u", password="p"), "redis://u@h:6379/0"),
        ("redis://u%3A:p@h", address(user="u:", password="p"), "redis://u:@h:6379/0"),
        ("unix:///run/r.sock", address(host="", path="/run/r.sock"), "unix:///run/r.sock"),
        (
            "unix://u:p@/r.sock?db=2",
            address(host="", path="/r.sock", user="u", password="p", db=2),
            "unix://u@/r.sock?db=2",
        ),
    ],
)
def test_a_url_is_read(url: str, meant: Address, shown: str) -> None:
    assert parse_address(url) == meant
    assert str(parse_address(url)) == shown


@pytest.mark.req("REDIS-02", "REDIS-04")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://h",
        "redis:/h",
        " redis://h",
        "redis://h\n",
        "redis://h:0",
        "redis://h:99999",
        "redis://h:x",
        "redis://h/chat",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1?db=2",
        "redis://h?db=",
        "redis://h?db=1&db=2",
        "redis://h?socket_timeout=5",
        "rediss://h?ssl_cert_reqs=none",
        "redis://h#fragment",
        "redis://[::1",
        "redis://a..b",
        "redis://.h:1",
        f"redis://{'h' * 64}",
        "unix://",
        "unix:///",
        "unix://h/r.sock",
        "redis://:hidden/word@h",  # the slash ends the host
        "redis://:hidden?word@h",
        "redis://:hidden#word@h",
        "redis://:hidden[word@h",
    ],
)
def test_what_redis_py_would_pass_over_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url: expected redis://") as refused:
        parse_address(url)
    assert "hidden" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis://h{text}", f"unix://{text}"):
        with suppress(ConfigurationError):
            parse_address(url)


@pytest.mark.req("REDIS-04")
def test_nothing_shows_the_password() -> None:
    options = RedisOptions(url="redis://ann:hidden@h:1/2")
    shown = f"{options} {options!r} {[options]} {options.address!r}"
    assert "hidden" not in shown
    assert str(options) == "redis://ann@h:1/2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "redis://:p@h", "password_file": "p"}, "password_file: .* beside a password"),
        ({"url": "redis://ann@h"}, "url: names a user without a password"),
        ({"ca_file": "ca.pem"}, "ca_file: has no effect"),
        ({"prefix": ""}, "prefix: expected a word"),
        ({"prefix": "a*"}, "prefix: expected a word"),
        ({"retry_max_s": 0.01}, "retry_max_s: must be"),
        ({"max_commands": 1}, "max_commands: must be"),
        ({"max_queue_bytes": 1}, "max_queue_bytes: must be"),
        ({"max_reply_bytes": 1}, "max_reply_bytes: must be"),
        ({"probe_s": 0}, "probe_s: must be above zero"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        RedisOptions(**options)  # type: ignore[arg-type]  # that is the point


def test_a_user_may_have_the_password_in_a_file() -> None:
    assert RedisOptions(url="redis://ann@h", password_file="p").password_file == "p"
