"""How the revisions of Socket.IO differ: what clients are told when they join, and what ids are."""

from dataclasses import dataclass
from typing import Final

from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.http.request import Request

MAX_QUERY: Final = 4096
"""Characters in the query of a CONNECT."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What is different between the revisions of Socket.IO.

    Args:
        recovers: clients can go on with a session that they lost.
        tells_credentials: the answer to a CONNECT has a payload: the id of the socket.
        names_sockets: clients put the ids of their sockets together themselves, from the sid, so
            that such an id must not be shown to others.
        has_queries: the name of a namespace may have a query behind it.
    """

    recovers: bool
    tells_credentials: bool
    names_sockets: bool
    has_queries: bool


REVISION_5: Final = Revision(
    recovers=True, tells_credentials=True, names_sockets=False, has_queries=False
)
"""Of clients 3.x and 4.x."""
REVISION_4: Final = Revision(
    recovers=False, tells_credentials=False, names_sockets=True, has_queries=True
)
"""Of clients 1.x and 2.x."""


def name_socket(namespace: str, sid: str) -> str:
    """The id of a socket whose client puts it together in the same way (SIO4-06)."""
    return sid if namespace == "/" else f"{namespace}#{sid}"


def cut_query(packet: Packet) -> None:
    """Cut off what stands behind the namespace's name: the payload of a CONNECT (SIO4-03).

    Raises:
        RemoteProtocolError: it is too long.
    """
    packet.namespace, _, query = packet.namespace.partition("?")
    if len(query) > MAX_QUERY:  # SIO4-12
        raise RemoteProtocolError(f"more than {MAX_QUERY} characters of query in a CONNECT")
    if packet.type is PacketType.CONNECT:
        packet.data = Request.parse_query(query)
