"""Namespaces that come into being because a client asked for them."""

from typing import TYPE_CHECKING, Protocol

from trio_socketio.errors import ConnectRefused

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.parent_namespace import ParentNamespace
    from trio_socketio.socketio.server import Server


class Founder(Protocol):
    """A client that may ask for namespaces that do not exist."""

    founded: "list[Namespace] | None"
    """Those that it has brought into being; some may have ended since."""


def found_namespace(
    server: "Server", founder: Founder, parent: "ParentNamespace", name: str
) -> "Namespace":
    """Create the namespace that a client asked for.

    A namespace that has ended meanwhile no longer counts against its founder, so a client may go
    from one short-lived namespace to the next for as long as it likes.

    Raises:
        ConnectRefused: this client, or all clients together, have brought too many into being.
        Exception: whatever the adapter's factory raises.
    """
    living = [
        space for space in founder.founded or () if server.namespaces.get(space.name) is space
    ]
    if len(living) >= server.options.max_namespaces_founded_per_session:
        raise ConnectRefused("Too many new namespaces for one client")
    namespace = server.create_child(parent, name)
    if namespace is None:
        raise ConnectRefused("Too many namespaces")
    founder.founded = [*living, namespace]
    return namespace
