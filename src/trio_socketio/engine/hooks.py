"""What a program may say about requests before they are served, and what it is told of them."""

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
"""The events of the engine, each with what its listeners are called with."""

_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?").fullmatch
_OURS: Final = re.compile(
    r"content-(?:type|length|encoding)|cache-control|connection|transfer-encoding|upgrade"
    r"|sec-websocket-.*"
).fullmatch
"""Headers that say how an answer is to be read."""

Function = TypeVar("Function", bound=Callable[..., Any])


class ResponseHeaders(MutableMapping[str, str]):
    """Headers that a hook adds to an answer, by name in lower case (EIO4-71).

    Setting one raises LocalProtocolError when its value has a line break or another character that
    a header cannot hold, and for headers that say how the answer is to be read.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Add a header that may be there already, such as Set-Cookie."""
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
        """As they are sent."""
        return [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, values in self._values.items()
            for value in values
        ]


def _check_name(name: str) -> str:
    if not _NAME(name):
        raise LocalProtocolError(f"{name!r} is no name of a header")
    if _OURS(name.lower()):
        raise LocalProtocolError(f"the header {name} is the server's own")
    return name.lower()


def _check_value(value: str) -> str:
    if not _VALUE(value):
        raise LocalProtocolError(f"a header cannot hold {value!r}")
    return value


class EngineRequest:
    """A request to Engine.IO, as hooks see it.

    Args:
        request: the HTTP request that is shown.
        trusted_proxies: networks of the proxies that are believed.
    """

    __slots__ = ("_request", "address", "is_upgrade", "new_sid", "response_headers", "secure")

    def __init__(self, request: "Request", trusted_proxies: "tuple[Network, ...]") -> None:
        self._request = request
        self.address, self.secure = forwarded(request, trusted_proxies)
        self.is_upgrade = is_websocket_upgrade(request)
        self.response_headers = ResponseHeaders()
        self.new_sid: str | None = None  # what generate_id gave

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
        """Parameters of the URL."""
        return self._request.query

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; a repeated header is joined with commas."""
        return self._request.headers

    @property
    def sid(self) -> str | None:
        """The session that it names; None when it is to open one."""
        return self._request.query.get("sid") or None


class RefusedRequest:
    """What is told of a request that was refused.

    Args:
        request: the refused request; hooks may not have seen it before.
        code, message: of the Engine.IO error.
        context: a name for the reason, such as MIDDLEWARE_FAILURE; empty where the code suffices.
    """

    __slots__ = ("code", "context", "message", "request")

    def __init__(self, request: EngineRequest, refusal: "Refusal", context: str) -> None:
        self.request = request
        self.code = refusal.code
        self.message = refusal.message
        self.context = context


class Hook:
    """A function of the program.

    Args:
        what: its kind, for the log.
        function: plain or async.
    """

    __slots__ = ("function", "is_async", "what")

    def __init__(self, what: str, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_async = is_async(function)
        self.what = f"{what} {function_name(function)}"


class HookJob(Protocol):
    """Work for a worker."""

    async def run(self, workers: "HookWorkers", /) -> Any:
        """Do the work. Returns whether others ran just before its end; raises only Cancelled."""


class HookWorkers(Protocol):
    """Runs the program's functions: plain ones here and now, async ones in tasks of the server."""

    def log_failure(self, whose: str, socket_id: str, error: BaseException, /) -> None:
        """A function raised: that is counted, and told in a log that clients cannot fill."""

    def submit(self, job: HookJob, /) -> None:
        """Have job run in the next scheduler pass."""

    def run(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Call a plain function in a context of its own."""

    async def call_async(
        self, function: Callable[..., Coroutine[Any, Any, Any]], /, *arguments: Any
    ) -> Any:
        """Call an async function in a context of its own; for jobs."""


class Running(Protocol):
    """The engine of the Socket.IO path while the server serves."""

    poller: "Poller"
    sessions: "dict[str, Session]"


class Engine:
    """The Engine.IO side of a server: middleware for its requests, and events.

    Functions are registered before the server serves. They see the requests of the Socket.IO path
    and of mounted ones.
    """

    def __init__(self) -> None:
        self._middleware: list[Hook] = []
        self._listeners: dict[str, list[Hook]] = {event: [] for event in EVENTS}
        self._running: Running | None = None

    def use(self, function: Function) -> Function:
        """Register middleware: a plain or async function of each EngineRequest.

        It may set `request.response_headers`, and raise ConnectRefused(message) to have the request
        refused with code 3. An async one has `ServerOptions.hook_timeout_s`.
        """
        self._check_stopped()
        check_function("engine middleware", function, ("request",))
        self._middleware.append(Hook("engine middleware", function))
        return function

    def on(self, event: str) -> Callable[[Function], Function]:
        """Register a plain function for an event.

        - ``initial_headers``: (headers, request), before the answer that opens a session.
        - ``headers``: (headers, request), before each answer of a session and its upgrade.
        - ``connection``: (session), when it has opened.
        - ``connection_error``: (RefusedRequest), when a request is refused.

        The headers are ResponseHeaders; what is set there is sent.
        """
        check_event_key(event)
        if event not in EVENTS:
            raise LocalProtocolError(f"the engine has no event {event!r}: {', '.join(EVENTS)}")

        def register(function: Function) -> Function:
            self._check_stopped()
            check_function(f"engine listener of {event!r}", function, EVENTS[event])
            hook = Hook(f"engine listener of {event!r}", function)
            if hook.is_async:
                raise LocalProtocolError(f"{hook.what} is async: nobody would wait for it")
            self._listeners[event].append(hook)
            return function

        return register

    @property
    def clients_count(self) -> int:
        """Sessions of the Socket.IO path; 0 while the server does not serve."""
        return 0 if self._running is None else len(self._running.sessions)

    @property
    def sessions(self) -> "dict[str, Session]":
        """By sid; only while it serves. Do not change it."""
        return self._serving().sessions

    # -- what the parts below and above need

    @property
    def _is_used(self) -> bool:
        """Whether there is any hook."""
        return bool(self._middleware or any(self._listeners.values()))

    def _set_running(self, running: Running | None) -> None:
        """The server begins to serve, or has ended."""
        self._running = running

    @property
    def _poller(self) -> "Poller":
        """Drives the server; only while it serves."""
        return self._serving().poller

    def _serving(self) -> Running:
        if self._running is None:
            raise LocalProtocolError("the server is not running")
        return self._running

    def _check_stopped(self) -> None:
        if self._running is not None:
            raise LocalProtocolError("the server is running: register before it serves")
