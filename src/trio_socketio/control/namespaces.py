"""The method that shows namespaces."""

import re
from typing import Final

import msgspec

from trio_socketio.control.methods import rpc
from trio_socketio.control.pages import Limit, Page, check_place, cut_page
from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.server import Server

_NAME: Final = re.compile(r"/[^\0]*").fullmatch


class NamespaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace.

    Args:
        namespace: its name.
        sockets: how many clients are in it.
        joining: how many clients are joining it.
        rooms: how many rooms it has.
        dynamic: whether a client has created it by joining it.
    """

    namespace: str
    sockets: int
    joining: int
    rooms: int
    dynamic: bool


class NamespacePage(Page, frozen=True, kw_only=True):
    """Some of the namespaces.

    Args:
        namespaces: in the order of their names.
    """

    namespaces: list[NamespaceInfo]


class NamespaceMethods:
    """The methods namespaces.*.

    Args:
        server: has the namespaces.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    @rpc("namespaces.list")
    async def list_namespaces(self, after: str | None = None, limit: Limit = 100) -> NamespacePage:
        """Show the namespaces, page by page.

        Args:
            after: the value of next from the previous page; null for the first page.
            limit: how many namespaces a page may hold.
        """
        check_place(after, _NAME, "which is the name of a namespace")
        every = tuple(self._server.namespaces.values())
        page, total, following = await cut_page(every, lambda one: one.name, after, limit)
        return NamespacePage(namespaces=[_show(one) for one in page], total=total, next=following)


def _show(namespace: Namespace) -> NamespaceInfo:
    return NamespaceInfo(
        namespace=namespace.name,
        sockets=len(namespace.sockets),
        joining=len(namespace._joinings),
        rooms=len(namespace.rooms),
        dynamic=namespace._is_dynamic,
    )
