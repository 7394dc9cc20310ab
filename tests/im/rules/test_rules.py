"""What clients may send and where, by the rules of a namespace and by their tokens."""

import json
import logging
import operator
import re
from typing import Any

import pytest
import trio
from tests.im.rules.ruled import Refusal, ask, rated, ruled
from tests.socketio.serving import joined, send_batch, until
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.errors import OptionError
from trio_socketio.im.rules.grants import NOTHING, Claims, Grant, read_grant
from trio_socketio.im.rules.guarding import GuardedHandler
from trio_socketio.im.rules.options import (
    EventRate,
    LoginRate,
    NamespaceRules,
    Rate,
    Rates,
    RulesOptions,
)
from trio_socketio.im.rules.patterns import Patterns
from trio_socketio.im.rules.service import Rules


def told(refusal: Any) -> dict[str, Any]:
    assert isinstance(refusal, Refusal)
    answer: dict[str, Any] = json.loads(refusal)
    return answer


def count_reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the claims that are read from now on."""
    read: list[str] = []

    def count(claims: Claims, name: str) -> Grant:
        read.append(name)
        return read_grant(claims, name)

    monkeypatch.setattr("trio_socketio.im.rules.allowances.read_grant", count)
    return read


# --- events


@pytest.mark.req("RULE-03")
@trio_test
async def test_only_events_that_a_pattern_matches_are_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ruled(events=("ec*", "later")) as (world, rules), world.client() as client:
        world.chat.on("secret")(lambda _: "handled")
        seen = list[str]()

        @world.chat.on("later")
        async def later(_: Socket) -> str:
            seen.append("later")
            return "later"

        assert await ask(client, "echo", 1) == "[1]"
        assert await ask(client, "later") == '["later"]'
        assert told(await ask(client, "secret")) == {
            "errcode": 2,
            "errmsg": "you may not send the event 'secret' in /chat",
            "reason": "event_not_allowed",
        }
        assert told(await ask(client, "nobody"))["reason"] == "event_not_allowed"
        assert rules.statistics().refused["event_not_allowed"] == 2
    assert "was refused (event_not_allowed): you may not send the event 'secret'" in caplog.text


@pytest.mark.req("RULE-03")
@trio_test
async def test_an_async_handler_is_not_begun() -> None:
    async with ruled(events=()) as (world, _), world.client() as client:
        begun = list[str]()

        @world.chat.on("slow")
        async def slow(_: Socket) -> None:
            begun.append("slow")

        assert told(await ask(client, "slow"))["reason"] == "event_not_allowed"
        assert not begun


@pytest.mark.req("RULE-03")
@trio_test
async def test_a_refusal_reaches_a_client_that_asks_for_no_answer() -> None:
    async with ruled(events=()) as (world, _), world.client() as client:
        await client.emit("x" * 5000, namespace="/chat")
        name, refusal = await client.receive_event("/chat")
        assert name == "logic/error"
        assert refusal["reason"] == "event_not_allowed"
        assert len(refusal["errmsg"]) < 200


@pytest.mark.req("RULE-02")
def test_events_that_are_free_have_their_own_handlers() -> None:
    server = Server()
    for name in ("/free", "/ruled", "/rated"):
        for event in ("echo", "other"):
            server.of(name).on(event)(lambda _: None)
    rated = NamespaceRules(name="/rated", rates=Rates(events=(EventRate(name="ec*", per_s=1),)))
    ruled = NamespaceRules(name="/ruled", events=("echo",))
    Rules(server, RulesOptions(namespaces=(rated, ruled)))

    def guarded(name: str) -> list[str | float]:
        handlers = server.of(name)._registry.handlers
        return [event for event, one in handlers.items() if isinstance(one, GuardedHandler)]

    assert guarded("/free") == []
    assert guarded("/rated") == ["echo"]
    assert guarded("/ruled") == ["echo", "other"]
    assert server.of("/free")._registry.unhandled_for("x") is None


@pytest.mark.req("RULE-04")
def test_rules_hold_in_namespaces_that_are_made_later() -> None:
    server = Server()
    Rules(server, RulesOptions(namespaces=(NamespaceRules(name="/room-*", events=()),)))
    server.of("/room-1").on("echo")(lambda _: None)
    assert isinstance(server.of("/room-1")._registry.handlers["echo"], GuardedHandler)
    server.of("/other").on("echo")(lambda _: None)
    assert not isinstance(server.of("/other")._registry.handlers["echo"], GuardedHandler)


def test_namespaces_of_one_kind_share_their_guards() -> None:
    server = Server()
    parent = server.of(re.compile("/room-.*"))
    parent.on("echo")(lambda _: None)
    Rules(server, RulesOptions(namespaces=(NamespaceRules(name="/room-*", events=()),)))
    one, two = (server.of(name)._registry.handlers["echo"] for name in ("/room-1", "/room-2"))
    assert isinstance(one, GuardedHandler)
    assert one is two


@trio_test
async def test_what_is_remembered_of_guards_is_bounded() -> None:
    async with ruled(events=("e*",)) as (world, rules), world.client() as client:
        for number in range(1100):
            world.chat.on(f"e{number}")(lambda _: "done")
        assert len(rules._guarded) == 1000
        await client.emit("made up", namespace="/chat")
        assert (await client.receive_event("/chat"))[0] == "logic/error"
        assert len(rules._guarded) == 1000
        assert await ask(client, "e1") == '["done"]'


@pytest.mark.req("RULE-12")
@trio_test
async def test_a_reload_changes_what_clients_may_do_who_are_there() -> None:
    async with (
        ruled(**rated(user=Rate(per_s=0.1, burst=1))) as (world, rules),
        world.client() as client,
    ):
        assert await ask(client, "echo") == "[]"
        assert told(await ask(client, "echo"))["reason"] == "user_rate"
        rules.apply(RulesOptions())
        assert await ask(client, "echo") == "[]"
        none = NamespaceRules(name="/chat", events=())
        rules.apply(RulesOptions(namespaces=(none,)))
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"
        rules.apply(RulesOptions(user=Rate(per_s=0.1, burst=2)))
        assert await ask(client, "echo") == "[]"
        assert await ask(client, "echo") == "[]"
        assert told(await ask(client, "echo"))["reason"] == "user_rate"


@pytest.mark.req("RULE-24")
@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "handled"),
    [
        ({"claim": "im"}, {"events": ("slow",)}, 0),
        ({"events": ("slow", "late")}, {"rates": Rates(user=Rate(per_s=0.1, burst=2))}, 2),
        ({"events": ("slow",)}, {}, 3),
        ({"events": ("slow",)}, None, 3),
        ({}, {"events": ("slow",)}, 3),  # nothing guards them, so they stay free
    ],
    ids=["forbidden", "rated", "free", "without rules", "free before"],
)
@trio_test
async def test_events_that_wait_are_judged_by_the_rules_that_hold_then(
    before: dict[str, Any],
    after: dict[str, Any] | None,
    handled: int,
    *,
    leaves: bool,
) -> None:
    async with ruled(**before) as (world, rules):
        done, begun, go = list[str](), trio.Event(), trio.Event()

        @world.chat.on("slow")
        async def slow(_: Socket) -> None:
            begun.set()
            await go.wait()

        @world.chat.on("late")
        def late(_: Socket) -> None:
            done.append("late")

        async with world.client() as client:
            ann = world.socket()
            await send_batch(client, ['2/chat,["slow"]', *['2/chat,["late"]'] * 3])
            await until(lambda: begun.is_set() and ann._open_events().pending == 4)
            ruled_then = () if after is None else (NamespaceRules(name="/chat", **after),)
            rules.apply(RulesOptions(namespaces=ruled_then))
            if leaves:
                await client.send("1/chat,")
                await until(lambda: not ann.connected)
            go.set()
            await until(lambda: not ann._open_events().pending)
        assert len(done) == handled


@trio_test
async def test_a_reload_reads_no_token_again_that_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = count_reading(monkeypatch)
    async with ruled(claim="im") as (world, rules), world.client() as client:
        world.claims = {"ann": {"im": {"events": ["echo"]}, "other": {"events": ["echo"]}}}
        for claim in ("im", "im", "other"):
            rules.apply(RulesOptions(namespaces=(NamespaceRules(name="/chat", claim=claim),)))
            assert await ask(client, "echo") == "[]"
        assert read == ["im", "other"]
        world.claims = {"ann": {"other": {"events": []}}}  # not read before the rules change again
        other = NamespaceRules(name="/chat", claim="other")
        rules.apply(RulesOptions(namespaces=(other,), user=Rate(per_s=9.0)))
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"
        rules.apply(RulesOptions())
        assert not rules.allowances.known


@pytest.mark.req("RULE-13")
@trio_test
async def test_a_namespace_is_given_rules_of_its_own() -> None:
    async with ruled(events=()) as (world, rules), world.client() as client:
        rules.define("/chat", NamespaceRules(rooms=("r*",)))
        assert await ask(client, "echo") == "[]"
        assert rules.may_join(world.socket(), "join", ["s1"]) is not None
        rules.define("/later", NamespaceRules(events=()))
        world.server.of("/later").on("echo")(lambda _: None)
        assert isinstance(world.server.of("/later")._registry.handlers["echo"], GuardedHandler)
        rules.define("/chat", None)
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"
        assert rules.may_join(world.socket(), "join", ["s1"]) is None


@trio_test
async def test_concurrent_handlers_stay_so_behind_the_guard() -> None:
    async with ruled(**rated(user=Rate(per_s=100))) as (world, _), world.client() as client:
        go_on = trio.Event()

        async def first(_: Socket) -> str:
            await go_on.wait()
            return "first"

        world.chat.on("first", concurrent=True)(first)

        @world.chat.on("second")
        async def second(_: Socket) -> None:
            go_on.set()

        await send_batch(client, ['2/chat,7["first"]', '2/chat,["second"]'])
        assert (await client.receive())[0] == '3/chat,7["first"]'


@trio_test
async def test_names_that_clients_make_up_are_not_timed() -> None:
    async with ruled(**rated(user=Rate(per_s=100))) as (world, _), world.client() as client:
        world.chat.on_unhandled(lambda _, name: name)
        assert await ask(client, "made up") == '["made up"]'
        assert await ask(client, "echo") == "[]"
        names = {str(name) for name in world.server._host.workers.timings.by_name}
        assert "echo" in names
        assert "made up" not in names


# --- rooms and users


@pytest.mark.req("RULE-06")
@trio_test
async def test_rooms_and_users_go_by_patterns() -> None:
    async with ruled(rooms=("room-*", "lobby"), users=("b*",)) as (world, rules), world.client():
        ann = world.socket()
        for may in (rules.may_join, rules.may_send):
            assert may(ann, "any", ["room-1"]) is None
            assert may(ann, "any", ["lobby"]) is None
            denied = may(ann, "any", ["lobby", "lobby-2"])
            assert denied is not None
            assert denied == ("room_not_allowed", "you may not use the room 'lobby-2'", None, 1)
        assert rules.may_send_to_users(ann, "chat/users", ["bob"]) is None
        denied = rules.may_send_to_users(ann, "chat/users", ["carl"])
        assert denied == ("user_not_allowed", "you may not send to the user 'carl'", None, 0)
        refused = rules.statistics().refused
        assert (refused["room_not_allowed"], refused["user_not_allowed"]) == (2, 1)


@trio_test
async def test_without_rules_every_room_and_user_is_free() -> None:
    async with ruled(RulesOptions()) as (world, rules), world.client():
        ann = world.socket()
        assert rules.may_join(ann, "join", ["any"]) is None
        assert rules.may_send(ann, "chat/rooms", ["any"]) is None
        assert rules.may_send_to_users(ann, "chat/users", ["bob"]) is None
        assert rules.statistics().counted == 0


# --- tokens


@pytest.mark.req("RULE-05")
@trio_test
async def test_the_claim_of_a_token_takes_the_place_of_what_is_configured() -> None:
    async with ruled(
        events=("echo",), rooms=(), users=(), claim="im", **rated(user=Rate(per_s=0.1, burst=1))
    ) as (world, rules):
        world.chat.on("admin")(lambda _: "done")
        rate = {"per_s": 0.1, "burst": 3}
        grant = {"events": ["admin"], "rooms": ["r*"], "users": ["bob"], "rate": rate}
        world.claims = {"ann": {"im": grant}, "bob": {"other": grant}, "carl": {"im": {}}}
        async with world.client() as ann:
            assert [await ask(ann, "admin") for _ in range(3)] == ['["done"]'] * 3
            assert told(await ask(ann, "admin"))["reason"] == "user_rate"
            assert told(await ask(ann, "echo"))["reason"] == "event_not_allowed"
            assert rules.may_join(world.socket(), "join", ["r1"]) is None
            assert rules.may_send_to_users(world.socket(), "chat/users", ["bob"]) is None
        for user in ("bob", "carl", "dan"):  # whose tokens say nothing
            async with world.client(user) as client:
                assert told(await ask(client, "admin"))["reason"] == "event_not_allowed"
                assert await ask(client, "echo") == "[]"
                assert told(await ask(client, "echo"))["reason"] == "user_rate"
                assert rules.may_join(world.socket(user), "join", ["r1"]) is not None
        await until(lambda: not rules.allowances.known)


@pytest.mark.req("RULE-05")
@trio_test
async def test_another_token_of_a_client_that_is_there_counts_at_once() -> None:
    async with ruled(claim="im") as (world, _), world.client() as client:
        assert await ask(client, "echo") == "[]"
        world.claims = {"ann": {"im": {"events": []}}}
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"
        world.claims = {"ann": {"im": {"events": ["e*"]}}}
        assert await ask(client, "echo") == "[]"


@pytest.mark.req("RULE-05", "RULE-12")
@trio_test
async def test_a_reload_may_name_another_claim() -> None:
    async with ruled(claim="im") as (world, rules), world.client() as client:
        world.claims = {"ann": {"im": {}, "other": {"events": []}}}
        assert await ask(client, "echo") == "[]"
        other = NamespaceRules(name="/chat", claim="other")
        rules.apply(RulesOptions(namespaces=(other,)))
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"


@trio_test
async def test_a_definition_of_another_namespace_reads_no_claims_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = count_reading(monkeypatch)
    async with ruled(claim="im") as (world, rules), world.client() as client:
        world.claims = {"ann": {"im": {"events": ["echo"]}, "other": {"events": []}}}
        for number in range(3):
            assert await ask(client, "echo") == "[]"
            rules.define(f"/other-{number}", NamespaceRules(claim="other"))
        assert read == ["im"]
        rules.define("/chat", NamespaceRules(claim="other"))
        assert told(await ask(client, "echo"))["reason"] == "event_not_allowed"
        rules.define("/chat", None)
        assert await ask(client, "echo") == "[]"


@trio_test
async def test_nothing_is_kept_of_a_client_that_has_left() -> None:
    async with ruled(claim="im") as (world, rules):
        world.claims = {"ann": {"im": {"rooms": []}}}
        async with world.client():
            ann = world.socket()
        await until(lambda: not world.chat.sockets)
        assert rules.may_join(ann, "join", ["a"]) is not None
        assert len(rules.allowances.known) == 0
        del ann
        await until(lambda: not rules.allowances._left)


@pytest.mark.req("RULE-25")
@trio_test
async def test_the_token_of_a_client_that_has_left_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = count_reading(monkeypatch)
    async with ruled(claim="im") as (world, rules):
        world.claims = {"ann": {"im": {"rooms": ["a"]}, "other": {"rooms": []}}}
        async with world.client():
            ann = world.socket()
        await until(lambda: not ann.connected)
        for _ in range(3):
            assert rules.may_join(ann, "join", ["a"]) is None
            assert rules.may_join(ann, "join", ["b"]) is not None
        rules.define("/chat", NamespaceRules(claim="other"))
        assert rules.may_join(ann, "join", ["a"]) is not None
        assert read == ["im", "other"]


@pytest.mark.req("RULE-26")
@trio_test
async def test_events_without_rates_of_their_own_share_what_they_use_up() -> None:
    rates = Rates(
        user=Rate(per_s=9.0), namespace=Rate(per_s=9.0), events=(EventRate(name="a*", per_s=9.0),)
    )
    options = RulesOptions(
        namespaces=(NamespaceRules(name="/chat", rates=rates),), user=Rate(per_s=9.0)
    )
    async with ruled(options) as (world, rules), world.client() as client:
        for event in ("a1", "a2", "b1", "b2"):
            world.chat.on(event)(lambda _: None)
            assert await ask(client, event) == "[]"
        draws = rules.allowances.known[world.socket()].draws
        assert len(draws["b1"]) == 4  # of the user, twice, and of the namespace and its share
        assert draws["b1"] is draws["b2"]
        for event in ("a1", "a2"):
            assert len(draws[event]) == 5
            assert all(map(operator.is_, draws[event][1:], draws["b1"]))


@pytest.mark.req("RULE-07")
@pytest.mark.parametrize(
    "claim", [None, [], "echo", {"events": "echo"}, {"event": []}, {"rooms": ["a*b*"]},
              {"rate": {"per_s": 0}}, {"rate": 5}, {"events": [1]}]
)  # fmt: skip
@trio_test
async def test_a_claim_that_cannot_be_used_allows_nothing(claim: Any) -> None:
    async with ruled(claim="im") as (world, rules):
        world.claims = {"ann": {"im": claim}}
        async with world.client() as client:
            refusal = told(await ask(client, "echo"))
            assert refusal["reason"] == "bad_claim"
            assert refusal["errmsg"].startswith("the claim im of the token cannot be used: ")
            for judge in (rules.may_join, rules.may_send, rules.may_send_to_users):
                denied = judge(world.socket(), "any", ["any"])
                assert denied is not None
                assert denied.reason == "bad_claim"


@pytest.mark.req("IDENT-93")
@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        (5, "expected an object, not a whole number"),
        ({"rooms": "lobby"}, "rooms: expected a list or null, not text"),
        ({"rate": {"burst": 2}}, "rate.per_s: is missing"),
        ({"rate": {"per_s": 0}}, "per_s: must be above zero, not 0.0"),
        ({"room": []}, "room: is not expected here; leave it out"),
    ],
)
def test_the_fault_of_a_claim_is_told_in_the_words_of_clients(claim: Any, fault: str) -> None:
    grant = read_grant({"im": claim}, "im")
    assert grant.fault == f"the claim im of the token cannot be used: {fault}"


def test_a_token_without_the_claim_says_nothing() -> None:
    assert read_grant({"im": {}}, "other") is NOTHING


# --- patterns and options


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("a", ["a"], ["", "aa", "A"]),
        ("*", ["", "a", "anything"], []),
        ("a*", ["a", "ab"], ["", "ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a.*", ["a.", "a.b"], ["ab"]),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, matches: list[str], others: list[str]) -> None:
    assert [one for one in matches + others if Patterns([pattern]).match(one)] == matches


@pytest.mark.parametrize(
    "make",
    [
        lambda: NamespaceRules(name="chat"),
        lambda: NamespaceRules(events=("a**",)),
        lambda: NamespaceRules(rooms=("",)),
        lambda: NamespaceRules(users=("a" * 300,)),
        lambda: NamespaceRules(rooms="lobby"),  # type: ignore[arg-type]  # what is refused
        lambda: NamespaceRules(rooms=("a",) * 1001),
        lambda: NamespaceRules(claim=""),
        lambda: Rate(per_s=0),
        lambda: Rate(per_s=1, burst=0),
        lambda: Rate(per_s=float("nan")),
        lambda: EventRate(name="", per_s=1),
        lambda: EventRate(name="a", per_s=1, burst=0),
        lambda: Rates(user=5),  # type: ignore[arg-type]  # what is refused
        lambda: Rates(events=(EventRate(name="a", per_s=1), EventRate(name="a", per_s=2))),
        lambda: LoginRate(count=0, within_s=1),
        lambda: LoginRate(count=1, within_s=0),
        lambda: RulesOptions(namespaces=(NamespaceRules(),)),
        lambda: RulesOptions(namespaces=(NamespaceRules(name="/a"), NamespaceRules(name="/a"))),
        lambda: RulesOptions(max_counted=1),
        lambda: RulesOptions(user=True),  # type: ignore[arg-type]  # what is refused
    ],
)
def test_options_that_cannot_be_used_are_refused(make: Any) -> None:
    with pytest.raises(OptionError):
        make()


@pytest.mark.req("RULE-14", "RULE-22")
@trio_test
async def test_lines_about_refusals_are_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        ruled(events=()) as (world, rules),
        joined(world.port, "websocket", "/chat") as (
            client,
            _,
        ),
    ):
        async with world.client("bob") as bob:
            told(await ask(bob, "secret"))
            (bob_id,) = (one.public_id for one in world.chat.sockets.values() if one.user)
        for _ in range(50):
            await client.emit("secret", namespace="/chat")
        await until(lambda: rules.statistics().refused["event_not_allowed"] == 51)
    assert f"socket {bob_id} of user 'bob' in /chat was refused" in caplog.text
    assert " from 127.0.0.1 in /chat was refused" in caplog.text  # where nobody says who it is
    lines = [record for record in caplog.records if record.name.endswith("rules.refusals")]
    assert len(lines) < 15
    assert "refused by rules, event not allowed: " in lines[-1].getMessage()
