"""Cost per message against the number of connections and of rooms: an exponent, and a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.generator import Measurement, measure
from bench.machine import Cores
from bench.servers import TITLES, ServerFailedError, run_server
from bench.throughput import PYTHON_PEERS, Pace

CONNECTIONS = (100, 300, 1000, 3000, 10_000, 15_000)
ROOMS = (10, 100, 1000, 10_000, 100_000)
FLAT = 0.2  # by how much the dearest point of a flat curve may exceed the cheapest
PYTHON_MOST = 1000  # the Python peers would take minutes for more

ECHO, BROADCAST, ROOM = "echo", "broadcast", "rooms"
AXES = {
    ECHO: "connections, 100 messages in flight in all",
    BROADCAST: "connections, a broadcast to all, 4 in flight",
    ROOM: "rooms of 2, 1,000 connections, 40 messages in flight in all",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Cost against size.

    Args:
        points: size, CPU microseconds of the server per message or delivery, per second.
    """

    server: str
    kind: str
    points: tuple[tuple[int, float, float], ...]

    @property
    def exponent(self) -> float | None:
        return fit_exponent([(size, cost) for size, cost, _ in self.points])

    @property
    def is_flat(self) -> bool | None:
        """Whether all points lie within FLAT of each other; None if there is one alone."""
        costs = [cost for _, cost, _ in self.points]
        return max(costs) <= min(costs) * (1 + FLAT) if len(costs) > 1 else None

    @property
    def verdict(self) -> str:
        """Whether it is flat, in words."""
        if self.is_flat is None:
            return "one point is no curve"
        if self.is_flat:
            return f"flat within {FLAT:.0%}"
        cheapest, dearest = (pick(self.points, key=lambda point: point[1]) for pick in (min, max))
        more = dearest[1] / cheapest[1] - 1 if cheapest[1] else math.inf
        return (
            f"not flat within {FLAT:.0%}: {dearest[0]:,} cost {more:.0%} more than {cheapest[0]:,}"
        )


def fit_exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Least squares in the logarithms: cost grows as size to this power."""
    usable = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(usable) < 2:
        return None
    mean_x = sum(x for x, _ in usable) / len(usable)
    mean_y = sum(y for _, y in usable) / len(usable)
    spread = sum((x - mean_x) ** 2 for x, _ in usable)
    return sum((x - mean_x) * (y - mean_y) for x, y in usable) / spread if spread else None


def load_options(kind: str, size: int) -> tuple[str | int, ...]:
    if kind == ECHO:
        return ("--connections", size, "--window", min(size, 100))
    if kind == BROADCAST:
        return ("--connections", size, "--in-flight", 4)
    rooms = ("--rooms", size, "--room-size", 2, "--senders", 10, "--in-flight", 4)
    return ("--connections", 1000, *rooms)


def measure_growth(
    servers: Sequence[str], sizes: dict[str, Sequence[int]], cores: Cores, pace: Pace
) -> tuple[list[Curve], list[str]]:
    """Every point has a server of its own. Returns the curves, and what went wrong."""
    points: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    faults: list[str] = []
    for kind, wanted in sizes.items():
        for size in wanted:
            for name in servers:
                if name in PYTHON_PEERS and (kind != BROADCAST or size > PYTHON_MOST):
                    continue
                one, fault = _measure_point(kind, size, name, cores, pace)
                if one is None or one.errors:
                    faults.append(f"growth: {kind} at {size}: {TITLES[name]}: {fault}")
                    print(f"bench: {faults[-1]}", flush=True)
                    continue
                points.setdefault((kind, name), []).append((size, one.server_us, one.per_second))
    curves = [Curve(name, kind, tuple(found)) for (kind, name), found in points.items()]
    for curve in curves:
        told = ", ".join(f"{cost:.2f} us at {size}" for size, cost, _ in curve.points)
        power = "" if curve.exponent is None else f"; exponent {curve.exponent:.3f}"
        where = f"{curve.kind}: {TITLES[curve.server]}"
        print(f"bench: growth: {where}: {told}{power}; {curve.verdict}", flush=True)
    return curves, faults


def _measure_point(
    kind: str, size: int, name: str, cores: Cores, pace: Pace
) -> tuple[Measurement | None, str]:
    try:
        with run_server(name, cores) as server:
            timing = ("--seconds", pace.seconds, "--warmup", pace.warmup_s)
            measurements, fault = measure(kind, server, cores, *load_options(kind, size), *timing)
    except ServerFailedError as error:
        return None, str(error)
    return (measurements[0] if measurements else None), fault or "no figures"
