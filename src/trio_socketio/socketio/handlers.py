"""Functions that are registered for events."""

from collections.abc import Callable
from typing import Any, TypeVar

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import is_async

Function = TypeVar("Function", bound=Callable[..., Any])
"""A decorator that registers a function returns it unchanged."""


class Handler:
    """A function that is registered for an event.

    Args:
        name: of the event, for the log.
        function: plain or async.
        concurrent: whether events of one socket may be handled at the same time.

    Raises:
        LocalProtocolError: the function is concurrent but not async.
    """

    __slots__ = ("concurrent", "function", "is_async", "name")

    def __init__(
        self, name: str | float, function: Callable[..., Any], *, concurrent: bool = False
    ) -> None:
        self.name = name
        self.function = function
        self.is_async = is_async(function)
        self.concurrent = concurrent
        if concurrent and not self.is_async:
            raise LocalProtocolError(f"the handler of {name!r} is concurrent but not async")

    def __str__(self) -> str:
        return f"handler {function_name(self.function)} of {self.name!r}"
