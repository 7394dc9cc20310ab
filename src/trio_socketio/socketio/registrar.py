"""The methods with which a program registers its functions."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.joining import State
from trio_socketio.signatures import check_event_key, check_function
from trio_socketio.socketio.handlers import Function, Handler
from trio_socketio.socketio.registry import CONNECTION, Registry, check_server_side
from trio_socketio.socketio.steps import Step

if TYPE_CHECKING:
    from trio_socketio.errors import ConnectRefused
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.socket import Socket

_TOLD: Final = {
    "joined": ("socket",),
    "left": ("socket", "reason", "recoverable"),
    "refused": ("joining", "error"),
    "abandoned": ("joining",),
}
"""The methods of an Observer, and what they are called with."""

_ARGUMENTS: Final[dict[str | float, tuple[str, ...]]] = {
    CONNECTION: ("socket",),
    "disconnecting": ("socket", "reason"),
    "disconnect": ("socket", "reason"),
}
"""The arguments of the handlers that the server calls by itself."""


class Observer:
    """Told of sockets that come and go. Override the methods that matter to you.

    They are plain functions, called inside the server's turn. Every socket is told with `joined`
    and later `left`, each once, or else with `refused` or `abandoned`, once.
    """

    def joined(self, socket: "Socket") -> None:
        """A socket is in its namespace; its "connection" handler has not been called yet."""

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        """A socket has left its rooms; handlers of earlier events may still be at work.

        Args:
            socket: still knows the rooms that it was in.
            reason: of the disconnect.
            recoverable: whether its client may come back to the same socket id.
        """

    def refused(self, joining: "Joining", error: "ConnectRefused") -> None:
        """A client that wanted to join was turned away."""

    def abandoned(self, joining: "Joining") -> None:
        """A client that wanted to join has left, or the server stops."""


def check_observer(observer: Observer) -> Observer:
    """Refuse what cannot be told of sockets: it would fail with the first of them.

    Raises:
        LocalProtocolError: a method is missing, or cannot be called as it will be.
    """
    for name, arguments in _TOLD.items():
        if not hasattr(observer, name):
            raise LocalProtocolError(
                f"{observer!r} has no method {name!r}: derive it from Observer"
            )
        check_function(f"{name!r} of an observer", getattr(observer, name), arguments)
    return observer


class Registrar:
    """Registers functions of a program, for a namespace, a parent of namespaces, or a server.

    Args:
        registry: keeps what is registered.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def use(self, function: Function) -> Function:
        """Register middleware: a function that is called with every socket that wants to join.

        It is plain or async, and runs in order of registration. It raises ConnectRefused to keep
        the client out.

        Raises:
            LocalProtocolError: it cannot be called with a socket.
        """
        check_function("middleware", function, ("socket",))
        self._registry.add_steps((Step(State.MIDDLEWARE, function),))
        return function

    def add_steps(self, steps: Iterable[Step]) -> None:
        """Have clients that join from now on pass these steps, after others of their stage.

        Raises:
            LocalProtocolError: these are not steps.
        """
        self._registry.add_steps(steps)

    def observe(self, observer: Observer) -> None:
        """Tell observer of every socket that comes or goes from now on.

        Raises:
            LocalProtocolError: it is not an Observer, nor has the methods of one.
        """
        self._registry.observe((check_observer(observer),))

    def on(self, event: str | float, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """Register the handler of an event, called with the socket and the event's arguments.

        "connection" is called with a socket that has joined; "disconnecting" and "disconnect" with
        the socket and the reason. What a handler returns answers the client's acknowledgement: None
        means no argument, a tuple several, anything else one.

        Args:
            event: its name.
            concurrent: whether events of one socket may be handled at the same time; for async
                handlers.
        Raises:
            LocalProtocolError: the event has a handler already, no client can send it, or the
                handler cannot be called so.
        """
        check_event_key(event)
        arguments = _ARGUMENTS.get(event)

        def register(function: Function) -> Function:
            check_function(
                f"handler of {event!r}", function, arguments or ("socket",), more=arguments is None
            )
            self._registry.add_handler(Handler(event, function, concurrent=concurrent))
            return function

        return register

    def on_server_side(self, event: str) -> Callable[[Function], Function]:
        """Register the handler of an event that another node sends with server_side_emit.

        It is plain or async, and called with the event's arguments. What it returns answers the
        other node.

        Raises:
            LocalProtocolError: the event has a handler already, no server can send it, or the
                handler cannot be called so.
        """
        check_event_key(event)
        check_server_side(event)

        def register(function: Function) -> Function:
            check_function(f"server-side handler of {event!r}", function, (), more=True)
            self._registry.add_server_side(event, Handler(event, function))
            return function

        return register

    def on_session_expired(self, function: Function) -> Function:
        """Register the handler of expired sessions, called with a SavedSession.

        With state recovery, "disconnect" may be followed by "connection" of a socket that goes on,
        or by this: the session's time ran out, there were too many, or the server stops. It is
        plain or async.

        Raises:
            LocalProtocolError: there is one already, or it cannot be called so.
        """
        check_function("handler of expired sessions", function, ("session",))
        self._registry.add_expired(Handler("session expired", function))
        return function

    def on_unhandled(self, function: Function) -> Function:
        """Register the handler of events that have no other.

        It is plain or async, and called with the socket, the event's name and its arguments. What
        it returns answers the client's acknowledgement.

        Raises:
            LocalProtocolError: there is one already, or the function cannot be called so.
        """
        check_function("handler of unhandled events", function, ("socket", "event"), more=True)
        self._registry.add_unhandled(Handler("unhandled events", function))
        return function
