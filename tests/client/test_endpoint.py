"""URLs, and the ways to reach a server: TLS, a Unix socket, a stream of the program's own."""

import ssl
from itertools import accumulate
from pathlib import Path

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from tests.client.serving import QUICK, create_server, wait_transport
from trio.testing import trio_test

from trio_socketio import ConfigurationError, ConnectFailed, open_client, open_server
from trio_socketio.client.endpoint import Dialer, parse_url
from trio_socketio.client.polling import MAX_PACKETS, payloads
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.engine_payload import SEPARATOR


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "host", "port", "secure", "authority", "path", "query"),
        [
            ("http://a", "a", 80, False, "a", "/socket.io/", ""),
            ("http://a:80/", "a", 80, False, "a", "/socket.io/", ""),
            ("ws://a:3000", "a", 3000, False, "a:3000", "/socket.io/", ""),
            ("https://a/x", "a", 443, True, "a", "/x/", ""),
            ("wss://a:1/x/y/?q=1&r=%20", "a", 1, True, "a:1", "/x/y/", "q=1&r=%20"),
            ("http://[::1]:5", "::1", 5, False, "[::1]:5", "/socket.io/", ""),
            ("http://bücher.example", "xn--bcher-kva.example", 80, False,
             "xn--bcher-kva.example", "/socket.io/", ""),
            ("http://a/ü?ä b", "a", 80, False, "a", "/%C3%BC/", "%C3%A4%20b"),
        ],
    )  # fmt: skip
    def test_good(
        self, url: str, host: str, port: int, secure: bool, authority: str, path: str, query: str
    ) -> None:
        at = parse_url(url, "/socket.io/")
        assert (at.host, at.port, at.secure, at.authority) == (host, port, secure, authority)
        assert (at.path, at.query, at.unix_path) == (path, query, "")

    def test_unix(self) -> None:
        at = parse_url("unix:/run/x.sock?a=1", "/p/")
        assert (at.unix_path, at.path, at.query, at.secure) == ("/run/x.sock", "/p/", "a=1", False)
        assert parse_url("unix:///run/x.sock", "/p/").unix_path == "/run/x.sock"
        assert parse_url("unix:x.sock", "/p/").unix_path == "x.sock"

    @pytest.mark.parametrize(
        "url",
        ["", "a", "a:3000", "localhost", "ftp://a", "http://", "http:///x", "http://a:x", "unix:",
         "http://a:99999", "http://u:p@a", "http://" + "a" * 70, "http://[::1", "//a"],
    )  # fmt: skip
    def test_bad(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            parse_url(url, "/socket.io/")

    @given(st.text())
    def test_any_text_gives_an_endpoint_that_can_be_asked_or_one_error(self, text: str) -> None:
        for url in (text, f"http://a{text}", f"http://a/{text}"):
            try:
                endpoint = parse_url(url, "/socket.io/")
                Dialer(endpoint, {})
            except ConfigurationError:
                continue
            assert endpoint.target("polling").isascii()

    @pytest.mark.req("CLI-01")
    def test_target(self) -> None:
        at = parse_url("http://a/x?q=1", "/socket.io/")
        assert at.target("polling") == "/x/?q=1&EIO=4&transport=polling"
        assert at.target("websocket", "a b&") == "/x/?q=1&EIO=4&transport=websocket&sid=a%20b%26"


class TestPayloads:
    @pytest.mark.req("CLI-04")
    @given(
        packets=st.lists(
            st.builds(
                Outgoing,
                st.binary(min_size=1, max_size=20).map(lambda data: b"4" + data.hex().encode()),
                st.lists(st.binary(max_size=20), max_size=3).map(tuple),
            )
        ),
        max_bytes=st.integers(0, 100),
    )
    def test_bodies_are_within_the_limit_and_nothing_is_lost(
        self, packets: list[Outgoing], max_bytes: int
    ) -> None:
        bodies = [body for body, _ in payloads(packets, max_bytes)]
        parts = [body.split(SEPARATOR) for body in bodies]
        whole = [body for body, _ in payloads(packets, 0)]
        assert [part for body in parts for part in body] == [
            part for body in whole for part in body.split(SEPARATOR)
        ]
        gone = gone_packets = 0  # parts and packets that have left with a body
        ends = list(accumulate(1 + len(packet.attachments) for packet in packets))
        for body, ended in payloads(packets, max_bytes):
            gone += len(body.split(SEPARATOR))
            gone_packets += ended
            assert gone_packets == sum(end <= gone for end in ends)
        for body, inside in zip(bodies, parts, strict=True):
            assert len(inside) <= MAX_PACKETS
            assert not max_bytes or len(body) <= max_bytes or len(inside) == 1
        if max_bytes:  # and no body could have taken the first part of the next
            for at in range(len(bodies) - 1):
                more = len(bodies[at]) + 1 + len(parts[at + 1][0])
                assert more > max_bytes or len(parts[at]) == MAX_PACKETS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


class TestReaching:
    @trio_test
    async def test_tls(
        self,
        transports: tuple[str, ...],
        authority: trustme.CA,
        server_context: ssl.SSLContext,
    ) -> None:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with open_server(create_server(), ssl_context=server_context) as addresses:
            url = f"https://localhost:{addresses[0][1]}"
            async with open_client(
                url, transports=transports, ssl_context=trusting, options=QUICK
            ) as client:
                await wait_transport(client, transports[-1])
                big = "x" * 500_000
                assert await client.emit_with_ack("echo", big, b"\1") == (big, b"\1")

    @trio_test
    async def test_tls_that_is_not_trusted(self, server_context: ssl.SSLContext) -> None:
        async with open_server(create_server(), ssl_context=server_context) as addresses:
            with pytest.raises(ConnectFailed, match="certificate of the server is not trusted: "):
                async with open_client(f"https://localhost:{addresses[0][1]}"):
                    raise AssertionError("never")

    @trio_test
    async def test_unix_socket(self, transports: tuple[str, ...], tmp_path: Path) -> None:
        file = tmp_path / "s"
        async with (
            open_server(create_server(), unix_path=file),
            open_client(f"unix:{file}", transports=transports, options=QUICK) as client,
        ):
            await wait_transport(client, transports[-1])
            assert await client.emit_with_ack("echo", 1, b"2") == (1, b"2")
        with pytest.raises(ConnectFailed, match="No such file"):
            async with open_client(f"unix:{file}"):
                raise AssertionError("never")

    @trio_test
    async def test_a_stream_of_the_programs_own(self, transports: tuple[str, ...]) -> None:
        async with open_server(create_server()) as addresses:
            opened = 0

            async def through_a_tunnel() -> trio.abc.Stream:
                nonlocal opened
                opened += 1
                return await trio.open_tcp_stream("127.0.0.1", addresses[0][1])

            async with open_client(
                "http://far.example", transports=transports, open_stream=through_a_tunnel
            ) as client:
                assert await client.emit_with_ack("echo", 1) == 1
        assert opened >= 1
