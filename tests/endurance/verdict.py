"""Whether what was measured has grown, and by how much at least and at most."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.endurance.places import Sample

BLOCKS: Final = 8
_STUDENT: Final = 2.447
"""Of six degrees of freedom: the true slope lies within the interval 19 times out of 20."""
HOUR_S: Final = 3600.0
MIB: Final = 2**20

SHORTEST_S: Final = 150.0
"""If it is watched for less, nothing has levelled off, and growth is not judged."""
LONG_S: Final = 900.0
RSS_PER_HOUR: Final = 1 * MIB
"""By how much the memory may grow in an hour, if it was watched for LONG_S."""
RSS_PER_CLIENT: Final = 32.0
"""The bound of shorter runs: the smallest object of Python and the reference to it take as much, so
nothing can be left behind of every client, nor a session of one client in a hundred."""
RSS_STILL: Final = 1 * MIB
"""By how much it may grow besides in all the time that it was watched. Some things are kept up to a
number and take a while to get there: trio keeps 1,000 scopes that are over in its heap of
deadlines, and we as many emptied entries in ours; and Python takes memory in arenas of a MiB."""
SHARE: Final = 0.25
"""By how much of its mean any other number may grow while it is watched."""
LOG_PER_S: Final = 100_000.0
"""The log writes 200 lines a second of sessions, and a few more of refusals."""
STATE_BYTES: Final = 2 * MIB

LEVEL: Final = ("descriptors", "tasks", "deadlines", "sessions", "sockets", "saved", "online")
AT_REST: Final = {"deadlines": 2}
"""How many more there may be when all clients have gone than before the first one: that of the
packets kept for recovery, for instance, which there is from the first packet on."""


@dataclass(frozen=True, slots=True)
class Slope:
    """How a number changes in a second, and how far off that may be either way."""

    per_s: float
    margin: float

    @property
    def least(self) -> float:
        return self.per_s - self.margin

    @property
    def most(self) -> float:
        return self.per_s + self.margin


def fit(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Fit a line through the means of BLOCKS blocks; None if there are too few points.

    Neighbouring samples resemble each other, so their own scatter would make the slope look more
    certain than it is. That of the means does not.
    """
    if len(points) < 2 * BLOCKS:
        return None
    bounds = [round(at * len(points) / BLOCKS) for at in range(BLOCKS + 1)]
    blocks = [points[begin:end] for begin, end in pairwise(bounds)]
    xs = [statistics.fmean(x for x, _ in block) for block in blocks]
    ys = [statistics.fmean(y for _, y in block) for block in blocks]
    slope, intercept = statistics.linear_regression(xs, ys)
    mean = statistics.fmean(xs)
    spread = sum((x - mean) ** 2 for x in xs)
    left = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    return Slope(slope, _STUDENT * (left / (BLOCKS - 2) / spread) ** 0.5)


def judge_growth(name: str, samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    """Judge the samples of a server that were taken behind the first third.

    Returns:
        What was found, and what is wrong.
    """
    told, faults = [], []
    watched_s = samples[-1].at_s - samples[0].at_s if samples else 0.0

    def slope_of(what: str) -> Slope | None:
        return fit([(one.at_s, float(getattr(one, what))) for one in samples])

    rss = slope_of("rss_bytes")
    if rss is None:
        return [f"{name}: {len(samples)} samples are too few for a slope"], []
    clients_per_s = max(samples[-1].opened - samples[0].opened, 1) / watched_s
    bound = RSS_PER_CLIENT * clients_per_s
    if watched_s >= LONG_S:
        bound = RSS_PER_HOUR / HOUR_S
    bound += RSS_STILL / watched_s
    found = (
        f"{name}: the memory grows by {rss.per_s * HOUR_S / MIB:+.2f} MiB an hour "
        f"(+- {rss.margin * HOUR_S / MIB:.2f}), or {rss.per_s / clients_per_s:+.1f} bytes for a "
        f"client (+- {rss.margin / clients_per_s:.1f}); at most {bound * HOUR_S / MIB:.2f} MiB an "
        "hour will do"
    )
    told.append(found)
    if watched_s < SHORTEST_S:
        return [*told, f"{name}: {watched_s:.0f} s are too short to judge that"], []
    if rss.least > bound:
        faults.append(found)
    for what in LEVEL:
        slope = slope_of(what)
        mean = statistics.fmean(getattr(one, what) for one in samples)
        if slope is not None and slope.least * watched_s > SHARE * mean + 5:
            faults.append(
                f"{name}: {what} grow by {slope.per_s * watched_s:.0f} "
                f"(+- {slope.margin * watched_s:.0f}) in {watched_s:.0f} s, from {mean:.0f}"
            )
    log = (samples[-1].log_bytes - samples[0].log_bytes) / watched_s
    told.append(f"{name}: the log grows by {log / 1000:.1f} kB a second")
    if log > LOG_PER_S:
        faults.append(f"{told[-1]}; at most {LOG_PER_S / 1000:.0f} will do")
    middle = len(samples) // 2
    before, after = (
        max(one.state_bytes for one in part) for part in (samples[:middle], samples[middle:])
    )
    if after > before + STATE_BYTES:
        faults.append(f"{name}: the folder of [state] grows from {before:,} to {after:,} bytes")
    return told, faults


def judge_rest(name: str, start: Sample, rest: Sample) -> list[str]:
    """Compare a server that all clients have left with what it was before the first one came."""
    return [
        f"{name}: {what}: {getattr(start, what)} before the first client, {getattr(rest, what)} "
        "when all have gone"
        for what in LEVEL
        if abs(getattr(rest, what) - getattr(start, what)) > AT_REST.get(what, 0)
    ]
