"""The rows of the guide's table about Redis that take long."""

from pathlib import Path

import pytest
from tests.redis_server import RedisServer
from tests.redis_states import ROWS, open_scene
from trio.testing import trio_test


@pytest.mark.time_limit(120)
@trio_test
async def test_what_the_guide_says_of_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    async with open_scene(redis_server, tmp_path) as scene:
        for state in (
            scene.be_slow,
            scene.drop_who_does_not_read,
            scene.take_no_more,
            scene.stand_still,
        ):
            await scene.begin()
            await state()
        assert len(ROWS) == 10  # the other five are tested by tests/test_cluster_guide.py
