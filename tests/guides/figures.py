"""The figures that README and the page about performance quote, out of bench/results.

What is measured anew is quoted anew by ``make references``; nobody copies a figure by hand.
"""

import json
import re
from statistics import median
from typing import Any, Final

from tests.guides.guide import FOLDER, ROOT

RESULTS: Final = ROOT / "bench" / "results"
SHOWN: Final = (
    "connects", "echo/64/16", "ack/64/16", "echo/4096/16", "async-echo/64/16", "binary/4096/16",
    "broadcast/1000/4", "broadcast/5000/8", "rooms/4", "im/4", "tls/64/16",
)  # fmt: skip
"""The rows of the page about performance. First rows of a group are left to results.md."""

SERVERS: Final = {
    "trio": "trio-socketio",
    "node": "Node",
    "uws": "Node on uWebSockets.js",
    "uvicorn": "python-socketio on uvicorn",
}
"""The columns of the tables. Older results have nothing of Node on uWebSockets.js."""

WITH_NODES_HANDLER: Final = ("async-echo/64/1", "suspends-echo/64/1", "suspends-echo/64/16")
_VERSIONS: Final = (
    *("trio", "socket.io", "ws", "uWebSockets.js", "python-socketio", "uvicorn", "uvloop"),
)
_KILLED: Final = re.compile(
    r"^\| 1 \| kill -9 of one node \|.*\| ([\d.]+ s); all once \|$", re.MULTILINE
)


def _results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    return found


def readme_text() -> str:
    """The table of three figures of README."""
    results = _results()
    echo, memory = _verdict(results, "echo/64/16"), results["memory_bytes_per_connection"]
    has_uws = "uws" in memory
    (lost,) = _KILLED.findall((FOLDER / "how_it_is_tested.md").read_text(encoding="utf-8"))
    versions = results["machine"]
    rows = [
        _line(
            "",
            "trio-socketio",
            f"Node, socket.io {versions['socket.io']}",
            *(["the same on uWebSockets.js"] if has_uws else []),
            f"python-socketio {versions['python-socketio']} on uvicorn",
        ),
        _rule(5 if has_uws else 4),
        _line(
            "messages echoed in a second, on one core: 64 bytes, 100 WebSocket clients, 16 "
            "messages in flight each",
            f"**{echo['ours']}**",
            echo["node"],
            *([echo["uws"]] if has_uws else []),
            _per_second(results, "echo/64/16", "uvicorn"),
        ),
        _line(
            "memory of an idle connection, at 10,000 of them",
            f"**{_kib(memory['trio'], '10000', 1)}**",
            *(_kib(memory[one], "10000", 1) for one in SERVERS if one != "trio" and one in memory),
        ),
        _line(
            "one of three nodes with 3,000 users is killed (`kill -9`): how long until the "
            "presence log says that its users are offline, each exactly once, with a lease of 5 s",
            f"**{lost}**",
            *("–" for one in SERVERS if one != "trio" and one in memory),
        ),
    ]
    return "\n".join(rows)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _rule(columns: int) -> str:
    return f"|{'---|' * columns}"


def _kib(sizes: dict[str, float], count: str, digits: int) -> str:
    return f"{sizes[count] / 1024:.{digits}f} KiB"


def performance_text() -> str:
    """The tables, the conditions and the notes of the page about performance."""
    results = _results()
    memory, idle = results["memory_bytes_per_connection"], results["idle_cpu_share"]
    late = results["lateness_ms"]
    shown = [one for one in SERVERS if one in memory]
    has_uws = "uws" in shown
    peers = ("Node, ws", "Node, uWebSockets.js", "ratio to the better") if has_uws else ()
    heads = peers or ("Node", "ratio")
    parts = [
        _line("per second, on one core", "trio-socketio", *heads, "times python-socketio"),
        _rule(len(heads) + 3),
        *(_row(_verdict(results, key), has_uws=has_uws) for key in SHOWN),
        "",
        _line("at rest", *(SERVERS[one] for one in shown)),
        _rule(len(shown) + 1),
        *(
            _line(
                f"memory per idle connection, at {int(count):,}",
                *(_kib(memory[one], count, 2) for one in shown),
            )
            for count in memory["trio"]
        ),
        _line(
            "share of a core that 5,000 idle connections take",
            *(f"{idle[one]:.2%}" if one in idle else "–" for one in shown),
        ),
        "",
        "| a task of the app beside a full load: how late `trio.sleep(0.01)` ends | p99 | worst |",
        "|---|---|---|",
        *(f"| {load} | {one['p99']:.1f} ms | {one['max']:.1f} ms |" for load, one in late.items()),
        "",
        "Against an async handler in Node, which is faster there than a plain one in some rows:",
        "",
        "| per second | trio-socketio | Node, async handler |",
        "|---|---|---|",
        *(
            f"| {_verdict(results, key)['title']} | {_per_second(results, key, 'trio')} | "
            f"{_per_second(results, key, 'node')} |"
            for key in WITH_NODES_HANDLER
        ),
        "",
        _conditions(results["machine"]),
        "",
        "The notes of the run:",
        "",
        *(f"- {note}" for note in [*results["notes"], *results["not_measured"]]),
    ]
    return "\n".join(parts)


def _conditions(machine: dict[str, str]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in _VERSIONS if name in machine)
    return (
        f"Measured in {machine['rounds']} rounds on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory']}, {machine['kernel'].split('-')[0]}, {machine['python']}, Node "
        f"{machine['node']}, at commit {machine['commit']}: {versions}."
    )


def _row(verdict: dict[str, Any], *, has_uws: bool) -> str:
    over = verdict["over_uvicorn"]
    told = "–" if over is None else f"{over:.1f}"
    uws = [verdict["uws"]] if has_uws else []
    return _line(verdict["title"], verdict["ours"], verdict["node"], *uws, verdict["ratio"], told)


def _verdict(results: dict[str, Any], key: str) -> dict[str, Any]:
    (found,) = [one for one in results["verdicts"] if one["key"] == key]
    row: dict[str, Any] = found
    return row


def _per_second(results: dict[str, Any], key: str, server: str) -> str:
    """The median of the rounds."""
    return f"{median(one['per_second'] for one in results['measured'][key][server]):,.0f}"
