"""``python -m tests.faults [--short]``: plays the faults of Redis, and prints what was seen."""

import sys
import tempfile
from pathlib import Path

import trio

from tests.faults.bus import LOCAL_S, MAX_QUEUE_BYTES, RIGHT_S, SHORT, WHOLE, Report, play


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


def main() -> int:
    length = SHORT if "--short" in sys.argv[1:] else WHOLE
    with tempfile.TemporaryDirectory() as folder:
        report = trio.run(play, length, Path(folder))
    sys.stdout.write(f"{table(report)}\n")
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main())
