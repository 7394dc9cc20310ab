"""Sessions of a server that compresses WebSocket messages."""

from typing import TYPE_CHECKING

from trio_socketio.engine.session import Session
from trio_socketio.net.frames import encode_frames

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.handshake import Handshake
    from trio_socketio.engine.server import EngineServer
    from trio_socketio.net.deflate import Deflater


class DeflatingSession(Session):
    """See Session; it may come to be carried by a WebSocket that agreed to compress."""

    __slots__ = ("deflater",)

    def __init__(self, server: "EngineServer", sid: str, handshake: "Handshake") -> None:
        super().__init__(server, sid, handshake)
        self.deflater: Deflater | None = None

    def send(self, packet: "Outgoing") -> None:
        """See Session."""
        connection = self._connection
        if connection is None:
            self._hold(packet)
        elif self.deflater is None:
            connection.write(packet.frames or encode_frames(packet))
        else:
            connection.write(self.deflater.encode(packet))
