"""The presence store on a real Redis: what it promises beyond the contract of every store."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.redis_server import RedisServer, running_redis
from trio.testing import trio_test

from trio_socketio import Redis, RedisOptions, Server, open_redis
from trio_socketio.errors import OptionError
from trio_socketio.im.presence import KickResult, Presence, redis_wakings
from trio_socketio.im.presence import redis_store as module
from trio_socketio.im.presence.insisting import insist
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.store import CLAIM_S, NamespaceUnusable, StoreUnavailable
from trio_socketio.protocol.presence_claims import (
    Claimed,
    ClaimRef,
    ClaimRequest,
    Fenced,
    Kicked,
    Renewal,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged

CHAT = "/chat"
TAG = "tsio:{presence#0}:"
KEYS = ("meta", "leases", "dead", "owned", "orders", "inbox", "kicked")


@pytest.fixture(scope="module")
def its_own() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def server(its_own: RedisServer) -> RedisServer:
    its_own.command("FLUSHALL")
    return its_own


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def two_stores(
    server: RedisServer, clock: Clock | None = None, **options: Any
) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Two stores with a connection each; boot "a1" is enrolled with one, "b1" with the other."""
    async with open_redis(server.url) as one, open_redis(server.url) as other:
        both = tuple(RedisStore(redis, clock=clock or Clock(), **options) for redis in (one, other))
        first, second = both
        assert await first.enroll("a", "a1") == ()
        assert await second.enroll("b", "b1") == ()
        yield first, second


def asking(user: str, attempt: int, boot: str = "a1", **changes: Any) -> ClaimRequest:
    given: dict[str, Any] = {
        "namespace": CHAT,
        "user": user,
        "id": f"id-{attempt}",
        "node": boot[0],
        "boot": boot,
        "attempt": attempt,
    }
    return ClaimRequest(**(given | changes))


async def claim(store: RedisStore, *arguments: Any, **changes: Any) -> Claimed:
    outcome = await store.claim(asking(*arguments, **changes))
    assert isinstance(outcome, Claimed)
    return outcome


def refer(user: str, attempt: int, token: Cursor) -> ClaimRef:
    """Name a claim of the boot "a1"."""
    return ClaimRef(namespace=CHAT, user=user, boot="a1", attempt=attempt, token=token)


@asynccontextmanager
async def entering(store: RedisStore, user: str, claimed: Claimed) -> AsyncIterator[trio.Event]:
    """A client waits for others; the event is set when it has entered, as it must by the end."""
    entered = trio.Event()

    async def enter() -> None:
        await store.wait_confirmed(CHAT, user, claimed.awaits)
        entered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        for _ in range(3):
            await store.count(CHAT)
        yield entered
        with trio.fail_after(5):
            await entered.wait()


async def look(store: RedisStore, clock: Clock, seconds: float) -> None:
    """Let time pass while leases are watched as they should be."""
    end = clock.now + seconds
    while True:
        await store.expired()
        if clock.now >= end:
            return
        clock.now = min(end, clock.now + store.lease_s / 20)


async def seats(store: RedisStore) -> dict[str, list[str]]:
    found = (await store.snapshot(CHAT)).users
    return {user: [seat.id for seat in held] for user, held in found.items()}


# -- what is lost


@pytest.mark.req("RSTORE-10", "RSTORE-13")
@pytest.mark.parametrize("how", ["read", "claim", "renew", "kick", "watch"])
@trio_test
async def test_a_server_that_was_wiped_is_noticed_by_the_first_call(
    server: RedisServer, how: str
) -> None:
    async with two_stores(server) as (one, other):
        before = (await claim(one, "ann", 1)).token
        epoch = one.epoch
        server.command("FLUSHALL")
        if how == "read":
            assert (await one.count(CHAT)).users == 0
        elif how == "claim":
            with pytest.raises(StoreUnavailable, match="has lost presence data"):  # RSTORE-13
                await one.claim(asking("bob", 2))
        elif how == "renew":
            assert await one.renew("a1") is Renewal.REBUILD
        elif how == "kick":
            await one.kick(CHAT, "ann")
        else:
            await one.expired()
        assert one.epoch > epoch
        assert one.generation_changes == 1
        found = await other.count(CHAT)
        assert found.is_rebuilding
        assert found.cursor.generation > before.generation
        assert isinstance(await one.read(CHAT, before, 10), GenerationChanged)


@pytest.mark.req("RSTORE-10")
@trio_test
async def test_a_write_of_others_that_was_seen_and_lost_is_noticed(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        kept = {key: server.command("DUMP", key) for key in server.command("KEYS", "*")}
        await claim(other, "bob", 1, "b1")
        before = await one.count(CHAT)
        assert before.users == 1
        server.command("FLUSHALL")
        for key, value in kept.items():
            server.command("RESTORE", key, 0, value)
        found = await one.count(CHAT)
        assert found.users == 0
        assert found.cursor.generation > before.cursor.generation
        assert found.is_rebuilding


@pytest.mark.req("RSTORE-56")
@trio_test
async def test_a_lost_namespace_in_which_nothing_was_written_gets_a_later_generation(
    server: RedisServer,
) -> None:
    async with two_stores(server) as (one, other):
        kept = {key: server.command("DUMP", key) for key in server.command("KEYS", "*")}
        await one.count("/first")
        before = (await other.count(CHAT)).cursor
        server.command("FLUSHALL")
        for key, value in kept.items():
            server.command("RESTORE", key, 0, value)
        assert (await one.count(CHAT)).cursor.generation > before.generation
        assert await other.renew("b1") is Renewal.REBUILD


@pytest.mark.req("RSTORE-11")
@trio_test
async def test_a_write_that_was_lost_is_noticed_though_others_have_written_since(
    server: RedisServer,
) -> None:
    async with two_stores(server) as (one, other):
        await claim(other, "bob", 1, "b1")
        kept = {key: server.command("DUMP", key) for key in server.command("KEYS", "*")}
        await claim(one, "ann", 1)
        server.command("FLUSHALL")
        for key, value in kept.items():
            server.command("RESTORE", key, 0, value)
        epoch = other.epoch
        for number in range(2, 5):  # it knows of nothing that is missing
            await claim(other, f"user {number}", number, "b1")
        assert other.epoch == epoch
        assert (await one.count(CHAT)).users == 0
        assert one.epoch > epoch
        assert await other.renew("b1") is Renewal.REBUILD


@pytest.mark.req("RSTORE-12")
@trio_test
async def test_a_node_that_knew_nothing_does_not_hide_a_loss(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        await claim(one, "ann", 1)
        server.command("FLUSHALL")
        async with open_redis(server.url) as redis:
            new = RedisStore(redis)
            assert await new.enroll("c", "c1") == ()
            assert not (await new.count(CHAT)).is_rebuilding
            assert await one.renew("a1") is Renewal.REBUILD
            assert (await new.count(CHAT)).is_rebuilding


@pytest.mark.req("RSTORE-14")
@trio_test
async def test_a_claim_waits_for_the_old_client_though_its_order_was_lost(
    server: RedisServer,
) -> None:
    clock = Clock()
    async with two_stores(server, clock) as (one, other):
        old = await claim(one, "ann", 1)
        new = await claim(other, "ann", 2, "b1")
        assert new.awaits == (old.token,)
        server.command("FLUSHALL")
        async with entering(other, "ann", new) as entered:
            assert not entered.is_set()  # the old client has heard of nothing
            assert await one.renew("a1") is await other.renew("b1") is Renewal.REBUILD
            again = await other.reassert(asking("ann", 2, "b1"), new.token)
            assert isinstance(again, Claimed)
            assert isinstance(await one.reassert(asking("ann", 1), old.token), Stale)
            await one.end_rebuild("a1")
            await other.end_rebuild("b1")
            for _ in range(11):
                await look(other, clock, 1)
                assert await one.renew("a1") is await other.renew("b1") is Renewal.RENEWED
            assert not (await other.count(CHAT)).is_rebuilding
            assert not entered.is_set()
            (order,) = await one.receive_orders("a1")
            await one.confirm(order)


@pytest.mark.req("RSTORE-14")
@trio_test
async def test_strict_claims_wait_until_all_nodes_have_had_a_lease_to_reassert(
    server: RedisServer,
) -> None:
    clock = Clock()
    async with two_stores(server, clock) as (one, other):
        old = await claim(one, "ann", 1)
        server.command("FLUSHALL")
        assert await one.renew("a1") is Renewal.REBUILD
        assert await other.renew("b1") is Renewal.REBUILD
        await other.end_rebuild("b1")
        new = await claim(other, "ann", 2, "b1")
        assert new.awaits == (Cursor(new.token.generation, 0),)
        await look(other, clock, 6)
        assert await one.renew("a1") is await other.renew("b1") is Renewal.RENEWED
        await look(other, clock, 6)
        assert (await other.count(CHAT)).is_rebuilding  # a1 is still at it
        assert isinstance(await one.reassert(asking("ann", 1), old.token), Stale)  # RSTORE-15
        await one.end_rebuild("a1")
        await look(other, clock, 1)
        assert not (await other.count(CHAT)).is_rebuilding
        (order,) = await one.receive_orders("a1")
        assert (order.attempt, order.token, order.reason) == (1, old.token, "replaced")
        async with entering(other, "ann", new) as entered:
            assert not entered.is_set()
            await one.confirm(order)
        assert await seats(one) == {"ann": ["id-2"]}


@pytest.mark.req("RSTORE-15")
@pytest.mark.parametrize("later_first", [True, False])
@trio_test
async def test_of_two_lost_claims_the_later_login_wins(
    server: RedisServer, *, later_first: bool
) -> None:
    async with two_stores(server) as (one, other):
        early = (await claim(one, "ann", 1)).token
        late = (await claim(other, "ann", 1, "b1")).token
        server.command("FLUSHALL")
        assert await one.renew("a1") is Renewal.REBUILD
        assert await other.renew("b1") is Renewal.REBUILD
        calls = [
            partial(one.reassert, asking("ann", 1), early),
            partial(other.reassert, asking("ann", 1, "b1"), late),
        ]
        answers = [await call() for call in (reversed(calls) if later_first else calls)]
        kinds = [type(answer) for answer in answers]
        assert kinds == ([Claimed, Stale] if later_first else [Claimed, Claimed])
        assert [seat.boot for seat in (await one.get(CHAT, ["ann"])).users["ann"]] == ["b1"]
        (order,) = await one.receive_orders("a1")
        assert order.attempt == 1


@pytest.mark.req("RSTORE-16")
@trio_test
async def test_a_claim_goes_over_to_the_next_boot_of_its_node(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        kept = (await claim(one, "ann", 1)).token
        lost = (await claim(one, "bob", 2)).token
        await one.retire("a1")
        assert await one.enroll("a", "a2") == ()
        await claim(other, "bob", 1, "b1")
        moved = await one.reassert(asking("ann", 1, "a2"), kept)
        assert isinstance(moved, Claimed)
        found = await one.read(CHAT, Cursor(kept.generation, 3), 10)
        assert isinstance(found, Entries)
        (entry,) = found.entries
        assert (entry.type, entry.prev, entry.reason) == ("moved", str(kept), "reasserted")
        assert isinstance(await one.reassert(asking("bob", 2, "a2"), lost), Stale)
        assert await one.reap("a1") == 0
        again = await one.reassert(asking("ann", 1, "a2"), kept)  # its answer was lost
        assert again == moved
        assert await seats(one) == {"ann": ["id-1"], "bob": ["id-1"]}


@pytest.mark.req("RSTORE-17")
@trio_test
async def test_a_zombie_of_a_node_that_was_started_anew_gets_no_lease_back(
    server: RedisServer,
) -> None:
    async with two_stores(server) as (one, other):
        server.command("FLUSHALL")
        async with open_redis(server.url) as redis:
            await RedisStore(redis).enroll("a", "a2")
            assert await one.renew("a1") is Renewal.ENDED
            assert await other.renew("b1") is Renewal.REBUILD
            assert await other.renew("b1") is Renewal.RENEWED


# -- what is foreign, or refused


@pytest.mark.req("RSTORE-20")
@pytest.mark.parametrize("key", [*KEYS, "ns:/chat:head", "ns:/chat:users", "ns:/chat:log"])
@trio_test
async def test_keys_of_others_are_refused_and_left_alone(server: RedisServer, key: str) -> None:
    server.command("SET", TAG + key, "theirs")
    async with open_redis(server.url) as redis:
        store = RedisStore(redis)

        async def use() -> None:
            await store.enroll("a", "a1")
            await store.claim(asking("ann", 1))

        with pytest.raises(StoreUnavailable, match="a key of Redis is not ours") as caught:
            await use()
        assert TAG + key in str(caught.value)
        assert server.command("GET", TAG + key) == b"theirs"
        assert bool(store.fault) == (not key.startswith("ns:"))
        server.command("DEL", TAG + key)
        await store.enroll("a", "a1")
        assert not store.fault
        await claim(store, "ann", 1)


@pytest.mark.req("RSTORE-20")
@trio_test
async def test_a_hash_of_others_is_not_taken_for_the_store(server: RedisServer) -> None:
    server.command("HSET", TAG + "meta", "epoch", "5")
    async with open_redis(server.url) as redis:
        with pytest.raises(StoreUnavailable, match="is not that of a presence store"):
            await RedisStore(redis).enroll("a", "a1")
        assert server.command("HGETALL", TAG + "meta") == {b"epoch": b"5"}


@pytest.mark.req("RSTORE-21")
@trio_test
async def test_without_memory_nothing_is_changed(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        token = (await claim(one, "ann", 1)).token
        ref = refer("ann", 1, token)
        before = server.command("HGETALL", TAG + "meta")
        server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            for call in (
                lambda: one.claim(asking("bob", 2)),
                lambda: one.release(ref, "gone"),
                lambda: one.kick(CHAT, "ann"),
                lambda: one.renew("a1"),
            ):
                with pytest.raises(StoreUnavailable, match="out of memory: raise maxmemory"):
                    await call()
            assert "out of memory" in one.fault
            assert await seats(one) == {"ann": ["id-1"]}
        finally:
            server.command("CONFIG", "SET", "maxmemory", "0")
        assert server.command("HGETALL", TAG + "meta") == before
        assert await one.renew("a1") is Renewal.RENEWED
        assert not one.fault


@pytest.mark.req("RSTORE-22")
@trio_test
async def test_a_replica_is_refused(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        server.command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable, match="has to name the master"):
                await one.renew("a1")
        finally:
            server.command("REPLICAOF", "NO", "ONE")
        assert await one.renew("a1") is Renewal.RENEWED


@pytest.mark.req("RSTORE-23")
@trio_test
async def test_no_connection_is_no_answer(server: RedisServer) -> None:
    store = RedisStore(Redis(RedisOptions(url=server.url)))
    with pytest.raises(StoreUnavailable, match="no connection to Redis"):
        await store.enroll("a", "a1")


def test_options() -> None:
    redis = Redis(RedisOptions(url="redis://127.0.0.1"))
    for name in ("lease_s", "max_events"):
        options: dict[str, Any] = {name: 0}
        with pytest.raises(OptionError, match=f"{name}: must be above zero"):
            RedisStore(redis, **options)


# -- leases


@pytest.mark.req("RSTORE-32")
@trio_test
async def test_a_lease_that_was_renewed_meanwhile_is_not_ended(server: RedisServer) -> None:
    clock = Clock()
    async with two_stores(server, clock) as (one, other):
        await claim(one, "ann", 1)
        await look(other, clock, 9.5)
        ((boot, value),) = [
            (key, value)
            for key, value in server.command("HGETALL", TAG + "leases").items()
            if key == b"a1"
        ]
        assert await one.renew("a1") is Renewal.RENEWED
        answer = await other._scripts.run("fence", boot, value)
        assert answer.status == "ALIVE"
        answer = await other._scripts.run_for(CHAT, "reap", "a1", 10)
        assert answer.status == "ALIVE"
        assert await other.reap("a1") is None
        await look(other, clock, 9.5)
        assert await one.renew("a1") is Renewal.RENEWED
        assert await other.renew("b1") is Renewal.ENDED  # nobody has renewed this one
        await look(one, clock, 11)
        assert await one.renew("a1") is Renewal.ENDED
        assert isinstance(await one.claim(asking("bob", 2)), Fenced)
        assert await other.reap("a1") == 1
        assert other.reaped == 1


@pytest.mark.req("RSTORE-33")
@trio_test
async def test_claims_of_a_lost_node_end_in_slices_over_all_namespaces(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        for number in range(7):
            await claim(one, f"user {number}", number, namespace=f"/{number % 2}")
        await one.retire("a1")
        assert await other.expired() == ["a1"]
        assert [await other.reap("a1", 3) for _ in range(4)] == [3, 3, 1, 0]
        assert await other.expired() == []
        assert (await other.count("/0")).users == (await other.count("/1")).users == 0


@pytest.mark.req("RSTORE-34")
def test_no_clock_of_the_server_judges_anything() -> None:
    folder = files("trio_socketio.im.presence").joinpath("lua")
    for script in folder.iterdir():
        if script.is_dir():  # those of other keys
            continue
        text = script.read_text(encoding="utf-8")
        assert text.count("'TIME'") == (script.name == "begin.lua")
        for line in text.splitlines():
            if "milliseconds()" in line and "function" not in line:
                told = (
                    "local at",
                    "epoch = math.max",
                    "finish(",
                    "local now",
                    "deadline",
                    "return answer",
                )
                assert any(one in line for one in told), (script.name, line)


# -- the log, and reading


@pytest.mark.req("RSTORE-40")
@trio_test
async def test_the_log_of_a_namespace_is_bounded(server: RedisServer) -> None:
    async with two_stores(server, max_events=100) as (one, _):
        first = (await one.count(CHAT)).cursor
        for number in range(400):
            await claim(one, "ann", number)
        found = await one.read(CHAT, first, 10)
        assert isinstance(found, CursorExpired)
        assert 100 < found.oldest.sequence <= 300
        rest = await one.read(CHAT, found.oldest, 1000)
        assert isinstance(rest, Entries)
        assert len(rest.entries) == 400 - found.oldest.sequence
        assert [entry.cursor for entry in rest.entries] == [
            str(Cursor(first.generation, number))
            for number in range(found.oldest.sequence + 1, 401)
        ]


@pytest.mark.req("RSTORE-41")
@trio_test
async def test_a_namespace_without_users_is_forgotten_after_a_day(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        keys = [f"{TAG}ns:{CHAT}:{name}" for name in ("head", "log")]
        token = (await claim(one, "ann", 1)).token
        assert [server.command("PTTL", key) for key in keys] == [-1, -1]
        ref = refer("ann", 1, token)
        await one.release(ref, "gone")
        left = [server.command("PTTL", key) for key in keys]
        assert all(86_000_000 < one <= 86_400_000 for one in left)
        await claim(one, "ann", 2)
        assert [server.command("PTTL", key) for key in keys] == [-1, -1]
        await one.kick(CHAT, "ann")
        server.command("DEL", *keys)  # the day is over
        again = (await claim(one, "ann", 3)).token
        assert again > token
        assert again.generation > token.generation


@pytest.mark.req("RSTORE-42")
@trio_test
async def test_a_snapshot_of_many_pages_is_true_at_its_cursor(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 7)
    async with two_stores(server) as (one, other):
        for number in range(50):
            await claim(one, f"user {number:02}", number)

        async def change() -> None:
            for number in range(50):
                user = f"user {(number * 7) % 50:02}"
                if number % 3:
                    await claim(other, user, 100 + number, "b1")
                else:
                    await other.kick(CHAT, user)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            snapshots = [await one.snapshot(CHAT) for _ in range(5)]
        end = await one.snapshot(CHAT)
        for snapshot in snapshots:
            found = await one.read(CHAT, snapshot.cursor, 1000)
            assert isinstance(found, Entries)
            state = {user: {str(s.token) for s in held} for user, held in snapshot.users.items()}
            for entry in found.entries:
                held = state.setdefault(entry.user, set())
                held.discard(entry.prev or entry.token)
                if entry.type in ("online", "moved", "seat_added"):
                    held.add(entry.token)
            assert {user: held for user, held in state.items() if held} == {
                user: {str(seat.token) for seat in held} for user, held in end.users.items()
            }
        pages, after = [], None
        while True:
            page = await one.list_users(CHAT, after, 7)
            pages += list(page.users)
            after = page.next
            if after is None:
                break
        assert pages == sorted(end.users)


@pytest.mark.req("RSTORE-43")
@trio_test
async def test_a_message_that_is_lost_holds_nobody_up_for_long(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_wakings, "LOOK_S", 0.05)
    monkeypatch.setattr(redis_wakings.Wakings, "wake", lambda *_: None)
    async with two_stores(server) as (one, other):
        await claim(one, "ann", 1)
        async with trio.open_nursery() as nursery:
            cursor = (await one.count(CHAT)).cursor
            nursery.start_soon(other.wait_for_more, CHAT, cursor)
            new = await claim(other, "ann", 1, "b1")
            with trio.fail_after(5):
                (order,) = await one.receive_orders("a1")
                nursery.start_soon(other.wait_confirmed, CHAT, "ann", new.awaits)
                await trio.sleep(0.1)
                await one.confirm(order)


@pytest.mark.req("RSTORE-44")
@trio_test
async def test_messages_wake_those_who_wait(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_wakings, "LOOK_S", 100.0)
    async with two_stores(server) as (one, other):
        cursor = (await claim(one, "ann", 1)).token
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.wait_for_more, CHAT, cursor)
                nursery.start_soon(one.receive_orders, "a1")
                nursery.start_soon(one.wait_lost, "a1")
                nursery.start_soon(other.wait_lost, "b1")
                await trio.sleep(0.1)
                new = await claim(other, "ann", 1, "b1")
                nursery.start_soon(other.wait_confirmed, CHAT, "ann", new.awaits)
                await trio.sleep(0.1)
                (order,) = await one.receive_orders("a1")
                await one.confirm(order)
                await other.wait_confirmed(CHAT, "ann", new.awaits)
                server.command("FLUSHALL")
                await one.count(CHAT)


@pytest.mark.req("RSTORE-45")
@trio_test
async def test_every_key_has_the_same_hash_tag_and_scripts_may_be_flushed(
    server: RedisServer,
) -> None:
    async with two_stores(server) as (one, other):
        await claim(one, "ann", 1)
        server.command("SCRIPT", "FLUSH")
        await claim(other, "ann", 1, "b1")
        server.command("SCRIPT", "FLUSH")
        assert isinstance(await other.kick(CHAT, "ann"), Kicked)
        keys = server.command("KEYS", "*")
        assert len(keys) >= 6
        assert all(key.startswith(TAG.encode()) for key in keys)


@pytest.mark.req("RSTORE-46")
@trio_test
async def test_names_and_users_of_any_letters(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        names = ("/a b", "/a", "/1:x", "/ümläut", "/a\x00b")
        users = ("ann", "ann b", "7:x", "äöü €", "(x", "-", "+")
        for namespace in names:
            for number, user in enumerate(users):
                await claim(one, user, number, namespace=namespace)
                await claim(other, user, number, "b1", namespace=namespace)
        orders = await one.receive_orders("a1")
        assert {(o.namespace, o.user) for o in orders} == {(n, u) for n in names for u in users}
        for order in orders:
            await one.confirm(order)
        for namespace in names:
            page = await one.list_users(namespace, None, 100)
            assert list(page.users) == sorted(users)
            after = await one.list_users(namespace, "(x", 100)
            assert list(after.users) == [user for user in sorted(users) if user > "(x"]
        await other.retire("b1")
        assert await one.reap("b1") == len(names) * len(users)


@pytest.mark.req("RSTORE-47")
@trio_test
async def test_a_taken_seat_is_named(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        await claim(one, "ann", 1)
        outcome = await other.claim(asking("ann", 1, "b1", policy="reject"))
        assert isinstance(outcome, Taken)
        assert outcome.reason == "already connected"
        assert one.written == {"online": 1}
        assert other.written == {}


# -- what comes late, or at the wrong moment


@pytest.mark.req("RSTORE-50")
@trio_test
async def test_what_a_lost_connection_brings_late_is_not_done(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        scripts: Any = one._scripts
        scripts._redis = SimpleNamespace(connections=2)
        assert (await one.count(CHAT)).users == 0
        await claim(other, "ann", 1, "b1")
        scripts._redis = SimpleNamespace(connections=1)  # of which the bytes come late
        for call in (
            partial(one.claim, asking("ann", 1)),
            partial(one.kick, CHAT, "ann"),
            partial(one.reassert, asking("ann", 1), Cursor(1, 1)),
        ):
            with pytest.raises(StoreUnavailable, match="lost before this was carried out"):
                await call()
        assert await seats(other) == {"ann": ["id-1"]}
        scripts._redis = SimpleNamespace(connections=3)
        await claim(one, "ann", 2)


@pytest.mark.req("RSTORE-52")
@trio_test
async def test_what_was_read_and_then_lost_is_noticed_though_as_much_was_written_since(
    redis_server: RedisServer,
) -> None:
    async with (
        open_redis(redis_server.url) as one,
        open_redis(redis_server.url) as other,
        open_redis(redis_server.url) as third,
    ):
        reader, writer, gone = (RedisStore(redis) for redis in (one, other, third))
        await reader.enroll("a", "a1")
        await writer.enroll("b", "b1")
        await gone.enroll("c", "c1")
        await claim(writer, "base", 1, "b1")
        redis_server.command("SAVE")
        for number in range(3):
            await claim(gone, f"lost {number}", number, "c1")
        read = await reader.snapshot(CHAT)
        assert len(read.users) == 4
        redis_server.stop()
        redis_server.start()
        await insist(partial(writer.count, CHAT))
        for number in range(3):
            await claim(writer, f"new {number}", 10 + number, "b1")
        found = await insist(partial(reader.read, CHAT, read.cursor, 10))
        assert isinstance(found, GenerationChanged)
        assert reader.generation_changes == 1
        assert await writer.renew("b1") is Renewal.REBUILD


@pytest.mark.req("RSTORE-53")
@trio_test
async def test_a_restart_that_loses_nothing_changes_nothing(redis_server: RedisServer) -> None:
    async with open_redis(redis_server.url) as redis:
        store = RedisStore(redis)
        await store.enroll("a", "a1")
        for number in range(3):
            await claim(store, f"user {number}", number)
            redis_server.command("SAVE")
            redis_server.stop()
            redis_server.start()
            assert await insist(partial(store.renew, "a1")) is Renewal.RENEWED
        assert store.generation_changes == 0
        assert len(await seats(store)) == 3


@pytest.mark.req("RSTORE-51")
@trio_test
async def test_the_end_of_an_earlier_rebuild_does_not_end_this_one(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        server.command("FLUSHALL")
        assert await one.renew("a1") is Renewal.REBUILD
        earlier = one._epochs["a1"]
        server.command("FLUSHALL")
        assert await one.renew("a1") is Renewal.REBUILD
        await one._scripts.run("rebuilt", "a1", earlier)
        assert server.command("HGET", TAG + "leases", "a1") == b"1 1 a"
        await one.end_rebuild("a1")
        assert server.command("HGET", TAG + "leases", "a1") == b"1 0 a"


@pytest.mark.req("RSTORE-35")
@trio_test
async def test_all_nodes_have_the_same_lease(server: RedisServer) -> None:
    clock = Clock()
    async with two_stores(server, clock) as (one, _), open_redis(server.url) as redis:
        third = RedisStore(redis, lease_s=30, clock=clock)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="lease_s = 10, and this one 30: give all"):
                await third.enroll("c", "c1")
        assert await one.renew("a1") is Renewal.RENEWED
        while clock.now < 140:  # the others have died
            clock.now += 1
            try:
                assert await third.enroll("c", "c1") == ()
                break
            except StoreUnavailable:
                assert clock.now < 135
        assert await one.renew("a1") is Renewal.ENDED


@pytest.mark.req("RSTORE-36")
@trio_test
async def test_no_lease_ends_while_none_can_be_renewed(server: RedisServer) -> None:
    clock = Clock()
    async with two_stores(server, clock) as (one, other):
        await claim(one, "ann", 1)
        await look(other, clock, 2)
        server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            for _ in range(40):
                clock.now += 0.5
                with pytest.raises(StoreUnavailable, match="out of memory"):
                    await other.expired()
        finally:
            server.command("CONFIG", "SET", "maxmemory", "0")
        await look(other, clock, 1)
        assert await one.renew("a1") is Renewal.RENEWED
        assert await other.renew("b1") is Renewal.RENEWED


@pytest.mark.req("RSTORE-20")
@pytest.mark.parametrize("value", ["bar", b"\xff"])
@trio_test
async def test_a_lease_of_others_is_refused(server: RedisServer, value: str | bytes) -> None:
    async with two_stores(server) as (one, _):
        server.command("HSET", TAG + "leases", "foo", value)
        with pytest.raises(StoreUnavailable, match="leases has a field of others"):
            await one.expired()
        assert "leases" in one.fault
        assert server.command("HGET", TAG + "leases", "foo") is not None


@pytest.mark.req("RSTORE-24")
@trio_test
async def test_a_namespace_that_cannot_be_used_holds_up_no_other_one(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        for number in range(6):
            await claim(one, f"user {number}", number, namespace=f"/{number % 3}")
        server.command("SET", f"{TAG}ns:/1:users", "theirs")
        await one.retire("a1")
        with pytest.raises(NamespaceUnusable, match="ns:/1:users"):
            await other.reap("a1")
        assert (await other.count("/0")).users == (await other.count("/2")).users == 0
        assert await other.expired() == ["a1"]
        server.command("DEL", f"{TAG}ns:/1:users")
        assert await other.reap("a1") == 0
        assert await other.expired() == []


@trio_test
async def test_those_who_have_left_shorten_no_page(server: RedisServer) -> None:
    async with two_stores(server) as (one, _):
        for number, user in enumerate(("ann", "bob", "cyd")):
            given = await claim(one, user, number)
            if user != "cyd":
                await one.release(refer(user, number, given.token), "transport close")
        page = await one.list_users(CHAT, None, 1)
        assert list(page.users) == ["cyd"]


@trio_test
async def test_nothing_is_kept_of_those_who_have_waited(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        for number in range(20):
            await claim(one, f"user {number}", number)
            new = await claim(other, f"user {number}", number, "b1")
            for order in await one.receive_orders("a1"):
                await one.confirm(order)
            await other.wait_confirmed(CHAT, f"user {number}", new.awaits)
        assert not one._wakings._watches
        assert not other._wakings._watches


@pytest.mark.req("RSTORE-15")
@trio_test
async def test_lost_seats_of_one_user_all_come_back(server: RedisServer) -> None:
    async with two_stores(server) as (one, other):
        many: dict[str, Any] = {"policy": "many", "maximum": 2}
        first = (await claim(one, "ann", 1, **many)).token
        second = (await claim(other, "ann", 1, "b1", **many)).token
        server.command("FLUSHALL")
        assert await one.renew("a1") is await other.renew("b1") is Renewal.REBUILD
        for store, request, token in (
            (other, asking("ann", 1, "b1", **many), second),
            (one, asking("ann", 1, **many), first),
        ):
            assert isinstance(await store.reassert(request, token), Claimed)
        held = (await one.get(CHAT, ["ann"])).users["ann"]
        assert sorted(seat.boot for seat in held) == ["a1", "b1"]


@pytest.mark.req("RSTORE-16")
@trio_test
async def test_a_reassertion_whose_answer_was_lost_is_made_under_another_boot(
    server: RedisServer,
) -> None:
    async with two_stores(server) as (one, _):
        old = (await claim(one, "ann", 1)).token
        server.command("FLUSHALL")
        assert await one.renew("a1") is Renewal.REBUILD
        await one.reassert(asking("ann", 1), old)  # its answer is lost, and then the lease
        await one.retire("a1")
        await one.enroll("a", "a2")
        assert isinstance(await one.reassert(asking("ann", 1, "a2"), old), Claimed)
        assert await one.reap("a1") == 0
        assert [seat.boot for seat in (await one.get(CHAT, ["ann"])).users["ann"]] == ["a2"]


@pytest.mark.req("PRES-25")
@trio_test
async def test_the_end_of_a_boot_forgets_its_own_orders_alone(server: RedisServer) -> None:
    async with two_stores(server) as (one, other), open_redis(server.url) as redis:
        third = RedisStore(redis)
        await third.enroll("c", "c1")
        await claim(one, "ann", 1)
        await claim(other, "ann", 1, "b1")
        new = await claim(third, "ann", 1, "c1")
        assert len(new.awaits) == 2
        await one.retire("a1")
        assert await third.reap("a1") == 0
        again = await third.claim(asking("ann", 1, "c1"))
        assert isinstance(again, Claimed)
        assert len(again.awaits) == 1
        (order,) = await other.receive_orders("b1")
        assert order.user == "ann"


@pytest.mark.req("PRES-91")
@trio_test
async def test_a_kick_that_was_lost_is_not_confirmed(server: RedisServer) -> None:
    clock, results = Clock(), list[KickResult]()
    async with two_stores(server, clock) as (one, other), trio.open_nursery() as nursery:
        old = (await claim(one, "ann", 1)).token

        async def kick() -> None:
            results.append(await Presence(Server(), other).kick("ann", CHAT, timeout_s=20))

        nursery.start_soon(kick)
        await one.receive_orders("a1")
        server.command("FLUSHALL")
        for store, boot in ((one, "a1"), (other, "b1")):
            assert await store.renew(boot) is Renewal.REBUILD
        assert isinstance(await one.reassert(asking("ann", 1), old), Claimed)
        await one.end_rebuild("a1")
        await other.end_rebuild("b1")
        for _ in range(4):
            await look(other, clock, 3)
            assert await one.renew("a1") is await other.renew("b1") is Renewal.RENEWED
    (result,) = results
    assert result.done == 1
    assert not result.confirmed


@pytest.mark.req("RSTORE-54")
@pytest.mark.parametrize("is_dead", [False, True])
@trio_test
async def test_a_kicked_client_does_not_come_back_with_its_node(
    server: RedisServer, *, is_dead: bool
) -> None:
    async with two_stores(server) as (one, other):
        old = (await claim(one, "ann", 1)).token
        if is_dead:
            await one.retire("a1")
        assert isinstance(await other.kick(CHAT, "ann"), Kicked)
        await one.retire("a1")
        assert await other.reap("a1") == 0
        await one.enroll("a", "a2")
        assert isinstance(await one.reassert(asking("ann", 1, "a2"), old), Stale)
        (order,) = await one.receive_orders("a2")
        assert order.reason == "kicked"
        assert await seats(one) == {}
        await claim(other, "ann", 2, "b1")  # a new login is another matter
        assert await seats(one) == {"ann": ["id-2"]}


@pytest.mark.req("RSTORE-55")
@trio_test
async def test_a_claim_that_comes_too_late_is_not_made(redis_server: RedisServer) -> None:
    async with open_redis(redis_server.url) as redis, open_redis(redis_server.url) as another:
        store, other = RedisStore(redis), RedisStore(another)
        await store.enroll("a", "a1")
        await other.enroll("b", "b1")
        await claim(store, "bob", 1)  # so that the script is there
        await claim(other, "ann", 1, "b1")
        await store.expired()
        redis_server.freeze()
        try:
            with trio.move_on_after(0.1) as given_up:
                await store.claim(asking("ann", 2))
            assert given_up.cancelled_caught
            await trio.sleep(CLAIM_S)
        finally:
            redis_server.thaw()
        assert await seats(other) == {"ann": ["id-1"], "bob": ["id-1"]}
        await claim(store, "ann", 3)
        assert await seats(other) == {"ann": ["id-3"], "bob": ["id-1"]}
