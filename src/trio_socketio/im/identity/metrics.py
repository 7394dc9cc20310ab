"""What identity has done, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from trio_socketio.im.identity.service import IdentityService


class IdentityCollector(Collector):
    """Collects the numbers of an identity service.

    Args:
        service: is asked whenever the metrics are.
    """

    def __init__(self, service: "IdentityService") -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        found = self._service.statistics()
        attempts = CounterMetricFamily(
            "tsio_auth", "Attempts to authenticate, by verifier.", labels=["method", "result"]
        )
        for labels, number in found.attempts.items():
            attempts.add_metric(labels, number)
        yield attempts
        put_out = CounterMetricFamily(
            "tsio_auth_put_out", "Clients that were put out later.", labels=["reason"]
        )
        for reason, number in found.put_out.items():
            put_out.add_metric([reason], number)
        yield put_out
        yield GaugeMetricFamily(
            "tsio_auth_identified", "Clients that are identified.", found.identified
        )
        yield GaugeMetricFamily(
            "tsio_auth_revocations", "Revocations that are kept.", found.revocations
        )
        fetches = CounterMetricFamily(
            "tsio_jwks_fetches", "Fetches of the keys of a JWKS URL.", labels=["result"]
        )
        fetches.add_metric(["done"], found.fetches - found.fetches_failed)
        fetches.add_metric(["failed"], found.fetches_failed)
        yield fetches
