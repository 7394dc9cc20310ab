"""What is sent to a peer of the control socket."""

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio_socketio.net.connection import Connection

_ROOM_BYTES: Final = 65_536
"""With more output than this waiting, `Outlet.wait_room` waits."""


class Outlet:
    """Sends lines to a peer until it is closed.

    Args:
        connection: of the peer.
    """

    __slots__ = ("_connection", "_is_closed", "_room")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._room = trio.lowlevel.ParkingLot()  # those that wait until the output was taken
        self._is_closed = False

    def write(self, message: bytes | None) -> None:
        """Send a line, if there is one. Does nothing once this is closed."""
        if message is not None and not self._is_closed:
            self._connection.write(message + b"\n")

    async def wait_room(self) -> None:
        """Wait until nearly all output was taken, or this is closed (CONTROL-82).

        Whoever sends much to a peer waits here before, so a peer that does not read is not closed
        for it, and does not hold memory either.
        """
        while self._connection.waiting_bytes > _ROOM_BYTES and not self._is_closed:
            self._connection.on_drained = self._wake
            await self._room.park()

    def close(self) -> None:
        """Send nothing more: the peer has gone, or will go when it has what was written."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._room.unpark_all()
