"""Connections between nodes are let go of in time, and not before, whatever has become of them."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
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
    ForwardingNode,
    Nodes,
    forwarding_nodes,
    open_sid,
    target_of,
    upgraded,
)
from tests.socketio.serving import until
from tests.wire import ConnectionEnded, HttpClient, PollingEngine
from trio.testing import MockClock, trio_test

from trio_socketio import ServerOptions
from trio_socketio.cluster.forwarding.answering import KEPT_S, OPENING_S
from trio_socketio.cluster.forwarding.credentials import Credentials
from trio_socketio.cluster.forwarding.link import IDLE_S, Link
from trio_socketio.cluster.forwarding.peer import Peer
from trio_socketio.cluster.forwarding.peers import Peers
from trio_socketio.cluster.forwarding.pipe import HELD_BYTES
from trio_socketio.codec.node_messages import Beat, NodeFacts
from trio_socketio.protocol.connection import ON, PAUSED, Reading
from trio_socketio.protocol.forwarding import PULSE, Dialer
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.socketio.measures import take_load
from trio_socketio.socketio.mount import _mix

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = Credentials((b"a secret of another cluster, too",))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def fast_clock() -> MockClock:
    """Time passes ten times as fast, for real sockets too."""
    return MockClock(rate=10.0)


def _has(counts: dict[str, int], polls: int) -> bool:
    return counts["poll"] == polls


def peers_of(node: ForwardingNode) -> Peers:
    assert node.forwarding._peers is not None
    return node.forwarding._peers


def peer_of(node: ForwardingNode) -> Peer:
    """The only other node, as this one knows it."""
    (peer,) = peers_of(node)
    return peer


async def serve_well(stream: trio.SocketStream) -> None:
    machine = await welcome(stream)
    async for data in stream:
        for event in machine.receive(bytes(data)):
            await stream.send_all(event.answer or ANSWER)
            if event.arrived is not None:
                machine.rest()


@pytest.mark.req("FWD-20")
@trio_test
async def test_a_node_is_heard_again_though_all_kept_connections_are_dead(
    fast_clock: MockClock,
) -> None:
    """A firewall between the nodes has forgotten them, and tells nobody."""
    connections, dead = 0, trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        if dead.is_set():
            await serve_well(stream)
            return
        machine = await welcome(stream)
        async for data in stream:
            for event in machine.receive(bytes(data)):
                if dead.is_set():
                    await trio.sleep_forever()
                while connections < 3:  # noqa: ASYNC110 - each request has one of its own
                    await trio.sleep(0.01)
                await stream.send_all(event.answer or ANSWER)
                if event.arrived is not None:
                    machine.rest()

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(poll, nodes["a"])
        dead.set()
        status, body, took_s = await poll(nodes["a"])
        assert (status, body) == (400, UNKNOWN)
        assert took_s < 4.0
        await trio.sleep(3.0)
        assert (await poll(nodes["a"]))[:2] == (200, {})


@pytest.mark.req("FWD-14", "FWD-12")
@trio_test
async def test_what_held_an_answer_back_ends_with_the_answer() -> None:
    """A connection on TLS hands over more than one piece after it was told to pause."""

    async def behave(stream: trio.SocketStream) -> None:
        await welcome(stream)
        await trio.sleep_forever()

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        peer = peer_of(nodes["a"])
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["a"].port)
        for number, size in enumerate((HELD_BYTES + 1, 10), 1):
            await stream.send_all(f"GET {target_of(FAKE_SID)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await until(lambda: len(peer._passages) == 1)
            (passage,) = peer._passages
            link, client = passage._link, passage.request.connection
            assert link is not None
            await until(partial(_has, peer._ground.counts.passed, number))
            passage.receive_answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1))
            passage.receive_answer(b"x" * size)
            is_held = size > HELD_BYTES
            assert link.connection.reading is (PAUSED if is_held else ON)
            passage.receive_answer(b"y")
            assert link.connection.reading is ON
            assert client.next_deadline() < inf
            received = b""
            while not received.endswith(b"y"):
                received += bytes(await stream.receive_some())
            # Only now it is drained, and that changes nothing any more.
            await trio.sleep(0.05)
            assert client.next_deadline() < inf
        await stream.aclose()


@pytest.mark.req("FWD-14")
@trio_test
async def test_an_answer_goes_on_when_its_client_has_taken_some() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await welcome(stream)
        await trio.sleep_forever()

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["a"].port)
        await stream.send_all(f"GET {target_of(FAKE_SID)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        peer = peer_of(nodes["a"])
        await until(lambda: peer._ground.counts.passed["poll"] == 1)
        (passage,) = peer._passages
        link, client = passage._link, passage.request.connection
        assert link is not None
        passage.receive_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        passage.receive_answer(b"x" * (HELD_BYTES + 1))
        assert link.connection.reading is PAUSED
        assert client.next_deadline() < inf
        received = 0
        while received < HELD_BYTES:
            received += len(await stream.receive_some())
        await until(partial(_reads, link, ON))
        assert client.next_deadline() == inf
        await stream.aclose()


def _reads(link: Link, reading: Reading) -> bool:
    return link.connection.reading is reading


@pytest.mark.req("FWD-12")
@trio_test
async def test_a_refused_upgrade_ends_the_connection_as_it_does_on_its_own_node() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        target = target_of(await open_sid(nodes["a"]), "websocket")
        lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 7", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        await stream.send_all("\r\n".join(lines).encode())
        assert (await read_all(stream)).startswith(b"HTTP/1.1 426 ")
        assert nodes["b"].forwarding.counts.answered["upgrade"] == 1
        await stream.aclose()


@pytest.mark.req("FWD-25")
def test_what_a_node_lets_go_of_is_spread_among_its_own_sessions() -> None:
    ended: list[str] = []
    own: list[Callable[[], None]] = [partial(ended.append, one) for one in "123456"]
    passing: list[Callable[[], None]] = [partial(ended.append, one) for one in "abc"]
    for closing in _mix(own, passing):
        closing()
    assert "".join(ended) == "1a23b45c6"


@pytest.mark.req("FWD-34")
@trio_test
async def test_a_node_that_cannot_be_reached_is_not_given_every_newcomer() -> None:
    """It has the fewest sessions for that very reason."""
    async with forwarding_nodes("a", place="least") as nodes:
        engines = [await PollingEngine.open(nodes["a"].port) for _ in range(2)]
        await nodes.start("b", credentials=OTHER)
        await nodes.wait_known()
        await until(lambda: [one.state for one in nodes["a"].nodes.others()] == ["serving"])
        http = HttpClient(nodes["a"].port)
        answers = [await http.request("GET", target_of("")) for _ in range(3)]
        assert [answer.status for answer in answers] == [400, 200, 200]
        assert nodes["a"].refused == {"proof": 1}
        for engine in engines:
            await engine.aclose()
        await http.aclose()


@pytest.mark.req("FWD-34")
@trio_test
async def test_a_node_that_drains_is_given_no_newcomers() -> None:
    async with forwarding_nodes("a", "b", place="least") as nodes:
        await until(lambda: [one.state for one in nodes["a"].nodes.others()] == ["serving"])
        engines = [await PollingEngine.open(nodes["a"].port)]
        assert nodes["a"].sessions
        (facts,) = nodes["a"].nodes.others()
        draining = msgspec.structs.replace(facts, state="draining")
        nodes["a"].nodes._receive(Beat(node=draining, number=1))
        engines.append(await PollingEngine.open(nodes["a"].port))
        assert [len(node.sessions) for node in nodes.values()] == [2, 0]
        for engine in engines:
            await engine.aclose()


@pytest.mark.req("FWD-13")
@trio_test
async def test_what_a_websocket_of_another_node_carries_is_counted() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        before = (await take_load(nodes["a"].server)).traffic
        for number in range(5):
            await client.emit("say", number, ack_id=number)
            await client.receive()
        after = (await take_load(nodes["a"].server)).traffic
        assert after.packets_in - before.packets_in == 5
        assert (await take_load(nodes["b"].server)).traffic.packets_in == 0


@pytest.mark.req("FWD-22")
@trio_test
async def test_a_node_that_claims_its_name_anew_keeps_what_leads_to_it() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        (facts,) = nodes["b"].nodes.others()
        claimed = msgspec.structs.replace(facts, boot="another")
        nodes["b"].nodes._receive(Beat(node=claimed, number=1))
        assert nodes["b"].nodes.others()[0].boot == "another"
        await client.emit("say", "still", ack_id=1)
        assert await client.receive() == ('31["still"]', [])
        # Another process is another one.
        renewed = msgspec.structs.replace(facts, boot="third", started_at_s=1.0)
        nodes["b"].nodes._receive(Beat(node=renewed, number=1))
        with pytest.raises(ConnectionEnded):
            await client.receive()


@pytest.mark.req("FWD-23")
@trio_test
async def test_a_second_outage_of_redis_ends_nothing_either(fast_clock: MockClock) -> None:
    """This node has heard itself in between, and no other one had the time to come back."""
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        for node in nodes.values():
            node.redis.cut()
        await until_alone(nodes)
        nodes["b"].redis.mend()
        while nodes["b"].nodes.followers._was_cut_off:  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.1)
        nodes["b"].redis.cut()
        await trio.sleep(8.0)
        await client.emit("say", "during", ack_id=1)
        assert await client.receive() == ('31["during"]', [])
        for node in nodes.values():
            node.redis.mend()
        await nodes.wait_known()
        await trio.sleep(8.0)
        await client.emit("say", "after", ack_id=2)
        assert await client.receive() == ('32["after"]', [])


async def until_alone(nodes: Nodes) -> None:
    while any(node.nodes.others() for node in nodes.values()):  # noqa: ASYNC110 - likewise
        await trio.sleep(0.1)


def facts_of(internal: str, name: str = "odd") -> NodeFacts:
    return NodeFacts(
        name=name, boot="x", host="h", pid=1, version="", started_at_s=1.0, state="serving",
        connections=0, internal=internal, sid_prefix="fake",
    )  # fmt: skip


@pytest.mark.req("FWD-21")
@trio_test
async def test_a_node_that_tells_no_address_of_this_world_is_gone() -> None:
    async with forwarding_nodes("a") as nodes:
        peers_of(nodes["a"]).node_came(facts_of("192.0.2.1:99999"))
        for _ in range(2):
            assert (await poll(nodes["a"]))[:2] == (400, UNKNOWN)
        assert nodes["a"].refused == {"gone": 2}


@pytest.mark.req("FWD-21")
@trio_test
async def test_a_system_that_has_nothing_left_for_a_connection_fails_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with forwarding_nodes("a", "b") as nodes:
        sid = await open_sid(nodes["a"])
        http = HttpClient(nodes["b"].port)
        await http.request("GET", target_of("zzzz0123456789abcdef"))  # it is connected
        ground = nodes["b"].forwarding._ground
        assert ground is not None

        def register(_: object, *, preferred: bool) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(ground.links.poller, "register", register)
            answer = await http.request("GET", target_of(sid))
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert nodes["b"].refused == {"unknown": 1, "full": 1}
        await http.aclose()
        http = HttpClient(nodes["b"].port)
        assert (await http.request("POST", target_of(sid), body=b"40")).status == 200
        await http.aclose()


@pytest.mark.req("FWD-12")
@pytest.mark.parametrize("framing", ["length", "chunks"])
@trio_test
async def test_the_body_of_any_method_belongs_to_its_request(framing: str) -> None:
    """It must not be taken for a second request, or for frames of a WebSocket."""
    async with forwarding_nodes("a", "b") as nodes:
        engine = await PollingEngine.open(nodes["a"].port)
        sid = engine.handshake["sid"]
        follow = f"GET {target_of(sid)} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        body, header = follow, f"Content-Length: {len(follow)}"
        if framing == "chunks":
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(follow), follow)
            header = "Transfer-Encoding: chunked"
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        head = f"GET {target_of(sid)} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
        await stream.send_all(head.encode() + body)
        await until(lambda: nodes["a"].forwarding.counts.taken["poll"] == 1)
        nodes["a"].sessions[0].send_text(b"hello")
        with trio.fail_after(5):
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert nodes["a"].forwarding.counts.taken["poll"] == 1
        assert nodes["b"].refused == {}
        await stream.aclose()
        upgrade = head.replace("polling", "websocket").replace(
            "Host: x", "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        )  # fmt: skip
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        await stream.send_all(upgrade.encode() + body)
        assert (await read_all(stream)).startswith(b"HTTP/1.1 400 ")
        assert nodes["a"].forwarding.counts.taken["upgrade"] == 0
        await stream.aclose()
        await engine.aclose()


@pytest.mark.req("FWD-15")
@trio_test
async def test_connections_that_carry_nothing_are_in_nobodys_way() -> None:
    async with forwarding_nodes(max_connections=16) as nodes:
        a, b, c = nodes.values()
        for owner in (a, c):
            streams = []
            for _ in range(15):
                sid = await open_sid(owner)
                stream = await trio.open_tcp_stream("127.0.0.1", b.port)
                await stream.send_all(f"GET {target_of(sid)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                streams.append(stream)
            taken = owner.forwarding.counts.taken
            await until(partial(_has, taken, 15))
            for session in owner.sessions:
                session.send_text(b"hello")
            for stream in streams:
                assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
                await stream.aclose()
        ground = b.forwarding._ground
        assert ground is not None
        assert ground.idle == ground.max_idle == 2
        assert b.refused == {}
        assert len(ground.links) == 2
        b.server.apply(replace(b.server.options, max_connections=80))
        assert ground.max_idle == 10
        for peer in peers_of(b):
            peer.pool.end_idle()
        assert ground.idle == 0


@pytest.mark.req("FWD-20")
@trio_test
async def test_connections_to_a_silent_node_do_not_pile_up(fast_clock: MockClock) -> None:
    connections = ended = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections, ended
        connections += 1
        await stream.receive_some()  # it says nothing
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()
        ended += 1

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        assert (await poll(nodes["a"]))[:2] == (400, UNKNOWN)
        await trio.sleep(8.0)
        assert connections > 3  # it is asked again and again
        assert connections - ended <= 2


@pytest.mark.req("FWD-15")
@trio_test
async def test_requests_and_websockets_have_one_bound() -> None:
    async with forwarding_nodes("a") as nodes:
        await nodes.start("b", max_connections=2)
        await nodes.wait_known()
        await upgraded(nodes, nodes["a"], nodes["b"])
        waiting = HttpClient(nodes["b"].port)
        await waiting.send("GET", target_of(await open_sid(nodes["a"])))
        await until(lambda: nodes["b"].forwarding.counts.passed["poll"] == 1)
        http = HttpClient(nodes["b"].port)
        answer = await http.request("GET", target_of(await open_sid(nodes["a"])))
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert nodes["b"].refused == {"full": 1}
        await http.aclose()
        await waiting.aclose()


@pytest.mark.req("FWD-15")
@trio_test
async def test_nodes_may_have_more_connections_than_one_address_of_clients() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        for node in nodes.values():
            limits = ConnectionLimits(max_connections=100, max_connections_per_address=1)
            node.forwarding.limit(limits)
        for _ in range(3):
            client = await upgraded(nodes, nodes["a"], nodes["b"])
            await client.connect()
        assert nodes["a"].forwarding.incoming_count == 3


@pytest.mark.req("FWD-05")
@trio_test
async def test_a_recorded_hello_does_not_buy_the_time_of_a_request(fast_clock: MockClock) -> None:
    async with forwarding_nodes("a") as nodes:
        began = trio.current_time()
        stream = await connect(nodes["a"])
        hello = Dialer("x", "a", nodes["a"].nodes.process, SECRET, b"n" * 16).hello
        head = HEAD % target_of(await open_sid(nodes["a"])).encode()
        forged = b"request %b %d 2 c -\n%b" % (b"0" * 64, len(head), head[:-5])
        await stream.send_all(hello + forged)
        assert (await read_all(stream)).startswith(b"welcome ")
        assert trio.current_time() - began < OPENING_S + 1.5
        await stream.aclose()


@pytest.mark.req("FWD-25")
@trio_test
async def test_a_websocket_that_opens_while_a_node_drains_is_ended_with_the_others() -> None:
    async with forwarding_nodes("a") as nodes:
        goes_on = trio.Event()

        async def behave(stream: trio.SocketStream) -> None:
            await welcome(stream)
            await stream.receive_some()
            await goes_on.wait()
            await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            await stream.receive_some()

        async with false_node(nodes["a"], behave):
            stream = await trio.open_tcp_stream("127.0.0.1", nodes["a"].port)
            head = f"GET {target_of(FAKE_SID, 'websocket')} HTTP/1.1\r\nHost: x\r\n"
            await stream.send_all(
                f"{head}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode()
            )
            await until(lambda: nodes["a"].forwarding.counts.passed["upgrade"] == 1)
            closings = nodes["a"].forwarding.drain()
            goes_on.set()
            await until(lambda: nodes["a"].forwarding.counts.pipes == 1)
            assert len(closings) == 1
            for closing in closings:
                closing()
            assert nodes["a"].forwarding.counts.pipes == 0
            assert (await read_all(stream)).startswith(b"HTTP/1.1 101 ")
            await stream.aclose()


@pytest.mark.req("FWD-23")
@trio_test
async def test_nobody_looks_for_a_node_that_went_during_an_outage() -> None:
    async with forwarding_nodes("a") as nodes:
        peers = peers_of(nodes["a"])
        facts = facts_of("no-such-name.invalid:4100")
        peers.node_came(facts)
        assert peers._unresolved
        peers.node_went(facts, is_cut_off=True)
        assert not peers._unresolved
        peers.node_came(facts)
        peers.node_came(msgspec.structs.replace(facts, pid=2, internal="", sid_prefix=""))
        assert not peers._unresolved


@pytest.mark.req("WORK-50")
@trio_test
async def test_workers_pass_nothing_on_to_those_of_another_program() -> None:
    """These have another secret, even if they are on the same machine."""
    async with forwarding_nodes("a") as nodes:
        peers = peers_of(nodes["a"])
        peers._ground.within = "parent"
        for parent, is_known in (("", False), ("another", False), ("parent", True)):
            facts = msgspec.structs.replace(facts_of("192.0.2.1:4100"), parent=parent)
            peers.node_came(facts)
            assert bool(peers.routes) is is_known


@pytest.mark.req("FWD-50")
@trio_test
async def test_a_preflight_counts_as_nothing_that_was_refused() -> None:
    options = ServerOptions(cors_origins=("https://page.example",))
    async with forwarding_nodes("a", options=options) as nodes:
        http = HttpClient(nodes["a"].port)
        headers = [
            ("Origin", "https://page.example"),
            ("Access-Control-Request-Method", "POST"),
        ]
        answer = await http.request("OPTIONS", target_of("zzzz0123456789abcdef"), headers)
        assert answer.status == 204
        assert nodes["a"].refused == {}
        await http.aclose()


@pytest.mark.req("FWD-08")
@trio_test
async def test_a_connection_that_carries_nothing_is_kept_for_a_while(
    fast_clock: MockClock,
) -> None:
    """The side that has dialed lets go of it first, so that no request meets its end."""
    async with forwarding_nodes("a", "b") as nodes:
        http = HttpClient(nodes["b"].port)
        sid = await open_sid(nodes["a"])
        assert (await http.request("POST", target_of(sid), body=b"40/none,")).status == 200
        (link,) = peer_of(nodes["b"]).pool._idle
        left_s = link.connection.next_deadline() - trio.current_time()
        assert IDLE_S - 5 < left_s <= IDLE_S < KEPT_S
        await http.aclose()
        # A pulse proves as much as a request.
        dialer, stream = await open_as(nodes["a"])
        for _ in range(2):
            await stream.send_all(dialer.encode_pulse())
            assert await stream.receive_some() == PULSE
            await trio.sleep(2 * OPENING_S)
        await stream.aclose()


@pytest.mark.req("FWD-12")
@trio_test
async def test_a_connection_that_the_other_node_closes_is_not_used_again() -> None:
    connections = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await welcome(stream)
        await stream.receive_some()
        await stream.send_all(ANSWER.replace(b"Content", b"Connection: close\r\nContent"))
        await trio.sleep_forever()

    async with forwarding_nodes("a") as nodes, false_node(nodes["a"], behave):
        for number in (1, 2):
            assert (await poll(nodes["a"]))[:2] == (200, {})
            assert connections == number
            assert not peer_of(nodes["a"]).pool._links


@pytest.mark.req("FWD-25")
@trio_test
async def test_nothing_is_left_of_other_nodes_when_a_node_has_ended() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        await upgraded(nodes, nodes["a"], nodes["b"])
        peer = peer_of(nodes["b"])
        node = nodes.pop("b")
        node.scope.cancel()
        await node.ended.wait()
        assert peer.deadline_entry is None
        assert (node.forwarding.counts.pipes, node.forwarding.counts.requests) == (0, 0)
