"""users.kick from any node, for nodes that share a presence store and nodes that do not."""

from secrets import token_hex
from typing import Any

import pytest
import trio
from tests.cluster.seated import CHAT, FREE, SeatedNode, seated
from tests.im.held_store import HeldStore
from tests.im.shared_store import SharedStore
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from tests.wire import open_client
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import MemoryStore
from trio_socketio.im.presence.redis_store import RedisStore

KICKED = ["session/replaced", {"reason": "kicked"}]


async def kick(node: SeatedNode, *users: str, namespace: str = CHAT, **params: Any) -> Any:
    return await node.call("users.kick", users=list(users), namespace=namespace, **params)


@pytest.mark.req("CONTROL-99")
@trio_test
async def test_one_node_ends_the_seats_on_all() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store, "c": store}) as nodes:
        clients = [await nodes[name].come("ann") for name in "aabc"]
        await nodes["b"].come("bob")
        found = await kick(nodes["c"], "ann", "eve")
        assert found == {
            "done": 4,
            "missing": {"users": ["eve"]},
            "nodes": {"a": 2, "b": 1, "c": 1},
        }
        assert sorted(store.kicks) == ["ann", "eve"], "once, and not by each node"
        for client in clients:
            assert await client.receive_event(CHAT) == KICKED
        assert (await nodes["a"].call("presence.count", namespace=CHAT))["users"] == 1
        found = await kick(nodes["a"], "bob")
        assert found == {"done": 1, "missing": {}, "nodes": {"a": 0, "b": 1, "c": 0}}


@pytest.mark.req("CONTROL-99")
@trio_test
async def test_a_namespace_that_only_another_node_has() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store}, {"/own": ["b"]}) as nodes:
        for place in ("/own", "/room-7"):
            await nodes["b"].come("ann", place)
            found = await kick(nodes["a"], "ann", "eve", namespace=place)
            assert found == {"done": 1, "missing": {"users": ["eve"]}, "nodes": {"a": 0, "b": 1}}
            again = await kick(nodes["a"], "ann", namespace=place)
            assert again == {"done": 0, "missing": {"users": ["ann"]}, "nodes": {"a": 0, "b": 0}}
        for place in ("/none", "/room-8"):
            with pytest.raises(ControlError) as caught:
                await kick(nodes["a"], "ann", namespace=place)
            assert caught.value.code == Code.NOT_FOUND


@pytest.mark.req("CONTROL-99")
@trio_test
async def test_without_seats_each_node_puts_out_its_own() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store}) as nodes:
        for name in "ab":
            await nodes[name].come("ann", FREE)
        found = await kick(nodes["a"], "ann", namespace=FREE)
        assert found == {"done": 2, "missing": {}, "nodes": {"a": 1, "b": 1}}
        assert store.kicks == []


@pytest.mark.req("CONTROL-99")
@pytest.mark.parametrize("asked", ["a", "b", "own", "none"])
@trio_test
async def test_nodes_that_share_nothing_kick_their_own(asked: str) -> None:
    """Two share a store, one has its own, and clients of the last one have no seats."""
    store = SharedStore()
    stores = {"a": store, "b": store, "own": MemoryStore(), "none": None}
    async with seated(stores) as nodes:
        for name in nodes:
            await nodes[name].come("ann")
        await nodes["own"].come("bob")
        found = await kick(nodes[asked], "ann", "bob", "eve")
        assert found == {
            "done": 5,
            "missing": {"users": ["eve"]},
            "nodes": {"a": 1, "b": 1, "none": 1, "own": 2},
        }
        for one in nodes.values():
            assert not one.node.server.of(CHAT).sockets


@pytest.mark.req("CONTROL-100")
@trio_test
async def test_a_kick_without_the_store_says_what_was_done() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store}) as nodes:
        a = nodes["a"]
        await nodes["b"].come("ann")
        store.is_away = True
        with pytest.raises(ControlError, match="unknown whether they were kicked") as caught:
            await kick(a, "ann")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        with pytest.raises(ControlError, match="nobody was kicked") as caught:
            await kick(a, "ann", namespace="/elsewhere")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        store.is_away = False
        a.node.freeze()
        with pytest.raises(ControlError, match="so nothing was done here either") as caught:
            await kick(a, "ann")
        assert caught.value.code == Code.UNAVAILABLE
        assert (await nodes["b"].call("presence.count", namespace=CHAT))["users"] == 1


@pytest.mark.req("CONTROL-100")
@trio_test
async def test_a_kick_that_is_not_confirmed_is_done_all_the_same() -> None:
    """The store has ended the seat, and is away when it is asked whether the client is out."""
    store = SharedStore()
    held = HeldStore(store)
    async with seated({"a": held, "b": store}) as nodes:
        await nodes["b"].come("ann")
        held.hold = {"wait after"}
        found: dict[str, Any] = {}

        async def ask() -> None:
            found.update(await kick(nodes["a"], "ann", timeout_s=0.3))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: bool(held.held))
            held.let_go(held.held[0], fails=True)
        assert found == {
            "done": 1,
            "unconfirmed": ["ann"],
            "missing": {},
            "nodes": {"a": 0, "b": 1},
        }


@pytest.mark.req("CONTROL-99")
@trio_test
async def test_a_client_at_its_seat_on_another_node_is_kicked() -> None:
    """The store has given the seat, and the node of the client does not know yet."""
    store = SharedStore()
    held = HeldStore(store)
    async with (
        seated({"a": store, "b": held}) as nodes,
        open_client(nodes["b"].port) as client,
        trio.open_nursery() as nursery,
    ):
        held.hold = {"claim after"}
        await client.send(f'0{CHAT},{{"user":"ann"}}')
        await until(lambda: bool(held.held))
        nursery.start_soon(held_back, held)
        found = await kick(nodes["a"], "ann")
        assert found == {"done": 1, "missing": {}, "nodes": {"a": 0, "b": 1}}
        assert (await client.receive())[0].startswith(f'4{CHAT},{{"message":"kicked"')


async def held_back(held: HeldStore) -> None:
    await trio.sleep(0.1)
    held.let_all_go()


@pytest.mark.req("CONTROL-101")
@trio_test
async def test_a_kick_says_that_it_may_have_missed_clients() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store}) as nodes:
        store.is_rebuilding = True
        found = await kick(nodes["a"], "ann")
        assert found["rebuilding"] is True
        assert found["missing"] == {"users": ["ann"]}


@pytest.mark.req("CONTROL-102")
@trio_test
async def test_sockets_and_seats_of_all_nodes_agree() -> None:
    store = SharedStore()
    async with seated({"a": store, "b": store}) as nodes:
        for name, user in (("a", "ann"), ("b", "ann"), ("b", "bob"), ("a", "7")):
            await nodes[name].come(user)
        users = ["ann", "bob", "7", "eve"]
        for one in nodes.values():
            sockets = await one.call("users.get", users=users, namespace=CHAT)
            seats = await one.call("presence.get", users=users, namespace=CHAT)
            assert _places(sockets, "sockets") == _places(seats, "seats")
            assert sockets["missing"] == seats["missing"] == {"users": ["eve"]}
            listed = await one.call("users.list", namespace=CHAT)
            online = await one.call("presence.list", namespace=CHAT)
            assert _places(listed, "sockets") == _places(online, "seats")
            assert (await one.call("presence.count", namespace=CHAT))["users"] == 3


def _places(found: Any, of: str) -> dict[str, set[tuple[str, str]]]:
    """The ids of each user's clients, and their nodes."""
    return {
        one["user"]: {(client["id"], client["node"]) for client in one[of]}
        for one in found["users"]
    }


@pytest.mark.req("CONTROL-99", "CONTROL-102", "FEED-90")
@trio_test
async def test_nodes_that_share_a_store_in_redis(shared_redis: RedisServer) -> None:
    prefix = f"t{token_hex(4)}"
    async with open_redis(shared_redis.url) as one, open_redis(shared_redis.url) as other:
        stores = {
            name: RedisStore(redis, prefix=prefix) for name, redis in (("a", one), ("b", other))
        }
        async with seated(stores, {"/own": ["b"]}) as nodes:
            clients = [await nodes[name].come("ann") for name in "abb"]
            await nodes["b"].come("bob", "/own")
            users = {"users": ["ann"], "namespace": CHAT}
            sockets = await nodes["a"].call("users.get", **users)
            seats = await nodes["a"].call("presence.get", **users)
            assert _places(sockets, "sockets") == _places(seats, "seats")
            found = await kick(nodes["a"], "ann", "eve")
            assert found == {
                "done": 3,
                "missing": {"users": ["eve"]},
                "nodes": {"a": 1, "b": 2},
            }
            for client in clients:
                assert await client.receive_event(CHAT) == KICKED
            assert (await nodes["a"].call("presence.count", namespace="/own"))["users"] == 1
            found = await kick(nodes["a"], "bob", namespace="/own")
            assert found == {"done": 1, "missing": {}, "nodes": {"a": 0, "b": 1}}
            with pytest.raises(ControlError) as caught:
                await kick(nodes["a"], "bob", namespace="/none")
            assert caught.value.code == Code.NOT_FOUND
