"""Which rows of the bench are meant by a pattern."""

import pytest
from bench.rows import GROUPS, Group, all_rows, family, only, select, unknown


def keys(groups: list[Group]) -> list[str]:
    return [row.key for group in groups for job in group.jobs for row in job.rows.values()]


def test_nothing_asked_is_everything() -> None:
    assert keys(select([])) == [row.key for row in all_rows()]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["echo/64/1"], ["echo/64/1"]),
        (["echo/64"], ["echo/64/1", "echo/64/16"]),
        (["polling", "im"], ["im/1", "im/4", "polling"]),
        (["broadcast-5000"], [f"broadcast/5000/{depth}" for depth in (1, 4, 8, 32)]),
        (["*ack/64/16"], ["ack/64/16", "async-ack/64/16", "suspends-ack/64/16"]),
        (["ech"], []),
    ],
)
def test_patterns_choose_rows(patterns: list[str], expected: list[str]) -> None:
    assert keys(select(patterns)) == expected


def test_a_chosen_job_keeps_its_group() -> None:
    (group,) = select(["tls/64/1"])
    assert (group.name, group.tls, len(group.jobs)) == ("tls", True, 1)
    assert "--tls" in group.jobs[0].options


def test_unknown_patterns_are_named() -> None:
    asked = ["echo", "ekko", "memory", "messages", "*/4096/*", "x*"]
    assert unknown(asked, ["memory"]) == ["ekko", "x*"]


def test_a_family_shares_its_reference() -> None:
    both = {"echo/64/1", "async-echo/64/1", "suspends-echo/64/1"}
    assert family({"async-echo/64/1"}) == both
    assert family({"polling"}) == {"polling"}
    assert set(keys(only(GROUPS, both))) == both
