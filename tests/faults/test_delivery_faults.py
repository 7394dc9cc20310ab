"""The short form of the faults of confirmed delivery; `make faults` plays the whole one."""

from pathlib import Path

import pytest
from trio.testing import trio_test

from tests.faults.deliveries import SHORT, Report, play_alone, play_nodes


def check(report: Report) -> None:
    assert report.faults == [], report.tell()
    assert report.messages == SHORT.messages
    assert report.confirmed > SHORT.messages / 2, report.tell()
    assert report.unconfirmed >= SHORT.messages / 40, report.tell()
    assert report.again > 0, report.tell()


@pytest.mark.alone
@pytest.mark.req("DELIV-08", "DELIV-14", "DELIV-35")
@trio_test
async def test_one_node_goes_on_with_its_messages_after_it_was_killed(tmp_path: Path) -> None:
    check(await play_alone(SHORT, tmp_path))


@pytest.mark.alone
@pytest.mark.req("DELIV-08", "DELIV-15", "DELIV-35")
@trio_test
async def test_nodes_go_on_with_the_messages_of_one_that_was_killed(tmp_path: Path) -> None:
    check(await play_nodes(SHORT, tmp_path))
