"""A short storm of namespaces; ``python -m tests.im.namespaces.storm`` is the long one."""

import pytest
from tests.im.namespaces.storm import play
from tests.redis_server import RedisServer
from trio.testing import trio_test


@pytest.mark.req("NSP-23")
@pytest.mark.alone
@trio_test
async def test_a_short_storm(shared_redis: RedisServer) -> None:
    report = await play(shared_redis, 24, 30, pace_s=0.02)
    assert report.faults == []
    for what in ("create", "update", "remove"):
        assert report.done[what] == 24 + 8
    assert min(report.done[what] for what in ("joined", "put out", "refused")) > 5
