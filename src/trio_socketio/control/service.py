"""The control socket as a service of the runtime, and the handler of ``/rpc``."""

import logging
import os
import socket
import stat
import struct
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio

from trio_socketio.control.access import Access
from trio_socketio.control.address import Address, parse_address
from trio_socketio.control.api import API_VERSION, Greeting
from trio_socketio.control.backends import Backends
from trio_socketio.control.call_queue import Job, Nursery
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.emitting import Emitting
from trio_socketio.control.failures import unavailable
from trio_socketio.control.http_calls import HttpCalls, answer
from trio_socketio.control.namespaces import NamespaceMethods
from trio_socketio.control.openrpc import Discovery
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.peer import Peer
from trio_socketio.control.rooms import RoomMethods
from trio_socketio.control.sockets import SocketMethods
from trio_socketio.control.system import System, SystemMethods
from trio_socketio.control.tokens import Grant, TokenTable
from trio_socketio.errors import ConfigurationError
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.net.tls import create_context
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import Endpoint, TcpEndpoint, UnixEndpoint
from trio_socketio.runtime.groups import alone
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.runtime import Runtime
from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

_FLUSH_S: Final = 1.0
_FOLDER_MODE: Final = 0o700
_SOCKET_MODE: Final = 0o660


class ControlService:
    """Lets backends and operators control a server. Nothing is started before `run`.

    Args:
        server: what is controlled.
        system: the program around it.
        options: where it listens, and its bounds.
        tokens: who may call; None reads the files that the options name.
    Raises:
        ConfigurationError: a token cannot be read, or the app handles an event that is to be
            forwarded.

    Attributes:
        backends: those that are registered. Each event that the options forward gets a handler when
            the service is created, so that they are known before the server serves.
        dispatcher: the methods.
        options: as given.
    """

    def __init__(
        self,
        server: Server,
        system: System,
        options: ControlOptions | None = None,
        tokens: TokenTable | None = None,
    ) -> None:
        self.options = options = ControlOptions() if options is None else options
        self._system = system
        self._tokens = TokenTable(options.tokens) if tokens is None else tokens
        self._nursery: trio.Nursery | None = None
        self._peers: dict[Peer, None] = {}
        self._numbers = count(1)
        self._http = HttpCalls(self)
        self.backends = Backends(options.backends)
        self.backends.forward(server)
        groups = (
            Access(),
            SystemMethods(system),
            Emitting(server),
            SocketMethods(server),
            RoomMethods(server),
            NamespaceMethods(server),
            self.backends,
        )
        self.dispatcher = Dispatcher(groups, options.max_line_bytes)
        self.dispatcher.add(Discovery(self.dispatcher.methods))

    # -- for peers and requests

    @property
    def calls(self) -> Nursery:
        """Where calls that wait run, while the service runs."""
        if self._nursery is None:
            return _NO_NURSERY
        return self._nursery

    def find_grant(self, secret: str) -> Grant | None:
        """Return the grant of a token; None if there is no such token."""
        return self._tokens.find(secret)

    def greeting(self, *, needs_token: bool) -> Greeting:
        """Return what a peer is told first (CONTROL-06)."""
        info = self._system.info()
        return Greeting(
            api=API_VERSION,
            server=f"trio-socketio {info.version}",
            node=info.node,
            needs_token=needs_token,
            max_line_bytes=self.options.max_line_bytes,
            max_batch=self.options.max_batch,
        )

    def peer_lost(self, peer: Peer) -> None:
        """Forget a peer whose connection has ended."""
        self._peers.pop(peer, None)
        self.backends.forget(peer)

    # -- for the program

    def apply(self, tokens: TokenTable) -> None:
        """Use other tokens from now on.

        A peer whose token is gone is disconnected (CONTROL-16); the others may call what theirs
        allows now.
        """
        self._tokens = tokens
        for peer in tuple(self._peers):
            if peer.grant is not None:
                grant = tokens.renew(peer.grant)
                if grant is None:
                    peer.close("its token is not valid any more")
                else:
                    peer.grant = grant

    def receive_rpc(self, request: Request) -> None:
        """Answer a request to ``/rpc``: a handler for the routes of the admin port."""
        if self._nursery is None:
            answer(request, 503, unavailable("the control service does not run"))
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
            endpoints: where to listen, such as at sockets that systemd has opened; None means what
                the options say.
            task_status: told the addresses.
        Raises:
            ConfigurationError: it is not possible to listen there.
        """
        if endpoints is None:
            endpoints = open_endpoints(self.options)
        limits = ConnectionLimits(
            max_connections=self.options.max_connections,
            output_bound_bytes=self.options.output_bound_bytes,
            slow_client_s=self.options.slow_peer_s,
        )
        connections = Connections(runtime.poller, runtime.deadlines, limits, self._greet)
        try:
            async with (
                alone(trio.open_nursery()) as self._nursery,
                runtime.holding(connections, flush_s=_FLUSH_S),
                runtime.listening(connections, *endpoints) as addresses,
            ):
                if endpoints:
                    log.info("the control socket is at %s", ", ".join(self.options.listen))
                task_status.started(addresses)
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for peer in tuple(self._peers):
                peer.end("the control service has ended")

    def _greet(self, connection: Connection) -> None:
        name = f"control peer {next(self._numbers)} ({_describe(connection)})"
        peer = Peer(self, connection, name)
        self._peers[peer] = None
        log.info("%s has connected", name)


class _NoNursery:
    """Stands for the nursery of a service that does not run: nothing is begun."""

    def start_soon(self, _: Job, /) -> None:
        """Do nothing: the service has ended, and with it every connection."""


_NO_NURSERY: Final = _NoNursery()


def _describe(connection: Connection) -> str:
    """Say who has connected: an address, or the process at the other end of a Unix socket."""
    if connection.address:
        return connection.address
    if not hasattr(socket, "SO_PEERCRED"):
        return "unix"
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    process, user, _ = struct.unpack("3i", credentials)
    return f"pid {process}, uid {user}"


# -- where it listens


def open_endpoints(options: ControlOptions) -> list[Endpoint]:
    """Return the places to listen that options name; folders of Unix sockets are made.

    Raises:
        ConfigurationError: a certificate or a folder cannot be used.
    """
    tls = None
    if options.certfile is not None:
        tls = create_context(
            Path(options.certfile), Path(options.keyfile) if options.keyfile else None
        )
    endpoints: list[Endpoint] = []
    for text in options.listen:
        address: Address = parse_address(text)
        if address.path:
            path = Path(address.path)
            prepare_folder(path.parent)
            endpoints.append(UnixEndpoint(path, _SOCKET_MODE))
        else:
            endpoints.append(TcpEndpoint(address.host, address.port, tls))
    return endpoints


def prepare_folder(folder: Path) -> None:
    """Make the folder of a Unix socket, for us alone; or check the one that is there (CONTROL-10).

    Whoever may write to the folder could put a socket of their own in the place of ours.

    Raises:
        ConfigurationError: it cannot be made, or others may write to it.
    """
    try:
        folder.mkdir(_FOLDER_MODE, exist_ok=True)
        there = folder.stat()
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the folder {folder} for the control socket: {error.strerror}"
        ) from None
    if there.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"the folder {folder} of the control socket belongs to another user: its owner could "
            "put another socket there"
        )
    if there.st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"everybody may write to the folder {folder}: put the control socket into a folder of "
            f"its own, such as {folder / 'trio-socketio' / 'control.sock'}"
        )
