"""presence.subscribe, ack and unsubscribe on the control socket, one subscription at a time."""

import json
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
import trio
from tests.control.serving import SECRET, little_buffer, peer, tcp_peer, write_token
from tests.control.test_http import JSON, admin, post
from tests.im.feed_world import CHAT, Crowd, Follower, Restartable, crowded
from tests.im.test_feed_machine import FakePeer
from tests.socketio.serving import until
from tests.wire import HttpClient
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlToken, TokenTable
from trio_socketio.im.presence import MemoryStore, StoreUnavailable, deliveries, feed, log_reader
from trio_socketio.im.presence.feed import Feed
from trio_socketio.im.presence.feed_errors import unreadable
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import GenerationChanged

if TYPE_CHECKING:
    from trio_socketio.control.caller import BackendPeer

TCP = "tcp:127.0.0.1:0"


@pytest.mark.req("FEED-10")
@trio_test
async def test_the_log_is_replayed_from_a_cursor_and_then_goes_on(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.churn(450, users=7)
        begin = Cursor((await crowd.head()).generation, 20)
        follower = Follower(raw)
        told = await follower.subscribe(cursor=str(begin))
        assert told == {"subscription": 1, "cursor": str(begin), "active": True}
        await crowd.churn(100, users=7)
        await follower.receive_entries(530)
        assert follower.sequences == list(range(21, 551))
        await crowd.come("ann")
        notice = await follower.receive()
        (entry,) = notice["entries"]
        assert entry["user"] == "ann"
        assert entry["type"] == "online"
        assert entry["token"] == entry["cursor"] == notice["cursor"] == str(crowd.online["ann"])
        assert await follower.is_silent()


@pytest.mark.req("FEED-10")
@trio_test
async def test_without_a_cursor_it_begins_now(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.come("ann")
        follower = Follower(raw)
        assert (await follower.subscribe())["cursor"] == str(crowd.online["ann"])
        await crowd.come("bob")
        await follower.receive_entries(1)
        assert follower.entries[0]["user"] == "bob"


@pytest.mark.req("FEED-11")
@trio_test
async def test_notifications_are_bounded(tmp_path: Path) -> None:
    async with crowded(tmp_path, max_line_bytes=8192) as (where, crowd), peer(where) as raw:
        begin = await crowd.head()
        await crowd.come(*("\N{GRINNING FACE}" * 128 for _ in range(30)), *"ab")
        follower = Follower(raw)
        await follower.subscribe(cursor=str(begin))
        await follower.receive_entries(32)
        assert follower.sequences == list(range(1, 33))
        for notice in follower.notices:
            line = json.dumps(notice, ensure_ascii=False, separators=(",", ":"))
            assert len(line.encode()) < 8192
        assert 4 <= len(follower.notices) <= 8
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await crowd.churn(1000)
        follower = Follower(raw)
        await follower.subscribe(cursor=f"{(await crowd.head()).generation}-0")
        await follower.receive_entries(1000)
        assert {len(notice["entries"]) for notice in follower.notices} == {200}


@pytest.mark.req("FEED-11")
@trio_test
async def test_an_entry_that_is_longer_than_a_line_comes_alone(tmp_path: Path) -> None:
    async with crowded(tmp_path, max_line_bytes=1024) as (where, crowd), peer(where) as raw:
        begin = await crowd.head()
        for user in ("\N{GRINNING FACE}" * 128, "ann", "\N{GRINNING FACE}" * 127):
            await crowd.come(user)
        follower = Follower(raw)
        await follower.subscribe(cursor=str(begin))
        await follower.receive_entries(3)
        assert [len(notice["entries"]) for notice in follower.notices] == [1, 1, 1]


@pytest.mark.req("FEED-12")
@trio_test
async def test_an_entry_is_read_and_encoded_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def encode(entry: Any) -> bytes:
        encoded.append(entry)
        return msgspec.json.encode(entry)

    monkeypatch.setattr(log_reader, "_encode", encode)
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        followers = [Follower(raw) for _ in range(3)]
        for follower in followers:
            await follower.subscribe()
        for number in range(5):
            await crowd.come(f"user {number}")
            got = [await followers[0].receive() for _ in followers]
            assert {one["subscription"] for one in got} == {1, 2, 3}
            assert {one["entries"][0]["user"] for one in got} == {f"user {number}"}
        assert len(encoded) == 5


@pytest.mark.req("FEED-13")
@pytest.mark.req("FEED-14")
@trio_test
async def test_no_more_is_sent_than_there_is_credit_for(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        begin = await crowd.head()
        await crowd.churn(300)
        follower = Follower(raw)
        number = (await follower.subscribe(cursor=str(begin), credit=7))["subscription"]
        await follower.receive_entries(7)
        assert await follower.is_silent()
        acked = follower.entries[2]["cursor"]
        answer = await raw.call("presence.ack", subscription=number, cursor=acked)
        assert answer == {"cursor": acked, "in_flight": 4}
        await follower.receive_entries(10)
        assert await follower.is_silent()
        while len(follower.entries) < 300:
            await follower.ack(follower.notices[-1])
            await follower.receive()
        assert follower.sequences == list(range(1, 301))
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().lag == follower.notices[-1]["entries"].__len__()


@pytest.mark.req("FEED-13")
@trio_test
async def test_a_thousand_entries_are_sent_by_default(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        begin = await crowd.head()
        await crowd.churn(1500)
        follower = Follower(raw)
        await follower.subscribe(cursor=str(begin))
        await follower.receive_entries(1000)
        assert await follower.is_silent()


@pytest.mark.req("FEED-15")
@pytest.mark.req("FEED-16")
@trio_test
async def test_acknowledgements_are_checked(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw, peer(where) as other:
        begin = await crowd.head()
        await crowd.come(*"abcdef")
        follower = Follower(raw)
        told = await follower.subscribe(cursor=str(begin), credit=4)
        await follower.receive_entries(4)
        ack = partial(raw.call, "presence.ack", subscription=told["subscription"])
        third, first = follower.entries[2]["cursor"], follower.entries[0]["cursor"]
        assert (await ack(cursor=third))["in_flight"] == 1
        await follower.receive_entries(6)
        for again in (first, third, str(begin)):  # nothing is taken back
            assert await ack(cursor=again) == {"cursor": third, "in_flight": 3}
        fail = partial(raw.fail, "presence.ack", subscription=told["subscription"])
        generation = begin.generation
        for wrong in (
            f"{generation}-7",
            f"{generation + 1}-1",
            f"{generation - 1}-1",
            f"{generation}-18446744073709551615",
            "",
            "7",
            "-1--1",
            "x" * 42,
            None,
            7,
        ):
            error = await fail(cursor=wrong)
            assert error["code"] == Code.INVALID_PARAMS
            assert error["data"] == {"parameter": "cursor"}
        assert (await fail(cursor=f"{generation}-7"))["message"] == (
            f"cursor: the last entry that was sent is {generation}-6"
        )
        for number in (0, -1, 2**62, told["subscription"] + 1):
            error = await raw.fail("presence.ack", subscription=number, cursor=first)
            assert error["code"] == Code.NOT_FOUND
        # A subscription is that of its connection alone.
        error = await other.fail("presence.ack", cursor=third, **_number(told))
        assert error["code"] == Code.NOT_FOUND
        assert await other.call("presence.unsubscribe", **_number(told)) == {"done": False}
        await crowd.come("g")
        await follower.receive_entries(7)


def _number(told: dict[str, Any]) -> dict[str, Any]:
    return {"subscription": told["subscription"]}


@pytest.mark.req("FEED-13")
@trio_test
async def test_parameters_are_checked(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, _), peer(where) as raw:
        for name, values in {
            "credit": (0, -1, 10_001, 2**70, 1.5, None, "5"),
            "cursor": ("", "1", "1-", "01-1", "1-18446744073709551616", "x" * 50, 3),
            "group": ("", "x" * 65, "a\nb", "\0", 7),
            "namespace": (None, 7, "x" * 300),
        }.items():
            for value in values:
                params = {"namespace": CHAT, name: value}
                error = await raw.fail("presence.subscribe", **params)
                assert error["code"] == Code.INVALID_PARAMS, (name, value)
                assert error["data"]["parameter"] == name
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().subscriptions == 0


@pytest.mark.req("FEED-17")
@trio_test
async def test_a_reader_that_lags_too_far_is_told(tmp_path: Path) -> None:
    async with crowded(tmp_path, MemoryStore(max_events=20)) as (where, crowd), peer(where) as raw:
        begin = await crowd.head()
        follower = Follower(raw)
        told = await follower.subscribe(cursor=str(begin), credit=5)
        await crowd.churn(5)
        await follower.receive_entries(5)
        await crowd.churn(1000)
        await follower.ack(follower.notices[-1])
        notice = await follower.receive()
        assert notice["subscription"] == told["subscription"]
        assert notice["entries"] == []
        assert notice["cursor"] == follower.entries[-1]["cursor"]
        error = notice["error"]
        assert error["code"] == Code.CURSOR_EXPIRED
        generation = begin.generation
        assert error["data"] == {
            "retryable": False,
            "oldest": f"{generation}-985",
            "head": f"{generation}-1005",
        }
        assert "presence.snapshot or presence.count" in error["message"]
        # It was the last one, and a new subscription gets the same answer.
        await crowd.come("ann")
        assert await follower.is_silent()
        assert (await raw.call("presence.unsubscribe", **_number(told))) == {"done": False}
        error = await raw.fail("presence.subscribe", namespace=CHAT, cursor=str(begin))
        assert error["code"] == Code.CURSOR_EXPIRED
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().ended == {"cursor_expired": 2}
        # What it has to do.
        count = await raw.call("presence.count", namespace=CHAT)
        await follower.subscribe(cursor=count["cursor"])
        await crowd.come("zoe")
        assert [entry["user"] for entry in (await follower.receive())["entries"]] == ["zoe"]


@pytest.mark.req("FEED-18")
@trio_test
async def test_a_log_that_is_no_more_is_told(tmp_path: Path) -> None:
    store = Restartable()
    async with crowded(tmp_path, store) as (where, crowd), peer(where) as raw:
        await crowd.come("ann")
        follower = Follower(raw)
        told = await follower.subscribe()
        for cursor in ("1-1", f"{2**60}-0"):
            error = await raw.fail("presence.subscribe", namespace=CHAT, cursor=cursor)
            assert error["code"] == Code.GENERATION_CHANGED
            assert error["data"] == {"retryable": False, "head": told["cursor"]}
            assert "presence.snapshot or presence.count" in error["message"]
        store.restart()
        notice = await follower.receive()
        assert notice["error"]["code"] == Code.GENERATION_CHANGED
        assert notice["error"]["data"]["head"] == str(await crowd.head())
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().ended == {"generation_changed": 3}


@pytest.mark.parametrize(
    ("cursor", "head", "words"),
    [
        ("7-9", "7-4", "the cursor 7-9 is ahead of the log, whose last entry is 7-4"),
        ("7-9", "7-0", "the cursor 7-9 is ahead of the log, which is empty"),
        ("6-1", "7-4", "the cursor 6-1 belongs to a log that is no more"),
    ],
)
def test_a_cursor_that_is_ahead_is_told_so(cursor: str, head: str, words: str) -> None:
    error = unreadable(parse_cursor(cursor), GenerationChanged(parse_cursor(head)))
    assert error.code == Code.GENERATION_CHANGED
    assert error.message.startswith(f"{words}: ask for presence.snapshot")


@pytest.mark.req("FEED-19")
@pytest.mark.req("CONTROL-82")
@trio_test
async def test_a_peer_that_does_not_read_costs_nobody_anything(tmp_path: Path) -> None:
    async with (
        crowded(tmp_path, output_bound_bytes=1 << 17, slow_peer_s=0.3) as (where, crowd),
        peer(where) as stuck,
        peer(where) as raw,
    ):
        little_buffer(stuck.stream)
        begin = str(await crowd.head())
        await stuck.send(
            *(
                stuck.request("presence.subscribe", namespace=CHAT, cursor=begin, credit=10_000)
                for _ in range(16)
            )
        )
        follower = Follower(raw)
        await follower.subscribe(cursor=begin)
        for number in range(10):
            await crowd.churn(200)
            await follower.receive_entries(200 * (number + 1))
            await follower.ack(follower.notices[-1])
        await trio.sleep(0.6)
        assert await raw.call("presence.count", namespace=CHAT)
        # It is still there, and goes on when it reads; no more than a few batches wait for it.
        assert len(where.service._peers) == 2
        held = max(one._connection.waiting_bytes for one in where.service._peers)
        assert 0 < held < 400_000
        late = Follower(stuck)
        answers = 0
        while len(late.entries) < 16 * 2000:
            message = await stuck.receive()
            if "id" in message:
                answers += 1
            else:
                late.entries += message["params"]["entries"]
        assert answers == 16


@pytest.mark.req("FEED-25")
@trio_test
async def test_a_peer_has_so_many_subscriptions(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, _), peer(where) as raw, peer(where) as other:
        follower = Follower(raw)
        for _ in range(16):
            await follower.subscribe()
        errors = [await raw.fail("presence.subscribe", namespace=CHAT) for _ in range(100)]
        assert {error["code"] for error in errors} == {Code.OVERLOADED}
        assert "16 subscriptions" in errors[0]["message"]
        await Follower(other).subscribe()
        assert await raw.call("presence.unsubscribe", subscription=3) == {"done": True}
        await follower.subscribe()


@pytest.mark.req("FEED-26")
@trio_test
async def test_all_peers_together_have_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_SUBSCRIPTIONS", 3)
    async with crowded(tmp_path) as (where, _), peer(where) as raw:
        async with peer(where) as other:
            for _ in range(3):
                await Follower(other).subscribe()
            error = await raw.fail("presence.subscribe", namespace=CHAT)
            assert error["code"] == Code.OVERLOADED
        found = where.presence.feed
        assert found is not None
        await until(lambda: not found.statistics().subscriptions)
        await Follower(raw).subscribe()


@pytest.mark.req("FEED-34")
@trio_test
async def test_it_ends_when_it_is_told_or_its_connection_ends(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        found = where.presence.feed
        assert found is not None
        follower = Follower(raw)
        told = await follower.subscribe()
        assert await raw.call("presence.unsubscribe", **_number(told)) == {"done": True}
        assert await raw.call("presence.unsubscribe", **_number(told)) == {"done": False}
        await crowd.come("ann")
        assert await follower.is_silent()
        assert found.statistics().subscriptions == 0
        assert found._readers == {}
        async with peer(where) as other:
            await Follower(other).subscribe(group="g")
            await Follower(other).subscribe()
            assert found.statistics().subscriptions == 2
        await until(lambda: not found.statistics().subscriptions)
        assert found._by_peer.keys() == {one.backend for one in where.service._peers}
        assert found._readers == {}


@pytest.mark.req("FEED-34")
@trio_test
async def test_a_peer_that_sends_no_more_gets_no_more(tmp_path: Path) -> None:
    """It could not acknowledge anything."""
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        await Follower(raw).subscribe()
        assert isinstance(raw.stream, trio.SocketStream)
        await raw.stream.send_eof()
        assert await raw.is_closed()
        await crowd.come("ann")
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().subscriptions == 0


@pytest.mark.req("FEED-34")
@trio_test
async def test_a_peer_may_go_while_it_subscribes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        begin = str(await crowd.head())
        async with peer(where) as other:
            goes_on, count = trio.Event(), MemoryStore.count

            async def hold(store: MemoryStore, namespace: str) -> Any:
                await goes_on.wait()
                return await count(store, namespace)

            monkeypatch.setattr(MemoryStore, "count", hold)
            await other.send(other.request("presence.subscribe", namespace=CHAT, group="g"))
            await raw.call("system.info")
            assert isinstance(other.stream, trio.SocketStream)
            await other.stream.send_eof()
            await raw.call("system.info")
            goes_on.set()
            answer = await other.receive()
            assert answer["error"]["code"] == Code.UNAVAILABLE
        follower = Follower(raw)
        assert (await follower.subscribe(group="g", cursor=begin))["active"]
        assert where.presence.feed is not None
        assert where.presence.feed.statistics().subscriptions == 1


def tokens(folder: Path, *methods: str) -> tuple[ControlToken, ...]:
    return (ControlToken(name="shop", file=write_token(folder), methods=methods),)


@pytest.mark.req("FEED-28")
@trio_test
async def test_a_token_that_loses_the_method_loses_its_subscriptions(tmp_path: Path) -> None:
    given = tokens(tmp_path, "presence.*", "system.info")
    async with (
        crowded(tmp_path, listen=(TCP,), tokens=given) as (where, crowd),
        tcp_peer(where) as raw,
    ):
        assert (await raw.fail("presence.subscribe", namespace=CHAT))["code"] == Code.UNAUTHORIZED
        await raw.call("auth", token=SECRET)
        follower = Follower(raw)
        await follower.subscribe()
        await crowd.come("ann")
        await follower.receive_entries(1)
        where.service.apply(TokenTable(tokens(tmp_path, "presence.count", "system.info")))
        await crowd.come("bob")
        notice = await follower.receive()
        assert notice["entries"] == []
        assert notice["error"] == {
            "code": Code.FORBIDDEN,
            "message": "the token does not allow presence.subscribe any more",
        }
        error = await raw.fail("presence.subscribe", namespace=CHAT)
        assert error["code"] == Code.FORBIDDEN
        where.service.apply(TokenTable(given))
        await follower.subscribe()
        await crowd.come("carl")
        await follower.receive_entries(2)
        assert [entry["user"] for entry in follower.entries] == ["ann", "carl"]


@pytest.mark.req("FEED-29")
@trio_test
async def test_there_are_no_subscriptions_over_http(tmp_path: Path) -> None:
    given = tokens(tmp_path, "*")
    async with (
        crowded(tmp_path, tokens=given) as (where, crowd),
        admin(where.runtime, where.service) as port,
    ):
        await crowd.come("ann")

        http = HttpClient(port)

        async def call(method: str, **params: Any) -> Any:
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            bearer = ("Authorization", f"Bearer {SECRET}")
            return (await post(http, request, JSON, bearer)).json()

        wrong: dict[str, dict[str, Any]] = {
            "presence.subscribe": {"namespace": CHAT},
            "presence.ack": {"subscription": 1, "cursor": "1-1"},
            "presence.unsubscribe": {"subscription": 1},
        }
        for method, params in wrong.items():
            error = (await call(method, **params))["error"]
            assert error["code"] == Code.INVALID_REQUEST
            assert error["message"] == (
                f"{method} needs a connection to the control socket, not HTTP"
            )
        assert (await call("presence.count", namespace=CHAT))["result"]["users"] == 1
        await http.aclose()


@pytest.mark.req("FEED-32", "CLUS-13")
@trio_test
async def test_a_subscription_outlives_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_S", 0.02)
    monkeypatch.setattr(log_reader, "RETRY_S", 0.02)
    failures = 0

    class Sometimes(MemoryStore):
        is_away = False

        async def read(self, *arguments: Any) -> Any:
            nonlocal failures
            if self.is_away:
                failures += 1
                await trio.lowlevel.checkpoint()
                raise StoreUnavailable("as the test wants it")
            return await super().read(*arguments)

    store = Sometimes()
    async with crowded(tmp_path, store) as (where, crowd), peer(where) as raw:
        follower = Follower(raw)
        await follower.subscribe(credit=2)
        store.is_away = True
        await crowd.come("ann", "bob", "carl")
        await until(lambda: failures > 4)
        assert await follower.is_silent()
        assert where.presence.feed is not None
        numbers = where.presence.feed.statistics
        lag_s = numbers().lag_s
        await until(lambda: numbers().lag_s > lag_s + 0.5)
        store.is_away = False
        await follower.receive_entries(2)
        await follower.ack(follower.notices[-1])
        store.is_away = True
        assert await follower.is_silent()
        store.is_away = False
        await follower.receive_entries(3)
        assert follower.sequences == [1, 2, 3]
        await crowd.come("dora")
        await follower.receive_entries(4)
        assert numbers().lag_s < 0.5  # as of the last entry, not of the outage
    (line,) = [one.message for one in caplog.records if "wait for the store" in one.message]
    assert "/chat" in line


@pytest.mark.req("FEED-33")
@trio_test
async def test_the_feed_tells_its_numbers(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw, peer(where) as other:
        found = where.presence.feed
        assert found is not None
        begin = str(await crowd.head())
        fast, slow = Follower(raw), Follower(other)
        await fast.subscribe(cursor=begin, group="g")
        await slow.subscribe(cursor=begin, credit=2)
        assert found.statistics() == feed.FeedStatistics(2, 1, 0, 0.0, 0, {})
        await crowd.churn(10)
        await fast.receive_entries(10)
        await slow.receive_entries(2)
        await fast.ack(fast.notices[-1])
        await raw.call("system.info")
        numbers = found.statistics()
        assert 0 <= numbers.lag_s < 2
        assert numbers == feed.FeedStatistics(2, 1, 10, numbers.lag_s, 12, {})


@trio_test
async def test_a_feed_that_does_not_run_says_so(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, _), peer(where) as raw:
        where.presence.feed = Feed(MemoryStore())
        error = await raw.fail("presence.subscribe", namespace=CHAT)
        assert error["code"] == Code.UNAVAILABLE


@trio_test
async def test_no_deadline_runs_for_one_that_stands_alone(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        follower = Follower(raw)
        await follower.subscribe()
        await crowd.come("ann")
        await follower.receive_entries(1)
        assert where.presence.feed is not None
        (owned,) = where.presence.feed._by_peer.values()
        assert [one.scope.deadline for one in owned.values()] == [inf]


@trio_test
async def test_in_a_batch_entries_may_come_before_the_answer(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        begin = str(await crowd.head())
        await crowd.come("ann")
        batch = [
            raw.request("presence.subscribe", namespace=CHAT, cursor=begin),
            raw.request("presence.list", namespace=CHAT),
        ]
        await raw.send(json.dumps(batch))
        got = [await raw.receive(), await raw.receive()]
        assert sum(isinstance(one, list) for one in got) == 1


@pytest.mark.req("FEED-10")
@trio_test
async def test_what_came_while_it_was_read_is_not_waited_for(autojump_clock: MockClock) -> None:
    """A store that is far away may have more by the time its answer is there."""
    reader = log_reader.LogReader(MemoryStore(), CHAT)
    reader.tail = Cursor(1, 5)
    with trio.fail_after(1):
        await reader.wait(Cursor(1, 4))
        reader.tail = Cursor(2, 0)  # another log
        await reader.wait(Cursor(1, 5))
    for cursor in (Cursor(2, 0), Cursor(2, 1)):
        with trio.move_on_after(1) as scope:
            await reader.wait(cursor)
        assert scope.cancelled_caught


@pytest.mark.req("FEED-35")
@trio_test
async def test_many_subscriptions_go_on_in_slices() -> None:
    """Connections are driven between them."""
    store = MemoryStore()
    found, crowd = Feed(store), Crowd(store)
    await crowd.start()
    inbox: list[tuple[FakePeer, dict[str, Any]]] = []
    peers = [FakePeer(number, inbox) for number in range(600)]
    async with trio.open_nursery() as nursery:
        await nursery.start(found.run)
        for fake in peers:
            await found.subscribe(cast("BackendPeer", fake), CHAT, None, None, 1000)
        await wait_all_tasks_blocked()
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        await crowd.come("ann")
        async with trio.open_nursery() as watch:
            watch.start_soon(count_turns)
            while len(inbox) < len(peers):
                await trio.lowlevel.checkpoint()
            watch.cancel_scope.cancel()
        assert turns > 10
        assert {fake for fake, _ in inbox} == set(peers)
        assert [len(notice["entries"]) for _, notice in inbox] == [1] * len(peers)
        for fake in peers:
            fake.end()
        assert found.statistics().subscriptions == 0
        nursery.cancel_scope.cancel()


@pytest.mark.req("FEED-36")
@trio_test
async def test_batches_of_those_that_lag_are_encoded_one_at_a_time() -> None:
    store = MemoryStore()
    found, crowd = Feed(store), Crowd(store)
    await crowd.start()
    await crowd.churn(1000)
    generation = (await crowd.head()).generation
    inbox: list[tuple[FakePeer, dict[str, Any]]] = []
    peers = [FakePeer(number, inbox) for number in range(100)]
    most = 0

    async def watch() -> None:
        nonlocal most
        before = 0
        while True:
            await trio.lowlevel.checkpoint()
            most, before = max(most, len(inbox) - before), len(inbox)

    async with trio.open_nursery() as nursery:
        await nursery.start(found.run)
        nursery.start_soon(watch)
        for number, fake in enumerate(peers):  # each from a place of its own
            begin = Cursor(generation, number)
            await found.subscribe(cast("BackendPeer", fake), CHAT, begin, None, 1000)
        while len(inbox) < 500:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert most <= 4


@pytest.mark.req("FEED-34")
@trio_test
async def test_nothing_is_left_of_subscriptions_that_have_ended(tmp_path: Path) -> None:
    async with crowded(tmp_path) as (where, crowd), peer(where) as raw:
        found = where.presence.feed
        assert found is not None
        follower = Follower(raw)
        for number in range(300):
            told = await follower.subscribe(group=f"group {number}" if number % 2 else None)
            if number % 50 == 0:
                await crowd.come(f"user {number}")
                await follower.receive()
            await raw.call("presence.unsubscribe", **_number(told))
        (one,) = where.service._peers
        assert len(one.backend._on_end) == 1
        assert found._by_peer == {one.backend: {}}
        assert found._readers == {}
        assert len(found._groups) == 150  # their positions are kept
        assert found._nursery is not None
        await until(lambda: found._nursery is None or not found._nursery.child_tasks)
