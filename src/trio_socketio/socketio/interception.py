"""Shows every event of one socket to catch-all listeners and event middleware, before its handler.

A socket looks its handlers up in the table of its namespace. A socket that has listeners or
middleware of its own looks them up in an `Interception` instead, so that others pay nothing for it.
"""

from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol

from trio_socketio.errors import EventRefused
from trio_socketio.runtime.barrier import disown
from trio_socketio.runtime.jobs import refuse_coroutine
from trio_socketio.runtime.verdicts import check_verdict, function_name
from trio_socketio.signatures import check_function, is_async
from trio_socketio.socketio.handlers import Deputy, Handler, PrivateHandler

if TYPE_CHECKING:
    from trio_socketio.socketio.registry import Registry

Listener = Callable[..., Any]

_LIFE: Final = ("connection", "disconnecting", "disconnect")  # called by the server itself


class HandlerTable(Protocol):
    """Where a socket finds the handler of an event."""

    def get(self, event: str | float, /) -> Handler | None:
        """Return the handler of an event, or None."""


class Interception:
    """Stands in for the handlers of a namespace: listeners and middleware come before each handler.

    Args:
        registry: of the namespace.

    Attributes:
        is_async: whether any listener or middleware is async.
        listeners: in the order in which they are called. Do not change the list.
    """

    __slots__ = ("_middleware", "_registry", "is_async", "listeners")

    def __init__(self, registry: "Registry") -> None:
        self._registry = registry
        self._middleware: list[Callable[[list[Any]], Any]] = []
        self.listeners: list[Listener] = []
        self.is_async = False

    @property
    def is_idle(self) -> bool:
        """Whether there is neither a listener nor middleware."""
        return not self.listeners and not self._middleware

    def use(self, function: Callable[..., Any]) -> None:
        """Add event middleware behind the others."""
        check_function("event middleware", function, ("event",))
        self._middleware.append(function)
        self._changed()

    def listen(self, place: int, listener: Listener) -> None:
        """Insert a catch-all listener."""
        check_function("catch-all listener", listener, ("name",), more=True)
        self.listeners.insert(place, listener)
        self._changed()

    def unlisten(self, listener: Listener | None) -> None:
        """Remove a listener, or all if it is None; one that is not registered is ignored."""
        remove_listener(self.listeners, listener)
        self._changed()

    def _changed(self) -> None:
        self.is_async = any(map(is_async, (*self.listeners, *self._middleware)))

    def get(self, event: str | float, /) -> Handler:
        """Return a handler that calls listeners, middleware and the real handler, if any."""
        handler = self._registry.handlers.get(event) or self._registry.unhandled_for(event)
        if type(handler) is PrivateHandler:  # IDENT-33
            return handler
        return InterceptedHandler(event, self, handler)

    def wrap(self, handler: Handler) -> Handler:
        """Do the same for a handler that was looked up before.

        The handlers of a socket's life, such as "disconnect", are no events of the client: they
        stay as they are. So do those of the server's own.
        """
        if handler.name in _LIFE or type(handler) is PrivateHandler:
            return handler
        if isinstance(handler, InterceptedHandler):
            return InterceptedHandler(handler.name, self, handler.inner)
        return InterceptedHandler(handler.name, self, handler)

    def handle(
        self, event: str | float, handler: Handler | None, socket: Any, *arguments: Any
    ) -> Any:
        """Call listeners, middleware and handler here and now: none of them is async.

        Raises:
            EventRefused: there is no handler, so nothing may be answered.
            Exception: whatever middleware or the handler raises (SURF-05).
        """
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self._middleware)
        for listener in listeners:
            try:
                _call(listener, *packet)  # SURF-50: what it returns means nothing
            except BaseException as error:
                self._log(listener, socket.public_id, error)
        for function in middleware:
            check_verdict(_call(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return handler.function(socket, *packet[1:])

    async def handle_async(
        self, event: str | float, handler: Handler | None, socket: Any, *arguments: Any
    ) -> Any:
        """Do the same in a worker, and await what is async."""
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self._middleware)
        for listener in listeners:
            try:
                await _call_any(listener, *packet)
            except BaseException as error:
                self._log(listener, socket.public_id, error)
        for function in middleware:
            check_verdict(await _call_any(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return await _call_any(handler.function, socket, *packet[1:])

    def _log(self, listener: Listener, socket_id: str, error: BaseException) -> None:
        name = f"catch-all listener {function_name(listener)}"
        self._registry.workers.log_failure(name, socket_id, error)


class InterceptedHandler(Deputy):
    """The handler of an event that listeners and middleware see first.

    Args:
        event: its name.
        interception: calls them.
        handler: the real handler; None if there is none.
    """

    __slots__ = ()

    def __init__(
        self, event: str | float, interception: Interception, handler: Handler | None
    ) -> None:
        self.name = event
        self.is_async = interception.is_async or (handler is not None and handler.is_async)
        self.concurrent = handler is not None and handler.concurrent
        handle = interception.handle_async if self.is_async else interception.handle
        self.function = partial(handle, event, handler)
        self.inner = handler
        self.timing = None
        self.untimed = 0

    def __str__(self) -> str:
        return str(self.inner or "event middleware")  # clients must not make up kinds of failures


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


def remove_listener(listeners: list[Listener], listener: Listener | None) -> None:
    """Remove a listener, or all if it is None; one that is not registered is ignored."""
    if listener is None:
        listeners.clear()
    elif listener in listeners:
        listeners.remove(listener)
