"""Binds a socket to the user that its client is, and says in the log who it is."""

from typing import TYPE_CHECKING

from trio_socketio.engine.sessions import shorten, show_address
from trio_socketio.errors import ConnectRefused, RemoteProtocolError
from trio_socketio.protocol.user_ids import parse_user_id, user_room

if TYPE_CHECKING:
    from trio_socketio.socketio.socket import Socket


def identify_socket(socket: "Socket", user: str | int) -> None:
    """Say who the client of a socket is that has not joined yet.

    This is the one place that puts sockets into rooms of users, so it does not matter how clients
    are identified, nor whether they have seats (JOIN-35).

    Raises:
        ConnectRefused: the client has asked for the lost session of another user, or this cannot be
            the id of a user.
    """
    try:
        name = parse_user_id(user)
    except RemoteProtocolError as error:
        raise ConnectRefused(str(error)) from None
    recovery = socket._recovery
    if recovery is not None and not recovery.belongs_to(name):  # JOIN-34
        raise ConnectRefused("the lost session belongs to another user")
    if socket._user is not None:
        socket._membership.leave_early(user_room(socket._user))
    socket._user = name
    socket._membership.join_early(user_room(name))


def describe_client(socket: "Socket") -> str:
    """Return a socket and its user, for a line of the log about what it has done (RULE-22)."""
    if socket.user is not None:
        return f"socket {socket.public_id} of user {shorten(socket.user, 120)!r}"
    return f"socket {socket.public_id} from {show_address(socket.session.handshake.address)}"
