"""Confirmed delivery over several nodes."""

import pytest
import trio
from tests.im.deliveries.world import CHAT, TEXT, several_nodes
from trio.testing import MockClock, trio_test

from trio_socketio.errors import ControlError
from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.options import DeliveriesOptions


@pytest.mark.req("DELIV-30", "DELIV-31")
@trio_test
async def test_a_message_reaches_users_on_other_nodes_and_their_answers_count(
    autojump_clock: MockClock,
) -> None:
    async with several_nodes("a", "b", "c") as nodes:
        ann, bob, eve = nodes["a"].come("ann"), nodes["b"].come("bob"), nodes["c"].come("eve")
        twin = nodes["b"].come("ann")
        listens = nodes["b"].come("mallory")
        listens.socket.join("user:bob")
        await nodes["a"].deliver("ann", "bob", "eve", "nobody")
        await trio.sleep(1)
        for client in (ann, bob, eve, twin):
            assert client.take() == [[TEXT]]
        assert listens.take() == []
        bob.acknowledge()
        twin.acknowledge()
        await trio.sleep(1)
        assert await nodes["a"].outcome() == ("open", ["ann", "bob"])
        await trio.sleep(5)
        assert eve.take() == [[TEXT]]
        assert ann.take() == bob.take() == twin.take() == []
        eve.acknowledge()
        await trio.sleep(60)
        assert await nodes["a"].outcome() == ("expired", ["ann", "bob", "eve"])
        assert nodes["b"].deliveries.statistics().waiting == 0


class Shared(MemoryDeliveries):
    """A store that all nodes of the test use."""

    is_shared = True
    is_durable = True

    def __init__(self) -> None:
        super().__init__(DeliveriesOptions().bounds)


@pytest.mark.req("DELIV-07", "DELIV-32")
@trio_test
async def test_what_waits_follows_a_user_to_another_node(autojump_clock: MockClock) -> None:
    async with several_nodes("a", "b", "c", store=Shared()) as nodes:
        first = nodes["b"].come("ann")
        for name in ("m1", "m2", "m3"):
            await nodes["a"].deliver("ann", text={"id": name}, schedule_s=(), expires_s=100.0)
        await trio.sleep(1)
        first.take()
        first.acknowledge(1)
        first.leave()
        await trio.sleep(10)
        ann = nodes["c"].come("ann")
        await trio.sleep(1)
        assert ann.take() == [[{"id": "m1"}], [{"id": "m3"}]]
        ann.acknowledge()
        await trio.sleep(1)
        assert await nodes["a"].outcome("m3") == ("confirmed", ["ann"])
        assert await nodes["a"].outcome("m1") == ("open", [])


@pytest.mark.req("DELIV-07")
@trio_test
async def test_a_user_may_come_right_after_the_first_message(autojump_clock: MockClock) -> None:
    """The node has not looked at the store since the message was accepted elsewhere."""
    async with several_nodes("a", "b", store=Shared()) as nodes:
        await trio.sleep(10.001)  # it has just looked
        await nodes["a"].deliver("ann", schedule_s=(), expires_s=100.0)
        await trio.sleep(0.1)
        ann = nodes["b"].come("ann")
        await trio.sleep(0.1)
        assert ann.take() == [[TEXT]]


@pytest.mark.req("DELIV-24")
@trio_test
async def test_a_room_stands_for_its_users_on_all_nodes(autojump_clock: MockClock) -> None:
    async with several_nodes("a", "b", max_targets=3) as nodes:
        ann = nodes["a"].come("ann", "hall")
        bob, twin = nodes["b"].come("bob", "hall"), nodes["b"].come("ann", "hall")
        assert (await nodes["a"].deliver("eve", rooms=["hall"])).targets == 3
        await trio.sleep(1)
        assert ann.take() == bob.take() == twin.take() == [[TEXT]]
        nodes["b"].come("joe", "hall")
        for number in range(4):
            nodes["b"].come(f"one of {number}", "attic")
        for room in ("hall", "attic"):
            with pytest.raises(ControlError, match="for 4 users, but one may be for 3 at most"):
                await nodes["a"].deliver("eve", rooms=[room], text={})


@pytest.mark.req("DELIV-33", "DELIV-50")
@trio_test
async def test_a_node_that_does_not_say_who_is_in_a_room_is_not_left_out(
    autojump_clock: MockClock,
) -> None:
    async with several_nodes("a", "b") as nodes:
        node = nodes["b"].node
        assert node is not None
        nodes["a"].come("ann", "hall")
        node.freeze()
        for _ in range(3):  # it is silent, but its clients may be there until its lease has ended
            with pytest.raises(ControlError, match="not known who is in the rooms: b did not ans"):
                await nodes["a"].deliver(rooms=["hall"])
            await trio.sleep(4)
        assert nodes["a"].deliveries.statistics().attended == 0
        await trio.sleep(4)  # it is lost, and nobody is there any more
        assert (await nodes["a"].deliver(rooms=["hall"])).targets == 1
        own = nodes["a"].node
        assert own is not None
        own.freeze()
        with pytest.raises(ControlError, match="not known who is in the rooms: there is no conn"):
            await nodes["a"].deliver(rooms=["hall"], text={})


@pytest.mark.req("DELIV-31")
@trio_test
async def test_a_node_that_stood_still_reads_later_what_was_offered(
    autojump_clock: MockClock,
) -> None:
    async with several_nodes("a", "b") as nodes:
        node = nodes["b"].node
        assert node is not None
        bob = nodes["b"].come("bob")
        node.freeze()
        await trio.sleep(5)
        node.redis.connected = True
        await nodes["a"].deliver("bob")
        await trio.sleep(0.5)  # before the first repetition
        assert bob.take() == [[TEXT]]


@pytest.mark.req("DELIV-31")
@trio_test
async def test_an_acknowledgement_counts_although_the_node_that_attends_is_away(
    autojump_clock: MockClock,
) -> None:
    async with several_nodes("a", "b", store=Shared()) as nodes:
        node, bob = nodes["a"].node, nodes["b"].come("bob")
        assert node is not None
        await nodes["a"].deliver("bob")
        await trio.sleep(1)
        bob.take()
        node.freeze()
        bob.acknowledge()
        await trio.sleep(5)
        assert await nodes["b"].outcome() == ("confirmed", ["bob"])
        await trio.sleep(60)
        assert await nodes["b"].outcome() == ("confirmed", ["bob"])


@pytest.mark.req("DELIV-31")
@trio_test
async def test_an_acknowledgement_counts_although_another_node_attends_by_now(
    autojump_clock: MockClock,
) -> None:
    store = Shared()
    async with several_nodes("a", "b", store=store) as nodes:
        bob = nodes["b"].come("bob")
        await nodes["a"].deliver("bob", "ann")
        await trio.sleep(1)
        bob.take()
        nodes["a"].deliveries._coordinator.give_up(store)
        bob.acknowledge()
        await trio.sleep(1)
        assert await nodes["b"].outcome() == ("open", ["bob"])


@pytest.mark.req("DELIV-34")
@trio_test
async def test_a_node_that_takes_nothing_is_made_up_for(autojump_clock: MockClock) -> None:
    async with several_nodes("a", "b") as nodes:
        node = nodes["b"].node
        assert node is not None
        bob = nodes["b"].come("bob")
        node.redis.connected = False
        await nodes["a"].deliver("bob")
        await trio.sleep(1)
        node.redis.connected = True
        await trio.sleep(8)
        assert bob.take() == [[TEXT]]
        assert nodes["a"].deliveries.statistics().failures > 0


@trio_test
async def test_large_messages_go_in_several_parts(autojump_clock: MockClock) -> None:
    async with several_nodes("a", "b") as nodes:
        bob = nodes["b"].come("bob")
        texts = [{"id": f"m{number:03}", "text": "x" * 20_000} for number in range(120)]
        for text in texts:
            await nodes["a"].deliver("bob", text=text)
        await trio.sleep(2)
        assert bob.take() == [[text] for text in texts]
        for number in range(120):
            bob.acknowledge(number)
        await trio.sleep(1)
        lines = await nodes["a"].deliveries.page(CHAT, "", 200)
        assert {line.outcome for line in lines} == {"confirmed"}
