"""Functions that are registered for events."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import is_async

if TYPE_CHECKING:
    from trio_socketio.runtime.timings import Timing, Timings

Function = TypeVar("Function", bound=Callable[..., Any])
"""A decorator that registers a function returns it unchanged."""

TIMED_OF: Final = 64
"""One in this number of calls of a plain handler is timed; calls of async handlers are all timed.
Timing every call would cost a twentieth of a small message."""


class Handler:
    """A function that is registered for an event.

    Args:
        name: of the event, for the log.
        function: plain or async.
        concurrent: whether events of one socket may be handled at the same time.

    Raises:
        LocalProtocolError: the function is concurrent but not async.

    Attributes:
        is_private: whether it is one of the server's own.
        is_default: whether it gives way to a handler of the app, whenever that is registered.
        timing: holds the durations of an async handler; None before its first call.
        untimed: how many calls are not timed before the next one that is; 0 for an async handler.
    """

    __slots__ = ("concurrent", "function", "is_async", "name", "timing", "untimed")

    is_private: ClassVar[bool] = False
    is_default: ClassVar[bool] = False

    def __init__(
        self, name: str | float, function: Callable[..., Any], *, concurrent: bool = False
    ) -> None:
        self.name = name
        self.function = function
        self.is_async = is_async(function)
        self.concurrent = concurrent
        self.timing: Timing | None = None
        self.untimed = 0  # the first call is timed, so that rare events are seen too
        if concurrent and not self.is_async:
            raise LocalProtocolError(f"the handler of {name!r} is concurrent but not async")

    def __str__(self) -> str:
        return f"handler {function_name(self.function)} of {self.name!r}"

    def take_timing(self, timings: "Timings") -> "Timing | None":
        """Count a call; return the timing to which its duration is added, or None (OPS-22)."""
        if self.is_async:
            self.timing = timings.find(self.name)
            return self.timing
        if self.untimed:
            self.untimed -= 1
            return None
        self.untimed = TIMED_OF - 1
        return timings.find(self.name)


class PrivateHandler(Handler):
    """A handler of the server's own, whose events are shown to no listener or middleware."""

    __slots__ = ()

    is_private = True


class DefaultHandler(Handler):
    """A handler that gives way to one of the app."""

    __slots__ = ()

    is_default = True


class Deputy(Handler):
    """A handler that was made for one event and calls another handler, which is timed.

    Args:
        name: of the event; a client may have made it up.
        function: plain or async.
        inner: the handler that it calls; None if there is none.
    """

    __slots__ = ("inner",)

    def __init__(
        self, name: str | float, function: Callable[..., Any], inner: Handler | None
    ) -> None:
        super().__init__(name, function)
        self.inner = inner

    def take_timing(self, timings: "Timings") -> "Timing | None":
        return None if self.inner is None else self.inner.take_timing(timings)
