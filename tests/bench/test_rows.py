"""Which rows of the bench are meant by a pattern."""

import pytest
from bench.generator import command
from bench.rows import _BEST, GROUPS, Group, all_rows, family, only, select, unknown
from bench.servers import TITLES, Running
from bench.throughput import is_asked_of


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


def test_a_cluster_is_of_servers_that_understand_one_another() -> None:
    (group,) = select(["cluster/16"])
    assert group.is_cluster
    assert [name for name in TITLES if is_asked_of(group, name)] == ["trio", "node", "uws"]


def test_half_of_the_clients_are_on_the_second_node() -> None:
    made = command("broadcast", Running("trio", 5, 8001, Running("trio", 6, 8002)))
    assert " ".join(made).endswith("--port 8001 --server-pids 5,6 --limit 100 --second-port 8002")


def test_cpu_time_is_that_of_all_workers_and_of_redis() -> None:
    made = command("echo", Running("trio", 5, 8001, children=(7, 8), redis_pid=9))
    assert " ".join(made).endswith("--server-pids 5,7,8 --limit 100 --redis-pid 9")


def test_the_limit_does_what_can_be_done_without_handlers_and_tls() -> None:
    asked = [group.name for group in GROUPS if is_asked_of(group, "limit")]
    assert asked == [
        *("connects", "messages", "broadcast-1000", "broadcast-5000", "rooms", "polling"),
    ]


def test_every_target_against_the_better_of_nodes_two_is_of_a_row() -> None:
    assert {row.key: row.best for row in all_rows() if row.best} == _BEST


def test_unknown_patterns_are_named() -> None:
    asked = ["echo", "ekko", "memory", "messages", "*/4096/*", "x*"]
    assert unknown(asked, ["memory"]) == ["ekko", "x*"]


def test_a_family_shares_its_reference() -> None:
    both = {"echo/64/1", "async-echo/64/1", "suspends-echo/64/1"}
    assert family({"async-echo/64/1"}) == both
    assert family({"polling"}) == {"polling"}
    assert set(keys(only(GROUPS, both))) == both
