"""auth.revoke and auth.unrevoke from any node, for all nodes on a real Redis."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.cluster.identified_nodes import IdentifiedNode, identified_nodes
from tests.im.identity.identified import ANN, BOB, STATIC, jwt_options
from tests.im.identity.test_ends import REVOKED, put_out
from tests.im.identity.tokens import token
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.methods import rpc
from trio_socketio.errors import ControlError
from trio_socketio.im.identity import methods
from trio_socketio.im.identity.methods import AuthMethods, NodeRevocations
from trio_socketio.im.identity.revocations import Record, RevokedId


@pytest.mark.req("IDENT-81", "IDENT-86")
@trio_test
async def test_all_nodes_put_out_and_keep_out(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, "a", "b", "c", tokens=STATIC) as nodes:
        clients = [await nodes[name].come(ANN) for name in "abb"]
        await nodes["c"].come(BOB)
        found = await nodes["c"].revoke("ann")
        assert found.pop("until_s") == pytest.approx(time.time() + 30 * 86_400, abs=5)
        assert found == {"done": 3, "nodes": {"a": 1, "b": 2, "c": 0}}
        assert [nodes[name].users for name in "abc"] == [[], [], ["bob"]]
        for client in clients:
            await put_out(client, REVOKED)
        for name in "abc":
            assert not await nodes[name].lets_in(ANN)
            assert await nodes[name].lets_in(BOB)
        again = await nodes["a"].revoke("ann")
        assert (again["done"], again["nodes"]) == (0, {"a": 0, "b": 0, "c": 0})


@pytest.mark.req("IDENT-81", "IDENT-88")
@trio_test
async def test_a_token_is_revoked_and_lifted_on_all(
    shared_redis: RedisServer, tmp_path: Path
) -> None:
    one, other = token(jti="one"), token(jti="other")
    async with identified_nodes(shared_redis, "a", "b", jwt=jwt_options(tmp_path)) as nodes:
        for text in (one, other):
            await nodes["b"].come(text)
        found = await nodes["a"].call("auth.revoke", token_id="one")
        assert (found["done"], found["nodes"]) == (1, {"a": 0, "b": 1})
        assert not await nodes["b"].lets_in(one)
        assert await nodes["b"].lets_in(other)
        assert await nodes["b"].call("auth.unrevoke", token_id="one") == {"done": True}
        assert await nodes["b"].call("auth.unrevoke", token_id="one") == {"done": False}
        for name in "ab":
            assert await nodes[name].lets_in(one)
        assert shared_redis.command("HGET", nodes.key, "").split()[2] == b"1", "which is lifted"


@pytest.mark.req("IDENT-82")
@trio_test
async def test_a_node_that_starts_later_knows(shared_redis: RedisServer) -> None:
    """Also if its static tokens are younger than the revocation."""
    async with identified_nodes(shared_redis, "a", tokens=STATIC) as nodes:
        await nodes["a"].revoke("ann")
        b = await nodes.start("b")
        assert not await b.lets_in(ANN)
        assert await b.lets_in(BOB)
        await nodes.end("a")
        a = await nodes.start("a")
        assert not await a.lets_in(ANN), "a restart lifts nothing"
        assert (await a.call("auth.unrevoke", user="ann")) == {"done": True}
        assert await b.lets_in(ANN)


async def say_ann(namespace: str, question: Any, timeout_s: float) -> bytes:
    return b'{"user": "ann"}'


@pytest.mark.req("IDENT-84", "IDENT-89")
@trio_test
async def test_tokens_without_a_date_stay_out_of_all_nodes(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, backend=True) as nodes:
        for name in "abc":
            await nodes.start(name, ask=say_ann)
        await nodes["b"].come("here")
        assert await nodes["b"].lets_in("left")
        assert await nodes["a"].lets_in("asked")
        found = await nodes["a"].revoke("ann")
        assert (found["done"], found["nodes"]) == (1, {"a": 0, "b": 1, "c": 0})
        for name in "abc":
            for text in ("here", "left", "asked"):
                assert not await nodes[name].lets_in(text), (name, text)
        assert await nodes["c"].lets_in("newer")
        d = await nodes.start("d", ask=say_ann)
        for text in ("here", "left", "asked"):
            assert not await d.lets_in(text)
        assert await d.lets_in("newer")
        b = nodes["b"]
        await b.come("newer")
        b.shared._miss()
        await until(lambda: b.shared.is_current)
        assert b.users == ["ann"], "what is read again is no new revocation"
        assert await b.lets_in("newer")


@pytest.mark.req("IDENT-84")
@trio_test
async def test_a_token_without_a_date_that_was_being_judged(shared_redis: RedisServer) -> None:
    decides = trio.Event()

    async def judge(namespace: str, question: Any, timeout_s: float) -> bytes:
        await decides.wait()
        return b'{"user": "ann"}'

    async with identified_nodes(shared_redis, "a", ask=say_ann, backend=True) as nodes:
        b = await nodes.start("b", ask=judge)
        c = await nodes.start("c", ask=say_ann)
        verdicts: list[bool] = []

        async def come() -> None:
            verdicts.append(await b.lets_in("opaque"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            await trio.sleep(0.1)
            await nodes["a"].revoke("ann")
            decides.set()
        assert verdicts == [False]
        await c.wait_let_in("opaque", is_in=False)


@pytest.mark.req("IDENT-84")
@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
@trio_test
async def test_the_clocks_of_nodes_do_not_matter_to_what_has_no_date(
    shared_redis: RedisServer, ahead_s: float
) -> None:
    options = {"tokens": STATIC, "backend": True}
    async with identified_nodes(shared_redis, "a", ask=say_ann, **options) as nodes:
        b = await nodes.start("b", ask=say_ann, clock=lambda: time.time() + ahead_s)
        await b.come(ANN)
        await b.come("opaque")
        found = await nodes["a"].revoke("ann")
        assert found["nodes"] == {"a": 0, "b": 2}
        assert not await b.lets_in(ANN)
        assert not await b.lets_in("opaque")
        assert await b.lets_in("newer")


@pytest.mark.req("IDENT-84")
@trio_test
async def test_a_newer_jwt_is_let_in_by_all(shared_redis: RedisServer, tmp_path: Path) -> None:
    options = {"jwt": jwt_options(tmp_path, leeway_s=1.0)}
    now = time.time()
    async with identified_nodes(shared_redis, "a", "b", **options) as nodes:
        await nodes["a"].revoke("ann")
        for name in "ab":
            assert not await nodes[name].lets_in(token(iat=now))
            assert not await nodes[name].lets_in(token(without=("iat",)))
        await trio.sleep(2.1)
        for name in "ab":
            assert await nodes[name].lets_in(token(iat=time.time()))


@pytest.mark.req("IDENT-82")
@trio_test
async def test_nobody_is_let_in_before_all_is_known(redis_server: RedisServer) -> None:
    async with identified_nodes(redis_server, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await b.come(ANN)
        redis_server.stop()
        await until(lambda: not b.shared.is_current)
        assert "hung up on: 1012" in await b.why_not(BOB)
        assert b.users == ["ann"], "who is in stays in"
        assert b.identity.fault
        assert not b.identity.check(), "the check of Redis says so"
        redis_server.start()
        for one in (a, b):
            await one.wait_let_in(BOB)


@pytest.mark.req("IDENT-83", "IDENT-85")
@trio_test
async def test_without_redis_nothing_is_sure(redis_server: RedisServer) -> None:
    """The node that was asked has done its part, and tells the others when Redis is back."""
    async with identified_nodes(redis_server, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        for one in (a, b):
            await one.come(ANN)
            await one.come(BOB)
        await a.revoke("carl")
        redis_server.stop()
        await until(lambda: not a.shared.is_current)
        with pytest.raises(ControlError, match="has put out 1 client and keeps them out") as caught:
            await a.revoke("ann")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        assert caught.value.data["done"] == 1
        assert (a.users, b.users) == (["bob"], ["ann", "bob"])
        with pytest.raises(ControlError, match=r"the revocation was not lifted: .* not sent"):
            await a.call("auth.unrevoke", user="ann")
        redis_server.start()  # and it has lost all that it had
        await until(lambda: b.users == ["bob"])
        await b.wait_let_in(BOB)
        assert not await b.lets_in(ANN)
        c = await nodes.start("c")
        assert not await c.lets_in(ANN)
        fields = redis_server.command("HKEYS", nodes.key)
        assert sorted(fields) == [b"", b"key", b"u:ann", b"u:carl"]


@pytest.mark.req("IDENT-83")
@trio_test
async def test_redis_does_not_answer(redis_server: RedisServer) -> None:
    """Whether it has taken the revocation is unknown, until it goes on."""
    async with identified_nodes(redis_server, "a", "b", tokens=STATIC) as nodes:
        for name in "ab":
            await nodes[name].come(ANN)
        redis_server.freeze()
        try:
            with pytest.raises(ControlError, match="has put out 1 client and keeps them out"):
                await nodes["a"].revoke("ann")
            assert nodes["b"].users == ["ann"]
        finally:
            redis_server.thaw()
        await until(lambda: not nodes["b"].users)
        found = await nodes["b"].revoke("ann")
        assert found["nodes"] == {"a": 0, "b": 0}


@pytest.mark.req("IDENT-83")
@trio_test
async def test_redis_refuses_to_keep_more(redis_server: RedisServer) -> None:
    """This node still knows all that others revoke, and lets clients in."""
    async with identified_nodes(redis_server, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ControlError, match="OOM") as caught:
            await a.revoke("ann")
        assert caught.value.code == Code.STORE_UNAVAILABLE
        assert not await a.lets_in(ANN)
        assert await a.lets_in(BOB)
        assert await b.lets_in(ANN)
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        await b.wait_let_in(ANN, is_in=False)


@pytest.mark.req("IDENT-86")
@trio_test
async def test_a_node_that_does_not_answer_is_named(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        await nodes["a"].come(ANN)
        channel: Any = nodes["b"].nodes._channel
        channel.send = lambda to, message: True  # it is lost on its way
        found = await nodes["a"].revoke("ann")
        assert (found["done"], found["nodes"]) == (1, {"a": 1})
        assert found["missing"] == {"nodes": ["b"]}
        lifted = await nodes["a"].call("auth.unrevoke", user="ann")
        assert lifted == {"done": True, "missing": {"nodes": ["b"]}}


@pytest.mark.req("IDENT-86")
@trio_test
async def test_what_other_nodes_may_answer(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "ANSWER_S", 0.1)
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        with monkeypatch.context() as patch:
            patch.setattr(b.identity.revoking, "settle", wait_for_ever)
            found = await a.revoke("ann")
            assert "has not heard of it yet" in found["failed"]["b"]
            assert "(code" not in found["failed"]["b"]
            lifted = await a.call("auth.unrevoke", user="ann")
            assert "has not heard of it yet" in lifted["failed"]["b"]
        served = b.nodes._exchange.calls.dispatcher.methods
        del served["node.revoked"]
        found = await a.revoke("ann")
        assert "there is no method 'node.revoked'" in found["failed"]["b"]
        b.nodes.serve(OtherVersion())
        found = await a.revoke("ann")
        assert "cannot be read" in found["failed"]["b"]
        del served["node.revoked"]
        b.nodes.serve(NodeRevocations(AuthMethods(None)))  # it asks nobody who they are
        found = await a.revoke("ann")
        assert (found["nodes"], "failed" in found) == ({"a": 0, "b": 0}, False)


async def wait_for_ever(*_: object) -> None:
    await trio.sleep_forever()


class OtherVersion:
    """A node that answers something else."""

    @rpc("node.revoked")
    def revoked(self, version: int, at_s: float, user: str) -> list[int]:
        """Answer."""
        return [version]


@pytest.mark.req("IDENT-87")
@trio_test
async def test_the_bound_is_that_of_all_nodes(shared_redis: RedisServer) -> None:
    now = time.time()
    options = {"tokens": STATIC, "max_revocations": 2}
    async with identified_nodes(shared_redis, **options) as nodes:
        a = await nodes.start("a", clock=lambda: now)
        b = await nodes.start("b", clock=lambda: now)
        await a.revoke("ann", for_s=10)
        await b.revoke("bob", for_s=10_000)
        await a.revoke("ann", for_s=10)
        for one in (a, b):
            with pytest.raises(ControlError, match="max_revocations") as caught:
                await one.revoke("carl")
            assert caught.value.code == Code.OVERLOADED
        now += 11.0
        with pytest.raises(ControlError, match="max_revocations"):
            await a.revoke("carl")  # the clocks of others may be behind
        now += 3600.0
        await a.revoke("carl")
        assert sorted(shared_redis.command("HKEYS", nodes.key)) == [
            b"", b"key", b"u:bob", b"u:carl",
        ]  # fmt: skip


@pytest.mark.req("IDENT-90")
@trio_test
async def test_a_key_of_another_program_is_left_alone(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, tokens=STATIC) as nodes:
        for number, (command, *rest) in enumerate(
            (
                ("SET", "x"),
                ("HSET", "f", "x"),
                ("HSET", "", "x"),
                ("HSET", "", "e 1 0", "u:ann", "x"),
            )
        ):
            nodes.prefix = f"foreign{number}"
            shared_redis.command("DEL", nodes.key)
            shared_redis.command(command, nodes.key, *rest)
            before = shared_redis.command("DUMP", nodes.key)
            node = await nodes.start(f"n{number}", settles=False)
            await trio.sleep(0.1)
            assert "cannot be read" in node.identity.check()
            assert "hung up on: 1012" in await node.why_not(BOB)
            after = shared_redis.command("DUMP", nodes.key)
            assert number == 3 or after == before
            shared_redis.command("DEL", nodes.key)
            await node.wait_let_in(BOB)
            await nodes.end(node.name)


@pytest.mark.req("IDENT-81", "IDENT-88")
@trio_test
async def test_a_change_that_was_missed_is_noticed(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await b.come(ANN)
        with deaf(b):
            found = await a.revoke("ann")
            assert found["nodes"] == {"a": 0, "b": 1}, "it reads what it is asked about"
            assert not await b.lets_in(ANN)
            await a.call("auth.unrevoke", user="ann")
            assert await b.lets_in(ANN)
        await b.come(ANN)
        with deaf(b):
            await a.shared.add(record("ann"))
            await trio.sleep(0.05)
            assert b.users == ["ann"]
        await a.shared.add(record("carl"))  # whose version is not the next one
        await until(lambda: not b.users)


@contextmanager
def deaf(node: IdentifiedNode) -> Iterator[None]:
    """Have a node miss what is published."""
    channel = node.redis._subscriptions._channels[node.shared._hash.channel.encode()]
    (subscription,) = channel.subscriptions
    receive, subscription._receive = subscription._receive, lambda channel, payload: None
    yield
    subscription._receive = receive


@pytest.mark.req("IDENT-81", "IDENT-88")
@trio_test
async def test_what_changes_while_a_node_reads(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that it has read is older than what it is told."""
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.revoke("ann")
        await b.come(BOB)
        scan = b.shared._hash.scan

        async def read_slowly(cursor: bytes) -> Any:
            page = await scan(cursor)
            await a.shared.lift(RevokedId(is_token=False, id="ann"))
            await a.shared.add(record("bob"))
            await until(lambda: not b.users)
            return page

        monkeypatch.setattr(b.shared._hash, "scan", read_slowly)
        b.shared._miss()
        assert await b.lets_in(ANN)
        assert not await b.lets_in(BOB)
        monkeypatch.setattr(b.shared._hash, "scan", scan)
        with deaf(b):
            await a.shared.add(record("carl"))
            found = await a.revoke("dora")
        assert found["nodes"] == {"a": 0, "b": 0}


@pytest.mark.req("IDENT-81")
@trio_test
async def test_a_change_is_missed_while_a_node_reads(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it reads once more."""
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        scan, reads = b.shared._hash.scan, list[bytes]()

        async def read_slowly(cursor: bytes) -> Any:
            page = await scan(cursor)
            if not reads:
                with deaf(b):
                    await a.shared.add(record("ann"))
                    await trio.sleep(0.05)
                await a.shared.add(record("carl"))
                await trio.sleep(0.05)
            reads.append(cursor)
            return page

        monkeypatch.setattr(b.shared._hash, "scan", read_slowly)
        b.shared._miss()
        assert not await b.lets_in(ANN)
        assert len(reads) == 2


@pytest.mark.req("IDENT-81")
@trio_test
async def test_a_message_of_another_program_is_survived(
    shared_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with identified_nodes(shared_redis, "a", tokens=STATIC) as nodes:
        a = nodes["a"]
        await a.revoke("ann")
        for payload in (b"", b"\x93", b"{}", b"\x93\xa1e\x01\xa1x", b"\x93\xa1e\x09\xa3u:b"):
            shared_redis.command("PUBLISH", a.shared._hash.channel, payload)
            await trio.sleep(0.05)
            await until(lambda: a.shared.is_current)
        assert not await a.lets_in(ANN)
        assert await a.lets_in(BOB)
        assert len([one for one in caplog.messages if "others have revoked is read" in one]) == 5


@pytest.mark.req("IDENT-41", "IDENT-83")
@trio_test
async def test_what_finds_no_room_is_kept_here_alone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.im.identity.shared_revocations.MAX_SAVED", 1)
    monkeypatch.setattr("trio_socketio.im.identity.revoking.MAX_COUNTS", 1)
    options = {"tokens": STATIC, "max_revocations": 2}
    async with identified_nodes(redis_server, "a", "b", **options) as nodes:
        a, b = nodes["a"], nodes["b"]
        redis_server.stop()
        await until(lambda: not (a.shared.is_current or b.shared.is_current))
        for node, users in ((a, ("ann", "carl")), (b, ("bob", "dora"))):
            for user in users:
                with pytest.raises(ControlError, match="keeps them out"):
                    await node.revoke(user)
            with pytest.raises(ControlError, match="max_revocations"):
                await node.revoke("eve")
        redis_server.start()
        # Each of them is told again whenever a node reads what the hash has.
        alone = "is revoked on this node alone"
        await until(lambda: len({one for one in caplog.messages if alone in one}) == 2)
        await until(lambda: a.shared.is_current and b.shared.is_current)
        for node, token in ((a, ANN), (b, BOB)):
            assert not await node.lets_in(token)
        fields = redis_server.command("HKEYS", nodes.key)
        assert len(fields) == 4
        for node, token in ((a, ANN), (b, BOB)):
            node.shared._miss()
            await until(lambda: a.shared.is_current and b.shared.is_current)
            assert not await node.lets_in(token), "what the hash lacks was not lifted"


@pytest.mark.req("IDENT-89")
@trio_test
async def test_another_key_for_the_names_of_tokens_is_told(
    shared_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that did not know the key has drawn another one before those that knew it."""
    async with identified_nodes(shared_redis, "a", ask=say_ann, backend=True) as nodes:
        a = nodes["a"]
        shared_redis.command("DEL", nodes.key)
        shared_redis.command("HSET", nodes.key, "", "other 1 0", "key", "x" * 32)
        a.shared._miss()
        assert await a.lets_in("opaque")
        assert a.identity._names.key == b"x" * 32
        assert any("the key that names tokens" in one for one in caplog.messages)


def record(user: str) -> Record:
    return Record(RevokedId(is_token=False, id=user), time.time(), time.time() + 60.0)


@pytest.mark.req("IDENT-86")
@trio_test
async def test_the_answer_waits_for_slow_nodes_and_for_what_they_find(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with identified_nodes(shared_redis, "a", "b", ask=say_ann, backend=True) as nodes:
        a, b = nodes["a"], nodes["b"]
        await b.come("opaque")
        put_out = b.identity._clients.put_out_revoked

        async def take_long(revoked: Any) -> Any:
            await trio.sleep(0.3)
            return await put_out(revoked)

        monkeypatch.setattr(b.identity._clients, "put_out_revoked", take_long)
        asked = a.nodes.statistics().asked
        found = await a.revoke("ann")
        assert found["nodes"] == {"a": 0, "b": 1}
        assert a.nodes.statistics().asked == asked + 2, "again, about the token that b has found"
        await a.revoke("ann")
        assert a.nodes.statistics().asked == asked + 3


@pytest.mark.req("IDENT-85")
@trio_test
async def test_what_redis_has_lost_is_put_back(shared_redis: RedisServer) -> None:
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.revoke("ann")
        old = shared_redis.command("DUMP", nodes.key)
        await b.revoke("bob")
        for lose in (("DEL", nodes.key), ("RESTORE", nodes.key, 0, old, "REPLACE")):
            shared_redis.command(*lose)
            for one in (a, b):
                one.shared._hurry.set()
            await until(lambda: has_both(shared_redis, nodes.key))
            found = await a.revoke("carl")
            assert found["nodes"] == {"a": 0, "b": 0}
            for name in "ab":
                assert not await nodes[name].lets_in(ANN)
                assert not await nodes[name].lets_in(BOB)


@pytest.mark.req("IDENT-85", "IDENT-91")
@trio_test
async def test_what_redis_has_lost_is_not_taken_for_lifted(shared_redis: RedisServer) -> None:
    """The version does not tell, if another change was made instead of the one that was lost."""
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.revoke("bob")
        old = shared_redis.command("DUMP", nodes.key)
        await a.revoke("ann")
        version = a.shared.version
        shared_redis.command("RESTORE", nodes.key, 0, old, "REPLACE")
        added = await b.shared.add(record("carl"))
        assert added is not None
        assert added.version == version
        await until(lambda: has_both(shared_redis, nodes.key))
        for node in (a, b):
            await until(partial(_is_current, node))
            assert not await node.lets_in(ANN)
        assert not await (await nodes.start("c")).lets_in(ANN)


@pytest.mark.req("IDENT-92")
@trio_test
async def test_a_lift_that_arrives_late_lifts_nothing_else(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await a.revoke("ann")
        late = LateScript()
        with monkeypatch.context() as patch:
            lift = b.shared._hash._lift
            patch.setattr(b.shared._hash, "_lift", late)
            with pytest.raises(ControlError, match="unknown whether the revocation was lifted"):
                await b.call("auth.unrevoke", user="ann")
        await a.revoke("ann")
        await lift.run(*late.given)
        assert shared_redis.command("HGET", nodes.key, "").split()[2] == b"1"
        for node in (a, b):
            await node.shared.wait_version(3)
            assert not await node.lets_in(ANN)
        assert await b.call("auth.unrevoke", user="ann") == {"done": True}
        await lift.run(*late.given)
        for node in (a, b):
            assert await node.lets_in(ANN)


class LateScript:
    """A script that reaches Redis after its caller has given up."""

    given: tuple[Any, Any]

    async def run(self, keys: Any = (), arguments: Any = ()) -> Any:
        self.given = keys, arguments
        await trio.lowlevel.checkpoint()
        raise TimeoutError


@pytest.mark.req("IDENT-88", "IDENT-91")
@trio_test
async def test_what_was_lifted_stays_lifted(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that knows an old revocation changes nothing; one that is made anew counts."""
    async with identified_nodes(shared_redis, tokens=STATIC) as nodes:
        a = await nodes.start("a", clock=lambda: time.time() + 3.0)
        b = await nodes.start("b")
        await a.revoke("ann", for_s=1000.0)
        old = b.identity.revoking.find(RevokedId(is_token=False, id="ann"))
        assert old is not None
        assert await b.call("auth.unrevoke", user="ann") == {"done": True}
        b.identity.revoking.learn([old])
        b.shared.save(old)
        await b.shared.wait_saved(old.what)
        for node in (a, b):
            assert await node.lets_in(ANN)
        with monkeypatch.context() as patch:  # as if it was lifted between two steps of the call
            patch.setattr(b.shared._hash, "revoke", b.shared._hash.add)
            assert (await b.revoke("ann"))["done"] == 0
            assert await a.lets_in(ANN)
        await b.revoke("ann", for_s=10.0)
        for node in (a, b):
            assert not await node.lets_in(ANN), "whose clock is behind"
        b.shared._hash._clock = lambda: time.time() + 4000.0
        await b.shared._hash.sweep(whole=True)
        assert shared_redis.command("HEXISTS", nodes.key, "u:ann"), "as long as the old one"
        b.shared._hash._clock = lambda: time.time() + 5000.0
        await b.shared._hash.sweep(whole=True)
        assert not shared_redis.command("HEXISTS", nodes.key, "u:ann")


@pytest.mark.req("IDENT-86")
@trio_test
async def test_two_revocations_at_once_are_counted(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was first is told how many clients were put out, though both were put out at once."""
    async with identified_nodes(shared_redis, "a", "b", tokens=STATIC) as nodes:
        a, b = nodes["a"], nodes["b"]
        await b.come(ANN)
        put_out = b.identity._clients.put_out_revoked
        goes_on, found = trio.Event(), dict[float, Any]()

        async def wait_before(revoked: Any) -> Any:
            await goes_on.wait()
            return await put_out(revoked)

        async def revoke(node: IdentifiedNode) -> None:
            answer = await node.revoke("ann")
            found[answer["until_s"]] = answer

        monkeypatch.setattr(b.identity._clients, "put_out_revoked", wait_before)
        await a.revoke("carl")  # which is being dealt with when the others come
        async with trio.open_nursery() as nursery:
            before = a.shared.version
            for number in (1, 2):
                nursery.start_soon(revoke, a)
                await until(partial(_has_version, b, before + number))
            goes_on.set()
        assert [found[until_s]["done"] for until_s in sorted(found)] == [1, 0]


def _is_current(node: IdentifiedNode) -> bool:
    return node.shared.is_current


def _has_version(node: IdentifiedNode, version: int) -> bool:
    return node.shared.version == version


def has_both(redis: RedisServer, key: str) -> bool:
    return not {b"u:ann", b"u:bob"} - set(redis.command("HKEYS", key))


@pytest.mark.req("IDENT-88")
@trio_test
async def test_the_later_of_two_calls_counts(shared_redis: RedisServer) -> None:
    """However they are mixed, all nodes agree in the end, with what Redis has."""
    async with identified_nodes(shared_redis, "a", "b", "c", tokens=STATIC) as nodes:

        async def change(name: str, number: int) -> None:
            method = "auth.revoke" if number % 2 else "auth.unrevoke"
            await nodes[name].call(method, user="ann")

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(change, "abc"[number % 3], number)
            kept = bool(shared_redis.command("HEXISTS", nodes.key, "u:ann"))
            for name in "abc":
                assert await nodes[name].lets_in(ANN) is not kept
