"""The channels on which the nodes of a cluster reach one another through Redis.

Spec: @socket.io/redis-adapter 8, pub/sub (BUS-01).
"""

import re
from collections.abc import Sequence
from typing import Final

_GLOB: Final = re.compile(rb"[*?\[\]\\]")


def broadcast_pattern(key: str) -> bytes:
    """Return the pattern that matches the channels for broadcasts of every namespace (BUS-02).

    Args:
        key: the prefix that all servers of a cluster have in common.
    """
    return _GLOB.sub(rb"\\\g<0>", key.encode()) + b"#*"


class Channels:
    """The channels of one namespace.

    Args:
        key: the prefix that all servers of a cluster have in common.
        namespace: its name, with the leading slash.

    Attributes:
        everyone: for broadcasts that have no room, or more than one.
        request: for questions to all nodes; the number of its subscribers is that of the nodes.
        response: for answers.
    """

    __slots__ = ("everyone", "request", "response")

    def __init__(self, key: str, namespace: str) -> None:
        self.everyone = f"{key}#{namespace}#".encode()
        self.request = f"{key}-request#{namespace}#".encode()
        self.response = f"{key}-response#{namespace}#".encode()

    def own_response(self, uid: str) -> bytes:
        """Return the channel for answers to one node alone, the one with this uid."""
        return b"%b%b#" % (self.response, uid.encode())

    def of_broadcast(self, rooms: Sequence[str]) -> bytes:
        """Return the channel for a broadcast to these rooms."""
        return b"%b%b#" % (self.everyone, rooms[0].encode()) if len(rooms) == 1 else self.everyone

    def room_of(self, channel: bytes) -> str | None:
        """Return the room that a broadcast on this channel is for.

        Returns:
            An empty text for the channel of everyone; None for a channel that is not one of this
            namespace's, or names no room that could exist.
        """
        if channel == self.everyone:
            return ""
        if not channel.startswith(self.everyone) or not channel.endswith(b"#"):
            return None
        try:
            return channel[len(self.everyone) : -1].decode()
        except UnicodeDecodeError:
            return None
