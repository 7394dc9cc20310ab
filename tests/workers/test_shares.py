"""The array in which workers tell one another how many connections they have."""

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.cluster.workers.shares import AWAY, Share, Shares
from trio_socketio.errors import ConfigurationError


@pytest.fixture
def shares() -> Shares:
    return Shares.create(3)


def test_what_one_writes_all_read_and_all_are_away_at_first(shares: Shares) -> None:
    other = Shares.attach(os.dup(shares.fileno), 3)
    assert other.least() == AWAY
    shares.write(2, 1 << 40)
    assert other.least() == 1 << 40
    shares.write(1, 7)
    assert other.least() == 7
    other.reset(1)
    assert shares.least() == 1 << 40
    other.close()
    shares.close()


@pytest.mark.req("WORK-30")
@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_one_that_has_more_by_over_4_and_2_percent_leaves_connections_to_others(
    ours: int, least: int
) -> None:
    shares = Shares.create(2)
    share = Share(shares, 1)
    share.publish(ours)
    shares.write(2, least)
    ahead_by = ours - min(ours, least)
    assert share.is_ahead(ours) == (ahead_by > 4 and ahead_by > min(ours, least) // 50)
    shares.close()


@pytest.mark.req("WORK-33")
def test_nobody_is_ahead_of_those_that_are_away(shares: Shares) -> None:
    share = Share(shares, 1)
    share.publish(1000)
    assert not share.is_ahead(1000)
    shares.write(2, 0)
    assert share.is_ahead(1000)
    shares.reset(2)
    assert not share.is_ahead(1000)
    shares.close()


@pytest.mark.req("WORK-33")
def test_one_that_leaves_takes_connections_only_if_nobody_else_is_there(shares: Shares) -> None:
    share = Share(shares, 1)
    share.publish(3)
    share.leave()
    share.publish(3)
    assert shares.least() == AWAY
    assert not share.is_ahead(3)
    shares.write(3, 1000)
    assert share.is_ahead(3)
    shares.close()


def test_what_is_no_array_is_an_error() -> None:
    with tempfile.TemporaryFile() as file:
        for number in (file.fileno(), 1 << 20):
            with pytest.raises(ConfigurationError, match="cannot be mapped"):
                Shares.attach(number, 2)
