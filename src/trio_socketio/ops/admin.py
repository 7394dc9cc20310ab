"""The port for operators: liveness, readiness and metrics of the program, and the dashboard.

It is a service of the runtime, so it answers before the first client is accepted and until the last
one has gone. It has a small number of connections of its own. Work that takes time is done by one
task, in slices, for all requests that come meanwhile.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from socket import socket
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.http.options import HttpOptions
from trio_socketio.http.pages import Page
from trio_socketio.http.refused_callers import RefusedCallers
from trio_socketio.http.routes import RequestHandler, Routes
from trio_socketio.http.server import open_http_connections
from trio_socketio.ops.admin_options import AdminOptions, split_listen
from trio_socketio.runtime.addresses import is_local
from trio_socketio.runtime.endpoints import (
    CheckedEndpoint,
    Endpoint,
    InheritedEndpoint,
    TcpEndpoint,
)
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.options import ConnectionLimits

if TYPE_CHECKING:
    from trio_socketio.http.request import Request
    from trio_socketio.ops.health import Health
    from trio_socketio.runtime.poller import Poller
    from trio_socketio.runtime.runtime import Runtime

log = logging.getLogger(__name__)

TokenCheck = Callable[[str], bool]
"""Checks whether a token allows reading the health and the metrics."""

PAUSE_S: Final = 0.1
"""The least time between two measurements; requests in between wait for the next one."""

_DASHBOARD: Final = Path(__file__).with_name("dashboard.html")
_FLUSH_S: Final = 1.0
_TEXT: Final = (
    (b"Content-Type", b"text/plain; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)
_METRICS: Final = ((b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8"), *_TEXT[1:])


class MetricsText(Protocol):
    """Writes the metrics; at run time a Metrics of ops/metrics.py."""

    async def encode(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""


def admin_endpoints(
    options: AdminOptions, inherited: Iterable[int] = (), tls: SSLContext | None = None
) -> list[Endpoint]:
    """Return where the port listens.

    Args:
        options: of the port.
        inherited: descriptors of sockets that systemd has opened for it.
        tls: has the certificate that the options name; None means cleartext.
    """
    endpoints: list[Endpoint] = [InheritedEndpoint(number, tls) for number in inherited]
    if options.listen is not None:
        endpoints.append(TcpEndpoint(*split_listen(options.listen), tls))
    return endpoints


def dashboard_url(addresses: Iterable[Any], *, secure: bool) -> str:
    """Return the URL of the dashboard; empty if the port listens on no TCP address.

    Args:
        addresses: where the port listens, as socket.getsockname returns them.
        secure: whether it speaks TLS.
    """
    for address in addresses:
        if isinstance(address, tuple):
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            return f"{'https' if secure else 'http'}://{host}:{address[1]}/"
    return ""


def find_exposure(options: AdminOptions, *, has_tokens: bool, has_tls: bool) -> str:
    """Return why the port may not listen where other machines can reach it; empty if it may."""
    if not has_tokens:  # OPS-06
        if options.open_health:  # OPS-49: without tokens there is nothing else, and no secret
            return ""
        return (
            "the admin port would be open to other machines: configure tokens in [control], let it "
            "listen on 127.0.0.1, or set open_health if others are to see nothing but its health"
        )
    if not has_tls and not options.allow_cleartext:  # OPS-46
        return (
            "the tokens for the admin port would pass in the clear: set certfile in [admin], let "
            "it listen on 127.0.0.1, or set allow_cleartext if no one else can read that network"
        )
    return ""


class AdminPort:
    """Answers operators and their monitoring programs.

    Args:
        options: of the port.
        health: says whether the program is ready.
        metrics: writes the metrics.
        check_token: checks the bearer token of each request. Without it, the port listens only on
            addresses of this machine, and needs no token.
        routes: further paths and what answers them; a path that ends with a slash stands for all
            below it, too. They check tokens themselves.
        refused: counts requests from callers who have no access.
    """

    def __init__(
        self,
        options: AdminOptions,
        health: "Health",
        metrics: MetricsText,
        *,
        check_token: TokenCheck | None = None,
        routes: Mapping[str, RequestHandler] | None = None,
        refused: RefusedCallers | None = None,
    ) -> None:
        self._options = options
        self._health = health
        self._metrics = metrics
        self._check_token = check_token
        self._refused = RefusedCallers() if refused is None else refused
        self._is_open = False  # needs no token
        self._names = {"localhost", *(name.lower() for name in options.hosts)}
        if options.listen is not None:
            self._names.add(split_listen(options.listen)[0].lower())
        self._asking: list[Request] = []  # for the metrics
        self._asked = trio.Event()
        self._ending = trio.Event()
        self._routes = Routes(destroy_upgrade=True)
        for path, answer in (
            ("/livez", self._answer_alive),
            ("/readyz", self._answer_ready),
            ("/metrics", self._ask_for_metrics),
        ):
            self._routes.add(path, partial(self._receive_reading, answer))
        # PAGE-08, PAGE-20, and in the page itself PAGE-22 to PAGE-25
        self._routes.add("/", Page(_DASHBOARD).receive_request)
        for path, handler in (routes or {}).items():
            add = self._routes.add_tree if path.endswith("/") else self._routes.add
            add(path, handler)

    async def serve(
        self,
        runtime: "Runtime",
        endpoints: Sequence[Endpoint],
        *,
        task_status: trio.TaskStatus[list[Any]],
    ) -> None:
        """Serve until `end` is called. Runtime.start_service starts it, and returns the addresses.

        Raises:
            ConfigurationError: it cannot listen there, or would be open to other machines.
        """
        connections = open_http_connections(
            runtime.poller,
            runtime.deadlines,
            ConnectionLimits(max_connections=self._options.max_connections),
            HttpOptions(),
            self._receive,
            preferred=True,
        )
        checked = [CheckedEndpoint(endpoint, self._check_exposure) for endpoint in endpoints]
        try:
            async with (
                runtime.holding(connections, flush_s=_FLUSH_S),
                runtime.listening(connections, *checked) as addresses,
                alone(trio.open_nursery()) as tasks,
            ):
                self._is_open = all(map(is_local, addresses))
                url = dashboard_url(addresses, secure=any(one.tls is not None for one in endpoints))
                if url:
                    log.info("the dashboard is at %s", url)
                self._refused.begin(runtime.deadlines)
                tasks.start_soon(self._measure_for_all, runtime.poller)
                task_status.started(addresses)
                await self._ending.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._refused.end()

    def end(self) -> None:
        """Have `serve` return when all requests have been answered."""
        self._ending.set()

    def _check_exposure(self, endpoint: Endpoint, listener: socket) -> None:
        if not is_local(listener.getsockname()):
            fault = find_exposure(
                self._options,
                has_tokens=self._check_token is not None,
                has_tls=endpoint.tls is not None,
            )
            if fault:
                raise ConfigurationError(fault)

    # -- requests

    def _receive(self, request: "Request") -> None:
        """Take a request, unless a foreign page may have sent it (OPS-05).

        A page can have its own name point to this port (DNS rebinding), and the browser then sends
        that name as the host. It cannot do so with an address. Probes of HTTP/1.0 name no host.
        """
        host = request.headers.get("host", "")
        if host and not self._is_ours(host):
            self._refused.refused(request, "host")
            _answer(
                request,
                403,
                "this port is not known by the name in the Host header: use its address, or list "
                "the name in hosts of [admin]",
            )
            return
        self._routes.receive_request(request)

    def _is_ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ip_address(name)
        except ValueError:
            return name.lower().removesuffix(".") in self._names
        return True

    def _receive_reading(self, answer: RequestHandler, request: "Request") -> None:
        """Answer a request that only reads, if it is allowed to (OPS-04, OPS-06)."""
        if request.method not in ("GET", "HEAD"):
            _answer(request, 405, "only GET and HEAD", (b"Allow", b"GET, HEAD"))
        elif not (self._is_open or self._is_of_health(request) or self._is_allowed(request)):
            has_token = request.headers.get("authorization", "").lower().startswith("bearer ")
            self._refused.refused(request, "token_wrong" if has_token else "token_missing")
            _answer(
                request,
                401,
                "send a token in the header Authorization: Bearer TOKEN",
                (b"WWW-Authenticate", b"Bearer"),
            )
        else:
            answer(request)

    def _is_of_health(self, request: "Request") -> bool:
        return self._options.open_health and request.path in ("/livez", "/readyz")  # OPS-49

    def _is_allowed(self, request: "Request") -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return (
            self._check_token is not None
            and scheme.lower() == "bearer"
            and self._check_token(token.strip())
        )

    def _answer_alive(self, request: "Request") -> None:
        """Answer, which proves that the event loop runs (OPS-01)."""
        _answer(request, 200, "ok")

    def _answer_ready(self, request: "Request") -> None:
        """Answer whether the program is ready for clients, and if not, why (OPS-02)."""
        reasons = self._health.reasons()
        lines = reasons or ["ready", *self._health.notes()]  # OPS-50
        _answer(request, 503 if reasons else 200, "\n".join(lines))

    # -- metrics

    def _ask_for_metrics(self, request: "Request") -> None:
        self._asking.append(request)
        self._asked.set()

    async def _measure_for_all(self, poller: "Poller") -> None:
        """Answer all requests for the metrics that wait with one measurement (OPS-07)."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            asking, self._asking = self._asking, []
            try:
                text = await self._metrics.encode()
            except Exception:
                log.exception("the metrics could not be measured")
                for request in asking:
                    poller.defer(partial(_answer, request, 500, "see the log for what has failed"))
            else:
                for request in asking:
                    poller.defer(partial(request.respond, 200, _METRICS, text))
            await trio.sleep(PAUSE_S)


def _answer(request: "Request", status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
    request.respond(status, [*_TEXT, *headers], words.encode() + b"\n")
