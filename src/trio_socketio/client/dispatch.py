"""What arrives in one namespace, handed to the program: one event at a time, in order.

The reader queues; one task takes from the queue, gives every event to the streams and then calls
its handlers, plain or async, each to its end. Nothing a handler raises goes further than the log.
"""

import inspect
import logging
import types
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, TypeVar

import trio

from trio_socketio.client.acks import answer_arguments
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError

log = logging.getLogger(__name__)

HOOKS: Final = ("connect", "disconnect", "connect_error")
"""Names that the client itself calls handlers by: the wire does not carry them."""

Function = TypeVar("Function", bound=Callable[..., Any])
Acknowledge = Callable[[list[Any]], None]


class ReceivedEvent:
    """An event from the server.

    Args:
        name: of the event.
        arguments: what came with it; bytes where binary was sent. Where the server restores
            sessions, the last may be the offset that it marks its packets with.
        acknowledge: sends the answer; None if the server asks for none.
    """

    __slots__ = ("_acknowledge", "arguments", "has_offset", "name")

    def __init__(
        self,
        name: str | float,
        arguments: list[Any],
        acknowledge: Acknowledge | None = None,
        *,
        has_offset: bool = False,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.has_offset = has_offset
        self._acknowledge = acknowledge

    def __repr__(self) -> str:
        return f"ReceivedEvent({self.name!r}, {self.arguments!r})"

    @property
    def wants_answer(self) -> bool:
        """Whether the server waits for an acknowledgement that was not given yet."""
        return self._acknowledge is not None

    def answer(self, *values: Any) -> None:
        """Acknowledge it. Plain.

        Raises:
            LocalProtocolError: nobody asked, it was answered, or a value cannot be sent.
        """
        acknowledge = self._acknowledge
        if acknowledge is None:
            raise LocalProtocolError(f"event {self.name!r} waits for no answer")
        acknowledge(list(values))
        self._acknowledge = None


class Handler:
    """A function registered for an event.

    Args:
        function: plain or async.
    """

    __slots__ = ("arity", "function")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.arity = _arity(function)

    async def call(self, arguments: list[Any]) -> Any:
        """Call it; raises what it raises."""
        result = self.function(*arguments)
        return await result if isinstance(result, types.CoroutineType) else result


class Dispatcher:
    """The handlers and streams of one namespace, and what waits for them.

    Args:
        limit: events that may wait before reading stops.
    """

    def __init__(self, limit: int) -> None:
        self.failed = 0
        self._limit = limit
        self._handlers: dict[str | float, Handler] = {}
        self._any: list[Handler] = []
        self._streams: list[trio.MemorySendChannel[ReceivedEvent]] = []
        self._queue: deque[ReceivedEvent] = deque()
        self._arrived = trio.Event()
        self._room = trio.Event()
        self._stopped = False

    def add_handler(self, name: str | float, function: Callable[..., Any]) -> None:
        """Call function for events of that name, or for a hook.

        Raises:
            LocalProtocolError: the name has a handler, or nothing can have that name.
        """
        if name in RESERVED_EVENTS and name not in HOOKS:
            raise LocalProtocolError(f"the event name {name!r} is reserved")
        if name in self._handlers:
            raise LocalProtocolError(f"there is a handler for {name!r} already")
        self._handlers[name] = Handler(function)

    def add_any(self, function: Callable[..., Any]) -> None:
        """Call function with the name and arguments of every event, before its handler."""
        self._any.append(Handler(function))

    def open_stream(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """A channel that gets every event from now on."""
        sender, receiver = trio.open_memory_channel[ReceivedEvent](self._limit)
        self._streams.append(sender)
        return receiver

    def close_streams(self) -> None:
        """Nothing more will come: whoever iterates gets what is there, and then the end.

        It takes its turn behind the events that wait.
        """
        self.push(_END)

    def push(self, event: ReceivedEvent) -> None:
        """Queue an event. Plain; dropped once the program's block has ended."""
        if not self._stopped:
            self._queue.append(event)
            self._arrived.set()

    def call_hook(self, name: str, *arguments: Any) -> None:
        """Queue the call of a hook behind the events that wait. Plain."""
        if name in self._handlers:
            self.push(_Hook(name, list(arguments)))

    def is_full(self, factor: int = 1) -> bool:
        """Whether reading should stop; factor: times the limit."""
        return len(self._queue) >= self._limit * factor

    async def wait_room(self) -> None:
        """Wait until something was taken from the queue, or poke was called."""
        self._room = trio.Event()
        await self._room.wait()

    def poke(self) -> None:
        """Have wait_room return."""
        self._room.set()

    async def run(self) -> None:
        """Handle what is queued, until cancelled."""
        try:
            while True:
                while self._queue:
                    event = self._queue.popleft()
                    self._room.set()
                    await self._handle(event)
                    await trio.lowlevel.checkpoint_if_cancelled()
                self._arrived = trio.Event()
                await self._arrived.wait()
        finally:
            self._stopped = True
            self._queue.clear()
            self._room.set()
            self._close_streams()

    async def _handle(self, event: ReceivedEvent) -> None:
        if event is _END:
            self._close_streams()
            return
        if not isinstance(event, _Hook):
            for sender in tuple(self._streams):
                try:
                    await sender.send(event)
                except trio.BrokenResourceError:  # nobody reads it any more
                    self._streams.remove(sender)
            for handler in self._any:
                await self._call(event, handler, [event.name, *event.arguments])
        function = self._handlers.get(event.name)
        if function is not None:
            arguments = event.arguments
            if event.has_offset and len(arguments) == function.arity + 1:
                arguments = arguments[:-1]  # it has no parameter for the offset
            await self._call(event, function, arguments, answers=True)

    async def _call(
        self, event: ReceivedEvent, handler: Handler, arguments: list[Any], *, answers: bool = False
    ) -> None:
        try:
            result = await handler.call(arguments)
            if answers and event.wants_answer:
                event.answer(*answer_arguments(result))
        except Exception as error:
            self.failed += 1
            where = getattr(handler.function, "__qualname__", repr(handler.function))
            log.error("handler %s of %r failed", where, event.name, exc_info=error)

    def _close_streams(self) -> None:
        for sender in self._streams:
            sender.close()
        self._streams.clear()


class _Hook(ReceivedEvent):
    """Looks like an event, so that it keeps its place among them; streams do not see it."""

    __slots__ = ()


_END: Final = _Hook("", [])


def _arity(function: Callable[..., Any]) -> float:
    """How many positional arguments it takes at most."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of what is written in C
        return inf
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return inf
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)
