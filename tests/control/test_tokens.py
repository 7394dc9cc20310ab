"""Tokens and options: who may call what, and what is refused before anything starts."""

import contextlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.control.serving import SECRET, describe_whole_api, write_token

from trio_socketio.control.address import Address, default_address, parse_address
from trio_socketio.control.options import (
    METHODS,
    BackendOptions,
    ControlOptions,
    ControlToken,
    ForwardedEvents,
)
from trio_socketio.control.tokens import LOCAL, Grant, TokenTable
from trio_socketio.errors import ConfigurationError, OptionError


def table(folder: Path, **secrets: str) -> TokenTable:
    return TokenTable(
        ControlToken(name=name, file=write_token(folder, name, secret))
        for name, secret in secrets.items()
    )


@pytest.mark.req("CONTROL-14")
def test_a_secret_is_found_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = table(tmp_path, a="a" * 16, b="b" * 16, c="c" * 16)
    found = tokens.find("a" * 16)
    assert found is not None
    assert found.name == "a"
    assert compared == [32, 32, 32]  # every token, also behind the one that fits
    assert tokens.find("d" * 16) is None
    assert tokens.find("") is None
    assert tokens.find("\ud800") is None
    assert "aaaa" not in repr(found)


def test_what_has_become_of_a_grant(tmp_path: Path) -> None:
    before = table(tmp_path, a="a" * 16)
    grant = before.find("a" * 16)
    assert grant is not None
    assert TokenTable().grant_of(grant.digest) is None
    assert TokenTable().grant_of(LOCAL.digest) is LOCAL
    (tmp_path / "b").mkdir()
    after = TokenTable(
        [ControlToken(name="x", file=write_token(tmp_path, "x", "a" * 16), methods=("emit",))]
    )
    renewed = after.grant_of(grant.digest)
    assert renewed is not None
    assert (renewed.name, renewed.methods) == ("x", ("emit",))


@pytest.mark.parametrize(
    "secret", ["short", "", "with a space in it", "ümlaut-ümlaut-ümlaut", "x" * 5000]
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigurationError, match=r"token a: .*must hold") as caught:
        table(tmp_path, a=secret)
    assert not secret or secret not in str(caught.value)


def test_a_missing_file_and_a_shared_secret_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"token a: cannot read .*No such file"):
        TokenTable([ControlToken(name="a", file=str(tmp_path / "none"))])
    with pytest.raises(ConfigurationError, match="a and b have the same secret"):
        table(tmp_path, a=SECRET, b=SECRET)


@pytest.mark.req("CONTROL-15")
@pytest.mark.parametrize(
    ("patterns", "method", "allowed"),
    [
        (("*",), "emit", True),
        (("emit",), "emit", True),
        (("emit",), "emit_with_ack", False),
        (("rooms.*",), "rooms.join", True),
        (("rooms.*",), "roomsx", False),
        ((), "rpc.discover", True),
        ((), "auth", True),
        ((), "emit", False),
    ],
)
def test_which_methods_are_allowed(patterns: tuple[str, ...], method: str, allowed: bool) -> None:
    assert Grant("t", patterns).allows(method) is allowed


# -- addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/a b", Address(path="/run/a b")),
        ("unix:a:b", Address(path="a:b")),
        ("tcp:localhost:1", Address(host="localhost", port=1)),
        ("tcp:127.0.0.1:65535", Address(host="127.0.0.1", port=65535)),
        ("tcp:[::1]:0", Address(host="::1")),
        ("tls:a.example:443", Address(host="a.example", port=443, secure=True)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "unix:", "unix:\0a", "tcp:", "tcp:1", "tcp::1", "tcp:a:", "tcp:a:x", "tcp:a:65536",
     "tcp:a:-1", "tcp:a:٣", "tcp:::1:2", "http://a:1", "/run/a", "udp:a:1", "tcp", None, 7],
)  # fmt: skip
def test_other_addresses_are_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError):
        parse_address(text)


@given(st.text())
def test_an_address_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert parse_address(str(parse_address(text))) == parse_address(text)


def test_the_default_address() -> None:
    assert default_address({"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == "unix:/run/a/control.sock"
    assert default_address({"XDG_RUNTIME_DIR": "/x"}) == "unix:/x/trio-socketio/control.sock"
    with pytest.raises(ConfigurationError, match="neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR"):
        default_address({})


# -- options

TOKEN = ControlToken(name="a", file="/secret")


@pytest.mark.req("CONTROL-11", "CONTROL-12")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"listen": ("tcp:127.0.0.1:1",)}, "listen: tcp:127.0.0.1:1: a TCP address needs a token"),
        ({"listen": ("tcp:0.0.0.0:1",), "tokens": (TOKEN,)}, "in the clear: set certfile"),
        ({"listen": ("tcp:a.example:1",), "tokens": (TOKEN,)}, "in the clear"),
        ({"listen": ("tls:127.0.0.1:1",), "tokens": (TOKEN,)}, "write tcp:"),
        ({"listen": "unix:/a"}, "listen: expected a list of texts"),
        ({"listen": ("/a",)}, "listen: '/a' is not an address: expected unix:PATH"),
        ({"listen": ("run/a",)}, "tls:HOST:PORT; did you mean unix:run/a?"),
        ({"tokens": (TOKEN, TOKEN)}, "tokens: two of them are named 'a'"),
        ({"tokens": ("secret",)}, "tokens: expected a list of ControlToken"),
        ({"keyfile": "/k"}, "keyfile: has no effect without certfile"),
        ({"max_line_bytes": 10}, "max_line_bytes: must be 1024"),
        ({"max_in_flight": 0}, "max_in_flight: must be above zero"),
        ({"backends": True}, "backends: expected BackendOptions"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        ControlOptions(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (ControlToken, {"name": "a b", "file": "/a"}, "name: expected letters"),
        (ControlToken, {"name": "a", "file": ""}, "file: expected the path"),
        (
            ControlToken,
            {"name": "a", "file": "/a", "methods": ("e mit",)},
            "methods: expected NAME",
        ),
        (ControlToken, {"name": "a", "file": "/a", "methods": "emit"}, "methods: expected a list"),
        (ForwardedEvents, {"events": ()}, "events: expected at least one"),
        (ForwardedEvents, {"events": "a"}, "events: expected a list"),
        (BackendOptions, {"forward": ({},)}, "forward: expected a list of ForwardedEvents"),
        (BackendOptions, {"deadline_s": 0}, "deadline_s: must be above zero"),
    ],
)
def test_parts_of_options_that_cannot_be_used(
    kind: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError) as caught:
        kind(**options)
    assert words in str(caught.value)


def test_options_that_can_be_used() -> None:
    ControlOptions(listen=("unix:/a", "tcp:127.0.0.1:1", "tcp:[::1]:1"), tokens=(TOKEN,))
    ControlOptions(listen=("tcp:0.0.0.0:1",), tokens=(TOKEN,), certfile="/c")
    ControlToken(name="a-b.c_D1", file="/a", methods=("rooms.*", "emit", "*", "system.info"))


@pytest.mark.req("CONTROL-19")
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("emti", "emit"),
        ("room.*", "rooms.*"),
        ("sockets.get_all", "sockets.get"),
        ("weather", None),
        ("weather.*", None),
        ("emit.*", None),
    ],
)
def test_a_method_that_does_not_exist_is_refused(name: str, meant: str | None) -> None:
    with pytest.raises(OptionError) as caught:
        ControlToken(name="a", file="a", methods=("emit", name))
    hint = f"; did you mean {meant}?" if meant else ""
    assert str(caught.value) == f"methods: there is no method {name!r}{hint}"


@pytest.mark.req("CONTROL-19")
def test_all_methods_are_known_where_tokens_are_checked() -> None:
    assert [method["name"] for method in describe_whole_api()["methods"]] == sorted(METHODS)
    assert ControlToken(name="a", file="a", methods=(*METHODS, "*", "rooms.*", "backend.*"))
