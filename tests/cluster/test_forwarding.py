"""Whichever node a request of a client reaches, the node of its session answers it."""

import json
from dataclasses import replace
from ipaddress import ip_network
from math import inf

import pytest
import trio
import trio.lowlevel
from tests.cluster.forwarding_nodes import (
    SECRET,
    ForwardingNode,
    Nodes,
    forwarding_nodes,
    open_sid,
    polling_by_turns,
    target_of,
    upgraded,
)
from tests.socketio.serving import until
from tests.wire import (
    ConnectionEnded,
    HttpClient,
    PollingEngine,
    Rejected,
    Response,
    SocketIOClient,
    WebSocketClient,
    WebSocketEngine,
)
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions
from trio_socketio.cluster.forwarding.credentials import Credentials
from trio_socketio.engine.hooks import EngineRequest
from trio_socketio.protocol.forwarding import Dialer
from trio_socketio.runtime.fence import boottime

UNKNOWN = {"code": 1, "message": "Session ID unknown"}
NOBODYS = "zzzz0123456789abcdef"


@pytest.mark.req("FWD-01", "FWD-12")
@trio_test
async def test_a_client_polls_whichever_node_it_reaches() -> None:
    async with forwarding_nodes() as nodes, polling_by_turns(nodes) as client:
        await client.connect()
        for number in range(30):
            await client.emit("say", number, ack_id=number)
            assert await client.receive() == (f"3{number}[{number}]", [])
        assert [node.said for node in nodes.values()] == [list(range(30)), [], []]
        counts = [node.forwarding.counts for node in nodes.values()]
        assert (
            sum(sum(one.passed.values()) for one in counts)
            == counts[0].taken["poll"] + (counts[0].taken["post"])
        )
        assert counts[1].passed["post"] > 5
        assert counts[1].answered == counts[1].passed
        assert counts[1].requests == 0
        assert [node.refused for node in nodes.values()] == [{}, {}, {}]
        # Each node keeps a connection for a GET, and one for a POST.
        assert 2 <= nodes["a"].forwarding.incoming_count <= 4


@pytest.mark.req("FWD-13")
@trio_test
async def test_a_websocket_leads_through_another_node() -> None:
    async with forwarding_nodes() as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        for word in ("x", "y" * 100_000, "z" * 500_000):
            await client.emit("say", word, ack_id=1)
            text, _ = await client.receive()
            assert json.loads(text[2:]) == [word]
        await client.send('51-["say",{"_placeholder":true,"num":0}]', b"binary")
        await until(lambda: nodes["a"].said[-1] == b"binary")
        assert nodes["b"].forwarding.counts.pipes == 1
        # The session is one of its own node there, and is counted there.
        assert nodes["a"].server.statistics().sessions == 1
        await client.aclose()
        await until(lambda: nodes["a"].server.statistics().sessions == 0)
        await until(lambda: nodes["b"].forwarding.counts.pipes == 0)
        assert nodes["b"].forwarding.incoming_count == 0


@pytest.mark.req("FWD-13")
@trio_test
async def test_what_the_node_of_a_session_ends_is_ended_for_its_client() -> None:
    async with forwarding_nodes() as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        nodes["a"].sessions[0].close()
        with pytest.raises(ConnectionEnded) as ended:
            await client.receive()
        assert ended.value.code == 1000
        await until(lambda: nodes["b"].forwarding.counts.pipes == 0)


@pytest.mark.req("FWD-13")
@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade"])
@trio_test
async def test_what_is_sent_with_an_upgrade_is_not_lost(connection: str) -> None:
    """Browsers differ in the header, and nobody has to wait for the answer."""
    async with forwarding_nodes("a", "b") as nodes:
        target = target_of(await open_sid(nodes["a"]), "websocket")
        lines = [f"GET {target} HTTP/1.1", "Host: x", f"Connection: {connection}"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]
        probe = b"\x81\x86\0\0\0\x002probe"
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        await stream.send_all("\r\n".join(lines).encode() + probe)
        received = b""
        with trio.fail_after(5):
            while b"3probe" not in received:
                received += bytes(await stream.receive_some())
        assert received.startswith(b"HTTP/1.1 101 ")
        await stream.aclose()


@pytest.mark.req("FWD-14")
@trio_test
async def test_a_client_that_takes_nothing_holds_up_the_node_of_its_session() -> None:
    """What a node holds for a WebSocket that leads through it is bounded."""
    async with forwarding_nodes() as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        await until(lambda: len(nodes["a"].server.of("/").sockets) == 1)
        (socket,) = nodes["a"].server.of("/").sockets.values()
        for _ in range(100):
            socket.emit("much", "x" * 50_000)
            await trio.lowlevel.checkpoint()
        await trio.sleep(0.1)
        ((pipe, link),) = [
            ends for peer in nodes["b"].forwarding._peers or () for ends in peer.pipes.items()
        ]
        assert pipe.waiting_bytes < 300_000
        assert pipe.next_deadline() < inf  # it is not waited for any longer
        for _ in range(100):
            event = await client.receive_event()
            assert event == ["much", "x" * 50_000]
        await until(lambda: pipe.next_deadline() == inf)
        # And the other way round.
        for number in range(40):
            await client.emit("say", str(number) + "x" * 90_000)
        await until(lambda: len(nodes["a"].said) == 40)
        await until(lambda: link.next_deadline() == inf)
        await client.aclose()


@pytest.mark.req("FWD-30")
@trio_test
async def test_a_session_of_nobody_is_unknown() -> None:
    options = ServerOptions(cors_origins=("https://page.example",))
    async with forwarding_nodes("a", "b", options=options) as nodes:
        http = HttpClient(nodes["a"].port)
        answer = await http.request("GET", target_of(NOBODYS), [("Origin", "https://page.example")])
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        with pytest.raises(Rejected) as rejected:
            await WebSocketClient.open(nodes["a"].port, target_of(NOBODYS, "websocket"))
        assert (rejected.value.status, rejected.value.body) == (400, b"Session ID unknown")
        assert nodes["a"].refused == {"unknown": 2}
        await http.aclose()


@pytest.mark.req("FWD-01", "FWD-12")
@pytest.mark.parametrize(
    ("method", "more", "headers", "body"),
    [
        ("GET", {}, (), b""),
        ("GET", {"j": "3"}, (), b""),
        ("GET", {"transport": "other"}, (), b""),
        ("GET", {"EIO": "3"}, (), b""),
        ("POST", {}, (), b"40"),
        ("POST", {}, (), b"nonsense"),
        ("POST", {}, ("Origin: https://evil.example",), b"40"),
        ("POST", {}, ("Transfer-Encoding: chunked",), b"2\r\n40\r\n0\r\n\r\n"),
        ("POST", {}, ("X-Repeated: 1", "X-Repeated: 2", "Connection: close"), b"40"),
        ("POST", {"j": "0"}, ("Content-Type: application/x-www-form-urlencoded",), b"d=40"),
        ("GET", {"transport": "websocket"}, ("Connection: Upgrade", "Upgrade: websocket"), b""),
    ],
)
@trio_test
async def test_the_answer_is_that_of_the_node_of_the_session(
    method: str, more: dict[str, str], headers: tuple[str, ...], body: bytes
) -> None:
    async with forwarding_nodes("a", "b") as nodes:
        answers: list[bytes] = []
        for node in nodes.values():
            sid = await open_sid(nodes["a"])
            (session,) = nodes["a"].sessions
            lines = [f"{method} {target_of(sid, **more)} HTTP/1.1"]
            lines += ["Host: here", *headers]
            if body and "Transfer-Encoding: chunked" not in headers:
                lines.append(f"Content-Length: {len(body)}")
            stream = await trio.open_tcp_stream("127.0.0.1", node.port)
            await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)
            await until(lambda: sum(nodes["b"].forwarding.counts.passed.values()) == len(answers))
            session.send_text(b"hello")  # a GET may wait for it
            with trio.fail_after(5):
                answers.append(bytes(await stream.receive_some(100_000)))
            await stream.aclose()
            session.lose("transport close")
            await until(lambda: not nodes["a"].sessions)
        assert answers[0].startswith(b"HTTP/1.1 ")
        assert answers[0].replace(b"Connection: close\r\n", b"") == answers[1].replace(
            b"Connection: close\r\n", b""
        )


@pytest.mark.req("FWD-12")
@trio_test
async def test_a_kept_connection_takes_turns_with_local_requests() -> None:
    """Nothing of one answer gets into another, whichever way each request was read."""
    async with forwarding_nodes("a", "b") as nodes:
        sids = [await open_sid(node) for node in nodes.values()]
        http = HttpClient(nodes["a"].port)
        for number in range(20):
            repeated = [("X-Repeated", "1"), ("X-Repeated", "2")] if number % 3 else []
            answer = await http.request("POST", target_of(sids[number % 2]), repeated, b"40/none,")
            assert (answer.status, answer.body) == (200, b"ok")
        assert nodes["a"].forwarding.counts.answered["post"] == 10
        await http.aclose()


@pytest.mark.req("FWD-31", "FWD-32")
@trio_test
async def test_the_address_of_a_client_comes_along() -> None:
    seen: list[tuple[str, bool]] = []

    def prepare(server: Server) -> None:
        @server.engine.use
        def look(request: EngineRequest) -> None:
            seen.append((request.address, request.secure))

    options = ServerOptions(trusted_proxies=(ip_network("127.0.0.2"),))
    async with forwarding_nodes("a", "b", options=options, prepare=prepare) as nodes:
        target = target_of(await open_sid(nodes["a"]))
        seen.clear()
        headers = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
        for local, expected in (
            ("127.0.0.3", ("127.0.0.3", False)),  # nobody who is believed
            ("127.0.0.2", ("192.0.2.7", True)),
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port, local_address=local)
            http = HttpClient(nodes["b"].port, stream)
            answer = await http.request("POST", target, headers, b"40")
            assert answer.status == 200
            assert seen.pop() == expected
            assert not seen  # the other node has asked nobody
            await http.aclose()


@pytest.mark.req("FWD-32")
@trio_test
async def test_clients_cannot_speak_for_nodes() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        node = nodes["a"]
        hello = Dialer("b", "a", node.nodes.process, SECRET, b"n" * 16).hello
        stream = await trio.open_tcp_stream("127.0.0.1", node.port)
        await stream.send_all(hello + b"\r\n\r\n")
        with trio.fail_after(5):
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 400 ")
        await stream.aclose()


@pytest.mark.req("FWD-11")
@trio_test
async def test_a_request_is_passed_on_once() -> None:
    """Even if two nodes believe of one another that they have a session."""
    async with forwarding_nodes("a", "b") as nodes:
        a, b = nodes.values()
        for one, other in ((a, b), (b, a)):
            assert one.forwarding._peers is not None
            peers = one.forwarding._peers
            peers.routes["zzzz"] = peers.routes[other.forwarding.prefix]
        answer = await ask(a, NOBODYS)
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert (a.refused, b.refused) == ({}, {"loop": 1})
        assert sum(b.forwarding.counts.passed.values()) == 0


async def ask(node: ForwardingNode, sid: str) -> Response:
    """Poll once, and leave."""
    http = HttpClient(node.port)
    try:
        return await http.request("GET", target_of(sid))
    finally:
        await http.aclose()


@pytest.mark.req("FWD-10")
@trio_test
async def test_two_nodes_with_one_prefix_get_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with forwarding_nodes("a", "b", "c") as nodes:
        options = ServerOptions(sid_prefix=nodes["b"].forwarding.prefix)
        sid = await open_sid(nodes["b"])
        twin = await nodes.start("twin", options=options)
        await nodes.wait_known()
        answer = await ask(nodes["a"], sid)
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert nodes["a"].refused == {"unknown": 1}
        assert "the nodes 'b' and 'twin' have the same sid_prefix" in caplog.text
        twin.scope.cancel()
        await twin.ended.wait()
        del nodes["twin"]
        await nodes.wait_known()
        http = HttpClient(nodes["a"].port)
        assert (await http.request("POST", target_of(sid), body=b"40")).status == 200
        await http.aclose()


@pytest.mark.req("FWD-15")
@trio_test
async def test_there_are_as_many_as_there_may_be() -> None:
    async with forwarding_nodes("a", "b", max_connections=2) as nodes:
        clients = [await upgraded(nodes, nodes["a"], nodes["b"]) for _ in range(2)]
        answer = await ask(nodes["b"], await open_sid(nodes["a"]))
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert nodes["b"].refused == {"full": 1}
        for client in clients:
            await client.aclose()
        await until(lambda: nodes["b"].forwarding.counts.pipes == 0)
        await until(lambda: nodes["a"].forwarding.incoming_count == 0)


@pytest.mark.req("FWD-15")
@trio_test
async def test_the_bound_can_be_changed() -> None:
    async with forwarding_nodes("a", "b", max_connections=1) as nodes:
        first = await upgraded(nodes, nodes["a"], nodes["b"])
        sid = await open_sid(nodes["a"])
        assert (await ask(nodes["b"], sid)).status == 400
        for node in nodes.values():
            options = replace(node.server.options, max_connections=5)
            node.server.apply(options)
        second = await upgraded(nodes, nodes["a"], nodes["b"])
        await second.connect()
        await first.connect()


@pytest.mark.req("FWD-15")
@trio_test
async def test_a_node_that_is_full_says_so() -> None:
    async with forwarding_nodes("a", max_connections=1) as nodes:
        b = await nodes.start("b")
        await nodes.wait_known()
        client = await upgraded(nodes, nodes["a"], b)
        answer = await ask(b, await open_sid(nodes["a"]))
        assert (answer.status, answer.json()) == (400, UNKNOWN)
        assert b.refused == {"full": 1}
        await client.aclose()


@pytest.mark.req("FWD-16")
@trio_test
async def test_a_client_that_leaves_is_missed_where_its_session_is() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        sid = await open_sid(nodes["a"])
        stream = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        await stream.send_all(f"GET {target_of(sid)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: nodes["a"].forwarding.counts.taken["poll"] == 1)
        assert nodes["a"].sessions
        await stream.aclose()
        await until(lambda: not nodes["a"].sessions)
        assert nodes["b"].forwarding.counts.requests == 0


@pytest.mark.req("FWD-33")
@trio_test
async def test_a_client_of_any_node_is_offered_nothing_of_one() -> None:
    async with forwarding_nodes("a", "b", options=ServerOptions(state_recovery=True)) as nodes:
        for through, offers in (("a", True), ("b", False)):
            client = await upgraded(nodes, nodes["a"], nodes[through])
            await client.send("0")
            text, _ = await client.receive()
            assert ("pid" in json.loads(text[1:])) is offers
            await client.aclose()


@pytest.mark.req("FWD-34")
@trio_test
async def test_the_node_with_the_fewest_sessions_opens_one() -> None:
    async with forwarding_nodes(place="least") as nodes:
        await until(lambda: [one.state for one in nodes["a"].nodes.others()] == ["serving"] * 2)
        polling = [await PollingEngine.open(nodes["a"].port) for _ in range(6)]
        counts = [len(node.sessions) for node in nodes.values()]
        assert counts == [2, 2, 2]
        websockets = [await WebSocketEngine.open(nodes["b"].port) for _ in range(3)]
        # Another node is known to have as many as it has told within the last second.
        counts = [len(node.sessions) for node in nodes.values()]
        assert (sum(counts), min(counts)) in ((9, 2), (9, 3))
        for websocket in websockets:
            client = SocketIOClient(websocket)
            await client.connect()
            await client.aclose()
        for engine in polling:
            await engine.aclose()


@pytest.mark.req("FWD-34")
@trio_test
async def test_sessions_stay_where_they_arrive_unless_told() -> None:
    async with forwarding_nodes() as nodes:
        for _ in range(3):
            await open_sid(nodes["a"])
        assert [len(node.sessions) for node in nodes.values()] == [3, 0, 0]


@pytest.mark.req("FWD-25")
@trio_test
async def test_a_node_that_drains_lets_go_of_what_leads_through_it() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        for _ in range(4):
            await upgraded(nodes, nodes["b"], nodes["b"])
        clients = [await upgraded(nodes, nodes["a"], nodes["b"]) for _ in range(4)]
        http = HttpClient(nodes["b"].port)
        sid = await open_sid(nodes["a"])
        assert (await http.request("POST", target_of(sid), body=b"40/none,")).status == 200
        began = trio.current_time()
        nodes["b"].server.stop(window_s=1.0)
        ended = []
        for client in clients:
            with pytest.raises(ConnectionEnded):
                await client.receive()
            ended.append(trio.current_time() - began)
        assert ended[-1] - ended[0] > 0.5  # spread over the window
        assert ended[0] < 0.45  # among its own sessions, and not after them
        await nodes["b"].ended.wait()
        await http.aclose()
        assert len(nodes["a"].sessions) == 1
        del nodes["b"]


@pytest.mark.req("FWD-25")
@trio_test
async def test_a_node_that_drains_takes_no_more_upgrades() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        sid = await open_sid(nodes["a"])
        assert nodes["b"].forwarding.drain() == []
        with pytest.raises(Rejected):
            await WebSocketClient.open(nodes["b"].port, target_of(sid, "websocket"))
        assert nodes["b"].refused == {"draining": 1}


@pytest.mark.req("FWD-26")
@trio_test
async def test_a_node_that_drains_costs_no_session_that_polls_over_it() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        sid = await open_sid(nodes["a"])
        waiting = HttpClient(nodes["b"].port)
        await waiting.request("POST", target_of(sid), body=b"40")
        first = await waiting.request("GET", target_of(sid))
        assert first.body.startswith(b"40")
        kept = await trio.open_tcp_stream("127.0.0.1", nodes["b"].port)
        await kept.send_all(
            b"POST %b HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\n3" % told(sid)
        )
        assert bytes(await kept.receive_some()).startswith(b"HTTP/1.1 200 ")
        await waiting.send("GET", target_of(sid))
        await until(lambda: nodes["a"].forwarding.counts.taken["poll"] == 2)
        (release,) = nodes["b"].forwarding.drain()
        release()
        answer = await waiting.receive()
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"6", "close")
        # What comes on a connection that the client has kept is passed on, too; then it is closed.
        await kept.send_all(b"GET %b HTTP/1.1\r\nHost: b\r\n\r\n" % told(sid))
        with trio.fail_after(5):
            last = b"".join([bytes(data) async for data in kept])
        assert last.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        assert last.endswith(b"\r\n\r\n6")
        await kept.aclose()
        assert nodes["a"].sessions
        assert nodes["b"].refused == {}


def told(sid: str) -> bytes:
    return target_of(sid).encode()


@pytest.mark.req("FWD-24")
@trio_test
async def test_what_a_node_holds_is_dropped_when_its_lease_has_ended() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        sid = await open_sid(nodes["a"])
        http = HttpClient(nodes["b"].port)
        await http.send("GET", target_of(sid))
        await until(lambda: nodes["a"].forwarding.counts.taken["poll"] == 1)
        fence = nodes["b"].server._fence
        fence.at = boottime() - 1
        ends = [one for peer in nodes["b"].forwarding._peers or () for one in peer.pipes.items()]
        assert nodes["b"].runtime.poller.fences.look()
        assert [(client.closed, node.closed) for client, node in ends] == [(True, True)]
        assert (await http.receive()).status == 400
        with pytest.raises(ConnectionEnded):
            await client.receive()
        counts = nodes["b"].forwarding.counts
        assert (counts.requests, counts.pipes) == (0, 0)
        assert nodes["b"].refused == {"fence": 1}
        await until(lambda: not nodes["a"].sessions)
        await http.aclose()


@pytest.mark.req("FWD-22", "FWD-23")
@trio_test
async def test_websockets_outlive_an_outage_of_redis() -> None:
    async with forwarding_nodes("a", "b", "c") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        await client.connect()
        for node in nodes.values():
            node.redis.cut()
        await until_gone(nodes)
        await client.emit("say", "during", ack_id=1)
        assert await client.receive() == ('31["during"]', [])
        sid = await open_sid(nodes["a"])
        http = HttpClient(nodes["b"].port)
        assert (await http.request("POST", target_of(sid), body=b"40/none,")).status == 200
        await http.aclose()
        nodes["c"].scope.cancel()  # meanwhile one goes for good
        await nodes["c"].ended.wait()
        gone, peers = nodes.pop("c"), nodes["b"].forwarding._peers
        assert peers is not None
        for node in nodes.values():
            node.redis.mend()
        await nodes.wait_known()
        with trio.fail_after(10):
            while gone.forwarding.prefix in peers.routes:  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.05)
        await client.emit("say", "after", ack_id=2)
        assert await client.receive() == ('32["after"]', [])
        await client.aclose()


async def until_gone(nodes: Nodes) -> None:
    with trio.fail_after(10):
        while any(node.nodes.others() for node in nodes.values()):  # noqa: ASYNC110 - likewise
            await trio.sleep(0.05)


@pytest.mark.req("FWD-22")
@trio_test
async def test_what_leads_to_a_node_that_has_gone_ends() -> None:
    async with forwarding_nodes("a", "b") as nodes:
        client = await upgraded(nodes, nodes["a"], nodes["b"])
        peers = nodes["b"].forwarding._peers
        assert peers is not None
        (facts,) = nodes["b"].nodes.others()
        peers.node_went(facts, is_cut_off=False)
        with pytest.raises(ConnectionEnded):
            await client.receive()
        answer = await ask(nodes["b"], NOBODYS)
        assert answer.json() == UNKNOWN
        assert nodes["b"].forwarding.counts.pipes == 0


@pytest.mark.req("FWD-44")
@trio_test
async def test_the_secret_changes_without_a_pause() -> None:
    new = b"the next secret of all the nodes"
    async with forwarding_nodes() as nodes, polling_by_turns(nodes) as client:
        await client.connect()
        websocket = await upgraded(nodes, nodes["a"], nodes["c"])
        await websocket.connect()
        sent = 0

        async def talk() -> None:
            nonlocal sent
            while True:
                await client.emit("say", sent, ack_id=sent)
                assert await client.receive() == (f"3{sent}[{sent}]", [])
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            for secrets in ((SECRET, new), (new, SECRET), (new,)):
                for node in nodes.values():
                    node.forwarding.apply(Credentials(secrets))
                    for peer in node.forwarding._peers or ():
                        peer.pool.end_idle()  # so that new connections are opened
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert sent > 5
        await websocket.emit("say", "still there", ack_id=1)
        assert await websocket.receive() == ('31["still there"]', [])
        await websocket.aclose()
        for node in nodes.values():
            assert not any(node.forwarding.counts.openings_refused.values())
            assert node.refused == {}


@pytest.mark.req("FWD-43")
@trio_test
async def test_nodes_are_found_by_the_address_that_they_tell() -> None:
    async with forwarding_nodes("a", internal="[::1]:0") as nodes:
        b = await nodes.start("b")
        await nodes.wait_known()
        client = await upgraded(nodes, nodes["a"], b)
        await client.connect()
        await client.aclose()
        port = nodes["a"].internal_port
        nodes["a"].scope.cancel()
        await nodes["a"].ended.wait()
        where = f"127.0.0.1:{port}"
        again = await nodes.start("a", internal=where, advertise=f"localhost:{port}")
        await nodes.wait_known()
        await until(lambda: b.forwarding._peers is not None and bool(b.forwarding._peers.routes))
        client = await upgraded(nodes, again, b)
        await client.aclose()
