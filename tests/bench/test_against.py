"""The order in which two commits are measured, without servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.against import _measure, _probe
from bench.comparison import NEW, OLD, Comparison, exit_code, judge
from bench.machine import ROOT, Cores
from bench.ratios import Change
from bench.servers import PLAIN, Running, ServerFailedError
from bench.trees import Tree
from bench.trials import Quantity, Reading, Trial, TrialFailedError

CORES = Cores(0, 1)


class Bench:
    """Stands for servers: notes which side was started for which trial."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.speed = {OLD: 100.0, NEW: 100.0}
        self.broken: set[str] = set()
        self.running = ""
        monkeypatch.setattr("bench.against.run_server", self.run_server)

    @contextmanager
    def run_server(self, name: str, _: Cores, *, tree: Tree, **__: Any) -> Iterator[Running]:
        if tree.name in self.broken and not tree.own_apps:
            raise ServerFailedError("no attribute 'of'")
        self.order.append(tree.name)
        self.running = tree.name
        yield Running(name, 1, 1)

    def trial(self, key: str) -> Trial:
        quantity = Quantity(key, key)

        def run(_: Running, __: Cores) -> dict[str, Reading]:
            speed = self.speed[self.running]
            if not speed:
                raise TrialFailedError("wrong replies")
            return {key: Reading(speed)}

        return Trial((quantity,), 1.0, 10, run)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


TREES = (Tree(OLD, ROOT), Tree(NEW, ROOT))


def compare(bench: Bench, pairs: int, *keys: str) -> Comparison:
    chosen = [bench.trial(key) for key in keys]
    made = Comparison([quantity for trial in chosen for quantity in trial.quantities])
    _measure(chosen, TREES, CORES, pairs, made)
    return made


def test_pairs_alternate(bench: Bench) -> None:
    compare(bench, 3, "a")
    assert bench.order == [OLD, NEW, NEW, OLD, OLD, NEW]


def test_rows_take_turns_within_a_pair(bench: Bench) -> None:
    compare(bench, 2, "a", "b")
    assert bench.order == [OLD, NEW, OLD, NEW, NEW, OLD, NEW, OLD]


def test_a_slower_side_is_found(bench: Bench) -> None:
    bench.speed[NEW] = 90
    verdicts = judge(compare(bench, 10, "a", "b"))
    assert [one.change for one in verdicts] == [Change.REGRESSED] * 2
    assert exit_code(verdicts) == 1


def test_a_side_that_fails_does_not_end_the_bench(bench: Bench) -> None:
    bench.speed[NEW] = 0
    made = compare(bench, 5, "a")
    assert len(bench.order) == 10
    (verdict,) = judge(made)
    assert (verdict.change, verdict.reason) == (Change.FAILED, "new: wrong replies")
    assert len(made.conditions["a"][NEW]) == 5


def test_an_old_side_is_given_its_own_app(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bench.against.measure", lambda *_, **__: ([object()], ""))
    (tmp_path / "tests" / "apps").mkdir(parents=True)
    app = tmp_path / "tests" / "apps" / "bench_app.py"
    bench.broken = {OLD}
    old, made = Tree(OLD, tmp_path), Comparison([])

    _probe([bench.trial("a")], (old, TREES[1]), CORES, made)
    assert old.own_apps == set()  # it has none
    assert made.notes == ["old does not run with plain handlers: no attribute 'of'"]

    app.touch()
    _probe([bench.trial("a")], (old, TREES[1]), CORES, made)
    assert old.own_apps == {PLAIN}
    assert old.app_folder(PLAIN) == tmp_path
    assert TREES[1].app_folder(PLAIN) == ROOT
    assert "old runs its own app" in made.notes[-1]
