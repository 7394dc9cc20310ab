"""What a comparison measures, and how long it takes."""

from bench.rows import GROUPS, all_rows
from bench.run import ROUNDS
from bench.servers import TITLES
from bench.throughput import Pace, estimate_s
from bench.trials import FULL, QUICK, all_trials, keys, select

RESTING = ["memory", "idle", "lateness", "growth"]
OPERATING = ["control/1", "control/16", "session-lines", "backends"]


def test_every_row_but_those_of_a_cluster_is_compared_once() -> None:
    rows = [row.key for row in all_rows() if not row.key.startswith("cluster/")]
    assert sorted(keys()) == sorted([*rows, "p99", *RESTING, *OPERATING])


def test_all_rows_in_ten_pairs_take_about_half_an_hour() -> None:
    total_s = 2 * 10 * sum(trial.estimate_s for trial in all_trials(FULL))
    assert 25 * 60 < total_s < 35 * 60


def test_a_row_is_compared_alone() -> None:
    (trial,) = select(["echo/64/16"], FULL)
    assert [quantity.key for quantity in trial.quantities] == ["echo/64/16"]
    assert [trial.name for trial in select(["idle"], FULL)] == ["idle"]
    assert [trial.name for trial in select(["control"], FULL)] == ["control/1"]


def test_p99_comes_with_the_row_that_it_is_of() -> None:
    (trial,) = select(["p99"], FULL)
    assert [quantity.key for quantity in trial.quantities] == ["echo/64/1", "p99"]
    assert [quantity.less_is_better for quantity in trial.quantities] == [False, True]


def test_no_pattern_is_everything() -> None:
    assert len(select([], QUICK)) == len(all_trials(QUICK))


def test_five_rounds_against_peers_take_about_three_quarters_of_an_hour() -> None:
    assert 40 * 60 < estimate_s(GROUPS, list(TITLES), Pace(ROUNDS, 0.8, 0.4)) < 50 * 60
