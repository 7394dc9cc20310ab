"""The soak in short, which finds what is left behind; `make endurance` also finds what grows."""

from pathlib import Path

import pytest
from trio.testing import trio_test

from tests.endurance.soak import SHORT, play


@pytest.mark.alone
@pytest.mark.time_limit(90)
@pytest.mark.req("OPS-24")
@trio_test
async def test_nothing_is_left_of_clients_that_come_and_go(tmp_path: Path) -> None:
    report = await play(SHORT, tmp_path, "")
    assert report.faults == [], report.tell()
    assert report.came > 50, report.tell()
    assert report.done["entered"] > 25, report.tell()
