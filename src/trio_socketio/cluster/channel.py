"""The channels of the nodes on Redis: one for all of them, and one for each."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from trio_socketio.cluster.connection import NodeConnection
from trio_socketio.codec.node_messages import (
    NodeMessage,
    UnknownMessage,
    decode_node_message,
    encode_node_message,
)
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.runtime.sampling import Pace, SampledLog

log = logging.getLogger(__name__)

EVERYBODY: Final = "@all"
"""Stands for all nodes in the name of a channel; no node can have this name."""
_A_LINE_A_SECOND: Final = Pace(1, 1)


class NodeChannel:
    """Sends and receives the messages of a node, and counts those that are of no use.

    Args:
        redis: the connection.
        prefix: begins the names of the channels.
        name: of the node.

    Attributes:
        dropped: how many messages were not used, by reason.
        unsent: how many messages could not be sent.
    """

    def __init__(self, redis: NodeConnection, prefix: str, name: str) -> None:
        self.dropped = {"malformed": 0, "unknown": 0, "late": 0}
        self.unsent = 0
        self._redis = redis
        self._prefix = prefix
        self._name = name
        self._lines = SampledLog(log, logging.WARNING, _A_LINE_A_SECOND)

    @property
    def own(self) -> str:
        """The channel of this node."""
        return self._channel(self._name)

    def _channel(self, name: str) -> str:
        return f"{self._prefix}:node:{name}"

    @contextmanager
    def opened(
        self, receive: Callable[[NodeMessage], None], on_gap: Callable[[], None]
    ) -> Iterator[None]:
        """Receive messages while the block runs.

        Args:
            receive: called with each message.
            on_gap: called when messages may have been missed, and come again.
        """

        def read(channel: bytes, payload: bytes) -> None:
            message = self._read(payload)
            if message is not None:
                receive(message)

        def tell_gap(duration_s: float) -> None:
            on_gap()

        # The own channel first: a node that hears all the others can be asked by them.
        own = self._redis.subscribe(self.own, read)
        every = self._redis.subscribe(self._channel(EVERYBODY), read, gap=tell_gap)
        try:
            yield
        finally:
            every.close()
            own.close()
            self._lines.flush()

    def send(self, to: str, message: NodeMessage) -> bool:
        """Send a message, if there is a connection; return whether it was sent.

        Args:
            to: the name of a node, or EVERYBODY.
            message: of at most MAX_MESSAGE_BYTES.
        """
        is_sent = self._redis.publish(self._channel(to), encode_node_message(message))
        self.unsent += not is_sent
        return is_sent

    def drop_malformed(self, error: Exception) -> None:
        """Count a message whose content cannot be read."""
        self._drop("malformed", error)

    def _read(self, payload: bytes) -> NodeMessage | None:
        try:
            return decode_node_message(payload)
        except UnknownMessage as error:
            self._drop("unknown", error)
        except RemoteProtocolError as error:
            self._drop("malformed", error)
        return None

    def _drop(self, reason: str, error: Exception) -> None:  # NODE-04
        self.dropped[reason] += 1
        if self._lines.admits("messages of nodes that were dropped"):
            log.warning("a message on a channel of the nodes was dropped: %s", error)
