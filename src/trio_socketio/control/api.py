"""The first message to a peer of the control socket, and the events for backends."""

from typing import Any, Final

import msgspec

from trio_socketio.protocol.presence_log import Entry

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


class PresenceNotice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """News of a subscription: the parameters of backend.presence.

    Args:
        subscription: its number.
        entries: the next entries of the log, in order. There are none when the subscription begins
            to deliver, because it has become the active member of its group, and when it ends.
        cursor: of the last entry: acknowledge it when its entries are dealt with. Without entries,
            where the next ones begin.
        error: why the subscription has ended, with code, message and data as in an answer. This is
            its last notification then; absent before.
    """

    subscription: int
    entries: list[Entry]
    cursor: str
    error: dict[str, Any] | None = None


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """A client that wants to enter: the parameters of backend.authenticate, and what webhooks get.

    Args:
        namespace: the name of the namespace.
        token: what the client has given to prove who it is.
        auth: what else it has sent along with the token.
        address: of the client, as far as trusted proxies tell.
        socket: the public id of its socket.
    """

    namespace: str
    token: str
    auth: dict[str, Any]
    address: str
    socket: str

    def __repr__(self) -> str:  # the token is in no log that this gets into
        return f"<Authentication of {self.socket} in {self.namespace}>"
