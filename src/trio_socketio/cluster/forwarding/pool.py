"""The connections to one other node: they are dialed when one is needed, and kept for a while."""

import errno
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trio_socketio.cluster.forwarding.link import Link, User
from trio_socketio.cluster.nodes import name_process
from trio_socketio.net.faults import explain_fault
from trio_socketio.protocol.forwarding import NONCE_BYTES, Dialer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.cluster.forwarding.counts import ForwardingCounts
    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.codec.node_messages import NodeFacts
    from trio_socketio.net.connection import Connection
    from trio_socketio.protocol.hearing import Hearing
    from trio_socketio.runtime.connections import Connections
    from trio_socketio.runtime.sampling import SampledLog

_MAX_IDLE: Final = 1024
_IDLE_SHARE: Final = 8

Address = tuple[int, tuple[Any, ...]]
"""The family, and the address as sockets take it."""

_CONNECTING: Final = frozenset((0, errno.EINPROGRESS, errno.EWOULDBLOCK))
_FULL: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""The errors of a system that has no resources left for another connection."""


def bound_idle(max_connections: int) -> int:
    """Return how many connections a node keeps that carry nothing, to all others together.

    As many polls may end at once, such as by a broadcast, and to dial costs twice as much as a
    request. But they count among the connections that the other nodes may have.
    """
    return max(1, min(_MAX_IDLE, max_connections // _IDLE_SHARE))


class Times(NamedTuple):
    """When to try whether other nodes can be reached.

    Args:
        soon_s: within this time after a node has joined, and after a request has failed.
        again_s: after a failed trial; the time doubles with each failure.
        most_s: the longest of these times.
        well_s: after a successful trial.
    """

    soon_s: float = 1.0
    again_s: float = 5.0
    most_s: float = 60.0
    well_s: float = 300.0


USUAL_TIMES: Final = Times()


class Ground:
    """What all peers of a node share.

    Args:
        name: of this node.
        host: the name of the machine that it runs on.
        links: the connections to other nodes.
        counts: the numbers to which they add.
        lines: says which failures are logged.
        credentials: prove that this is a node.
        max_idle: how many connections are kept that carry nothing.
        within: the node whose workers alone are peers; empty if all nodes are.
        times: when to try whether the other nodes can be reached.

    Attributes:
        idle: how many there are.
        is_draining: whether none is kept any more.
    """

    def __init__(
        self,
        name: str,
        host: str,
        links: "Connections",
        counts: "ForwardingCounts",
        lines: "SampledLog",
        credentials: "Credentials",
        max_idle: int,
        within: str = "",
        times: Times = USUAL_TIMES,
    ) -> None:
        self.name = name
        self.host = host
        self.links = links
        self.counts = counts
        self.lines = lines
        self.credentials = credentials
        self.max_idle = max_idle
        self.within = within
        self.times = times
        self.idle = 0
        self.is_draining = False


class DialFailed(Exception):
    """There is no connection, and nothing was sent.

    Args:
        reason: one of counts.REASONS.
        cause: what exactly failed; empty if that is not known.
    """

    def __init__(self, reason: str, cause: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause


class Pool:
    """The links to a node that are no pipes.

    Args:
        ground: what all peers share.
        node: the node.
        address: where it listens for nodes.
        hearing: is told when it says something.
        on_open: called when a connection has been opened, before its user begins.

    Attributes:
        hearing: the same.
    """

    def __init__(
        self,
        ground: Ground,
        node: "NodeFacts",
        address: Address,
        hearing: "Hearing[Any]",
        on_open: "Callable[[], None]",
    ) -> None:
        self.hearing = hearing
        self._on_open = on_open
        self._ground = ground
        self._node = node
        self._address = address
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._is_closed = False

    def take(self, user: User) -> Link:
        """Return a link that rests, or one that is not open yet and has its user.

        Raises:
            DialFailed: it says why.
        """
        if not self._idle:
            return self.dial(user)
        self._ground.idle -= 1
        return self._idle.pop()

    def dial(self, user: User) -> Link:
        """Return a link that is not open yet and has its user.

        Raises:
            DialFailed: it says why.
        """
        ground, node = self._ground, self._node
        connection = self._connect()
        if connection is None:
            raise DialFailed("full")
        secret = ground.credentials.secrets[0] if ground.credentials.secrets else b""
        nonce = secrets.token_bytes(NONCE_BYTES)
        process = name_process(node.pid, node.started_at_s)
        dialer = Dialer(ground.name, node.name, process, secret, nonce)
        link = Link(self, connection, dialer, user)
        self._links.add(link)
        return link

    def _connect(self) -> "Connection | None":
        """Begin to connect; None if there are too many connections.

        Raises:
            DialFailed: the system has nothing left for one more, or knows no way to this address.
        """
        links, (family, where) = self._ground.links, self._address
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise _explain(error) from None
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(where)
            if code not in _CONNECTING:
                raise OSError(code, os.strerror(code))
        except OSError as error:
            sock.close()
            raise _explain(error) from None
        except OverflowError:
            sock.close()
            raise DialFailed("gone", f"{where[1]} is not a port (0 to 65535)") from None  # FWD-54
        try:
            return links.accept(sock, where[0], self._ground.credentials.client)
        except (OSError, MemoryError) as error:  # it has closed the socket
            raise DialFailed("full") from error

    def link_proven(self) -> None:
        self._on_open()

    def link_rests(self, link: Link) -> None:
        ground = self._ground
        if ground.idle < ground.max_idle and not (self._is_closed or ground.is_draining):
            ground.idle += 1
            self._idle.append(link)
        else:
            link.end()

    def link_over(self, link: Link) -> None:
        self._links.discard(link)
        if link in self._idle:
            self._ground.idle -= 1
            self._idle.remove(link)

    def end_idle(self) -> None:
        """Close the connections that carry nothing."""
        for link in tuple(self._idle):
            link.end()

    def fail(self, reason: str) -> None:
        """Close all connections, and tell their users why, with one of counts.REASONS."""
        for link in tuple(self._links):
            link.fail(reason)

    def close(self) -> None:
        """Keep no connection from now on that carries nothing."""
        self._is_closed = True
        self.end_idle()


def _explain(error: OSError) -> DialFailed:
    """Say why there is no connection (FWD-54).

    If this system has no resources left for another connection, that says nothing about the other
    node. Any other failure, such as IPv6 being switched off, keeps all requests from reaching it.
    """
    return DialFailed("full" if error.errno in _FULL else "gone", explain_fault(error))
