"""Short forms of some faults of nodes and Redis; `make faults` plays all, at full length."""

import pytest
from trio.testing import trio_test

from tests.faults.presence.play import IN_SUITE, find, play
from tests.faults.presence.scenarios import SCENARIOS
from tests.faults.presence.world import SHORT

PLAYED = (
    pytest.param("1", marks=pytest.mark.req("PFAULT-01")),
    pytest.param("3", marks=pytest.mark.req("PFAULT-03")),
    pytest.param("12", marks=pytest.mark.req("PFAULT-13")),
)


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("key", PLAYED)
@trio_test
async def test_presence_is_right_whatever_fails(key: str) -> None:
    outcome = await play(SCENARIOS[key], SHORT)
    assert outcome.is_right, f"\n{outcome}"


def test_scenarios_are_found_by_their_keys() -> None:
    assert [one.key for one in find(IN_SUITE)] == [str(one.values[0]) for one in PLAYED]
    assert [one.key for one in find(["6", "block"])] == ["6a", "6b", "block"]
    keys = [one.key for one in find(())]
    assert keys[:7] == ["1", "2", "3", "4", "5", "6a", "6b"]
    assert len(keys) == len(SCENARIOS) == 24
    with pytest.raises(KeyError):
        find(["0"])
