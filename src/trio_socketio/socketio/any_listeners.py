"""What sees every event of one socket: catch-all listeners, and event middleware.

A socket looks its handlers up in a table, the namespace's. One that has listeners or middleware of
its own looks them up in an `Interception` instead: others pay nothing for it.
"""

from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio.lowlevel import enable_ki_protection

from trio_socketio.errors import EventRefused, LocalProtocolError
from trio_socketio.runtime.barrier import disown
from trio_socketio.runtime.jobs import Workers, refuse_coroutine
from trio_socketio.runtime.verdicts import check_verdict, function_name
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.handlers import Handler

if TYPE_CHECKING:
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.registry import Function
    from trio_socketio.socketio.socket import Socket

Listener = Callable[..., Any]

_LIFE: Final = ("connection", "disconnecting", "disconnect")  # no events of the client


class HandlerTable(Protocol):
    """Where a socket finds the handler of an event."""

    def get(self, event: str | float, /) -> Handler | None:
        """The handler, or None."""


class AnyListeners:
    """The part of a socket that registers what sees every event."""

    __slots__ = ("_outgoing", "handlers")

    handlers: HandlerTable
    _outgoing: list[Listener] | None
    if TYPE_CHECKING:  # the socket's
        id: str

        @property
        def connected(self) -> bool:
            """See Socket."""

        @property
        def is_reachable(self) -> bool:
            """See Socket."""

        namespace: Namespace

    def use(self, function: "Function") -> "Function":
        """Register event middleware: called with each event, a list of its name and arguments.

        Plain or async, in order of registration, before the handler, which gets the arguments as
        they are in the list then. What it raises drops the event: EventRefused silently, anything
        else as a failure. No acknowledgement is sent.

        Raises:
            LocalProtocolError: it cannot be called so.
        """
        self.namespace.workers.check_thread()
        check_function("event middleware", function, ("event",))
        interception = self._intercept()
        interception.middleware.append(function)
        interception.changed()
        self.reconsider_queue()
        return function

    # -- what comes in

    def on_any(self, listener: "Function") -> "Function":
        """Register a listener: called with every event's name and arguments, before middleware.

        Plain or async; the next one and the handler wait for it. What it raises is logged, counted,
        and harms nobody.
        """
        self._listen(len(self.listeners_any()), listener)
        return listener

    def prepend_any(self, listener: "Function") -> "Function":
        """Register a listener before the others; see on_any."""
        self._listen(0, listener)
        return listener

    def off_any(self, listener: Listener | None = None) -> None:
        """Remove a listener, or all of them; one that was not registered is ignored."""
        self.namespace.workers.check_thread()
        interception = self.handlers
        if isinstance(interception, Interception):
            _remove(interception.listeners, listener)
            interception.changed()
            if interception.is_idle:
                self.handlers = self.namespace.handlers

    def listeners_any(self) -> list[Listener]:
        """The listeners, in the order in which they are called."""
        interception = self.handlers
        return list(interception.listeners) if isinstance(interception, Interception) else []

    def _listen(self, place: int, listener: Listener) -> None:
        self.namespace.workers.check_thread()
        check_function("catch-all listener", listener, ("name",), more=True)
        interception = self._intercept()
        interception.listeners.insert(place, listener)
        interception.changed()
        self.reconsider_queue()

    def _intercept(self) -> "Interception":
        if not isinstance(self.handlers, Interception):
            self.handlers = Interception(self.namespace)
        return self.handlers

    def intercepted(self, handler: Handler) -> Handler:
        """A handler that was looked up before, as it is to be called now."""
        interception = self.handlers
        if isinstance(interception, Interception) and handler.name not in _LIFE:
            return interception.wrap(handler)
        return handler

    def reconsider_queue(self) -> None:
        """Have what was registered just now see the events that wait, too."""
        raise NotImplementedError

    # -- what goes out

    def on_any_outgoing(self, listener: "Function") -> "Function":
        """Register a listener of what is sent: called with every event's name and arguments.

        Plain; broadcasts that reach the socket count, acknowledgements do not. It is called before
        the event is sent. What it raises is logged, counted, and harms nobody.

        Raises:
            LocalProtocolError: it is async, and an emit cannot wait for it.
        """
        self._overheard_by(listener).append(listener)
        return listener

    def prepend_any_outgoing(self, listener: "Function") -> "Function":
        """Register a listener of what is sent before the others; see on_any_outgoing."""
        self._overheard_by(listener).insert(0, listener)
        return listener

    def off_any_outgoing(self, listener: Listener | None = None) -> None:
        """Remove a listener of what is sent, or all; one that was not registered is ignored."""
        self.namespace.workers.check_thread()
        if self._outgoing is not None:
            _remove(self._outgoing, listener)
            if not self._outgoing:
                self._outgoing = None
                self.namespace.overheard.discard(self)

    def listeners_any_outgoing(self) -> list[Listener]:
        """The listeners of what is sent, in the order in which they are called."""
        return list(self._outgoing or ())

    @property
    def is_overheard(self) -> bool:
        """Whether there are listeners of what is sent."""
        return self._outgoing is not None

    @enable_ki_protection  # the program may emit in any task: Ctrl-C is not a listener's failure
    def overhear(self, arguments: list[Any]) -> None:
        """Tell the listeners what is about to be sent; nothing is, to one who is gone."""
        if not self.is_reachable:
            return
        for listener in tuple(self._outgoing or ()):
            try:
                self.namespace.workers.run(listener, *arguments)
            except BaseException as error:
                self.namespace.workers.log_failure(_name("outgoing", listener), self.id, error)

    def _overheard_by(self, listener: Listener) -> list[Listener]:
        self.namespace.workers.check_thread()
        check_function("outgoing listener", listener, ("name",), more=True)
        if is_async(listener):
            raise LocalProtocolError("a listener of what is sent is a plain function")
        if self._outgoing is None:
            self._outgoing = []
        if self.connected:
            self.namespace.overheard.add(self)
        return self._outgoing


class Interception:
    """Stands in for a namespace's handlers: whatever it is asked for, listeners come first.

    Args:
        namespace: of the socket.
    """

    __slots__ = (
        "_handlers",
        "_unhandled_for",
        "_workers",
        "is_async",
        "listeners",
        "middleware",
    )

    def __init__(self, namespace: "Namespace") -> None:
        self._handlers = namespace.handlers
        self._unhandled_for = namespace.unhandled_for
        self._workers: Workers = namespace.workers
        self.middleware: list[Callable[[list[Any]], Any]] = []
        self.listeners: list[Listener] = []
        self.is_async = False  # whether any of them is

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do in between."""
        return not self.listeners and not self.middleware

    def get(self, event: str | float, /) -> Handler:
        """A handler that calls listeners, middleware and the real handler, if there is one."""
        handler = self._handlers.get(event) or self._unhandled_for(event)
        return InterceptedHandler(event, self, handler)

    def wrap(self, handler: Handler) -> Handler:
        """The same for a handler that was found already."""
        if isinstance(handler, InterceptedHandler):
            return InterceptedHandler(handler.name, self, handler.inner)
        return InterceptedHandler(handler.name, self, handler)

    def changed(self) -> None:
        """Listeners or middleware have come or gone."""
        self.is_async = any(map(is_async, (*self.listeners, *self.middleware)))

    def handle(
        self, event: str | float, handler: Handler | None, socket: "Socket", *arguments: Any
    ) -> Any:
        """Do it all here and now: nothing on the way is async."""
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self.middleware)
        for listener in listeners:
            try:
                _call(listener, *packet)
            except BaseException as error:
                self._workers.log_failure(_name("catch-all", listener), socket.id, error)
        for function in middleware:
            check_verdict(_call(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return handler.function(socket, *packet[1:])

    async def handle_async(
        self, event: str | float, handler: Handler | None, socket: "Socket", *arguments: Any
    ) -> Any:
        """Do it all, in a worker."""
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self.middleware)
        for listener in listeners:
            try:
                await _call_any(listener, *packet)
            except BaseException as error:
                self._workers.log_failure(_name("catch-all", listener), socket.id, error)
        for function in middleware:
            check_verdict(await _call_any(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return await _call_any(handler.function, socket, *packet[1:])


class InterceptedHandler(Handler):
    """The handler of one event that others see before it.

    Args:
        event: its name.
        interception: calls them.
        handler: the real one, if there is one.
    """

    __slots__ = ("inner",)

    def __init__(
        self, event: str | float, interception: Interception, handler: Handler | None
    ) -> None:
        self.name = event
        self.is_async = interception.is_async or (handler is not None and handler.is_async)
        self.concurrent = handler is not None and handler.concurrent
        handle = interception.handle_async if self.is_async else interception.handle
        self.function = partial(handle, event, handler)
        self.inner = handler

    def __str__(self) -> str:
        return str(self.inner or "event middleware")  # the name would be the client's own


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        result = function(*arguments)
    except GeneratorExit as error:
        raise disown(error, function) from error
    if type(result) is CoroutineType:
        refuse_coroutine(result, function)
    return result


async def _call_any(function: Callable[..., Any], *arguments: Any) -> Any:
    result = function(*arguments)
    return await result if type(result) is CoroutineType else result


def _remove(listeners: list[Listener], listener: Listener | None) -> None:
    if listener is None:
        listeners.clear()
    elif listener in listeners:
        listeners.remove(listener)


def _name(kind: str, listener: Listener) -> str:
    return f"{kind} listener {function_name(listener)}"
