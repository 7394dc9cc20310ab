"""The connections to one other node: they are dialed when one is needed, and kept for a while."""

import errno
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.cluster.forwarding.link import Link, User
from trio_socketio.cluster.nodes import name_process
from trio_socketio.protocol.forwarding import NONCE_BYTES, Dialer

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.counts import ForwardingCounts
    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.codec.node_messages import NodeFacts
    from trio_socketio.protocol.hearing import Hearing
    from trio_socketio.runtime.connections import Connections
    from trio_socketio.runtime.sampling import SampledLog

MAX_IDLE: Final = 1024
"""How many connections are kept that carry nothing: as many as polls may end at once, such as by a
broadcast. To dial costs twice as much as a request."""

Address = tuple[int, tuple[Any, ...]]
"""The family, and the address as sockets take it."""

_CONNECTING: Final = frozenset((0, errno.EINPROGRESS, errno.EWOULDBLOCK))


class Ground:
    """What all peers of a node share.

    Args:
        name: of this node.
        host: the name of the machine that it runs on.
        links: the connections to other nodes.
        counts: the numbers to which they add.
        lines: says which failures are logged.
        credentials: prove that this is a node.

    Attributes:
        is_draining: whether no connection is kept that carries nothing.
    """

    def __init__(
        self,
        name: str,
        host: str,
        links: "Connections",
        counts: "ForwardingCounts",
        lines: "SampledLog",
        credentials: "Credentials",
    ) -> None:
        self.name = name
        self.host = host
        self.links = links
        self.counts = counts
        self.lines = lines
        self.credentials = credentials
        self.is_draining = False


class DialFailed(Exception):
    """There is no connection, and nothing was sent.

    Args:
        reason: one of counts.REASONS.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Pool:
    """The links to a node that are no pipes.

    Args:
        ground: what all peers share.
        node: the node.
        address: where it listens for nodes.
        hearing: is told when it says something.

    Attributes:
        hearing: the same.
    """

    def __init__(
        self, ground: Ground, node: "NodeFacts", address: Address, hearing: "Hearing[Any]"
    ) -> None:
        self.hearing = hearing
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
        return self._idle.pop() if self._idle else self._dial(user)

    def _dial(self, user: User) -> Link:
        ground, node = self._ground, self._node
        family, where = self._address
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # too many files are open
            raise DialFailed("full") from None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex(where) not in _CONNECTING:
            sock.close()
            raise DialFailed("gone")
        connection = ground.links.accept(sock, where[0], ground.credentials.client)
        if connection is None:
            raise DialFailed("full")
        secret = ground.credentials.secrets[0] if ground.credentials.secrets else b""
        nonce = secrets.token_bytes(NONCE_BYTES)
        process = name_process(node.pid, node.started_at_s)
        dialer = Dialer(ground.name, node.name, process, secret, nonce)
        link = Link(self, connection, dialer, user)
        self._links.add(link)
        return link

    def link_rests(self, link: Link) -> None:
        if len(self._idle) < MAX_IDLE and not (self._is_closed or self._ground.is_draining):
            self._idle.append(link)
        else:
            link.end()

    def link_over(self, link: Link) -> None:
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)

    def end_idle(self) -> None:
        """Close the connections that carry nothing."""
        for link in tuple(self._idle):
            link.end()

    def fail(self, reason: str) -> None:
        """Close all connections, and tell their users why."""
        for link in tuple(self._links):
            link.fail(reason)

    def close(self) -> None:
        """Keep no connection from now on that carries nothing."""
        self._is_closed = True
        self.end_idle()
