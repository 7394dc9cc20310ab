"""The settings that presence needs, read from a real Redis."""

import logging

import pytest
import trio
from tests.redis_server import RedisServer, running_redis
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.im.presence import redis_settings
from trio_socketio.im.presence.redis_settings import RedisSettings


@pytest.mark.req("CLUS-12")
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
@trio_test
async def test_nobody_is_let_in_while_redis_may_throw_keys_away(
    policy: str,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(redis_settings, "LOOK_S", 0.02)
    redis_server.command("CONFIG", "SET", "maxmemory-policy", policy)
    async with open_redis(redis_server.url) as redis, trio.open_nursery() as nursery:
        settings = RedisSettings(redis)
        nursery.start_soon(settings.wait_fit)
        await until(lambda: f"maxmemory-policy is {policy}" in settings.fault)
        await trio.sleep(0.1)
        assert caplog.text.count("no client is let in") == 1
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert settings.fault == ""


@pytest.mark.parametrize(("value", "is_told"), [("no", True), ("yes", False)])
@trio_test
async def test_a_redis_that_forgets_is_told(
    value: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_redis("--appendonly", value) as server:
        async with open_redis(server.url) as redis:
            await RedisSettings(redis).wait_fit()
    assert ("whenever it is restarted" in caplog.text) is is_told


@trio_test
async def test_settings_that_may_not_be_read_keep_nobody_out(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    redis_server.command(
        "ACL", "SETUSER", "ann", "on", ">secret", "allkeys", "&*", "+@all", "-info"
    )
    url = redis_server.tcp_url.replace("://", "://ann:secret@")
    async with open_redis(url) as redis:
        await RedisSettings(redis).wait_fit()
    assert "the settings of Redis are not known: NOPERM" in caplog.text
