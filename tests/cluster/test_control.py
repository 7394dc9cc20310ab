"""The control methods work from any node, for the clients of all nodes."""

import json
from functools import partial
from typing import Any

import pytest
import trio
from tests.cluster.cluster import Cluster, Node, Operator, open_cluster
from tests.cluster.fake_bus import BusAdapter
from tests.socketio.in_process import answer, enter, session_of
from trio.testing import MockClock, trio_test

from trio_socketio import Socket
from trio_socketio.cluster.workers.role import Family
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import emitting, legacy_views, node_methods
from trio_socketio.control.methods import rpc
from trio_socketio.control.spreading import NODES_S
from trio_socketio.errors import ControlError
from trio_socketio.protocol.user_ids import user_room
from trio_socketio.socketio.revisions import REVISION_4

put_out: list[Socket] = []
"""The clients that were disconnected."""


def add(node: Node, *rooms: str, user: str | None = None, namespace: str = "/") -> Socket:
    """A client of a node, in rooms."""
    socket = enter(node.server.of(namespace))
    session: Any = session_of(socket)
    participant: Any = socket._participant
    participant.put_out = lambda socket, reason: put_out.append(socket)
    session.transport, session.protocol, session.waiting_bytes = "websocket", 4, 0
    if user is not None:
        socket._user = user
        node.server.of(namespace).rooms.add(socket, user_room(user))
    socket.join(rooms)
    return socket


def events(socket: Socket) -> list[Any]:
    """What a client was sent."""
    texts = [one.text.decode() for one in session_of(socket).sent]
    return [json.loads(text[text.index("[") :]) for text in texts if "[" in text]


async def settle() -> None:
    """Let all messages arrive."""
    await trio.sleep(0.1)


@pytest.mark.req("NODE-40")
@trio_test
async def test_an_emit_is_told_how_many_each_node_has_reached(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, there, other = add(a, "r"), add(b, "r"), add(b)
        bob = add(b, user="bob")
        found = await a.call("emit", event="e", args=[1.0, {"$bytes": "AAE="}], rooms=["r", "s"])
        assert found == {
            "nodes": {"a": 1, "b": 1, "c": 0},
            "reached": 2,
            "missing": {"rooms": ["s"]},
        }
        await settle()
        assert [one[0] for one in events(here)] == [one[0] for one in events(there)] == ["e"]
        assert events(other) == events(bob) == []
        found = await cluster.nodes["c"].call(
            "emit", event="f", sockets=[here.public_id, "x" * 20], users=["bob", "eve"]
        )
        assert found["nodes"] == {"a": 1, "b": 1, "c": 0}
        assert found["missing"] == {"sockets": ["x" * 20], "users": ["eve"]}
        found = await a.call(
            "emit", event="g", all=True, except_=["r", other.public_id], except_users=["bob"]
        )
        assert found == {"nodes": {"a": 0, "b": 0, "c": 0}, "reached": 0, "missing": {}}
        await settle()
        assert events(other) == []
        assert events(bob) == [["f"]]


@pytest.mark.req("CONTROL-07")
@trio_test
async def test_a_secret_id_selects_nobody(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        old = add(a)
        old.public_id = "p" * 20  # as that of a client of 2.x, whose id is its session's secret
        a.server.of("/").rooms._aliases[old.public_id] = old
        await a.call("emit", event="e", sockets=[old.id], rooms=[old.id, "r"])
        assert events(old) == []
        await a.call("emit", event="f", all=True, except_=[old.id])
        found = await a.call("emit", event="g", sockets=[old.public_id])
        assert found["reached"] == 1
        assert events(old) == [["f"], ["g"]]
        sent = [payload for channel, payload in cluster.bus.log if channel.startswith("bus#")]
        assert len(sent) == 3
        assert old.id.encode() not in b"".join(sent)
        await a.call("emit", event="h", sockets=[old.id])  # which is not sent to all instead
        assert len(events(old)) == 2


@pytest.mark.req("NODE-40")
@pytest.mark.req("CONTROL-07")
@trio_test
async def test_sockets_are_named_by_their_public_ids_alone(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, there = add(a, "r"), add(b, "r")
        old = enter(a.server.of("/"), revision=REVISION_4)
        for names in (["r"], [old.id], ["r", old.id]):  # a room, and the secret of a session
            found = await a.call("emit", event="e", sockets=names)
            assert found == {
                "nodes": {"a": 0, "b": 0},
                "reached": 0,
                "missing": {"sockets": names},
            }
        found = await a.call("emit", event="f", sockets=[old.public_id, there.public_id])
        assert found["nodes"] == {"a": 1, "b": 1}
        await settle()
        assert events(here) == []
        assert events(there) == events(old) == [["f"]]


@pytest.mark.req("NODE-41")
@trio_test
async def test_nodes_of_other_programs_are_counted_as_unknown(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        cluster.bus.foreign = 2
        found = await cluster.nodes["a"].call("emit", event="e", all=True)
        assert found == {"nodes": {"a": 0, "b": 0}, "reached": 0, "missing": {}, "unknown": 2}
        cluster.nodes["a"].redis.cut()
        found = await cluster.nodes["a"].call("emit", event="e", all=True)
        assert found == {
            "nodes": {"a": 0},
            "reached": 0,
            "missing": {"nodes": ["b"]},
        }


@pytest.mark.req("NODE-54")
@trio_test
async def test_a_call_that_does_not_go_out_reaches_nobody_else(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, there = add(a, "r"), add(b, "r")
        cluster.bus.foreign = 1
        adapter = a.server.of("/").adapter
        assert isinstance(adapter, BusAdapter)
        adapter.has_no_room = True  # for the event; the question about it is small
        found = await a.call("emit", event="e", rooms=["r"])
        assert found == {"nodes": {"a": 1}, "reached": 1, "missing": {"nodes": ["b"]}}
        found = await a.call("emit_with_ack", event="q", rooms=["r"], timeout_s=0.1)
        assert found == {
            "nodes": {"a": 1},
            "asked": 1,
            "answers": [],
            "unanswered": [here.public_id],
            "missing": {"nodes": ["b"]},
        }
        await settle()
        assert events(there) == []
        adapter.has_no_room = False
        found = await a.call("emit", event="e", rooms=["r"])
        assert (found["reached"], found["unknown"]) == (2, 1)


@pytest.mark.req("NODE-53")
@trio_test
async def test_a_node_that_hangs_is_not_one_of_another_program(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        for subscription in cluster.nodes["b"].redis.subscriptions:
            subscription.receive = lambda *_: None
        found = await cluster.nodes["a"].call("emit", event="e", all=True)
        assert found == {
            "nodes": {"a": 0},
            "reached": 0,
            "missing": {"nodes": ["b"]},
            "unknown": None,
        }


@pytest.mark.req("NODE-52")
@trio_test
async def test_a_namespace_may_end_while_others_are_asked(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        a.server.of("/x")
        there = add(b, namespace="/x")

        async def end() -> None:
            await a.server.remove("/x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            found = await a.call("emit", event="e", namespace="/x", all=True)
        assert found["nodes"] == {"a": 0, "b": 1}
        await settle()
        assert events(there) == [["e"]]


@pytest.mark.req("NODE-51")
@trio_test
async def test_a_node_alone_does_not_answer_for_all(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, there = add(a, "r"), add(b, "r")
        a.redis.cut()
        for method, params in (
            ("rooms.join", {"rooms": ["w"], "sockets": [here.public_id, there.public_id]}),
            ("rooms.members", {"room": "r"}),
            ("sockets.list", {}),
            ("sockets.get", {"socket": there.public_id}),
            ("sockets.disconnect", {"sockets": [here.public_id]}),
        ):
            for _ in range(2):  # at once, and when the other node has long been silent
                with pytest.raises(ControlError, match="other nodes cannot be asked"):
                    await a.call(method, **params)
                await trio.sleep(5)
        assert here.connected
        assert not here.rooms & {"w"}


@pytest.mark.req("NODE-31")
@pytest.mark.req("NODE-40")
@trio_test
async def test_a_dead_node_is_missing_within_its_deadline(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        cluster.nodes["b"].kill()
        began = trio.current_time()
        found = await cluster.nodes["a"].call("emit", event="e", rooms=["r"])
        assert trio.current_time() - began <= 2.01
        assert found == {
            "nodes": {"a": 0, "c": 0},
            "reached": 0,
            "missing": {"nodes": ["b"], "rooms": ["r"]},
        }


@pytest.mark.req("NODE-42")
@trio_test
async def test_emits_of_one_peer_arrive_once_and_in_order(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        socket = add(b)
        for number in range(20):
            if number % 2:
                await a.call("emit", event="e", args=[number], all=True)
            else:
                a.server.emit("e", number)
        await settle()
        assert events(socket) == [["e", number] for number in range(20)]


@pytest.mark.req("NODE-43")
@trio_test
async def test_an_emit_into_a_namespace_of_another_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        b, c = cluster.nodes["b"], cluster.nodes["c"]
        there = [add(b, namespace="/x"), add(c, namespace="/x"), add(c, namespace="/x")]
        found = await cluster.nodes["a"].call("emit", event="e", namespace="/x", all=True)
        assert found == {
            "nodes": {"b": 1, "c": 2},
            "reached": 3,
            "missing": {},
            "unknown": None,
        }
        await settle()
        assert [events(one) for one in there] == [[["e"]]] * 3
        with pytest.raises(ControlError) as caught:
            await cluster.nodes["a"].call("emit", event="e", namespace="/y", all=True)
        assert caught.value.code == Code.NOT_FOUND
        cluster.nodes["c"].freeze()
        with pytest.raises(ControlError, match="1 have not: c") as caught:
            await cluster.nodes["a"].call("emit", event="e", namespace="/y", all=True)
        assert caught.value.code == Code.UNAVAILABLE
        assert caught.value.data["missing"] == {"nodes": ["c"]}


@pytest.mark.req("NODE-44")
@trio_test
async def test_answers_come_from_the_clients_of_all_nodes(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        mine, ann, mute = add(a, "r"), add(b, "r", user="ann"), add(b, "r")

        async def reply() -> None:
            await settle()
            answer(mine, 1)
            answer(ann, {"two": 2})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply)
            found = await a.call("emit_with_ack", event="q", rooms=["r"], timeout_s=1)
        assert found == {
            "nodes": {"a": 1, "b": 2, "c": 0},
            "asked": 3,
            "answers": [
                {"socket": mine.public_id, "answer": 1},
                {"socket": ann.public_id, "user": "ann", "answer": {"two": 2}},
            ],
            "unanswered": [mute.public_id],
            "missing": {},
        }


@trio_test
async def test_answers_that_do_not_fit_are_named(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        sockets = [add(b) for _ in range(30)]
        monkeypatch.setattr(emitting, "_ENVELOPE_BYTES", (1 << 20) - 2000)

        async def reply() -> None:
            await settle()
            for one in sockets:
                answer(one, "x" * 20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply)
            found = await a.call("emit_with_ack", event="q", all=True, timeout_s=1)
        assert found["asked"] == 30
        named = [*(one["socket"] for one in found["answers"]), *found["too_large"]]
        assert sorted(named) == sorted(one.public_id for one in sockets)
        assert found["answers"]
        assert len(json.dumps(found, separators=(",", ":"))) <= 2000


@trio_test
async def test_a_question_into_a_namespace_of_another_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        there = [add(cluster.nodes[name], namespace="/x") for name in "bcbc"]

        async def reply() -> None:
            await settle()
            for one in there[:2]:
                answer(one, "yes")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reply)
            found = await cluster.nodes["a"].call(
                "emit_with_ack", event="q", namespace="/x", all=True, timeout_s=1
            )
        assert found["asked"] == 4
        assert [one["answer"] for one in found["answers"]] == ["yes", "yes"]
        assert sorted(found["unanswered"]) == sorted(one.public_id for one in there[2:])
        assert found["nodes"] == {"b": 2, "c": 2}


@pytest.mark.req("NODE-55")
@trio_test
async def test_namespaces_of_all_nodes(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        for name in "abb":
            add(cluster.nodes[name], "r", namespace="/x")
        add(cluster.nodes["a"], namespace="/y")
        for name in "abc":
            found = await cluster.nodes[name].call("namespaces.list")
            assert [
                (one["namespace"], one["sockets"], one["rooms"]) for one in found["namespaces"]
            ] == [("/", 0, 0), ("/x", 3, 2), ("/y", 1, 0)]
            assert (found["total"], found["next"]) == (3, None)
            assert found["nodes"] == {"a": 3, "b": 2, "c": 1}
        found = await cluster.nodes["c"].call("namespaces.list", limit=1)
        assert ([one["namespace"] for one in found["namespaces"]], found["next"]) == (["/"], "/")
        assert found["total"] == 3
        found = await cluster.nodes["c"].call("namespaces.list", limit=2, after="/")
        assert [one["namespace"] for one in found["namespaces"]] == ["/x", "/y"]
        assert (found["total"], found["next"]) == (3, None)
        add(cluster.nodes["b"], namespace="/z")
        totals = [
            (await cluster.nodes["c"].call("namespaces.list", limit=limit))["total"]
            for limit in (4, 2)
        ]
        assert totals == [4, 3]  # no node has more than three of the four


@pytest.mark.req("LEG-11")
@trio_test
async def test_routes_that_show_namespaces_wait_for_no_other_node(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        add(a, "r", namespace="/both")
        add(b, "r", namespace="/both")
        add(b, "s", namespace="/theirs")
        operator: Any = Operator()
        calls = legacy_views.Calls(a.service._dispatcher, operator)
        rooms = (await legacy_views.list_rooms(calls, None, None)).data["rooms"]
        assert [(one["nspName"], one["roomId"], one["socketsCnt"]) for one in rooms] == [
            ("/both", "r", 2),
            ("/theirs", "s", 1),
        ]
        b.freeze()
        began = trio.current_time()
        shown = (await legacy_views.list_namespaces(calls, None)).data
        assert [one["name"] for one in shown] == ["both"]
        assert await legacy_views.show_namespace(calls, "both") == shown
        assert trio.current_time() - began < 0.1
        for view in (legacy_views.show_statics, partial(legacy_views.list_rooms, namespace=None)):
            with pytest.raises(ControlError, match="no answer of the nodes b") as caught:
                await view(calls, after=None)
            assert caught.value.code == Code.PARTIAL
        assert trio.current_time() - began > NODES_S - 0.1  # for the numbers, all are asked


@pytest.mark.req("NODE-45")
@trio_test
async def test_rooms_of_any_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, there, ann = add(a), add(b), add(b, user="ann")
        both = [here.public_id, there.public_id]
        found = await cluster.nodes["c"].call(
            "rooms.join", rooms=["r"], sockets=[*both, "x" * 20], users=["ann", "eve"]
        )
        assert found == {
            "nodes": {"a": 1, "b": 2, "c": 0},
            "done": 3,
            "missing": {"sockets": ["x" * 20], "users": ["eve"]},
        }
        here.join("only-a")
        assert await b.call("rooms.list", limit=2) == {
            "total": 4,
            "next": "r",
            "nodes": {"a": 2, "b": 2, "c": 0},
            "rooms": [{"room": "only-a", "members": 1}, {"room": "r", "members": 3}],
        }
        found = await b.call("rooms.list", limit=2, after="r")
        assert found["rooms"] == [{"room": "user:ann", "members": 1}]
        assert found["next"] is None
        ids = sorted([*both, ann.public_id])
        found = await a.call("rooms.members", room="r", limit=2)
        assert (found["members"], found["next"], found["total"]) == (ids[:2], ids[1], 3)
        found = await a.call("rooms.members", room="r", after=ids[1])
        assert (found["members"], found["next"]) == (ids[2:], None)
        found = await a.call("rooms.leave", rooms=["r", "s"], sockets=[there.public_id])
        assert (found["done"], found["missing"]) == (1, {"rooms": ["s"]})
        assert there.rooms == {there.id}
        found = await b.call("rooms.clear", rooms=["r"])
        assert (found["done"], found["nodes"]) == (2, {"a": 1, "b": 1, "c": 0})
        with pytest.raises(ControlError, match="no room 'r'") as caught:
            await a.call("rooms.members", room="r")
        assert caught.value.code == Code.NOT_FOUND


@pytest.mark.req("NODE-45")
@trio_test
async def test_sockets_of_any_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        sockets = [add(node) for node in (a, b, b, a)]
        nodes = {one.public_id: "abba"[number] for number, one in enumerate(sockets)}
        found = await a.call("sockets.get", socket=sockets[1].public_id)
        assert (found["id"], found["node"]) == (sockets[1].public_id, "b")
        found = await a.call("sockets.get", socket=sockets[0].public_id)
        assert found["node"] == "a"
        pages = [await a.call("sockets.list", limit=3)]
        assert pages[0]["total"] == 4
        pages.append(await b.call("sockets.list", limit=3, after=pages[0]["next"]))
        assert pages[1]["next"] is None
        shown = [(one["id"], one["node"]) for page in pages for one in page["sockets"]]
        assert shown == sorted(nodes.items())
        ids = [sockets[0].public_id, sockets[1].public_id, "x" * 20]
        found = await b.call("sockets.disconnect", sockets=ids)
        assert found == {
            "nodes": {"a": 1, "b": 1},
            "done": 2,
            "missing": {"sockets": ["x" * 20]},
        }
        assert set(put_out[-2:]) == set(sockets[:2])
        with pytest.raises(ControlError, match="no socket"):
            await a.call("sockets.get", socket="x" * 20)


@pytest.mark.req("NODE-45")
@trio_test
async def test_pages_of_another_node_are_walked_to_the_end(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        ids = sorted(add(cluster.nodes["b"], namespace="/x").public_id for _ in range(3))
        shown: list[str] = []
        after = None
        while True:
            page = await cluster.nodes["a"].call(
                "sockets.list", namespace="/x", limit=2, after=after
            )
            assert (page["total"], page["nodes"]) == (3, {"b": 3})
            assert "failed" not in page
            shown += [one["id"] for one in page["sockets"]]
            after = page["next"]
            if after is None:
                break
        assert shown == ids


@pytest.mark.req("NODE-46")
@trio_test
async def test_one_client_is_found_without_waiting_for_dead_nodes(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        socket = add(cluster.nodes["b"])
        cluster.nodes["c"].kill()
        began = trio.current_time()
        await cluster.nodes["a"].call("sockets.get", socket=socket.public_id)
        assert trio.current_time() - began < 0.1
        with pytest.raises(ControlError, match="1 have not: c") as caught:
            await cluster.nodes["a"].call("sockets.get", socket="x" * 20)
        assert caught.value.code == Code.UNAVAILABLE


@pytest.mark.req("NODE-45")
@trio_test
async def test_users_of_any_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        for node in (a, b):
            add(node, user="ann")
        bob = add(b, user="bob")
        found = await a.call("users.get", users=["eve", "bob", "ann"])
        assert [one["user"] for one in found["users"]] == ["bob", "ann"]
        assert [one["node"] for one in found["users"][1]["sockets"]] == ["a", "b"]
        assert found["missing"] == {"users": ["eve"]}
        found = await b.call("users.list")
        assert [(one["user"], len(one["sockets"])) for one in found["users"]] == [
            ("ann", 2),
            ("bob", 1),
        ]
        found = await a.call("users.kick", users=["bob", "eve"])
        assert found == {"nodes": {"a": 0, "b": 1}, "done": 1, "missing": {"users": ["eve"]}}
        assert events(bob) == [["session/replaced", {"reason": "kicked"}]]
        assert put_out[-1] is bob


@pytest.mark.req("NODE-47")
@trio_test
async def test_a_node_that_refuses_is_named(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        here, full = add(a), add(b)
        limit = b.server.options.max_rooms_per_socket
        full.join([f"r{number}" for number in range(limit)])
        both = [here.public_id, full.public_id]
        found = await a.call("rooms.join", rooms=["s"], sockets=both)
        assert (found["done"], found["nodes"]) == (1, {"a": 1})
        assert found["failed"]["b"].endswith("max_rooms_per_socket: nothing was done")
        with pytest.raises(ControlError, match="max_rooms_per_socket"):  # and a is not asked
            await b.call("rooms.join", rooms=["t"], sockets=both)
        await settle()
        assert "t" not in here.rooms


@trio_test
async def test_a_call_that_is_wrong_is_sent_to_nobody(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        sent = len(cluster.bus.log)
        for method, params in (
            ("emit", {"event": "connect", "all": True}),
            ("emit", {"event": "e"}),
            ("rooms.clear", {}),
            ("users.kick", {"users": [""]}),
            ("sockets.list", {"after": "?"}),
        ):
            with pytest.raises(ControlError) as caught:
                await cluster.nodes["a"].call(method, **params)
            assert caught.value.code == Code.INVALID_PARAMS
        assert len(cluster.bus.log) == sent


@trio_test
async def test_an_adapter_in_memory_reaches_nobody_else(autojump_clock: MockClock) -> None:
    async with open_cluster("b") as cluster:
        a = await cluster.start("a", in_memory=True)
        add(a)
        add(cluster.nodes["b"])
        await settle()
        found = await a.call("emit", event="e", all=True)
        assert found == {"nodes": {"a": 1}, "reached": 1, "missing": {"nodes": ["b"]}}


@pytest.mark.req("NODE-47")
@trio_test
async def test_a_node_of_another_version_is_named(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        b = cluster.nodes["b"].nodes
        for method in ("sockets.list", "emit"):
            del b._exchange.calls.dispatcher.methods[method]
        b.serve(OtherVersion())
        del b._exchange.calls.dispatcher.methods["rooms.list"]
        a = cluster.nodes["a"]
        found = await a.call("sockets.list")
        assert "cannot be read" in found["failed"]["b"]
        assert (found["total"], found["nodes"]) == (0, {"a": 0})
        found = await a.call("rooms.list")
        assert "no method" in found["failed"]["b"]


class OtherVersion:
    @rpc("sockets.list")
    def sockets(self) -> int:
        """Answer something else."""
        return 7

    @rpc("emit")
    def emit(self, namespace: str, event: str, all_: bool) -> int:
        """Refuse, or answer something else.

        Args:
            namespace: the namespace.
            event: decides.
            all_: is true.
        """
        if event == "refuse":
            raise ControlError(Code.DRAINING, "too late")
        return 7


@trio_test
async def test_a_node_that_refuses_to_make_a_call_for_another(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        add(cluster.nodes["b"], namespace="/x")
        b = cluster.nodes["b"].nodes
        del b._exchange.calls.dispatcher.methods["sockets.list"]
        del b._exchange.calls.dispatcher.methods["emit"]
        b.serve(OtherVersion())
        for event, message in (("refuse", "too late"), ("other", "cannot be read")):
            with pytest.raises(ControlError, match=message):
                await cluster.nodes["a"].call("emit", event=event, namespace="/x", all=True)


@trio_test
async def test_too_many_clients_are_not_named(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_methods, "MAX_ASKED", 1)
    async with open_cluster("a", "b") as cluster:
        for _ in range(2):
            add(cluster.nodes["b"])
        found = await cluster.nodes["a"].call("emit_with_ack", event="q", all=True, timeout_s=0.1)
        assert "2 clients, too many to name" in found["failed"]["b"]
        assert found["nodes"] == {"a": 0}


async def freeze(cluster: Cluster, name: str) -> None:
    await trio.sleep(0.002)
    cluster.nodes[name].freeze()


@trio_test
async def test_a_node_that_dies_while_it_makes_a_call_for_another(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", delay_s=0.001) as cluster:
        add(cluster.nodes["b"], namespace="/x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(freeze, cluster, "b")
            with pytest.raises(ControlError, match="'b', which may have done it") as caught:
                await cluster.nodes["a"].call("emit", event="e", namespace="/x", all=True)
        assert caught.value.code == Code.TIMEOUT


@pytest.mark.req("WORK-24")
@trio_test
async def test_a_parent_of_workers_is_no_node_that_has_clients(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        b = cluster.nodes["b"]
        b.nodes._family = Family(workers=2)
        b.nodes.announce()
        await trio.sleep(1.5)
        cluster.bus.foreign = 1
        found = await cluster.nodes["a"].call("emit", event="x", all=True)
        assert found["nodes"] == {"a": 0, "b": 0}
        # The bus counts three servers; one of the two of ours has no clients there.
        assert found["unknown"] == 2
        listed = (await cluster.nodes["a"].call("system.nodes"))["nodes"]
        assert [(one["name"], one["workers"]) for one in listed] == [("a", 0), ("b", 2)]
