"""What the store in memory does besides the transitions: bounds, waiting, forgetting."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.errors import OptionError
from trio_socketio.im.presence import books
from trio_socketio.im.presence.memory import MemoryStore
from trio_socketio.protocol.presence_claims import (
    Claimed,
    ClaimRef,
    ClaimRequest,
    Fenced,
    Order,
    Renewal,
)
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged


async def claim(
    store: MemoryStore, user: str, attempt: int, namespace: str = "/", **fields: Any
) -> Claimed:
    given: dict[str, Any] = {
        "namespace": namespace,
        "user": user,
        "id": f"id{attempt}",
        "node": "a",
        "boot": "a1",
        "attempt": attempt,
    }
    outcome = await store.claim(ClaimRequest(**given | fields))
    assert isinstance(outcome, Claimed)
    return outcome


async def release(store: MemoryStore, user: str, attempt: int, namespace: str = "/") -> None:
    await store.release(
        ClaimRef(namespace=namespace, user=user, boot="a1", attempt=attempt, token=None), "left"
    )


async def open_store(**options: Any) -> MemoryStore:
    store = MemoryStore(**options)
    for name in ("a", "b"):
        assert await store.enroll(name, f"{name}1") == ()
    return store


@asynccontextmanager
async def awaiting(store: MemoryStore, claimed: Claimed) -> AsyncIterator[trio.Event]:
    """Wait in a task until claims are confirmed that another one has ended; yield what it sets."""
    done = trio.Event()

    async def wait() -> None:
        await store.wait_confirmed("/", "ann", claimed.awaits)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        yield done
        nursery.cancel_scope.cancel()


async def start(store: MemoryStore, namespace: str = "/") -> Cursor:
    """The cursor before the first entry."""
    return Cursor((await store.count(namespace)).cursor.generation, 0)


@pytest.mark.parametrize(
    "options", [{"max_events": 0}, {"max_bytes": -1}, {"lease_s": 0}, {"lease_s": float("nan")}]
)
def test_bounds_are_above_zero(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))}: must be above zero"):
        MemoryStore(**options)


@pytest.mark.req("PRES-33")
@trio_test
async def test_the_log_keeps_its_bound_in_events() -> None:
    store = await open_store(max_events=4)
    begin = await start(store)
    for number in range(3):
        await claim(store, "ann", 2 * number)
        await release(store, "ann", 2 * number)
    found = await store.read("/", begin, 10)
    assert isinstance(found, CursorExpired)
    assert found.oldest.sequence == 2
    kept = await store.read("/", found.oldest, 10)
    assert isinstance(kept, Entries)
    assert [entry.type for entry in kept.entries] == ["online", "offline"] * 2


@pytest.mark.req("PRES-33")
@trio_test
async def test_the_log_keeps_its_bound_in_bytes_with_all_namespaces_together() -> None:
    store = await open_store(max_bytes=3200)
    begin = await start(store)
    for number in range(4):
        await claim(store, f"user {number}", number)
    assert isinstance(await store.read("/", begin, 10), Entries)
    await claim(store, "x" * 128, 4, "/other")
    expired = await store.read("/", begin, 10)
    assert isinstance(expired, CursorExpired)
    assert expired.oldest.sequence == 1
    # The entries of the one that was written last are still there.
    found = await store.read("/other", await start(store, "/other"), 10)
    assert isinstance(found, Entries)
    assert len(found.entries) == 1
    assert (await store.count("/")).users == 4


@trio_test
async def test_an_entry_that_is_too_large_is_not_kept_and_nothing_else_is_lost() -> None:
    store = await open_store(max_bytes=100)
    at = (await claim(store, "ann", 1)).token
    assert (await store.get("/", ["ann"])).cursor == at
    found = await store.read("/", at, 10)
    assert found == Entries((), at, at)


@pytest.mark.req("PRES-34")
@trio_test
async def test_a_reader_waits_for_more() -> None:
    store = await open_store()
    at = await start(store)
    seen: list[Any] = []

    async def read() -> None:
        cursor = at
        while len(seen) < 3:
            await store.wait_for_more("/", cursor)
            found = await store.read("/", cursor, 10)
            assert isinstance(found, Entries)
            seen.extend(entry.type for entry in found.entries)
            cursor = found.cursor

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await claim(store, "bob", 1, "/other")
        await wait_all_tasks_blocked()
        assert seen == []
        await claim(store, "ann", 2)
        await wait_all_tasks_blocked()
        assert seen == ["online"]
        await claim(store, "ann", 3)
        await release(store, "ann", 3)
    assert seen == ["online", "moved", "offline"]


@pytest.mark.req("PRES-34")
@pytest.mark.parametrize("cursor", [Cursor(1, 1), Cursor(2**60, 5)])
@trio_test
async def test_a_reader_of_another_log_does_not_wait(cursor: Cursor) -> None:
    store = await open_store()
    with trio.fail_after(1):
        await store.wait_for_more("/", cursor)
    assert isinstance(await store.read("/", cursor, 1), GenerationChanged)


@pytest.mark.req("PRES-32")
@trio_test
async def test_a_store_begins_a_generation_of_its_own() -> None:
    first = await open_store()
    token = (await claim(first, "ann", 1)).token
    await trio.sleep(0.002)
    second = await open_store()
    found = await second.read("/", token, 10)
    assert isinstance(found, GenerationChanged)
    assert found.head > token


@trio_test
async def test_namespaces_that_nobody_is_in_are_forgotten_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books, "MAX_IDLE", 3)
    store = await open_store()
    await claim(store, "ann", 1, "/busy")
    busy = (await claim(store, "ann", 2, "/once")).token
    await release(store, "ann", 2, "/once")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_for_more, "/watched", await start(store, "/watched"))
        await wait_all_tasks_blocked()
        for number in range(10):
            await store.count(f"/{number}")
        assert len(store._books._shelves) == 4
        assert {"/busy", "/watched"} <= store._books._shelves.keys()
        nursery.cancel_scope.cancel()
    assert isinstance(await store.read("/once", busy, 1), GenerationChanged)
    # Those that have been in use and are not any more count too.
    for number in range(10):
        await claim(store, "ann", 10 + number, f"/{number}")
    for number in range(10):
        await release(store, "ann", 10 + number, f"/{number}")
    assert len(store._books._shelves) == 4


@pytest.mark.req("PRES-07")
@pytest.mark.parametrize("what", ["claim", "release", "kick"])
@trio_test
async def test_what_is_cancelled_has_changed_nothing(what: str) -> None:
    store = await open_store()
    await claim(store, "ann", 1)
    before = await store.snapshot("/")
    with trio.CancelScope() as scope:
        scope.cancel()
        if what == "claim":
            await claim(store, "ann", 2)
        elif what == "release":
            await release(store, "ann", 1)
        else:
            await store.kick("/", "ann")
    assert scope.cancelled_caught
    assert await store.snapshot("/") == before


@pytest.mark.req("PRES-25")
@trio_test
async def test_a_node_is_told_whom_to_put_out_until_it_confirms() -> None:
    store = await open_store()
    old = await claim(store, "ann", 1)
    other = await claim(store, "bob", 2, "/other")
    told: list[list[Order]] = []

    async def receive() -> None:
        told.append(await store.receive_orders("a1"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert told == []
        await claim(store, "ann", 3, node="b", boot="b1")
        await wait_all_tasks_blocked()
        (orders,) = told
        assert [order.token for order in orders] == [old.token]
    await store.kick("/other", "bob")
    await receive()
    assert {order.token for order in told[1]} == {old.token, other.token}
    for order in told[1]:
        await store.confirm(order)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert len(told) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.req("PRES-14")
@trio_test
async def test_a_claim_is_confirmed_by_the_other_node(mock_clock: MockClock) -> None:
    store = await open_store()
    await claim(store, "ann", 1)
    new = await claim(store, "ann", 2, node="b", boot="b1")
    async with awaiting(store, new) as done:
        for order in await store.receive_orders("a1"):
            await store.confirm(order)
        await done.wait()
    assert store._books._shelves["/"].waiting == {}


@pytest.mark.req("PRES-14")
@pytest.mark.parametrize("how", ["time", "retire", "reap", "restart"])
@trio_test
async def test_or_by_the_end_of_its_lease(how: str, mock_clock: MockClock) -> None:
    store = await open_store(lease_s=10)
    assert store.lease_s == 10
    await claim(store, "ann", 1)
    new = await claim(store, "ann", 2, node="b", boot="b1")
    mock_clock.jump(5)
    assert await store.renew("b1") is Renewal.RENEWED
    async with awaiting(store, new) as done:
        if how == "time":
            mock_clock.jump(5)
        elif how == "retire":
            await store.retire("a1")
        elif how == "restart":
            assert await store.enroll("a", "a2") == ("a1",)
        else:
            mock_clock.jump(5)
            assert await store.reap("a1") == 0
        await wait_all_tasks_blocked()
        assert done.is_set()


@pytest.mark.req("PRES-14")
@pytest.mark.parametrize("longer_first", [False, True])
@trio_test
async def test_waits_for_several_confirmations_do_not_lose_each_other(longer_first: bool) -> None:
    store = await open_store()
    for round_ in range(20):  # trio wakes tasks in any order
        user = f"user {round_}"
        oldest = await claim(store, user, 3 * round_, node="b", boot="b1")
        old = await claim(store, user, 3 * round_ + 1)
        await claim(store, user, 3 * round_ + 2, node="b", boot="b1")
        waits = [(oldest.token,), (oldest.token, old.token)]
        async with trio.open_nursery() as nursery:
            for tokens in reversed(waits) if longer_first else waits:
                nursery.start_soon(store.wait_confirmed, "/", user, tokens)
            await wait_all_tasks_blocked()
            for boot in ("b1", "a1"):
                for order in await store.receive_orders(boot):
                    await store.confirm(order)
                await wait_all_tasks_blocked()
            assert not nursery.child_tasks
    assert store._books._shelves["/"].waiting == {}


@trio_test
async def test_a_wait_that_is_given_up_leaves_nothing() -> None:
    store = await open_store()
    await claim(store, "ann", 1)
    new = await claim(store, "ann", 2, node="b", boot="b1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wait_confirmed, "/", "ann", new.awaits)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert store._books._shelves["/"].waiting == {}


@pytest.mark.req("PRES-24")
@trio_test
async def test_reaping_goes_through_all_namespaces_in_slices() -> None:
    store = await open_store()
    for number in range(5):
        await claim(store, f"user {number}", number, f"/{number % 2}")
    assert await store.expired() == []
    assert await store.reap("a1", 2) is None
    await store.retire("a1")
    assert await store.expired() == ["a1"]
    assert await store.renew("a1") is Renewal.ENDED
    assert [await store.reap("a1", 2) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.expired() == []
    assert isinstance(await store.enroll("a", "a1"), Fenced)


@trio_test
async def test_a_node_in_the_same_process_is_never_lost(mock_clock: MockClock) -> None:
    store = await open_store()
    assert store.lease_s == inf
    await claim(store, "ann", 1)
    mock_clock.jump(1e9)
    await claim(store, "ann", 2)
