"""The parts that all peers and requests of a control service share."""

from itertools import count
from typing import TYPE_CHECKING, Final

from trio_socketio.control.api import API_VERSION, Greeting
from trio_socketio.control.backends import Backends
from trio_socketio.control.call_queue import Job, Nursery
from trio_socketio.control.dispatcher import Dispatcher
from trio_socketio.control.options import ControlOptions
from trio_socketio.control.peer import Peer
from trio_socketio.control.system import System
from trio_socketio.control.tokens import Grant, TokenTable
from trio_socketio.net.connection import Connection

if TYPE_CHECKING:
    import trio


class Hub:
    """The methods, tokens and peers of a control service.

    Args:
        system: the program around the server.
        options: the bounds.
        tokens: the tokens of those who may call.
        dispatcher: the methods.
        backends: those that are registered.

    Attributes:
        nursery: runs the calls that wait; None while the service does not run.
        peers: those that are connected.
    """

    def __init__(
        self,
        system: System,
        options: ControlOptions,
        tokens: TokenTable,
        dispatcher: Dispatcher,
        backends: Backends,
    ) -> None:
        self.options = options
        self.dispatcher = dispatcher
        self.nursery: trio.Nursery | None = None
        self.peers: dict[Peer, None] = {}
        self._system = system
        self._tokens = tokens
        self._backends = backends
        self._numbers = count(1)

    @property
    def calls(self) -> Nursery:
        """Runs the calls that have to wait."""
        return _NO_NURSERY if self.nursery is None else self.nursery

    def find_grant(self, secret: str) -> Grant | None:
        """Return the grant of a token; None if there is no such token."""
        return self._tokens.find(secret)

    def use(self, tokens: TokenTable) -> None:
        """Use other tokens from now on; see ControlService.apply."""
        self._tokens = tokens
        for peer in tuple(self.peers):
            if peer.grant is not None:
                grant = tokens.renew(peer.grant)
                if grant is None:  # CONTROL-16
                    peer.close("its token is no longer valid")
                else:
                    peer.grant = grant

    def greeting(self, *, needs_token: bool) -> Greeting:
        """Return the greeting for a new peer (CONTROL-06)."""
        info = self._system.info()
        return Greeting(
            api=API_VERSION,
            server=f"trio-socketio {info.version}",
            node=info.node,
            needs_token=needs_token,
            max_line_bytes=self.options.max_line_bytes,
            max_batch=self.options.max_batch,
        )

    def add_peer(self, connection: Connection, who: str) -> Peer:
        """Greet a connection that was just accepted.

        Args:
            connection: the connection.
            who: names the address or process in the log.
        """
        peer = Peer(self, connection, f"control peer {next(self._numbers)} ({who})")
        self.peers[peer] = None
        return peer

    def peer_lost(self, peer: Peer) -> None:
        """Forget a peer whose connection has ended."""
        self.peers.pop(peer, None)
        self._backends.forget(peer)


class _NoNursery:
    """Stands in for the nursery of a service that does not run, and starts nothing."""

    def start_soon(self, _: Job, /) -> None:
        """Do nothing, because all connections have ended with the service."""


_NO_NURSERY: Final = _NoNursery()
