"""Has clients come and go for a time, measures the servers meanwhile, and judges them."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from tests.endurance.backend import Backend
from tests.endurance.crowd import Plan
from tests.endurance.places import GONE_S, SECRET, Place, Sample, read_faults
from tests.endurance.verdict import judge_growth, judge_rest
from tests.endurance.ways import LIFE_S

SAMPLE_S: Final = 10.0
FILL_S: Final = 25.0
"""How long it takes until there are as many clients as there will be."""
LULL_S: Final = 60.0
SAMPLES: Final = 60
"""A short soak is sampled more often, so that there are about as many."""
_EMPTY: Final = (
    *("sessions", "sockets", "sessions_unjoined", "joining", "connections", "outbound_queue_bytes"),
    *("input_held_bytes", "presence_users", "presence_lingering", "presence_releasing"),
    *("deliveries_open", "deliveries_waiting", "auth_identified"),
)
"""Metrics that are zero when all clients have gone."""
_NEVER: Final = ("defects_total", "handler_failures_total", "log_records_dropped_total")
"""Metrics that never count anything."""


class Length(msgspec.Struct):
    """How much is played.

    Args:
        minutes: how long clients come.
        nodes: how many servers share a Redis; 0 is two with disks, one of which speaks MessagePack.
        clients: how many there are at a time.
        per_s: how many come in a second, at most.
        seed: of the dice.
        connect_timeout_s: of the servers. A client on long-polling that was closed may fetch the
            close for another 30 s, for which a short soak has no time: there the heartbeat, which
            does not wait, comes first.
    """

    minutes: float = 30.0
    nodes: int = 0
    clients: int = 400
    per_s: float = 200.0
    seed: int = 1
    connect_timeout_s: float = 3.0


SHORT: Final = Length(minutes=0.06, clients=100, per_s=50.0, connect_timeout_s=30.0)


@dataclass
class Report:
    """What was seen.

    Args:
        came: how many clients have come.
        done: what they have done.
        told: what was found, line by line.
        faults: whatever is wrong.
        took_s: how long it took.
    """

    came: int = 0
    done: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def tell(self) -> str:
        """Return lines to print."""
        lines = [f"{name:<40} {count:>10,}" for name, count in sorted(self.done.items())]
        lines += [
            f"{self.came:,} clients have come and gone; it took {self.took_s:.0f} s",
            *self.told,
        ]
        return "\n".join([*lines, *(f"FAULT: {fault}" for fault in self.faults)])


class Crowd:
    """The process of the clients.

    Args:
        process: that runs.

    Attributes:
        came: how many clients have come so far.
    """

    def __init__(self, process: trio.Process) -> None:
        self.came = 0
        self._process = process
        self._output = b""

    async def order(self, word: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{word}\n".encode())

    async def rest(self) -> None:
        """Have no further client come, and wait until the last one has gone."""
        await self.order("rest")
        with trio.fail_after(LIFE_S + 10):
            word, count = (await self._read_line()).split()
        assert word == b"rested"
        self.came = int(count)

    async def end(self) -> dict[str, Any]:
        """Return what the clients have seen."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        with trio.fail_after(30):
            found: dict[str, Any] = json.loads(await self._read_line())
            await self._process.wait()
        return found

    async def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._output:
            data = await self._process.stdout.receive_some()
            if not data:
                raise RuntimeError("the process of the clients has ended early")
            self._output += data
        line, _, self._output = self._output.partition(b"\n")
        return line


@asynccontextmanager
async def open_crowd(plan: Plan) -> AsyncIterator[Crowd]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.endurance.crowd", msgspec.json.encode(plan).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Crowd(process)
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


class Soak:
    """One soak.

    Args:
        places: the servers, which run.
        backends: of each.
        crowd: the clients.
        length: how much is played.
        tell: is given a line whenever something was measured.
    """

    def __init__(
        self,
        places: Sequence[Place],
        backends: Sequence[Backend],
        crowd: Crowd,
        length: Length,
        tell: Callable[[str], None],
    ) -> None:
        self.report = Report()
        self._places = places
        self._backends = backends
        self._crowd = crowd
        self._length = length
        self._tell = tell
        self._began = trio.current_time()

    async def play(self) -> None:
        """Let clients come for a third of the time, and for the rest of it; all go in between.

        A short soak has no time for that: clients come once.
        """
        seconds = self._length.minutes * 60
        await self._settle()
        start = await self._measure("start")
        if seconds >= LULL_S:
            await self._churn(seconds / 3)
            await self._settle()
            await self._measure("rest")
            for place in self._places:
                place.samples.clear()
            seconds *= 2 / 3
        await self._churn(seconds)
        await self._settle()
        rest = await self._measure("rest")
        for place, before, after in zip(self._places, start, rest, strict=True):
            told, faults = judge_growth(place.name, self._watched(place))
            self.report.told += told
            self.report.faults += faults + judge_rest(place.name, before, after)
        await self._judge_counts()

    def _watched(self, place: Place) -> Sequence[Sample]:
        """Return the samples since there are again as many clients as there will be."""
        samples = place.samples
        began = samples[0].at_s if samples else 0.0
        fill_s = min(FILL_S, self._length.minutes * 60 / 6)
        return [one for one in samples if one.at_s >= began + fill_s]

    async def _churn(self, seconds: float) -> None:
        every_s = min(SAMPLE_S, self._length.minutes * 60 / SAMPLES)
        ends = trio.current_time() + seconds
        await self._crowd.order("go")
        async with trio.open_nursery() as nursery:
            for backend in self._backends:
                nursery.start_soon(backend.deliver)
            while trio.current_time() + every_s <= ends:
                await trio.sleep(every_s)
                samples = await self._measure("")
                for place, sample in zip(self._places, samples, strict=True):
                    place.samples.append(sample)
            nursery.cancel_scope.cancel()
        await self._crowd.rest()

    async def _measure(self, when: str) -> list[Sample]:
        samples = []
        for place in self._places:
            sample = await place.measure(trio.current_time() - self._began)
            samples.append(sample)
            self._tell(f"{place.name:<8} {when:<5} {sample.tell()}")
        return samples

    async def _settle(self) -> None:
        """Wait until the servers have noticed that all clients have gone."""
        ends = trio.current_time() + GONE_S
        for place in self._places:
            while left := await self._find_left(place):
                if trio.current_time() > ends:
                    self.report.faults.append(f"{place.name}: {left} when all clients have gone")
                    break
                await trio.sleep(0.2)

    async def _find_left(self, place: Place) -> dict[str, float]:
        """Return what a server still has of its clients."""
        counts = await place.read_metrics()
        left = {name: counts.get(f"tsio_{name}", 0) for name in _EMPTY}
        left["saved"] = (await place.measure(0)).saved
        left["online"] = (await place.control.call("presence.count", {"namespace": "/chat"}))[
            "users"
        ]
        return {name: count for name, count in left.items() if count}

    async def _judge_counts(self) -> None:
        """Compare what the servers, the clients and the backends have counted."""
        report = self.report
        seen = await self._crowd.end()
        report.came, report.done = self._crowd.came, seen["done"]
        report.faults += seen["faults"]
        joined = 0
        for place, backend in zip(self._places, self._backends, strict=True):
            counts = await place.read_metrics()
            joined += int(counts["tsio_joins_total{joined}"])
            for come, go in (
                ("tsio_joins_total{joined}", "tsio_disconnects_total"),
                ("tsio_sessions_opened_total", "tsio_sessions_closed_total"),
            ):
                if counts[come] != counts[go]:
                    report.faults.append(
                        f"{place.name}: {come} is {counts[come]:.0f}, {go} {counts[go]:.0f}"
                    )
            for name in _NEVER:
                if counts[f"tsio_{name}"]:
                    report.faults.append(f"{place.name}: {name}: {counts[f'tsio_{name}']:.0f}")
            if backend.online:
                report.faults.append(
                    f"{place.name}: the log has online: {list(backend.online)[:5]}"
                )
            report.faults += backend.faults
        handled = set[int]().union(*(backend.handled for backend in self._backends))
        acknowledged = seen["acknowledged"]
        report.told.append(
            f"{len(acknowledged):,} events were acknowledged to clients, and backends have handled "
            f"{len(handled):,}; {report.done.get('entered', 0):,} clients know that they were let "
            f"in, and servers have let in {joined:,}; the presence logs had "
            f"{sum(backend.entries for backend in self._backends):,} entries"
        )
        if len(set(acknowledged)) < len(acknowledged):
            report.faults.append("clients were sent acknowledgements twice")
        if lost := set(acknowledged) - handled:
            report.faults.append(f"{len(lost)} events were acknowledged, but not handled")
        if report.done.get("entered", 0) > joined:
            report.faults.append("clients were let in of which the servers know nothing")
        report.faults += read_faults(self._places)


async def play(
    length: Length, folder: Path, redis: str, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Play a soak.

    Args:
        length: how much is played.
        folder: for files of the servers.
        redis: its URL, if several servers are to share one.
        tell: is given a line whenever something was measured.
    """
    began = time.monotonic()
    wait_s = length.connect_timeout_s
    if length.nodes:
        places = [Place(folder, f"node{n}", "json", redis, wait_s) for n in range(length.nodes)]
    else:
        places = [Place(folder, parser, parser, "", wait_s) for parser in ("json", "msgpack")]
    plan = Plan(
        ports=[place.port for place in places if place.parser == "json"],
        packed_ports=[place.port for place in places if place.parser == "msgpack"],
        secret=SECRET,
        clients=length.clients,
        per_s=length.per_s,
        seed=length.seed,
    )
    async with AsyncExitStack() as stack:
        for place in places:
            await stack.enter_async_context(place.running())
        crowd = await stack.enter_async_context(open_crowd(plan))
        backends = [Backend(place) for place in places]
        async with trio.open_nursery() as nursery:
            for backend in backends:
                await nursery.start(backend.run)
            soak = Soak(places, backends, crowd, length, tell)
            await soak.play()
            nursery.cancel_scope.cancel()
    for place in places:
        if place.exit_code:
            soak.report.faults.append(f"{place.name} has ended with the code {place.exit_code}")
    soak.report.took_s = time.monotonic() - began
    return soak.report
