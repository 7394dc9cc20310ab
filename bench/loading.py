"""Load on our own server, and one figure held against another of the same round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.generator import LoadFailedError, Measurement, measure
from bench.machine import Cores
from bench.rows import WARM_CONNECTS
from bench.servers import Running
from bench.throughput import Pace

BUSY = 0.9  # of a core


@dataclass(frozen=True, slots=True)
class Answer:
    """What one round gave: the figure, and the one that it is held against."""

    figure: float
    beside: float

    @property
    def ratio(self) -> float:
        return self.figure / self.beside


def measure_connects(
    server: Running, cores: Cores, *options: str | float, workload: str = "connects"
) -> Measurement:
    fixed = ("--connections", 64, "--warmup-count", WARM_CONNECTS)
    return load(workload, server, cores, *fixed, *options)[0]


def side_by_side(
    figure: Callable[[Sequence[str]], float], options: Sequence[str], number: int
) -> Answer:
    """With these options and without, one after the other; which comes first alternates."""
    without = figure(()) if number % 2 else 0.0
    with_options = figure(options)
    return Answer(with_options, without or figure(()))


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
