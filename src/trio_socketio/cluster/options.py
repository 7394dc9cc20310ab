"""The options of a node of a cluster."""

import re
from typing import Final

from trio_socketio.codec.node_messages import NODE_NAME, NODE_NAME_RULE
from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup

ADAPTERS: Final = ("pubsub",)
"""The adapters by which nodes reach each other's clients."""

_NAME: Final = re.compile(NODE_NAME).match
_KEY: Final = re.compile(r"[!-~]{1,64}").fullmatch


class ClusterOptions(OptionGroup, frozen=True, kw_only=True):
    """This node of a cluster, whose nodes reach each other over [redis].

    Args:
        node: the name of this node, which no other may have; None means host:pid.
        adapter: how broadcasts reach the clients of other nodes: ``pubsub``, which Node servers
            with @socket.io/redis-adapter understand.
        key: the prefix of the channels that are shared with Node servers and emitters; theirs is
            called ``key`` too.
        request_timeout_s: how long other nodes may take to answer a question, such as which sockets
            are in a room.
    """

    node: str | None = None
    adapter: str = "pubsub"
    key: str = "socket.io"
    request_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.node is not None and not _NAME(self.node):
            raise OptionError("node", f"expected {NODE_NAME_RULE}, not {self.node!r}")
        if self.adapter not in ADAPTERS:
            raise OptionError("adapter", f"must be {' or '.join(ADAPTERS)}, not {self.adapter!r}")
        if not _KEY(self.key):
            raise OptionError("key", f"expected 1 to 64 visible characters, not {self.key!r}")
