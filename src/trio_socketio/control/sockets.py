"""The methods that show and disconnect sockets."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
import trio
from msgspec import Meta

from trio_socketio.control.failures import not_found
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, cut_page
from trio_socketio.control.spread import (
    MissingNodes,
    NodePage,
    OverNodes,
    Parts,
    Spread,
    merge_done,
    merge_pages,
)
from trio_socketio.control.targets import (
    Names,
    check_last_socket,
    find_namespace,
    find_socket,
    find_sockets,
)
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket

_SHOWN_AT_ONCE: Final = 50
"""Describing so many sockets takes about 1 ms. Other tasks run after it."""


class SocketInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client in a namespace. Neither its credentials nor the secret of its session are shown.

    Args:
        id: its public id.
        rooms: the rooms that it has joined.
        user: its identity; null if nothing has established it.
        address: the client's address, which trusted proxies may tell.
        user_agent: how the client names itself; empty if it does not.
        transport: polling or websocket.
        protocol: the revision of Engine.IO that the client speaks.
        secure: whether it is connected over TLS.
        session: the name of its session in the log.
        connected_at_s: when its session was opened, seconds since 1970.
        waiting_bytes: the size of the output that waits to be sent to it.
        node: the name of its node; left out if there is no cluster.
    """

    id: str
    rooms: list[str]
    user: str | None
    address: str
    user_agent: str
    transport: str
    protocol: int
    secure: bool
    session: str
    connected_at_s: float
    waiting_bytes: int
    node: str = ""


class SocketPage(NodePage, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the sockets of a namespace.

    Args:
        sockets: in the order of their public ids.
    """

    sockets: list[SocketInfo]


class MissingSockets(MissingNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; an empty list is left out.

    Args:
        sockets: these are not in the namespace.
    """

    sockets: list[str] = msgspec.field(default_factory=list)


class Disconnected(OverNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The result of disconnecting sockets.

    Args:
        done: how many sockets were disconnected.
        missing: the names in the call that do not exist.
    """

    done: int
    missing: MissingSockets


def label(socket: SocketInfo, node: str) -> SocketInfo:
    """Say which node has a socket."""
    return msgspec.structs.replace(socket, node=node)


def merge_socket(parts: Parts) -> SocketInfo:
    """Return the description of the node that has the socket."""
    node, found = next(iter(parts.results.items()))
    return label(found, node)


class SocketMethods:
    """The methods sockets.*.

    Args:
        server: has the sockets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("sockets.get", Spread(merge_socket, stops_at_first=True))
    def get(self, socket: str, namespace: str = "/") -> SocketInfo:
        """Show a socket.

        Args:
            socket: its public id.
            namespace: the namespace of the socket.
        """
        found = find_socket(find_namespace(self._server, namespace), socket)
        if found is None:
            raise not_found("socket", "socket", socket)
        return show(found)

    @rpc("sockets.list", Spread(merge_pages("sockets", lambda one: one.id, label=label)))
    async def list_sockets(
        self,
        namespace: str = "/",
        room: str | None = None,
        min_waiting_bytes: Annotated[int, Meta(ge=0)] = 0,
        after: str | None = None,
        limit: Limit = 100,
    ) -> SocketPage:
        """Show the sockets of a namespace, page by page.

        Args:
            namespace: the namespace of the sockets.
            room: only those that have joined this room.
            min_waiting_bytes: only sockets with at least this much output that waits to be sent,
                which finds clients that do not take what they are sent.
            after: the value of next from the previous page; null for the first page.
            limit: how many sockets a page may hold.
        """
        check_last_socket(after)
        place = find_namespace(self._server, namespace)
        members = place.sockets.values() if room is None else place.rooms.joined(room)
        if room is not None and not members:
            raise not_found("room", "room", room)

        def is_behind(socket: Socket) -> bool:
            return socket.session.waiting_bytes >= min_waiting_bytes

        keep = is_behind if min_waiting_bytes else None
        page, total, following = await cut_page(tuple(members), _public_id, after, limit, keep)
        return SocketPage(sockets=await show_all(page), total=total, next=following)

    @rpc("sockets.disconnect", Spread(merge_done))
    def disconnect(self, sockets: Names, namespace: str = "/", close: bool = False) -> Disconnected:
        """Disconnect clients from a namespace, including those that are still joining it.

        Args:
            sockets: public ids.
            namespace: the namespace that they are disconnected from.
            close: whether to disconnect them from every namespace, and close their connections.
        """
        place = find_namespace(self._server, namespace)
        joining = {
            one.socket.public_id: one.socket
            for one in tuple(place._joinings)
            if one.socket is not None
        }
        found, missing = find_sockets(place, sockets)
        found += [joining[public_id] for public_id in missing if public_id in joining]
        for socket in found:
            socket.disconnect(close)
        missing = [public_id for public_id in missing if public_id not in joining]
        return Disconnected(done=len(found), missing=MissingSockets(sockets=missing))


def _public_id(socket: Socket) -> str:
    return socket.public_id


async def show_all(sockets: Iterable[Socket]) -> list[SocketInfo]:
    """Describe sockets; other tasks run meanwhile."""
    shown: list[SocketInfo] = []
    for number, socket in enumerate(sockets, 1):
        shown.append(show(socket))
        if number % _SHOWN_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return shown


def show(socket: Socket) -> SocketInfo:
    """Describe a socket as it is now."""
    session, handshake = socket.session, socket.handshake
    return SocketInfo(
        id=socket.public_id,
        rooms=sorted(socket.rooms - {socket.id}),
        user=socket.user,
        address=handshake.address,
        user_agent=handshake.headers.get("user-agent", ""),
        transport=session.transport,
        protocol=session.protocol,
        secure=handshake.secure,
        session=str(session).removeprefix("session "),
        connected_at_s=handshake.issued_s,
        waiting_bytes=session.waiting_bytes,
    )
