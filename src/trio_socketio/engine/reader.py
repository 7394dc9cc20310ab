"""Reads the packets of a client, and hands messages to the listener of its session."""

from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.codec import engine_packet, engine_packet_v3
from trio_socketio.codec.engine_packet import CLOSE, MESSAGE, Outgoing, PacketType
from trio_socketio.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session

_PING: Final = ord("0") + PacketType.PING
_PONG: Final = ord("0") + PacketType.PONG
_BASE64: Final = ord("b")
_IGNORED: Final = frozenset(b"56")  # EIO4-57: upgrade and noop mean nothing any more


class Reader(Protocol):
    """Takes packets from a transport. An exception of the listener closes the session."""

    def receive_text(self, packet: bytes, /) -> None:
        """Take a text packet, type character included. The hot path starts here."""

    def receive_binary(self, data: bytes, /) -> None:
        """Take a binary message from a polling body."""

    def receive_frame(self, data: bytes, /) -> None:
        """Take a binary WebSocket message."""


class ReaderV4:
    """Reads a client of revision 4.

    Args:
        session: with that client.

    Spec: Engine.IO v4.
    """

    __slots__ = ("_session",)

    def __init__(self, session: "Session") -> None:
        self._session = session

    def receive_text(self, packet: bytes) -> None:
        """Hand a message to the listener, or act on a control packet."""
        if packet and packet[0] == MESSAGE:  # EIO4-39
            try:
                self._session.listener.receive_text(packet)
            except BaseException as error:
                self._session.contain(error)
        else:
            self._receive_control(packet)

    def receive_binary(self, data: bytes) -> None:
        """Hand a binary message to the listener."""
        try:
            self._session.listener.receive_binary(data)
        except BaseException as error:
            self._session.contain(error)

    receive_frame = receive_binary  # EIO4-41: the frame is the bare message

    def _receive_control(self, packet: bytes) -> None:
        kind = packet[0] if packet else 0
        session = self._session
        if kind == _PONG:  # EIO4-57: also one that no ping asked for
            session._liveness.heartbeat.receive_pong(trio.current_time())
            session.reschedule()
        elif packet == CLOSE.text:
            session.lose("transport close")  # EIO4-55
        elif kind == _BASE64:  # what official clients send with forceBase64, on WebSocket too
            try:
                data = engine_packet.decode_packet(packet).data
            except RemoteProtocolError:
                session.lose("parse error")
            else:
                self.receive_binary(data)
        elif kind not in _IGNORED:
            # EIO4-36, EIO4-43: only a server sends a ping or an open packet.
            session.lose(_reason(packet))


class ReaderV3:
    """Reads a client of revision 3.

    Args:
        session: with that client.

    Spec: Engine.IO v3.
    """

    __slots__ = ("_session",)

    def __init__(self, session: "Session") -> None:
        self._session = session

    def receive_text(self, packet: bytes) -> None:
        """Hand a message to the listener, or act on a control packet."""
        session = self._session
        session._liveness.heartbeat.receive_pong(trio.current_time())  # EIO3-08
        if packet and packet[0] == MESSAGE:
            try:
                session.listener.receive_text(packet)
            except BaseException as error:
                session.contain(error)
        else:
            self._receive_control(packet)

    def receive_binary(self, data: bytes) -> None:
        """Hand a binary message to the listener."""
        session = self._session
        session._liveness.heartbeat.receive_pong(trio.current_time())  # EIO3-08
        try:
            session.listener.receive_binary(data)
        except BaseException as error:
            session.contain(error)

    def receive_frame(self, data: bytes) -> None:
        """Take a binary WebSocket message: a packet with its type in front (EIO3-16)."""
        try:
            message = engine_packet_v3.decode_binary(data)
        except RemoteProtocolError as error:
            self._session.contain(error)  # EIO3-18
        else:
            self.receive_binary(message)

    def _receive_control(self, packet: bytes) -> None:
        kind = packet[0] if packet else 0
        session = self._session
        if kind == _PING:
            session.send(Outgoing(b"3" + packet[1:]))  # EIO3-05
        elif packet == CLOSE.text:
            session.lose("transport close")  # EIO3-21
        elif kind == _BASE64:
            try:
                message = engine_packet_v3.decode_packet(packet).data
            except RemoteProtocolError as error:
                session.contain(error)
            else:
                self.receive_binary(message)
        elif kind not in _IGNORED:
            # EIO3-22: only a server sends a pong or an open packet.
            session.lose(_reason(packet))


def _reason(packet: bytes) -> str:
    """Return the reason with which a packet that no client may send ends its session."""
    return "transport error" if packet[:1].isdigit() else "parse error"
