"""How often clients may do something: a flood is refused, and others lose nothing."""

import json
from typing import Any

import pytest
import trio
from tests.im.rules.ruled import Refusal, ask, flood, rated, ruled
from tests.socketio.serving import open_client, until
from trio.testing import trio_test

from trio_socketio import Server, ServerOptions, Socket
from trio_socketio.im.rules.logins import Logins
from trio_socketio.im.rules.options import (
    EventRate,
    LoginRate,
    NamespaceRules,
    Rate,
    Rates,
    RulesOptions,
)
from trio_socketio.protocol.token_bucket import TokenBuckets

SLOW = Rate(per_s=0.5, burst=2)


def reason(refusal: Any) -> str:
    assert isinstance(refusal, Refusal)
    return str(json.loads(refusal)["reason"])


@pytest.mark.req("RULE-08")
@trio_test
async def test_events_of_a_user_count_over_all_its_sockets() -> None:
    async with (
        ruled(**rated(user=SLOW)) as (world, rules),
        world.client() as one,
        world.client() as two,
        world.client("bob") as bob,
    ):
        assert [await ask(one, "echo"), await ask(two, "echo")] == ["[]", "[]"]
        refusal = await ask(one, "echo")
        assert json.loads(refusal) == {
            "errcode": 2,
            "errmsg": "you send too many events. Try again in 2 s",
            "reason": "user_rate",
            "retry_after_s": 2.0,
        }
        assert await ask(bob, "echo") == "[]"
        assert reason(await ask(two, "nobody")) == "user_rate"  # also if nothing handles it
        world.now += 2
        assert await ask(two, "echo") == "[]"
        assert reason(await ask(two, "echo")) == "user_rate"
        assert rules.statistics().refused["user_rate"] == 3


@pytest.mark.req("RULE-08")
@trio_test
async def test_clients_without_a_user_count_by_connection() -> None:
    async with (
        ruled(**rated(user=SLOW)) as (world, _),
        world.client(None) as one,
        world.client(None) as two,
    ):
        for client in (one, two):
            assert [await ask(client, "echo") for _ in range(2)] == ["[]", "[]"]
            assert reason(await ask(client, "echo")) == "user_rate"


@pytest.mark.req("RULE-08")
@trio_test
async def test_a_rate_of_all_namespaces_counts_their_events_together() -> None:
    async with ruled(RulesOptions(user=SLOW)) as (world, _), world.client() as client:
        world.server.of("/other").on("echo")(lambda _: "other")
        await client.connect("/other", {"user": "ann"})
        await client.emit("echo", namespace="/other", ack_id=1)
        assert (await client.receive())[0] == '3/other,1["other"]'
        assert await ask(client, "echo") == "[]"
        assert reason(await ask(client, "echo")) == "user_rate"


@pytest.mark.req("RULE-08")
@trio_test
async def test_the_lowest_of_several_rates_holds() -> None:
    ruled_chat = NamespaceRules(name="/chat", rates=Rates(user=SLOW))
    options = RulesOptions(namespaces=(ruled_chat,), user=Rate(per_s=100))
    async with ruled(options) as (world, _), world.client() as client:
        answers = [await ask(client, "echo") for _ in range(3)]
        assert answers[:2] == ["[]", "[]"]
        assert reason(answers[2]) == "user_rate"


@pytest.mark.req("RULE-15")
@trio_test
async def test_an_event_has_a_rate_of_its_own() -> None:
    rate = EventRate(name="ech*", per_s=0.5, burst=2)
    async with ruled(**rated(events=(rate,))) as (world, rules), world.client() as client:
        world.chat.on("other")(lambda _: "other")
        world.chat.on("echo2")(lambda _: "echo2")
        assert await ask(client, "echo") == "[]"
        assert await ask(client, "echo2") == '["echo2"]'  # they share it
        assert reason(await ask(client, "echo")) == "event_rate"
        assert await ask(client, "other") == '["other"]'
        async with world.client("bob") as bob:
            assert await ask(bob, "echo") == "[]"
        assert rules.statistics().refused["event_rate"] == 1


@pytest.mark.req("RULE-16")
@trio_test
async def test_joins_of_a_client_have_a_rate() -> None:
    async with ruled(**rated(joins=SLOW)) as (world, rules), world.client(), world.client("bob"):
        ann, bob = world.socket(), world.socket("bob")
        assert [rules.may_join(ann, "join", [room]) for room in ("a", "b")] == [None, None]
        denied = rules.may_join(ann, "join", ["c"])
        assert denied == ("join_rate", "you enter rooms too often. Try again in 2 s", 2.0, None)
        assert rules.may_join(bob, "join", ["c"]) is None
        assert rules.may_send(ann, "chat/rooms", ["c"]) is None
        world.now += 2
        assert rules.may_join(ann, "join", ["c"]) is None


@pytest.mark.req("RULE-20", "RULE-21")
@trio_test
async def test_several_rooms_are_entered_together_or_not_at_all() -> None:
    rate = Rate(per_s=0.5, burst=20)
    async with ruled(**rated(joins=rate)) as (world, rules), world.client():
        ann, rooms = world.socket(), [str(number) for number in range(20)]
        assert rules.may_join(ann, "join", rooms[:15]) is None
        for _ in range(3):  # what is refused uses up nothing
            denied = rules.may_join(ann, "join", rooms[:12])
            assert denied == ("join_rate", "you enter rooms too often. Try again in 14 s", 14, None)
        assert rules.may_join(ann, "join", rooms[:5]) is None
        world.now += 24
        assert rules.may_join(ann, "join", rooms[:12]) is None
        denied = rules.may_join(ann, "join", [*rooms, "more"])
        assert denied == ("join_rate", "you can enter at most 20 rooms at a time", None, None)
        world.now += 40
        assert rules.may_join(ann, "join", rooms) is None


@pytest.mark.req("RULE-20", "RULE-21")
@trio_test
async def test_several_messages_are_sent_together_or_not_at_all() -> None:
    room = Rate(per_s=1, burst=20)
    async with ruled(**rated(room=room)) as (world, rules), world.client(), world.client("bob"):
        ann, bob = world.socket(), world.socket("bob")

        def send(*counts: int, socket: Socket = ann) -> Any:
            rooms = [room for room, count in zip("ab", counts, strict=False) for _ in range(count)]
            denied = rules.may_send(socket, "chat/rooms", rooms)
            return denied and (denied.message.partition(".")[0], denied.retry_after_s)

        much = "there are too many messages to the room "
        assert send(11) == ("you can send at most 10 messages at a time to the room 'a'", None)
        assert send(8, 4) is None
        assert send(3, 10) == (f"{much}'b'", 4.0)  # half of it is left after that
        assert send(2, 6) is None
        assert send(10, 10, socket=bob) is None  # nothing was used up in vain
        assert send(4, 2) == (f"{much}'a'", 8.0)  # half of ann's rate, which is half of all
        world.now += 8
        assert send(4, 2) is None
        denied = rules.may_send_to_users(ann, "chat/users", ["bob"] * 11)
        assert denied is not None
        assert denied.message == "you can send at most 10 messages at a time to the user 'bob'"


@pytest.mark.req("RULE-20", "RULE-21")
@trio_test
async def test_the_guard_lets_pass_after_the_time_that_was_told() -> None:
    rates = rated(
        joins=Rate(per_s=10, burst=1),
        user=Rate(per_s=0.5, burst=1),
        events=(EventRate(name="join", per_s=0.125, burst=2),),
        namespace=Rate(per_s=100),
    )
    async with ruled(**rates) as (world, rules), world.client() as client:

        def join(socket: Socket, room: str) -> Any:
            denied = rules.may_join(socket, "join", [room])
            return "joined" if denied is None else denied.retry_after_s

        world.chat.on("join")(join)
        assert await ask(client, "join", "a") == '["joined"]'
        assert rules.may_join(world.socket(), "join", ["x"]) is not None
        for _ in range(3):
            refusal = await ask(client, "join", "b")
            assert json.loads(refusal)["retry_after_s"] == 2.0  # of the user's rate alone
        world.now += 2
        assert rules.may_join(world.socket(), "join", ["x"]) is None
        assert await ask(client, "join", "b") == "[6.0]"  # of the event; that of joins is 0.1 s
        world.now += 6
        assert await ask(client, "join", "b") == '["joined"]'


@pytest.mark.req("RULE-10")
@trio_test
async def test_one_user_cannot_use_up_the_messages_of_a_room() -> None:
    async with (
        ruled(**rated(room=Rate(per_s=10, burst=20))) as (world, rules),
        world.client(),
        world.client("bob"),
    ):
        ann, bob = world.socket(), world.socket("bob")
        sent = [rules.may_send(ann, "chat/rooms", ["room"]) for _ in range(100)]
        assert sent.count(None) == 10  # alone in a full bucket, all of the half that is for one
        denied = sent[-1]
        assert denied is not None
        assert denied.reason == "room_rate"
        assert denied.message.startswith("there are too many messages to the room 'room'. Try ")
        assert [rules.may_send(bob, "chat/rooms", ["room"]) for _ in range(5)] == [None] * 5
        assert rules.may_send(ann, "chat/rooms", ["another"]) is None
        messages = [rules.may_send_to_users(ann, "chat/users", ["carl"]) for _ in range(11)]
        assert messages.count(None) == 10
        assert messages[-1] is not None
        assert messages[-1].message.startswith("there are too many messages to the user 'carl'. ")
        assert rules.may_send_to_users(bob, "chat/users", ["carl"]) is None
        taken = {"ann": 0, "bob": 0}
        for turn in range(1000):  # a flood of 100 a second, and a message every half second
            world.now += 0.01
            taken["ann"] += rules.may_send(ann, "chat/rooms", ["room"]) is None
            if turn % 50 == 0:
                assert rules.may_send(bob, "chat/rooms", ["room"]) is None
                taken["bob"] += 1
        assert taken["bob"] == 20
        assert 75 <= taken["ann"] <= 101  # what is left of 10 a second


@pytest.mark.req("RULE-10")
@trio_test
async def test_a_room_whose_name_is_long_is_counted_too() -> None:
    async with ruled(**rated(room=SLOW)) as (world, rules), world.client():
        ann, long = world.socket(), "room" * 1000
        denied = [rules.may_send(ann, "chat/rooms", [long]) for _ in range(3)][-1]
        assert denied is not None
        assert len(denied.message) < 200
        assert max(map(len, rules.meter.buckets._full_at)) < 100


@pytest.mark.req("RULE-09")
@pytest.mark.req("RULE-10")
@trio_test
async def test_a_namespace_has_a_rate_which_a_flood_does_not_use_up() -> None:
    async with (
        ruled(**rated(namespace=Rate(per_s=10, burst=20), user=Rate(per_s=1, burst=4))) as (
            world,
            rules,
        ),
        world.client() as ann,
        world.client("bob") as bob,
    ):
        answers = [await ask(ann, "echo") for _ in range(100)]
        assert answers.count("[]") == 4
        refused = rules.statistics().refused
        assert (refused["user_rate"], refused["namespace_rate"]) == (96, 0)
        assert [await ask(bob, "echo") for _ in range(4)] == ["[]"] * 4


@pytest.mark.req("RULE-10")
@trio_test
async def test_events_beyond_the_rate_of_a_namespace_are_refused() -> None:
    async with (
        ruled(**rated(namespace=Rate(per_s=1, burst=4))) as (world, rules),
        world.client() as ann,
        world.client("bob") as bob,
    ):
        answers = [await ask(ann, "echo") for _ in range(5)]
        assert answers[:2] == ["[]", "[]"]
        assert reason(answers[-1]) == "namespace_rate"
        assert await ask(bob, "echo") == "[]"
        assert rules.statistics().refused["namespace_rate"] >= 1


@pytest.mark.req("RULE-17")
@trio_test
async def test_a_client_beside_a_flood_loses_nothing_and_keeps_its_order() -> None:
    async with (
        ruled(**rated(user=Rate(per_s=50, burst=100), namespace=Rate(per_s=1e4))) as (world, rules),
        world.client() as good,
        world.client("eve") as eve,
    ):
        received = list[tuple[str | None, int]]()

        @world.chat.on("count")
        def count(socket: Socket, number: int) -> int:
            received.append((socket.user, number))
            return number

        world.chat.on("noise")(lambda _: None)
        async with trio.open_nursery() as nursery:

            async def make_noise() -> None:
                for _ in range(50):
                    await flood(eve, "noise", 200)
                    for _ in range(20):
                        await eve.receive()

            nursery.start_soon(make_noise)
            for number in range(100):
                assert await ask(good, "count", number) == f"[{number}]"
            nursery.cancel_scope.cancel()
        assert received == [("ann", number) for number in range(100)]
        assert rules.statistics().refused["user_rate"] > 0


# --- logins


@pytest.mark.req("RULE-18")
@trio_test
async def test_a_user_that_logs_in_too_often_is_held_off_and_told_for_how_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = RulesOptions(logins=LoginRate(count=3, within_s=60, hold_off_s=30))
    async with ruled(options) as (world, rules):
        for _ in range(3):
            async with world.client():
                pass
        assert await refused(world.port) == {
            "message": "you have logged in too often. Try again in 30 s",
            "data": {
                "errcode": 2,
                "errmsg": "you have logged in too often. Try again in 30 s",
                "reason": "login_rate",
                "retry_after_s": 30.0,
            },
        }
        world.now += 20
        assert (await refused(world.port))["data"]["retry_after_s"] == 10.0
        async with world.client("bob"):
            assert rules.statistics().held_off == 1
        world.now += 10
        async with world.client():
            assert rules.statistics().held_off == 0
        assert rules.statistics().refused["login_rate"] == 2
    assert "was refused (login_rate): you have logged in too often" in caplog.text


@pytest.mark.req("RULE-18")
@trio_test
async def test_a_reload_begins_and_ceases_to_hold_users_off() -> None:
    async with ruled(RulesOptions()) as (world, rules):
        for logins in (LoginRate(count=1, within_s=60), LoginRate(count=1, within_s=50)):
            rules.apply(RulesOptions(logins=logins))
            async with world.client():
                pass
            assert (await refused(world.port))["data"]["retry_after_s"] == 60.0
            rules.apply(RulesOptions())
            async with world.client():
                pass
            world.now += 100
        async with world.client(None), world.client(None):  # who has no user is not held off
            pass


@pytest.mark.req("RULE-18")
@trio_test
async def test_a_client_that_recovers_its_session_does_not_log_in() -> None:
    options = RulesOptions(logins=LoginRate(count=1, within_s=60))
    server = Server(ServerOptions(state_recovery=True))
    async with ruled(options, server) as (world, rules):
        async with open_client(world.port) as client:
            await client.send('0/chat,{"user":"ann"}')
            pid = json.loads((await client.receive())[0].removeprefix("0/chat,"))["pid"]
            world.socket().emit("message")
            offset = (await client.receive_event("/chat"))[-1]
            await client.engine.aclose()
        await until(lambda: not world.chat.sockets)
        async with open_client(world.port) as client:
            auth = {"user": "ann", "pid": pid, "offset": offset}
            await client.send("0/chat," + json.dumps(auth))
            assert (await client.receive())[0].startswith("0/chat,")
            assert world.socket().recovered
        assert rules.statistics().refused["login_rate"] == 0
        assert (await refused(world.port))["data"]["reason"] == "login_rate"


@pytest.mark.req("RULE-23")
def test_a_user_that_waits_as_it_was_told_may_log_in() -> None:
    logins = Logins(TokenBuckets(10), LoginRate(count=2, within_s=120, hold_off_s=5))
    assert [logins.admit("/chat", "ann", now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 58.0]
    assert logins.admit("/chat", "ann", 59.0) == 1.0
    assert logins.admit("/chat", "ann", 60.0) == 0.0
    logins.apply(LoginRate(count=2, within_s=1, hold_off_s=5))
    assert [logins.admit("/chat", "bob", 100.0) for _ in range(3)] == [0.0, 0.0, 5.0]


@pytest.mark.req("RULE-19")
def test_the_users_that_are_held_off_are_bounded() -> None:
    buckets = TokenBuckets[str](10)
    logins = Logins(buckets, LoginRate(count=1, within_s=30, hold_off_s=30))
    for number in range(100):
        assert logins.admit("/chat", str(number), 0.0) == 0.0
        assert logins.admit("/chat", str(number), 0.0) == 30.0
        assert len(logins) <= 10
        assert len(buckets) <= 10
    assert logins.admit("/chat", "99", 1.0) == 29.0
    assert logins.admit("/chat", "98", 31.0) == 0.0
    assert logins.admit("/chat", "98", 31.0) == 30.0
    assert len(logins) == 1  # the others are over as well
    logins.apply(None)
    assert len(logins) == 0
    assert logins.admit("/chat", "98", 32.0) == 0.0


@pytest.mark.req("RULE-19")
@trio_test
async def test_those_that_are_counted_are_bounded() -> None:
    options = RulesOptions(
        namespaces=(NamespaceRules(name="/chat", rates=Rates(room=SLOW)),), max_counted=100
    )
    async with ruled(options) as (world, rules), world.client():
        for number in range(1000):
            assert rules.may_send(world.socket(), "chat/rooms", [f"room-{number}"]) is None
        found = rules.statistics()
        assert found.counted <= 100
        assert found.forgotten > 0
        world.now += 1000
        rules.may_send(world.socket(), "chat/rooms", ["another"])
        assert rules.statistics().forgotten == found.forgotten
        rules.apply(RulesOptions(namespaces=options.namespaces, max_counted=5000))
        for number in range(1000):
            assert rules.may_send(world.socket(), "chat/rooms", [f"room-{number}"]) is None
        assert rules.statistics().counted > 100


async def refused(port: int, user: str = "ann") -> Any:
    """Ask to be let in to /chat; return the refusal."""
    async with open_client(port) as client:
        await client.send("0/chat," + json.dumps({"user": user}))
        text, _ = await client.receive()
        assert text.startswith("4/chat,"), text
        return json.loads(text.removeprefix("4/chat,"))
