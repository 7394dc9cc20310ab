"""The messages of servers that share a Redis through @socket.io/redis-adapter, as typed values.

See redis_adapter.py for how they are written and read.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_ROOMS: Final = 100_000
"""The most rooms that one message may name."""
MAX_ID: Final = 200
"""The most characters in the id of a server, a request or a socket. Official ones have 6 to 20."""

Id = Annotated[str, Meta(max_length=MAX_ID)]
Rooms = Annotated[list[str | int], Meta(max_length=MAX_ROOMS)]
"""Rooms on the wire: JavaScript has rooms whose names are numbers."""

CLIENT_COUNT: Final = 8
"""The type of CountResponse."""
CLIENT_ACK: Final = 9
"""The type of AckResponse."""


class _Wire(msgspec.Struct, rename="camel"):
    """What has its names in JavaScript's style; members are written in the order of the fields."""


# -- parts of messages


class Flags(_Wire, omit_defaults=True, kw_only=True):
    """The flags of a broadcast; those that are unknown are ignored.

    Args:
        volatile: whether the event is dropped for clients that cannot take it at once.
        compress: whether transports that compress may compress the event; None means yes.
        expect_single_response: whether a server with the one receiver answers; of no use to us.
        timeout: how long the server that asks waits for answers, in milliseconds.
    """

    volatile: bool | None = None
    compress: bool | None = None
    expect_single_response: bool | None = None
    timeout: int | float | None = None


class Selection(_Wire, kw_only=True):
    """Selects sockets: those in any of the rooms, or all if there are none; without the others.

    Args:
        rooms: of the sockets that are selected.
        except_: rooms whose sockets are left out.
    """

    rooms: Rooms | None = None
    except_: Rooms | None = msgspec.field(default=None, name="except")


class Options(Selection, kw_only=True):
    """The receivers of a broadcast, and its flags."""

    flags: Flags | None = None


class EventPacket(_Wire, kw_only=True):
    """A Socket.IO packet before its encoding.

    Args:
        type: EVENT; old emitters write BINARY_EVENT, which means the same here.
        data: the event's name, then its arguments.
        nsp: the namespace.
    """

    type: int
    data: list[Any]
    nsp: str = "/"


class Broadcast(msgspec.Struct, array_like=True):
    """An event for the clients of all servers.

    Args:
        uid: names the adapter that sent it; "emitter" for an emitter.
        packet: the event.
        opts: the receivers, and the flags.
    """

    uid: Id
    packet: EventPacket
    opts: Options


class HandshakeRecord(_Wire, kw_only=True):
    """The request that opened the session of a socket, as Node describes it.

    Args:
        headers: names in lower case; a value is text or a list.
        time: when the session was opened, as JavaScript writes it.
        address: of the client.
        xdomain: whether the request came from a page of another origin.
        secure: whether the client came over TLS.
        issued: when the session was opened, in milliseconds since 1970.
        url: path and query of the request.
        query: the parameters of the request; a value is text or a list.
        auth: the payload of the CONNECT. We never send it (JOIN-27).
    """

    headers: dict[str, Any] = {}
    time: str = ""
    address: str = ""
    xdomain: bool = False
    secure: bool = False
    issued: int | float = 0
    url: str = ""
    query: dict[str, Any] = {}
    auth: Any = {}


class SocketRecord(_Wire, kw_only=True):
    """A socket, as one server describes it to another.

    Args:
        id: the public id of the socket.
        handshake: see HandshakeRecord; a peer may leave it out.
        rooms: those that the socket is in, its own included.
        data: what the program remembers of the client.
        user: the identity of the client. Only our servers send it.
    """

    id: Id
    handshake: Any = None
    rooms: Rooms
    data: Any = None
    user: str | UnsetType | None = UNSET


def room_names(rooms: Sequence[str | int] | None) -> tuple[str, ...]:
    """Return the names of rooms as text: a number is written in digits (BUS-07)."""
    return tuple(map(str, rooms)) if rooms else ()


# -- requests: sent to all servers


class _Request(_Wire, kw_only=True):
    uid: Id | UnsetType = UNSET  # emitters leave it out where it is of no use


class SocketsRequest(_Request, kw_only=True):
    """Asks for the ids of the sockets in these rooms. Servers before 8 send it (BUS-09)."""

    request_id: Id
    type: Literal[0] = 0
    rooms: Rooms | None = None


class RoomsRequest(_Request, kw_only=True):
    """Asks for all rooms."""

    request_id: Id
    type: Literal[1] = 1


class JoinRequest(_Request, kw_only=True):
    """Puts sockets into rooms."""

    type: Literal[2] = 2
    opts: Selection
    rooms: Rooms


class LeaveRequest(_Request, kw_only=True):
    """Takes sockets out of rooms."""

    type: Literal[3] = 3
    opts: Selection
    rooms: Rooms


class DisconnectRequest(_Request, kw_only=True):
    """Puts sockets out of the namespace, or with close out of all namespaces."""

    type: Literal[4] = 4
    opts: Selection
    close: bool | None = None


class SocketJoinRequest(_Request, kw_only=True):
    """Puts one socket into a room. Servers before 8 send it."""

    request_id: Id
    type: Literal[2] = 2
    sid: Id
    room: str | int


class SocketLeaveRequest(_Request, kw_only=True):
    """Takes one socket out of a room. Servers before 8 send it."""

    request_id: Id
    type: Literal[3] = 3
    sid: Id
    room: str | int


class SocketDisconnectRequest(_Request, kw_only=True):
    """Puts one socket out of the namespace. Servers before 8 send it."""

    request_id: Id
    type: Literal[4] = 4
    sid: Id
    close: bool | None = None


class FetchRequest(_Request, kw_only=True):
    """Asks for descriptions of sockets."""

    request_id: Id
    type: Literal[5] = 5
    opts: Selection


class ServerSideRequest(_Request, kw_only=True):
    """An event for the other servers; with a request id, they answer."""

    request_id: Id | UnsetType = UNSET
    type: Literal[6] = 6
    data: list[Any]


class BroadcastRequest(_Request, kw_only=True):
    """An event for the clients of all servers, which are to answer."""

    request_id: Id
    type: Literal[7] = 7
    packet: EventPacket
    opts: Options


Request = (
    SocketsRequest
    | RoomsRequest
    | JoinRequest
    | LeaveRequest
    | DisconnectRequest
    | SocketJoinRequest
    | SocketLeaveRequest
    | SocketDisconnectRequest
    | FetchRequest
    | ServerSideRequest
    | BroadcastRequest
)


# -- responses: sent to the server that asked, on a channel where all may hear them


class ResponseHead(_Wire, kw_only=True):
    """What tells whom a response is for. Only responses to events have a type."""

    request_id: Id
    type: int | None = None


class DoneResponse(_Wire, kw_only=True):
    """What was asked of one socket is done."""

    request_id: Id


class SocketIdsResponse(_Wire, kw_only=True):
    """The ids of sockets; answers SocketsRequest."""

    request_id: Id
    sockets: list[Id]


class SocketsResponse(_Wire, kw_only=True):
    """Descriptions of sockets; answers FetchRequest."""

    request_id: Id
    sockets: list[SocketRecord]


class RoomsResponse(_Wire, kw_only=True):
    """The rooms of a server; answers RoomsRequest."""

    request_id: Id
    rooms: list[str | int]  # every socket has one


class ServerSideResponse(_Wire, kw_only=True):
    """The answer of a server; answers ServerSideRequest."""

    type: Literal[6] = 6
    request_id: Id
    data: Any = None


class CountResponse(_Wire, kw_only=True):
    """How many clients a server has asked; its first answer to BroadcastRequest."""

    type: Literal[8] = 8
    request_id: Id
    client_count: Annotated[int, Meta(ge=0)]


class AckResponse(_Wire, kw_only=True):
    """The answer of one client; answers BroadcastRequest.

    Args:
        packet: the first argument of the answer.
        socket_id: the public id of the socket. Only our servers send it, and Node's ignore it.
    """

    type: Literal[9] = 9
    request_id: Id
    packet: Any = None
    socket_id: Id | UnsetType = UNSET


Response = (
    DoneResponse
    | SocketIdsResponse
    | SocketsResponse
    | RoomsResponse
    | ServerSideResponse
    | CountResponse
    | AckResponse
)
