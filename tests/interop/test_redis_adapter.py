"""Servers of ours and of Node on one Redis behave as one, whichever of them is asked.

The servers of Node have @socket.io/redis-adapter 8 and 7 on ioredis, where an exception of the
adapter ends the process: what ours send never causes one.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from tests.codec.test_redis_adapter import VECTORS, wire_bytes
from tests.interop.redis_cluster import (
    NAMESPACES,
    Chosen,
    Cluster,
    FullMember,
    Incomplete,
    Member,
    NodeProcess,
    OurServer,
    open_cluster,
)
from tests.redis_server import RedisServer
from trio.testing import trio_test


@pytest.mark.req("BUS-01", "BUS-04", "BUS-05")
@trio_test
async def test_broadcasts_reach_all_servers(shared_redis: RedisServer) -> None:
    async with open_cluster(shared_redis, "broadcasts") as cluster:
        for namespace in NAMESPACES:
            ids = [visitor.id for visitor in cluster.visitors[namespace]]
            await cluster.servers[0].join(Chosen(namespace, rooms=[ids[0], ids[2]]), "even é#")
            await cluster.settle(cluster.servers[0], namespace)
            for sender in (*cluster.servers, cluster.emitter):
                await check_broadcasts(cluster, sender, namespace, ids)
        for number, sender in enumerate(cluster.servers):
            await sender.emit(Chosen(local=True), "news", "local")
            got = await cluster.settle(sender)
            assert got == [[["news", "local"]] if at == number else [] for at in range(4)]


async def check_broadcasts(
    cluster: Cluster, sender: Member, namespace: str, ids: list[str]
) -> None:
    arguments = [sender.name, {"é": [1.5, -3, 2**40, None, True]}, b"\0\xff", [b""]]
    await sender.emit(Chosen(namespace), "news", *arguments)
    await sender.emit(Chosen(namespace, rooms=["even é#"]), "news", 1)
    await sender.emit(Chosen(namespace, rooms=["even é#", ids[1]], except_=[ids[2]]), "news", 2)
    await sender.emit(Chosen(namespace, except_=["even é#"], compress=False), "news", 3)
    await sender.emit(Chosen(namespace, rooms=["nobody"]), "news", 4)
    got = await cluster.settle(sender, namespace)
    assert [event.pop(0) for events in got for event in events] == ["news"] * sum(map(len, got))
    assert got == [[arguments, *rest] for rest in ([[1], [2]], [[2], [3]], [[1]], [[3]])]
    # By itself, because Node drops a volatile event while it writes another one.
    await sender.emit(Chosen(namespace, rooms=[ids[3]], volatile=True), "news")
    assert await cluster.settle(sender, namespace) == [[], [], [], [["news"]]]


@pytest.mark.req("BUS-16", "BUS-18", "BUS-19")
@trio_test
async def test_clients_of_all_servers_answer(shared_redis: RedisServer) -> None:
    async with open_cluster(shared_redis, "acks") as cluster:
        for namespace in NAMESPACES:
            ids = [visitor.id for visitor in cluster.visitors[namespace]]
            for asker in cluster.servers:
                chosen = Chosen(namespace)
                answers = await asker.ask(chosen, 5.0, "question", b"\1", {"a": 1})
                assert sorted(answers) == [
                    [server.name, b"\1", {"a": 1}]
                    for server in sorted(cluster.servers, key=lambda server: server.name)
                ]
                one = Chosen(namespace, rooms=[ids[3]])
                assert await asker.ask(one, 5.0, "question") == [["node 2"]]
                assert await asker.ask(Chosen(namespace, rooms=["nobody"]), 5.0, "question") == []
                with pytest.raises(Incomplete) as raised:
                    await asker.ask(chosen, 0.1, "nobody answers this")
                assert raised.value.responses == []
        ours = cluster.servers[0]
        assert isinstance(ours, OurServer)
        ids = [visitor.id for visitor in cluster.visitors["/"]]
        acks = await ours.server.gather_acks("question")
        assert {ack.answer[0]: ack.socket_id for ack in acks} == {
            "python 1": ids[0],
            "python 2": ids[1],
            "node 1": None,
            "node 2": None,
        }


@pytest.mark.req("BUS-09", "BUS-15", "BUS-16", "BUS-17")
@trio_test
async def test_sockets_of_all_servers_are_described_moved_and_put_out(
    shared_redis: RedisServer,
) -> None:
    async with open_cluster(shared_redis, "sockets") as cluster:
        for namespace in NAMESPACES:
            ids = [visitor.id for visitor in cluster.visitors[namespace]]
            for sender in (*cluster.servers, cluster.emitter):
                await sender.join(Chosen(namespace, except_=[ids[0]]), "x", sender.name)
                await sender.leave(Chosen(namespace, rooms=[ids[1]]), "x")
                await cluster.settle(sender, namespace)
                for asker in cluster.servers:
                    found = await fetch_these(asker, Chosen(namespace, rooms=["x"]), ids[2:])
                    assert sender.name in found[ids[3]]["rooms"]
                await sender.leave(Chosen(namespace), "x")
                await cluster.settle(sender, namespace)
            for asker in cluster.servers:
                found = await asker.fetch(Chosen(namespace))
                assert sorted(found) == sorted(ids)
                assert [found[one]["data"]["from"] for one in ids] == ["python"] * 2 + ["node"] * 2
                for one in found.values():
                    assert one["handshake"]["address"].endswith("127.0.0.1")
                    assert one["handshake"]["query"]["transport"] == "websocket"
                assert await asker.rooms(namespace) >= {*ids, "node 1", "python 1", "emitter"}
        first = cluster.servers[0]
        assert isinstance(first, OurServer)
        lender = cluster.visitors["/"][0].id
        first.server.of("/").sockets[lender].data["lock"] = object()  # is not JSON
        for asker in cluster.servers[1:]:
            assert (await asker.fetch(Chosen()))[lender]["data"] == {}
        await check_requests_before_8(cluster)
        # Each is put out by the one before, so every kind puts out every kind.
        for leaver, sender in zip(cluster.visitors["/chat"][1:], cluster.servers, strict=False):
            await sender.disconnect(Chosen("/chat", rooms=[leaver.id]))
            await wait_until(lambda leaver=leaver: not leaver.space.connected)
        await cluster.emitter.disconnect(Chosen(), close=True)
        await wait_until(lambda: not any(one.space.connected for one in cluster.visitors["/"]))


async def check_requests_before_8(cluster: Cluster) -> None:
    """A server of Node with an old version of the adapter asks for single sockets of ours."""
    ours, old = cluster.servers[0], cluster.servers[3]
    assert isinstance(ours, OurServer)
    assert isinstance(old, NodeProcess)
    visitor = cluster.visitors["/chat"][0]
    socket = ours.server.of("/chat").sockets[visitor.id]
    await old.call_adapter("/chat", "remoteJoin", visitor.id, "y")
    assert "y" in socket.rooms
    await old.call_adapter("/chat", "remoteLeave", visitor.id, "y")
    assert "y" not in socket.rooms
    await old.call_adapter("/chat", "remoteDisconnect", visitor.id)
    assert not socket.connected


@pytest.mark.req("BUS-08", "BUS-26")
@trio_test
async def test_servers_hear_and_answer_one_another(shared_redis: RedisServer) -> None:
    async with open_cluster(shared_redis, "servers") as cluster:
        buffer = {"type": "Buffer", "data": [1]}
        for namespace in NAMESPACES:
            for sender in cluster.servers:
                others = [one for one in cluster.servers if one is not sender]
                answers = await sender.ask_servers(namespace, "hello", 1, b"\1")
                kinds = sorted(one.name.split()[0] for one in others)
                assert sorted(one["from"] for one in answers) == kinds
                assert [plain(one["values"]) for one in answers] == [[1, buffer]] * 3
                await sender.tell(namespace, "hello", {"from": sender.name})
                await sender.ask_servers(namespace, "hello", "last")
                for one in others:
                    assert [plain(heard) for heard in await one.heard()] == [
                        [namespace, 1, buffer],
                        [namespace, {"from": sender.name}],
                        [namespace, "last"],
                    ]
            await cluster.emitter.tell(namespace, "hello", "from outside")
            await cluster.settle(cluster.emitter, namespace)
            for one in cluster.servers:
                assert await one.heard() == [[namespace, "from outside"]]


@pytest.mark.req("BUS-10", "BUS-12")
@trio_test
async def test_whatever_is_published_ours_go_on(shared_redis: RedisServer) -> None:
    """No server of Node is there, because most of this would end it."""
    names = {"broadcasts": "hostile#/#", "requests": "hostile-request#/#"}
    names["responses"] = "hostile-response#/#"
    async with open_cluster(shared_redis, "hostile", with_node=False) as cluster:
        count = 0
        for kind, channel in names.items():
            for entry in VECTORS[kind]["invalid"]:
                await trio.to_thread.run_sync(
                    shared_redis.command, "PUBLISH", channel, wire_bytes(entry)
                )
                count += kind != "responses"
        sender = cluster.servers[0]
        await sender.emit(Chosen(), "news", "fine")
        assert await cluster.settle(sender) == [[["news", "fine"]]] * 2
        for server in cluster.servers:
            assert isinstance(server, OurServer)
            counts = server.pubsub.statistics()
            assert counts.malformed + counts.pickled + counts.unknown == count


def plain(value: Any) -> Any:
    """What a server of Node heard: a Buffer in JSON, which the driver has taken for binary."""
    return json.loads(json.dumps(value, default=buffer_of))


def buffer_of(data: bytes) -> dict[str, Any]:
    return {"type": "Buffer", "data": list(data)}


async def fetch_these(
    asker: FullMember, chosen: Chosen, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Fetch sockets until they are these: a server of Node moves its own when Redis says so."""
    with trio.fail_after(5):
        while set(found := await asker.fetch(chosen)) != set(ids):
            await trio.sleep(0.005)
    return found


async def wait_until(is_so: Any) -> None:
    with trio.fail_after(5):
        while not is_so():
            await trio.sleep(0.002)
