"""The methods that show and disconnect sockets."""

import msgspec

from trio_socketio.control.failures import not_found
from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, cut_page
from trio_socketio.control.targets import (
    Names,
    check_last_socket,
    find_namespace,
    find_socket,
    find_sockets,
)
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket


class SocketInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A client in a namespace. Neither its credentials nor the secret of its session are shown.

    Args:
        id: its public id.
        rooms: those that it has joined.
        user: who it is; null if nothing has established that.
        address: of the client, as far as trusted proxies tell.
        user_agent: as the client names itself; empty if it does not.
        transport: polling or websocket.
        protocol: the revision of Engine.IO that the client speaks.
        secure: whether it came over TLS.
        session: the name of its session in the log.
        connected_at_s: when its session was opened, seconds since 1970.
        waiting_bytes: the size of the output that has not left for the client.
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


class SocketPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sockets of a namespace.

    Args:
        sockets: in the order of their public ids.
        total: how many there are.
        next: what to give as after for the next page; null if this is the last one.
    """

    sockets: list[SocketInfo]
    total: int
    next: str | None


class MissingSockets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call has named and does not exist; an empty list is left out.

    Args:
        sockets: they are not in the namespace.
    """

    sockets: list[str] = []


class Disconnected(msgspec.Struct, frozen=True, kw_only=True):
    """Who was put out.

    Args:
        done: how many sockets.
        missing: what was named and does not exist.
    """

    done: int
    missing: MissingSockets


class SocketMethods:
    """The methods sockets.*.

    Args:
        server: has the sockets.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("sockets.get")
    def get(self, socket: str, namespace: str = "/") -> SocketInfo:
        """Show a socket.

        Args:
            socket: its public id.
            namespace: the one that it is in.
        """
        found = find_socket(find_namespace(self._server, namespace), socket)
        if found is None:
            raise not_found("socket", "socket", socket)
        return show(found)

    @rpc("sockets.list")
    async def list_sockets(
        self,
        namespace: str = "/",
        room: str | None = None,
        after: str | None = None,
        limit: Limit = 100,
    ) -> SocketPage:
        """Show the sockets of a namespace, page by page.

        Args:
            namespace: the one that they are in.
            room: only those that have joined this room.
            after: the next of the page before; null for the first page.
            limit: how many sockets a page may hold.
        """
        check_last_socket(after)
        place = find_namespace(self._server, namespace)
        members = place.sockets.values() if room is None else place.rooms.joined(room)
        if room is not None and not members:
            raise not_found("room", "room", room)
        page, total, following = await cut_page(tuple(members), _public_id, after, limit)
        return SocketPage(sockets=[show(one) for one in page], total=total, next=following)

    @rpc("sockets.disconnect")
    def disconnect(self, sockets: Names, namespace: str = "/", close: bool = False) -> Disconnected:
        """Put clients out of a namespace, those that are still joining it included.

        Args:
            sockets: public ids.
            namespace: the one that they are put out of.
            close: whether they are put out of every namespace, and their connections closed.
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
