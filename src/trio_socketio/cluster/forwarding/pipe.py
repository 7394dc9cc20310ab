"""A WebSocket that leads through this node: what comes on one connection goes out on the other."""

from math import inf
from typing import Final, Protocol

import trio

from trio_socketio.net.connection import Connection
from trio_socketio.protocol.connection import OPEN

HELD_BYTES: Final = 1 << 16
"""With more than this waiting on one side, the other one is not read."""
PATIENCE_S: Final = 60.0
"""How long a side may take nothing of what waits. The node that has the session judges its client
long before; this ends a pipe whose other side has gone without a word."""


class Owner(Protocol):
    """The node that a pipe leads to."""

    def pipe_over(self, client: Connection, /) -> None:
        """Note that a pipe has ended, which belongs to this client."""


class PipeEnd:
    """The receiver of one of the two connections.

    Args:
        owner: is told of the end.
        client: the connection of the client.
        source: the one that is read here: that of the client, or that of the other node.
        sink: the other one.
    """

    __slots__ = ("_client", "_owner", "_sink", "_source")

    def __init__(
        self, owner: Owner, client: Connection, source: Connection, sink: Connection
    ) -> None:
        self._owner = owner
        self._client = client
        self._source = source
        self._sink = sink

    def receive_data(self, data: bytes) -> None:
        sink = self._sink
        sink.write(data)
        if sink.waiting_bytes > HELD_BYTES:  # FWD-14
            sink.on_drained = self._go_on
            sink.set_deadline(trio.current_time() + PATIENCE_S)
            self._source.pause_reading(PATIENCE_S)

    def _go_on(self) -> None:
        if self._sink.life is OPEN:  # else its deadline is that of its end
            self._sink.set_deadline(inf)
            self._source.resume_reading()

    def receive_more(self) -> None:
        """Do nothing: nothing is left."""

    def connection_lost(self, reason: str) -> None:
        self._owner.pipe_over(self._client)
        self._sink.finish()


def join(owner: Owner, client: Connection, node: Connection) -> None:
    """Make one pipe of the connection of a client and that to the node of its session."""
    client.set_receiver(PipeEnd(owner, client, client, node))
    node.set_receiver(PipeEnd(owner, client, node, client))
    for connection in (client, node):
        connection.set_deadline(inf)
