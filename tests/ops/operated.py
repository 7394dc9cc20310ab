"""A server with an admin port inside the test, and its metrics as prometheus-client reads them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.wire import HttpClient, Response

from trio_socketio import Server, TcpEndpoint, open_runtime
from trio_socketio.ops.admin import AdminPort, TokenCheck, admin_endpoints
from trio_socketio.ops.admin_options import AdminOptions
from trio_socketio.ops.health import Health, check_server
from trio_socketio.ops.metrics import Metrics
from trio_socketio.runtime.endpoints import Endpoint
from trio_socketio.runtime.options import RuntimeOptions

VERSION = "1.2.3"
LOCAL = AdminOptions(listen="127.0.0.1:0")


class Samples:
    """What /metrics has answered.

    Attributes:
        kinds: of the metrics, by their names.
        values: by the name of a sample and its labels.
    """

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.kinds, "one name for two metrics"
            assert family.documentation
            self.kinds[family.name] = family.type
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.values, key
                self.values[key] = sample.value

    def __getitem__(self, name: str) -> float:
        """The value of a metric without labels."""
        return self.values[name, frozenset()]

    def of(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]

    def by(self, name: str, *labels: str) -> dict[Any, float]:
        """The values of a metric that are not zero: by its label, or by tuples of labels."""
        found = {}
        for (sample, given), value in self.values.items():
            if sample == name and value:
                key = tuple(dict(given)[label] for label in labels)
                found[key if len(key) > 1 else key[0]] = value
        return found


@dataclass
class Operated:
    """A server that is operated: its ports, and what watches it."""

    port: int
    admin: int
    health: Health
    metrics: Metrics

    async def get(self, path: str, **headers: str) -> Response:
        return await ask_admin(self.admin, "GET", path, headers)

    async def scrape(self) -> Samples:
        response = await self.get("/metrics")
        assert response.status == 200, response
        return Samples(response.text)


async def ask_admin(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None
) -> Response:
    """One request on a connection of its own."""
    http = HttpClient(port)
    try:
        return await http.request(method, path, list((headers or {}).items()))
    finally:
        await http.aclose()


@asynccontextmanager
async def operated(
    server: Server,
    options: AdminOptions = LOCAL,
    *,
    check_token: TokenCheck | None = None,
    endpoints: list[Endpoint] | None = None,
    **routes: Any,
) -> AsyncIterator[Operated]:
    """Serve on free ports while the block runs."""
    health = Health()
    metrics = Metrics(server, health, version=VERSION, log_records_dropped=lambda: 7)
    further = {f"/{name}": handler for name, handler in routes.items()}
    admin = AdminPort(options, health, metrics, check_token=check_token, routes=further)
    async with open_runtime(RuntimeOptions(deadline_slack_s=0.001)) as runtime:
        where = admin_endpoints(options) if endpoints is None else endpoints
        addresses = await runtime.start_service("admin", partial(admin.serve, runtime, where))
        health.add(check_server(server))
        async with (
            server.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as public,
        ):
            yield Operated(public[0][1], addresses[0][1], health, metrics)
