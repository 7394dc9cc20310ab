"""The HTTP routes of the original contract, as views of methods of the control API.

Whoever may call a method may see its view: every request has a bearer token, as for ``/rpc``, and
makes the calls that the table below names. Answers are ``{errcode, errmsg, data}`` as in the
original, with the contract's codes, and unlike there with a status that fits.

========================================  =====================================================
``POST /api/nsps/gen``                    ``namespaces.create``
``GET /api/nsps/all``                     ``namespaces.list``
``GET /api/nsps/:nspName``                ``namespaces.list``
``DELETE /api/nsps/:nspName``             ``namespaces.remove``
``GET /api/statics``                      ``namespaces.list``, ``sockets.list``, ``rooms.list``,
                                          ``system.nodes``
``GET /api/statics/rooms?roomId``         ``rooms.list``; for one room ``sockets.list``
``GET /api/statics/sockets?socketId``     ``sockets.list``; for one socket ``sockets.get``
========================================  =====================================================

The last two are at ``/api/rooms`` and ``/api/sockets`` as well.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.http_calls import BEARER, FROM_PAGES, find_excess, not_running
from trio_socketio.control.legacy_views import (
    Calls,
    Page,
    View,
    create,
    list_namespaces,
    list_rooms,
    list_sockets,
    remove,
    show_namespace,
    show_room,
    show_socket,
    show_statics,
)
from trio_socketio.errors import ControlError

if TYPE_CHECKING:
    from trio_socketio.control.dispatcher import Dispatcher
    from trio_socketio.control.http_calls import HttpCaller, HttpCalls
    from trio_socketio.http.request import Request as HttpRequest

PATH: Final = "/api/"
_OK: Final = 0
_SERVER: Final = 1
_PARAMETER: Final = 2
_TOKEN: Final = 3
_NOT_AUTHENTICATED: Final = 5
_STATUSES: Final[Mapping[int, tuple[int, int]]] = {
    Code.INVALID_PARAMS: (400, _PARAMETER),
    Code.UNAUTHORIZED: (401, _TOKEN),
    Code.FORBIDDEN: (403, _TOKEN),
    Code.NOT_FOUND: (404, _PARAMETER),
    Code.EXISTS: (409, _PARAMETER),
    Code.TOO_LARGE: (413, _PARAMETER),
    Code.METHOD_NOT_FOUND: (501, _SERVER),
    Code.PARTIAL: (503, _SERVER),
    Code.TIMEOUT: (504, _SERVER),
    Code.OVERLOADED: (503, _SERVER),
    Code.STORE_UNAVAILABLE: (503, _SERVER),
    Code.DRAINING: (503, _SERVER),
    Code.UNAVAILABLE: (503, _SERVER),
}
"""The status and the contract's code for each error of a method; 500 and 1 for all others."""
_JSON: Final = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]


class LegacyRoutes:
    """Answers requests below ``/api/``.

    Args:
        calls: checks tokens, and runs what waits.
        dispatcher: makes the calls.
        max_body_bytes: the longest body.
    """

    def __init__(self, calls: "HttpCalls", dispatcher: "Dispatcher", max_body_bytes: int) -> None:
        self._http = calls
        self._dispatcher = dispatcher
        self._max_body_bytes = max_body_bytes

    def receive_request(self, request: "HttpRequest") -> None:
        """Answer a request; a RequestHandler of http/routes.py."""
        if self._http.nursery is None:
            _fail(request, not_running())
            return
        if self._http.is_of_page(request):
            _respond(request, 403, _TOKEN, FROM_PAGES)
            return
        caller = self._http.find_caller(request)
        if isinstance(caller, ControlError):  # LEG-07
            is_missing = "authorization" not in request.headers
            errcode = _NOT_AUTHENTICATED if is_missing else _TOKEN
            _respond(request, 401, errcode, caller.message, headers=(BEARER,))
            return
        views = self._find(request)
        if not views:
            _respond(request, 404, _PARAMETER, f"there is no route {request.path[:200]}")
            return
        view = views.get(request.method)
        if view is None:
            allow = (b"Allow", ", ".join(views).encode())
            _respond(request, 405, _PARAMETER, f"expected {' or '.join(views)}", headers=(allow,))
            return
        kind = request.headers.get("content-type", "")
        if request.method != "POST":
            self._start(request, caller, view)
            return

        excess = find_excess(request, self._max_body_bytes)
        if excess is not None:
            _fail(request, excess)
            return

        def on_body(body: bytes | None) -> None:
            if body is not None:
                self._start(request, caller, partial(view, content_type=kind, body=body))

        request.read_body(self._max_body_bytes, on_body)

    def _find(self, request: "HttpRequest") -> Mapping[str, View]:
        """Return the views of a path, by method."""
        query = request.query
        match request.path.removeprefix(PATH).rstrip("/").split("/"):
            case ["nsps", "gen"]:
                return {"POST": create}
            case ["nsps", "all"]:
                return {"GET": partial(list_namespaces, after=query.get("after"))}
            case ["nsps", name] if name:
                name = unquote(name)
                return {
                    "GET": partial(show_namespace, name=name),
                    "DELETE": partial(remove, name=name),
                }
            case ["statics"]:
                return {"GET": partial(show_statics, after=query.get("after"))}
            case ["statics", "rooms"] | ["rooms"]:
                room = query.get("roomId")
                if room:
                    view = partial(show_room, room=room)
                else:
                    view = partial(list_rooms, after=query.get("after"))
                return {"GET": partial(view, namespace=query.get("nspName"))}
            case ["statics", "sockets"] | ["sockets"]:
                socket = query.get("socketId")
                if socket:
                    view = partial(show_socket, socket=socket)
                else:
                    view = partial(list_sockets, after=query.get("after"))
                return {"GET": partial(view, namespace=query.get("nspName"))}
        return {}

    def _start(self, request: "HttpRequest", caller: "HttpCaller", view: View) -> None:
        calls = Calls(self._dispatcher, caller)
        refusal = self._http.start(request, lambda: _answer(request, view, calls))
        if refusal is not None:
            _fail(request, refusal)


async def _answer(request: "HttpRequest", view: View, calls: Calls) -> None:
    try:
        data = await view(calls)
    except ControlError as error:
        _fail(request, error)
        return
    if isinstance(data, Page):
        _respond(request, 200, _OK, "ok", data.data, next=data.next)
    else:
        _respond(request, 200, _OK, "ok", data)


def _fail(request: "HttpRequest", error: ControlError) -> None:
    status, errcode = _STATUSES.get(error.code, (500, _SERVER))  # LEG-09
    _respond(request, status, errcode, error.message)


def _respond(
    request: "HttpRequest",
    status: int,
    errcode: int,
    errmsg: str,
    data: Any = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    **more: Any,
) -> None:
    body = {"errcode": errcode, "errmsg": errmsg, "data": data, **more}
    request.respond(status, [*_JSON, *headers], msgspec.json.encode(body))
