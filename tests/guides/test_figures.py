"""The figures of README and of the page about performance, out of results of any age."""

import copy
from typing import Any

import pytest
from tests.guides import figures


@pytest.fixture
def results() -> dict[str, Any]:
    """Return results without Node on uWebSockets.js, as older ones are."""
    made: dict[str, Any] = copy.deepcopy(figures._results())
    for verdict in made["verdicts"]:
        verdict.pop("uws", None)
    for what in ("memory_bytes_per_connection", "idle_cpu_share"):
        made[what].pop("uws", None)
    return made


def with_uws(results: dict[str, Any]) -> None:
    for verdict in results["verdicts"]:
        verdict["uws"] = "4,321"
    memory = results["memory_bytes_per_connection"]
    memory["uws"] = dict.fromkeys(memory["trio"], 543.21 * 1024)


@pytest.mark.parametrize("has_uws", [False, True])
def test_every_line_of_a_table_has_a_cell_for_each_column(
    has_uws: bool, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_uws:
        with_uws(results)
    monkeypatch.setattr(figures, "_results", lambda: results)
    text = f"{figures.readme_text()}\n\n{figures.performance_text()}"
    assert ("4,321" in text) is has_uws
    assert ("543.21 KiB" in text) is has_uws
    assert ("uWebSockets.js |" in text) is has_uws
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1, lines[0]
