"""What user code has registered with a namespace."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final, TypeVar

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.jobs import Workers
from trio_socketio.signatures import check_event_key, check_function
from trio_socketio.socketio.broadcast import SERVER_RESERVED
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.observers import Observer, Observers
from trio_socketio.socketio.steps import Step, Steps

Function = TypeVar("Function", bound=Callable[..., Any])

_CONNECTION: Final = "connection"
_ARGUMENTS: Final[dict[str | float, tuple[str, ...]]] = {
    _CONNECTION: ("socket",),
    "disconnecting": ("socket", "reason"),
    "disconnect": ("socket", "reason"),
}
"""Of the handlers that the server calls by itself."""
_RESERVED: Final = ("connect", "connect_error", "newListener", "removeListener")


class Registry:
    """Handlers, steps on the way in, and observers.

    Args:
        name: of the namespace.
        workers: of the server.
    """

    def __init__(self, name: str, workers: Workers) -> None:
        self.name = name
        self.workers = workers
        self.steps = Steps()
        self.observers = Observers(workers)
        self.handlers: dict[str | int | float, Handler] = {}
        self.connection_handler: Handler | None = None
        self.server_side_handlers: dict[str, Handler] = {}
        self.expiry_handler: Handler | None = None
        self.unhandled: Handler | None = None

    def use(self, function: Function) -> Function:
        """Register middleware: called with a socket that wants to join, in order of registration.

        Plain or async. Raise ConnectRefused to keep the client out.

        Raises:
            LocalProtocolError: it cannot be called so.
        """
        check_function("middleware", function, ("socket",))
        self.add_steps((Step(State.MIDDLEWARE, function),))
        return function

    def add_steps(self, steps: Iterable[Step]) -> None:
        """Ask every client that wants to join from now on; behind the steps of the same stage."""
        self.workers.check_thread()
        self.steps.add(steps)

    def observe(self, observer: Observer) -> None:
        """Have observer told of every socket that comes or goes from now on."""
        self.workers.check_thread()
        self.observers.add((observer,))

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """Register the handler of an event, called with the socket and the event's arguments.

        "connection" is called with a socket that has joined; "disconnecting" and "disconnect" with
        the socket and the reason. What a handler returns answers the client's acknowledgement:
        None no argument, a tuple several, anything else one.

        Args:
            event: its name.
            concurrent: events of one socket need not wait for each other; for async handlers.
        Raises:
            LocalProtocolError: the event has a handler already, or a client could never send it; or
                the handler cannot be called so.
        """
        check_event_key(event)
        arguments = _ARGUMENTS.get(event)

        def register(function: Function) -> Function:
            check_function(
                f"handler of {event!r}", function, arguments or ("socket",), more=arguments is None
            )
            self.add_handler(Handler(event, function, concurrent=concurrent))
            return function

        return register

    def on_server_side(self, event: str) -> Callable[[Function], Function]:
        """Register the handler of an event that another node sends with server_side_emit.

        Called with the event's arguments, plain or async. What it returns answers the other node.

        Raises:
            LocalProtocolError: the event has a handler already, or no server can send it.
        """
        check_event_key(event)
        check_server_side(event)

        def register(function: Function) -> Function:
            self.workers.check_thread()
            check_function(f"server-side handler of {event!r}", function, (), more=True)
            if event in self.server_side_handlers:
                raise LocalProtocolError(f"{self.name} has a server-side handler of {event!r}")
            self.add_server_side_handler(event, Handler(event, function, concurrent=False))
            return function

        return register

    def on_session_expired(self, function: Function) -> Function:
        """Register what is called with a SavedSession whose client cannot go on with it any more.

        With state recovery, "disconnect" may be followed by "connection" of a socket that goes on,
        or by this: its time ran out, it was one too many, or the server stops. Plain or async.

        Raises:
            LocalProtocolError: there is one already, or it cannot be called so.
        """
        self.workers.check_thread()
        check_function("handler of expired sessions", function, ("session",))
        self.add_expiry_handler(Handler("session expired", function, concurrent=False))
        return function

    def on_unhandled(self, function: Function) -> Function:
        """Register what is called with events that have no handler.

        Called with the socket, the event's name and its arguments, plain or async. What it returns
        answers the client's acknowledgement.

        Raises:
            LocalProtocolError: there is one already.
        """
        self.add_unhandled(Handler("unhandled events", function))
        return function

    def add_unhandled(self, handler: Handler) -> None:
        """See on_unhandled."""
        if self.unhandled is not None:
            raise LocalProtocolError(f"{self.name} has a handler of unhandled events already")
        self.unhandled = handler

    def unhandled_for(self, event: str | float) -> Handler | None:
        """The handler of unhandled events, made fit for one of them."""
        handler = self.unhandled
        return None if handler is None else Handler(event, _with_name(handler, event))

    def inherit_unhandled(self, handler: Handler | None) -> None:
        """Take a handler of unhandled events over, unless there is one already."""
        self.unhandled = self.unhandled or handler

    def add_expiry_handler(self, handler: Handler) -> None:
        """See on_session_expired."""
        if self.expiry_handler is not None:
            raise LocalProtocolError(f"{self.name} has a handler of expired sessions already")
        self.expiry_handler = handler

    def inherit_expiry_handler(self, handler: Handler | None) -> None:
        """Take a handler of expired sessions over, unless there is one already."""
        self.expiry_handler = self.expiry_handler or handler

    def add_handler(self, handler: Handler) -> None:
        """See on."""
        self.workers.check_thread()
        event = handler.name
        taken = self.connection_handler if event == _CONNECTION else self.handlers.get(event)
        if taken is not None:
            raise LocalProtocolError(f"{self.name} has a handler of {event!r} already")
        if event in _RESERVED:
            raise LocalProtocolError(f"the event name {event!r} is reserved; use 'connection'")
        self.inherit_handler(handler)

    def inherit_handler(self, handler: Handler) -> None:
        """Take a handler over, unless there is one of its event already."""
        if handler.name == _CONNECTION:
            self.connection_handler = self.connection_handler or handler
        else:
            self.handlers.setdefault(handler.name, handler)

    def add_server_side_handler(self, event: str, handler: Handler) -> None:
        """Take a server-side handler over, unless there is one of its event already."""
        self.server_side_handlers.setdefault(event, handler)

    def inherit(self, other: "Registry") -> None:
        """Take over all that was registered with another."""
        self.add_steps(other.steps.plan)
        self.observers.add(other.observers.all)
        if other.connection_handler is not None:
            self.inherit_handler(other.connection_handler)
        self.inherit_expiry_handler(other.expiry_handler)
        self.inherit_unhandled(other.unhandled)
        for handler in other.handlers.values():
            self.inherit_handler(handler)
        for event, handler in other.server_side_handlers.items():
            self.add_server_side_handler(event, handler)


def _with_name(handler: Handler, event: str | float) -> Callable[..., Any]:
    """Call a handler with the event's name behind the socket."""
    function = handler.function
    if handler.is_async:

        @wraps(function)
        async def handle_async(socket: Any, *arguments: Any) -> Any:
            return await function(socket, event, *arguments)

        return handle_async

    @wraps(function)
    def handle(socket: Any, *arguments: Any) -> Any:
        return function(socket, event, *arguments)

    return handle


def check_server_side(event: str) -> None:
    """Refuse names that servers use among themselves.

    Raises:
        LocalProtocolError: it is one of them, or no text.
    """
    if not isinstance(event, str) or event in SERVER_RESERVED:
        raise LocalProtocolError(f"the event name {event!r} is reserved between servers")
