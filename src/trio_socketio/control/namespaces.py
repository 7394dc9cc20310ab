"""The method that shows namespaces."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, check_place, cut_page
from trio_socketio.control.spread import NodePage, Spread, merge_pages
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

_NAME: Final = re.compile(r"/[^\0]*").fullmatch


class NamespaceInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A namespace, with the numbers of all nodes.

    Args:
        namespace: its name.
        sockets: how many clients are in it.
        joining: how many clients are joining it.
        rooms: how many rooms it has; a room counts once for each node that has it.
        dynamic: whether a client has created it, on any node, by joining it.
        definition: what namespaces.create and update have said of it; left out if they have not
            made it.
    """

    namespace: str
    sockets: int
    joining: int
    rooms: int
    dynamic: bool
    definition: dict[str, Any] | None = None


class NamespacePage(NodePage, frozen=True, kw_only=True, omit_defaults=True):
    """Some of the namespaces. There are at least as many as the total says; each counts once.

    The total is exact if the page holds all of them; else it is that of the node with the most.

    Args:
        namespaces: in the order of their names.
    """

    namespaces: list[NamespaceInfo]


def join_namespaces(one: NamespaceInfo, other: NamespaceInfo) -> NamespaceInfo:
    """Add up the numbers of a namespace on two nodes."""
    return NamespaceInfo(
        namespace=one.namespace,
        sockets=one.sockets + other.sockets,
        joining=one.joining + other.joining,
        rooms=one.rooms + other.rooms,
        dynamic=one.dynamic or other.dynamic,
        definition=one.definition or other.definition,
    )


_over_nodes: Final = merge_pages(  # NODE-55
    "namespaces", lambda one: one.namespace, join_namespaces, alike=True
)


class NamespaceMethods:
    """The methods namespaces.*.

    Args:
        server: has the namespaces.
        find_definition: returns the definition of a namespace that was made at run time, by its
            name; None for all others.
    """

    def __init__(self, server: Server, find_definition: Callable[[str], Any] | None = None) -> None:
        self._server = server
        self._find_definition = find_definition

    @rpc("namespaces.list", Spread(_over_nodes))
    async def list_namespaces(self, after: str | None = None, limit: Limit = 100) -> NamespacePage:
        """Show the namespaces, page by page.

        Args:
            after: the value of next from the previous page; null for the first page.
            limit: how many namespaces a page may hold.
        """
        check_place(after, _NAME, "which is the name of a namespace")
        every = tuple(self._server.namespaces.values())
        page, total, following = await cut_page(every, lambda one: one.name, after, limit)
        return NamespacePage(namespaces=list(map(self._show, page)), total=total, next=following)

    def _show(self, namespace: Namespace) -> NamespaceInfo:
        found = None if self._find_definition is None else self._find_definition(namespace.name)
        return NamespaceInfo(
            namespace=namespace.name,
            sockets=len(namespace.sockets),
            joining=len(namespace._joinings),
            rooms=len(namespace.rooms),
            dynamic=namespace._is_dynamic,
            definition=None if found is None else msgspec.to_builtins(found),
        )
