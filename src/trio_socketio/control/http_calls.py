"""``POST /rpc``: the control API over HTTP, one message or batch for each request.

Pages of other origins may not call it. There is no CORS, and a request that names another origin
than that of the port, where the dashboard is, is refused (CONTROL-42). The port refuses requests
whose Host is not one of its names, which stops DNS rebinding, before it hands any over (OPS-05).
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.codec.json_rpc import NULL, Code, Response, decode_messages, encode_error
from trio_socketio.control.dispatcher import Call
from trio_socketio.control.failures import overloaded, too_large, unauthorized, unavailable
from trio_socketio.control.hub import Hub
from trio_socketio.control.tokens import Grant
from trio_socketio.errors import ControlError
from trio_socketio.http.refused_callers import RefusedCallers

if TYPE_CHECKING:
    from trio_socketio.control.call_queue import Nursery
    from trio_socketio.http.request import Request

_JSON: Final = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
BEARER: Final = (b"WWW-Authenticate", b"Bearer")
FROM_PAGES: Final = "pages of other origins may not call this"


class HttpCaller:
    """The sender of a request.

    Args:
        hub: the parts that all requests share.
        identity: the digest of the token in its header.
    """

    __slots__ = ("_hub", "_identity")

    def __init__(self, hub: Hub, identity: bytes) -> None:
        self._hub = hub
        self._identity = identity

    @property
    def grant(self) -> Grant | None:
        """The current permissions of the token."""
        return self._hub.access.grant_of(self._identity)

    def authenticate(self, secret: str) -> Grant:
        """Check a token; it gives the request no more permissions than its header has."""
        grant = self._hub.access.find(secret)
        if grant is None:
            raise unauthorized("there is no such token")
        return grant

    def connected(self) -> None:
        """Return None: the server cannot call back over HTTP."""


class HttpCalls:
    """Answers the requests to ``/rpc``.

    Args:
        hub: the parts that they share.
        refused: counts requests from callers who have no access.

    Attributes:
        nursery: runs calls that wait; None while the service does not run.
    """

    def __init__(self, hub: Hub, refused: RefusedCallers) -> None:
        self.nursery: Nursery | None = None
        self._hub = hub
        self._refused = refused
        self._at_work = 0

    def receive_request(self, request: "Request") -> None:
        """Answer a request; a RequestHandler of http/routes.py."""
        if self.nursery is None:
            answer(request, 503, not_running())
            return
        if request.method != "POST":
            _refuse(request, 405, "only POST is allowed here", (b"Allow", b"POST"))
            return
        if self.is_of_page(request):
            _refuse(request, 403, FROM_PAGES)
            return
        caller = self.find_caller(request)
        if isinstance(caller, ControlError):
            answer(request, 401, caller, BEARER)
            return
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # CONTROL-41
            _refuse(request, 415, "expected Content-Type: application/json")
            return
        most = self._hub.options.max_line_bytes
        error = find_excess(request, most)
        if error is not None:
            answer(request, 413, error)
            return

        def on_body(body: bytes | None) -> None:
            if body is not None:
                self._receive_body(request, caller, body)

        request.read_body(most, on_body)

    def is_of_page(self, request: "Request") -> bool:
        """Whether a page of another origin has sent a request, which counts as refused.

        The port has looked at the Host already, so a page whose origin has the same host and port
        is the dashboard (CONTROL-42, PAGE-21). Its scheme may differ, if a proxy speaks TLS.
        """
        origin = request.headers.get("origin")
        host = request.headers.get("host", "")
        own = (f"http://{host}".lower(), f"https://{host}".lower())
        is_of_page = origin is not None and not (host and origin.lower() in own)
        if is_of_page:
            self._refused.refused(request, "origin")
        return is_of_page

    def find_caller(self, request: "Request") -> HttpCaller | ControlError:
        """Return who has sent a request, or why that is not known; then it counts as refused."""
        secret = _bearer(request.headers.get("authorization", ""))
        grant = self._hub.access.find(secret)
        if grant is not None:
            return HttpCaller(self._hub, grant.digest)
        self._refused.refused(request, "token_wrong" if secret else "token_missing")  # CONTROL-40
        why = "there is no such token" if secret else "expected Authorization: Bearer TOKEN"
        return unauthorized(why)

    def start(self, request: "Request", work: Callable[[], Awaitable[None]]) -> ControlError | None:
        """Have a task answer a request; it is cancelled when the peer goes away.

        Returns:
            Why it was not started: too many wait for their answers, or the service has ended.
        """
        if self._at_work >= self._hub.options.max_http_calls:  # CONTROL-43
            return overloaded("too many requests wait for their answers")
        if self.nursery is None:  # the service has ended while the body was read
            return not_running()
        self._at_work += 1
        self.nursery.start_soon(lambda: self._work(request, work))
        return None

    def _receive_body(self, request: "Request", caller: HttpCaller, body: bytes) -> None:
        hub = self._hub
        try:
            messages, is_batch = decode_messages(body, hub.options.max_batch)
        except ControlError as error:
            answer(request, 200, error)
            return
        if any(isinstance(message, Response) for message in messages):
            wrong = ControlError(Code.INVALID_REQUEST, "nothing was asked over HTTP")
            answer(request, 200, wrong)
            return
        calls: list[Call] = [one for one in messages if not isinstance(one, Response)]
        if not is_batch and hub.dispatcher.is_plain(calls[0]):
            _respond(request, hub.dispatcher.answer_now(calls[0], caller))
            return
        refusal = self.start(
            request, lambda: self._answer(request, caller, calls, is_batch=is_batch)
        )
        if refusal is not None:
            answer(request, 503, refusal)

    @trio.lowlevel.enable_ki_protection
    async def _work(self, request: "Request", work: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.CancelScope() as scope:
                request.on_abort = scope.cancel
                if request.answered:  # the peer went away before this task began
                    scope.cancel()
                await work()
        finally:
            self._at_work -= 1

    async def _answer(
        self, request: "Request", caller: HttpCaller, calls: list[Call], *, is_batch: bool
    ) -> None:
        dispatcher = self._hub.dispatcher
        if is_batch:
            _respond(request, await dispatcher.answer_batch(calls, caller))
        else:
            _respond(request, await dispatcher.answer(calls[0], caller))


def find_excess(request: "Request", max_bytes: int) -> ControlError | None:
    """Return an error if a request says that its body is too long; it is not read then."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        return too_large(f"a body may have at most {max_bytes} bytes", max_line_bytes=max_bytes)
    return None


def answer(request: "Request", status: int, error: ControlError, *headers: Any) -> None:
    """Answer a request with an error of JSON-RPC."""
    request.respond(status, [*_JSON, *headers], encode_error(NULL, error))


def _respond(request: "Request", body: bytes | None) -> None:
    if body is None:
        request.respond(204)  # CONTROL-44: there were only notifications
    else:
        request.respond(200, _JSON, body)


def _refuse(request: "Request", status: int, reason: str, *headers: Any) -> None:
    text = (b"Content-Type", b"text/plain; charset=utf-8")
    request.respond(status, [text, *headers], reason.encode())


def _bearer(header: str) -> str:
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def not_running() -> ControlError:
    """The service that answers has not begun, or has ended."""
    return unavailable("the control service does not run")
