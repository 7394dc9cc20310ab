"""Makes families of metrics out of plain numbers.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Mapping
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

Value = int | float
Key = TypeVar("Key", bound=str | tuple[str, ...])
"""The value of a label, or the values of several."""


def counter(name: str, meaning: str, value: Value | Mapping[Key, Value], *labels: str) -> Metric:
    """Return a counter.

    Args:
        name: without the prefix of the project and the suffix of counters.
        meaning: its help.
        value: a number; with labels, numbers by their values.
        labels: their names.
    """
    return _fill(CounterMetricFamily(f"tsio_{name}", meaning, labels=labels), value)


def gauge(name: str, meaning: str, value: Value | Mapping[Key, Value], *labels: str) -> Metric:
    """Return a gauge; see counter."""
    return _fill(GaugeMetricFamily(f"tsio_{name}", meaning, labels=labels), value)


def _fill(
    metric: CounterMetricFamily | GaugeMetricFamily, value: Value | Mapping[Key, Value]
) -> CounterMetricFamily | GaugeMetricFamily:
    if not isinstance(value, Mapping):
        metric.add_metric((), value)
    else:
        for labels, number in value.items():
            metric.add_metric((labels,) if isinstance(labels, str) else labels, number)
    return metric
