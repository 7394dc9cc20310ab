"""What opens a session: the open packet, its sid, and what is known of the client."""

import json
import re
import secrets
from base64 import urlsafe_b64encode
from ipaddress import ip_network
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
from tests.engine.harness import (
    POLLING,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    in_trio,
    open_engine,
    split,
)
from tests.wire import WebSocketClient

from trio_socketio import ServerOptions
from trio_socketio.engine.handshake import Handshake, websocket_headers
from trio_socketio.engine.ids import SID_RANDOM_CHARACTERS, RandomText
from trio_socketio.engine.server import new_node_name
from trio_socketio.errors import OptionError
from trio_socketio.http.forwarded import forwarded
from trio_socketio.http.request import Request

SID = re.compile(r"[A-Za-z0-9_-]{20}")


def request_of(address: str, *, secure: bool = False, **headers: str) -> Request:
    """A request as net would hand it over; header names with underscores."""
    http: Any = SimpleNamespace(connection=SimpleNamespace(address=address, secure=secure))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(http, "GET", "/engine.io/?EIO=4&token=a%20b", named)


def networks(*texts: str) -> tuple[Any, ...]:
    return tuple(ip_network(text) for text in texts)


# --- the open packet


@pytest.mark.req("EIO4-32", "EIO4-33")
@in_trio
async def test_the_open_packet_says_what_the_options_say() -> None:
    async with open_engine(
        ping_interval_s=1.5, ping_timeout_s=0.25, max_http_buffer_size_bytes=4321
    ) as engine:
        response = await engine.request("GET", POLLING)
        assert response.text[0] == "0"
        handshake = json.loads(response.text[1:])
        assert set(handshake) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
        assert handshake["upgrades"] == ["websocket"]
        assert handshake["pingInterval"] == 1500
        assert handshake["pingTimeout"] == 250
        assert handshake["maxPayload"] == 4321
        assert all(isinstance(handshake[name], int) for name in handshake if name[0] in "pm")
        websocket = await engine.websocket()
        assert websocket.handshake["upgrades"] == []
        assert set(websocket.handshake) == set(handshake)


@pytest.mark.req("EIO4-32")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@in_trio
async def test_what_is_sent_on_opening_follows_the_open_packet(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine() as engine:
        opened = engine.engine._opening._open_session

        def greet(session: Any) -> Any:
            session.send_text(b"hi")
            return opened(session)

        monkeypatch.setattr(engine.engine._opening, "_open_session", greet)
        if transport == "polling":
            first, second = split(await engine.request("GET", POLLING))
        else:
            websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET))
            first, second = [str(await websocket.receive()) for _ in range(2)]
        assert first[0] == "0"
        assert second == "4hi"


@in_trio
async def test_frames_that_come_with_the_handshake_are_read() -> None:
    async with open_engine() as engine:
        stream = await engine.connect()
        head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE_HEADERS)
        frame = b"\x81\x86\0\0\0\0" + b"4early"
        await stream.send_all(f"GET {WEBSOCKET} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + frame)
        answer = b""
        while b"4early" not in answer:
            part = bytes(await stream.receive_some())
            assert part
            answer += part
        assert engine.listener.received == ["early"]


# --- sids


@pytest.mark.req("EIO4-34")
@in_trio
async def test_sids_are_unique_and_name_their_node() -> None:
    async with open_engine() as engine:
        http = engine.http()
        sids = []
        for _ in range(200):
            response = await http.request("GET", POLLING)
            sids.append(json.loads(response.text[1:])["sid"])
        sids.append((await engine.websocket()).handshake["sid"])
        assert len(set(sids)) == 201
        assert all(SID.fullmatch(sid) for sid in sids)
        assert len({sid[:4] for sid in sids}) == 1


@pytest.mark.req("EIO4-34")
def test_a_sid_is_96_bits_from_the_systems_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    token_bytes = secrets.token_bytes

    def record(size: int) -> bytes:
        given.append(urlsafe_b64encode(secret := token_bytes(size)).decode())
        return secret

    monkeypatch.setattr(secrets, "token_bytes", record)
    text = RandomText()
    drawn = [text.draw(SID_RANDOM_CHARACTERS) for _ in range(1000)]
    assert SID_RANDOM_CHARACTERS * 6 == 96
    assert all(SID.fullmatch("node" + random) for random in drawn)
    assert len(given) > 1
    assert "".join(given).startswith("".join(drawn))


def test_what_does_not_fit_in_the_rest_of_a_pool_comes_from_the_next() -> None:
    text = RandomText()
    drawn = [text.draw(count) for count in (20, 16) * 500]
    assert [len(one) for one in drawn] == [20, 16] * 500
    assert len(set(drawn)) == 1000
    assert len({one[:16] for one in drawn}) == 1000


def test_a_node_name_is_four_characters_of_the_same_kind() -> None:
    names = {new_node_name() for _ in range(100)}
    assert len(names) > 90
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{4}", name) for name in names)


@pytest.mark.req("EIO4-125")
@in_trio
async def test_every_sid_begins_with_the_prefix_that_is_set() -> None:
    async with open_engine(sid_prefix="n-01") as engine:
        sids = [(await engine.polling()).handshake["sid"] for _ in range(3)]
    assert {sid[:4] for sid in sids} == {"n-01"}
    assert len(set(sids)) == 3


@pytest.mark.req("EIO4-125")
@pytest.mark.parametrize("prefix", ["", "abc", "abcde", "ab c", "ab.c", "abc\n"])
def test_a_prefix_that_no_sid_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(OptionError, match=r"^sid_prefix: expected 4 characters"):
        ServerOptions(sid_prefix=prefix)


# --- what is known of the client


def test_a_handshake_keeps_what_the_request_said() -> None:
    request = request_of("192.0.2.1", secure=True, host="here:1", cookie="a=b: c")
    handshake = Handshake(request, ())
    assert handshake.headers == {"host": "here:1", "cookie": "a=b: c"}
    assert handshake.query == {"EIO": "4", "token": "a b"}
    assert handshake.url == "/engine.io/?EIO=4&token=a%20b"
    assert (handshake.address, handshake.secure) == ("192.0.2.1", True)
    assert abs(handshake.issued_s - time()) < 60


def test_a_handshake_may_have_no_headers() -> None:
    assert Handshake(request_of("192.0.2.1"), ()).headers == {}


def test_the_accept_token_is_that_of_the_rfcs_example() -> None:
    # RFC 6455, section 1.3
    request = request_of(
        "", sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==", sec_websocket_version="13"
    )
    headers = dict(websocket_headers(request) or [])
    assert headers[b"Sec-WebSocket-Accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("peer", "chain", "address"),
    [
        ("10.0.0.1", "192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.9", "192.0.2.9"),  # the client wrote the first
        ("10.0.0.1", "6.6.6.6, 192.0.2.9, 10.0.0.2 ,10.0.0.3", "192.0.2.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # nobody but proxies
        ("10.0.0.1", "6.6.6.6, garbage", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "192.0.2.9:1234", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "192.0.2.9, fd00::7", "192.0.2.9"),
        ("::ffff:10.0.0.1", "192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "192.0.2.9, ::ffff:10.0.0.2", "192.0.2.9"),
        ("fd00::1%eth0", "192.0.2.9", "192.0.2.9"),
        ("", "192.0.2.9", "192.0.2.9"),  # a Unix socket
        ("11.0.0.1", "192.0.2.9", "11.0.0.1"),
        ("::ffff:11.0.0.1", "192.0.2.9", "::ffff:11.0.0.1"),
        ("2001:db8::5", "192.0.2.9", "2001:db8::5"),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_counts(
    peer: str, chain: str, address: str
) -> None:
    trusted = networks("10.0.0.0/8", "fd00::/8")
    assert forwarded(request_of(peer, x_forwarded_for=chain), trusted)[0] == address


@pytest.mark.parametrize("peer", ["10.0.0.1", ""])
def test_without_trusted_proxies_no_header_counts(peer: str) -> None:
    request = request_of(peer, x_forwarded_for="192.0.2.9", x_forwarded_proto="https")
    assert forwarded(request, ()) == (peer, False)


@pytest.mark.parametrize(
    ("peer", "proto", "secure", "expected"),
    [
        ("10.0.0.1", "https", False, True),
        ("10.0.0.1", "http", False, False),
        ("10.0.0.1", "", True, True),
        ("11.0.0.1", "https", False, False),
        ("11.0.0.1", "http", True, True),
    ],
)
def test_only_a_trusted_proxy_says_that_tls_was_spoken(
    peer: str, proto: str, secure: bool, expected: bool
) -> None:
    request = request_of(peer, secure=secure, x_forwarded_proto=proto)
    assert forwarded(request, networks("10.0.0.0/8"))[1] is expected


@pytest.mark.parametrize("scope", ["", "%eth0", "%" + "x" * 100])
def test_an_address_has_a_bound(scope: str) -> None:
    request = request_of("10.0.0.1", x_forwarded_for=f"fe80::1{scope}")
    expected = "10.0.0.1" if len(scope) > 10 else f"fe80::1{scope}"
    assert forwarded(request, networks("10.0.0.0/8"))[0] == expected


async def address_seen(engine: Engine) -> tuple[str, bool]:
    headers = [("X-Forwarded-For", "6.6.6.6, 192.0.2.9"), ("X-Forwarded-Proto", "https")]
    await engine.request("GET", POLLING, headers)
    return engine.session.handshake.address, engine.session.handshake.secure


@in_trio
async def test_a_session_behind_a_trusted_proxy_knows_its_client() -> None:
    async with open_engine(trusted_proxies=networks("127.0.0.0/8")) as engine:
        assert await address_seen(engine) == ("192.0.2.9", True)


@in_trio
async def test_a_session_that_forges_headers_is_not_believed() -> None:
    async with open_engine(trusted_proxies=networks("10.0.0.0/8")) as engine:
        assert await address_seen(engine) == ("127.0.0.1", False)
