"""Readers of the log after a real Redis has lost everything, on two nodes."""

from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import peer
from tests.http.answering import answering
from tests.im.feed_world import CHAT, Crowd, Follower, fold
from tests.im.hook_receiver import Receiver
from tests.im.test_killed_nodes import Running
from tests.im.test_presence_webhook import options, until
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.codec.json_rpc import Code
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.im.presence.redis_turns import RedisTurns
from trio_socketio.im.presence.webhook import PresenceWebhook
from trio_socketio.protocol.presence_claims import Renewal


async def begin_anew(follower: Follower, crowd: Crowd) -> dict[str, set[str]]:
    """Take a snapshot, as the guide says, and subscribe behind it."""
    page = await follower.raw.call("presence.snapshot", namespace=CHAT)
    assert page["next"] is None
    follower.entries.clear()
    await follower.subscribe(cursor=page["cursor"])
    return {one["user"]: {seat["token"] for seat in one["seats"]} for one in page["users"]}


@pytest.mark.alone
@pytest.mark.req("FEED-18", "FEED-31", "HOOK-07", "HOOK-14")
@trio_test
async def test_all_begin_anew_and_miss_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    with trio.fail_after(40):
        async with (
            open_redis(redis_server.url) as redis,
            answering("") as receiving,
            trio.open_nursery() as nursery,
        ):
            store = RedisStore(redis, lease_s=100)
            crowd = Crowd(store)
            await crowd.start()
            nodes = [Running(tmp_path, redis_server, name) for name in ("left", "right")]
            for node in nodes:
                await nursery.start(node.run)
            turns = RedisTurns(redis, lambda: "a1")
            hook = PresenceWebhook(store, options(tmp_path, receiving.url), turns=turns)
            await nursery.start(hook.run)
            async with (
                peer(nodes[0].where) as alone,
                peer(nodes[0].where) as first,
                peer(nodes[1].where) as second,
            ):
                one, active, waiting = map(Follower, (alone, first, second))
                users: dict[str, set[str]] = await begin_anew(one, crowd)
                assert (await active.subscribe(group="g"))["active"]
                assert not (await waiting.subscribe(group="g"))["active"]
                await crowd.churn(30)
                await one.receive_entries(30)
                await active.receive_entries(30)
                redis_server.command("FLUSHALL")
                assert await store.renew("a1") is Renewal.REBUILD
                crowd.online.clear()
                await crowd.come("ann")
                for follower in (one, active, waiting):
                    notice: dict[str, Any] = {}
                    while "error" not in notice:
                        notice = await follower.receive()
                    assert notice["error"]["code"] == Code.GENERATION_CHANGED
                users = await begin_anew(one, crowd)
                await crowd.come("bob", "cy")
                await crowd.go("ann")
                while set(users) != set(crowd.online):
                    await one.receive()
                    fold(one.entries, users)
                    one.entries.clear()
                assert users == {user: {str(token)} for user, token in crowd.online.items()}
                begin = str(await crowd.head())
                told = await waiting.subscribe(group="g", cursor=begin)
                assert told["cursor"] == begin
            head = str(await crowd.head())
            await until(lambda: receiving.asked[-1].json["cursor"] == head)
            receiver = Receiver()
            for asked in receiving.asked:
                receiver.take(asked)
            assert set(receiver.users) == set(crowd.online)
            # The turn is lost with the store, and with it what was posted last.
            assert receiver.gaps[0] == "started"
            assert 2 <= len(receiver.gaps) <= 3
            snapshots = [
                record
                for asked in receiving.asked
                for record in asked.json["records"]
                if record["type"] == "snapshot"
            ]
            is_rebuilding = ["rebuilding" in record for record in snapshots]
            assert is_rebuilding in ([False, True], [False, True, True])  # whoever posts it first
            nursery.cancel_scope.cancel()
