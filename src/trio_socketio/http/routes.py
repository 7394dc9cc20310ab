"""Which part of a server a request is for, by its path."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trio_socketio.http.error_answers import ErrorHeaders, no_headers

if TYPE_CHECKING:
    from trio_socketio.http.request import Request

RequestHandler = Callable[["Request"], None]


class Routes:
    """Paths and who answers them.

    Args:
        destroy_upgrade: whether an upgrade that nobody serves ends its connection.
        error_headers: of the answer that a path is not found.
    """

    def __init__(self, *, destroy_upgrade: bool, error_headers: ErrorHeaders = no_headers) -> None:
        self._destroy_upgrade = destroy_upgrade
        self._error_headers = error_headers
        self._exact: dict[str, RequestHandler] = {}
        self._below: list[tuple[str, RequestHandler]] = []

    def add(self, path: str, handler: RequestHandler) -> None:
        """Have handler answer this very path."""
        self._exact[path] = handler

    def add_tree(self, path: str, handler: RequestHandler) -> None:
        """Have handler answer this path and all below it; the longest path counts."""
        self._exact[path] = handler
        self._below.append((path.rstrip("/") + "/", handler))
        self._below.sort(key=lambda item: -len(item[0]))

    def receive_request(self, request: "Request") -> None:
        """Hand a request over; a path that nobody answers is not found."""
        handler = self._exact.get(request.path)
        if handler is not None:
            handler(request)
            return
        for path, below in self._below:
            if request.path.startswith(path):
                below(request)
                return
        if not self._destroy_upgrade:
            request.headers.pop("upgrade", None)  # RFC 9110, 7.8: a server may overlook it
        headers = self._error_headers(request.headers.get("origin"))
        request.respond(
            404, [(b"Content-Type", b"text/plain; charset=utf-8"), *headers], b"not found"
        )
