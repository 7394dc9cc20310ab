"""What sees every event of one socket before its handler: catch-all listeners, event middleware.

A socket looks its handlers up in a table, the namespace's. One that has listeners or middleware of
its own looks them up in an `Interception` instead: others pay nothing for it.
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
from trio_socketio.socketio.handlers import Handler

if TYPE_CHECKING:
    from trio_socketio.socketio.registry import Registry

Listener = Callable[..., Any]

_LIFE: Final = ("connection", "disconnecting", "disconnect")  # no events of the client


class HandlerTable(Protocol):
    """Where a socket finds the handler of an event."""

    def get(self, event: str | float, /) -> Handler | None:
        """The handler, or None."""


class Interception:
    """Stands in for a namespace's handlers: whatever it is asked for, listeners come first.

    Args:
        registry: of the namespace.

    Attributes:
        is_async: whether any listener or middleware is.
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
        """Whether nothing is left to do in between."""
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
        """Remove a listener, or all; one that was not registered is ignored."""
        remove_listener(self.listeners, listener)
        self._changed()

    def _changed(self) -> None:
        self.is_async = any(map(is_async, (*self.listeners, *self._middleware)))

    def get(self, event: str | float, /) -> Handler:
        """A handler that calls listeners, middleware and the real handler, if there is one."""
        handler = self._registry.handlers.get(event) or self._registry.unhandled_for(event)
        return InterceptedHandler(event, self, handler)

    def wrap(self, handler: Handler) -> Handler:
        """The same for a handler that was found already; "disconnect" and its like stay alone."""
        if handler.name in _LIFE:
            return handler
        if isinstance(handler, InterceptedHandler):
            return InterceptedHandler(handler.name, self, handler.inner)
        return InterceptedHandler(handler.name, self, handler)

    def handle(
        self, event: str | float, handler: Handler | None, socket: Any, *arguments: Any
    ) -> Any:
        """Do it all here and now: nothing on the way is async."""
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self._middleware)
        for listener in listeners:
            try:
                _call(listener, *packet)
            except BaseException as error:
                self._log(listener, socket.id, error)
        for function in middleware:
            check_verdict(_call(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return handler.function(socket, *packet[1:])

    async def handle_async(
        self, event: str | float, handler: Handler | None, socket: Any, *arguments: Any
    ) -> Any:
        """Do it all, in a worker."""
        packet = [event, *arguments]
        listeners, middleware = tuple(self.listeners), tuple(self._middleware)
        for listener in listeners:
            try:
                await _call_any(listener, *packet)
            except BaseException as error:
                self._log(listener, socket.id, error)
        for function in middleware:
            check_verdict(await _call_any(function, packet), function)
        if handler is None:
            raise EventRefused(f"{event!r} has no handler")
        return await _call_any(handler.function, socket, *packet[1:])

    def _log(self, listener: Listener, socket_id: str, error: BaseException) -> None:
        name = f"catch-all listener {function_name(listener)}"
        self._registry.workers.log_failure(name, socket_id, error)


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


def remove_listener(listeners: list[Listener], listener: Listener | None) -> None:
    """Remove a listener, or all; one that was not registered is ignored."""
    if listener is None:
        listeners.clear()
    elif listener in listeners:
        listeners.remove(listener)
