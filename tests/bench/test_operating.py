"""What it costs to operate a server: each figure held against another of the same round."""

from collections.abc import Sequence

import pytest
from bench.loading import Answer, side_by_side
from bench.machine import Cores
from bench.operating import QUESTIONS, Operating, estimate_s, measure_operating
from bench.report import as_json, verdict_table
from bench.resting import Resting
from bench.run import _check, _parser
from bench.servers import ServerFailedError
from bench.throughput import Figures, Pace
from bench.verdicts import Reached, Results, Verdict, judge

from bench import operating

PACE = Pace(5, 1, 0.3, 1)


def results(key: str, answers: dict[int, Answer]) -> Results:
    (part,) = (question.part for question in QUESTIONS if question.key == key)
    found = Operating({key: answers} if answers else {})
    return Results({}, ["trio"], set(), Figures(), Resting(), {}, [], found, {part})


def verdict(key: str, *answers: tuple[float, float]) -> Verdict:
    made = results(key, {number: Answer(*one) for number, one in enumerate(answers, 1)})
    return next(one for one in judge(made) if one.key == key)


@pytest.mark.parametrize(
    ("key", "figure", "reached"),
    [
        ("session-lines", 840, Reached.NO),
        ("session-lines", 860, Reached.MUST),
        ("session-lines", 960, Reached.GOAL),
        ("backends", 5100, Reached.NO),
        ("backends", 4900, Reached.MUST),
        ("backends", 1900, Reached.GOAL),
        ("control/16", 1, Reached.UNASKED),
    ],
)
def test_figures_are_held_against_those_beside_them(
    key: str, figure: float, reached: Reached
) -> None:
    assert verdict(key, (figure, 1000)).reached is reached


def test_a_ratio_is_of_one_round() -> None:
    # The machine's speed changes from round to round, and the ratio does not.
    made = verdict("session-lines", (90, 100), (180, 200), (45, 50))
    assert (made.ours, made.theirs, made.ratio) == ("90", "100, without", "0.90")
    assert set(made.rounds.values()) == {0.9}
    assert "0.90 to 0.90" in verdict_table([made])[-1]


def test_what_could_not_be_measured_is_told() -> None:
    assert verdict("backends").reached is Reached.UNMEASURED


def test_results_have_both_figures_of_each_round() -> None:
    made = results("watched", {2: Answer(3, 4)})
    told = as_json(made, judge(made))["operating"]
    assert told == {"watched": {2: {"figure": 3, "beside": 4}}}


def test_rounds_go_on_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def control(_: Cores, __: Pace, number: int) -> dict[str, Answer]:
        if number == 2:
            raise ServerFailedError("it did not start")
        return {"control/1": Answer(number, 1)}

    monkeypatch.setitem(operating._MEASURE, "control", control)
    found = measure_operating({"control"}, Cores(0, 1), Pace(3, 1, 1))
    assert sorted(found.answers["control/1"]) == [1, 3]
    assert found.faults == ["not measured: control, round 2: it did not start"]


def test_with_and_without_take_turns() -> None:
    asked: list[tuple[str, ...]] = []

    def figure(options: Sequence[str]) -> float:
        asked.append(tuple(options))
        return 1.0

    for number in (1, 2):
        side_by_side(figure, ("--x",), number)
    assert asked == [(), ("--x",), ("--x",), ()]


@pytest.mark.parametrize("part", operating.PARTS)
def test_a_part_alone_takes_less_than_a_minute_and_no_peer(part: str) -> None:
    assert estimate_s([part], PACE) < 60
    asked = _parser().parse_args(["--rows", part])
    _check(_parser(), asked)
    assert asked.servers == ["trio"]


def test_other_rows_are_measured_with_the_peers() -> None:
    asked = _parser().parse_args(["--rows", "control,echo"])
    _check(_parser(), asked)
    assert "node" in asked.servers
