"""The hooks of a program: middleware for requests, and listeners of engine events."""

import re
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from trio_socketio.engine.handshake import is_websocket_upgrade
from trio_socketio.errors import LocalProtocolError
from trio_socketio.http.forwarded import forwarded
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import check_event_key, check_function, is_async

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Refusal
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network
    from trio_socketio.runtime.poller import Poller

EVENTS: Final = {
    "initial_headers": ("headers", "request"),
    "headers": ("headers", "request"),
    "connection": ("session",),
    "connection_error": ("refused request",),
}
"""The events of the engine, and the arguments of their listeners."""

_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?").fullmatch
_OURS: Final = re.compile(
    r"content-(?:type|length|encoding)|cache-control|connection|transfer-encoding|upgrade"
    r"|sec-websocket-.*"
).fullmatch
"""Matches the headers that say how an answer is to be read: hooks cannot set them."""

Function = TypeVar("Function", bound=Callable[..., Any])


class ResponseHeaders(MutableMapping[str, str]):
    """Headers that a hook adds to an answer, by name in lower case (EIO4-71).

    Setting a header raises LocalProtocolError if its value has a line break or another character
    that a header cannot hold, and for headers that say how the answer is to be read.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Add a value to a header that may be set already, such as Set-Cookie."""
        name, value = _check_name(name), _check_value(value)
        self._values.setdefault(name, []).append(value)

    def __setitem__(self, name: str, value: str) -> None:
        self._values[_check_name(name)] = [_check_value(value)]

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def encode(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as they are sent."""
        return [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, values in self._values.items()
            for value in values
        ]


def _check_name(name: str) -> str:
    if not _NAME(name):
        raise LocalProtocolError(f"{name!r} is not the name of a header")
    if _OURS(name.lower()):
        raise LocalProtocolError(f"the header {name} is set by the server alone")
    return name.lower()


def _check_value(value: str) -> str:
    if not _VALUE(value):
        raise LocalProtocolError(f"a header cannot hold {value!r}")
    return value


class EngineRequest:
    """A request to Engine.IO, as hooks see it.

    Args:
        request: the HTTP request.
        trusted_proxies: networks of the proxies whose forwarding headers are believed.

    Attributes:
        address: the client's, as far as trusted proxies tell.
        is_upgrade: whether it asks to switch to WebSocket.
        new_sid: what generate_id has returned for it; None before.
        response_headers: added to the answer.
        secure: whether the client came over TLS.
    """

    __slots__ = ("_request", "address", "is_upgrade", "new_sid", "response_headers", "secure")

    def __init__(self, request: "Request", trusted_proxies: "tuple[Network, ...]") -> None:
        self._request = request
        self.address, self.secure = forwarded(request, trusted_proxies)
        self.is_upgrade = is_websocket_upgrade(request)
        self.response_headers = ResponseHeaders()
        self.new_sid: str | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self._request.method

    @property
    def url(self) -> str:
        """Path and query, as sent."""
        return self._request.target

    @property
    def path(self) -> str:
        """The path of the URL."""
        return self._request.path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL."""
        return self._request.query

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; the values of a repeated header are joined with commas."""
        return self._request.headers

    @property
    def sid(self) -> str | None:
        """The session that the request names; None if it is to open one."""
        return self._request.query.get("sid") or None


class RefusedRequest:
    """A request that was refused, as listeners of "connection_error" see it.

    Args:
        request: the request; hooks may not have seen it before.
        refusal: the Engine.IO error.
        context: a name for the reason, such as MIDDLEWARE_FAILURE; empty where the code suffices.

    Attributes:
        code, message: of the Engine.IO error.
    """

    __slots__ = ("code", "context", "message", "request")

    def __init__(self, request: EngineRequest, refusal: "Refusal", context: str) -> None:
        self.request = request
        self.code = refusal.code
        self.message = refusal.message
        self.context = context


class Hook:
    """A function of the program that is asked about requests or told about them.

    Args:
        what: what it is for, as the log says it.
        function: plain or async.
    """

    __slots__ = ("function", "is_async", "what")

    def __init__(self, what: str, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_async = is_async(function)
        self.what = f"{what} {function_name(function)}"


class HookJob(Protocol):
    """Something for a worker to run."""

    async def run(self, workers: "HookWorkers", /) -> bool:
        """Run the job; raise nothing but Cancelled.

        Returns:
            Whether the worker need not look at the clock, because the job has done so at its end.
        """


class HookWorkers(Protocol):
    """Runs functions of the program: plain ones here and now, async ones in tasks of the server."""

    def log_failure(self, whose: str, socket_id: str, error: BaseException, /) -> None:
        """Count a function that raised, and log it in a way that clients cannot flood."""

    def submit(self, job: HookJob, /) -> None:
        """Have job run in the next scheduler pass."""

    def run(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Call a plain function in a context of its own."""

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], /, *arguments: Any
    ) -> Any:
        """Call an async function in a context of its own, from inside a job."""


class Running(Protocol):
    """The engine of the Socket.IO path while the server serves."""

    poller: "Poller"
    sessions: "dict[str, Session]"


class Engine:
    """The Engine.IO side of a server: middleware for its requests, and events.

    Functions are registered before the server serves. They see the requests of the Socket.IO path
    and of mounted paths.
    """

    def __init__(self) -> None:
        self._middleware: list[Hook] = []
        self._listeners: dict[str, list[Hook]] = {event: [] for event in EVENTS}
        self._running: Running | None = None

    def use(self, function: Function) -> Function:
        """Register middleware: a plain or async function that is called with each EngineRequest.

        It may set `request.response_headers`, and raise ConnectRefused(message) to have the request
        refused with code 3. Async middleware has `EngineOptions.hook_timeout_s`.

        Raises:
            LocalProtocolError: it cannot be called with a request, or the server is running.
        """
        self._check_stopped()
        check_function("engine middleware", function, ("request",))
        self._middleware.append(Hook("engine middleware", function))
        return function

    def on(self, event: str) -> Callable[[Function], Function]:
        """Register a plain function for an event.

        - ``initial_headers``: (headers, request), before the answer that opens a session.
        - ``headers``: (headers, request), before each answer of a session and its upgrade.
        - ``connection``: (session), after a session has opened.
        - ``connection_error``: (RefusedRequest), when a request is refused.

        What is set in the headers, which are ResponseHeaders, is sent.

        Raises:
            LocalProtocolError: there is no such event, the function is async or cannot be called
                with these arguments, or the server is running.
        """
        check_event_key(event)
        if event not in EVENTS:
            raise LocalProtocolError(f"the engine has no event {event!r}, only {', '.join(EVENTS)}")

        def register(function: Function) -> Function:
            self._check_stopped()
            check_function(f"engine listener of {event!r}", function, EVENTS[event])
            hook = Hook(f"engine listener of {event!r}", function)
            if hook.is_async:
                raise LocalProtocolError(f"{hook.what} is async, and nothing would wait for it")
            self._listeners[event].append(hook)
            return function

        return register

    @property
    def clients_count(self) -> int:
        """The number of sessions of the Socket.IO path; 0 while the server does not serve."""
        return 0 if self._running is None else len(self._running.sessions)

    @property
    def sessions(self) -> "dict[str, Session]":
        """The sessions by sid; available only while the server serves. Do not change it."""
        return self._serving().sessions

    # -- what the parts below and above need

    @property
    def _is_used(self) -> bool:
        """Whether any hook is registered."""
        return bool(self._middleware or any(self._listeners.values()))

    def _set_running(self, running: Running | None) -> None:
        """Note that the server begins to serve, or that it has ended."""
        self._running = running

    @property
    def _poller(self) -> "Poller":
        """The poller that drives the server; available only while it serves."""
        return self._serving().poller

    def _serving(self) -> Running:
        if self._running is None:
            raise LocalProtocolError("the server is not running")
        return self._running

    def _check_stopped(self) -> None:
        if self._running is not None:
            raise LocalProtocolError("the server is running: register before it serves")
