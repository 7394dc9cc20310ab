"""``python -m tests.faults [bus | presence] [--short] [SCENARIO...]``: plays faults.

``bus`` is what happens to messages when Redis fails, and ``presence`` what happens to who is online
when nodes, Redis or the way to it fail. Without either word both are played. What was measured is
printed; the exit code is 1 if anything was wrong.
"""

import sys
import tempfile
from pathlib import Path

import trio

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


def main(arguments: list[str]) -> int:
    which, *rest = arguments if arguments[:1] in (["bus"], ["presence"]) else ["", *arguments]
    is_right = which == "presence" or play_bus(rest)
    if which != "bus":
        is_right = presence.main(rest) and is_right
    return not is_right


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
