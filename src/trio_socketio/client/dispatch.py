"""Hands the events of one namespace to the program, one at a time and in order (CLI-14).

Each event goes to the streams first and then to its handlers. If the queue is empty and neither a
handler nor a stream would have to be waited for, this happens where the event is read. Otherwise
the event is queued, and one task takes events from the queue and runs each handler to its end.
Whatever a handler raises ends in the log; only a cancellation is passed on.
"""

import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from math import inf
from typing import Any, Final, TypeVar

import trio

from trio_socketio.acks import answer_arguments
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.runtime.failures import FailureLog
from trio_socketio.signatures import check_function, is_async

HOOKS: Final[dict[str | float, tuple[str, ...]]] = {
    "connect": (),
    "disconnect": ("reason",),
    "connect_error": ("error",),
}
"""Events that the client itself makes, with the arguments that their handlers get."""

Function = TypeVar("Function", bound=Callable[..., Any])
Acknowledge = Callable[[list[Any]], None]


class ReceivedEvent:
    """An event from the server.

    Args:
        name: of the event.
        arguments: what came with it; bytes where binary was sent. If the server restores sessions,
            the last argument may be the offset that it marks its packets with.
        acknowledge: sends the answer; None if the server asks for none.
        has_offset: whether the last argument was taken for an offset.

    Attributes:
        name: see above.
        arguments: see above.
        has_offset: see above.
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
        """Whether the server waits for an acknowledgement that has not been given yet."""
        return self._acknowledge is not None

    def answer(self, *values: Any) -> None:
        """Acknowledge the event. Never blocks.

        Raises:
            LocalProtocolError: the server did not ask, the event was answered before, a value
                cannot be sent, or the client runs in another thread.
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

    __slots__ = ("arity", "function", "is_async")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.arity = _arity(function)
        self.is_async = is_async(function)

    def __str__(self) -> str:
        return f"handler {getattr(self.function, '__qualname__', repr(self.function))}"


class Streams:
    """The channels through which a program iterates over events.

    Args:
        limit: how many events a channel holds that the program has not read yet.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._senders: list[trio.MemorySendChannel[ReceivedEvent]] = []

    @property
    def are_open(self) -> bool:
        """Whether the program has opened any that was not ended or closed."""
        return bool(self._senders)

    @property
    def have_room(self) -> bool:
        """Whether each of them can take an event at once."""
        if not self._senders:  # as in most programs, and this is asked for each event
            return True
        states = [sender.statistics() for sender in self._senders]
        return all(state.current_buffer_used < state.max_buffer_size for state in states)

    def open(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """Make a channel that gets every event from now on."""
        sender, receiver = trio.open_memory_channel[ReceivedEvent](self._limit)
        self._senders.append(sender)
        return receiver

    def feed_now(self, event: ReceivedEvent) -> None:
        """Hand an event to all of them, which must have room."""
        for sender in tuple(self._senders):
            try:
                sender.send_nowait(event)
            except trio.BrokenResourceError:  # the program has closed it
                self._senders.remove(sender)

    async def feed(self, event: ReceivedEvent) -> None:
        """Hand an event to all of them, and wait for those that are full."""
        for sender in tuple(self._senders):
            try:
                await sender.send(event)
            except trio.BrokenResourceError:  # the program has closed it
                self._senders.remove(sender)

    def end(self) -> None:
        """End all of them. What they hold can still be read."""
        self.close()
        self._senders.clear()

    def close(self) -> None:
        """End all of them for good. `are_open` still says whether there were any."""
        for sender in self._senders:
            sender.close()


class _State(Enum):
    BUSY = auto()  # events wait or are being handled, or the task does not run yet
    RESTING = auto()  # the task has nothing to do
    STOPPED = auto()  # the program's block has ended


class Dispatcher:
    """The handlers and streams of one namespace, and the events that wait for them.

    Args:
        namespace: its name, for the log.
        limit: how many events may wait before reading stops.
        failures: logs what handlers raise.

    Attributes:
        failed: how many calls of handlers have failed.
        dropped: how many events were not handled because the program's block has ended.
    """

    def __init__(self, namespace: str, limit: int, failures: FailureLog) -> None:
        self.failed = 0
        self.dropped = 0
        self._where = "" if namespace == "/" else f" in {namespace}"
        self._limit = limit
        self._failures = failures
        self._handlers: dict[str | float, Handler] = {}
        self._any: list[Handler] = []
        self._streams = Streams(limit)
        self._queue: deque[ReceivedEvent] = deque()
        self._arrived = trio.Event()
        self._room = trio.Event()
        self._state = _State.BUSY

    def add_handler(self, name: str | float, function: Callable[..., Any]) -> None:
        """Call function for the events of a name, or as a hook.

        Raises:
            LocalProtocolError: the name has a handler, or is reserved; or function cannot be called
                with the arguments that it will get.
        """
        arguments = HOOKS.get(name)
        check_function(f"handler of {name!r}", function, arguments or (), more=arguments is None)
        if name in RESERVED_EVENTS and name not in HOOKS:
            raise LocalProtocolError(f"the event name {name!r} is reserved")
        if name in self._handlers:
            raise LocalProtocolError(f"there is a handler for {name!r} already")
        self._handlers[name] = Handler(function)

    def add_any(self, function: Callable[..., Any]) -> None:
        """Call function with the name and arguments of every event, before its handler.

        Raises:
            LocalProtocolError: function cannot be called so.
        """
        check_function("catch-all listener", function, ("name",), more=True)
        self._any.append(Handler(function))

    def open_stream(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """Make a channel that gets every event from now on. After `stop` it has ended already."""
        receiver = self._streams.open()
        if self._state is _State.STOPPED:
            self._streams.end()
        return receiver

    def close_streams(self) -> None:
        """End the streams after the events that wait now, which they still get."""
        self._enqueue(_END)

    def push(self, event: ReceivedEvent) -> None:
        """Handle an event now, or queue it. Once the block has ended, drop and count it."""
        if self._state is _State.RESTING and self._can_handle_now(event):
            self._streams.feed_now(event)
            for handler, arguments, answers in self._calls(event):
                self._call_now(event, handler, arguments, answers=answers)
        else:
            self._enqueue(event)

    def _enqueue(self, event: ReceivedEvent) -> None:
        if self._state is _State.STOPPED:
            self._drop(event)
        else:
            self._state = _State.BUSY
            self._queue.append(event)
            self._arrived.set()

    def _drop(self, event: ReceivedEvent) -> None:
        """Count an event that will not be handled (CLI-46), if anything would have handled it."""
        if not isinstance(event, _Hook) and (
            self._streams.are_open or self._any or event.name in self._handlers
        ):
            self.dropped += 1

    def call_hook(self, name: str, *arguments: Any) -> None:
        """Queue the call of a hook behind the events that wait."""
        self._enqueue(_Hook(name, list(arguments)))

    def is_full(self, factor: int = 1) -> bool:
        """Whether so many events wait that reading should stop.

        Args:
            factor: times the limit.
        """
        return len(self._queue) >= self._limit * factor

    async def wait_room(self) -> None:
        """Wait until an event is taken from the queue, or poke is called."""
        self._room = trio.Event()
        await self._room.wait()

    def poke(self) -> None:
        """Make wait_room return although nothing was taken."""
        self._room.set()

    # A real Ctrl-C in a handler would pass for an exception of that handler (CLI-18). Under
    # protection trio raises it in the main task instead.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Handle queued events until cancelled."""
        try:
            while True:
                while self._queue:
                    event = self._queue.popleft()
                    self._room.set()
                    await self._handle(event)
                    await trio.lowlevel.checkpoint_if_cancelled()
                self._arrived = trio.Event()
                self._state = _State.RESTING
                await self._arrived.wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """Drop the events that wait and all that will come, and end the streams."""
        self._state = _State.STOPPED
        for event in self._queue:
            self._drop(event)
        self._queue.clear()
        self._room.set()
        self._streams.close()

    async def _handle(self, event: ReceivedEvent) -> None:
        if event is _END:
            self._streams.end()
            return
        if not isinstance(event, _Hook):
            try:
                await self._streams.feed(event)
            except trio.Cancelled:
                self._drop(event)
                raise
        for handler, arguments, answers in self._calls(event):
            if not handler.is_async:
                self._call_now(event, handler, arguments, answers=answers)
                continue
            try:
                result = await handler.function(*arguments)
                if answers and event.wants_answer:
                    event.answer(*answer_arguments(result))
            except BaseException as error:
                self._contain(event, handler, error)

    def _calls(self, event: ReceivedEvent) -> Iterator[tuple[Handler, list[Any], bool]]:
        """Yield each handler, its arguments, and whether its result is the answer (CLI-13)."""
        if not isinstance(event, _Hook):
            for handler in self._any:
                yield handler, [event.name, *event.arguments], False
        found = self._handlers.get(event.name)
        if found is not None:
            arguments = event.arguments
            if event.has_offset and len(arguments) == found.arity + 1:
                arguments = arguments[:-1]  # the handler has no parameter for the offset
            yield found, arguments, True

    def _can_handle_now(self, event: ReceivedEvent) -> bool:
        handler = self._handlers.get(event.name)
        if (handler is not None and handler.is_async) or any(any_.is_async for any_ in self._any):
            return False
        return self._streams.have_room

    def _call_now(
        self, event: ReceivedEvent, handler: Handler, arguments: list[Any], *, answers: bool
    ) -> None:
        try:
            result = handler.function(*arguments)
            if isinstance(result, types.CoroutineType):
                result.close()
                raise LocalProtocolError(f"{handler} gave a coroutine, but is not async")
            if answers and event.wants_answer:
                event.answer(*answer_arguments(result))
        except BaseException as error:
            self._contain(event, handler, error)

    def _contain(self, event: ReceivedEvent, handler: Handler, error: BaseException) -> None:
        """Log and count what a handler raised, but raise a cancellation again."""
        failure, cancelled = split_failure(error)
        if failure is not None:
            self.failed += 1
            # A catch-all is named without the event, as the server could fill the log with names.
            of = "any event" if handler in self._any else repr(event.name)
            self._failures.tell(f"{handler} of {of}{self._where}", "", failure)
        if cancelled is not None:
            raise cancelled from None


class _Hook(ReceivedEvent):
    """The call of a hook, which is queued among the events; streams do not get it."""

    __slots__ = ()


_END: Final = _Hook("", [])


def _arity(function: Callable[..., Any]) -> float:
    """How many positional arguments a function takes at most."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not tell
        return inf
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return inf
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)
