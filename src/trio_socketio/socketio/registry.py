"""What user code has registered with a namespace."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trio_socketio.errors import LocalProtocolError
from trio_socketio.signatures import check_event_key, check_function
from trio_socketio.socketio.broadcast import SERVER_RESERVED
from trio_socketio.socketio.handlers import Handler

if TYPE_CHECKING:
    from trio_socketio.socketio.socket import Socket

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
    """Handlers and middleware.

    Args:
        name: of the namespace.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.handlers: dict[str | int | float, Handler] = {}
        self.connection_handler: Handler | None = None
        self.server_side_handlers: dict[str, Handler] = {}
        self.expiry_handler: Handler | None = None
        self.middleware: list[Callable[[Socket], Any]] = []

    def use(self, function: Function) -> Function:
        """Register middleware: called with a socket that wants to join, in order of registration.

        Plain or async. Raise ConnectRefused to keep the client out.

        Raises:
            LocalProtocolError: it cannot be called so.
        """
        check_function("middleware", function, ("socket",))
        self.middleware.append(function)
        return function

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
        check_function("handler of expired sessions", function, ("session",))
        self.add_expiry_handler(Handler("session expired", function, concurrent=False))
        return function

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
        self.middleware.extend(other.middleware)
        if other.connection_handler is not None:
            self.inherit_handler(other.connection_handler)
        self.inherit_expiry_handler(other.expiry_handler)
        for handler in other.handlers.values():
            self.inherit_handler(handler)
        for event, handler in other.server_side_handlers.items():
            self.add_server_side_handler(event, handler)


def check_server_side(event: str) -> None:
    """Refuse names that servers use among themselves.

    Raises:
        LocalProtocolError: it is one of them, or no text.
    """
    if not isinstance(event, str) or event in SERVER_RESERVED:
        raise LocalProtocolError(f"the event name {event!r} is reserved between servers")
