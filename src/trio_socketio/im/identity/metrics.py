"""What identity has done, as metrics of Prometheus.

It is imported only where there is an admin port, because it needs prometheus-client.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from trio_socketio.metric_families import counter, gauge

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
        yield counter(
            "auth", "Attempts to authenticate, by verifier.", found.attempts, "method", "result"
        )
        yield counter("auth_put_out", "Clients that were put out later.", found.put_out, "reason")
        yield gauge("auth_identified", "Clients that are identified.", found.identified)
        yield gauge("auth_revocations", "Revocations that are kept.", found.revocations)
        fetches = {"done": found.fetches - found.fetches_failed, "failed": found.fetches_failed}
        yield counter("jwks_fetches", "Fetches of the keys of a JWKS URL.", fetches, "result")
