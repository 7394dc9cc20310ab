"""What it costs to operate a server: each figure held against another of the same round."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from bench.generator import Measurement
from bench.loading import Answer, side_by_side
from bench.machine import Cores
from bench.operating import Operating, estimate_s, measure_operating
from bench.questions import PARTS, QUESTIONS
from bench.report import as_json, markdown, verdict_table
from bench.resting import Resting
from bench.run import _check, _parser
from bench.servers import ServerFailedError
from bench.throughput import Figures, Pace
from bench.verdicts import Reached, Results, Verdict, judge
from bench.workers import beside_one, told_cores

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

    def figure(options: Sequence[str]) -> Measurement:
        asked.append(tuple(options))
        return measurement(200 if options else 100)

    for number in (1, 2):
        answer = side_by_side(figure, ("--x",), number)
        assert (answer.figure, answer.beside) == (200, 100)
    assert asked == [(), ("--x",), ("--x",), ()]


def measurement(per_second: float, **more: Any) -> Measurement:
    times = {"p50_us": 1500.0, "p99_us": 2500.0, "max_us": 3000.0, "generator_cpu": 0.5, **more}
    return Measurement("echo", 100, 1, 64, 1.0, 100, per_second, errors=0, server_us=50.0, **times)


def test_latencies_stand_beside_a_rate() -> None:
    one = Answer.of(measurement(300), measurement(200, p99_us=9000.0))
    made = results("seated", {1: one, 2: one})
    (row,) = judge(made)
    assert (row.latency, row.beside_latency) == ("1,500, 2,500", "1,500, 9,000")
    assert "1,500, 9,000" in verdict_table([row])[-1]
    told = as_json(made, [row])["operating"]["seated"][1]
    assert told["loads"]["beside"]["p99_us"] == 9000


def test_two_workers_stand_beside_the_better_of_nodes_two() -> None:
    answer = Answer.of(measurement(300), measurement(100), measurement(400, p99_us=7.0))
    (row,) = [
        one
        for one in judge(results("workers-node/im", {1: answer}))
        if one.key == "workers-node/im"
    ]
    assert (row.theirs, row.uws) == ("100, two Node processes", "400")
    assert (row.ratio, row.beside_latency) == ("0.75", "1,500, 7")


def test_cpu_times_of_both_sides_are_told_where_two_workers_stand_beside_one() -> None:
    both = measurement(800, machine_busy=0.99, redis_us=2.5)
    made = results("workers/im", {1: Answer.of(both, measurement(700, machine_busy=0.88))})
    text = markdown(made, judge(made))
    told = [" ".join(line.split()) for line in text.splitlines()]
    assert (
        "| mixed IM load, two workers | ours | 800 | 1,500 | 2,500 | 50.00 | 2.50 | 625.00 | 99% |"
        in told
    )
    assert told_cores(made.operating.answers) == [
        "workers/im: all cores of the machine were 99% busy with two workers, "
        "88% busy with what is beside"
    ]


def test_two_workers_with_a_core_each_are_judged_by_cpu_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    @contextmanager
    def ours(_: Cores, count: int, __: Any) -> Iterator[int]:
        yield count

    def measure(_: str, count: int, __: Cores, ___: Pace, title: str) -> Measurement:
        asked.append(title)
        # The cores are full, so the rate is the same; a message costs two workers a quarter more.
        return replace(measurement(1000), server_us=50.0 if count == 2 else 40.0)

    monkeypatch.setattr("bench.workers._ours", ours)
    monkeypatch.setattr("bench.workers._measure", measure)
    found = beside_one("im")(Cores(0, 1), PACE, 1)
    assert found["workers/im"].ratio == 1
    assert found["workers/im/cpu"].ratio == 1.6
    assert found["workers/im/cpu"].beside == 25_000
    assert asked == ["1 of ours", "2 of ours"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_takes_about_a_minute_and_no_peer(part: str) -> None:
    # Two servers of Node stand beside two workers, in turn.
    assert estimate_s([part], PACE) < (75 if part.startswith("workers-node") else 60)
    asked = _parser().parse_args(["--rows", part])
    _check(_parser(), asked)
    assert asked.servers == ["trio"]


def test_other_rows_are_measured_with_the_peers() -> None:
    asked = _parser().parse_args(["--rows", "control,echo"])
    _check(_parser(), asked)
    assert "node" in asked.servers
