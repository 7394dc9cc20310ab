"""Following who is online from Python: the client for trio, and the one for threads."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import SECRET, controlled, peer
from tests.im.feed_world import CHAT, Restartable, crowded
from tests.im.shared_store import SharedStore
from tests.im.test_feed import tokens
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import (
    ControlClient,
    ControlError,
    PresenceBatch,
    TokenTable,
    follow_presence,
    presence_following,
)
from trio_socketio.control.blocking_line import Line
from trio_socketio.control.presence_following import Call, Note, Place, Receive

Batches = Callable[..., Any]


@asynccontextmanager
async def by_trio(address: str, **options: Any) -> AsyncIterator[Callable[[], Any]]:
    async with follow_presence(CHAT, address, **options) as batches:
        yield partial(anext, batches)


class Ending(ControlClient):
    """Does not connect again once the test is over, so that its thread ends."""

    is_over = False

    def _open_line(self, ends: float) -> Line:
        if self.is_over:
            raise RuntimeError("the test is over")
        return super()._open_line(ends)


@asynccontextmanager
async def by_thread(
    address: str, token: str | None = None, **options: Any
) -> AsyncIterator[Callable[[], Any]]:
    client = Ending(address, token=token)
    batches = client.follow_presence(CHAT, **options)
    try:
        yield partial(trio.to_thread.run_sync, next, batches, abandon_on_cancel=True)
    finally:
        client.is_over = True


BOTH = pytest.mark.parametrize("follow", [by_trio, by_thread])


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_following, "_FIRST_PAUSE_S", 0.05)


def users(batch: PresenceBatch) -> list[tuple[str, str]]:
    return [(entry["type"], entry["user"]) for entry in batch.entries]


@pytest.mark.req("FEED-41")
@pytest.mark.req("FEED-42")
@BOTH
@trio_test
async def test_it_begins_with_a_count_and_goes_on(follow: Batches, tmp_path: Path) -> None:
    with trio.fail_after(10):
        async with crowded(tmp_path) as (where, crowd):
            await crowd.come("ann", "bob")
            async with follow(where.address, credit=10) as take:
                head = str(await crowd.head())
                assert await take() == PresenceBatch([], head, 2)
                await crowd.come("carl")
                await crowd.go("ann")
                seen: list[tuple[str, str]] = []
                while len(seen) < 2:
                    batch = await take()
                    assert batch.online is None
                    assert batch.cursor == batch.entries[-1]["cursor"]
                    seen += users(batch)
                assert seen == [("online", "carl"), ("offline", "ann")]
                feed = where.presence.feed
                assert feed is not None
                # A batch is acknowledged when the next one is asked for, and not before.
                assert feed.statistics().lag >= 1
                await crowd.come("dora")
                while ("online", "dora") not in seen:
                    seen += users(await take())
                while feed.statistics().lag != 1:  # noqa: ASYNC110 - an acknowledgement on its way
                    await trio.sleep(0.01)


@pytest.mark.req("FEED-40")
@pytest.mark.req("FEED-43")
@BOTH
@trio_test
async def test_it_goes_on_when_the_connection_was_lost(follow: Batches, tmp_path: Path) -> None:
    """The position of its group is behind, but no entry comes again."""
    with trio.fail_after(10):
        async with crowded(tmp_path) as (where, crowd):
            begin = str(await crowd.head())
            async with follow(where.address, cursor=begin, group="g") as take:
                seen: list[tuple[str, str]] = []
                for number in range(5):
                    await crowd.come(f"user {number}")
                    seen += users(await take())
                    for one in tuple(where.service._peers):
                        one.close("the test wants it")
                assert [user for _, user in seen] == [f"user {number}" for number in range(5)]


@pytest.mark.req("FEED-40")
@BOTH
@trio_test
async def test_it_waits_for_a_server_and_counts_anew(follow: Batches, tmp_path: Path) -> None:
    """A new server has another generation."""
    with trio.fail_after(20):
        address = f"unix:{tmp_path / 'control' / 'c.sock'}"
        async with follow(address) as take:
            for number in range(3):
                async with crowded(tmp_path) as (where, crowd):
                    assert where.address == address
                    await crowd.come(*(f"user {one}" for one in range(number)))
                    batch = await take()
                    assert batch.online == number
                    assert batch.entries == []
                    await crowd.come("last")
                    assert users(await take()) == [("online", "last")]


@pytest.mark.req("FEED-41")
@BOTH
@trio_test
async def test_it_counts_anew_when_the_cursor_is_of_no_use(follow: Batches, tmp_path: Path) -> None:
    store = Restartable(max_events=10)
    with trio.fail_after(10):
        async with crowded(tmp_path, store) as (where, crowd):
            begin = str(await crowd.head())
            await crowd.churn(50)
            for cursor in (begin, "1-1"):
                async with follow(where.address, cursor=cursor) as take:
                    batch = await take()
                    assert batch.online == len(crowd.online)
                    assert batch.cursor == str(await crowd.head())
            async with follow(where.address, cursor=batch.cursor) as take:
                await crowd.come("ann")
                assert users(await take()) == [("online", "ann")]
                store.restart()
                await crowd.start()
                batch = await take()
                assert batch.online == 0
                assert batch.cursor == str(await crowd.head())
                await crowd.come("bob")
                assert users(await take()) == [("online", "bob")]


@pytest.mark.req("FEED-44")
@BOTH
@trio_test
async def test_what_does_not_pass_by_itself_is_raised(follow: Batches, tmp_path: Path) -> None:
    given = tokens(tmp_path, "presence.*")
    with trio.fail_after(10):
        async with crowded(tmp_path, listen=("tcp:127.0.0.1:0",), tokens=given) as (where, crowd):
            address = f"tcp:127.0.0.1:{where.tcp_port}"

            async def fails(code: Code, **options: Any) -> None:
                with pytest.raises(ControlError) as caught:
                    async with follow(address, **options) as take:
                        await take()
                assert caught.value.code == code

            await fails(Code.UNAUTHORIZED)
            await fails(Code.UNAUTHORIZED, token="x" * 32)
            cursor = str(await crowd.head())
            await fails(Code.INVALID_PARAMS, token=SECRET, cursor=cursor, credit=0)

            async def lose_the_method() -> None:
                async with follow(address, token=SECRET) as take:
                    assert (await take()).online == 0
                    await crowd.come("ann")
                    await take()
                    where.service.apply(TokenTable(tokens(tmp_path, "system.info")))
                    await crowd.come("bob")
                    await take()

            with pytest.raises(ControlError) as caught:
                await lose_the_method()
            assert caught.value.code == Code.FORBIDDEN


@pytest.mark.req("FEED-44")
@BOTH
@trio_test
async def test_what_passes_is_waited_for(follow: Batches, tmp_path: Path) -> None:
    """The server has no presence yet."""
    async with controlled(tmp_path) as where:

        def calls() -> int:
            return where.service.statistics().methods["presence.count"][0]

        async with follow(where.address) as take, trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await until(lambda: calls() >= 3)
            nursery.cancel_scope.cancel()


@pytest.mark.req("FEED-45")
@BOTH
@trio_test
async def test_a_silent_connection_is_probed(
    follow: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("presence_client", "sync_presence"):
        monkeypatch.setattr(f"trio_socketio.control.{module}.SILENCE_S", 0.1)
    with trio.fail_after(10):
        async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
            cursor = str(await crowd.head())
            await raw.call("presence.subscribe", namespace=CHAT, group="g")

            def probes() -> int:
                return where.service.statistics().methods["presence.ack"][0]

            async with (
                follow(where.address, cursor=cursor) as take,
                follow(where.address, cursor=cursor, group="g") as wait,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(wait)  # another member of its group is active
                nursery.start_soon(take)
                await until(lambda: probes() > 6)
                assert where.service.statistics().peers == 3
                await crowd.come("ann")
                nursery.cancel_scope.cancel()


def drive(place: Place, *outcomes: Any) -> list[Any]:
    """Run the steps with these outcomes; return the steps."""
    steps = place.follow()
    found: list[Any] = [next(steps)]
    for outcome in outcomes:
        if isinstance(outcome, ControlError):
            found.append(steps.throw(outcome))
        else:
            found.append(steps.send(outcome))
    return found


@pytest.mark.req("FEED-43")
def test_the_steps_one_by_one() -> None:
    place = Place(CHAT, "5-2", "g", 7)
    entries = [{"cursor": f"5-{number}"} for number in range(1, 5)]
    told = {"subscription": 3, "cursor": "5-0"}
    found = drive(
        place,
        told,
        {"subscription": 3, "entries": [], "cursor": "5-0"},
        {"subscription": 2, "entries": entries, "cursor": "5-4"},
        {"subscription": 3, "entries": entries[:1], "cursor": "5-1"},
        None,
        {"subscription": 3, "entries": entries[1:], "cursor": "5-4"},
        None,
        None,
        None,
        ControlError(Code.INVALID_PARAMS, "nothing was sent yet"),
    )
    subscribe = {"namespace": CHAT, "credit": 7, "group": "g", "cursor": "5-2"}
    ack = {"subscription": 3, "cursor": "5-4"}
    assert found == [
        Call("presence.subscribe", subscribe),
        Receive(),
        Receive(),
        Receive(),
        Note("presence.ack", {"subscription": 3, "cursor": "5-1"}),
        Receive(),
        PresenceBatch(entries[2:], "5-4"),
        Note("presence.ack", ack),
        Receive(),
        Call("presence.ack", ack),
        Receive(),
    ]
    with pytest.raises(ControlError):
        drive(place, told, None, ControlError(Code.TIMEOUT, "it is not there"))


def test_pauses_grow_until_it_works() -> None:
    place = Place(CHAT, "5-2", None, 7)
    waits = [place.next_pause() for _ in range(30)]
    assert waits[0] < 0.1
    assert 15 <= waits[-1] <= 30
    drive(place, {"subscription": 3, "cursor": "5-0"})
    assert place.next_pause() < 0.1


@pytest.mark.req("FEED-91")
@BOTH
@trio_test
async def test_a_count_says_that_users_may_be_missing(follow: Batches, tmp_path: Path) -> None:
    store = SharedStore()
    store.is_rebuilding = True
    with trio.fail_after(10):
        async with crowded(tmp_path, store) as (where, crowd), follow(where.address) as take:
            first = await take()
            assert (first.online, first.rebuilding) == (0, True)
            await crowd.come("ann")
            assert not (await take()).rebuilding
