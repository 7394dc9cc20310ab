"""Sockets without connections: sessions that only remember what they were given."""

import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

from trio_socketio import Namespace, Socket
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.engine.counts import EngineCounts
from trio_socketio.socketio import socket_life
from trio_socketio.socketio.joining import Joining
from trio_socketio.socketio.revisions import REVISION_5, Revision

if TYPE_CHECKING:
    from trio_socketio.socketio.entrance import Candidate
    from trio_socketio.socketio.namespace import Owner


class FakeHandshake:
    """How every fake session came to be."""

    headers: ClassVar = {"origin": "https://a.example"}
    query: ClassVar = {"EIO": "4"}
    url = "/socket.io/?EIO=4"
    address = "203.0.113.9"
    secure = True
    issued_s = 1.5

    def find_header(self, name: str) -> str:
        return self.headers.get(name, "")


class FakeEngine:
    """The engine of every fake session."""

    counts: ClassVar = EngineCounts()


class FakeSession:
    """Takes packets, and may be behind."""

    _direct = None
    _owner = FakeEngine
    sid = "the-secret-of-a-session"
    transport = "websocket"
    aborted = False

    def __init__(self, *, is_writable: bool = True) -> None:
        self.is_writable = is_writable
        self.is_open = True
        self.sent: list[Outgoing] = []
        self.dropped = 0
        self.handshake = FakeHandshake()

    def send(self, packet: Outgoing) -> None:
        self.sent.append(packet)

    def send_volatile(self, packet: Outgoing) -> None:
        if self.is_writable:
            self.sent.append(packet)
        else:
            self.dropped += 1

    def drop(self) -> None:
        self.dropped += 1

    def close(self, reason: str) -> None:
        self.is_open = False


class FakeParticipant:
    """A client that joins one namespace."""

    def __init__(
        self, namespaces: "Owner", session: FakeSession, revision: Revision = REVISION_5
    ) -> None:
        self.revision = revision
        self.host = namespaces.host
        self.namespaces = namespaces
        self.session = session
        self.acks_awaited = 0

    def forget_joining(self, joining: Joining) -> None:
        """It is decided."""

    def forget(self, socket: Socket) -> None:
        """It has left."""

    def admit(self, joining: Joining, socket: Socket) -> None:
        """It is let in."""
        self._socket = socket

    def put_out(self, socket: Socket, reason: str) -> None:
        """It is put out, and leaves at once."""
        socket_life.put_out(socket, reason)
        socket_life.leave_namespace(socket)

    def departs(self, socket: Socket) -> None:
        """It takes no more packets."""

    def disconnect_all(self) -> None:
        """It is put out and hung up on."""
        self._socket.disconnect()
        self.session.close("forced server close")

    def joining_over(self) -> None:
        """It has been let in."""

    def accept(self, socket: Socket) -> None:
        """It is told so."""

    def burdened(self, *, is_overload: bool) -> None:
        """Its events pile up."""

    def ack_awaited(self) -> None:
        self.acks_awaited += 1

    def ack_over(self) -> None:
        self.acks_awaited -= 1


def join(
    namespace: Namespace, session: FakeSession, auth: Any = None, revision: Revision = REVISION_5
) -> Joining:
    """Ask for a namespace; what is async on the way needs a server that serves."""
    participant = FakeParticipant(namespace._owner, session, revision)
    joining = Joining(cast("Candidate", participant), namespace.name, auth or {})
    joining._begin()
    return joining


def enter(
    namespace: Namespace,
    *,
    is_writable: bool = True,
    auth: Any = None,
    revision: Revision = REVISION_5,
) -> Socket:
    """A socket in the namespace, whose CONNECT is forgotten."""
    joining = join(namespace, FakeSession(is_writable=is_writable), auth, revision)
    assert joining.socket is not None
    session_of(joining.socket).sent.clear()
    return joining.socket


def session_of(socket: Socket) -> FakeSession:
    session: Any = socket.session
    assert isinstance(session, FakeSession)
    return session


def answer(socket: Socket, *arguments: Any) -> None:
    """The client of a socket answers the last event that it was sent."""
    asked = re.match(rb"(?:[^[]*,)?(\d+)\[", session_of(socket).sent[-1].text[2:])
    assert asked is not None
    socket._open_acks().receive(int(asked[1]), list(arguments), socket.public_id)
