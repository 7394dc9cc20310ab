"""Namespaces that come into being because a client asked for them."""

from typing import TYPE_CHECKING, Final

from trio_socketio.errors import ConnectRefused

if TYPE_CHECKING:
    from trio_socketio.socketio.entrance import Candidate, Hall, Parent

MAX_DYNAMIC_NAME: Final = 255
"""Characters of a name that a matcher is asked about; longer ones are refused."""


def is_dynamic_name(name: str) -> bool:
    """Whether a namespace that a client asks for may have that name at all."""
    return len(name) <= MAX_DYNAMIC_NAME and name.isprintable() and "," not in name


def found_namespace(client: "Candidate", parent: "Parent", name: str) -> "Hall":
    """Create the namespace that a client asked for.

    A namespace that has ended meanwhile no longer counts against its client, so a client may go
    from one short-lived namespace to the next for as long as it likes.

    Raises:
        ConnectRefused: this client, or all clients together, have brought too many into being.
        Exception: whatever the adapter's factory raises.
    """
    namespaces, history = client.namespaces, client.history
    living = [one for one in history.founded if namespaces.by_name.get(one.name) is one]
    if len(living) >= client.host.options.sockets.max_namespaces_founded_per_session:
        raise ConnectRefused("Too many new namespaces for one client")
    namespace = namespaces.create_child(parent, name)
    if namespace is None:
        raise ConnectRefused("Too many namespaces")
    history.founded = [*living, namespace]
    return namespace
