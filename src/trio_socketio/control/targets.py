"""Finds the namespaces, rooms and sockets that a call names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from trio_socketio.control.failures import invalid, not_found
from trio_socketio.control.pages import check_place
from trio_socketio.control.spread import MissingNodes
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.namespace_name import full_name
from trio_socketio.protocol.user_ids import MAX_USER_BYTES, parse_user_id, user_room
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server
from trio_socketio.socketio.socket import Socket
from trio_socketio.socketio.target import Target

MAX_NAMES: Final = 1000
"""The most sockets or rooms that a call may name."""

Names = Annotated[tuple[str, ...], Meta(max_length=MAX_NAMES)]
"""Names of sockets or rooms."""

User = Annotated[str, Meta(min_length=1, max_length=MAX_USER_BYTES)] | int
"""The id of a user; a whole number is taken as decimal text."""

Users = Annotated[tuple[User, ...], Meta(max_length=MAX_NAMES)]
"""Ids of users."""

_PUBLIC_ID: Final = re.compile(r"[A-Za-z0-9_-]{20}").fullmatch


class Missing(MissingNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; empty lists are left out.

    Args:
        rooms: no socket is in them.
        sockets: these are not in the namespace.
        users: these have no sockets in the namespace.
        except_: these are neither rooms nor sockets.
        except_users: these have no sockets in the namespace.
    """

    rooms: list[str] = msgspec.field(default_factory=list)
    sockets: list[str] = msgspec.field(default_factory=list)
    users: list[str] = msgspec.field(default_factory=list)
    except_: list[str] = msgspec.field(name="except", default_factory=list)
    except_users: list[str] = msgspec.field(default_factory=list)


class MissingClients(MissingNodes, frozen=True, kw_only=True, omit_defaults=True):
    """The names in a call that do not exist; empty lists are left out.

    Args:
        sockets: these are not in the namespace.
        users: these have no sockets in the namespace.
    """

    sockets: list[str] = msgspec.field(default_factory=list)
    users: list[str] = msgspec.field(default_factory=list)


def read_user(user: User, parameter: str = "user") -> str:
    """Return the id of a user as text (CONTROL-90).

    Raises:
        ControlError: no user can have this id.
    """
    try:
        return parse_user_id(user)
    except RemoteProtocolError as error:
        raise invalid(parameter, str(error)) from None


def read_users(users: Iterable[User], parameter: str = "users") -> list[str]:
    """Return ids of users as text, each once.

    Raises:
        ControlError: no user can have one of these ids.
    """
    ids = (read_user(user, f"{parameter}[{number}]") for number, user in enumerate(users))
    return list(dict.fromkeys(ids))


def find_namespace(server: Server, name: str) -> Namespace:
    """Return a namespace; a leading slash may be left out (CONTROL-05).

    Raises:
        ControlError: it does not exist.
    """
    namespace = server.namespaces.get(full_name(name))
    if namespace is None:
        raise not_found("namespace", "namespace", name)
    return namespace


def find_socket(namespace: Namespace, public_id: str) -> Socket | None:
    """Return the socket with a public id. It is not found by its secret id (CONTROL-07)."""
    socket = namespace.rooms.find(public_id)
    return socket if socket is not None and socket.public_id == public_id else None


def check_last_socket(after: str | None) -> None:
    """Refuse an ``after`` for a page of sockets that is not a public id.

    Raises:
        ControlError: it is not one.
    """
    check_place(after, _PUBLIC_ID, "which is the public id of a socket")


def find_sockets(namespace: Namespace, ids: Iterable[str]) -> tuple[list[Socket], list[str]]:
    """Return the sockets with these public ids, each once, and the ids that no socket has."""
    found: list[Socket] = []
    missing: list[str] = []
    for public_id in dict.fromkeys(ids):
        socket = find_socket(namespace, public_id)
        if socket is None:
            missing.append(public_id)
        else:
            found.append(socket)
    return found, missing


def find_user(namespace: Namespace, user: str) -> list[Socket]:
    """Return the sockets of a user, without those of others that are in its room (CONTROL-94)."""
    return [one for one in namespace.rooms.joined(user_room(user)) if one.user == user]


def find_clients(
    namespace: Namespace, sockets: Iterable[str], users: Iterable[User]
) -> tuple[list[Socket], MissingClients]:
    """Return the sockets with these public ids, and those of these users, each once.

    Raises:
        ControlError: neither a socket nor a user is named, or no user can have an id.
    """
    if not sockets and not users:
        raise invalid("sockets", "expected sockets, users, or both")
    found, missing = find_sockets(namespace, sockets)
    clients = dict.fromkeys(found)
    absent = []
    for user in read_users(users):
        own = find_user(namespace, user)
        clients.update(dict.fromkeys(own))
        if not own:
            absent.append(user)
    return list(clients), MissingClients(sockets=missing, users=absent)


def missing_rooms(namespace: Namespace, rooms: Iterable[str]) -> list[str]:
    """Return those rooms that no socket has joined."""
    return [room for room in dict.fromkeys(rooms) if not namespace.rooms.joined(room)]


def select(
    namespace: Namespace,
    *,
    all_: bool,
    rooms: Sequence[str],
    sockets: Sequence[str],
    users: Sequence[User] = (),
    excluded: Sequence[str],
    excluded_users: Sequence[User] = (),
) -> tuple[Target | None, Missing]:
    """Select the receivers of an event.

    Args:
        namespace: has the sockets.
        all_: selects every socket; rooms, sockets and users must be empty then.
        rooms: selects the sockets in any of these.
        sockets: public ids of further sockets.
        users: selects the sockets of these users.
        excluded: rooms, and public ids of sockets, that are left out.
        excluded_users: users whose sockets are left out.
    Returns:
        The receivers, or None if there are none on any node; and the names that do not exist here.
    Raises:
        ControlError: neither all_ nor a name is given, or both are.
    """
    if all_ == bool(rooms or sockets or users):
        raise invalid("all", "expected either all, or rooms, sockets or users")
    found, unknown = find_sockets(namespace, sockets)
    wanted = [room for room in rooms if namespace.rooms.joined(room)]
    out, unused = _exclude(namespace, excluded) if excluded else ((), [])
    of_users, nobody = _rooms_of(namespace, users, "users") if users else ((), [])
    if excluded_users:
        more, unseen = _rooms_of(namespace, excluded_users, "except_users")
        out = (*out, *more)
    else:
        unseen = []
    ids = (socket.id for socket in found)
    if namespace.adapter.reaches_other_nodes:
        # What does not exist here may exist elsewhere, if it can be a public id: any other name
        # would select a room, or a socket by its secret (CONTROL-07).
        elsewhere = (one for one in unknown if _PUBLIC_ID(one) and one not in namespace.rooms)
        target = Target(
            rooms=(
                *_without_secrets(namespace, rooms),
                *(socket.public_id for socket in found),
                *elsewhere,
                *map(user_room, read_users(users)),
            ),
            excluded=(
                *_without_secrets(namespace, excluded),
                *map(user_room, read_users(excluded_users, "except_users")),
            ),
        )
    else:
        target = Target(rooms=(*wanted, *ids, *of_users), excluded=out)
    absent = missing_rooms(namespace, rooms) if len(wanted) < len(rooms) else []
    missing = Missing(
        rooms=absent, sockets=unknown, users=nobody, except_=unused, except_users=unseen
    )
    # A target without rooms would select every socket.
    return (target if all_ or target.rooms else None), missing


def _without_secrets(namespace: Namespace, names: Iterable[str]) -> Iterator[str]:
    """Leave out the ids of sockets that are the secrets of their sessions (CONTROL-07)."""
    for name in names:
        socket = namespace.rooms.find(name)
        if socket is None or socket.public_id == name or namespace.rooms.joined(name):
            yield name


def _rooms_of(
    namespace: Namespace, users: Iterable[User], parameter: str
) -> tuple[tuple[str, ...], list[str]]:
    """Return the rooms of users, and those users that have no sockets (CONTROL-91)."""
    rooms, absent = [], []
    for user in read_users(users, parameter):
        room = user_room(user)
        # The app may put others into the room, who listen in; they do not make the user be there.
        if any(one.user == user for one in namespace.rooms.joined(room)):
            rooms.append(room)
        else:
            absent.append(user)
    return tuple(rooms), absent


def _exclude(namespace: Namespace, names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Find the rooms and sockets that are left out; return also the names that are neither."""
    sockets, others = find_sockets(namespace, names)
    absent = set(missing_rooms(namespace, names))
    rooms = [name for name in names if name not in absent]
    ids = [socket.id for socket in sockets]
    return (*rooms, *ids), [name for name in others if name in absent]
