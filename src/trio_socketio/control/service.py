"""The control socket as a service of the runtime, and the handler of ``/rpc``."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final

import trio

from trio_socketio.codec.json_rpc import NULL, encode_error
from trio_socketio.control.access import Access, AccessMethods
from trio_socketio.control.address import Address
from trio_socketio.control.backends import Backends
from trio_socketio.control.departures import Departures
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.emitting import Emitting
from trio_socketio.control.failures import overloaded
from trio_socketio.control.http_calls import HttpCalls
from trio_socketio.control.hub import Hub
from trio_socketio.control.legacy_routes import LegacyRoutes
from trio_socketio.control.methods import find_methods
from trio_socketio.control.namespaces import NamespaceMethods
from trio_socketio.control.nodes import NodeMethods, Nodes
from trio_socketio.control.openrpc import Discovery, describe
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.peer import Peer
from trio_socketio.control.places import check_exposure, open_endpoints
from trio_socketio.control.rooms import RoomMethods
from trio_socketio.control.sockets import SocketMethods
from trio_socketio.control.spreading import Spreading
from trio_socketio.control.system import System, SystemMethods
from trio_socketio.control.tokens import TokenTable
from trio_socketio.errors import LocalProtocolError
from trio_socketio.http.refused_callers import RefusedCallers
from trio_socketio.http.request import Request
from trio_socketio.http.routes import RequestHandler
from trio_socketio.net.connection import Connection
from trio_socketio.net.credentials import read_process
from trio_socketio.net.tls import create_context
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import CheckedEndpoint, Endpoint
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.runtime import Runtime
from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_CALLS_S: Final = 1.0
"""The time that waiting calls get when the service ends, before they are cancelled."""
_FLUSH_S: Final = 2.0
"""The time that peers then get to accept their last answers."""
_GROUPS: Final[tuple[type, ...]] = (
    AccessMethods,
    SystemMethods,
    NodeMethods,
    Emitting,
    SocketMethods,
    Departures,
    RoomMethods,
    NamespaceMethods,
    Backends,
    Discovery,
)


@dataclass(frozen=True, slots=True)
class ControlStatistics:
    """A snapshot of the control service.

    Args:
        peers: connections to the control socket.
        backends: those of them that are registered as backends.
        events_handled: events of clients that backends have handled, since the start.
        events_failed: events that no backend has handled; their clients were informed.
        methods: for each method, by name: the number of calls, the number of failures, and the
            total duration in seconds.
    """

    peers: int
    backends: int
    events_handled: int
    events_failed: int
    methods: dict[str, tuple[int, int, float]]


class ControlService:
    """Lets backends and operators control a server. `run` starts it.

    Args:
        server: the server that is controlled.
        system: the program around it.
        options: its addresses and bounds.
        tokens: the tokens that are accepted; None has `run` read the files that the options name.
        refused: counts requests to ``/rpc`` from callers who have no access.
        further: objects with further methods.
        nodes: the cluster that the server belongs to; None if it belongs to none. Calls that
            concern clients are made on all nodes then.
        find_definition: returns the definition of a namespace that was made at run time; None for
            others.

    Attributes:
        backends: the peers that are registered as backends.
    """

    def __init__(
        self,
        server: Server,
        system: System,
        options: ControlOptions | None = None,
        tokens: TokenTable | None = None,
        refused: RefusedCallers | None = None,
        further: Sequence[object] = (),
        nodes: Nodes | None = None,
        find_definition: Callable[[str], Any] | None = None,
    ) -> None:
        options = ControlOptions() if options is None else options
        self._server = server
        self._options = options
        self._tokens = tokens
        self._ending = trio.Event()
        self._access = Access(TokenTable() if tokens is None else tokens)
        self.backends = Backends(options.backends, self._access.refusals, nodes)
        departures = Departures()
        server.observe(departures)
        if nodes is not None:
            nodes.serve(departures)
        groups = (
            AccessMethods(),
            SystemMethods(system),
            NodeMethods(server, system, nodes),
            Emitting(server, options.max_line_bytes),
            SocketMethods(server),
            departures,
            RoomMethods(server),
            NamespaceMethods(server, find_definition),
            self.backends,
            *further,
        )
        spreading = None if nodes is None else Spreading(nodes, server, options.max_line_bytes)
        self._dispatcher = Dispatcher(
            groups, options.max_line_bytes, self._access.refusals, spreading
        )
        self._dispatcher.add(Discovery(self._dispatcher.methods))
        self._hub = Hub(system, options, self._access, self._dispatcher)
        self._http = HttpCalls(self._hub, RefusedCallers() if refused is None else refused)
        self._legacy = LegacyRoutes(self._http, self._dispatcher, options.max_line_bytes)
        self._peers: dict[Peer, None] = {}
        self._numbers = count(1)

    def apply(self, tokens: TokenTable) -> None:
        """Use other tokens from now on.

        A peer whose token is gone is disconnected (CONTROL-16); the others get the permissions that
        their tokens have now.
        """
        self._tokens = tokens
        self._access.use(tokens)
        for peer in tuple(self._peers):
            if peer.standing.is_revoked:
                peer.close("its token is not valid any more")

    def knows(self, secret: str) -> bool:
        """Whether this is the secret of a token."""
        return self._access.find(secret) is not None

    def statistics(self) -> ControlStatistics:
        """Return a snapshot of what the service does."""
        return ControlStatistics(
            peers=len(self._peers),
            backends=len(self.backends),
            events_handled=self.backends.handled,
            events_failed=self.backends.failed,
            methods={
                name: (tally.calls, tally.failures, tally.seconds)
                for name, tally in self._dispatcher.tallies.items()
            },
        )

    @property
    def routes(self) -> dict[str, RequestHandler]:
        """The paths of the admin port that the service answers."""
        return {"/rpc": self.receive_rpc, "/api/": self.receive_legacy}

    def receive_rpc(self, request: Request) -> None:
        """Answer a request to ``/rpc``: a handler for the routes of the admin port.

        The port has to refuse requests in which another host is named, as AdminPort does.
        """
        self._http.receive_request(request)

    def receive_legacy(self, request: Request) -> None:
        """Answer a request below ``/api/``, as the original contract has them; see receive_rpc."""
        self._legacy.receive_request(request)

    def end(self) -> None:
        """Have `run` return when its peers have their answers (CONTROL-62)."""
        self._ending.set()

    async def run(
        self,
        runtime: Runtime,
        endpoints: Sequence[Endpoint] | None = None,
        *,
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen, until `end` is called; a service for Runtime.start_service.

        Then no more peers are accepted. The calls that were made may go on for a while, and every
        peer may take what was written to it.

        Each event that the options forward has its handler once this runs, so it is begun before
        clients are let in.

        Args:
            runtime: the runtime.
            endpoints: where to listen, for example on sockets that systemd has opened; None means
                the addresses of the options.
            task_status: receives the addresses.
        Raises:
            ConfigurationError: it is not possible to listen there, callers could come in who must
                not, a file cannot be used, or the app handles an event that is to be forwarded.
        """
        options = self._options
        self.backends.forward(self._server)
        if self._tokens is None:
            self.apply(TokenTable(options.tokens))
        if endpoints is None:
            endpoints = open_endpoints(options, _load_tls(options))
        check = partial(check_exposure, has_tokens=bool(self._tokens))
        checked = [CheckedEndpoint(endpoint, check) for endpoint in endpoints]
        limits = ConnectionLimits(
            max_connections=options.max_connections,
            output_bound_bytes=options.output_bound_bytes,
            slow_client_s=options.slow_peer_s,
        )
        full = encode_error(NULL, overloaded("too many peers are connected")) + b"\n"
        connections = Connections(
            runtime.poller, runtime.deadlines, limits, self._greet, full, preferred=True
        )
        self._access.refusals.begin(runtime.deadlines)
        try:
            async with runtime.holding(connections, flush_s=_FLUSH_S):
                async with alone(trio.open_nursery()) as nursery:
                    self._http.nursery = nursery
                    async with runtime.listening(connections, *checked) as addresses:
                        for address in addresses:
                            log.info("the control socket is at %s", _show(address))
                        task_status.started(addresses)
                        await self._ending.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + _CALLS_S
                self._end_peers()
        finally:
            self._end_peers()  # if it was cancelled
            self._access.refusals.end()

    def _end_peers(self) -> None:
        self._http.nursery = None
        for peer in tuple(self._peers):
            peer.standing.log_end(logging.INFO, "has ended", "the server stops")
            peer.leave("the control service has ended")

    def _greet(self, connection: Connection) -> None:
        nursery = self._http.nursery
        if nursery is None:
            raise LocalProtocolError("a peer was accepted by a control service that does not run")
        process = read_process(connection.fileno())
        if process is None:
            who = connection.address
        else:
            who = "unix" if process.pid < 0 else f"pid {process.pid}, uid {process.uid}"
        name = f"control peer {next(self._numbers)} ({who})"
        is_local = process is not None  # CONTROL-78: a missing address would prove nothing
        peer = Peer(self._hub, connection, name, nursery, self._forget, is_local=is_local)
        self._peers[peer] = None
        # A peer that needs a token is logged once it has given it: any process can connect.
        log.log(logging.INFO if is_local else logging.DEBUG, "%s has connected", name)

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer, None)
        self.backends.forget(peer.backend)


def _load_tls(options: ControlOptions) -> SSLContext | None:
    if options.certfile is None:
        return None
    key = None if options.keyfile is None else Path(options.keyfile)
    return create_context(Path(options.certfile), key)


def describe_api(further: Sequence[type] = ()) -> dict[str, Any]:
    """Return the OpenRPC document that rpc.discover answers, without a server.

    Args:
        further: classes with further methods.
    """
    # Only the signatures and docstrings are read, so the objects need not be initialized.
    kinds = (*_GROUPS, *further)
    found = (method for kind in kinds for method in find_methods(object.__new__(kind)))
    return describe({method.name: method for method in found})


def _show(address: Any) -> str:
    """Write the address of a listening socket, as socket.getsockname returns it."""
    return str(Address(path=address) if isinstance(address, str) else Address("", *address[:2]))
