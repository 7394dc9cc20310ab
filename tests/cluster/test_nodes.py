"""Nodes on a bus: who lives, whose name is whose, and calls from node to node."""

import logging
import os
from typing import Any

import pytest
import trio
from msgspec import Raw
from tests.cluster.cluster import open_cluster
from tests.cluster.fake_bus import FakeRedis, Unreachable
from trio.testing import MockClock, trio_test

from trio_socketio import Server
from trio_socketio.cluster import calls, questions
from trio_socketio.cluster.channel import EVERYBODY
from trio_socketio.cluster.metrics import NodesCollector
from trio_socketio.cluster.nodes import ClusterNodes
from trio_socketio.codec.json_rpc import Code, Response
from trio_socketio.codec.node_messages import MAX_MESSAGE_BYTES
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.methods import rpc
from trio_socketio.errors import ConfigurationError, ControlError
from trio_socketio.protocol.nodes import INTERVAL_S, SILENCE_S


class Desk:
    """Methods that nodes call of one another in these tests."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.open = trio.Event()

    @rpc("desk.note")
    def note(self, number: int) -> int:
        """Note a number.

        Args:
            number: the number.
        """
        self.seen.append(number)
        return number

    @rpc("desk.wait")
    async def wait(self, number: int) -> int:
        """Note a number, and wait.

        Args:
            number: the number.
        """
        self.seen.append(number)
        await self.open.wait()
        return number

    @rpc("desk.refuse")
    def refuse(self) -> int:
        """Refuse."""
        raise ControlError(Code.FORBIDDEN, "no", {"why": "never"})

    @rpc("desk.quote")
    def quote(self, size: int) -> int:
        """Refuse with many words.

        Args:
            size: how many.
        """
        raise ControlError(Code.FORBIDDEN, "x" * size)

    @rpc("desk.page")
    def page(self, size: int) -> str:
        """Answer with much.

        Args:
            size: how much.
        """
        return "x" * size


@pytest.mark.req("NODE-50")
@trio_test
async def test_nodes_are_listed_with_what_they_are(autojump_clock: MockClock) -> None:
    async with open_cluster("b", "a") as cluster:
        found = await cluster.nodes["a"].call("system.nodes")
        assert found["node"] == "a"
        a, b = found["nodes"]
        assert (a["name"], b["name"]) == ("a", "b")
        assert a["boot"] != b["boot"]
        assert a["last_heard_s"] == 0
        assert 0 <= b["last_heard_s"] <= INTERVAL_S
        for one in (a, b):
            assert one["host"]
            assert (one["pid"], one["version"]) == (os.getpid(), "0.1.0")
            assert (one["state"], one["connections"]) == ("starting", 0)
        assert found["nodes"] != (await cluster.nodes["b"].call("system.nodes"))["nodes"]


@pytest.mark.req("NODE-12")
@trio_test
async def test_a_second_node_of_a_name_does_not_start(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        second = cluster.make("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.redis.run)
            with pytest.raises(
                ConfigurationError, match=f"'a' belongs to .*, pid {os.getpid()}: give"
            ):
                await second.nodes.run()
            nursery.cancel_scope.cancel()
        await trio.sleep(SILENCE_S + INTERVAL_S)
        assert [one.name for one in cluster.nodes["b"].nodes.others()] == ["a"]
        assert not cluster.nodes["a"].nodes.fault


@pytest.mark.parametrize("name", ["", "@all", "a b", "a\n", "ü", "x" * 129])
def test_a_name_has_a_form(name: str) -> None:
    with pytest.raises(ConfigurationError, match="letters, digits"):
        ClusterNodes(FakeRedis.__new__(FakeRedis), Server(), name)


@pytest.mark.req("NODE-20", "NODE-23")
@trio_test
async def test_a_killed_node_is_missing_and_then_gone(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"].nodes
        cluster.nodes["b"].kill()
        began = trio.current_time()
        found = await a.ask("node.reach", {"all": True}, 1.0)
        assert trio.current_time() - began == pytest.approx(1.0)
        assert list(found.results) == ["c"]
        assert found.missing == ["b"]
        await trio.sleep(SILENCE_S - 1.0 + 0.1)
        assert [one.name for one in a.others()] == ["c"]
        began = trio.current_time()
        assert (await a.ask("node.reach", {"all": True}, 1.0)).missing == ["b"]
        assert trio.current_time() - began < 0.1
        await trio.sleep(11)
        assert (await a.ask("node.reach", {"all": True}, 1.0)).missing == []


@pytest.mark.req("NODE-25")
@trio_test
async def test_a_node_with_a_lease_counts_though_it_was_never_heard(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"].nodes
        cluster.nodes["c"].scope.cancel()
        await trio.sleep(0.1)
        a.use_leases(lambda: ["a", "b", "c", "d"])  # c has said goodbye
        assert a.unheard() == {"d": True}
        assert (await a.ask("node.reach", {"all": True}, 1.0)).missing == ["d"]


@pytest.mark.req("NODE-32")
@trio_test
async def test_a_node_that_leaves_is_missing_at_once(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        b.nodes.serve(Desk())
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await trio.sleep(0.5)
                b.scope.cancel()

            nursery.start_soon(leave)
            began = trio.current_time()
            found = await a.nodes.ask("desk.wait", {"number": 1}, 60.0)
            assert trio.current_time() - began < 1.0
        assert found.missing == ["b"]
        assert a.nodes.others() == []
        assert a.nodes.statistics().missing == 1


@pytest.mark.req("NODE-30")
@trio_test
async def test_each_node_answers_with_a_result_or_an_error(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"].nodes
        for name in "abc":
            cluster.nodes[name].nodes.serve(Desk())
        found = await a.ask("desk.note", {"number": 7}, 1.0)
        assert {name: bytes(raw) for name, raw in found.results.items()} == {"b": b"7", "c": b"7"}
        found = await a.ask("desk.refuse", {}, 1.0, ["c"])
        assert list(found.errors) == ["c"]
        error = found.errors["c"]
        assert (error.code, error.message, error.data) == (Code.FORBIDDEN, "no", {"why": "never"})
        found = await a.ask("desk.unheard_of", {}, 1.0)
        assert {one.code for one in found.errors.values()} == {Code.METHOD_NOT_FOUND}
        found = await a.ask("desk.note", {"number": "seven"}, 1.0, ["b", "nobody"])
        assert found.errors["b"].code == Code.INVALID_PARAMS
        assert found.missing == ["nobody"]
        counts = a.statistics()
        assert (counts.asked, counts.waiting, counts.answered) == (4, 0, 0)
        assert cluster.nodes["b"].nodes.statistics().answered == 3


@trio_test
async def test_only_the_node_that_was_asked_is_heard() -> None:
    asked = questions.Questions()
    with asked.opened(asked.next_id(), lambda: ({"b": "b1"}, True)) as question:
        question.send()
        assert not asked.receive("b", "b2", Response(1, Raw(b"2"), None))  # its name was taken
        assert not asked.receive("b", "b1", Response(7, Raw(b"2"), None))
        assert not asked.receive("b", "b1", Response(None, Raw(b"2"), None))
        assert asked.receive("c", "c1", Response(1, Raw(b"3"), None))  # it has just come
        assert asked.receive("b", "b1", Response(1, Raw(b"1"), None))
        assert not asked.receive("b", "b1", Response(1, Raw(b"4"), None))
        found = await question.wait(1.0)
        assert {name: bytes(raw) for name, raw in found.results.items()} == {"b": b"1", "c": b"3"}
        assert asked.held_bytes == 2
    assert asked.held_bytes == 0


@pytest.mark.req("NODE-31")
@trio_test
async def test_a_silent_node_is_missing_within_the_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"].nodes
        desk = Desk()
        cluster.nodes["b"].nodes.serve(desk)
        began = trio.current_time()
        found = await a.ask("desk.wait", {"number": 1}, 2.0)
        assert found.missing == ["b"]
        assert trio.current_time() - began == pytest.approx(2.0)
        desk.open.set()
        await trio.sleep(1.0)
        assert a.statistics().dropped["late"] == 1


@trio_test
async def test_nobody_is_asked_without_a_connection(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        cluster.nodes["a"].redis.cut()
        began = trio.current_time()
        found = await cluster.nodes["a"].nodes.ask("node.reach", {"all": True}, 2.0)
        assert found.missing == ["b"]
        assert trio.current_time() == began
        assert cluster.nodes["a"].nodes.statistics().unsent


@pytest.mark.req("NODE-05")
@trio_test
async def test_calls_of_a_node_begin_in_the_order_of_their_sending(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        desk = Desk()
        desk.open.set()
        cluster.nodes["c"].nodes.serve(desk)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                sender = cluster.nodes["ab"[number % 2]].nodes
                method = "desk.wait" if number % 3 else "desk.note"
                to = ["c"] if number % 5 else None
                question = sender.question(method, {"number": number}, to)
                question.__enter__().send()
            await trio.sleep(1.0)
            assert [one for one in desk.seen if one % 2] == list(range(1, 40, 2))
            assert [one for one in desk.seen if not one % 2] == list(range(0, 40, 2))
            nursery.cancel_scope.cancel()


@pytest.mark.req("NODE-33")
@trio_test
async def test_a_call_that_fits_into_no_message_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        sent = len(cluster.bus.log)
        with pytest.raises(ControlError) as caught:
            await cluster.nodes["a"].nodes.ask("x", {"y": "z" * MAX_MESSAGE_BYTES}, 1.0)
        assert caught.value.code == Code.TOO_LARGE
        with pytest.raises(ControlError) as caught:
            await cluster.nodes["a"].nodes.ask("x", {"y": object()}, 1.0)
        assert caught.value.code == Code.TOO_LARGE
        assert len(cluster.bus.log) == sent


@pytest.mark.req("NODE-34")
@trio_test
async def test_the_calls_in_flight_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_QUESTIONS", 2)
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"].nodes
        cluster.nodes["b"].nodes.serve(Desk())
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(a.ask, "desk.wait", {"number": number}, 1.0)
            await trio.sleep(0.1)
            assert a.statistics().waiting == 2
            with pytest.raises(ControlError) as caught:
                await a.ask("desk.wait", {"number": 3}, 1.0)
            assert caught.value.code == Code.OVERLOADED
        assert a.statistics().waiting == 0


@pytest.mark.req("NODE-36")
@trio_test
async def test_the_calls_under_way_for_one_node_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_CALLS", 2)
    async with open_cluster("a", "b", "c") as cluster:
        desk = Desk()
        cluster.nodes["c"].nodes.serve(desk)
        a, b = cluster.nodes["a"].nodes, cluster.nodes["b"].nodes
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(a.ask, "desk.wait", {"number": number}, 1.0, ["c"])
            await trio.sleep(0.1)
            found = await a.ask("desk.wait", {"number": 3}, 1.0, ["c"])
            assert found.errors["c"].code == Code.OVERLOADED
            nursery.start_soon(b.ask, "desk.wait", {"number": 4}, 1.0, ["c"])
            await trio.sleep(0.1)
            assert sorted(desk.seen) == [0, 1, 4]


@trio_test
async def test_an_error_that_fits_into_no_message_is_shortened(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        cluster.nodes["b"].nodes.serve(Desk())
        a = cluster.nodes["a"].nodes
        for method in ("desk.quote", "desk.page"):
            found = await a.ask(method, {"size": MAX_MESSAGE_BYTES}, 1.0)
            assert found.errors["b"].code == Code.TOO_LARGE


@pytest.mark.req("NODE-36")
@trio_test
async def test_the_calls_of_all_nodes_together_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_ALL_CALLS", 1)
    async with open_cluster("a", "b", "c") as cluster:
        cluster.nodes["c"].nodes.serve(Desk())
        async with trio.open_nursery() as nursery:
            a, b = cluster.nodes["a"].nodes, cluster.nodes["b"].nodes
            nursery.start_soon(a.ask, "desk.wait", {"number": 1}, 1.0, ["c"])
            await trio.sleep(0.1)
            found = await b.ask("desk.wait", {"number": 2}, 1.0, ["c"])
            assert found.errors["c"].code == Code.OVERLOADED


@pytest.mark.req("NODE-35")
@trio_test
async def test_the_answers_that_are_held_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_HELD_BYTES", 1500)
    async with open_cluster("a", "b", "c") as cluster:
        for name in "bc":
            cluster.nodes[name].nodes.serve(Desk())
        a = cluster.nodes["a"].nodes
        found = await a.ask("desk.page", {"size": 1000}, 1.0)
        assert sorted([*found.results, *found.errors]) == ["b", "c"]
        (error,) = found.errors.values()
        assert error.code == Code.TOO_LARGE
        assert len((await a.ask("desk.page", {"size": 600}, 1.0)).results) == 2


@trio_test
async def test_a_node_has_no_token_and_no_connection() -> None:
    caller = calls.NodeCaller()
    assert caller.grant.allows("emit")
    caller.connected()
    with pytest.raises(ControlError, match="tokens"):
        caller.authenticate("secret")
    replies: list[bytes] = []
    ended = calls.NodeCalls(Dispatcher(()))
    ended.receive("b1", b'{"jsonrpc":"2.0","method":"x","id":1}', replies.append)
    assert b'"code":%d' % Code.UNAVAILABLE in replies[0]


@trio_test
async def test_the_calls_of_a_node_that_is_gone_are_cancelled(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        desk = Desk()
        cluster.nodes["b"].nodes.serve(desk)
        async with trio.open_nursery() as nursery:
            a = cluster.nodes["a"]
            nursery.start_soon(a.nodes.ask, "desk.wait", {"number": 1}, 60.0)
            await trio.sleep(0.1)
            a.kill()
            await trio.sleep(SILENCE_S + INTERVAL_S)
            assert cluster.nodes["b"].nodes._exchange.calls._queues == {}
            nursery.cancel_scope.cancel()


@pytest.mark.req("NODE-04")
@trio_test
async def test_hostile_messages_cost_a_counter_and_a_line(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster("a", "b") as cluster:
        b, a = cluster.nodes["b"], cluster.nodes["a"]
        everybody = f"tsio:node:{EVERYBODY}"
        mine = b.nodes._machine.own.boot.encode()
        for payload in (
            b"\x80\x04pickle",
            b'{"v":2,"type":"beat"}',
            b'{"v":1,"type":"answer","name":"a","boot":"x","to":"%b","reply":7}' % mine,
            b'{"v":1,"type":"answer","name":"a","boot":"x","to":"%b","reply":'
            b'{"jsonrpc":"2.0","method":"x","id":1}}' % mine,
            b'{"v":1,"type":"answer","name":"a","boot":"x","to":"%b","reply":'
            b'{"jsonrpc":"2.0","result":1,"id":99}}' % mine,
            b'{"v":1,"type":"answer","name":"a","boot":"x","to":"%b","reply":[]}' % mine,
            b'{"v":1,"type":"answer","name":"a","boot":"x","to":"other","reply":1}',
            b'{"v":1,"type":"ask","name":"a","boot":"x","to":"other","call":1}',
            b'{"v":1,"type":"ask","name":"a","boot":"x","call":1}',
            b'{"v":1,"type":"ask","name":"a","boot":"x","call":'
            b'{"jsonrpc":"2.0","method":"system.drain","id":1}}',
            b'{"v":1,"type":"ask","name":"a","boot":"x","call":'
            b'[{"jsonrpc":"2.0","method":"node.reach","id":1}]}',
            b'{"v":1,"type":"ask","name":"a","boot":"x","call":'
            b'{"jsonrpc":"2.0","method":"node.reach"}}',
        ):
            b.redis.deliver(everybody, payload)
        await trio.sleep(0.1)
        dropped = b.nodes.statistics().dropped
        assert dropped == {"malformed": 4, "unknown": 1, "late": 1, "too_many": 0}
        assert b.nodes.statistics().answered == 3
        lines = [one for one in caplog.records if "dropped" in one.getMessage()]
        assert [one.levelno for one in lines] == [logging.WARNING]
        assert b.server.state == "idle"
        assert [one.name for one in b.nodes.others()] == ["a"]
        assert (await a.nodes.ask("node.reach", {"all": True}, 1.0)).missing == []


@trio_test
async def test_without_redis_a_node_starts_and_claims_its_name_later(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster("a") as cluster:
        late = cluster.make("b")
        late.redis.cut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.redis.run)
            with trio.fail_after(0.1):
                await nursery.start(late.nodes.run)
            assert late.nodes.fault == "there is no connection to Redis"
            assert "the name 'b' is not claimed yet" in caplog.text
            assert not late.nodes.statistics().is_member
            await trio.sleep(10.5)
            late.redis.connected = True  # after its subscriptions were made, as with Redis
            await trio.sleep(0.2)
            assert not late.nodes.fault
            assert [one.name for one in cluster.nodes["a"].nodes.others()] == ["b"]
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        assert cluster.nodes["a"].nodes.others() == []


@trio_test
async def test_a_redis_that_does_not_answer_delays_the_start_only_so_long(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster(delay_s=1e6) as cluster:
        with trio.fail_after(2 * SILENCE_S + 0.1):
            node = await cluster.start("a")
        assert "Redis has not answered" in node.nodes.fault


@pytest.mark.req("NODE-18")
@trio_test
async def test_a_node_that_was_cut_off_is_back_soon(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        boot = a.nodes._machine.own.boot
        a.redis.cut()
        await trio.sleep(0.5)
        for one in a.redis.subscriptions:  # told before anything can be sent
            if one.gap is not None:
                one.gap(0.5)
        a.redis.connected = True
        await trio.sleep(0.2)
        assert not a.nodes.fault
        assert [one.boot for one in cluster.nodes["b"].nodes.others()] != [boot]
        assert len(cluster.nodes["b"].nodes.others()) == 1


@pytest.mark.req("NODE-13")
@trio_test
async def test_a_redis_that_counts_nobody_delays_the_claim(autojump_clock: MockClock) -> None:
    async with open_cluster("a") as cluster:
        node = cluster.make("b")

        async def refuse(*arguments: str, timeout_s: float | None = None) -> Any:
            raise Unreachable

        node.redis.execute = refuse
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.redis.run)
            began = trio.current_time()
            await nursery.start(node.nodes.run)
            assert trio.current_time() - began == pytest.approx(SILENCE_S, abs=0.1)
            assert not node.nodes.fault
            nursery.cancel_scope.cancel()


@pytest.mark.req("NODE-15")
@trio_test
async def test_a_node_whose_name_was_taken_meanwhile_says_so(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster("a", "b") as cluster:
        first = cluster.nodes["a"]
        first.redis.cut()
        await trio.sleep(SILENCE_S + INTERVAL_S)
        second = await cluster.start("a")
        first.redis.mend()
        await trio.sleep(1.0)
        assert f", pid {os.getpid()}: give each" in first.nodes.fault
        assert [one.levelname for one in caplog.records if "belongs" in one.message] == ["ERROR"]
        assert not second.nodes.fault
        second.scope.cancel()
        await trio.sleep(INTERVAL_S + 0.1)
        assert not first.nodes.fault
        boots: set[Any] = {one.boot for one in cluster.nodes["b"].nodes.others()}
        assert boots == {first.nodes._machine.own.boot}


@trio_test
async def test_metrics_show_the_nodes(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        await cluster.nodes["a"].nodes.ask("node.reach", {"all": True}, 1.0)
        for name, calls_made in (("a", 1), ("b", 0)):
            families = NodesCollector(cluster.nodes[name].nodes).collect()
            samples = {
                (one.name, *one.labels.values()): one.value for family in families
                for one in family.samples
            }  # fmt: skip
            assert samples["tsio_nodes",] == 1
            assert samples["tsio_node_member",] == 1
            assert samples["tsio_node_heartbeat_lag_seconds",] == pytest.approx(0.001)
            assert samples["tsio_node_calls_total", "made"] == calls_made
            assert samples["tsio_node_calls_total", "answered"] == 1 - calls_made
            assert samples["tsio_node_calls_waiting",] == 0
            assert samples["tsio_node_answers_missing_total",] == 0
            assert samples["tsio_node_messages_dropped_total", "malformed"] == 0
            assert samples["tsio_node_messages_unsent_total",] == 0


@trio_test
async def test_the_lag_is_that_of_redis(autojump_clock: MockClock) -> None:
    async with open_cluster("a", delay_s=0.125) as cluster:
        await trio.sleep(2 * INTERVAL_S)
        assert cluster.nodes["a"].nodes.statistics().lag_s == pytest.approx(0.125)
