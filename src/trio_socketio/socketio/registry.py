"""The registrations of a namespace: handlers, steps of joining, observers.

A registry may have heirs. A parent of namespaces passes on to its children what is registered with
it, and what is registered with every namespace is passed on to each of them.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final

from trio_socketio.errors import EventRefused, LocalProtocolError
from trio_socketio.runtime.jobs import Workers
from trio_socketio.socketio.handlers import Deputy, Handler
from trio_socketio.socketio.observers import Observers, Observing
from trio_socketio.socketio.steps import Step, Steps, check_steps

CONNECTION: Final = "connection"
SERVER_RESERVED: Final = frozenset(("connect", "connection", "new_namespace"))
"""The names of events that servers must not send to each other."""

_RESERVED: Final = ("connect", "connect_error", "newListener", "removeListener")
_LIFE: Final = ("disconnecting", "disconnect")

Guard = Callable[[Handler], Handler]
"""Returns what takes the place of a handler; that may be the handler itself."""


class Registry:
    """Handlers, steps and observers of one namespace.

    A program calls the methods that begin with ``add``; heirs are told with those that begin with
    ``inherit``. What is inherited never replaces what is there, unless that is a DefaultHandler.

    Args:
        name: of the namespace.
        workers: of the server.

    Attributes:
        handlers: of the client's events, and of "disconnecting" and "disconnect".
        connection: handler of a socket that has joined.
        server_side: handlers of events that other nodes send.
        expired: handler of sessions that have expired.
        unhandled: handler of the client's events that have no other.
        observers: told of sockets that come and go.
        steps: passed by clients that join.
    """

    __slots__ = (
        "_guard",
        "_guarded",
        "_heirs",
        "connection",
        "expired",
        "handlers",
        "name",
        "observers",
        "server_side",
        "steps",
        "unhandled",
        "workers",
    )

    def __init__(self, name: str, workers: Workers) -> None:
        self.name = name
        self.workers = workers
        self.steps = Steps()
        self.observers = Observers(workers)
        self.handlers: dict[str | int | float, Handler] = {}
        self.connection: Handler | None = None
        self.server_side: dict[str, Handler] = {}
        self.expired: Handler | None = None
        self.unhandled: Handler | None = None
        self._heirs: dict[Registry, None] = {}
        self._guard: Guard | None = None
        self._guarded: dict[str | int | float, Handler] = {}  # handlers as they were registered

    # -- heirs

    def bequeath(self, heir: "Registry") -> None:
        """Pass everything on to heir: what is registered now, and what will be (JOIN-08)."""
        self._heirs[heir] = None
        heir.add_steps(self.steps.plan)
        heir.observe(self.observers.all)
        if self.connection is not None:
            heir.inherit_handler(self.connection)
        for event, handler in self.handlers.items():
            heir.inherit_handler(self._guarded.get(event, handler))
        for event, handler in self.server_side.items():
            heir.inherit_server_side(event, handler)
        heir.inherit_expired(self.expired)
        heir.inherit_unhandled(self.unhandled)

    def disinherit(self, heir: "Registry") -> None:
        """Pass nothing more on to heir."""
        self._heirs.pop(heir, None)

    # -- steps and observers

    def add_steps(self, steps: Iterable[Step]) -> None:
        """Have clients that join from now on pass these steps, after others of their stage.

        Raises:
            LocalProtocolError: these are not steps; none of them is added.
        """
        self.workers.check_thread()
        steps = check_steps(steps)
        self.steps.add(steps)
        for heir in self._heirs:
            heir.add_steps(steps)

    def observe(self, observers: Iterable[Observing]) -> None:
        """Tell the observers of every socket that comes or goes from now on."""
        self.workers.check_thread()
        observers = tuple(observers)
        self.observers.add(observers)
        for heir in self._heirs:
            heir.observe(observers)

    # -- handlers

    def add_handler(self, handler: Handler) -> None:
        """Register the handler of a client's event, or of a socket's "connection" or "disconnect".

        Raises:
            LocalProtocolError: the event has a handler already, or no client can ever send it.
        """
        self.workers.check_thread()
        event = handler.name
        taken = self.connection if event == CONNECTION else self._find(event)
        if taken is not None and not taken.is_default:  # CHAT-02
            raise LocalProtocolError(f"{self.name} has a handler of {event!r} already")
        if event in _RESERVED:
            raise LocalProtocolError(f"the event name {event!r} is reserved; use 'connection'")
        self.inherit_handler(handler)

    def inherit_handler(self, handler: Handler) -> None:
        """Take over the handler of an event, unless there is one already."""
        event = handler.name
        if event == CONNECTION:
            self.connection = self.connection or handler
        else:
            there = self._find(event)
            if there is None or (there.is_default and not handler.is_default):
                self._guarded.pop(event, None)
                self.handlers[event] = self._put_guard(handler)
        for heir in self._heirs:
            heir.inherit_handler(handler)

    def remove_handler(self, handler: Handler) -> None:
        """Take away the handler of an event; one that is not registered here is ignored."""
        self.workers.check_thread()
        event = handler.name
        if handler is self._find(event):
            del self.handlers[event]
            self._guarded.pop(event, None)

    def _find(self, event: str | float) -> Handler | None:
        """Return the handler of an event as it was registered."""
        return self._guarded.get(event, self.handlers.get(event))

    def guard(self, make: Guard | None) -> None:
        """Replace every handler that events of clients reach, present and later ones (RULE-01).

        So it is for events without a handler, which are ignored otherwise. Handlers of the server's
        own, and those of a socket's life, stay as they are, and so do the handlers of heirs.

        Args:
            make: returns what is called instead of a handler; None takes the last guard away.
        """
        self.workers.check_thread()
        if make is self._guard is None:
            return
        plain = {event: self._guarded.get(event, old) for event, old in self.handlers.items()}
        self._guard, self._guarded = make, {}
        # In place, because sockets look their handlers up in this dict.
        self.handlers.update({event: self._put_guard(old) for event, old in plain.items()})

    def _put_guard(self, handler: Handler) -> Handler:
        """Return what is called instead of a handler, and note what that was."""
        if self._guard is None or handler.is_private or handler.name in _LIFE:
            return handler
        self._guarded[handler.name] = handler
        return self._guard(handler)

    def add_server_side(self, event: str, handler: Handler) -> None:
        """Register the handler of an event that other nodes send.

        Raises:
            LocalProtocolError: there is one already.
        """
        self.workers.check_thread()
        if event in self.server_side:
            raise LocalProtocolError(f"{self.name} has a server-side handler of {event!r} already")
        self.inherit_server_side(event, handler)

    def inherit_server_side(self, event: str, handler: Handler) -> None:
        """Take over the server-side handler of an event, unless there is one already."""
        self.server_side.setdefault(event, handler)
        for heir in self._heirs:
            heir.inherit_server_side(event, handler)

    def add_expired(self, handler: Handler) -> None:
        """Register the handler of expired sessions.

        Raises:
            LocalProtocolError: there is one already.
        """
        self.workers.check_thread()
        if self.expired is not None:
            raise LocalProtocolError(f"{self.name} has a handler of expired sessions already")
        self.inherit_expired(handler)

    def inherit_expired(self, handler: Handler | None) -> None:
        """Take over a handler of expired sessions, unless there is one already."""
        self.expired = self.expired or handler
        for heir in self._heirs:
            heir.inherit_expired(handler)

    def add_unhandled(self, handler: Handler) -> None:
        """Register the handler of events that have no other.

        Raises:
            LocalProtocolError: there is one already.
        """
        self.workers.check_thread()
        if self.unhandled is not None:
            raise LocalProtocolError(f"{self.name} has a handler of unhandled events already")
        self.inherit_unhandled(handler)

    def inherit_unhandled(self, handler: Handler | None) -> None:
        """Take over a handler of unhandled events, unless there is one already."""
        self.unhandled = self.unhandled or handler
        for heir in self._heirs:
            heir.inherit_unhandled(handler)

    def unhandled_for(self, event: str | float) -> Handler | None:
        """Return the handler of unhandled events, to be called for this one, or None."""
        handler = self.unhandled
        if handler is not None:
            handler = Deputy(event, _with_name(handler, event), handler)
        if self._guard is None:
            return handler
        return self._guard(handler or Deputy(event, _ignore, None))


def _ignore(*_: Any) -> None:
    """Stand in for the handler of an event that has none.

    Raises:
        EventRefused: always, so that nothing is answered (SIO5-22).
    """
    raise EventRefused("the event has no handler")


def _with_name(handler: Handler, event: str | float) -> Callable[..., Any]:
    """Return a function that calls a handler with the event's name after the socket."""
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
    """Refuse a name that is reserved between servers, or that is not text.

    Raises:
        LocalProtocolError: no server can send such an event.
    """
    if not isinstance(event, str):
        raise LocalProtocolError(f"the name of an event between servers is text, not {event!r}")
    if event in SERVER_RESERVED:
        raise LocalProtocolError(f"the event name {event!r} is reserved between servers")
