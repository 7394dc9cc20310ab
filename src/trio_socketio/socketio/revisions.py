"""The revisions of Socket.IO, and what their clients do differently."""

from dataclasses import dataclass
from typing import Final

from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.http.request import Request

MAX_QUERY: Final = 4096
"""How many characters the query of a CONNECT may have."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The peculiarities of clients of one revision of Socket.IO.

    Args:
        recovers: whether clients can go on with a session that they lost.
        tells_credentials: whether the answer to a CONNECT has a payload: the id of the socket.
        names_sockets: whether clients form the ids of their sockets themselves, from the sid. Such
            an id must not be shown to others.
        has_queries: whether the name of a namespace may have a query behind it.
    """

    recovers: bool
    tells_credentials: bool
    names_sockets: bool
    has_queries: bool


REVISION_5: Final = Revision(
    recovers=True, tells_credentials=True, names_sockets=False, has_queries=False
)
"""Spoken by clients 3.x and 4.x."""
REVISION_4: Final = Revision(
    recovers=False, tells_credentials=False, names_sockets=True, has_queries=True
)
"""Spoken by clients 1.x and 2.x."""


def name_socket(namespace: str, sid: str) -> str:
    """Return the id of a socket, formed as its client forms it (SIO4-06)."""
    return sid if namespace == "/" else f"{namespace}#{sid}"


def cut_query(packet: Packet) -> None:
    """Cut the query off the name of a namespace. It is the payload of a CONNECT (SIO4-03).

    Raises:
        RemoteProtocolError: the query is too long.
    """
    packet.namespace, _, query = packet.namespace.partition("?")
    if len(query) > MAX_QUERY:  # SIO4-12
        raise RemoteProtocolError(f"more than {MAX_QUERY} characters of query in a CONNECT")
    if packet.type is PacketType.CONNECT:
        packet.data = Request.parse_query(query)
