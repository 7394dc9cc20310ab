"""Writes the results: a table for people, JSON for programs, charts for both."""

import json
import statistics
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench.charts import bar_chart, line_chart
from bench.growth import AXES, BROADCAST, ECHO, ROOM
from bench.loading import BESIDE, OURS, UWS
from bench.questions import QUESTIONS
from bench.rows import all_rows
from bench.servers import LIMIT, NODE_PEERS, TITLES
from bench.tables import table
from bench.throughput import Samples
from bench.verdicts import UVICORN_RATIO, Reached, Results, Verdict

_SIDE = (
    *("per_second", "p50_us", "p99_us", "server_us", "redis_us", "generator_us", "machine_busy"),
)
LATENCY_ROWS = ("echo/64/1", "echo/64/16", "ack/64/1", "broadcast/1000/4", "im/4", "polling")


def verdict_table(verdicts: Sequence[Verdict]) -> list[str]:
    head = (
        *("workload", "ours", "Node ws, or ours", "Node uWS", "ratio", "of each round", "must"),
        *("goal", "to ws", "must", "goal", "reached", "of the limit", "p50, p99", "theirs"),
        *("x uvicorn", "unsteady"),
    )
    lines = []
    for one in verdicts:
        times = "-"
        if one.has_uvicorn and one.over_uvicorn is not None:
            times = f"{one.over_uvicorn:.1f}" + (" (below 5)" if one.misses_uvicorn else "")
        cells = (one.title, one.ours, one.theirs, one.uws, one.ratio, one.spread)
        targets = (one.must, one.goal, one.to_ws, one.must_ws, one.goal_ws, one.reached.value)
        more = (one.of_limit, one.latency, one.beside_latency, times)
        lines.append((*cells, *targets, *more, ", ".join(one.unsteady) or "-"))
    return table(head, lines)


def round_table(verdicts: Sequence[Verdict]) -> list[str]:
    """The ratio of every round, so that one slow minute of a server can be seen."""
    shown = [one for one in verdicts if one.rounds]
    numbers = sorted({number for one in shown for number in one.rounds})
    lines = [
        (
            one.title,
            *(f"{one.rounds[at]:.2f}" if at in one.rounds else "-" for at in numbers),
        )
        for one in shown
    ]
    return table(("workload", *map(str, numbers)), lines)


def summary(verdicts: Sequence[Verdict]) -> str:
    asked = [one for one in verdicts if one.must != "-" or one.must_ws != "-"]
    count = {kind: sum(one.reached is kind for one in asked) for kind in Reached}
    below = sum(one.misses_uvicorn for one in verdicts)
    return (
        f"{len(asked)} rows with a target: {count[Reached.GOAL]} reach the goal, "
        f"{count[Reached.MUST]} the must, {count[Reached.NO]} neither, "
        f"{count[Reached.UNMEASURED]} not measured; "
        f"{below} throughput rows are below {UVICORN_RATIO:g} times uvicorn; "
        f"{sum(bool(one.unsteady) for one in verdicts)} rows are unsteady."
    )


def unmeasured(results: Results) -> list[str]:
    """One line for each server and reason."""
    rows: dict[tuple[str, str], list[str]] = {}
    for row in all_rows():
        if row.key not in results.asked_rows:
            continue
        for server, reason in results.figures.missing.get(row.key, {}).items():
            rows.setdefault((server, reason), []).append(row.key)
    found = []
    for (server, reason), keys in rows.items():
        found.append(f"{', '.join(keys)}: {TITLES[server]}: {reason}")
    for what, reason in results.resting.missing.items():
        kind, _, server = what.partition("/")
        found.append(f"{kind}: {TITLES[server]}: {reason}")
    return found


def _latencies(results: Results) -> Iterator[tuple[str, ...]]:
    for row in all_rows():
        if row.key not in results.asked_rows:
            continue
        for server in results.servers:
            per_second = results.figures.median(row.key, server)
            if per_second is None:
                continue
            rounds = results.figures.by_round(row.key, server).values()
            spread = f"{min(rounds):,.0f} to {max(rounds):,.0f}" if len(rounds) > 1 else "-"
            times = [
                f"{results.figures.median(row.key, server, name) or 0:,.0f}"
                for name in ("p50_us", "p99_us", "max_us")
            ]
            cpu = results.figures.median(row.key, server, "server_us") or 0
            busy = results.figures.median(row.key, server, "machine_busy") or 0
            cells = (row.title, TITLES[server], f"{per_second:,.0f}", spread, *times)
            yield (*cells, f"{cpu:.2f}", f"{busy:.0%}")


def _on_two_nodes(results: Results) -> list[str]:
    head = ("workload", "server", "CPU", "of each round", "p50 across nodes", "p99 across nodes")
    lines = []
    for row, server in product(all_rows(), results.servers):
        figures = results.figures
        if across := figures.median(row.key, server, "across_p99_us"):
            costs = figures.by_round(row.key, server, "server_us").values()
            half = figures.median(row.key, server, "across_p50_us") or 0
            spread = f"{min(costs):.2f} to {max(costs):.2f}" if len(costs) > 1 else "-"
            cells = (f"{statistics.median(costs):.2f}", spread, f"{half:,.0f}", f"{across:,.0f}")
            lines.append((row.title, TITLES[server], *cells))
    if not lines:
        return []
    what = "CPU is what both nodes have used for each delivery; all in microseconds."
    return ["## On two nodes", "", what, "", *table(head, lines), ""]


def _both_sides(results: Results) -> list[str]:
    """What the load generator measured where ours is held against ours."""
    head = ("workload", "side", "per second", "p50", "p99", "CPU", "Redis", "generator", "busy")
    lines = []
    for question in QUESTIONS:
        answers = results.operating.answers.get(question.key, {}).values()
        for side, title in ((OURS, "ours"), (BESIDE, question.beside), (UWS, question.uws)):
            loads = [one.loads[side] for one in answers if side in one.loads]
            if loads:
                rate, *times, busy = (
                    statistics.median(getattr(one, name) for one in loads) for name in _SIDE
                )
                told = [f"{rate:,.0f}", *(f"{one:,.0f}" for one in times[:2])]
                told += [*(f"{one:.2f}" for one in times[2:]), f"{busy:.0%}"]
                lines.append((question.title, title, *told))
    if not lines:
        return []
    what = (
        "Latencies, and CPU times for each message or connect: of all processes that serve, of "
        "the Redis of workers, and of the load generator; all in microseconds. Two workers share "
        "all cores with Redis, the load generator and the kernel's work for the network; where "
        "these cores are nearly all busy beside one process already, the rate cannot rise much. "
        'Rows "by CPU" say what two workers would carry with cores of their own.'
    )
    return ["## Both sides of what no peer has", "", what, "", *table(head, lines), ""]


def markdown(results: Results, verdicts: Sequence[Verdict]) -> str:
    text = ["# Results of the bench", "", summary(verdicts), ""]
    text += [
        "Messages (for broadcasts and rooms: deliveries) per second, medians of the rounds. The "
        "ratio is the median of ours to the better of Node's two servers (ws and uWebSockets.js, "
        'with a plain handler) of each round, and must and goal behind it are of that; "to ws" is '
        "that to Node on ws, with a must and a goal of its own. For memory, idle CPU and lateness "
        "the ratio is our figure itself; for what no peer has, it is to another figure of ours, "
        'which is named. "of the limit" is the share of what a C program reaches that only '
        'answers; "at most" where the load generator could not bring it to its limit. p50 and '
        "p99 are microseconds, ours and then those of what the ratio is to. A row is unsteady when "
        "the rounds of a server named there differ by more than 25 %, in a second run of the row "
        "as well: do not build on its ratio.",
        "",
        *verdict_table(verdicts),
        "",
    ]
    if any(len(one.rounds) > 1 for one in verdicts):
        text += ["## The ratio in each round", "", *round_table(verdicts), ""]
    text += [
        "## Every server",
        "",
        "Latencies are microseconds, and so is the server's CPU time for each message. "
        '"busy" is the share of all cores of the machine that were busy while it was measured, '
        "with whatever it was.",
        "",
    ]
    head = ("workload", "server", "per second", "of each round", "p50", "p99", "max", "CPU", "busy")
    text += [*table(head, list(_latencies(results))), ""]
    text += _on_two_nodes(results)
    text += _both_sides(results)
    if results.resting.memory or results.resting.idle_cpu:
        text += ["## At rest", "", *_at_rest(results), ""]
    if results.lateness:
        text += ["## Lateness of a trio sleep(0.01) in our process", ""]
        lines = [
            (
                load,
                *(
                    "-" if one is None else f"{one:.2f} ms"
                    for one in (late.p50_ms, late.p99_ms, late.max_ms)
                ),
                str(late.sleeps),
            )
            for load, late in results.lateness.items()
        ]
        text += [*table(("load", "p50", "p99", "max", "sleeps"), lines), ""]
    if results.curves:
        text += ["## Growth", "", "CPU microseconds of the server per message or delivery.", ""]
        for curve in results.curves:
            points = ", ".join(f"{cost:.2f} at {size:,}" for size, cost, _ in curve.points)
            power = "-" if curve.exponent is None else f"{curve.exponent:.3f}"
            text.append(f"- {AXES[curve.kind]}: {TITLES[curve.server]}: {points}; ")
            text[-1] += f"exponent {power}; {curve.verdict}"
        text.append("")
    text += ["## Not measured", "", *(f"- {line}" for line in unmeasured(results)), ""]
    notes = [*results.figures.notes, *results.resting.notes]
    if notes:
        text += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    text += ["## Machine and versions", ""]
    text += table(("what", "which"), list(results.machine.items()))
    charts = "\n".join(f"![{name}]({name})" for name in draw(results))
    return "\n".join([*text, "", "## Charts", "", charts, ""])


def _at_rest(results: Results) -> list[str]:
    lines = []
    for server in results.servers:
        if server == LIMIT:
            continue  # it keeps nothing
        memory = results.resting.memory.get(server, {})
        cpu = results.resting.idle_cpu.get(server)
        sizes = ", ".join(f"{size / 1024:.2f} KiB at {count:,}" for count, size in memory.items())
        lines.append((TITLES[server], sizes or "-", "-" if cpu is None else f"{cpu:.2%}"))
    return table(("server", "memory per connection", "idle CPU, 5,000 connections"), lines)


def draw(results: Results) -> dict[str, str]:
    """Charts by the name of their file."""
    charts: dict[str, str] = {}

    def curves(kind: str, at: int) -> dict[str, list[tuple[float, float]]]:
        return {
            TITLES[curve.server]: [(point[0], point[at]) for point in curve.points]
            for curve in results.curves
            if curve.kind == kind
        }

    if results.curves:
        charts["deliveries.svg"] = line_chart(
            "Deliveries per second, broadcast to all, 4 in flight",
            "connections",
            "deliveries/s",
            curves(BROADCAST, 2),
        )
        growth = {
            "growth_connections.svg": (ECHO, "Cost of an echo against connections", "connections"),
            "growth_rooms.svg": (ROOM, "Cost of a delivery against rooms", "rooms"),
        }
        for name, (kind, title, axis) in growth.items():
            charts[name] = line_chart(title, axis, "CPU us per message", curves(kind, 1))
    shown = [row for row in all_rows() if row.key in LATENCY_ROWS]
    shown = [row for row in shown if row.key in results.asked_rows]
    for percentile in ("p50", "p99") if shown else ():
        series = {
            TITLES[server]: [
                results.figures.median(row.key, server, f"{percentile}_us") for row in shown
            ]
            for server in ("trio", *NODE_PEERS)
            if server in results.servers
        }
        charts[f"latency_{percentile}.svg"] = bar_chart(
            f"Latency, {percentile}, smaller is better",
            "microseconds",
            [row.key for row in shown],
            series,
        )
    if results.resting.memory:
        counts = sorted({n for sizes in results.resting.memory.values() for n in sizes})
        charts["memory.svg"] = bar_chart(
            "Memory per idle connection",
            "KiB",
            [f"{count:,} connections" for count in counts],
            {
                TITLES[server]: [sizes[n] / 1024 if n in sizes else None for n in counts]
                for server, sizes in results.resting.memory.items()
            },
        )
    return charts


def as_json(results: Results, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "machine": results.machine,
        "verdicts": [
            {
                "key": one.key,
                "title": one.title,
                "ours": one.ours,
                "node": one.theirs,
                "uws": one.uws,
                "ratio": one.ratio,
                "must": one.must,
                "goal": one.goal,
                "ratio_to_ws": one.to_ws,
                "must_to_ws": one.must_ws,
                "goal_to_ws": one.goal_ws,
                "of_limit": one.of_limit,
                "p50_p99_us": one.latency,
                "p50_p99_us_beside": one.beside_latency,
                "reached": one.reached.value,
                "over_uvicorn": one.over_uvicorn,
                "ratio_of_each_round": one.rounds,
                "ratio_to_ws_of_each_round": one.rounds_to_ws,
                "unsteady": one.unsteady,
            }
            for one in verdicts
        ],
        "measured": _samples_as_json(results.figures.measured),
        "set_aside": _samples_as_json(results.figures.set_aside),
        "memory_bytes_per_connection": results.resting.memory,
        "idle_cpu_share": results.resting.idle_cpu,
        "lateness_ms": {
            load: {
                "p50": late.p50_ms,
                "p99": late.p99_ms,
                "max": late.max_ms,
                "sleeps": late.sleeps,
            }
            for load, late in results.lateness.items()
        },
        "operating": {
            key: {number: answer.as_json() for number, answer in answers.items()}
            for key, answers in results.operating.answers.items()
        },
        "growth": [
            {
                "server": curve.server,
                "kind": curve.kind,
                "points": curve.points,
                "exponent": curve.exponent,
                "flat": curve.is_flat,
            }
            for curve in results.curves
        ],
        "not_measured": unmeasured(results),
        "notes": [*results.figures.notes, *results.resting.notes],
    }


def _samples_as_json(samples: Samples) -> dict[str, Any]:
    return {
        row: {name: [one.as_json() for one in found] for name, found in by_server.items()}
        for row, by_server in samples.items()
    }


def write(results: Results, verdicts: Sequence[Verdict], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in draw(results).items():
        (folder / name).write_text(chart)
    (folder / "results.md").write_text(markdown(results, verdicts))
    text = json.dumps(as_json(results, verdicts), indent=1)
    (folder / "results.json").write_text(text + "\n")
