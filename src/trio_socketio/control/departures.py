"""The sockets that have left last, with the reasons: for a person who asks why a client is gone."""

import time
from collections import deque
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from trio_socketio.control.methods import rpc
from trio_socketio.control.spread import MissingNodes, OverNodes, Parts, Spread
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.socket import Socket

MAX_DEPARTED: Final = 200
"""How many sockets are remembered."""

_MAX_TEXT: Final = 200  # of what the client has chosen

Few = Annotated[int, Meta(ge=1, le=MAX_DEPARTED)]


class DepartedSocket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A socket that has left its namespace.

    Args:
        id: its public id.
        namespace: the namespace that it has left.
        reason: why, as in the event disconnect.
        user: its identity; null if nothing had established it.
        address: the client's address, which trusted proxies may tell.
        user_agent: the beginning of how the client has named itself; empty if it had not.
        transport: the one that carried it last, polling or websocket.
        session: the name of its session in the log.
        connected_at_s: when its session was opened, seconds since 1970.
        left_at_s: when it has left, seconds since 1970.
        recoverable: whether its client may come back to it by state recovery.
        node: the name of its node; left out if there is no cluster.
    """

    id: str
    namespace: str
    reason: str
    user: str | None
    address: str
    user_agent: str
    transport: str
    session: str
    connected_at_s: float
    left_at_s: float
    recoverable: bool
    node: str = ""


class DepartedSockets(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The sockets that have left last.

    Args:
        sockets: the latest first.
        missing: the nodes that have not answered.
    """

    sockets: list[DepartedSocket]
    missing: MissingNodes


def merge_departed(parts: Parts) -> DepartedSockets:
    """Join those of all nodes, the latest first. The clocks of the nodes tell which that is."""
    every = [
        msgspec.structs.replace(one, node=node)
        for node, found in parts.results.items()
        for one in found.sockets
    ]
    every.sort(key=lambda one: -one.left_at_s)
    return DepartedSockets(
        sockets=every[: parts.given["limit"]],
        nodes={node: len(found.sockets) for node, found in parts.results.items()},
        failed=parts.failed,
        missing=MissingNodes(nodes=parts.missing),
    )


class Departures(Observer):
    """Remembers the sockets that have left last. Nothing is done while they are there (PAGE-26).

    What is remembered keeps nothing else of a client alive.
    """

    def __init__(self) -> None:
        self._latest: deque[DepartedSocket] = deque(maxlen=MAX_DEPARTED)

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        session, handshake = socket.session, socket.handshake
        self._latest.append(
            DepartedSocket(
                id=socket.public_id,
                namespace=socket.namespace.name,
                reason=reason[:_MAX_TEXT],
                user=socket.user,
                address=handshake.address,
                user_agent=session.handshake.find_header("user-agent")[:_MAX_TEXT],
                transport=session.transport,
                session=str(session).removeprefix("session "),
                connected_at_s=handshake.issued_s,
                left_at_s=time.time(),
                recoverable=recoverable,
            )
        )

    @rpc("sockets.departed", Spread(merge_departed))
    def list_departed(self, limit: Few = 50) -> DepartedSockets:
        """Show the sockets that have left last, with the reasons; 200 of each node are remembered.

        Args:
            limit: how many.
        """
        latest = [self._latest[-1 - at] for at in range(min(limit, len(self._latest)))]
        return DepartedSockets(sockets=latest, missing=MissingNodes())
