"""Finds the part of a server that answers a request, by its path."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_socketio.http.error_answers import ErrorHeaders, no_headers

if TYPE_CHECKING:
    from trio_socketio.http.request import Request

RequestHandler = Callable[["Request"], None]


class Routes:
    """The paths of a server, and their handlers.

    Args:
        destroy_upgrade: whether a request to upgrade that has no handler ends its connection.
        error_headers: gives the headers of the answer that a path is not found.
    """

    def __init__(self, *, destroy_upgrade: bool, error_headers: ErrorHeaders = no_headers) -> None:
        self._destroy_upgrade = destroy_upgrade
        self._error_headers = error_headers
        self._exact: dict[str, RequestHandler] = {}
        self._below: list[tuple[str, RequestHandler]] = []

    def add(self, path: str, handler: RequestHandler) -> None:
        """Have a handler answer this path alone."""
        self._exact[path] = handler

    def add_tree(self, path: str, handler: RequestHandler) -> None:
        """Have a handler answer this path and all paths below it.

        If several handlers answer a path, the one with the longest path of its own does.
        """
        self._exact[path] = handler
        self._below.append((path.rstrip("/") + "/", handler))  # EIO4-63
        self._below.sort(key=lambda item: -len(item[0]))

    def receive_request(self, request: "Request") -> None:
        """Hand a request to its handler; answer 404 if it has none."""
        handler = self._exact.get(request.path)
        if handler is not None:
            handler(request)
            return
        for path, below in self._below:
            if request.path.startswith(path):
                below(request)
                return
        # EIO4-64. The answer to a request to upgrade closes the connection. Without the header it
        # is a request like any other, as RFC 9110, section 7.8 allows.
        if not self._destroy_upgrade:
            request.headers.pop("upgrade", None)
        headers = self._error_headers(request.headers.get("origin"))
        request.respond(
            404, [(b"Content-Type", b"text/plain; charset=utf-8"), *headers], b"not found"
        )
