"""Rounds against peers: ratios, spread, and rows that are run again."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bench.generator import Measurement
from bench.machine import Conditions, Cores
from bench.operating import Operating
from bench.report import as_json, markdown, summary, verdict_table
from bench.resting import Resting
from bench.rows import Group, all_rows, select
from bench.throughput import Figures, Pace, Sample, note_steal, run_unsteady_rows_again
from bench.verdicts import Reached, Results, judge

# The rounds that were once published as "3.65 times Node": its server was slow, and ours jumped.
OURS, NODE = (21047.0, 9586.0, 17657.0), (4760.0, 4839.0, 8062.0)


def sample(
    number: int,
    per_second: float,
    *,
    errors: int = 0,
    steal: float = 0,
    across_us: float = 0,
    generator_cpu: float = 0.3,
) -> Sample:
    measured = Measurement(
        workload="polling",
        connections=100,
        in_flight=1,
        bytes=64,
        seconds=0.8,
        messages=1000,
        per_second=per_second,
        p50_us=1,
        p99_us=2,
        max_us=3,
        errors=errors,
        generator_cpu=generator_cpu,
        server_us=50,
        across_p99_us=across_us,
    )
    return Sample(number, measured, Conditions(0.1, 0, steal))


def figures(row: str = "polling", **by_server: Sequence[float]) -> Figures:
    made = Figures()
    for server, rounds in by_server.items():
        for number, per_second in enumerate(rounds, 1):
            made.add(row, server, sample(number, per_second))
    return made


def results(made: Figures) -> Results:
    return Results(
        machine={},
        servers=["trio", "node"],
        asked_rows=set(made.measured),
        figures=made,
        resting=Resting(),
        lateness={},
        curves=[],
        operating=Operating(),
        parts=set(),
    )


def test_a_slow_minute_of_the_peer_is_visible() -> None:
    made = results(figures(trio=OURS, node=NODE))
    (verdict,) = judge(made)
    assert (verdict.ratio, verdict.to_ws) == ("2.19", "2.19")
    assert verdict.reached is Reached.UNMEASURED  # one of Node's two is not the better of both
    assert verdict.spread == "1.98 to 4.42"
    assert verdict.unsteady == ("trio", "node")
    row = verdict_table([verdict])[-1]
    assert "1.98 to 4.42" in row
    assert "trio, node" in row
    assert "1 rows are unsteady" in summary([verdict])
    text = markdown(made, [verdict])
    assert "| polling round trips | 4.42 | 1.98 | 2.19 |" in text
    told = as_json(made, [verdict])
    assert told["verdicts"][0]["ratio_of_each_round"].keys() == {1, 2, 3}
    assert [one["round"] for one in told["measured"]["polling"]["node"]] == [1, 2, 3]


def test_the_ratio_is_of_rounds_and_not_of_medians() -> None:
    # Each round is 1.5 although the machine's speed changed between them.
    made = results(figures(trio=(150, 300, 225), node=(100, 200, 150), uws=(120, 240, 180)))
    (verdict,) = judge(made)
    assert set(verdict.rounds.values()) == {1.25}
    assert set(verdict.rounds_to_ws.values()) == {1.5}
    assert verdict.reached is Reached.MUST


@pytest.mark.parametrize(
    ("ours", "ws", "uws", "reached"),
    [
        (200, 100, 150, Reached.GOAL),
        (150, 100, 150, Reached.MUST),
        (200, 100, 230, Reached.NO),  # the must is 0.9 against the better one
        (110, 100, 100, Reached.NO),  # and 1.2 against ws
        (200, 250, 100, Reached.NO),
    ],
)
def test_a_row_must_stand_beside_both_of_nodes_servers(
    ours: float, ws: float, uws: float, reached: Reached
) -> None:
    (verdict,) = judge(results(figures(trio=(ours,), node=(ws,), uws=(uws,))))
    assert verdict.reached is reached
    assert verdict.ratio == f"{ours / max(ws, uws):.2f}"
    assert (verdict.must, verdict.must_ws) == ("0.9", "1.2")


def test_a_row_without_a_target_against_ws_is_held_against_the_better_one_alone() -> None:
    made = figures("broadcast/1000/32", trio=(130,), node=(1,), uws=(100,))
    assert judge(results(made))[0].reached is Reached.MUST
    made = figures("broadcast/1000/32", trio=(110,), node=(1,), uws=(100,))
    assert judge(results(made))[0].reached is Reached.NO


def test_the_better_one_is_found_in_each_round() -> None:
    made = figures(trio=(100, 100, 100), node=(50, 100, 80), uws=(100, 50, 80))
    assert made.ratios_to_best("polling", "polling") == {1: 1, 2: 1, 3: 1.25}
    made.add("polling", "trio", sample(4, 100))
    made.add("polling", "node", sample(4, 10))  # the other one has failed in this round
    assert sorted(made.ratios_to_best("polling", "polling")) == [1, 2, 3]


def test_a_figure_is_shown_as_a_share_of_what_the_machine_can_do() -> None:
    made = results(figures(trio=(40, 50), node=(10, 10), limit=(100, 100)))
    (verdict,) = judge(made)
    assert verdict.of_limit == "45%"
    assert "45%" in verdict_table([verdict])[-1]
    made.figures.add("polling", "limit", sample(3, 100, generator_cpu=0.95))
    assert judge(made)[0].of_limit == "at most 45%"  # the load generator kept it from more


def test_a_round_with_wrong_replies_does_not_count() -> None:
    made = figures(trio=(150, 150), node=(100, 100))
    made.add("polling", "trio", sample(3, 999, errors=1))
    made.add("polling", "node", sample(3, 100))
    assert made.ratios("polling", "polling", "node") == {1: 1.5, 2: 1.5}


def test_an_async_row_is_unsteady_with_its_reference() -> None:
    made = figures("async-echo/64/1", trio=(100, 101))
    made.measured |= figures("echo/64/1", trio=(100, 100), node=(50, 80)).measured
    found = {verdict.key: verdict.unsteady for verdict in judge(results(made))}
    assert found["echo/64/1"] == ("node",)
    assert found["async-echo/64/1"] == ("node in echo/64/1",)


@pytest.mark.parametrize(
    ("ours", "reached"), [(1010, Reached.NO), (990, Reached.MUST), (700, Reached.GOAL)]
)
def test_latency_across_nodes_is_held_against_that_of_node(ours: float, reached: Reached) -> None:
    made = Figures()
    for server, across_us in (("trio", ours), ("node", 1000.0)):
        for number, per_second in enumerate((100, 110), 1):
            made.add("cluster/4", server, sample(number, per_second, across_us=across_us))
    throughput, latency = judge(results(made))
    assert (throughput.key, throughput.reached) == ("cluster/4", Reached.NO)
    assert (latency.key, latency.reached) == ("p99/cluster/4", reached)
    assert "50.00 to 50.00" in markdown(results(made), [throughput, latency])


Rerun = Callable[[Figures, list[list[str]]], None]


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> Rerun:
    """Runs unsteady rows again, on servers that do 100 a second; notes which rows these were."""

    def again(made: Figures, asked: list[list[str]]) -> None:
        def run_rows(groups: Sequence[Group], *_: Any) -> None:
            keys = [row.key for group in groups for job in group.jobs for row in job.rows.values()]
            asked.append(keys)
            for key in keys:
                made.add(key, "trio", sample(1, 100))

        monkeypatch.setattr("bench.throughput.run_rows", run_rows)
        run_unsteady_rows_again(select([]), ["trio"], Cores(0, 1), Pace(5, 0.1, 0.1), made)

    return again


def test_steady_rows_are_not_run_again(rerun: Rerun) -> None:
    asked: list[list[str]] = []
    made = figures(trio=(100, 110, 124), node=(100, 100, 100))
    rerun(made, asked)
    assert asked == []
    assert made.notes == []


def test_unsteady_rows_are_run_again_once(rerun: Rerun) -> None:
    asked: list[list[str]] = []
    made = figures(trio=(100, 100, 100), node=(100, 100, 60))
    rerun(made, asked)
    assert asked == [["polling"]]
    assert list(made.by_round("polling", "trio").values()) == [100]
    assert len(made.set_aside["polling"]["node"]) == 3
    assert made.notes[0].startswith("run again")


def test_rows_are_run_again_with_all_that_are_held_against_the_same(rerun: Rerun) -> None:
    asked: list[list[str]] = []
    rerun(figures("suspends-ack/64/16", trio=(100, 50)), asked)
    assert asked == [["ack/64/16", "async-ack/64/16", "suspends-ack/64/16"]]


def test_every_row_has_a_reference_among_the_rows() -> None:
    keys = {row.key for row in all_rows()}
    assert {row.reference for row in all_rows()} <= keys


def test_stolen_time_is_told() -> None:
    made = figures(trio=(100, 100))
    note_steal(made)
    assert made.notes == []
    made.add("polling", "node", sample(1, 100, steal=0.12))
    note_steal(made)
    assert made.notes == [
        "more than 5% of the CPU time was stolen during polling (Node socket.io (ws), round 1: 12%)"
    ]
