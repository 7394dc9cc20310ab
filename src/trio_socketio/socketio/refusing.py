"""Tells clients that they may not join."""

import logging
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.engine.sessions import shorten
from trio_socketio.errors import ConnectRefused, LocalProtocolError
from trio_socketio.socketio.credentials import ERROR_EVENT, describe_refusal

if TYPE_CHECKING:
    from trio_socketio.socketio.credentials import Credentials
    from trio_socketio.socketio.entrance import Candidate
    from trio_socketio.socketio.socket import Socket


log = logging.getLogger(__name__)

_MAX_SHOWN: Final = 120
"""The most characters of a namespace's name, and of the message to the client, that are logged."""


_ADVICE: Final = {
    "Invalid namespace": (
        "neither the app (Server.of) nor the configuration has a namespace of this name"
    ),
    "Too many namespaces": "see [sockets] max_namespaces_per_session and max_dynamic_namespaces",
    "Too many new namespaces for one client": "see [sockets] max_namespaces_founded_per_session",
    "Internal server error": "the lines before this one say what has failed",
    "Timed out": "the lines before this one say which step took too long ([engine] hook_timeout_s)",
}
"""The explanations that the log adds to our own messages."""


class NotNow(ConnectRefused):
    """A client cannot join just now, because the store that decides on it is away for a while."""


def tell_refused(client: "Candidate", name: str, message: object) -> None:
    """Log that a client may not join a namespace (LOG-22).

    Args:
        client: the refused client.
        name: the name of the namespace, as the client gave it.
        message: the reason. The data of the error is not logged, because it may hold secrets.
    """
    kind = "clients refused by namespaces"
    if client.host.refusal_log.admits(kind):
        session = shorten_sid(client.session.sid)
        namespace = shorten(name, _MAX_SHOWN)
        why = shorten(message, _MAX_SHOWN) if isinstance(message, str) else type(message).__name__
        log.info(
            "refused session %s in namespace %r: %r%s",
            session,
            namespace,
            why,
            f"; {_ADVICE[why]}" if why in _ADVICE else "",
            extra={"fields": {"refusal": kind, "session": session, "namespace": namespace}},
        )


def refuse(client: "Candidate", name: str, told: dict[str, Any]) -> None:
    """Answer the CONNECT of a client that may not join.

    Args:
        client: the refused client.
        name: of the namespace.
        told: the message, and perhaps data.
    Raises:
        LocalProtocolError: the data cannot be sent.
    """
    data: Any = told
    if not client.revision.tells_credentials:  # SIO4-04
        data = told.get("data", told["message"])
    packet = Packet(PacketType.CONNECT_ERROR, name, data)
    client.session.send(client.host.parser.encode_packet(packet))


def turn_away(
    client: "Candidate",
    name: str,
    socket: "Socket | None",
    credentials: "Credentials | None",
    error: ConnectRefused,
    errcode: int,
) -> None:
    """Tell a client that it may not join.

    A client whose CONNECT is still unanswered keeps its session, and may join other namespaces
    (SIO4-05). One that was accepted, and is identified nowhere, is hung up on (JOIN-24); so is one
    that cannot join just now, and is nowhere else (JOIN-39).

    Args:
        client: the refused client.
        name: of the namespace.
        socket: its socket; None if the namespace has not been found.
        credentials: of a client that was accepted before it is known who it is; None for any other.
        error: why it is turned away.
        errcode: for a client that was accepted, unless the error's data has one.
    """
    tell_refused(client, name, error.message)
    if isinstance(error, NotNow) and hang_up_for_now(client):
        return
    if socket is None or not socket._is_reachable:
        _answer_connect(client, name, error)
        return
    if credentials is not None:
        _turn_accepted_away(socket, credentials, error, errcode)
    client.session.send(socket.namespace._packets.encode_disconnect())
    client.history.remember_left(name)
    if credentials is not None:
        hang_up_on_stranger(client)


def hang_up_on_stranger(client: "Candidate") -> None:
    """Hang up on a client that is identified in none of its namespaces (JOIN-24).

    It is put out of open namespaces first. Otherwise official clients would take their end for a
    lost connection, and reconnect again and again (JOIN-38).
    """
    if not any(socket.user for socket in client.sockets.values()):
        client.disconnect_all()


def hang_up_for_now(client: "Candidate") -> bool:
    """Hang up on a client that may come again, unless it is in another namespace (JOIN-39).

    Official clients connect again by themselves after that, but not after a CONNECT_ERROR.

    Returns:
        Whether it was hung up on.
    """
    # Clients of revision 4 are in "/" unasked. They show only by a user that they want to be there.
    inside = (
        one.namespace.name != "/" or one.user is not None or client.revision.tells_credentials
        for one in client.sockets.values()
    )
    if any(inside):
        return False
    client.session.abort()
    return True


def _answer_connect(client: "Candidate", name: str, error: ConnectRefused) -> None:
    """Answer with a CONNECT_ERROR, without what cannot be sent."""
    told = {"message": error.message}  # SIO5-07
    if error.data is not None:
        told["data"] = error.data
    try:
        refuse(client, name, told)
    except BaseException as fault:  # its message or data cannot be sent
        client.host.workers.log_failure("refusing a client", name, fault)
        try:
            refuse(client, name, {"message": error.message})
        except LocalProtocolError:
            refuse(client, name, {"message": "Internal server error"})


def _turn_accepted_away(
    socket: "Socket", credentials: "Credentials", error: ConnectRefused, errcode: int
) -> None:
    """Tell a client whose CONNECT was answered already that its credentials are refused."""
    told = describe_refusal(error, errcode)  # JOIN-23
    try:
        credentials.answer(told)
        socket.emit(ERROR_EVENT, told)
    except LocalProtocolError as fault:  # its message or data cannot be sent
        socket.namespace._workers.log_failure("refusing a client", socket.public_id, fault)
        told = {"errcode": errcode, "errmsg": "Internal server error"}
        credentials.answer(told)
        socket.emit(ERROR_EVENT, told)
