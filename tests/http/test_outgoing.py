"""Requests of the server itself: bounded in every way, and never sent anywhere else."""

import hmac
import ssl
import threading
from functools import partial
from hashlib import sha256
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from typing import Any

import pytest
import trio
import trustme
from tests.http.answering import Asked, Raw, answer, answering
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test

from trio_socketio.errors import ConfigurationError
from trio_socketio.http import outgoing as outgoing_module
from trio_socketio.http.client import IDLE_S
from trio_socketio.http.outgoing import (
    MAX_ANSWER_BYTES,
    RESOLVERS,
    SIGNATURE_HEADER,
    Outgoing,
    RequestFailed,
    parse_target,
    sign,
    trust,
)


@pytest.fixture
def autojump_clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.mark.parametrize(
    ("url", "shown", "path"),
    [
        ("https://a.example/b?c=d", "https://a.example/b", "/b?c=d"),
        ("https://a.example:8443", "https://a.example:8443/", "/"),
        ("https://a.example:443/", "https://a.example/", "/"),
        ("http://localhost:80/x", "http://localhost/x", "/x"),
        ("http://127.0.0.5:1/", "http://127.0.0.5:1/", "/"),
        ("http://[::1]:8/", "http://[::1]:8/", "/"),
    ],
)
def test_urls_that_can_be_used(url: str, shown: str, path: str) -> None:
    target = parse_target(url)
    assert str(target) == shown
    assert target.path == path


@pytest.mark.req("IDENT-46")
@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "http://10.0.0.1/",
        "http://localhost.example/",
        "http://169.254.169.254/latest",
    ],
)
def test_cleartext_is_spoken_with_this_machine_alone(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cleartext"):
        parse_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://",
        "https://user:hunter22@a.example/",
        "https://a.example/#hunter22",
        "https://a.example:99999/",
        "https://a.example/hunter22 x",
        "https://ä.example/",
        "https://a.example/\r\nX: hunter22",
        "https://[::1/",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_target(url)
    assert "hunter22" not in str(caught.value)


@trio_test
async def test_a_request_and_its_answer() -> None:
    async with answering({"a": 1}) as server:
        outgoing = Outgoing(parse_target(server.url + "?x=y"))
        for _ in range(2):
            response = await outgoing.request("POST", b"{}", headers=[("X-Y", "z")], timeout_s=5)
            assert (response.status, response.body) == (200, b'{"a": 1}')
        assert server.connections == 1, "the connection is kept alive"
        asked = server.asked[0]
        assert (asked.method, asked.target, asked.body) == ("POST", "/here?x=y", b"{}")
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["x-y"] == "z"
        assert asked.headers["host"] == f"127.0.0.1:{server.port}"
        await outgoing.request("GET", timeout_s=5)
        assert "content-type" not in server.asked[2].headers
        await outgoing.aclose()


@trio_test
async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async with answering() as server, trio.open_nursery() as nursery:
        outgoing = Outgoing(parse_target(server.url))

        async def ask() -> None:
            with pytest.raises(RequestFailed, match=r"no answer within 0.3 s"):
                await outgoing.request("GET", timeout_s=0.3)

        for _ in range(3):
            nursery.start_soon(ask)
    assert server.connections == 3


@pytest.mark.req("IDENT-18")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@trio_test
async def test_redirects_are_not_followed(status: int) -> None:
    async with answering("other", 200) as other:
        headers = f"Location: http://127.0.0.1:{other.port}/\r\n"
        async with answering("", status, headers) as server:
            outgoing = Outgoing(parse_target(server.url))
            with pytest.raises(RequestFailed, match=f"{status}: redirects are not followed"):
                await outgoing.request("GET", timeout_s=5)
            await outgoing.aclose()
        assert other.connections == 0


@pytest.mark.req("IDENT-18")
@pytest.mark.parametrize(
    "response",
    [
        answer(b"x" * (MAX_ANSWER_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"fff0\r\n%b\r\n" % (b"x" * 0xFFF0) * 9,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ],
    ids=["huge", "huge in chunks", "huge head", "no HTTP", "hangs in the middle"],
)
@trio_test
async def test_answers_are_bounded(response: bytes) -> None:
    async with answering(Raw(response)) as server:
        outgoing = Outgoing(parse_target(server.url))
        with pytest.raises(RequestFailed):
            await outgoing.request("GET", timeout_s=1)
        assert server.connections == 1
        server.answers("good")
        assert (await outgoing.request("GET", timeout_s=5)).body == b"good"
        assert server.connections == 2, "the rest of the bad answer is read by nobody"
        await outgoing.aclose()


@pytest.mark.req("IDENT-18")
@trio_test
async def test_a_slow_answer_has_one_deadline(autojump_clock: MockClock) -> None:
    async with answering() as server:
        outgoing = Outgoing(parse_target(server.url))
        began = trio.current_time()
        with pytest.raises(RequestFailed, match="no answer within 3 s"):
            await outgoing.request("GET", timeout_s=3)
        assert trio.current_time() - began == pytest.approx(3)


@trio_test
async def test_nobody_there() -> None:
    outgoing = Outgoing(parse_target("http://127.0.0.1:1/"))
    with pytest.raises(RequestFailed, match="Connection refused"):
        await outgoing.request("GET", timeout_s=5)


@pytest.mark.req("IDENT-46")
@trio_test
async def test_certificates_are_verified(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    for issuer, name, fault in (
        (authority, "127.0.0.1", ""),
        (stranger, "127.0.0.1", "the certificate is not trusted"),
        (authority, "other.example", "the certificate is not trusted"),
    ):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issuer.issue_cert(name).configure_cert(context)
        async with answering("secret", tls=context) as server:
            url = server.url.replace("http:", "https:")
            outgoing = Outgoing(parse_target(url), trust(str(file)))
            if fault:
                with pytest.raises(RequestFailed, match=fault):
                    await outgoing.request("GET", timeout_s=5)
                assert server.asked == []
            else:
                assert (await outgoing.request("GET", timeout_s=5)).body == b"secret"
            await outgoing.aclose()


@trio_test
async def test_a_server_that_speaks_no_tls() -> None:
    async with answering("x") as server:
        outgoing = Outgoing(parse_target(server.url.replace("http:", "https:")), trust(None))
        with pytest.raises(RequestFailed):
            await outgoing.request("GET", timeout_s=1)
        assert not server.asked


@pytest.mark.req("HTTP-67")
@trio_test
async def test_a_resolver_that_hangs_takes_no_threads_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging: list[str] = []
    released = threading.Event()

    def hang(host: str, port: int, **_: object) -> list[Any]:
        hanging.append(host)
        released.wait(10)
        return []

    monkeypatch.setattr(outgoing_module, "getaddrinfo", hang)
    outgoing = Outgoing(parse_target("https://a.example/"), trust(None))

    async def ask() -> None:
        with pytest.raises(RequestFailed, match="no answer within"):
            await outgoing.request("GET", timeout_s=0.2)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        assert hanging == ["a.example"] * RESOLVERS
    finally:
        released.set()


@trio_test
async def test_each_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(host: str, port: int, **_: object) -> list[Any]:
        addresses = ("127.0.0.2", "127.0.0.2", "127.0.0.1")
        return [(AF_INET, SOCK_STREAM, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(outgoing_module, "getaddrinfo", find)
    async with answering("here") as server:
        outgoing = Outgoing(parse_target(f"http://localhost:{server.port}/"))
        assert (await outgoing.request("GET", timeout_s=5)).body == b"here"
        assert server.asked[0].headers["host"] == f"localhost:{server.port}"
        await outgoing.aclose()


@pytest.mark.req("HTTP-68")
@trio_test
async def test_connections_that_stay_idle_are_closed() -> None:
    async with answering("x") as server:
        outgoing = Outgoing(parse_target(server.url))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(partial(outgoing.request, "GET", timeout_s=5))
        assert server.open_now > 1
        await trio.sleep(IDLE_S + 0.1)
        await outgoing.request("GET", timeout_s=5)
        await until(lambda: server.open_now == 1)
        await outgoing.aclose()


@pytest.mark.req("HTTP-68")
@trio_test
async def test_a_request_under_way_at_the_end_keeps_no_connection() -> None:
    async with answering() as server, trio.open_nursery() as nursery:
        outgoing = Outgoing(parse_target(server.url))
        go_on, answers = trio.Event(), []

        async def wait(_: Asked) -> bytes:
            await go_on.wait()
            return answer("late")

        async def ask() -> None:
            answers.append((await outgoing.request("GET", timeout_s=5)).body)

        server.answering = wait
        nursery.start_soon(ask)
        await until(lambda: len(server.asked) == 1)
        await outgoing.aclose()
        go_on.set()
        await until(lambda: answers == [b"late"])
        await until(lambda: server.open_now == 0)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    assert trust(None).verify_mode is ssl.CERT_REQUIRED
    (tmp_path / "bad").write_text("nothing")
    for name in ("bad", "nowhere"):
        with pytest.raises(ConfigurationError, match="cannot read the certificates"):
            trust(str(tmp_path / name))


@pytest.mark.req("IDENT-25")
def test_a_signature_covers_time_nonce_and_body() -> None:
    secret = b"s" * 32
    name, value = sign(secret, b"body", 1234.9)
    assert name == SIGNATURE_HEADER
    fields = dict(part.split("=") for part in value.split(","))
    assert fields["t"] == "1234"
    signed = f"{fields['t']}.{fields['n']}.body".encode()
    assert fields["v1"] == hmac.new(secret, signed, sha256).hexdigest()
    assert sign(secret, b"body", 1234.9)[1] != value, "the nonce is another one"
