"""Load on our own server, and one figure held against another of the same round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bench.generator import LoadFailedError, Measurement, measure
from bench.machine import Cores
from bench.rows import WARM_CONNECTS
from bench.servers import Running
from bench.throughput import BUSY, Pace

OURS, BESIDE, UWS = "ours", "beside", "uws"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one round gave: the figure, and the one that it is held against.

    Args:
        uws: the figure of Node on uWebSockets.js, where Node stands beside; the better one counts.
        loads: what the load generator measured of each side, where it did.
    """

    figure: float
    beside: float
    uws: float | None = None
    loads: Mapping[str, Measurement] = field(default_factory=dict)

    @classmethod
    def of(cls, ours: Measurement, beside: Measurement, uws: Measurement | None = None) -> Self:
        """Hold one rate against the other."""
        loads = {OURS: ours, BESIDE: beside, **({UWS: uws} if uws else {})}
        return cls(ours.per_second, beside.per_second, uws.per_second if uws else None, loads)

    @property
    def ratio(self) -> float:
        return self.figure / max(self.beside, self.uws or 0)

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"figure": self.figure, "beside": self.beside}
        if self.uws is not None:
            found["uws"] = self.uws
        if self.loads:
            found["loads"] = {side: load.as_json() for side, load in self.loads.items()}
        return found


def measure_connects(
    server: Running, cores: Cores, *options: str | float, workload: str = "connects"
) -> Measurement:
    fixed = ("--connections", 64, "--warmup-count", WARM_CONNECTS)
    return load(workload, server, cores, *fixed, *options)[0]


def side_by_side(
    figure: Callable[[Sequence[str]], Measurement], options: Sequence[str], number: int
) -> Answer:
    """With these options and without, one after the other; which comes first alternates."""
    without = figure(()) if number % 2 else None
    with_options = figure(options)
    return Answer.of(with_options, without or figure(()))


def load(workload: str, server: Running, cores: Cores, *options: str | float) -> list[Measurement]:
    """Put load on a server.

    Raises:
        LoadFailedError: a reply was wrong or none came, or the generator was the limit.
    """
    found, fault = measure(workload, server, cores, *options)
    if not found or any(one.errors or not one.messages for one in found):
        raise LoadFailedError(f"{workload}: {fault or 'no figures'}")
    if any(one.generator_cpu > BUSY for one in found):
        raise LoadFailedError(f"{workload}: the load generator was the limit")
    return found


def windows(pace: Pace) -> tuple[str | float, ...]:
    return ("--seconds", pace.seconds, "--warmup", pace.warmup_s)


def warm_up(pace: Pace) -> tuple[str | float, ...]:
    return ("--seconds", pace.server_warmup_s, "--warmup", 0)
