"""The control socket as a service of the runtime, and the handler of ``/rpc``."""

import logging
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from trio_socketio.codec.json_rpc import NULL, encode_error
from trio_socketio.control.access import Access
from trio_socketio.control.address import Address
from trio_socketio.control.backends import Backends
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.emitting import Emitting
from trio_socketio.control.failures import overloaded, unavailable
from trio_socketio.control.http_calls import HttpCalls, answer
from trio_socketio.control.hub import Hub
from trio_socketio.control.methods import find_methods
from trio_socketio.control.namespaces import NamespaceMethods
from trio_socketio.control.openrpc import Discovery, describe
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.places import open_endpoints
from trio_socketio.control.rooms import RoomMethods
from trio_socketio.control.sockets import SocketMethods
from trio_socketio.control.system import System, SystemMethods
from trio_socketio.control.tokens import TokenTable
from trio_socketio.http.refused_callers import RefusedCallers
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import Endpoint
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.runtime import Runtime
from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_FLUSH_S: Final = 1.0
_GROUPS: Final[tuple[type, ...]] = (
    Access,
    SystemMethods,
    Emitting,
    SocketMethods,
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

    The service registers its handlers of forwarded events when it is created.

    Args:
        server: the server that is controlled.
        system: the program around it.
        options: its addresses and bounds.
        tokens: the tokens that are accepted; None reads the files that the options name.
        refused: counts requests to ``/rpc`` from callers who have no access.
    Raises:
        ConfigurationError: a token cannot be read, or the app handles an event that is to be
            forwarded.
    """

    def __init__(
        self,
        server: Server,
        system: System,
        options: ControlOptions | None = None,
        tokens: TokenTable | None = None,
        refused: RefusedCallers | None = None,
    ) -> None:
        options = ControlOptions() if options is None else options
        self._options = options
        # First, because it may fail, which must leave no handlers of forwarded events behind.
        tokens = TokenTable(options.tokens) if tokens is None else tokens
        backends = Backends(options.backends)
        backends.forward(server)
        groups = (
            Access(),
            SystemMethods(system),
            Emitting(server),
            SocketMethods(server),
            RoomMethods(server),
            NamespaceMethods(server),
            backends,
        )
        dispatcher = Dispatcher(groups, options.max_line_bytes)
        dispatcher.add(Discovery(dispatcher.methods))
        self._hub = Hub(system, options, tokens, dispatcher, backends)
        self._http = HttpCalls(self._hub, RefusedCallers() if refused is None else refused)
        self._backends = backends

    def apply(self, tokens: TokenTable) -> None:
        """Use other tokens from now on.

        A peer whose token is gone is disconnected (CONTROL-16); the others get the permissions that
        their tokens have now.
        """
        self._hub.use(tokens)

    def statistics(self) -> ControlStatistics:
        """Return a snapshot of what the service does."""
        return ControlStatistics(
            peers=len(self._hub.peers),
            backends=len(self._backends),
            events_handled=self._backends.handled,
            events_failed=self._backends.failed,
            methods={
                name: (tally.calls, tally.failures, tally.seconds)
                for name, tally in self._hub.dispatcher.tallies.items()
            },
        )

    def receive_rpc(self, request: Request) -> None:
        """Answer a request to ``/rpc``: a handler for the routes of the admin port."""
        if self._hub.nursery is None:
            answer(request, 503, unavailable("the control service is not running"))
        else:
            self._http.receive_request(request)

    async def run(
        self,
        runtime: Runtime,
        endpoints: Sequence[Endpoint] | None = None,
        *,
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen, until cancelled; a service for Runtime.start_service.

        Args:
            runtime: the runtime.
            endpoints: where to listen, for example on sockets that systemd has opened; None means
                the addresses of the options.
            task_status: receives the addresses.
        Raises:
            ConfigurationError: it is not possible to listen there.
        """
        if endpoints is None:
            endpoints = open_endpoints(self._options)
        limits = ConnectionLimits(
            max_connections=self._options.max_connections,
            output_bound_bytes=self._options.output_bound_bytes,
            slow_client_s=self._options.slow_peer_s,
        )
        full = encode_error(NULL, overloaded("too many peers are connected")) + b"\n"
        self._backends.begin(runtime.deadlines)
        connections = Connections(runtime.poller, runtime.deadlines, limits, self._greet, full)
        try:
            async with (
                alone(trio.open_nursery()) as self._hub.nursery,
                runtime.holding(connections, flush_s=_FLUSH_S),
                runtime.listening(connections, *endpoints) as addresses,
            ):
                for address in addresses:
                    log.info("the control socket is at %s", _show(address))
                task_status.started(addresses)
                await trio.sleep_forever()
        finally:
            self._hub.nursery = None
            self._backends.end()
            for peer in tuple(self._hub.peers):
                peer.end("the control service has ended")

    def _greet(self, connection: Connection) -> None:
        peer = self._hub.add_peer(connection, _describe(connection))
        log.info("%s has connected", peer.name)


def describe_api() -> dict[str, Any]:
    """Return the OpenRPC document that rpc.discover answers, without a server."""
    # Only the signatures and docstrings are read, so the objects need not be initialized.
    found = (method for kind in _GROUPS for method in find_methods(object.__new__(kind)))
    return describe({method.name: method for method in found})


def _show(address: Any) -> str:
    """Write the address of a listening socket, as socket.getsockname returns it."""
    return str(Address(path=address) if isinstance(address, str) else Address("", *address[:2]))


def _describe(connection: Connection) -> str:
    """Name the peer: by its address, or by the process at the other end of a Unix socket."""
    if connection.address:
        return connection.address
    if not hasattr(socket, "SO_PEERCRED"):
        return "unix"
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, user, _ = struct.unpack("3i", credentials)
    return f"pid {process}, uid {user}"
