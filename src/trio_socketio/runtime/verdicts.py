"""The verdicts of middleware, which refuses by raising an exception.

In other frameworks, middleware returns False or an error to refuse a client. Middleware written in
that way must not admit every client here, so such a result counts as a refusal, and the log says
what to change.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from trio_socketio.errors import ConnectRefused, LocalProtocolError
from trio_socketio.runtime.barrier import sole_error


class RefusalReturned(LocalProtocolError):
    """Middleware returned a refusal that it should have raised.

    Args:
        function: the middleware.
        result: what it returned.
    """

    def __init__(self, function: Callable[..., Any], result: Any) -> None:
        what = result if result is False or isinstance(result, type) else type(result)
        shown = what.__name__ if isinstance(what, type) else repr(what)
        super().__init__(
            f"{function_name(function)} returned {shown}, which counts as a refusal: raise "
            "ConnectRefused(message) instead, or EventRefused for an event"
        )
        self.returned = result


def check_verdict(result: Any, function: Callable[..., Any]) -> None:
    """Refuse what middleware returned if it would mean a refusal in other frameworks.

    Args:
        result: what the middleware returned.
        function: the middleware, for the message.
    Raises:
        RefusalReturned: the result is False, an exception or a class of exceptions.
    """
    if result is None:
        return
    if (  # SURF-30, SURF-31, SURF-32
        result is False
        or isinstance(result, BaseException)
        or (isinstance(result, type) and issubclass(result, BaseException))
    ):
        raise RefusalReturned(function, result)


def told_refusal(error: BaseException) -> ConnectRefused | None:
    """The refusal to send to the client; None if it is only told that something went wrong."""
    error = sole_error(error)
    if isinstance(error, RefusalReturned):
        error = error.returned
    return error if isinstance(error, ConnectRefused) else None


def function_name(function: Callable[..., Any]) -> str:
    """A function's name for the log, which is the same for all partials and objects of one kind."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__
