"""Namespaces that come into being because a client asks for them."""

from typing import TYPE_CHECKING, Final

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import ConnectRefused

if TYPE_CHECKING:
    from trio_socketio.socketio.entrance import Candidate, Hall, Parent

MAX_DYNAMIC_NAME: Final = 255
"""Characters. A longer name is refused before any pattern or predicate sees it."""


def is_dynamic_name(name: str) -> bool:
    """Whether a namespace that a client asks for may have this name at all (SURF-02)."""
    return len(name) <= MAX_DYNAMIC_NAME and "," not in name and not unfit_character(name)


def found_namespace(client: "Candidate", parent: "Parent", name: str) -> "Hall":
    """Create the namespace that a client asks for.

    A namespace that has ended no longer counts against its client, so that a client may go from one
    short-lived namespace to the next for as long as it likes.

    Raises:
        ConnectRefused: this client, or all clients together, have brought too many into being.
        Exception: whatever the adapter's factory raises.
    """
    namespaces, history = client.namespaces, client.history
    living = [one for one in history.founded if namespaces.by_name.get(one.name) is one]
    if len(living) >= client.host.options.sockets.max_namespaces_founded_per_session:  # BND-12
        raise ConnectRefused("Too many new namespaces for one client")
    namespace = namespaces.create_child(parent, name)
    if namespace is None:
        raise ConnectRefused("Too many namespaces")
    history.founded = [*living, namespace]
    return namespace
