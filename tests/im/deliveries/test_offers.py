"""The copies that clients of a node have: what is bounded, and what other nodes may send."""

import gc
from typing import Any

import pytest
import trio
from msgspec import Raw
from tests.im.deliveries.world import CHAT, TEXT, make_place, one_node, several_nodes
from trio.testing import MockClock, trio_test

from trio_socketio import Server
from trio_socketio.control.failures import overloaded
from trio_socketio.errors import OptionError
from trio_socketio.im.deliveries import offers as offers_module
from trio_socketio.im.deliveries.offers import Offer
from trio_socketio.im.deliveries.options import DeliveriesOptions


def new_offer(name: str = "m1", **change: Any) -> Offer:
    fields = {
        "namespace": CHAT,
        "id": name,
        "event": "news",
        "args": Raw(b'[{"id":"m1","text":"hello"}]'),
        "users": ("ann", "bob"),
        "for_s": 10.0,
    }
    return Offer(**{**fields, **change})


@pytest.mark.req("DELIV-27")
@trio_test
async def test_the_copies_that_wait_are_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(offers_module, "MAX_COPIES", 3)
    place = make_place(Server())
    ann, bob = place.come("ann"), place.come("bob")
    send = place.deliveries.send_here
    assert [send("", new_offer(name)) for name in ("m1", "m2")] == [2, 1]
    assert (len(ann.take()), len(bob.take())) == (2, 1)
    offers = place.deliveries._offers
    assert (len(offers), place.deliveries.statistics().unsent) == (3, 1)
    assert f"{CHAT}: a copy of the message m2 for bob was not sent, because 3 wait" in caplog.text
    ann.acknowledge(0)
    assert (len(offers), send("", new_offer("m3", users=("bob",)))) == (2, 1)
    offers.expire(trio.current_time() + 9)
    assert len(offers) == 3
    offers.expire(trio.current_time() + 11)
    assert len(offers) == 0
    assert (offers._until, offers._nodes, offers._copies) == ({}, {}, {})


@trio_test
async def test_what_was_acknowledged_is_not_remembered(autojump_clock: MockClock) -> None:
    async with one_node(max_open=5000) as here:
        ann = here.come("ann")
        for number in range(1500):
            await here.deliver("ann", text={"id": f"n{number}"}, expires_s=3600.0)
        await trio.sleep(1)
        ann.take()
        for number in range(1500):
            ann.acknowledge(number)
        await trio.sleep(1)
        assert here.deliveries.statistics().attended == 0
        assert len(here.deliveries._coordinator._agenda) <= 1000
        assert len(here.deliveries._offers._ends) <= 100
        await here.deliver("ann")
        await trio.sleep(1)
        assert ann.take() == [[TEXT]]


@pytest.mark.req("RUN-44")
@trio_test
async def test_a_copy_leaves_no_garbage(autojump_clock: MockClock) -> None:
    place = make_place(Server())
    ann = place.come("ann")
    gc.collect()
    gc.disable()
    try:
        place.deliveries.send_here("", new_offer(users=("ann",)))
        ann.take()
        ann.acknowledge(0)
        assert len(place.deliveries._offers) == 0
        assert not [one for one in gc.get_objects() if type(one) is offers_module.Copy]
    finally:
        gc.enable()


@trio_test
async def test_offers_that_cannot_be_sent_reach_nobody(autojump_clock: MockClock) -> None:
    place = make_place(Server())
    ann = place.come("ann")
    for change in (
        {"namespace": "/none"},
        {"users": ("nobody",)},
        {"args": Raw(b'{"not":"a list"}')},
        {"args": Raw(b'[{"$bytes":7}]')},
    ):
        assert place.deliveries.send_here("b", new_offer(**change)) == 0
    assert ann.take() == []
    assert place.deliveries.users_here("/none", ["hall"]) == []
    assert len(place.deliveries._offers) == 0


@pytest.mark.req("DELIV-34")
@trio_test
async def test_an_offer_for_which_there_is_no_room_is_made_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with several_nodes("a", "b") as nodes:
        node, bob = nodes["a"].node, nodes["b"].come("bob")
        assert node is not None
        question = node.nodes.question

        def refuse(*_: Any) -> Any:
            raise overloaded("too many questions")

        monkeypatch.setattr(node.nodes, "question", refuse)
        await nodes["a"].deliver("bob")
        await trio.sleep(1)
        assert bob.take() == []
        monkeypatch.setattr(node.nodes, "question", question)
        await trio.sleep(5)
        assert bob.take() == [[TEXT]]
        assert nodes["a"].deliveries.statistics().failures == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"schedule_s": (1.0, 1.0)}, "schedule_s"),
        ({"schedule_s": (True,)}, "schedule_s"),
        ({"schedule_s": ("1",)}, "schedule_s"),
        ({"schedule_s": (1.0,) * 21}, "schedule_s"),
        ({"durable": ("chat",)}, "durable"),
        ({"max_targets": 10_001}, "max_targets"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(OptionError) as caught:
        DeliveriesOptions(**options)
    assert caught.value.option == name
