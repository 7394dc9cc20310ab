"""The metrics of a program with workers: its own, and those of each worker with its number.

It needs prometheus-client, so it is imported only if there is an admin port.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import trio
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

if TYPE_CHECKING:
    from trio_socketio.cluster.workers.role import MetricsText
    from trio_socketio.cluster.workers.supervision import Supervision

_LINES: Final = 200
"""How many lines are merged before other tasks run."""


class WorkersCollector(Collector):
    """Collects what a parent knows of its workers.

    Args:
        workers: they are looked at at each collection.
    """

    def __init__(self, workers: "Supervision") -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        yield gauge("workers", "Worker processes.", self._workers.count_states(), "state")
        yield counter(
            "worker_restarts",
            "How often a worker was started again.",
            self._workers.restarts,
            "reason",
        )
        yield counter(
            "worker_answers_missing",
            "Questions, such as those for metrics, that a worker has not answered in time.",
            self._workers.unanswered,
        )


class MergedMetrics:
    """Writes the metrics of a parent and its workers.

    Args:
        metrics: those of the parent.
        workers: a worker that does not answer in time is left out (WORK-42).
    """

    def __init__(self, metrics: "MetricsText", workers: "Supervision") -> None:
        self._metrics = metrics
        self._workers = workers

    async def encode(self) -> bytes:
        answers = await self._workers.ask("metrics")
        families = Families()  # after the answers, so that the counts are those of this collection
        await families.add(await self._metrics.encode(), b"")
        for index, text in answers.items():
            if isinstance(text, str):
                await families.add(text.encode(), b'worker="%d"' % index)
        return families.join()


class Families:
    """Metrics in the text format of Prometheus, of several processes, by family.

    A family must not be there twice, so the samples of all processes stand below one header.
    """

    def __init__(self) -> None:
        self._headers: dict[bytes, list[bytes]] = {}  # by the name of the family
        self._samples: dict[bytes, list[bytes]] = {}

    async def add(self, text: bytes, label: bytes) -> None:
        """Add the metrics of a process.

        Args:
            text: in the format that prometheus-client writes: the header of each family, then all
                its samples.
            label: is put before those of each sample; empty for none.
        """
        family = b""
        is_new = False
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            if number % _LINES == 0:
                await trio.lowlevel.checkpoint()
            if line.startswith(b"# "):
                name = line.split(b" ", 3)[2].strip()
                if name != family:
                    family, is_new = name, name not in self._headers
                    self._samples.setdefault(name, [])
                if is_new:
                    self._headers.setdefault(name, []).append(line)
            elif family and line.strip():
                self._samples[family].append(_label(line, label) if label else line)

    def join(self) -> bytes:
        """Return all of them."""
        return b"".join(
            part
            for name, header in self._headers.items()
            for part in (*header, *self._samples[name])
        )


def _label(sample: bytes, label: bytes) -> bytes:
    """Put a label before those of a sample. The name of a metric has neither blanks nor braces."""
    name, brace, rest = sample.partition(b"{")
    if brace and b" " not in name:
        comma = b"" if rest.startswith(b"}") else b","
        return b"%b{%b%b%b" % (name, label, comma, rest)
    name, _, rest = sample.partition(b" ")
    return b"%b{%b} %b" % (name, label, rest)
