"""``python -m tests.faults [bus | presence | deliveries] [--short] [SCENARIO...]``: plays faults.

``bus`` is what happens to messages when Redis fails, and ``presence`` what happens to who is online
when nodes, Redis or the way to it fail. ``deliveries`` is confirmed delivery to users who come and
go, while nodes are restarted and killed. Without such a word all are played. What was measured is
printed; the exit code is 1 if anything was wrong.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from tests.faults import deliveries
from tests.faults.bus import LOCAL_S, MAX_QUEUE_BYTES, RIGHT_S, SHORT, WHOLE, Report, play
from tests.faults.presence import play as presence


def table(report: Report) -> str:
    """Return a table of what was seen."""
    lines = [
        f"{'fault':<20} {'right after':>12} {'missing':>8} {'unpublished':>12} {'unconfirmed':>12}"
    ]
    for name, right_s in report.right_s.items():
        unpublished, unconfirmed = report.counted[name]
        lines.append(
            f"{name:<20} {right_s:>10.2f} s {report.missing[name]:>8,} {unpublished:>12,} "
            f"{unconfirmed:>12,}"
        )
    lines += [
        f"Longest time without a message for clients of the same node: "
        f"{report.longest_local_s * 1000:.0f} ms (at most {LOCAL_S * 1000:.0f}).",
        f"Most bytes that waited for Redis: {report.largest_queue_bytes:,} "
        f"(at most {MAX_QUEUE_BYTES:,}).",
        f"The memory of nodes and clients has grown by {report.growth_bytes:,} bytes.",
        f"All has to be right after {RIGHT_S:g} s.",
    ]
    return "\n".join([*lines, *(f"FAULT: {fault}" for fault in report.faults)])


def play_bus(arguments: list[str]) -> bool:
    """Play the faults of the bus; return whether all was right."""
    length = SHORT if "--short" in arguments else WHOLE
    with tempfile.TemporaryDirectory() as folder:
        report = trio.run(play, length, Path(folder))
    sys.stdout.write(f"{table(report)}\n")
    return not report.faults


PLAYS: Final[dict[str, Callable[[list[str]], bool]]] = {
    "bus": play_bus,
    "presence": presence.main,
    "deliveries": deliveries.main,
}


def main(arguments: list[str]) -> int:
    which, *rest = arguments if arguments[:1] and arguments[0] in PLAYS else ["", *arguments]
    is_right = True
    for name, play_all in PLAYS.items():
        if which in ("", name):
            is_right = play_all(rest) and is_right
    return not is_right


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
