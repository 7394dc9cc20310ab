"""Our nodes over a Redis in memory: what is published, and what becomes of what arrives."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from math import nan
from typing import Any, Final

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.fake_redis import FakeConnection, FakeRedis, Node, started_nodes
from tests.codec.test_redis_adapter import VECTORS, wire_bytes
from tests.properties import examples
from tests.socketio.in_process import answer, enter, session_of
from tests.socketio.recovering import arriving, recovering_server
from tests.socketio.serving import serving, until
from trio.testing import MockClock, trio_test

from trio_socketio import (
    AckTimeout,
    ConfigurationError,
    LocalProtocolError,
    RedisPubSub,
    Socket,
    Target,
    TrioSocketIOError,
)
from trio_socketio.adapters import redis_questions, redis_requests
from trio_socketio.adapters.redis_bus import BusCounts
from trio_socketio.adapters.redis_pubsub import RedisAdapter
from trio_socketio.socketio import server_side
from trio_socketio.socketio.revisions import REVISION_4

pack: Final = msgspec.msgpack.encode
ALL: Final = b"socket.io#/#"
REQUEST: Final = b"socket.io-request#/#"
RESPONSE: Final = b"socket.io-response#/#"
EVERYBODY: Final[dict[str, Any]] = {"rooms": [], "except": [], "flags": {}}


def texts(socket: Socket) -> list[bytes]:
    return [packet.text for packet in session_of(socket).sent]


def event(*arguments: Any, uid: str = "abcdef", nsp: str = "/", **options: Any) -> bytes:
    """A broadcast of a server of Node."""
    packet = {"type": 2, "data": list(arguments), "nsp": nsp}
    named = {name.rstrip("_"): value for name, value in options.items()}
    return pack([uid, packet, EVERYBODY | named])


def asks(**members: Any) -> bytes:
    """A request of a server of Node."""
    return json.dumps({"uid": "abcdef", **members}, separators=(",", ":")).encode()


class Peer:
    """A server of Node, as far as Redis sees it."""

    def __init__(self, redis: FakeRedis) -> None:
        self.redis = redis
        self.node = Node(redis)  # only its connection is used
        self.answers: list[Any] = []
        self.node.connection.subscribe(REQUEST, lambda *_: None)
        self.node.connection.subscribe(RESPONSE, self._note)

    def _note(self, channel: bytes, payload: bytes) -> None:
        decode = json.loads if payload[:1] == b"{" else msgspec.msgpack.decode
        self.answers.append(decode(payload))

    def ask(self, **members: Any) -> list[Any]:
        """Publish a request; return the answers that came at once."""
        self.answers.clear()
        self.redis.publish(REQUEST, asks(**members))
        return list(self.answers)


# --- life ----------------------------------------------------------------------------------------


@pytest.mark.req("BUS-20", "BUS-23")
@trio_test
async def test_a_namespace_is_subscribed_while_it_lasts() -> None:
    redis = FakeRedis()
    node = Node(redis, key="app")
    await node.start("/", "/chat")
    channels = [one.channel for one in node.connection.subscriptions]
    for name in (b"/", b"/chat"):
        uid = node.adapter(name.decode())._uid.encode()
        for channel in (
            b"app-request#%b#" % name,
            b"app-response#%b#" % name,
            b"app-response#%b#%b#" % (name, uid),
        ):
            assert channels.count(channel) == 1
    assert channels.count(b"app#*") == 1
    assert len(channels) == 7
    await node.server.remove("/chat")
    assert len(node.connection.subscriptions) == 4
    assert redis.count(b"app-request#/chat#") == 0
    assert redis.count(b"app-request#/#") == 1


@pytest.mark.req("BUS-29")
@trio_test
async def test_a_namespace_that_would_be_deaf_does_not_start() -> None:
    node = Node(FakeRedis())
    node.connection.refusal = "NOPERM no rights"
    with pytest.raises(ConfigurationError, match=r"refuses what the namespace / has to .*NOPERM"):
        await node.start()
    node.connection.refusal = None
    await node.start()


@pytest.mark.req("BUS-02")
@trio_test
async def test_each_namespace_gets_its_own_broadcasts() -> None:
    redis = FakeRedis()
    one, two = Node(redis), Node(redis)
    names = ("/", "/a", "/a#b", "/a*", "/unknown there")
    for node in (one, two):
        await node.start(*names[:4])
    await one.start("/unknown there")
    sockets = {name: enter(two.server.of(name)) for name in names[:4]}
    for name in names:
        one.server.of(name).emit("hello", name)
        one.server.of(name).to("b").emit("nobody is in there", name)
    for name, socket in sockets.items():
        nsp = "" if name == "/" else f"{name},"
        assert texts(socket) == [f'42{nsp}["hello","{name}"]'.encode()]
    two.server.of("/a#b").adapter.close()
    two.server.of("/a").adapter.close()
    one.server.of("/a#b").emit("unheard")
    one.server.of("/a").emit("unheard")
    assert len(texts(sockets["/a#b"])) == len(texts(sockets["/a"])) == 1


@pytest.mark.req("BUS-20", "BUS-22", "BUS-24")
@pytest.mark.parametrize("fault", ["away", "stands still"])
@trio_test
async def test_clients_join_and_are_served_while_redis_is_away(
    fault: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    redis = FakeRedis()
    node, other = Node(redis), Node(redis)
    await other.start()
    node.connection.connected = fault != "away"
    node.connection.stands_still = True
    if fault == "away":
        node.connection.stands_still = False
    await node.start()
    socket, far = enter(node.server.of("/")), enter(other.server.of("/"))
    assert "clients are admitted" in caplog.text
    node.connection.cut()
    for number in range(10):
        node.server.emit("n", number)
    other.server.emit("unheard")
    assert len(texts(socket)) == 10
    assert texts(far) == [b'42["unheard"]']
    node.connection.restore(2.5)
    node.connection.stands_still = False
    node.server.emit("again")
    other.server.emit("heard")
    assert texts(socket)[-2:] == texts(far)[-2:] == [b'42["again"]', b'42["heard"]']
    counts = node.pubsub.statistics()
    assert (counts.unheard_starts, counts.unpublished, counts.gaps) == (1, 10, 1)
    assert "away for 2.5 s" in caplog.text
    assert caplog.text.count("other nodes do not get what is sent") == 1


@trio_test
async def test_a_start_that_was_given_up_is_tried_again(autojump_clock: MockClock) -> None:
    node = Node(FakeRedis())
    node.connection.stands_still = True
    with pytest.raises(TimeoutError):
        await node.server.of("/")._adapter_life.start(1)
    node.connection.stands_still = False
    await node.start()
    assert len(node.connection.subscriptions) == 4
    assert node.pubsub.statistics().unheard_starts == 0


@pytest.mark.req("BUS-23")
@trio_test
async def test_a_namespace_that_is_made_anew_is_heard_when_the_old_one_closes() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1, "/chat") as (node,):
        old = node.server.of("/chat")
        node.server._namespaces._forget(old)  # as `remove` does; its handlers may go on for 5 s
        await node.start("/chat")
        socket = enter(node.server.of("/chat"))
        old._adapter_life.close()
        redis.publish(b"socket.io#/chat#", event("news", nsp="/chat"))
        redis.publish(b"socket.io-request#/chat#", asks(type=2, opts={}, rooms=["x"]))
        assert texts(socket) == [b'42/chat,["news"]']
        assert "x" in socket.rooms


@pytest.mark.req("BUS-13", "BUS-25")
@trio_test
async def test_a_lost_client_gets_what_other_nodes_have_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    redis = FakeRedis()
    server = recovering_server(RedisPubSub(FakeConnection(redis)))
    server.of("/other")
    async with serving(server) as port:
        async with arriving(port) as first:
            await first.connect()
            await first.join("red")
            redis.publish(ALL, event("to all", 1))
            assert await first.receive_event() == ["to all", 1]
            recovery = server._host.recovery
            assert recovery is not None
            await first.lose()
            await until(lambda: recovery.find(first.pid) is not None)
        redis.publish(b"socket.io#/#red#", event("to red", 2, rooms=["red"]))
        async with arriving(port) as second:
            await second.connect(first.credentials())
            assert second.sid == first.sid
            assert await second.receive_event() == ["to red", 2]
    assert caplog.text.count("state recovery is per node") == 1


@pytest.mark.parametrize(
    "option",
    [
        {"key": ""},
        {"key": "a\n"},
        {"key": 1},
        {"request_timeout_s": 0},
        {"request_timeout_s": nan},
        {"request_timeout_s": "5"},
        {"max_message_bytes": -1},
    ],
)
def test_options_that_cannot_be_used(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(option))}: expected"):
        RedisPubSub(FakeConnection(FakeRedis()), **option)


# --- what is published ---------------------------------------------------------------------------


@pytest.mark.req("BUS-01", "BUS-04", "BUS-15")
@trio_test
async def test_what_is_published_is_what_node_publishes() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1, "/", "/chat") as (node,):
        server, uid = node.server, node.adapter()._uid
        socket = enter(server.of("/"))
        redis.taken()
        server.emit("news", b"\1")
        server.to("lobby").volatile.emit("news")
        server.to(["a", "b"]).except_("c").compress(False).emit("news")
        server.local.emit("here")
        socket.broadcast.emit("others")
        server.of("/chat").emit("hi")
        chat = node.adapter("/chat")._uid
        assert [
            (channel, msgspec.msgpack.decode(payload)) for channel, payload in redis.taken()
        ] == [
            (ALL, [uid, {"type": 2, "data": ["news", b"\1"], "nsp": "/"}, EVERYBODY]),
            (
                b"socket.io#/#lobby#",
                [
                    uid,
                    {"type": 2, "data": ["news"], "nsp": "/"},
                    {"rooms": ["lobby"], "except": [], "flags": {"volatile": True}},
                ],
            ),
            (
                ALL,
                [
                    uid,
                    {"type": 2, "data": ["news"], "nsp": "/"},
                    {"rooms": ["a", "b"], "except": ["c"], "flags": {"compress": False}},
                ],
            ),
            (
                ALL,
                [
                    uid,
                    {"type": 2, "data": ["others"], "nsp": "/"},
                    {"rooms": [], "except": [socket.id], "flags": {}},
                ],
            ),
            (
                b"socket.io#/chat#",
                [chat, {"type": 2, "data": ["hi"], "nsp": "/chat"}, EVERYBODY],
            ),
        ]
        server.to("lobby").sockets_join(["j1", "j2"])
        server.to("lobby").except_("x").sockets_leave("j1")
        server.to("nobody").disconnect_sockets(True)
        server.local.sockets_join("here")
        server.server_side_emit("hello", {"n": 1}, b"\0")
        assert [channel for channel, _ in redis.published] == [REQUEST] * 4
        assert [payload.decode().replace(uid, "UID") for _, payload in redis.taken()] == [
            '{"uid":"UID","type":2,"opts":{"rooms":["lobby"],"except":[]},"rooms":["j1","j2"]}',
            '{"uid":"UID","type":3,"opts":{"rooms":["lobby"],"except":["x"]},"rooms":["j1"]}',
            '{"uid":"UID","type":4,"opts":{"rooms":["nobody"],"except":[]},"close":true}',
            '{"uid":"UID","type":6,"data":["hello",{"n":1},{"type":"Buffer","data":[0]}]}',
        ]
        assert socket.rooms == {socket.id, "here"}, "none of it came back"


@pytest.mark.req("BUS-21")
@trio_test
async def test_what_clients_cannot_be_sent_is_not_published() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        redis.taken()
        for arguments in ([b""] * 11, [2**64], [object()]):
            with pytest.raises(LocalProtocolError):
                node.server.emit("bad", *arguments)
            with pytest.raises(LocalProtocolError):
                await node.server.emit_with_ack("bad", *arguments)
        with pytest.raises(LocalProtocolError):
            node.server.server_side_emit("bad", object())
        socket = enter(node.server.of("/"))
        odd = node.server.except_("\ud800")
        for change in (
            partial(node.server.sockets_join, "\ud800"),
            partial(odd.sockets_join, "bad"),
            partial(odd.sockets_leave, socket.id),
            odd.disconnect_sockets,
        ):
            with pytest.raises(LocalProtocolError):
                change()
        assert (socket.connected, set(socket.rooms)) == (True, {socket.id})
        assert redis.taken() == []


@pytest.mark.req("BUS-27")
@trio_test
async def test_secret_ids_are_not_published(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2) as (here, there):
        peer = Peer(redis)
        old = enter(here.server.of("/"), revision=REVISION_4)
        other = enter(there.server.of("/"))
        secret = old.id
        assert secret != old.public_id
        old.broadcast.emit("a")
        old.to("x").emit("b")
        to_it = here.server.to(secret)
        to_it.emit("c")
        to_it.sockets_join("x")
        to_it.except_("y").sockets_leave("x")
        with pytest.raises(AckTimeout):
            await to_it.emit_with_ack("d", timeout_s=1)
        with pytest.raises(AckTimeout):  # the peer does not answer
            await to_it.fetch_sockets()
        other.broadcast.emit("e")
        peer.ask(requestId="r", type=5, opts={})
        peer.ask(requestId="r", type=1)
        to_it.disconnect_sockets()
        old.broadcast.emit("f")
        assert texts(other) == [b'42["a"]', b'42["f"]']
        assert [text[text.index(b"[") :] for text in texts(old)[:-1]] == [
            b'["c"]',
            b'["d"]',
            b'["e"]',
        ]
        assert not [one for one in redis.published if secret.encode() in b"".join(one)]
        assert [one for one in redis.published if old.public_id.encode() in b"".join(one)]


@pytest.mark.req("BUS-16", "BUS-26")
@pytest.mark.parametrize("is_apart", [False, True])
@trio_test
async def test_answers_go_to_all_or_to_the_one_that_asks(is_apart: bool) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1, publish_on_specific_response_channel=is_apart) as (node,):
        node.server.on_server_side("hello")(lambda: "hi")
        redis.publish(REQUEST, asks(requestId="r", type=1))
        redis.publish(REQUEST, asks(requestId="r", type=5, opts={"rooms": ["nobody"]}))
        redis.publish(REQUEST, asks(requestId="r", type=6, data=["hello"]))
        await trio.testing.wait_all_tasks_blocked()
        own = b"socket.io-response#/#abcdef#" if is_apart else RESPONSE
        assert [one for one in redis.published if one[0] != REQUEST] == [
            (own, b'{"requestId":"r","rooms":[]}'),
            (own, b'{"requestId":"r","sockets":[]}'),
            (RESPONSE, b'{"type":6,"requestId":"r","data":"hi"}'),
        ]


# --- what arrives --------------------------------------------------------------------------------


@pytest.mark.req("BUS-13", "BUS-14")
@trio_test
async def test_broadcasts_reach_those_that_they_name() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        redis.publish(ALL, b"\xc1 not even read while nobody is here")
        a, b = enter(node.server.of("/")), enter(node.server.of("/"))
        a.join("42")
        redis.publish(b"socket.io#/#elsewhere#", b"\xc1 not read")
        redis.publish(b"socket.io#/#42#", event("everybody"))
        redis.publish(b"socket.io#/#42#", event("number", rooms=[42]))
        redis.publish(ALL, event("only a", rooms=[a.id, "x"]))
        redis.publish(ALL, event("not a", except_=[a.id]))
        redis.publish(ALL, event("other namespace", nsp="/other"))
        redis.publish(ALL, event("own", uid=node.adapter()._uid))
        assert texts(a) == [b'42["everybody"]', b'42["number"]', b'42["only a"]']
        assert texts(b) == [b'42["everybody"]', b'42["not a"]']
        counts = node.pubsub.statistics()
        assert (counts.delivered, counts.skipped, counts.malformed) == (4, 3, 0)


@trio_test
async def test_the_flags_of_a_broadcast_hold() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        ready = enter(node.server.of("/"))
        busy = enter(node.server.of("/"), is_writable=False)
        flags = {"volatile": True, "compress": False, "unknown": [1]}
        redis.publish(ALL, event("v", flags=flags))
        assert session_of(ready).sent[0].compress is False
        assert texts(busy) == []


@pytest.mark.req("BUS-07", "BUS-30")
@pytest.mark.parametrize(
    "options",
    [
        {"except": [None]},
        {"rooms": ["lobby", None]},
        {"rooms": ["lobby", 1.5]},
        {"rooms": [2.5]},
        {"flags": {"compress": 0}},
        {"flags": {"volatile": "", "timeout": "5"}},
    ],
)
@trio_test
async def test_what_javascript_does_not_check_is_delivered(options: dict[str, Any]) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        socket, other = enter(node.server.of("/")), enter(node.server.of("/"))
        for one in (socket, other):
            one.join(["lobby", "2.5"])
        redis.publish(ALL, event("nobody", rooms=[None]))
        redis.publish(ALL, event("e", **options))
        assert texts(socket) == texts(other) == [b'42["e"]']
        assert session_of(socket).sent[0].compress is not False
        packet = {"type": 2, "data": ["q"], "nsp": "/"}
        redis.publish(REQUEST, asks(type=7, requestId="r", packet=packet, opts=options))
        assert texts(socket)[1:] == [b'420["q"]']
        assert node.pubsub.statistics().malformed == 0


@pytest.mark.req("BUS-09", "BUS-16", "BUS-17")
@trio_test
async def test_every_request_is_answered() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        peer = Peer(redis)
        socket = enter(node.server.of("/"), auth={"token": "secret"})
        socket.join("lobby")
        socket.data["user"] = "ada"
        (answered,) = peer.ask(requestId="r", type=5, opts={"rooms": ["lobby"], "except": []})
        (record,) = answered["sockets"]
        assert record["id"] == socket.id
        assert set(record["rooms"]) == {socket.id, "lobby"}
        assert record["data"] == {"user": "ada"}
        assert record["handshake"] == {
            "headers": {"origin": "https://a.example"},
            "time": "Thu Jan 01 1970 00:00:01 GMT+0000 (Coordinated Universal Time)",
            "address": "203.0.113.9",
            "xdomain": True,
            "secure": True,
            "issued": 1500,
            "url": "/socket.io/?EIO=4",
            "query": {"EIO": "4"},
            "auth": {},
        }
        socket.data["lock"] = object()
        (answered,) = peer.ask(requestId="r", type=5, opts={"rooms": []})
        assert answered["sockets"][0]["data"] == {}
        assert peer.ask(requestId="r", type=5, opts={"rooms": ["x"]}) == [
            {"requestId": "r", "sockets": []}
        ]
        (answered,) = peer.ask(requestId="r", type=1)
        assert set(answered["rooms"]) == {socket.id, "lobby"}
        assert peer.ask(requestId="r", type=0, rooms=["lobby"]) == [
            {"requestId": "r", "sockets": [socket.id]}
        ]
        for type_ in (2, 3, 4):
            assert peer.ask(requestId="r", type=type_, sid="other", room="rj") == []
        assert peer.ask(requestId="r", type=2, sid=socket.id, room="rj") == [{"requestId": "r"}]
        assert "rj" in socket.rooms
        assert peer.ask(requestId="r", type=3, sid=socket.id, room="rj") == [{"requestId": "r"}]
        assert "rj" not in socket.rooms
        assert peer.ask(requestId="r", type=4, sid=socket.id, close=False) == [{"requestId": "r"}]
        assert not socket.connected


@trio_test
async def test_emitters_need_no_uid() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        socket = enter(node.server.of("/"))
        for entry in VECTORS["broadcasts"]["accepted"]:
            if entry["name"].startswith("emitter") and entry["channel"] == "socket.io#/#":
                redis.publish(ALL, wire_bytes(entry))
        assert texts(socket) == [b'42["e","x",1]', b'451-["e",{"_placeholder":true,"num":0}]']
        heard: list[Any] = []
        node.server.on_server_side("hello")(lambda *values: heard.append(values))
        redis.publish(REQUEST, b'{"uid":"emitter","type":6,"data":["hello","em",1]}')
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [("em", 1)]
        redis.publish(REQUEST, b'{"type":2,"opts":{"rooms":[],"except":[]},"rooms":["zz"]}')
        assert "zz" in socket.rooms
        redis.publish(REQUEST, b'{"type":3,"opts":{"rooms":["zz"],"except":[]},"rooms":["zz"]}')
        assert "zz" not in socket.rooms
        redis.publish(REQUEST, b'{"type":4,"opts":{"rooms":[],"except":[]},"close":true}')
        assert not socket.connected


@pytest.mark.req("BUS-16", "BUS-19")
@trio_test
async def test_a_question_is_counted_and_answered(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        peer = Peer(redis)
        packet = {"type": 2, "data": ["q"], "nsp": "/"}
        question: dict[str, Any] = {"type": 7, "packet": packet, "opts": EVERYBODY}
        assert peer.ask(requestId="r", **question) == [
            {"type": 8, "requestId": "r", "clientCount": 0}
        ]
        a, b, c = (enter(node.server.of("/")) for _ in range(3))
        peer.ask(requestId="r", **question)
        redis.publish(ALL, event("behind"))
        assert [texts(one) for one in (a, b, c)] == [[b'421["q"]', b'42["behind"]']] * 3
        session_of(a).sent.pop(), session_of(b).sent.pop()
        answer(a, [b"\0"], "not sent")
        answer(b, 2**70)
        c.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        assert node.adapter()._receiver._questions._open == 0
        assert peer.answers == [
            {"type": 8, "requestId": "r", "clientCount": 3},
            {"type": 9, "requestId": "r", "packet": [b"\0"], "socketId": a.id},
            {"type": 9, "requestId": "r", "packet": None, "socketId": b.id},
        ]
        # One that is never answered is forgotten, and there may be only so many.
        monkeypatch.setattr(redis_questions, "MAX_OPEN", 1)
        peer.ask(requestId="r", **question | {"opts": {"flags": {"timeout": 1500}}})
        assert peer.ask(requestId="s", **question)[-1]["clientCount"] == 0
        await trio.sleep(1.4)
        assert node.adapter()._receiver._questions._open == 1
        await trio.sleep(0.2)
        assert node.adapter()._receiver._questions._open == 0
        assert node.pubsub.statistics().questions_refused == 1


@pytest.mark.req("BUS-32")
@trio_test
async def test_only_so_many_events_between_servers_wait(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_side, "MAX_OPEN", 2)
    redis = FakeRedis()
    handled: list[int] = []
    async with started_nodes(redis, 1) as (node,):

        async def slow(number: int) -> None:
            await trio.sleep(1)
            handled.append(number)
            raise ValueError  # one that fails makes room, too

        node.server.on_server_side("slow")(slow)
        node.server.on_server_side("plain")(handled.append)
        for number in range(5):
            redis.publish(REQUEST, asks(type=6, data=["slow", number]))
            redis.publish(REQUEST, asks(type=6, data=["unknown", number]))
        await trio.sleep(2)
        assert sorted(handled) == [0, 1]
        assert node.pubsub.statistics().events_refused == 3
        lines = [line for line in caplog.messages if "too many other events" in line]
        assert len(lines) == 1
        redis.publish(REQUEST, asks(type=6, data=["plain", 5]))
        redis.publish(REQUEST, asks(type=6, data=["slow", 6]))
        await trio.sleep(2)
        assert handled[2:] == [5, 6]
        node.server._workers.stop()
        for _ in range(3):
            redis.publish(REQUEST, asks(type=6, data=["plain", 7]))
        assert node.pubsub.statistics().events_refused == 3, "those that were given up do not wait"


# --- questions to others -------------------------------------------------------------------------


@pytest.mark.req("BUS-31")
@trio_test
async def test_answers_of_others_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_requests, "MAX_EARLY", 3)
    monkeypatch.setattr(redis_requests, "MAX_ANSWERS", 4)
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        node.connection.stands_still = True  # so the number of servers is not known
        adapter = node.adapter()

        async def flood(responses: Sequence[Mapping[str, Any]]) -> None:
            await trio.sleep(0.1)
            (number,) = adapter._requests._askers
            for one in responses:
                redis.publish(RESPONSE, json.dumps({"requestId": number, **one}).encode())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, [{"rooms": [name]} for name in "01234"])
            with pytest.raises(AckTimeout) as rooms:
                await adapter.all_rooms()
        assert sorted(rooms.value.responses) == ["0", "1", "2"]
        assert node.pubsub.statistics().malformed == 2

        counts: list[dict[str, Any]] = [
            {"type": 8, "clientCount": count} for count in (2**62, 3, 2, 1)
        ]
        acks = [{"type": 9, "packet": [number]} for number in range(10)]
        for most, packets in ((1000, [0, 1, 2, 3]), (130, [0, 1])):
            monkeypatch.setattr(redis_requests, "MAX_HELD_BYTES", most)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood, [*counts, *acks])
                with pytest.raises(AckTimeout) as answers:
                    await adapter.broadcast_with_ack(["q"], Target(), timeout_s=1)
            assert answers.value.responses == [[one] for one in packets]


@pytest.mark.req("BUS-18")
@trio_test
async def test_nodes_are_counted() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 3) as nodes:
        Peer(redis)
        assert await nodes[0].adapter().node_count() == 4
        nodes[1].connection.cut()
        assert await nodes[0].adapter().node_count() == 3


@trio_test
async def test_a_server_that_does_not_answer_is_missed(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2) as (here, there):
        a, b = enter(here.server.of("/")), enter(there.server.of("/"))
        there.server.on_server_side("x")(lambda: 7)
        adapter = here.adapter()
        assert await adapter.sockets(Target()) == {a.id, b.id}
        assert await adapter.sockets(Target(local=True)) == {a.id}
        assert await adapter.all_rooms() == {a.id, b.id}
        assert await adapter.server_side_emit_with_ack(["x"], 1) == [7]
        Peer(redis)  # is counted, and answers nothing
        for ask, known in (
            (lambda: adapter.fetch_sockets(Target()), {a.id, b.id}),
            (lambda: adapter.sockets(Target()), {a.id, b.id}),
            (adapter.all_rooms, {a.id, b.id}),
            (lambda: adapter.socket_rooms("nobody"), set()),
            (lambda: adapter.server_side_emit_with_ack(["x"], 1), {7}),
        ):
            with pytest.raises(AckTimeout, match="1 of 2 other nodes answered within") as raised:
                await ask()
            assert {getattr(one, "id", one) for one in raised.value.responses} == known
        assert await adapter.socket_rooms(b.id) == frozenset((b.id,))
        with pytest.raises(AckTimeout):
            await here.server.to("nobody").emit_with_ack("q", timeout_s=1)


@pytest.mark.req("BUS-28")
@pytest.mark.parametrize("method", ["fetch", "ask", "rooms", "servers", "count"])
@trio_test
async def test_a_namespace_may_ask_before_its_first_client(method: str) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2, "/late") as (_, there):
        here = Node(redis)  # it serves, but nobody has joined the namespace
        late = here.server.of("/late")
        theirs = enter(there.server.of("/late"))
        there.server.of("/late").on_server_side("x")(lambda: 7)
        if method == "fetch":
            assert [one.id for one in await late.fetch_sockets()] == [theirs.id]
        elif method == "ask":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_when_asked, theirs)
                assert await late.emit_with_ack("q", timeout_s=5) == ["soon"]
        elif method == "rooms":
            assert await here.adapter("/late").all_rooms() == {theirs.id}
        elif method == "servers":
            with pytest.raises(AckTimeout) as raised:  # one of the others has no handler
                await late.server_side_emit_with_ack("x", timeout_s=0.01)
            assert raised.value.responses == [7]
        else:
            assert await here.adapter("/late").node_count() == 3
        await here.server.remove("/late")
        assert here.connection.subscriptions == []
        adapter = late.adapter
        assert await adapter.fetch_sockets(Target()) == []
        assert await adapter.broadcast_with_ack(["q"], Target(), 1) == []
        assert await adapter.server_side_emit_with_ack(["x"], 1) == []
        assert await adapter.node_count() == 1
        assert isinstance(adapter, RedisAdapter)
        assert await adapter.all_rooms() == set()


async def answer_when_asked(socket: Socket) -> None:
    await trio.testing.wait_all_tasks_blocked()
    answer(socket, "soon")


@trio_test
async def test_no_more_answers_count_than_clients_were_asked(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        socket = enter(node.server.of("/"))
        peer = Peer(redis)

        def reply(channel: bytes, payload: bytes) -> None:
            request = msgspec.msgpack.decode(payload)
            told = {"requestId": request["requestId"]}
            redis.publish(RESPONSE, pack(told | {"type": 9, "packet": "too early"}))
            redis.publish(RESPONSE, pack(told | {"type": 8, "clientCount": 1}))
            redis.publish(RESPONSE, pack(told | {"type": 5}))
            for text in ("answer", "too many"):
                redis.publish(RESPONSE, pack(told | {"type": 9, "packet": text}))

        peer.node.connection.subscribe(REQUEST, reply)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_soon, socket)
            answers = await node.server.emit_with_ack("q", timeout_s=1)
        assert answers == ["answer", "soon"]


@trio_test
async def test_others_cannot_be_asked_while_redis_is_away(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2) as (here, _):
        a = enter(here.server.of("/"))
        here.connection.cut()
        adapter = here.adapter()
        with pytest.raises(AckTimeout, match="Redis is away") as raised:
            await adapter.fetch_sockets(Target())
        assert [one.id for one in raised.value.responses] == [a.id]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_soon, a)
            with pytest.raises(AckTimeout, match="Redis is away") as raised:
                await here.server.emit_with_ack("q")
        assert raised.value.acks == [(a.id, "soon")]
        here.connection.connected = True
        here.connection.stands_still = True
        with pytest.raises(AckTimeout, match="how many nodes"):
            await adapter.all_rooms()


@trio_test
async def test_what_is_local_stays_here() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2) as (here, there):
        a, b = enter(here.server.of("/")), enter(there.server.of("/"))
        redis.taken()
        local = here.server.local
        local.emit("here")
        local.sockets_join(["x", "y"])
        local.sockets_leave("y")
        assert [one.id for one in await local.fetch_sockets()] == [a.id]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(local.emit_with_ack, "q")
            await trio.testing.wait_all_tasks_blocked()
            answer(a)
        local.disconnect_sockets()
        assert redis.taken() == []
        assert (a.connected, set(b.rooms), texts(b)) == (False, {b.id}, [])


@pytest.mark.req("BUS-18")
@trio_test
async def test_redis_may_refuse_to_count(autojump_clock: MockClock) -> None:
    async with started_nodes(FakeRedis(), 1) as (here,):
        here.connection.refusal = "NOPERM this user has no permissions"
        with pytest.raises(AckTimeout, match=r"how many nodes .* NOPERM"):
            await here.adapter().fetch_sockets(Target())
        with pytest.raises(AckTimeout, match=r"how many nodes .* NOPERM"):
            await here.server.emit_with_ack("q")
        with pytest.raises(TrioSocketIOError, match="NOPERM"):
            await here.adapter().node_count()


async def answer_soon(socket: Socket) -> None:
    await trio.sleep(0.1)
    answer(socket, "soon")


@trio_test
async def test_answers_may_come_before_the_number_of_nodes(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 3) as (here, there, third):
        b, c = enter(there.server.of("/")), enter(third.server.of("/"))
        gathered: list[Any] = []

        async def ask() -> None:
            gathered.extend(await here.server.gather_acks("q", timeout_s=5))

        for is_held in (False, True):
            gathered.clear()
            redis.is_held = is_held
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                redis.deliver()
                assert not gathered
                answer(b, "b")
                answer(c, "c")
                redis.deliver()
            assert gathered == [(b.id, "b"), (c.id, "c")]
        redis.is_held = False


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.req("BUS-10", "BUS-11", "BUS-12")
@trio_test
async def test_bad_messages_cost_a_count_and_a_line(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1, max_message_bytes=1000) as (node,):
        socket = enter(node.server.of("/"))
        sent = {"malformed": 0, "pickled": 0, "unknown": 0}
        for kind, channel in (("broadcasts", ALL), ("requests", REQUEST)):
            for entry in VECTORS[kind]["invalid"]:
                redis.publish(channel, wire_bytes(entry))
                name = entry["name"]
                sent[
                    "pickled"
                    if "pickle" in name
                    else "unknown"
                    if "unknown" in name
                    else "malformed"
                ] += 1
        redis.publish(b"socket.io#/#\n%b#" % socket.id.encode(), b"nobody is in this room")
        socket.join("\n")
        redis.publish(b"socket.io#/#\n#", event("x" * 1000))
        redis.publish(REQUEST, b"{" + b" " * 1000)
        redis.publish(RESPONSE, b"{" + b" " * 1000)
        redis.publish(ALL, event("too many", *[b""] * 11))
        packet = {"type": 2, "data": ["q", *[b""] * 11]}
        peer = Peer(redis)
        redis.publish(REQUEST, pack({"requestId": "r", "type": 7, "packet": packet, "opts": {}}))
        assert peer.answers == [{"type": 8, "requestId": "r", "clientCount": 0}]
        counts = node.pubsub.statistics()
        assert counts == BusCounts(
            published=counts.published, oversized=3, undeliverable=2, skipped=counts.skipped, **sent
        )
        (line,) = [one.message for one in caplog.records if "dropped" in one.message]
        assert line.isprintable()
        redis.publish(ALL, event("fine"))
        assert texts(socket) == [b'42["fine"]']


@pytest.mark.req("BUS-12")
@trio_test
async def test_too_many_rooms_for_many_sockets_cost_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        sockets = [enter(node.server.of("/")) for _ in range(20)]
        rooms = [str(number) for number in range(10_001)]
        redis.publish(REQUEST, asks(type=2, opts={"rooms": [], "except": []}, rooms=rooms))
        assert all(socket.rooms == {socket.id} for socket in sockets)
        (line,) = [one.message for one in caplog.records]
        assert line.startswith("sockets_join has left out 20 sockets; the last one: ")


@trio_test
async def test_bad_answers_are_dropped_too(autojump_clock: MockClock) -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 1) as (node,):
        redis.publish(RESPONSE, b"\xc1 nobody asks, so nobody reads")
        peer = Peer(redis)

        def reply(channel: bytes, payload: bytes) -> None:
            request_id = json.loads(payload)["requestId"]
            for answered in ({"sockets": [1]}, {"requestId": 5}, {"sockets": [{"id": "a"}]}):
                redis.publish(RESPONSE, pack({"requestId": request_id} | answered))
            redis.publish(RESPONSE, pack(None))
            redis.publish(RESPONSE, pack({"requestId": "other"}))
            record = {"id": "x", "rooms": [7], "handshake": {"headers": 1}, "data": 5}
            redis.publish(RESPONSE, pack({"requestId": request_id, "sockets": [record]}))

        peer.node.connection.subscribe(REQUEST, reply)
        (found,) = await node.adapter().fetch_sockets(Target())
        assert (found.id, found.rooms, found.data, found.user) == ("x", frozenset("7"), {}, None)
        assert found.handshake.headers == {}
        counts = node.pubsub.statistics()
        assert (counts.malformed, counts.skipped) == (4, 2)


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.sampled_from([ALL, REQUEST, RESPONSE]), st.binary(max_size=50))))
def test_garbage_harms_nobody(messages: list[tuple[bytes, bytes]]) -> None:
    async def main() -> None:
        redis = FakeRedis()
        async with started_nodes(redis, 1) as (node,):
            socket = enter(node.server.of("/"))
            for channel, payload in messages:
                redis.publish(channel, payload)
            redis.publish(ALL, event("fine"))
            assert texts(socket)[-1] == b'42["fine"]'

    trio.run(main)


# --- a server without clients, as the parent of workers is ---------------------------------------


@pytest.mark.req("WORK-24")
@trio_test
async def test_a_server_without_clients_reaches_all_and_is_asked_by_nobody() -> None:
    redis = FakeRedis()
    async with started_nodes(redis, 2) as (one, other):
        parent = Node(redis, has_clients=False)
        await parent.start()
        clients = [enter(node.server.of("/")) for node in (one, other)]
        asked: list[str] = []
        for node, name in ((one, "one"), (other, "other"), (parent, "parent")):

            def answer_news(*_: Any, told: str = name) -> str:
                asked.append(told)
                return told

            node.server.on_server_side("news")(answer_news)
        with trio.fail_after(5):
            assert await one.adapter().server_side_emit_with_ack(["news"], 5) == ["other"]
            assert sorted(await parent.adapter().server_side_emit_with_ack(["news"], 5)) == [
                "one",
                "other",
            ]
            found = await parent.adapter().fetch_sockets(Target())
        assert "parent" not in asked
        assert {details.id for details in found} == {client.public_id for client in clients}
        assert [await node.adapter().node_count() for node in (one, parent)] == [2, 2]
        parent.server.emit("hello")
        assert all(b'["hello"]' in texts(client)[-1] for client in clients)
        skipped = parent.pubsub.statistics().skipped
        one.server.emit("hi")
        assert parent.pubsub.statistics().skipped == skipped, "it does not even read it"
