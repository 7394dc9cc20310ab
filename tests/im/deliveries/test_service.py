"""Confirmed delivery on one node: who is sent what, when, and what the report says."""

import logging
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from tests.im.deliveries.stores import new_record
from tests.im.deliveries.world import CHAT, TEXT, Place, identify, one_node
from trio.testing import MockClock, trio_test

from trio_socketio import JoiningState, Server, Step
from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.configuration.tables import Configuration
from trio_socketio.delivery_services import DeliveryServices
from trio_socketio.errors import ControlError
from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.order import Accepted, Order
from trio_socketio.im.deliveries.record import Answer, Head, Key, Line, Record
from trio_socketio.im.deliveries.store import Bounds, DeliveriesUnavailable, Full, Taken
from trio_socketio.protocol.user_ids import user_room


class Faulty(MemoryDeliveries):
    """A store that may be away, slow, or lose what it has."""

    is_durable = True

    def __init__(self, *records: Record) -> None:
        super().__init__(Bounds(100, 1 << 20, 100, 100.0))
        self.left = list(records)
        self.is_away = False
        self.answers_adds = True
        self.was_lost = False
        self.slow_s = 0.0
        self.glitch_in = 0  # the add that fails, counted from the next one
        self.is_full = False
        self.refusal = ""
        self.taken_at = 0.0
        self.longest_s = 0.0  # between two calls of take

    def lose(self) -> None:
        """Lose everything, as Redis does that was wiped."""
        self._open.clear()
        self._ids.clear()
        self._size = 0
        self.was_lost = True

    async def add(self, record: Record, now: float) -> Record | Full | None:
        self.look()
        await trio.sleep(self.slow_s)
        self.glitch_in -= 1
        if self.glitch_in == 0:
            raise DeliveriesUnavailable("the connection was lost")
        if self.refusal:
            raise DeliveriesUnavailable(self.refusal, is_unsure=False)
        if self.is_full:
            return Full("there is no room")
        found = await super().add(record, now)
        if not self.answers_adds:
            raise DeliveriesUnavailable("the answer was lost")
        return found

    async def confirm(self, answers: Any) -> None:
        self.look()
        await super().confirm(answers)

    async def end(self, keys: Any, now: float) -> None:
        self.look()
        await super().end(keys, now)

    async def get(self, key: Key) -> Record | None:
        self.look()
        return await super().get(key)

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        self.look()
        return await super().page(namespace, after, limit)

    async def take(self, now: float) -> Taken:
        self.look()
        self.longest_s = max(self.longest_s, now - (self.taken_at or now))
        self.taken_at = now
        taken = await super().take(now)
        records, self.left = self.left, []
        for one in records:
            await super().add(one._replace(confirmed={}), now)
            await super().confirm([Answer(one.head.key, *pair) for pair in one.confirmed.items()])
        was_lost, self.was_lost = self.was_lost, False
        return taken._replace(records=records, was_lost=was_lost)

    async def release(self) -> None:
        self.look()

    def look(self) -> None:
        if self.is_away:
            raise DeliveriesUnavailable("the disk is full")


@pytest.mark.req("DELIV-06", "DELIV-20")
@trio_test
async def test_a_message_is_confirmed_when_a_socket_of_the_user_has_acknowledged_it(
    autojump_clock: MockClock,
) -> None:
    async with one_node() as here:
        ann, twin, bob = here.come("ann"), here.come("ann"), here.come("bob")
        listens, guest = here.come("eve"), here.come(None)
        listens.socket.join("user:ann")  # as an app may have it
        accepted = await here.deliver("ann", "bob")
        assert (accepted.id, accepted.targets, accepted.confirmed) == ("m1", 2, 0)
        assert (accepted.state, accepted.is_new) == ("open", True)
        await trio.sleep(1)
        assert ann.take() == twin.take() == bob.take() == [[TEXT]]
        assert listens.take() == guest.take() == []
        twin.acknowledge(-1, "m1", "bob")  # what the answer says does not matter
        await trio.sleep(1)
        assert await here.outcome() == ("open", ["ann"])
        ann.acknowledge()
        bob.acknowledge()
        bob.acknowledge()
        await trio.sleep(1)
        assert await here.outcome() == ("confirmed", ["ann", "bob"])
        await trio.sleep(100)
        assert ann.take() == bob.take() == []
        found = here.deliveries.statistics()
        assert (found.accepted, found.confirmed, found.unconfirmed) == (1, 2, 0)
        assert (found.sent, found.retries, found.waiting, found.attended) == (3, 0, 0, 0)
        assert (found.open, found.reports) == (0, 1)


@pytest.mark.req("DELIV-02", "DELIV-08", "DELIV-09")
@trio_test
async def test_it_is_sent_again_with_the_same_id_and_reported_if_nobody_acknowledges(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with one_node() as here:
        ann, bob = here.come("ann"), here.come("bob")
        began = trio.current_time()
        await here.deliver("ann", "bob", "nobody")
        await trio.sleep(1)
        bob.take()
        bob.acknowledge()
        times = []
        await trio.sleep(0.5)
        while trio.current_time() < began + 40:
            for (text,) in ann.take():
                assert text == TEXT
                times.append(int(trio.current_time() - began))
            await trio.sleep(1)
        assert times == [1, 5, 10, 15, 20, 25]
        assert bob.take() == []
        record = await here.report()
        assert record.outcome == "expired"
        assert list(record.confirmed) == ["bob"]
        assert record.args == b""
        assert record.ended_at == pytest.approx(began + 30, abs=0.1)
        found = here.deliveries.statistics()
        assert (found.confirmed, found.unconfirmed, found.retries) == (1, 2, 10)
        assert "the message m1 has expired, and 2 of 3 users have not confirmed it" in caplog.text
        ann.acknowledge()  # too late
        await trio.sleep(1)
        assert await here.outcome() == ("expired", ["bob"])


@pytest.mark.req("DELIV-06")
@trio_test
async def test_an_acknowledgement_of_any_copy_counts(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann = here.come("ann")
        await here.deliver("ann")
        await trio.sleep(16)
        assert len(ann.take()) == 4
        assert here.deliveries.statistics().waiting == 1
        ann.acknowledge(0)
        await trio.sleep(1)
        assert await here.outcome() == ("confirmed", ["ann"])
        assert here.deliveries.statistics().waiting == 0


@pytest.mark.req("DELIV-06")
@trio_test
async def test_nobody_else_is_sent_a_copy_or_confirms_it(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann, bob, nobody = here.come("ann"), here.come("bob"), here.come(None)
        for other in (bob, nobody):  # as an app may have them do
            other.socket.join([ann.socket.id, user_room("ann")])
        await here.deliver("ann")
        await trio.sleep(6)
        assert (len(ann.take()), bob.take(), nobody.take()) == (2, [], [])
        for other in (bob, nobody):
            other.socket._open_acks().receive(ann.ids[0], [], other.socket.public_id)
        assert await here.outcome() == ("open", [])


@pytest.mark.req("DELIV-27")
@trio_test
async def test_a_retry_waits_for_no_further_acknowledgement(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        old, user = here.come("ann"), here.come("ann")
        await here.deliver("ann")
        await trio.sleep(16)
        assert (len(old.take()), here.deliveries.statistics().waiting) == (4, 1)
        assert len(old.socket._open_acks()._waiting) == 1
        old.leave()
        new = here.come("ann")
        user.leave()
        await trio.sleep(0.1)
        assert (new.take(), here.deliveries.statistics().waiting) == ([[TEXT]], 1)
        new.acknowledge()
        await trio.sleep(0.1)
        assert await here.outcome() == ("confirmed", ["ann"])
        assert not new.socket._open_acks()._waiting


@pytest.mark.req("DELIV-07")
@trio_test
async def test_a_user_who_comes_back_is_sent_at_once_what_waits(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        first = here.come("ann")
        for name in ("m1", "m2", "m3"):
            await here.deliver("ann", text={"id": name}, expires_s=3600.0)
        await trio.sleep(1)
        first.take()
        first.acknowledge(1)
        first.leave()
        assert here.deliveries.statistics().waiting == 0
        await trio.sleep(1800)
        ann = here.come("ann")
        assert ann.take() == [[{"id": "m1"}], [{"id": "m3"}]]
        assert here.come("bob").take() == []
        ann.acknowledge()
        await trio.sleep(1)
        assert await here.outcome("m3") == ("confirmed", ["ann"])
        await trio.sleep(1800)
        assert await here.outcome("m1") == ("expired", [])
        assert here.come("ann").take() == []


@pytest.mark.req("DELIV-24")
@trio_test
async def test_a_room_stands_for_the_users_who_are_in_it(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann, bob, guest = here.come("ann", "hall"), here.come("bob"), here.come(None, "hall")
        accepted = await here.deliver(rooms=("hall", "hall", "cellar"))
        await trio.sleep(1)
        late = here.come("eve", "hall")
        assert accepted.targets == 1
        assert ann.take() == [[TEXT]]
        assert bob.take() == guest.take() == late.take() == []
        ann.socket.leave("hall")
        await trio.sleep(5)
        assert ann.take() == [[TEXT]]
        here.come(None, "cellar")
        with pytest.raises(ControlError, match=r"rooms: .* nobody could confirm") as nobody:
            await here.deliver(rooms=["cellar"], text={"id": "none"})
        assert nobody.value.code == Code.NOT_FOUND
        here.come("eve", "cellar")
        assert (await here.deliver(rooms=["cellar"], text={"id": "none"})).is_new


@pytest.mark.req("DELIV-21")
@trio_test
async def test_a_message_without_an_id_gets_one(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann = here.come("ann")
        names = [(await here.deliver("ann", text=text)).id for text in ({}, {"id": ""})]
        names.append((await here.deliver("ann", text={"id": None, "n": 1.50})).id)
        await trio.sleep(1)
        told = ann.take()
        assert [one["id"] for (one,) in told] == names
        assert told[2] == [{"id": names[2], "n": 1.5}]
        assert len(set(names)) == 3
        assert {len(name) for name in names} == {36}


@pytest.mark.req("DELIV-22", "DELIV-23")
@trio_test
async def test_the_same_message_is_sent_once(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann = here.come("ann")
        await here.deliver("ann", "bob")
        again = await here.deliver("bob", "ann", text={"text": "hello", "id": "m1"})
        assert (again.id, again.targets, again.state, again.is_new) == ("m1", 2, "open", False)
        await trio.sleep(1)
        assert len(ann.take()) == 1
        ann.acknowledge()
        await trio.sleep(1)
        assert (await here.deliver("ann", "bob")).confirmed == 1
        for other in (
            {"text": {"id": "m1", "text": "bye"}},
            {"sender": "eve"},
            {"rooms": ("hall",)},
        ):
            with pytest.raises(ControlError, match="another message had the id 'm1'") as caught:
                await here.deliver("ann", "bob", **other)
            assert caught.value.code == Code.EXISTS
        assert (await here.deliver("ann", text={"id": "m2", "at": 1}, sender="eve")).is_new
        assert not (await here.deliver("ann", text={"id": "m2", "at": 2}, sender="eve")).is_new
        assert (await here.deliver("ann", text={"id": "m3", "at": 1})).is_new
        with pytest.raises(ControlError, match="another message had the id 'm3'"):
            await here.deliver("ann", text={"id": "m3", "at": 2})
        await trio.sleep(1)
        ann.take()
        await trio.sleep(60)
        assert (await here.deliver("ann", "bob")).state == "expired"
        ann.take()
        assert ann.take() == []
        await trio.sleep(3600)  # the report is forgotten, and with it the id
        assert (await here.deliver("ann", "bob")).is_new


@pytest.mark.req("DELIV-49")
@trio_test
async def test_nobody_takes_the_id_of_a_message_of_the_backend(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        text = {"id": "backend:invoice-17"}
        with pytest.raises(ControlError, match=r"args\[0\].id: begins with 'backend:'") as caught:
            await here.deliver("ann", text=text, sender="eve")
        assert caught.value.code == Code.INVALID_PARAMS
        assert (await here.deliver("ann", text=text)).is_new


@trio_test
async def test_two_calls_at_once_send_it_once(autojump_clock: MockClock) -> None:
    async with one_node() as here:
        ann = here.come("ann")
        found = []

        async def deliver() -> None:
            found.append(await here.deliver("ann"))

        async with trio.open_nursery() as tasks:
            for _ in range(5):
                tasks.start_soon(deliver)
        await trio.sleep(1)
        assert sorted(one.is_new for one in found) == [False] * 4 + [True]
        assert len(ann.take()) == 1


@pytest.mark.req("DELIV-12", "DELIV-25")
@trio_test
async def test_what_is_too_much_is_refused(autojump_clock: MockClock) -> None:
    async with one_node(max_open=2, max_targets=2, max_message_bytes=64) as here:
        for name in "ab":
            await here.deliver("ann", text={"id": name})
        with pytest.raises(ControlError, match=r"2 deliveries go on already \(max_open\)") as full:
            await here.deliver("ann", text={"id": "c"})
        assert full.value.code == Code.OVERLOADED
        with pytest.raises(ControlError, match="for 3 users, but one may be for 2 at most"):
            await here.deliver("ann", "bob", "eve", text={"id": "c"})
        with pytest.raises(ControlError, match="has 78 bytes, but 64 at most"):
            await here.deliver("ann", text={"id": "c", "text": "x" * 58})
        found = here.deliveries.statistics()
        assert found.refused == {"overloaded": 1, "too_large": 2}
        await trio.sleep(60)
        assert (await here.deliver("ann", text={"id": "c"})).is_new


@pytest.mark.req("DELIV-26")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"args": []}, "args: the first argument has to be an object, and there is none"),
        ({"args": ["text"]}, r"args\[0\]: expected an object"),
        ({"args": [{}, object()]}, r"args\[1\]: "),
        ({"args": [{"id": 7}]}, r"args\[0\].id: expected 1 to 64 .* characters \(code -32602\)$"),
        ({"args": [{"id": "x" * 65}]}, r"args\[0\].id: expected 1 to 64"),
        ({"args": [{"id": "a\nb"}]}, r"args\[0\].id: expected 1 to 64"),
        ({"event": "disconnect"}, "event: the event name 'disconnect' is reserved"),
        ({"namespace": "/none"}, "there is no namespace '/none'"),
        ({"namespace": "/a\0b"}, "namespace: expected a name without control characters"),
        ({"users": ()}, "users: expected users, rooms, or both"),
        ({"users": ("",)}, r"users\[0\]: the id of a user cannot be empty"),
        ({"rooms": ("user:ann",)}, r"rooms\[0\]: is the room of a user or of a socket"),
        ({"rooms": ("x" * 20,)}, r"rooms\[0\]: is the room of a user or of a socket"),
        ({"rooms": ("",)}, r"rooms\[0\]: expected 1 to 256 characters"),
        ({"rooms": ["a"] * 101}, "rooms: expected 100 at most, not 101"),
        ({"sender": ""}, "sender: the id of a user cannot be empty"),
        ({"expires_s": 0}, "expires_s: expected a number, above 0"),
        ({"expires_s": 1e9}, "expires_s: expected a number, above 0 and at most 604800"),
        ({"expires_s": 5.0, "schedule_s": (1, 5)}, r"schedule_s: .*expires_s \(5\), not 5"),
        ({"schedule_s": (2, 1)}, "schedule_s: expected ascending times"),
        ({"schedule_s": [1.0] * 21}, "schedule_s: has 21 retries, but a message may have 20"),
        ({"durable": True}, "durable: nothing outlives this program: set folder in"),
    ],
)
@trio_test
async def test_bad_orders_are_refused(
    autojump_clock: MockClock, change: dict[str, Any], reason: str
) -> None:
    async with one_node() as here:
        order: dict[str, Any] = {"namespace": CHAT, "event": "news", "args": [{}], "users": ["ann"]}
        with pytest.raises(ControlError, match=reason):
            await here.deliveries.start(Order(**{**order, **change}))
        assert here.deliveries.statistics().attended == 0


@pytest.mark.req("DELIV-18")
@trio_test
async def test_a_namespace_may_say_that_its_messages_outlive_the_program(
    autojump_clock: MockClock,
) -> None:
    store = Faulty()
    async with one_node(durable=store, schedule_s=(1.0,)) as here:
        await here.deliver("ann", text={"id": "a"})
        await here.deliver("ann", text={"id": "b"}, durable=True)
        here.deliveries.define(CHAT, durable=True)
        await here.deliver("ann", text={"id": "c"})
        here.deliveries.define(CHAT, durable=None)
        await here.deliver("ann", text={"id": "d"})
        assert [line.head.id for line in await store.page(CHAT, "", 10)] == ["b", "c"]
        lines = await here.deliveries.page(CHAT, "a", 2)
        assert [(line.head.id, line.head.durable) for line in lines] == [("b", True), ("c", True)]


@pytest.mark.req("DELIV-14")
@trio_test
async def test_a_node_goes_on_with_what_was_left(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = trio.current_time()
    left = new_record("left")
    left = left._replace(head=_at(left.head, now - 12, now + 18), confirmed={"bob": now - 11})
    over = new_record("over")
    over = over._replace(head=_at(over.head, now - 60, now - 30))
    async with one_node(store=Faulty(left, over)) as here:
        ann, bob = here.come("ann"), here.come("bob")
        await trio.sleep(0.5)
        assert "goes on with 2 deliveries" in caplog.text
        assert ann.take() == [[{"text": "hello"}]]
        assert bob.take() == []
        assert await here.outcome("over") == ("expired", [])
        ann.acknowledge()
        await trio.sleep(1)
        assert await here.outcome("left") == ("confirmed", ["ann", "bob"])
        assert here.deliveries.statistics().taken == 2


def _at(head: Head, accepted_at: float, expires_at: float) -> Head:
    return replace(head, accepted_at=accepted_at, expires_at=expires_at)


@pytest.mark.req("DELIV-19")
@trio_test
async def test_what_cannot_be_written_is_written_later(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        ann = here.come("ann")
        await here.deliver("ann", "bob")
        await trio.sleep(1)
        ann.take()
        store.is_away = True
        ann.acknowledge()
        with pytest.raises(ControlError, match="disk is full") as caught:
            await here.deliver("ann", text={"id": "m2"})
        assert caught.value.code == Code.STORE_UNAVAILABLE
        with pytest.raises(ControlError, match="disk is full"):
            await here.deliveries.page(CHAT, "", 1)
        await trio.sleep(60)
        assert "who has confirmed is written when the store is back: the disk" in caplog.text
        assert "the store of deliveries does not answer: the disk is full" in caplog.text
        store.is_away = False
        await trio.sleep(2)
        assert await here.outcome() == ("expired", ["ann"])
        assert here.deliveries.statistics().failures > 10


@pytest.mark.req("DELIV-16")
@trio_test
async def test_a_message_that_was_kept_in_doubt_is_attended_to(autojump_clock: MockClock) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        ann = here.come("ann")
        store.answers_adds = False
        with pytest.raises(ControlError, match=r"ask again with the same id \(m1\): the answer"):
            await here.deliver("ann")
        assert ann.take() == []
        await trio.sleep(1.5)
        assert ann.take() == [[TEXT]]
        assert not (await here.deliver("ann")).is_new


@pytest.mark.req("DELIV-16")
@trio_test
async def test_a_message_whose_caller_has_gone_is_attended_to(autojump_clock: MockClock) -> None:
    store = Faulty()
    store.slow_s = 5.0
    async with one_node(store=store) as here:
        ann = here.come("ann")
        with trio.move_on_after(1):
            await here.deliver("ann")
        assert ann.take() == []
        await trio.sleep(4.5)
        assert ann.take()[0] == [TEXT]


@pytest.mark.req("DELIV-16")
@trio_test
async def test_a_store_that_hangs_is_not_waited_for(autojump_clock: MockClock) -> None:
    store = Faulty()
    store.slow_s = 100.0
    async with one_node(store=store) as here:
        with pytest.raises(ControlError, match="no answer within 15 s"):
            await here.deliver("ann")


@pytest.mark.req("DELIV-17")
@trio_test
async def test_what_the_store_has_lost_is_kept_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        ann, bob = here.come("ann"), here.come("bob")
        await here.deliver("ann", "bob")
        await here.deliver("ann", text={"id": "taken"})
        await trio.sleep(1)
        ann.take()
        bob.take()
        bob.acknowledge()
        await trio.sleep(1)
        store._open.pop(Key(CHAT, "m1"))
        store._ids[CHAT].remove("m1")
        store.was_lost = True
        await trio.sleep(1.5)
        assert "others may go on with the 2 that it attended to" in caplog.text
        assert await here.outcome() == ("open", ["bob"])
        assert ann.take() == [[TEXT]]
        assert here.deliveries.statistics().attended == 1
        ann.acknowledge()
        await trio.sleep(1)
        assert await here.outcome() == ("confirmed", ["ann", "bob"])


@pytest.mark.req("DELIV-51")
@trio_test
async def test_a_sender_is_told_that_nothing_was_sent_if_that_is_known(
    autojump_clock: MockClock,
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        ann = here.come("ann")
        store.refusal = "the disk is full"
        with pytest.raises(ControlError, match="nothing was sent, because the message cannot be "):
            await here.deliver("ann")
        store.is_away = True
        with pytest.raises(ControlError, match="nothing was sent, because it cannot be read "):
            await here.deliver("ann")
        store.is_away, store.refusal = False, ""
        await trio.sleep(5)
        assert ann.take() == []


@pytest.mark.req("DELIV-36")
@pytest.mark.parametrize("is_kept", [False, True])
@trio_test
async def test_what_the_store_has_lost_is_kept_again_after_a_further_failure(
    autojump_clock: MockClock, is_kept: bool
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        names = [f"m{number}" for number in range(10)]
        for name in names:
            await here.deliver("ann", text={"id": name})
        await trio.sleep(0.5)
        store.lose()
        if is_kept:
            store.answers_adds = False
        else:
            store.glitch_in = 3
        await trio.sleep(2)
        store.answers_adds = True
        await trio.sleep(5)
        assert here.deliveries.statistics().attended == 10
        assert sorted(key.id for key in store._open) == names
        ann = here.come("ann")
        await trio.sleep(10)
        assert sorted({one["id"] for (one,) in ann.take()}) == names


@pytest.mark.req("DELIV-36")
@trio_test
async def test_what_finds_no_room_when_it_is_kept_again_is_tried_until_it_expires(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        store.is_shared = True
        ann = here.come("ann")
        await here.deliver("ann", "bob")
        await here.deliver("bob", text={"id": "short"}, expires_s=3.0)
        await trio.sleep(0.5)
        ann.take()
        store.lose()
        store.is_full = True
        await trio.sleep(5)
        assert "has lost is not kept again: there is no room" in caplog.text
        assert here.deliveries.statistics().attended == 0
        assert here.deliveries.statistics().unconfirmed == 1
        ann.acknowledge()
        store.is_full = False
        await trio.sleep(3)
        assert await here.outcome() == ("open", ["ann"])
        with pytest.raises(ControlError, match="there is no delivery 'short'"):
            await here.report("short")


@pytest.mark.req("DELIV-36")
@trio_test
async def test_a_node_renews_its_lease_while_it_keeps_deliveries_again(
    autojump_clock: MockClock,
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        for number in range(50):
            await here.deliver("ann", text={"id": f"m{number}"}, expires_s=100.0)
        store.lose()
        store.slow_s = 0.25
        await trio.sleep(40)
        assert here.deliveries.statistics().attended == 50
        assert store.longest_s < 3


@pytest.mark.req("DELIV-37")
@trio_test
async def test_messages_that_end_with_the_program_are_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    async with one_node(durable=store) as here:
        for name in ("a", "b", "c"):
            await here.deliver("ann", text={"id": name}, durable=name == "c")
    assert "2 messages that not all of their users have confirmed end with this" in caplog.text
    caplog.clear()
    async with one_node(store=store) as here:
        await here.deliver("ann")
    assert caplog.text == ""
    async with one_node(store=store) as here:
        await here.deliver("ann", text={"id": "m2"})
        store.lose()
        store.is_full = True
        await trio.sleep(2)
    assert "1 messages that" in caplog.text


@trio_test
async def test_nothing_is_delivered_when_the_server_stops(autojump_clock: MockClock) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        ann = here.come("ann")
        await here.deliver("ann")
        await trio.sleep(1)
        ann.take()
        ann.acknowledge()
    assert await here.outcome() == ("confirmed", ["ann"])  # it was written at the end
    with pytest.raises(ControlError, match="as it starts or stops"):
        await here.deliver("ann", text={})
    with pytest.raises(ControlError, match="there is no delivery 'none'"):
        await here.report("none")


@pytest.mark.req("DELIV-28")
@trio_test
async def test_what_was_lost_does_not_outlive_its_namespace_either(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Faulty()
    async with one_node(store=store) as here:
        store.is_shared = True
        await here.deliver("ann", expires_s=600.0)
        await trio.sleep(0.5)
        store.lose()
        store.is_full = True
        await trio.sleep(5)
        here.deliveries.end(CHAT)
        store.is_full = False
        await trio.sleep(10)
        ann = here.come("ann")
        await trio.sleep(10)
        assert (ann.take(), here.deliveries.statistics().attended) == ([], 0)
        assert f"{CHAT} was removed" in caplog.text


@pytest.mark.req("DELIV-28")
@trio_test
async def test_nothing_that_waits_outlives_its_namespace(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    services = DeliveryServices(server, Configuration(), None, None)
    here = Place(server, services.deliveries)
    server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    server.of("/other")
    async with trio.open_nursery() as tasks:
        await tasks.start(here.deliveries.run)
        here.come("bob")
        await here.deliver("ann", "bob", expires_s=600.0)
        other = Order(namespace="/other", event="news", args=[TEXT], users=["ann"], expires_s=600.0)
        await here.deliveries.start(other)
        await trio.sleep(1)
        server._namespaces.end(CHAT, "namespace removed")
        services.forget(CHAT)
        ann = here.come("ann")  # this makes it again
        await trio.sleep(10)
        assert ann.take() == []
        assert (await here.outcome(), (await here.report()).outcome) == (("expired", []), "expired")
        assert (await here.deliveries.find(Key("/other", "m1"))).outcome == "open"
        assert f"{CHAT} was removed" in caplog.text
        assert "expired: 1" in caplog.text
        tasks.cancel_scope.cancel()


@pytest.mark.req("DELIV-28")
@trio_test
async def test_a_message_is_refused_whose_namespace_is_removed_meanwhile(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_node() as here:
        add = MemoryDeliveries.add

        async def remove(*arguments: Any) -> Any:
            found = await add(*arguments)
            here.server._namespaces.end(CHAT, "namespace removed")
            return found

        monkeypatch.setattr(MemoryDeliveries, "add", remove)
        with pytest.raises(ControlError, match="no namespace"):
            await here.deliver("ann")
        await trio.sleep(1)
        assert await here.outcome() == ("expired", [])
        assert here.deliveries.statistics().attended == 0


@pytest.mark.req("DELIV-29")
@trio_test
async def test_a_user_takes_a_part_of_what_may_wait(autojump_clock: MockClock) -> None:
    async with one_node(max_sender_open=2, max_sender_bytes=1200) as here:
        ann = here.come("ann")

        async def send(name: str, *users: str, sender: str | None = "eve") -> Accepted:
            return await here.deliver(*users, text={"id": name}, sender=sender)

        for name in ("a", "b"):
            await send(name, "ann")
        with pytest.raises(ControlError, match=r"2 messages of the user 'eve' .*max_sender_open"):
            await send("c", "ann")
        assert not (await send("a", "ann")).is_new
        await send("c", "ann", sender="bob")
        await send("d", "ann", sender=None)
        await trio.sleep(1)
        ann.take()
        ann.acknowledge(0)
        with pytest.raises(ControlError, match=r"'eve' .* [0-9]+ bytes .*max_sender_bytes") as many:
            await send("e", *(f"user{number}" for number in range(6)))
        assert many.value.code == Code.OVERLOADED
        await send("e", "ann")
        await trio.sleep(40)
        assert here.deliveries._coordinator._of_sender == {}


@pytest.mark.req("CHAT-06")
@trio_test
async def test_several_messages_are_accepted_together_or_not_at_all(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def order(name: str, text: str = "hello") -> Order:
        args = [{"id": name, "text": text}]
        return Order(namespace=CHAT, event="news", args=args, users=["ann"], sender="eve")

    async with one_node(max_sender_open=2) as here:
        start_all = here.deliveries.start_all
        accepted: list[Accepted] = []
        await start_all([order("a")], accepted)
        for several, why in (
            ([order("b"), order("a", "another")], r"the message 'a': id: another message had"),
            ([order("b"), order("c")], r"the message 'c': 2 messages of the user 'eve' wait"),
        ):
            with pytest.raises(ControlError, match=why):
                await start_all(several, accepted)
        assert [one.id for one in accepted] == ["a"]
        assert [one.head.id for one in await here.deliveries.page(CHAT, "", 9)] == ["a"]
        await start_all([order("a"), order("b")], accepted)
        assert [one.is_new for one in accepted] == [True, False, True]
    async with one_node(max_open=4) as here:  # 3 of them are for users
        accepted = []
        with pytest.raises(ControlError, match=r"the message 'm3': 3 deliveries go on already"):
            await here.deliveries.start_all([order(f"m{number}") for number in range(5)], accepted)
        assert [one.id for one in accepted] == ["m0", "m1", "m2"]
