"""Users as targets, and the methods users.*."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import Controlled, RawPeer, controlled, peer
from tests.im.held_store import HeldStore
from tests.socketio.serving import until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Step
from trio_socketio.codec.json_rpc import Code
from trio_socketio.im.presence import MemoryStore, NamespaceSeats, Presence, PresenceOptions

SEATS = PresenceOptions(
    policy="many", maximum=3, namespaces=(NamespaceSeats(name="/free", policy="none"),)
)
KICKED = ["session/replaced", {"reason": "kicked"}]
WITH_AND_WITHOUT_SEATS = pytest.mark.parametrize("namespace", ["/chat", "/free"])
Client = tuple[SocketIOClient, str]


class World:
    """A server on which clients are who they say, its control socket, and a peer."""

    def __init__(self, where: Controlled, raw: RawPeer, stack: AsyncExitStack) -> None:
        self.where = where
        self.raw = raw
        self._stack = stack

    async def come(self, user: Any, namespace: str = "/chat") -> Client:
        """A client in a namespace, and its id."""
        found: Client = await self._stack.enter_async_context(
            self.where.client(namespace, auth={"user": user})
        )
        return found

    def rooms(self, user: str, namespace: str) -> list[frozenset[str]]:
        """The rooms of each socket of a user, apart from those it is always in."""
        place = self.where.server.of(namespace)
        return [
            socket.rooms - {socket.id, f"user:{user}"}
            for socket in place.rooms.joined(f"user:{user}")
        ]

    def listen_in(self, socket_id: str, user: str, namespace: str) -> None:
        """Put a socket into the room of another user, as an app may."""
        socket = self.where.server.of(namespace).rooms.find(socket_id)
        assert socket is not None
        socket.join(f"user:{user}")


@asynccontextmanager
async def world(folder: Path, store: HeldStore | None = None) -> AsyncIterator[World]:
    server = Server(ServerOptions(max_rooms_per_socket=10))
    gate = Step(JoiningState.AUTHENTICATING, identify)
    server.add_steps([gate])
    for name in ("/chat", "/free"):
        server.of(name)
    presence = Presence(server, store)
    presence.seat_by_name(SEATS, lambda name: name != "/")
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(controlled(folder, server))
        raw = await stack.enter_async_context(peer(where))
        yield World(where, raw, stack)


async def identify(joining: Joining) -> None:
    if joining.auth.get("slow"):
        joining.identify(joining.auth["user"])
        await trio.sleep_forever()
    if "user" in joining.auth:
        joining.identify(joining.auth["user"])


# -- targets


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-91")
@trio_test
async def test_events_reach_the_clients_of_users(tmp_path: Path, namespace: str) -> None:
    async with world(tmp_path) as here:
        ann, twin, bob, carl = [
            await here.come(user, namespace) for user in ("ann", "ann", "bob", 7)
        ]
        result = await here.raw.call(
            "emit", event="e", namespace=namespace, users=["ann", 7, "7", "none"], args=[1]
        )
        assert result == {"reached": 3, "missing": {"users": ["none"]}}
        for client, _ in (ann, twin, carl):
            assert await client.receive_event(namespace) == ["e", 1]
        result = await here.raw.call(
            "emit",
            event="e",
            namespace=namespace,
            all_=True,
            except_users=["ann", "nobody"],
            args=[2],
        )
        assert result == {"reached": 2, "missing": {"except_users": ["nobody"]}}
        for client, _ in (bob, carl):
            assert await client.receive_event(namespace) == ["e", 2]
        result = await here.raw.call(
            "emit", event="e", namespace=namespace, users=["nobody"], except_users=["ann"]
        )
        assert result == {"reached": 0, "missing": {"users": ["nobody"]}}


@pytest.mark.req("CONTROL-91")
@trio_test
async def test_users_are_asked_and_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ann, bob = await here.come("ann"), await here.come("bob")
        result: dict[str, Any] = {}

        async def ask() -> None:
            result.update(
                await here.raw.call(
                    "emit_with_ack",
                    event="q",
                    namespace="/chat",
                    users=["ann", "bob", "carl"],
                    timeout_s=0.5,
                )
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            text, _ = await ann[0].receive()
            assert text.endswith('["q"]')
            await ann[0].send(f"3/chat,{text.partition(',')[2].partition('[')[0]}[1]")
        assert result == {
            "asked": 2,
            "answers": [{"socket": ann[1], "user": "ann", "answer": 1}],
            "unanswered": [bob[1]],
            "missing": {"users": ["carl"]},
        }


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-91", "CONTROL-92")
@trio_test
async def test_users_join_and_leave_rooms(tmp_path: Path, namespace: str) -> None:
    async with world(tmp_path) as here:
        _, twin, bob = [await here.come(user, namespace) for user in ("ann", "ann", "bob")]
        call, fail = here.raw.call, here.raw.fail
        place = {"namespace": namespace}
        result = await call(
            "rooms.join", **place, rooms=["r", "s"], users=["ann", "none"], sockets=[bob[1], "x"]
        )
        assert result == {"done": 3, "missing": {"sockets": ["x"], "users": ["none"]}}
        assert here.rooms("ann", namespace) == [{"r", "s"}] * 2
        result = await call(
            "rooms.leave", **place, rooms=["r", "t"], users=["ann", "none"], sockets=[twin[1]]
        )
        assert result == {"done": 2, "missing": {"rooms": ["t"], "users": ["none"]}}
        assert here.rooms("ann", namespace) == [{"s"}] * 2
        assert here.rooms("bob", namespace) == [{"r", "s"}]
        for method, params in (
            ("rooms.leave", {"users": ["ann"]}),
            ("rooms.leave", {"sockets": [twin[1]]}),
            ("rooms.clear", {}),
        ):
            error = await fail(method, **place, rooms=["s", "user:ann"], **params)
            assert error["data"] == {"parameter": "rooms"}
        for method, params in (("rooms.leave", {"users": ["afar"]}), ("rooms.clear", {})):
            error = await fail(method, **place, rooms=["user:afar"], **params)
            assert error["data"] == {"parameter": "rooms"}, "the user may be on another node"
        assert here.rooms("ann", namespace) == [{"s"}] * 2
        result = await call("rooms.clear", **place, users=["bob", "none"])
        assert result == {"done": 1, "missing": {"users": ["none"]}}
        assert here.rooms("bob", namespace) == [frozenset()]
        assert (await call("emit", **place, event="e", users=["ann", "bob"]))["reached"] == 3


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-98")
@trio_test
async def test_nobody_is_put_into_the_room_of_another_user(tmp_path: Path, namespace: str) -> None:
    async with world(tmp_path) as here:
        ann, bob = [await here.come(user, namespace) for user in ("ann", "bob")]
        place = {"namespace": namespace}
        for room, clients in (
            ("user:bob", {"users": ["ann"]}),
            ("user:carl", {"sockets": [ann[1]]}),
            ("user:bob", {"users": ["ann", "bob"]}),
            ("user:carl", {"users": ["carl"]}),
        ):
            error = await here.raw.fail("rooms.join", **place, rooms=["r", room], **clients)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["data"] == {"parameter": "rooms"}
            assert room in error["message"]
        assert here.rooms("ann", namespace) == [frozenset()]
        assert (await here.raw.call("emit", **place, event="e", users=["bob"]))["reached"] == 1
        assert await bob[0].receive_event(namespace) == ["e"]
        own = await here.raw.call("rooms.join", **place, rooms=["user:ann", "r"], users=["ann"])
        assert own == {"done": 1, "missing": {}}
        assert here.rooms("ann", namespace) == [{"r"}]


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-91")
@trio_test
async def test_one_who_listens_in_does_not_stand_for_the_user(
    tmp_path: Path, namespace: str
) -> None:
    async with world(tmp_path) as here:
        ann = await here.come("ann", namespace)
        here.listen_in(ann[1], "bob", namespace)
        place = {"namespace": namespace}
        result = await here.raw.call("emit", **place, event="e", users=["bob"])
        assert result == {"reached": 0, "missing": {"users": ["bob"]}}
        assert (await here.raw.call("users.get", **place, users=["bob"]))["users"] == []


@pytest.mark.req("CONTROL-90")
@pytest.mark.parametrize(
    ("method", "params", "parameter"),
    [
        ("emit", {"event": "e", "users": [""]}, "users[0]"),
        ("emit", {"event": "e", "users": ["a", "x\ny"]}, "users[1]"),
        ("emit", {"event": "e", "users": "ann"}, "users"),
        ("emit", {"event": "e", "users": [True]}, "users[0]"),
        ("emit", {"event": "e", "users": [1.5]}, "users[0]"),
        ("emit", {"event": "e", "users": [None]}, "users[0]"),
        ("emit", {"event": "e", "users": [10**30]}, "users[0]"),
        ("emit", {"event": "e", "users": ["\N{SNOWMAN}" * 86]}, "users[0]"),
        ("emit", {"event": "e", "users": ["a"] * 1001}, "users"),
        ("emit", {"event": "e", "users": ["a"], "all_": True}, "all"),
        ("emit", {"event": "e", "all_": True, "except_users": [""]}, "except_users[0]"),
        ("emit_with_ack", {"event": "e"}, "all"),
        ("rooms.join", {"rooms": ["a"]}, "sockets"),
        ("rooms.join", {"users": ["a"]}, "rooms"),
        ("rooms.leave", {"rooms": ["a"]}, "sockets"),
        ("rooms.clear", {}, "rooms"),
        ("rooms.clear", {"rooms": ["a"], "users": ["a"]}, "rooms"),
        ("users.get", {}, "users"),
        ("users.get", {"users": ["a"] * 1001}, "users"),
        ("users.get", {"users": [{}]}, "users[0]"),
        ("users.kick", {"users": ["a", ""]}, "users[1]"),
        ("users.kick", {"users": ["a"], "timeout_s": 0}, "timeout_s"),
        ("users.list", {"limit": 1001}, "limit"),
        ("users.list", {"after": ""}, "after"),
        ("users.list", {"after": "a\0"}, "after"),
    ],
)
@trio_test
async def test_what_names_no_user(
    tmp_path: Path, method: str, params: dict[str, Any], parameter: str
) -> None:
    async with world(tmp_path) as here:
        error = await here.raw.fail(method, namespace="/chat", **params)
        assert error["code"] == Code.INVALID_PARAMS
        assert error["data"]["parameter"] == parameter


@trio_test
async def test_a_namespace_that_does_not_exist(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for method, params in (
            ("users.get", {"users": ["a"]}),
            ("users.list", {}),
            ("users.kick", {"users": ["a"]}),
            ("emit", {"event": "e", "users": ["a"]}),
        ):
            for name in ("/none", "/" + "x" * 300, "/a,b"):
                error = await here.raw.fail(method, namespace=name, **params)
                assert error["code"] == Code.NOT_FOUND


# -- showing


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-94")
@trio_test
async def test_users_are_shown_with_their_sockets(tmp_path: Path, namespace: str) -> None:
    async with world(tmp_path) as here:
        ids = [(await here.come(user, namespace))[1] for user in ("bob", "ann", "ann", "Zoe")]
        await here.raw.call("rooms.join", namespace=namespace, users=["ann"], rooms=["r"])
        # A socket that only listens in is not one of the user.
        here.listen_in(ids[0], "ann", namespace)
        sockets = {
            one["id"]: one
            for one in (await here.raw.call("sockets.list", namespace=namespace))["sockets"]
        }
        found = await here.raw.call(
            "users.get", namespace=namespace, users=["ann", "none", "bob", "ann"]
        )
        assert found == {
            "users": [
                {"user": "ann", "sockets": [sockets[ids[1]], sockets[ids[2]]]},
                {"user": "bob", "sockets": [sockets[ids[0]]]},
            ],
            "missing": {"users": ["none"]},
        }
        page = await here.raw.call("users.list", namespace=namespace, limit=2)
        assert [one["user"] for one in page["users"]] == ["Zoe", "ann"]
        assert (page["total"], page["next"]) == (3, "ann")
        page = await here.raw.call("users.list", namespace=namespace, limit=2, after="ann")
        assert [one["user"] for one in page["users"]] == ["bob"]
        assert page["next"] is None


# -- kicking


@WITH_AND_WITHOUT_SEATS
@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_kick_is_answered_when_the_clients_are_out(
    tmp_path: Path, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with world(tmp_path) as here:
        clients = [await here.come(user, namespace) for user in ("ann", "ann", "bob")]
        result = await here.raw.call(
            "users.kick", namespace=namespace, users=["ann", "none", "ann"]
        )
        assert result == {"done": 2, "missing": {"users": ["none"]}}
        for client, _ in clients[:2]:
            assert await client.receive_event(namespace) == KICKED
            assert await client.receive() == (f"1{namespace},", [])
        page = await here.raw.call("users.list", namespace=namespace)
        assert [one["user"] for one in page["users"]] == ["bob"]
        assert "kicked 'ann' out of " + namespace + ": 2 clients" in caplog.text
        await here.come("ann", namespace)  # a later login is not concerned
        again = await here.raw.call("users.kick", namespace=namespace, users=["none"])
        assert again == {"done": 0, "missing": {"users": ["none"]}}


@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_kick_is_in_the_log(tmp_path: Path) -> None:
    store = HeldStore(MemoryStore())
    async with world(tmp_path, store) as here:
        before = (await store.count("/chat")).cursor
        await here.come("ann")
        await here.come("ann")
        await here.raw.call("users.kick", namespace="chat", users=["ann"])
        found: Any = await store.read("/chat", before, 10)
        assert [(entry.type, entry.reason) for entry in found.entries] == [
            ("online", None),
            ("seat_added", None),
            ("seat_removed", "kicked"),
            ("offline", "kicked"),
        ]


@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_seat_that_is_held_in_a_namespace_that_has_ended_is_kicked(tmp_path: Path) -> None:
    server = Server(
        ServerOptions(
            state_recovery=True,
            state_recovery_max_disconnection_s=60,
            cleanup_empty_child_namespaces=True,
        )
    )
    server.of(re.compile("/child-.*")).add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    presence = Presence(server)
    presence.seat_by_name(PresenceOptions(linger_s=50.0), lambda name: True)
    async with controlled(tmp_path, server) as where, peer(where) as raw:
        async with where.client("/child-1", auth={"user": "ann"}) as (client, _):
            await client.engine.aclose()
        await until(lambda: "/child-1" not in server.namespaces)
        assert (await presence.store.count("/child-1")).users == 1
        result = await raw.call("users.kick", namespace="/child-1", users=["ann"])
        assert result == {"done": 1, "missing": {}}
        assert (await presence.store.count("/child-1")).users == 0


@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_client_that_is_joining_is_kicked(tmp_path: Path) -> None:
    async with world(tmp_path) as here, here.where.client() as (client, _):
        await client.send('0/free,{"user":"ann","slow":true}')
        await client.emit("x", ack_id=1)
        place = here.where.server.of("/free")
        await until(lambda: bool(place._joinings))
        result = await here.raw.call("users.kick", namespace="/free", users=["ann"])
        assert result == {"done": 1, "missing": {}}
        text, _ = await client.receive()
        assert text.startswith("4/free,")


@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_kick_that_meets_a_claim_puts_its_client_out(tmp_path: Path) -> None:
    """The store has given the seat, and the client does not know yet."""
    store = HeldStore(MemoryStore())
    async with world(tmp_path, store) as here, here.where.client() as (client, _):
        store.hold = {"claim after"}
        await client.send('0/chat,{"user":"ann"}')
        await until(lambda: bool(store.held))
        kicked: dict[str, Any] = {}

        async def kick() -> None:
            kicked.update(await here.raw.call("users.kick", namespace="/chat", users=["ann"]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kick)
            await trio.sleep(0.1)
            store.let_all_go()
            text, _ = await client.receive()
        assert text.startswith('4/chat,{"message":"kicked"')
        assert kicked == {"done": 1, "missing": {}}
        assert (await store.count("/chat")).users == 0


@pytest.mark.req("CONTROL-93")
@trio_test
async def test_a_store_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    store = HeldStore(MemoryStore())
    async with world(tmp_path, store) as here:
        await here.come("ann")
        store.hold = {"kick before"}

        async def fail() -> None:
            await until(lambda: bool(store.held))
            store.hold.clear()
            store.let_go(store.held[0], fails=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            error = await here.raw.fail("users.kick", namespace="/chat", users=["ann"])
        assert error["code"] == Code.STORE_UNAVAILABLE
        again = {"retryable": True, "retry_after_ms": 1000}
        assert error["data"] == {**again, "done": 0, "unknown": ["ann"]}
        kicked = await here.raw.call("users.kick", namespace="/chat", users=["ann"])
        assert kicked["done"] == 1


@WITH_AND_WITHOUT_SEATS
@trio_test
async def test_a_thousand_users_in_one_call(tmp_path: Path, namespace: str) -> None:
    async with world(tmp_path) as here:
        for number in range(20):
            await here.come(number, namespace)
        users = list(range(1000))
        found = await here.raw.call("users.get", namespace=namespace, users=users)
        assert (len(found["users"]), len(found["missing"]["users"])) == (20, 980)
        sent = await here.raw.call("emit", event="e", namespace=namespace, users=users)
        assert (sent["reached"], len(sent["missing"]["users"])) == (20, 980)
        kicked = await here.raw.call("users.kick", namespace=namespace, users=users)
        assert (kicked["done"], len(kicked["missing"]["users"])) == (20, 980)
        assert (await here.raw.call("users.list", namespace=namespace))["total"] == 0
