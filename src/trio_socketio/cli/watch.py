"""``trio-socketio ctl watch``: shows what a server does, again and again."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import count
from typing import Any, Final, NamedTuple

from trio_socketio.cli.tables import render_table
from trio_socketio.codec.control_characters import escape
from trio_socketio.control.sync_client import ControlClient
from trio_socketio.errors import ControlError

_CLEAR: Final = "\x1b[H\x1b[J"  # the cursor to the top, and nothing below it
_HEADER_LINES: Final = 4


class Sample(NamedTuple):
    """The numbers of a server at one moment.

    Args:
        at_s: when it was taken, seconds since 1970.
        info: the answer of system.info.
        numbers: the numbers in the answer of system.stats, with dots in the names of inner ones.
        per_second: by how much each number has grown since the sample before, per second; empty in
            the first sample.
    """

    at_s: float
    info: dict[str, Any]
    numbers: dict[str, float]
    per_second: dict[str, float]


def watch(control: ControlClient, interval_s: float, samples: int | None, *, as_json: bool) -> None:
    """Show what a server does until the samples are taken, or for ever (CTL-10).

    Raises:
        ControlError, ConnectFailed, SessionClosed: see ControlClient.call.
    """
    is_screen = sys.stdout.isatty() and not as_json
    try:
        for sample in take(control, interval_s, samples):
            if as_json:
                print(json.dumps(sample._asdict()), flush=True)
            elif is_screen:
                size = shutil.get_terminal_size()
                print(_CLEAR + screen(sample, size.columns, size.lines), end="", flush=True)
            else:
                print(line(sample), flush=True)
    finally:
        if is_screen:
            print()  # whatever comes next begins below the table


def take(control: ControlClient, interval_s: float, samples: int | None) -> Iterator[Sample]:
    """Take samples, one at each interval; the first at once."""
    before: dict[str, float] = {}
    before_at = 0.0
    due = time.monotonic()
    for number in count(1):
        answers = control.batch([("system.info", None), ("system.stats", None)])
        for answer in answers:
            if isinstance(answer, ControlError):
                raise answer
        info, statistics = answers
        at = time.monotonic()
        numbers = dict(flatten_numbers(statistics))
        per_second = {
            name: round((value - before[name]) / (at - before_at), 3)
            for name, value in numbers.items()
            if name in before
        }
        yield Sample(time.time(), info, numbers, per_second)
        if number == samples:
            return
        before, before_at = numbers, at
        due += interval_s
        if due <= at:  # the server was slow: samples are not taken in a burst
            due = at + interval_s
        time.sleep(due - at)


def flatten_numbers(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Return the numbers in an object, with their names."""
    for name, item in value.items():
        if isinstance(item, dict):
            yield from flatten_numbers(item, f"{prefix}{name}.")
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            yield f"{prefix}{name}", item


def line(sample: Sample) -> str:
    """Return a sample in one line: what is not zero, and how it changes."""
    parts = [_moment(sample.at_s), str(sample.info.get("state"))]
    for name, value in sample.numbers.items():
        change = sample.per_second.get(name, 0)
        if value or change:
            parts.append(f"{name}={value:g}{f' ({change:+.1f}/s)' if change else ''}")
    return escape(" ".join(parts))


def screen(sample: Sample, columns: int, lines: int) -> str:
    """Return a sample as a table that fits into a terminal."""
    rows = [
        {
            "name": name,
            "now": f"{value:,}",
            "per second": f"{change:+,.1f}" if (change := sample.per_second.get(name)) else "",
        }
        for name, value in sample.numbers.items()
    ]
    room = max(lines - _HEADER_LINES, 1)
    if len(rows) > room:
        # What changes, and then what is not zero, is worth more than the rest.
        worth = sorted(
            range(len(rows)),
            key=lambda at: (rows[at]["per second"] == "", rows[at]["now"] == "0", at),
        )
        kept = sorted(worth[: room - 1])
        hidden = f"and {len(rows) - len(kept)} more; --json shows all"
        rows = [rows[at] for at in kept]
    else:
        hidden = ""
    info = sample.info
    about = escape(
        f"trio-socketio {info.get('version')} on {info.get('node')}: {info.get('state')}"
    )
    text = f"{about[:columns]}\n{_moment(sample.at_s)}; Ctrl-C ends it\n\n"
    return text + render_table(rows, columns) + (f"\n{hidden}" if hidden else "")


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().isoformat(" ", "seconds")
