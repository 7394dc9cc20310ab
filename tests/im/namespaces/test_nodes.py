"""Namespaces that are made, changed and removed on all nodes of a real Redis."""

import time
from typing import Any

import pytest
import trio
from tests.im.identity.identified import ANN
from tests.im.namespaces.defined import DefinedNode, DefinedNodes, ask, defined_nodes, put_out
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError
from trio_socketio.im.identity.options import IdentityOptions
from trio_socketio.im.namespaces import redis_store
from trio_socketio.im.namespaces.redis_store import RedisStore
from trio_socketio.im.namespaces.store import Change

TOKEN = {"token": ANN}
INVALID = {"message": "Invalid namespace"}


def store(node: DefinedNode) -> RedisStore:
    found = node.namespaces._store
    assert isinstance(found, RedisStore)
    return found


async def agree(nodes: DefinedNodes, within_s: float = 1.0) -> dict[str, Any]:
    """Wait until all nodes tell the same definitions, and give them."""
    with trio.fail_after(within_s):
        while True:
            first, *others = [await one.listed() for one in nodes.nodes.values()]
            if all(one == first for one in others):
                return first
            await trio.sleep(0.01)


@pytest.mark.req("NSP-01", "NSP-03", "NSP-06", "NSP-07", "NSP-20")
@trio_test
async def test_all_nodes_make_change_and_remove_it(shared_redis: RedisServer) -> None:
    """When the call is answered, all of them have done it."""
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        a, b = nodes["a"], nodes["b"]
        made = await a.call("namespaces.create", namespace="/new", identity=[])
        assert made == {
            "done": 0,
            "nodes": {"a": 0, "b": 0},
            "definition": {"namespace": "/new", "identity": [], "revision": 1},
        }
        assert await b.listed() == await a.listed() == {"/new": made["definition"]}
        async with a.client("/new") as one, b.client("/new") as two, b.client("/new") as three:
            a.server.of("/new").emit("hello")
            for client in (one, two, three):
                assert await client.receive_event("/new") == ["hello"]
            given = {"identity": ["static"], "seats": {"policy": "none"}}
            changed = await b.call("namespaces.update", namespace="/new", **given)
            assert (changed["done"], changed["nodes"]) == (3, {"a": 1, "b": 2})
            for client in (one, two, three):
                await put_out(client, "/new", "namespace changed")
                assert await ask(client, "/new", TOKEN) is None
            b.server.of("/new").emit("hello again")
            for client in (one, two, three):
                assert await client.receive_event("/new") == ["hello again"]
            gone = await a.call("namespaces.remove", namespace="/new", reason="the end")
            assert (gone["done"], gone["nodes"]) == (3, {"a": 1, "b": 2})
            await put_out(one, "/new", "the end")
            for client in (one, two, three):
                assert await ask(client, "/new", TOKEN) == INVALID
        assert await b.listed() == await a.listed() == {}


@pytest.mark.req("NSP-02", "NSP-08")
@trio_test
async def test_a_node_that_starts_later_has_the_same(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", redis=shared_redis) as nodes:
        for number in range(20):
            await nodes["a"].call("namespaces.create", namespace=f"/n{number}", max_sockets=3)
        await nodes["a"].call("namespaces.remove", namespace="/n7")
        b = await nodes.start("b")
        assert await b.listed() == await nodes["a"].listed()
        assert await b.why_not("/n7", TOKEN) == INVALID
        assert await b.why_not("/n8", TOKEN) is None
        before = await b.listed()
        for name in "ab":
            await nodes.end(name)
        for name in "ab":
            assert await (await nodes.start(name)).listed() == before


@pytest.mark.req("NSP-14")
@trio_test
async def test_changes_of_two_nodes_at_once_are_in_one_order(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        await nodes["a"].call("namespaces.create", namespace="/x")
        failures: list[ControlError] = []

        async def change(name: str, field: str, value: Any) -> None:
            try:
                await nodes[name].call("namespaces.update", namespace="/x", **{field: value})
            except ControlError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, "a", "max_sockets", 5)
            nursery.start_soon(change, "b", "identity", [])
        assert failures == []
        found = (await agree(nodes))["/x"]
        assert found == {"namespace": "/x", "identity": [], "max_sockets": 5, "revision": 3}


@pytest.mark.req("NSP-05")
@trio_test
async def test_only_one_of_two_nodes_makes_it(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        codes: list[int] = []

        async def make(name: str) -> None:
            try:
                await nodes[name].call("namespaces.create", namespace="/x")
            except ControlError as error:
                codes.append(error.code)

        async with trio.open_nursery() as nursery:
            for name in "abab":
                nursery.start_soon(make, name)
        assert codes == [Code.EXISTS] * 3


@pytest.mark.req("NSP-12")
@trio_test
async def test_a_node_that_cannot_serve_it_says_so(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", redis=shared_redis) as nodes:
        b = await nodes.start("b", app=["/chat"], identity=IdentityOptions())
        found = await nodes["a"].call("namespaces.create", namespace="/chat")
        assert found["failed"] == {
            "b": "the app or the configuration serves /chat already: call namespaces.remove to "
            "keep that one, or take it out of the app or configuration and restart",
        }
        assert found["nodes"] == {"a": 0, "b": 0}
        found = await nodes["a"].call("namespaces.create", namespace="/x", identity=["static"])
        assert list(found["failed"]) == ["b"]
        assert await b.why_not("/x") == INVALID, "nobody is let in who is not asked"
        assert await nodes["a"].why_not("/x", TOKEN) is None


@pytest.mark.req("NSP-17")
@trio_test
async def test_redis_away_is_an_error_and_clients_stay(redis_server: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=redis_server) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.call("namespaces.create", namespace="/x", identity=[])
        async with a.client("/x") as client:
            redis_server.freeze()
            with pytest.raises(ControlError, match="it is unknown whether it was done") as caught:
                await a.call("namespaces.create", namespace="/y")
            assert caught.value.code == Code.STORE_UNAVAILABLE
            assert caught.value.data["retryable"]
            await client.send('2/x,1["nothing"]')
            assert await a.why_not("/x") is None
            redis_server.thaw()
            await until(lambda: not a.namespaces.fault and not b.namespaces.fault)
            await agree(nodes, 5)
            await until(lambda: a.cluster is not None and len(a.cluster.nodes.others()) == 1)
            await a.call("namespaces.create", namespace="/z", identity=[])
            assert "/z" in await agree(nodes, 5)
            assert await b.why_not("/z") is None
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ControlError) as caught:
            await a.call("namespaces.create", namespace="/w")
        assert caught.value.message.startswith("nothing was changed: Redis is out of memory: raise")
        redis_server.stop()
        await until(lambda: bool(a.namespaces.fault))
        with pytest.raises(ControlError) as caught:
            await a.call("namespaces.create", namespace="/w")
        assert caught.value.message.startswith("nothing was changed: EVALSHA was not sent")


@pytest.mark.req("NSP-17", "NSP-21")
@trio_test
async def test_what_was_missed_is_read(redis_server: RedisServer) -> None:
    """Another node has changed it while this one had no connection."""
    async with defined_nodes("a", "b", redis=redis_server) as nodes:
        a, b = nodes["a"], nodes["b"]
        for name in ("/old", "/changed"):
            await a.call("namespaces.create", namespace=name, identity=[])
        async with b.client("/old") as old, b.client("/changed") as changed:
            key, channel = store(a).key, store(a).channel
            # As if another node had done it, whose messages were lost.
            head = redis_server.command("HGET", key, "").split()
            redis_server.command("HDEL", key, "/old")
            redis_server.command("HSET", key, "/changed", b'4 {"namespace":"/changed"}')
            redis_server.command("HSET", key, "/new", b'5 {"namespace":"/new","identity":[]}')
            redis_server.command("HSET", key, "", b"%b 5 2 60" % head[0])
            redis_server.command("PUBLISH", channel, b"\xc1 no message")
            await put_out(old, "/old", "namespace removed")
            await put_out(changed, "/changed", "namespace changed")
            found = await agree(nodes, 5)
            assert sorted(found) == ["/changed", "/new"]
            for node in (a, b):
                assert node.namespaces.revision == 5
                assert await node.why_not("/old") == INVALID
                assert await node.why_not("/new") is None


@pytest.mark.req("NSP-15")
@trio_test
async def test_nodes_put_back_what_redis_has_lost(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with defined_nodes("a", "b", redis=redis_server) as nodes:
        a, b = nodes["a"], nodes["b"]
        for name in ("/x", "/y"):
            await a.call("namespaces.create", namespace=name, identity=[], max_sockets=7)
        before = await a.listed()
        async with a.client("/x") as client:
            redis_server.stop()
            redis_server.start()
            await until(lambda: redis_server.command("HLEN", nodes.key) == 3)
            await until(lambda: not a.namespaces.fault and not b.namespaces.fault)
            assert await a.listed() == await b.listed() == before
            assert "Redis has lost the 2 namespaces" in caplog.text
            assert len(a.server.of("/x").sockets) == 1, "clients stay"
            made = await b.call("namespaces.create", namespace="/z", identity=[])
            assert made["definition"]["revision"] > 2
            assert sorted(await agree(nodes)) == ["/x", "/y", "/z"]
            assert (await b.call("namespaces.remove", namespace="/x"))["done"] == 1
            await put_out(client, "/x", "namespace removed")


@pytest.mark.req("NSP-25")
@trio_test
async def test_a_node_that_knows_none_wipes_out_none(
    shared_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis has lost them, which nobody has noticed when a further node starts."""
    async with defined_nodes("a", redis=shared_redis) as nodes:
        a = nodes["a"]
        for name in ("/x", "/y"):
            await a.call("namespaces.create", namespace=name, identity=[])
        before = await a.listed()
        async with a.client("/x") as client:
            shared_redis.command("DEL", nodes.key)
            b = await nodes.start("b")
            await until(lambda: b.namespaces.find("/y") is not None)
            assert await agree(nodes) == before
            a.server.of("/x").emit("hello")
            assert await client.receive_event("/x") == ["hello"], "it is still in"
        assert "Redis has lost the 2 namespaces: this node puts them back" in caplog.text
        assert "put back by another node" not in caplog.text


@pytest.mark.req("NSP-25")
@trio_test
async def test_a_change_puts_back_first_what_redis_has_lost(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        a = nodes["a"]
        for name in ("/x", "/y"):
            await a.call("namespaces.create", namespace=name, identity=[])
        async with a.client("/x") as client:
            shared_redis.command("DEL", nodes.key)
            await a.call("namespaces.create", namespace="/z", identity=[])
            assert sorted(await agree(nodes)) == ["/x", "/y", "/z"]
            shared_redis.command("DEL", nodes.key)
            await a.call("namespaces.remove", namespace="/y")
            assert sorted(await agree(nodes)) == ["/x", "/z"]
            a.server.of("/x").emit("hello")
            assert await client.receive_event("/x") == ["hello"], "it is still in"


@pytest.mark.req("NSP-25")
@trio_test
async def test_nodes_that_have_nothing_to_put_back_begin_anew(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.call("namespaces.create", namespace="/x")
        await a.call("namespaces.remove", namespace="/x")
        shared_redis.command("DEL", nodes.key)
        made = await b.call("namespaces.create", namespace="/y")
        assert (made["definition"]["revision"], "failed" in made) == (1, False)
        assert list(await agree(nodes)) == ["/y"]
        await until(lambda: not a.namespaces.fault and not b.namespaces.fault)


@pytest.mark.req("NSP-23", "NSP-26")
@trio_test
async def test_clients_of_a_namespace_that_was_made_again_are_put_out(
    shared_redis: RedisServer,
) -> None:
    """This node has heard neither of the removal nor of the new one, which is just like the old."""
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        a, b = nodes["a"], nodes["b"]
        for name in ("/x", "/y"):
            await a.call("namespaces.create", namespace=name, identity=[])
        async with b.client("/x") as gone, b.client("/y") as stays:
            channel = store(b).channel
            store(b)._subscription.close()  # type: ignore[union-attr]  # it is there
            await store(a).change(Change("remove", "/x"))
            definition = b'{"namespace":"/x","identity":[]}'
            await store(a).change(Change("create", "/x", definition))
            await store(a).change(Change("update", "/y", b'{"namespace":"/y","identity":[]}'))
            receive, gap = store(b)._receive, store(b)._miss
            store(b)._subscription = store(b)._redis.subscribe(channel, receive, gap=gap)
            gap()
            await put_out(gone, "/x", "namespace removed")
            assert await ask(gone, "/x") is None
            await until(lambda: not b.namespaces.fault)
            b.server.of("/y").emit("hello")
            assert await stays.receive_event("/y") == ["hello"], "an update puts nobody out"
            shared_redis.command("DEL", nodes.key)
            await b.call("namespaces.create", namespace="/z", identity=[])
            await agree(nodes)
            for name in ("/x", "/y"):
                assert len(b.server.of(name).sockets) == 1, "nor does a loss of Redis"


@pytest.mark.req("NSP-17")
@trio_test
async def test_a_foreign_key_is_an_error(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", redis=shared_redis) as nodes:
        a = nodes["a"]
        shared_redis.command("SET", nodes.key, "mine")
        with pytest.raises(ControlError) as caught:
            await a.call("namespaces.create", namespace="/x")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        assert caught.value.message.startswith("nothing was changed: Redis refuses it: WRONGTYPE")
        shared_redis.command("DEL", nodes.key)
        await a.call("namespaces.create", namespace="/x")


@pytest.mark.req("NSP-24")
@trio_test
async def test_a_node_without_the_right_to_read_them_serves_what_else_there_is(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_store, "FORBIDDEN_S", 0.05)
    async with defined_nodes(redis=redis_server) as nodes:
        redis_server.command("ACL", "SETUSER", "default", "resetkeys")
        a = await nodes.start("a", app=["/chat"], identity=IdentityOptions())
        assert "this node serves no namespaces that are made at run time" in caplog.text
        assert await a.why_not("/chat") is None
        with pytest.raises(ControlError, match="NOPERM") as caught:
            await a.call("namespaces.create", namespace="/x")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        redis_server.command("ACL", "SETUSER", "default", "~*")
        await until(lambda: not a.namespaces.fault)
        await a.call("namespaces.create", namespace="/x")
        assert await a.why_not("/x") is None


@pytest.mark.req("NSP-22")
@trio_test
async def test_an_entry_that_cannot_be_read_is_told_and_not_served(
    shared_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with defined_nodes("a", redis=shared_redis) as nodes:
        for name in ("/good", "/bad", "/worse"):
            await nodes["a"].call("namespaces.create", namespace=name)
        shared_redis.command("HSET", nodes.key, "/bad", b'2 {"namespace":"/bad","later":1}')
        shared_redis.command("HSET", nodes.key, "/worse", b"\xff")
        b = await nodes.start("b")
        assert list(await b.listed()) == ["/good"]
        assert "the definition of the namespace /bad cannot be read" in caplog.text
        assert await b.why_not("/bad", TOKEN) == INVALID
        assert "failed" not in await b.call("namespaces.remove", namespace="/bad")
        assert sorted(await nodes["a"].listed()) == ["/good", "/worse"]


@pytest.mark.req("NSP-19")
@trio_test
async def test_there_is_a_bound(shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "MAX_TOTAL_BYTES", 100)
    async with defined_nodes("a", redis=shared_redis) as nodes:
        a = nodes["a"]
        await a.call("namespaces.create", namespace="/x", rules={"x": "y" * 30})
        with pytest.raises(ControlError, match="remove others first") as caught:
            await a.call("namespaces.create", namespace="/y", rules={"x": "y" * 30})
        assert caught.value.code == Code.OVERLOADED
        await a.call("namespaces.update", namespace="/x", rules={"x": "y" * 40})
        with pytest.raises(ControlError, match="remove others first"):
            await a.call("namespaces.update", namespace="/x", rules={"x": "y" * 90})
        await a.call("namespaces.remove", namespace="/x")
        await a.call("namespaces.create", namespace="/y", rules={"x": "y" * 30})
        assert shared_redis.command("HGET", nodes.key, "").split()[2:] == [b"1", b"65"]


@pytest.mark.req("NSP-18")
@trio_test
async def test_the_change_of_a_cancelled_caller_is_made(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: nodes["a"].call("namespaces.create", namespace="/x"))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await until(lambda: nodes["b"].namespaces.find("/x") is not None)
        assert list(await agree(nodes)) == ["/x"]


@pytest.mark.req("NSP-20")
@trio_test
async def test_a_node_that_hangs_is_missing(shared_redis: RedisServer) -> None:
    async with defined_nodes("a", "b", redis=shared_redis) as nodes:
        store(nodes["b"])._subscription.close()  # type: ignore[union-attr]  # it is there
        start = time.monotonic()
        found = await nodes["a"].call("namespaces.create", namespace="/x")
        assert time.monotonic() - start < 4
        assert found["nodes"] == {"a": 0}
        assert "has not heard of it yet" in found["failed"]["b"]
        assert "(code" not in found["failed"]["b"]  # which is for Python programs
