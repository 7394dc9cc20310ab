"""presence.get, count, list and snapshot on the control socket."""

import re
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import RawPeer, controlled, peer
from tests.im.feed_world import CHAT, Crowd, Follower, crowded, fold
from tests.im.shared_store import SharedStore
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.codec.json_rpc import Code
from trio_socketio.im.presence import (
    MemoryStore,
    Presence,
    PresenceOptions,
    StoreUnavailable,
    parse_cursor,
)
from trio_socketio.im.presence.methods import PresenceMethods
from trio_socketio.protocol.presence_claims import ClaimRequest

METHODS = ("presence.count", "presence.list", "presence.snapshot")


@pytest.mark.req("FEED-01", "FEED-08")
@pytest.mark.req("PRES-29")
@trio_test
async def test_users_are_shown_with_their_seats(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.come("ann", "7")
        head = str(await crowd.head())
        found = await raw.call("presence.get", namespace=CHAT, users=["bob", 7, "ann", "7"])
        assert [one["user"] for one in found["users"]] == ["7", "ann"]
        assert found["missing"] == {"users": ["bob"]}
        assert found["cursor"] == head
        (seat,) = found["users"][1]["seats"]
        assert seat.pop("at") > 1.7e9
        assert seat == {
            "token": str(crowd.online["ann"]),
            "id": f"{1:020}",
            "node": "a",
            "boot": "a1",
        }
        assert await raw.call("presence.count", namespace=CHAT) == {"users": 2, "cursor": head}
        # A leading slash may be left out.
        assert await raw.call("presence.count", namespace="chat") == {"users": 2, "cursor": head}


@pytest.mark.req("FEED-01")
@trio_test
async def test_at_most_a_thousand_users_are_asked_for(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        names = [f"user {number}" for number in range(1000)]
        await crowd.come(*names)
        found = await raw.call("presence.get", namespace=CHAT, users=names)
        assert [one["user"] for one in found["users"]] == names
        assert found["missing"] == {}
        for wrong in (["x"] * 1001, [""], ["x" * 1000], [10**20], ["\n"], [None]):
            error = await raw.fail("presence.get", namespace=CHAT, users=wrong)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["message"].startswith("users")


@pytest.mark.req("FEED-02")
@trio_test
async def test_pages_follow_the_ids(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.come(*"fbdaec")
        seen, after = [], None
        while True:
            page = await raw.call("presence.list", namespace=CHAT, after=after, limit=2)
            assert page["cursor"] == str(await crowd.head())
            seen += [one["user"] for one in page["users"]]
            after = page["next"]
            if after is None:
                break
            if len(seen) == 2:  # those that are there all the time are shown once
                await crowd.go("a", "b")
                await crowd.come("a", "c", "z")
        assert seen == [*"abcdefz"]
        error = await raw.fail("presence.list", namespace=CHAT, after="")
        assert error["data"] == {"parameter": "after"}


async def read_snapshot(
    raw: RawPeer, limit: int, crowd: Crowd | None = None, steps: list[Any] | None = None
) -> tuple[dict[str, set[str]], str, str]:
    """Read all pages; return the tokens of each user, the cursor, and that of the last page."""
    users: dict[str, set[str]] = {}
    after = None
    cursors = set()
    while True:
        page = await raw.call("presence.snapshot", namespace=CHAT, after=after, limit=limit)
        cursors.add(page["cursor"])
        for one in page["users"]:
            users[one["user"]] = {seat["token"] for seat in one["seats"]}
        after = page["next"]
        if after is None:
            (cursor,) = cursors
            return users, cursor, page["exact_at"]
        if steps and crowd:
            await steps.pop(0)(crowd)


@pytest.mark.req("FEED-07")
@trio_test
async def test_a_snapshot_and_its_log_are_the_state(tmp_path: Path) -> None:
    """Users come, go, move and come back while its pages are read."""

    async def change(crowd: Crowd) -> None:
        await crowd.go("a", "e", "f")
        await crowd.come("c", "f", "g", "aa", "b")

    async def change_back(crowd: Crowd) -> None:
        await crowd.come("a")
        await crowd.go("b", "f")
        await crowd.come("e", "f")
        await crowd.go("f")

    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.come(*"abcdef")
        users, cursor, exact_at = await read_snapshot(raw, 2, crowd, [change, change_back])
        follower = Follower(raw)
        await follower.subscribe(cursor=cursor)
        missing = parse_cursor(exact_at).sequence - parse_cursor(cursor).sequence
        assert missing == 14
        await follower.receive_entries(missing)
        assert follower.entries[-1]["cursor"] == exact_at
        fold(follower.entries, users)
        assert users == {user: {str(token)} for user, token in crowd.online.items()}


@pytest.mark.req("FEED-03")
@trio_test
async def test_a_page_fits_into_a_line(tmp_path: Path) -> None:
    async with crowded(tmp_path, max_line_bytes=4096) as (where, crowd), peer(where) as raw:
        names = [f"{number:03}" + "x" * 100 for number in range(30)]
        await crowd.come(*names)
        users, _, _ = await read_snapshot(raw, 1000)
        assert sorted(users) == names
        page = await raw.call("presence.list", namespace=CHAT, limit=1000)
        assert 1 < len(page["users"]) < 30
        assert page["next"] == page["users"][-1]["user"]
        error = await raw.fail("presence.get", namespace=CHAT, users=names[:25])
        assert error["code"] == Code.TOO_LARGE
        assert "name fewer users" in error["message"]


@pytest.mark.req("FEED-04")
@trio_test
async def test_a_snapshot_that_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    async with crowded(tmp_path, MemoryStore(max_events=5)) as (where, crowd), peer(where) as raw:
        await crowd.come(*"abcd")
        page = await raw.call("presence.snapshot", namespace=CHAT, limit=2)
        ask = {"namespace": CHAT, "after": page["next"], "limit": 2}
        await crowd.come("a")
        assert len((await raw.call("presence.snapshot", **ask))["users"]) == 2
        await crowd.come(*"aaaaa")
        error = await raw.fail("presence.snapshot", **ask)
        assert error["code"] == Code.CURSOR_EXPIRED
        assert "presence.snapshot" in error["message"]
        error = await raw.fail("presence.snapshot", **ask | {"after": "1-1:b"})
        assert error["code"] == Code.GENERATION_CHANGED
        for wrong in ("b", "1-1", "1-1:", "1:b", ":", "x" * 500):
            error = await raw.fail("presence.snapshot", namespace=CHAT, after=wrong)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["data"] == {"parameter": "after"}


@pytest.mark.req("FEED-05")
@trio_test
async def test_a_long_answer_is_made_in_slices(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (_, crowd):
        await crowd.come(*(f"user {number}" for number in range(1000)))
        methods = PresenceMethods(Server())
        page = await crowd.store.list_users(CHAT, None, 1000)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            shown, is_cut = await methods._show(page.users)
            nursery.cancel_scope.cancel()
        assert len(shown) == 1000
        assert not is_cut
        assert turns >= 3


@pytest.mark.req("FEED-06")
@pytest.mark.parametrize("method", [*METHODS, "presence.get", "presence.subscribe"])
@trio_test
async def test_a_namespace_without_seats_is_refused(method: str, tmp_path: Path) -> None:
    params: dict[str, Any] = {"users": []} if method == "presence.get" else {}
    async with crowded(tmp_path) as (where, _), peer(where) as raw:
        error = await raw.fail(method, namespace="/chta", **params)
        assert error["code"] == Code.NOT_FOUND
        assert error["message"] == "namespace: there is no namespace with seats '/chta'"
    async with controlled(tmp_path) as where, peer(where) as raw:
        error = await raw.fail(method, namespace=CHAT, **params)
        assert error["code"] == Code.UNAVAILABLE
        assert "[presence]" in error["message"]


@trio_test
async def test_children_of_a_parent_with_seats_are_found(tmp_path: Path) -> None:
    server = Server()
    presence = Presence(server)
    presence.seat(server.of(lambda name, auth: name.startswith("/team")))
    async with controlled(tmp_path, server) as where, peer(where) as raw:
        assert (await raw.call("presence.count", namespace="/team-1"))["users"] == 0


@pytest.mark.req("FEED-06")
@trio_test
async def test_a_name_that_no_client_could_ask_for_is_refused(tmp_path: Path) -> None:
    """Whether the seats are those of a parent, or those of all names."""
    for is_by_name in (False, True):
        server = Server()
        presence, parent = Presence(server), server.of(re.compile("/team-[0-9]+"))
        if is_by_name:
            presence.seat_by_name(PresenceOptions(), lambda _: True)
        else:
            presence.seat(parent)
        async with controlled(tmp_path, server) as where, peer(where) as raw:
            assert (await raw.call("presence.count", namespace="/team-1"))["users"] == 0
            for name in ("/team-x", "/nope", "/team-" + "1" * 250):
                error = await raw.fail("presence.subscribe", namespace=name)
                assert error["code"] == Code.NOT_FOUND


@trio_test
async def test_all_seats_of_a_user_are_shown(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        for number in range(3):
            request = ClaimRequest(
                namespace=CHAT,
                user="ann",
                id=f"id{number}",
                node="a",
                boot="a1",
                attempt=number,
                policy="many",
                maximum=3,
            )
            await crowd.store.claim(request)
        (ann,) = (await raw.call("presence.snapshot", namespace=CHAT))["users"]
        assert [seat["id"] for seat in ann["seats"]] == ["id0", "id1", "id2"]


async def fail(*_: Any) -> Any:
    raise StoreUnavailable("it is being mended")


def away() -> MemoryStore:
    """A store that cannot be read."""
    store = MemoryStore()
    for name in ("get", "count", "list_users", "read"):
        setattr(store, name, fail)
    return store


@pytest.mark.req("FEED-32")
@pytest.mark.parametrize("method", [*METHODS, "presence.get", "presence.subscribe"])
@trio_test
async def test_a_store_that_is_away_is_told(method: str, tmp_path: Path) -> None:
    params: dict[str, Any] = {"users": []} if method == "presence.get" else {}
    async with crowded(tmp_path, away()) as (where, _), peer(where) as raw:
        error = await raw.fail(method, namespace=CHAT, **params)
        assert error["code"] == Code.STORE_UNAVAILABLE
        assert error["data"] == {"retryable": True, "retry_after_ms": 1000}
        assert "it is being mended" in error["message"]
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().subscriptions == 0


@pytest.mark.req("FEED-32")
@trio_test
async def test_a_page_of_a_snapshot_needs_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.come("a", "b")
        page = await raw.call("presence.snapshot", namespace=CHAT, limit=1)
        monkeypatch.setattr(crowd.store, "read", fail)
        error = await raw.fail("presence.snapshot", namespace=CHAT, after=page["next"])
        assert error["code"] == Code.STORE_UNAVAILABLE


@pytest.mark.req("FEED-90")
@trio_test
async def test_a_namespace_that_only_other_nodes_have_is_answered(tmp_path: Path) -> None:
    store = SharedStore()
    async with crowded(tmp_path, store) as (where, _), peer(where) as raw:
        for name in ("/other", "/none"):
            error = await raw.fail("presence.count", namespace=name)
            assert error["code"] == Code.NOT_FOUND
        elsewhere = Crowd(store, "/other")
        await elsewhere.come("ann")
        assert (await raw.call("presence.count", namespace="other"))["users"] == 1
        shown = await raw.call("presence.get", namespace="/other", users=["ann"])
        assert [one["user"] for one in shown["users"]] == ["ann"]
        await elsewhere.go("ann")
        assert (await raw.call("presence.count", namespace="/other"))["users"] == 0
        store.is_away = True
        for name in ("/other", "/none"):
            error = await raw.fail("presence.list", namespace=name)
            assert error["code"] == Code.STORE_UNAVAILABLE
        store.is_away = False
        for name in ("/none", "/" + "x" * 255, "/a,b"):
            assert (await raw.fail("presence.list", namespace=name))["code"] == Code.NOT_FOUND
    assert "/" + "x" * 255 not in [shelf.book.namespace for shelf in store._books]


@pytest.mark.req("FEED-91")
@trio_test
async def test_answers_say_that_users_may_be_missing(tmp_path: Path) -> None:
    store = SharedStore()
    async with crowded(tmp_path, store) as (where, crowd), peer(where) as raw:
        await crowd.come("ann")
        for method in (*METHODS, "presence.get"):
            users = {"users": ["ann"]} if method == "presence.get" else {}
            store.is_rebuilding = True
            found = await raw.call(method, namespace=CHAT, **users)
            assert found["rebuilding"] is True
            store.is_rebuilding = False
            found = await raw.call(method, namespace=CHAT, **users)
            assert "rebuilding" not in found


@pytest.mark.req("PAGE-27")
@trio_test
async def test_the_log_is_read_once(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        page = await raw.call("presence.log", namespace=CHAT)
        assert page["entries"] == []
        assert page["cursor"] == page["head"] == str(await crowd.head())
        await crowd.come("ann", "bob", "eve")
        await crowd.go("ann")
        page = await raw.call("presence.log", namespace=CHAT, limit=2)
        told = [(one["type"], one["user"]) for one in page["entries"]]
        assert told == [("online", "eve"), ("offline", "ann")]
        assert page["cursor"] == page["head"] == str(await crowd.head())
        begin = f"{page['head'].partition('-')[0]}-0"
        page = await raw.call("presence.log", namespace=CHAT, cursor=begin, limit=3)
        assert [one["user"] for one in page["entries"]] == ["ann", "bob", "eve"]
        page = await raw.call("presence.log", namespace=CHAT, cursor=page["cursor"])
        assert [one["type"] for one in page["entries"]] == ["offline"]
        for cursor, code in (("x", Code.INVALID_PARAMS), ("1-0", Code.GENERATION_CHANGED)):
            assert (await raw.fail("presence.log", namespace=CHAT, cursor=cursor))["code"] == code
        error = await raw.fail("presence.log", namespace="/other")
        assert error["code"] == Code.NOT_FOUND


@pytest.mark.req("PAGE-27")
@trio_test
async def test_a_log_that_is_cut_is_read_from_where_it_begins(tmp_path: Path) -> None:
    store = MemoryStore(max_events=3)
    async with crowded(tmp_path, store) as (where, crowd), peer(where) as raw:
        await crowd.come(*"abcdef")
        page = await raw.call("presence.log", namespace=CHAT, limit=100)
        assert [one["user"] for one in page["entries"]] == ["d", "e", "f"]
        begin = f"{page['head'].partition('-')[0]}-0"
        error = await raw.fail("presence.log", namespace=CHAT, cursor=begin)
        assert error["code"] == Code.CURSOR_EXPIRED


@pytest.mark.req("PAGE-27")
@trio_test
async def test_a_page_of_the_log_fits_into_a_line(tmp_path: Path) -> None:
    async with crowded(tmp_path, max_line_bytes=4096) as (where, crowd), peer(where) as raw:
        await crowd.come(*(f"{number:0100}" for number in range(30)))
        seen: list[str] = []
        cursor = f"{(await crowd.head()).generation}-0"
        while len(seen) < 30:
            page = await raw.call("presence.log", namespace=CHAT, cursor=cursor)
            assert 0 < len(page["entries"]) < 30
            seen += [one["user"] for one in page["entries"]]
            cursor = page["cursor"]
        assert seen == [f"{number:0100}" for number in range(30)]


@pytest.mark.req("PAGE-27")
@trio_test
async def test_a_log_that_is_away_is_an_error(tmp_path: Path) -> None:
    class Away(MemoryStore):
        async def count(self, namespace: str) -> Any:
            raise StoreUnavailable("Redis is away")

    async with crowded(tmp_path, Away()) as (where, _), peer(where) as raw:
        error = await raw.fail("presence.log", namespace=CHAT)
        assert error["code"] == Code.STORE_UNAVAILABLE
