"""Nodes of a cluster that give seats by different rules: the log tells it."""

import logging
from typing import Any

import pytest
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.im.presence import PresenceOptions
from trio_socketio.im.presence.node_options import NodeOptions
from trio_socketio.im.presence.options import NamespaceSeats
from trio_socketio.im.presence.redis_store import RedisStore
from trio_socketio.redis.redis import Redis

KEY = "tsio:{presence#0}:options"


def options_of(redis: Redis, node: str, **options: Any) -> NodeOptions:
    return NodeOptions(redis, "tsio", node, PresenceOptions(**options))


@pytest.mark.req("CLUS-19")
@trio_test
async def test_a_difference_is_named_with_the_node_and_both_values(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    lobby = NamespaceSeats(name="/lobby", policy="reject")
    async with open_redis(redis_server.url) as redis:
        await options_of(redis, "a", outage="available", namespaces=(lobby,)).compare(())
        assert not caplog.messages
        await options_of(redis, "b").compare(["a"])
        same = "give all nodes the same [presence] options"
        assert caplog.messages == [
            f"presence: node a has outage = 'available', and this one, b, 'strict': {same}",
            f"presence: node a has policy of /lobby = 'reject', and this one, b, 'newest': {same}",
        ]
        caplog.clear()
        written = NamespaceSeats(name="/chat", policy="newest")
        await options_of(redis, "c", namespaces=(written,)).compare(["b"])
        assert not caplog.messages, "it says what holds for b anyway"


@pytest.mark.req("CLUS-19")
@trio_test
async def test_few_nodes_are_remembered_that_are_gone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_redis(redis_server.url) as redis:
        for number in range(102):
            await options_of(redis, f"{number}", outage="available").compare(())
        assert redis_server.command("HLEN", KEY) == 1
        await options_of(redis, "b").compare(())
        assert not caplog.messages
        assert list(redis_server.command("HGETALL", KEY)) == [b"101", b"b"]


@pytest.mark.req("CLUS-19")
@trio_test
async def test_a_node_that_was_not_heard_of_is_known_by_its_lease(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_redis(redis_server.url) as redis:
        await RedisStore(redis).enroll("node a", "boot")
        await options_of(redis, "node a", outage="available").compare(())
        assert not caplog.messages
        await options_of(redis, "b").compare(())
    assert "node node a has outage = 'available'" in caplog.text


@pytest.mark.parametrize(
    "value", ["", "{", "[]", '{"outage": 1}', "{" + " " * 20_000 + "}", '{"other": "x"}', "\xff"]
)
@trio_test
async def test_what_is_no_list_of_options_is_not_compared(
    value: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command("HSET", KEY, "a", value)
    async with open_redis(redis_server.url) as redis:
        await options_of(redis, "b").compare(["a"])
    assert not caplog.messages


@trio_test
async def test_a_key_of_others_keeps_nobody_out(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    redis_server.command("SET", KEY, "theirs")
    async with open_redis(redis_server.url) as redis:
        await options_of(redis, "b").compare(["a"])
    assert "the options of other nodes are not known: WRONGTYPE" in caplog.text
    assert redis_server.command("GET", KEY) == b"theirs"
