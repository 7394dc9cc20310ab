"""The first message to a peer of the control socket, and the events for backends."""

from typing import Any, Final

import msgspec

API_VERSION: Final = "1.0"
"""Its minor number grows when something is added; its major number, when something changes."""


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of hello, the notification that the server sends first.

    Args:
        api: the version of the control API.
        server: the name and version of the server.
        node: names the server among the nodes of a cluster.
        needs_token: whether auth has to be called before anything else.
        max_line_bytes: the longest line, in either direction.
        max_batch: how many calls a batch may hold.
    """

    api: str
    server: str
    node: str
    needs_token: bool
    max_line_bytes: int
    max_batch: int


class BackendEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a client, as a backend is given it: the parameters of backend.event.

    Args:
        namespace: the name of the namespace.
        event: the name of the event.
        args: the arguments of the event.
        socket: the public id of the client's socket.
        user: the client's identity; None if nothing has established it.
    """

    namespace: str
    event: str
    args: list[Any]
    socket: str
    user: str | None = None
