"""Who is no node gets nothing from a node, and a node that fails fails only what it has."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trustme
from tests.cluster.false_nodes import (
    FAKE_SID,
    HEAD,
    UNKNOWN,
    connect,
    false_node,
    open_as,
    poll,
    read_all,
    welcome,
)
from tests.cluster.forwarding_nodes import (
    SECRET,
    forwarding_nodes,
    open_sid,
    target_of,
    upgraded,
)
from tests.socketio.serving import until
from tests.wire import HttpClient
from trio.testing import MockClock, trio_test

from trio_socketio import Server, ServerOptions
from trio_socketio.cluster.forwarding.answering import OPENING_S
from trio_socketio.cluster.forwarding.credentials import Credentials, read_credentials
from trio_socketio.cluster.forwarding.metrics import ForwardingCollector
from trio_socketio.cluster.options import ClusterOptions
from trio_socketio.engine.hooks import EngineRequest
from trio_socketio.net.connection import Connection
from trio_socketio.protocol.forwarding import PULSE, Arrived, Dialer

OTHER = b"a secret of another cluster, too"


@pytest.mark.req("FWD-51", "FWD-05", "FWD-06", "FWD-07")
@trio_test
async def test_strangers_are_refused_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with forwarding_nodes("a") as nodes:
        node = nodes["a"]
        process, nonce = node.nodes.process, b"n" * 16
        for sent, reason in (
            (b"hello 7 of the future\n", "version"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "malformed"),
            (b"x" * 600, "malformed"),
            (Dialer("x", "a", process, OTHER, nonce).hello, "proof"),
            (Dialer("x", "a", process, b"", nonce).hello, "proof"),
            (Dialer("x", "c", process, SECRET, nonce).hello, "node"),
            (Dialer("x", "a", "1-1", SECRET, nonce).hello, "node"),
        ):
            before = node.forwarding.counts.openings_refused[reason]
            stream = await connect(node)
            await stream.send_all(sent)
            assert (await read_all(stream)).startswith(b"refused %b " % reason.encode())
            assert node.forwarding.counts.openings_refused[reason] == before + 1
            await stream.aclose()
        assert "refused a connection to the internal address from 127.0.0.1: " in caplog.text
        assert "this node speaks 1, not 7" in caplog.text
        assert sum(node.forwarding.counts.taken.values()) == 0


@pytest.mark.req("FWD-04", "FWD-08")
@pytest.mark.parametrize("how", ["forged", "repeated", "early", "unproven"])
@trio_test
async def test_nothing_that_is_not_signed_reaches_a_session(how: str) -> None:
    async with forwarding_nodes("a") as nodes:
        node = nodes["a"]
        head = HEAD % target_of(await open_sid(node)).encode()
        dialer, stream = await open_as(node)
        sent = dialer.encode_request(head, b"40", "192.0.2.1", secure=False)
        if how == "forged":
            sent = sent.replace(b"192.0.2.1", b"192.0.2.2")
        elif how == "early":
            sent += dialer.encode_request(head, b"40", "192.0.2.1", secure=False)
        elif how == "unproven":
            sent = b"request - %d 2 c -\n%b40" % (len(head), head)
        await stream.send_all(sent)
        expected = 0
        if how == "repeated":
            with trio.fail_after(5):
                assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
            await stream.send_all(sent)
            expected = 1
        assert (await read_all(stream)).startswith(b"refused ")
        assert node.forwarding.counts.taken["post"] == expected
        assert len(node.server.of("/").sockets) == expected
        await stream.aclose()


@pytest.fixture
def fast_clock() -> MockClock:
    """Time passes ten times as fast, for real sockets too."""
    return MockClock(rate=10.0)


@pytest.fixture
def quick_clock() -> MockClock:
    """The same, with time to spare for a busy machine."""
    return MockClock(rate=3.0)


@pytest.mark.req("FWD-05")
@pytest.mark.parametrize("sent", [b"", b"hello 1 ", None])
@trio_test
async def test_an_opening_that_takes_long_is_given_up(
    fast_clock: MockClock, sent: bytes | None
) -> None:
    async with forwarding_nodes("a") as nodes:
        began = trio.current_time()
        if sent is None:  # a recorded hello, with nothing after it
            _, stream = await open_as(nodes["a"])
        else:
            stream = await connect(nodes["a"])
            await stream.send_all(sent)
        assert await read_all(stream) == b""
        assert OPENING_S - 0.5 < trio.current_time() - began < OPENING_S + 1.5
        await stream.aclose()


@pytest.mark.req("FWD-05")
@trio_test
async def test_a_request_that_never_ends_is_given_up(fast_clock: MockClock) -> None:
    async with forwarding_nodes("a") as nodes:
        node = nodes["a"]
        dialer, stream = await open_as(node)
        head = HEAD % target_of(await open_sid(node)).encode()
        sent = dialer.encode_request(head, b"4" * 100_000, "", secure=False)
        began = trio.current_time()
        await stream.send_all(sent[:-50_000])
        with trio.fail_after(30):
            while not await has_ended(stream):
                await stream.send_all(b"4")  # a byte now and then does not help
        assert trio.current_time() - began < 13
        assert node.forwarding.counts.taken["post"] == 0
        await stream.aclose()


async def has_ended(stream: trio.SocketStream) -> bool:
    with trio.move_on_after(1.0):
        try:
            return not await stream.receive_some()
        except trio.BrokenResourceError:
            return True
    return False


@pytest.mark.req("FWD-02", "FWD-03", "FWD-20", "FWD-21", "FWD-30")
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("silent", "silent"),
        ("closes", "gone"),
        ("other secret", "proof"),
        ("no secret", "proof"),
        ("other version", "version"),
        ("talks on", "malformed"),
        ("full", "full"),
        ("silent later", "silent"),
        ("nonsense later", "malformed"),
        ("closes later", "gone"),
        ("switches", "malformed"),
    ],
)
@trio_test
async def test_a_node_that_does_not_answer(how: str, reason: str, quick_clock: MockClock) -> None:
    """The client has the documented error within two seconds, and can come back."""
    received, connections = b"", 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal received, connections
        connections += 1
        if connections > 1:  # it stands still
            await trio.sleep_forever()
        if how == "other secret":
            received += bytes(await stream.receive_some())
            await stream.send_all(b"welcome 1 " + b"61" * 16 + b" " + b"0" * 64 + b"\n")
        elif how == "no secret":
            received += bytes(await stream.receive_some())
            await stream.send_all(b"welcome 1 " + b"61" * 16 + b" -\n")
        elif how == "other version":
            await stream.send_all(b"refused version this node speaks 2, not 1\n")
        elif how == "full":
            await stream.send_all(b"refused full this node has as many as it may have\n")
        elif how == "talks on":
            await stream.send_all(b"x" * 1000)
        elif how.endswith("later") or how == "switches":
            await welcome(stream)
            await stream.receive_some()
            if how == "nonsense later":
                await stream.send_all(b"nonsense\r\n\r\n")
            elif how == "closes later":
                return
            elif how == "switches":
                await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        elif how == "closes":
            return
        await trio.sleep_forever()

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        status, body, took_s = await poll(nodes["a"])
        assert (status, body) == (400, UNKNOWN)
        assert took_s < 2.0
        assert nodes["a"].refused == {reason: 1}
        assert nodes["a"].forwarding.counts.requests == 0
        assert b"GET" not in received  # nothing of a request goes to who has not proven itself
        if reason == "silent":  # and now it is at once
            status, body, took_s = await poll(nodes["a"])
            assert (status, body) == (400, UNKNOWN)
            assert took_s < 0.5


@pytest.mark.req("FWD-52")
@trio_test
async def test_a_loopback_address_of_another_machine_leads_nowhere() -> None:
    connections = []

    async def behave(stream: trio.SocketStream) -> None:
        connections.append(stream)

    async with (
        forwarding_nodes("a") as nodes,
        false_node(nodes["a"], behave, host="another-machine"),
    ):
        status, body, _ = await poll(nodes["a"])
        assert (status, body) == (400, UNKNOWN)
        assert nodes["a"].refused == {"unknown": 1}
        assert not connections


@pytest.mark.req("FWD-21")
@trio_test
async def test_a_node_that_is_gone_is_an_error_at_once() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        """Do nothing."""

    async with forwarding_nodes("a") as nodes:
        async with false_node(nodes["a"], behave):
            pass
        status, body, took_s = await poll(nodes["a"])
        assert (status, body) == (400, UNKNOWN)
        assert took_s < 0.5
        assert nodes["a"].refused == {"gone": 1}


@pytest.mark.req("FWD-30")
@trio_test
async def test_what_fails_is_answered_for_the_page_that_has_asked() -> None:
    """The page of a request of JSONP is named by its Referer."""
    page = "https://page.example"

    async def behave(stream: trio.SocketStream) -> None:
        """Close at once."""

    options = ServerOptions(cors_origins=(page,))
    async with forwarding_nodes("a", options=options) as nodes, false_node(nodes["a"], behave):
        for target, header in (
            (target_of(FAKE_SID, j="0"), ("Referer", f"{page}/x")),
            (target_of(FAKE_SID), ("Origin", page)),
        ):
            http = HttpClient(nodes["a"].port)
            answer = await http.request("GET", target, [header])
            assert (answer.status, answer.json()) == (400, UNKNOWN)
            assert answer.headers["access-control-allow-origin"] == page
            await http.aclose()
        assert nodes["a"].refused == {"gone": 2}


@pytest.mark.req("FWD-20", "FWD-22")
@trio_test
async def test_a_poll_that_a_node_is_at_work_on_is_left_alone(fast_clock: MockClock) -> None:
    """It may take as long as it likes, as long as the node is heard."""
    asked: list[bytes] = []

    async def behave(stream: trio.SocketStream) -> None:
        machine = await welcome(stream)
        while True:
            data = bytes(await stream.receive_some())
            for event in machine.receive(data):
                if event.answer:
                    asked.append(event.answer)
                    await stream.send_all(event.answer)
                else:
                    await trio.sleep(8.0)
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        status, body, took_s = await poll(nodes["a"])
        assert (status, body) == (200, {})
        assert took_s > 7.5
        assert len(asked) > 5
        assert set(asked) == {PULSE}


@pytest.mark.req("FWD-12")
@trio_test
async def test_an_answer_that_breaks_off_ends_the_connection_of_its_client() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await welcome(stream)
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["a"].port)
        await stream.send_all(f"GET {target_of(FAKE_SID)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert await read_all(stream) == b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"
        await stream.aclose()
        assert nodes["a"].refused == {"gone": 1}


@pytest.mark.req("FWD-42")
@trio_test
async def test_nodes_know_one_another_by_certificates(tmp_path: Path) -> None:
    ca, foreign = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca")
    for name, authority in (("node", ca), ("stranger", foreign)):
        authority.issue_cert("any.name").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / name
        )
    options = ClusterOptions(
        internal="127.0.0.1:0",
        internal_tls_cert=tmp_path / "node",
        internal_tls_ca=tmp_path / "ca",
    )
    credentials = read_credentials(options)
    assert credentials.secrets == ()
    async with forwarding_nodes("a", "b", credentials=credentials) as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        await client.emit("say", "x" * 200_000, ack_id=1)
        text, _ = await client.receive()
        assert len(text) > 200_000
        http = HttpClient(nodes["b"].port)
        sid = await open_sid(nodes["a"])
        for _ in range(3):
            assert (await http.request("POST", target_of(sid), body=b"40/none,")).status == 200
        await http.aclose()
        # Whoever has no certificate of the authority, or none at all, cannot say anything.
        hello = Dialer("x", "a", nodes["a"].nodes.process, b"", b"n" * 16).hello
        for chain in (None, tmp_path / "stranger"):
            context = ssl.create_default_context(cafile=tmp_path / "ca")
            context.check_hostname = False
            if chain is not None:
                context.load_cert_chain(chain)
            stream = trio.SSLStream(await connect(nodes["a"]), context)
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):  # noqa: PT012 - either
                await stream.send_all(hello)
                await stream.receive_some()
            await trio.aclose_forcefully(stream)


@pytest.mark.req("FWD-42")
@trio_test
async def test_a_node_with_a_foreign_certificate_gets_nothing(tmp_path: Path) -> None:
    found: list[Credentials] = []
    for _ in range(2):
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca")
        ca.issue_cert("a").private_key_and_cert_chain_pem.write_to_path(tmp_path / "node")
        options = ClusterOptions(
            internal="127.0.0.1:0",
            internal_tls_cert=tmp_path / "node",
            internal_tls_ca=tmp_path / "ca",
        )
        found.append(read_credentials(options))
    async with forwarding_nodes("a", credentials=found[0]) as nodes:
        b = await nodes.start("b", credentials=found[1])
        await nodes.wait_known()
        http = HttpClient(b.port)
        answer = await http.request("GET", target_of(await open_sid(nodes["a"])))
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        await http.aclose()
        await until(lambda: sum(b.refused.values()) == 1)
        assert nodes["a"].forwarding.counts.taken["poll"] == 0


@pytest.mark.req("FWD-02", "FWD-42")
@pytest.mark.parametrize("authority", ["own", "foreign"])
@trio_test
async def test_a_node_tells_nothing_to_one_with_a_foreign_certificate(
    tmp_path: Path, authority: str
) -> None:
    """One that asks for no certificate itself, and would have accepted any hello."""
    own, foreign = trustme.CA(), trustme.CA()
    own.cert_pem.write_to_path(tmp_path / "ca")
    own.issue_cert("a").private_key_and_cert_chain_pem.write_to_path(tmp_path / "node")
    options = ClusterOptions(
        internal="127.0.0.1:0",
        internal_tls_cert=tmp_path / "node",
        internal_tls_ca=tmp_path / "ca",
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (own if authority == "own" else foreign).issue_cert("fake").configure_cert(context)
    received = b""

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal received
        tls = trio.SSLStream(stream, context, server_side=True)
        with suppress(trio.BrokenResourceError):
            received += bytes(await tls.receive_some())
        await trio.aclose_forcefully(tls)

    credentials = read_credentials(options)
    async with (
        forwarding_nodes("a", credentials=credentials) as nodes,
        false_node(nodes["a"], behave),
    ):
        assert (await poll(nodes["a"]))[:2] == (400, UNKNOWN)
        assert nodes["a"].refused == {"gone" if authority == "own" else "tls": 1}
    assert received.startswith(b"hello ") is (authority == "own")


@pytest.mark.req("FWD-31")
@pytest.mark.parametrize("secure", [False, True])
@trio_test
async def test_whether_a_client_uses_tls_comes_along(
    monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    arrived: list[Arrived] = []

    async def behave(stream: trio.SocketStream) -> None:
        machine = await welcome(stream)
        for event in machine.receive(bytes(await stream.receive_some())):
            assert event.arrived is not None
            arrived.append(event.arrived)

    seen: list[tuple[str, bool]] = []

    def prepare(server: Server) -> None:
        @server.engine.use
        def look(request: EngineRequest) -> None:
            seen.append((request.address, request.secure))

    async with forwarding_nodes("a", prepare=prepare) as nodes, false_node(nodes["a"], behave):
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "secure", secure)
            assert (await poll(nodes["a"]))[:2] == (400, UNKNOWN)
        assert [(one.address, one.secure) for one in arrived] == [("127.0.0.1", secure)]
        head = HEAD % target_of(await open_sid(nodes["a"])).encode()
        seen.clear()
        dialer, stream = await open_as(nodes["a"])
        await stream.send_all(dialer.encode_request(head, b"40", "192.0.2.1", secure=secure))
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert seen == [("192.0.2.1", secure)]
        await stream.aclose()


@pytest.mark.req("FWD-50")
@trio_test
async def test_what_is_passed_on_is_counted() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for name in "ab"
            for metric in ForwardingCollector(nodes[name].forwarding).collect()
            for sample in metric.samples
            if sample.value
        }
        assert found.pop(("tsio_forwarded_bytes_total", "in")) > 100
        assert found.pop(("tsio_forwarded_bytes_total", "out")) > 100
        assert found == {
            ("tsio_forwarded_total", "in", "upgrade", "passed"): 1,
            ("tsio_forwarded_total", "out", "upgrade", "passed"): 1,
            ("tsio_forwarded_total", "out", "upgrade", "answered"): 1,
            ("tsio_forwarding_open", "websocket"): 1,
        }
        http = HttpClient(nodes["a"].port)
        await http.request("GET", target_of("zzzz0123456789abcdef"))
        await http.aclose()
        refused = next(
            metric
            for metric in ForwardingCollector(nodes["a"].forwarding).collect()
            if metric.name == "tsio_forwarding_refused"
        )
        assert {
            sample.labels["reason"]: sample.value for sample in refused.samples if sample.value
        } == {"unknown": 1.0}
