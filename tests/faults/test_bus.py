"""The faults of Redis, in short; the whole length is `make faults`."""

from pathlib import Path

import pytest
from trio.testing import trio_test

from tests.faults.bus import LOCAL_S, MAX_QUEUE_BYTES, SHORT, play


@pytest.mark.alone
@pytest.mark.req("BUS-22", "REDIS-13", "REDIS-17", "REDIS-27")
@trio_test
async def test_nothing_that_redis_does_disturbs_local_clients_or_order(tmp_path: Path) -> None:
    report = await play(SHORT, tmp_path)
    assert not report.faults
    assert report.longest_local_s < LOCAL_S
    assert report.largest_queue_bytes <= MAX_QUEUE_BYTES
    assert report.counted["cuts of one node"] != (0, 0)
