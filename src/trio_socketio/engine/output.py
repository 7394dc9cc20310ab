"""What a session was given to send: some leaves at once, some waits to be fetched."""

from collections import deque
from math import inf
from typing import TYPE_CHECKING

import trio

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import SessionClosed
from trio_socketio.net.connection import HARD_BOUND_FACTOR
from trio_socketio.net.frames import encode_frames
from trio_socketio.protocol.session import SessionMachine, State

if TYPE_CHECKING:
    from trio_socketio.engine.polling import PollingTransport
    from trio_socketio.engine.server import EngineServer
    from trio_socketio.net.connection import Connection


class SessionOutput:
    """The part of a session that sends, and holds what cannot leave yet.

    Args:
        server: owns the session.
    """

    __slots__ = (
        "_buffer",
        "_buffer_bytes",
        "_connection",
        "_drained",
        "_leaving_bytes",
        "_machine",
        "_server",
        "_slow_at",
        "polling",
        "reason",
    )

    def __init__(self, server: "EngineServer") -> None:
        self._server = server
        self._machine = SessionMachine()
        self.polling: PollingTransport | None = None
        self._connection: Connection | None = None  # of the WebSocket that carries it
        self._buffer: deque[Outgoing] | None = None  # for a GET, or for the upgrade
        self._buffer_bytes = 0
        self._leaving_bytes = 0  # what the client had not confirmed when it was last looked at
        self._slow_at = inf  # when too much waits for too long
        self._drained: trio.Event | None = None  # somebody waits for output to leave
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether packets pass; false as soon as it is marked for closing."""
        return self._machine.state is State.OPEN

    @property
    def is_writable(self) -> bool:
        """Whether a packet would leave at once; volatile packets are dropped when not."""
        if self._connection is not None:
            return not self._connection.is_blocked
        return self.is_open and self.polling is not None and self.polling.is_waiting

    @property
    def waiting_bytes(self) -> int:
        """Output that was accepted and has not left."""
        connection = self._connection
        return self._buffer_bytes + (0 if connection is None else connection.waiting_bytes)

    def send(self, packet: Outgoing) -> None:
        """Send a packet with its attachments. Never blocks; dropped and counted once closed."""
        connection = self._connection
        if connection is None:
            self._hold(packet)
        else:
            connection.write(packet.frames or encode_frames(packet))

    def send_volatile(self, packet: Outgoing) -> None:
        """Send a packet if it can leave at once; drop it otherwise."""
        if self.is_writable:
            self.send(packet)
        else:
            self._server.packets_dropped += 1

    def drop(self) -> None:
        """Count a packet that was not sent because its socket is gone."""
        self._server.packets_dropped += 1

    async def wait_drained(self) -> None:
        """Wait until everything that was sent has left.

        Raises:
            SessionClosed: the session ended before.
        """
        await trio.lowlevel.checkpoint()  # a producer's loop lets others run, whatever comes of it
        while self.is_open and self.waiting_bytes:
            if self._drained is None:
                self._drained = trio.Event()
            if self._connection is not None:
                self._connection.on_drained = self._wake_producers
            await self._drained.wait()
        if not self.is_open:
            raise SessionClosed(self.reason)

    def _wake_producers(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set()

    def send_text(self, text: bytes) -> None:
        """Send a message given as UTF-8 without its type character."""
        self.send(Outgoing(b"4" + text))

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""
        self.send(Outgoing(b"", (data,)))

    def _hold(self, packet: Outgoing) -> None:
        if self._machine.state is not State.OPEN:
            self._server.packets_dropped += 1
            return
        if self._buffer is None:
            self._buffer = deque()
        bound = self._server.options.output_bound_bytes
        # An empty queue takes any one packet. This holds within a turn and with a GET there, too:
        # its answer is not made before the turn's end.
        if self._buffer_bytes > HARD_BOUND_FACTOR * bound:
            self._server.packets_dropped += 1
            self._bound_buffer(give_up=True)
            return
        self._buffer.append(packet)
        self._buffer_bytes += packet.byte_count()
        if self.polling is not None and self.polling.is_waiting:
            self.polling.flush_later()
        elif self._buffer_bytes > bound:
            over = self._buffer_bytes > HARD_BOUND_FACTOR * bound
            self._bound_buffer(give_up=over and len(self._buffer) > 1)

    def _bound_buffer(self, *, give_up: bool) -> None:
        """More waits than output_bound_bytes: give the client time, or up."""
        raise NotImplementedError

    @property
    def has_buffered(self) -> bool:
        """Whether packets wait to be sent."""
        return bool(self._buffer)

    def take_buffer(self) -> list[Outgoing]:
        """What waits to be sent; it is the caller's now."""
        self._slow_at = inf
        self._buffer_bytes = 0
        packets, self._buffer = self._buffer, None
        self._wake_producers()
        return list(packets or ())
