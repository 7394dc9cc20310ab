"""Forwarding, as a service of a node: who listens to other nodes, and what is passed on to whom."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trio_socketio.cluster.forwarding.answering import Answering
from trio_socketio.cluster.forwarding.counts import REASONS, ForwardingCounts, Kind
from trio_socketio.cluster.forwarding.passage import has_body
from trio_socketio.cluster.forwarding.peers import Peers
from trio_socketio.cluster.forwarding.pool import USUAL_TIMES, Ground, Times, bound_idle
from trio_socketio.engine.handshake import is_websocket_upgrade
from trio_socketio.engine.ids import SID_PREFIX_CHARACTERS, is_foreign_sid
from trio_socketio.engine.server import new_node_name
from trio_socketio.http.error_answers import ErrorHeaders, no_headers
from trio_socketio.net.traffic import Traffic
from trio_socketio.option_checks import join_host_port
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import RenewableEndpoint, TcpEndpoint
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.cluster.forwarding.internal import Internal
    from trio_socketio.cluster.forwarding.peer import Peer
    from trio_socketio.cluster.nodes import ClusterNodes
    from trio_socketio.engine.forwarding import Gate
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection
    from trio_socketio.protocol.forwarding import Refused
    from trio_socketio.runtime.options import ConnectionLimits
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_FULL: Final = b"refused full this node has as many connections as it may have\n"
_FLUSH_S: Final = 1.0
_OPTION: Final = "[cluster] internal"


class Forwarding:
    """Passes requests on to the nodes of their sessions, and answers those of other nodes.

    It has 17 attributes: its options and parts, and what the server gives it to answer with. Of its
    22 methods, half are for others: the server, connections of other nodes, and operators.

    Args:
        server: of this node.
        nodes: the cluster.
        internal: where this node listens for others.
        limits: on the connections of clients; the number of those between nodes has the same bound.
        place: which node opens new sessions; see ClusterOptions.
        sid_prefix: the 4 characters that the sids of this node start with; None means random ones.
        times: when to try whether the other nodes can be reached.

    Attributes:
        counts: what has been passed on.
        links: the connections to other nodes.
        max_body_bytes: the largest body of a request.
        prefix: the 4 characters that the sids of this node start with.
    """

    def __init__(
        self,
        server: "Server",
        nodes: "ClusterNodes",
        internal: "Internal",
        limits: "ConnectionLimits",
        place: str = "local",
        sid_prefix: str | None = None,
        times: Times = USUAL_TIMES,
    ) -> None:
        self.counts = ForwardingCounts()
        self.max_body_bytes = 0
        self.error_headers: ErrorHeaders = no_headers
        self.prefix = sid_prefix or new_node_name()
        self._server = server
        self._nodes = nodes
        self._internal = internal
        self._place = place
        self._times = times
        self._credentials = credentials = internal.credentials
        endpoint = TcpEndpoint(internal.host, internal.port, credentials.server)
        self._endpoint = RenewableEndpoint(endpoint, _OPTION)
        self._receive_request: Callable[[Request], None] | None = None
        self._incoming: Connections | None = None
        self._peers: Peers | None = None
        self._ground: Ground | None = None
        self._ending = trio.Event()
        self.limit(limits)

    # -- the service

    async def run(
        self, runtime: "Runtime", *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen to other nodes, and pass requests on to them, until `end` is called.

        It starts before the node joins the cluster, because its address is among what it tells.

        Raises:
            ConfigurationError: it is not possible to listen there.
        """
        async with self._opened(runtime):
            task_status.started()
            await self._ending.wait()

    def end(self) -> None:
        """Have `run` return, when what is on its way to other nodes has left."""
        self._ending.set()

    @asynccontextmanager
    async def _opened(self, runtime: "Runtime") -> AsyncIterator[None]:
        poller, deadlines, host = runtime.poller, runtime.deadlines, self._server._host
        lines = SampledLog(log, logging.WARNING, REFUSALS, deadlines)
        counts = host.counts
        self._incoming = incoming = Connections(
            poller,
            deadlines,
            self._limits,
            self._answer,
            _FULL,
            counts.http,
            counts.websocket,
            preferred=True,
        )
        max_idle = bound_idle(self._limits.max_connections)
        links = Connections(poller, deadlines, _add_idle(self._limits), _leave, preferred=True)
        self._ground = Ground(
            self._nodes.name,
            self._nodes.host,
            links,
            self.counts,
            lines,
            self._credentials,
            max_idle,
            self._internal.within,
            self._times,
        )
        self._peers = Peers(self._ground, self.prefix)
        async with (
            runtime.holding(links, flush_s=_FLUSH_S),
            runtime.holding(incoming, flush_s=_FLUSH_S),
            runtime.listening(incoming, self._endpoint) as addresses,
            alone(trio.open_nursery()) as resolving,
        ):
            self._nodes.reach = self._advertise(addresses), self.prefix
            log.info("listening for other nodes on %s", self._nodes.reach[0])
            resolving.start_soon(self._peers.resolve_names)
            self._nodes.followers.add(self._peers)
            self._nodes.faults = self.faults
            poller.fences.followers.append(self._pass_fence)
            try:
                yield
            finally:
                poller.fences.followers.remove(self._pass_fence)
                for peer in self._peers:
                    peer.leave("draining")
                lines.flush()
            resolving.cancel_scope.cancel()

    def _advertise(self, addresses: list[tuple[str, int]]) -> str:
        if self._internal.advertise is not None:
            return self._internal.advertise
        return join_host_port(*addresses[0][:2])

    def apply(self, credentials: "Credentials") -> None:
        """Use these secrets and certificates for connections that are opened from now on."""
        self._credentials = credentials
        if self._ground is not None:
            self._ground.credentials = credentials
        if credentials.server is not None and self._endpoint.tls is not None:
            self._endpoint.renew(credentials.server)
        if self._peers is not None:
            self._peers.renew()

    def limit(self, limits: "ConnectionLimits") -> None:
        # Nodes are few, and each has many connections.
        self._limits = msgspec.structs.replace(limits, max_connections_per_address=None)
        if self._ground is not None and self._incoming is not None:
            self._ground.max_idle = bound_idle(self._limits.max_connections)
            self._ground.links.apply(_add_idle(self._limits), b"")
            self._incoming.apply(self._limits, _FULL)

    def _pass_fence(self) -> None:
        """End everything that leads through this node: what it holds may be out of date."""
        for peer in self._peers or ():
            peer.end_unsent()

    # -- what other nodes pass on

    def begin(
        self,
        receive_request: "Callable[[Request], None]",
        error_headers: ErrorHeaders,
        max_body_bytes: int,
    ) -> None:
        self._receive_request = receive_request
        self.error_headers = error_headers
        self.max_body_bytes = max_body_bytes

    def _answer(self, connection: "Connection") -> None:
        connection.set_receiver(Answering(self, connection))

    def opening(self) -> tuple[str, str, tuple[bytes, ...]]:
        return self._nodes.name, self._nodes.process, self._credentials.secrets

    def opening_refused(self, address: str, refused: "Refused") -> None:
        self.counts.openings_refused[refused.reason] += 1  # FWD-51
        kind = f"connections to the internal address refused ({refused.reason})"
        if self._ground is not None and self._ground.lines.admits(kind):
            log.warning(
                "refused a connection to the internal address from %s: %s",
                address,
                refused,
                extra={"fields": {"refusal": kind, "address": address}},
            )

    def receive_forwarded(self, request: "Request") -> None:
        if self._receive_request is None:  # no session of this node can exist yet
            request.connection.lose("transport close")
            return
        is_upgrade = is_websocket_upgrade(request)
        self.counts.taken[_find_kind(request, is_upgrade=is_upgrade)] += 1
        self._receive_request(request)

    @property
    def incoming_count(self) -> int:
        return len(self._incoming or ())

    @property
    def refused_as_full(self) -> int:
        """How many connections of other nodes were refused because there were too many."""
        return 0 if self._incoming is None else self._incoming.refused

    def faults(self) -> dict[str, str | None]:
        """Return why requests cannot be passed on to the other nodes; see Peers."""
        return {} if self._peers is None else self._peers.faults()

    def carried_bytes(self) -> dict[str, int]:
        """Return how many bytes have gone to other nodes, and come from them, on dialed links."""
        if self._ground is None:
            return {"in": 0, "out": 0}
        traffic = self._ground.links.traffic
        return {"in": traffic.bytes_in, "out": traffic.bytes_out}

    def traffic_apart(self) -> list[Traffic]:
        return [] if self._incoming is None else self._incoming.traffic_apart()

    # -- what is passed on to other nodes

    def forward(self, request: "Request", gate: "Gate") -> bool:
        if request.method not in ("GET", "POST"):
            return False
        sid = request.query.get("sid")
        if sid:
            if not is_foreign_sid(sid, self.prefix):
                return False
            peer = self._find_peer(request, sid)
        else:
            peer = self._choose_peer(request)
        if peer is None or self._ground is None:
            return False
        is_upgrade = is_websocket_upgrade(request)
        if is_upgrade and has_body(request):
            return False  # what follows its head would be taken for frames
        counts = self.counts
        if is_upgrade and self._ground.is_draining:
            counts.refused["draining"] += 1
            return False
        if counts.requests + counts.pipes >= self._limits.max_connections:
            counts.refused["full"] += 1
            return False
        kind = _find_kind(request, is_upgrade=is_upgrade)
        if kind == "handshake":
            peer.placed += 1
        max_body_bytes = gate.options.max_http_buffer_size_bytes
        peer.forward(request, gate, kind, max_body_bytes, is_upgrade=is_upgrade)
        return True

    def _find_peer(self, request: "Request", sid: str) -> "Peer | None":
        """Return the node of a foreign session."""
        if request.is_forwarded:  # FWD-11
            self.counts.refused["loop"] += 1
            if self._ground is not None and self._ground.lines.admits("loops"):
                log.warning(
                    "a node has passed on a request for a session that is not one of this node: %s",
                    REASONS["loop"],
                    extra={"fields": {"refusal": "loops"}},
                )
            return None
        peer = None
        if self._peers is not None:
            peer = self._peers.routes.get(sid[:SID_PREFIX_CHARACTERS])
        if peer is None:
            self.counts.refused["unknown"] += 1
        return peer

    def _choose_peer(self, request: "Request") -> "Peer | None":
        """Return the node that is to open a session; None if this one is."""
        if self._place != "least" or request.is_forwarded or request.method != "GET":
            return None
        if self._ground is None or self._ground.is_draining:
            return None
        chosen, least = None, self._server.statistics().sessions
        now = trio.current_time()
        for peer in self._peers or ():
            if peer.hearing.is_silent or peer.trial.fault or now < peer.unfit_until:
                continue
            node = self._nodes.find(peer.node.name)
            if node is None or node.state != "serving":
                continue
            sessions = peer.count_sessions(node)
            if sessions < least and self._peers is not None and self._peers.leads_to(peer):
                chosen, least = peer, sessions
        return chosen

    def drain(self) -> list[Callable[[], None]]:
        if self._ground is not None:
            self._ground.is_draining = True
        closings: list[Callable[[], None]] = []
        for peer in self._peers or ():
            closings += peer.drain()
        return closings


def _find_kind(request: "Request", *, is_upgrade: bool) -> Kind:
    if not request.query.get("sid"):
        return "handshake"
    if is_upgrade:
        return "upgrade"
    return "post" if request.method == "POST" else "poll"


def _add_idle(limits: "ConnectionLimits") -> "ConnectionLimits":
    """Return the bounds of links, among which those that carry nothing must not be in the way."""
    most = limits.max_connections
    return msgspec.structs.replace(limits, max_connections=most + bound_idle(most))


def _leave(_: "Connection") -> None:
    """Leave a connection alone that was dialed: whoever has dialed it serves it."""
