"""Writes the metrics of a server in the text format of Prometheus.

Lower floors count in plain numbers and know nothing of Prometheus. Those numbers are read on
request. No label is the name of a user, a session or a socket, or a name that a client can make up,
so the number of series is bounded.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.timings import BOUNDS_S, Timing
from trio_socketio.socketio.measures import Measures, Measuring

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric
    from prometheus_client.process_collector import ProcessCollector
    from prometheus_client.registry import Collector

    from trio_socketio.metric_families import counter, gauge
except ImportError as error:  # the only dependency that a user of the library can do without
    raise ConfigurationError(
        "metrics need prometheus-client: pip install 'trio-socketio[server]'"
    ) from error

if TYPE_CHECKING:
    from trio_socketio.http.refused_callers import RefusedCallers
    from trio_socketio.ops.health import Health
    from trio_socketio.socketio.server import Server

_SLICE_S: Final = 0.0005
_EDGES: Final = (*map(str, BOUNDS_S), "+Inf")


class Metrics:
    """The metrics of one server and its process.

    Args:
        server: is observed from now on.
        health: says whether the program is ready.
        version: the version of the program.
        log_records_dropped: returns how many records the log has dropped; None if it drops none.
        refused: counts the refused requests to the admin port.
    """

    def __init__(
        self,
        server: "Server",
        health: "Health",
        *,
        version: str,
        log_records_dropped: Callable[[], int] | None = None,
        refused: "RefusedCallers | None" = None,
    ) -> None:
        self._measuring = Measuring(server)
        self._health = health
        self._log_records_dropped = log_records_dropped
        self._refused = refused
        self._build = {(version, platform.python_version(), trio.__version__): 1}
        self._further: list[Collector] = []
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._threads = trio.CapacityLimiter(1)

    def add(self, collector: Collector) -> None:
        """Add a collector, which is called in the server's thread and must be quick."""
        self._further.append(collector)

    async def encode(self) -> bytes:
        """Return all metrics. Other tasks run meanwhile (OPS-07)."""
        measures = await self._measuring.take()
        parts = []
        slice_ends = perf_counter() + _SLICE_S
        for metric in self._metrics(measures):
            parts.append(_encode(metric))
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + _SLICE_S
        parts += await _encode_timings(measures.timings)
        # In a thread, because counting many open files takes long.
        process = await trio.to_thread.run_sync(
            generate_latest, self._process, limiter=self._threads
        )
        return b"".join([*parts, process])

    def _metrics(self, measures: Measures) -> Iterator[Metric]:
        yield from _traffic(measures)
        yield from _sessions(measures)
        yield from _work(measures)
        yield gauge(
            "drain_remaining",
            "Sessions that are still open while the server stops.",
            measures.drain_remaining,
        )
        yield gauge(
            "ready", "Whether the program is ready for clients.", not self._health.reasons()
        )
        if self._log_records_dropped is not None:
            yield counter(
                "log_records_dropped",
                "Records of the log that were dropped because it was not read fast enough.",
                self._log_records_dropped(),
            )
        if self._refused is not None:
            yield counter(
                "admin_requests_refused",
                "Requests to the admin port refused because of their token, Host or Origin.",
                self._refused.counts,
                "reason",
            )
        yield gauge(
            "build_info",
            "The versions of the program and of what it runs on; always 1.",
            self._build,
            "version",
            "python",
            "trio",
        )
        for collector in self._further:
            yield from collector.collect()


# -- the metrics


def _traffic(measures: Measures) -> Iterator[Metric]:
    counts, carried = measures.counts, measures.traffic.items()
    yield gauge(
        "connections",
        "Open connections; connections that speak HTTP count as polling.",
        measures.connections,
        "transport",
    )
    yield _directed(
        "packets",
        "Packets of Engine.IO. A packet that is sent counts once, attachments included; each "
        "attachment that is received counts by itself.",
        {name: (each.packets_in, each.packets_out) for name, each in carried},
    )
    yield _directed(
        "bytes",
        "Bytes read from and written to connections, including those of HTTP, WebSocket and TLS.",
        {name: (each.bytes_in, each.bytes_out) for name, each in carried},
    )
    yield counter(
        "upgrades",
        "Attempts to upgrade a session from long-polling to WebSocket.",
        {("completed",): counts.upgraded, ("failed",): counts.upgrades_failed},
        "result",
    )
    yield counter("requests_refused", "Requests that were refused.", counts.refused, "reason")


def _sessions(measures: Measures) -> Iterator[Metric]:
    counts = measures.counts
    yield counter("connections_accepted", "Connections accepted.", measures.connections_accepted)
    yield counter(
        "connections_refused",
        "Connections refused because there were too many.",
        measures.connections_refused,
    )
    yield gauge(
        "sessions",
        "Open sessions, by the transport that carries them.",
        measures.sessions,
        "transport",
    )
    yield counter(
        "sessions_opened",
        "Sessions that have opened, by the transport that carried them first.",
        counts.opened,
        "transport",
    )
    yield counter("sessions_closed", "Sessions that have ended.", counts.ended, "reason")
    yield counter(
        "slow_closed",
        "Sessions that were closed because their clients were too slow to take their output.",
        counts.ended["slow client"],
    )
    yield gauge(
        "sessions_unjoined",
        "Sessions whose clients have joined no namespace yet.",
        measures.sessions_unjoined,
    )
    yield counter(
        "joins",
        "Attempts of clients to join a namespace, by result.",
        measures.joinings,
        "result",
    )
    yield counter(
        "disconnects",
        "Sockets that have left their namespaces.",
        measures.disconnects,
        "reason",
    )
    yield gauge("joining", "Clients that are joining a namespace.", measures.joining)
    yield gauge("sockets", "Sockets by namespace.", measures.sockets, "namespace")
    yield gauge("rooms", "Rooms by namespace.", measures.rooms, "namespace")


def _work(measures: Measures) -> Iterator[Metric]:
    yield gauge(
        "outbound_queue_bytes", "Output that waits to be sent.", measures.outbound_queue_bytes
    )
    yield counter(
        "packets_dropped",
        "Packets dropped because their clients had gone or were too slow.",
        measures.packets_dropped,
    )
    yield gauge(
        "input_held_bytes",
        "Weight of the input that handlers have not finished with.",
        measures.input_held,
    )
    yield counter(
        "input_dropped",
        "Large packets dropped because their clients were lost before their turn.",
        measures.input_dropped,
    )
    yield counter(
        "events_dropped", "Events for which no handler was called.", measures.events_dropped
    )
    yield counter(
        "handler_failures", "Exceptions raised by functions of the app.", measures.handler_failures
    )
    yield counter("defects", "Exceptions that only the last barrier stopped.", measures.defects)
    yield gauge(  # OPS-24
        "tasks",
        "Tasks of trio; those that are idle wait for events, and are kept for later ones.",
        {"idle": measures.idle_workers, "busy": measures.tasks - measures.idle_workers},
        "state",
    )
    yield gauge(
        "deadlines",
        "Deadlines of sessions, connections and so on that are watched.",
        measures.deadlines,
    )
    yield counter(
        "turn_late_seconds",
        "Time by which turns of the event loop overran, in total.",
        measures.late_s,
    )
    yield counter(
        "slow_turns",
        "Turns of the event loop that took longer than slow_handler_s.",
        measures.slow_turns,
    )


async def _encode_timings(timings: "Mapping[str | float, Timing]") -> list[bytes]:
    """Write a histogram for each name. All form one metric, and each is a slice of the work."""
    parts: list[bytes] = []
    for name, timing in list(timings.items()):
        counts = list(accumulate(timing.buckets))
        metric = HistogramMetricFamily(
            "tsio_handler_seconds",
            "Duration of handlers, by event: every call of an async one, and one in 64 of a plain "
            "one.",
            labels=["event"],
        )
        metric.add_metric([str(name)], list(zip(_EDGES, counts, strict=True)), timing.sum_s)
        part = _encode(metric)
        if parts:  # the metric has one header
            part = b"".join([line for line in part.splitlines(True) if not line.startswith(b"#")])
        parts.append(part)
        await trio.lowlevel.checkpoint()
    return parts


# -- their format


def _directed(name: str, meaning: str, values: Mapping[str, tuple[int, int]]) -> Metric:
    """Return a counter by transport and direction.

    Args:
        name: of the counter.
        meaning: its help.
        values: by transport, what came in and what went out.
    """
    by_direction = {
        (transport, direction): number
        for transport, pair in values.items()
        for direction, number in zip(("in", "out"), pair, strict=True)
    }
    return counter(name, meaning, by_direction, "transport", "dir")


class _Collected(Collector):
    """Gives one metric to prometheus-client, which writes what collectors give it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _encode(metric: Metric) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(metric))
    return generate_latest(registry)
