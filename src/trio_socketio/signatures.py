"""Checks the signatures of functions when the program registers them.

A handler that takes too few arguments would otherwise fail at its first event, in production.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from trio_socketio.errors import LocalProtocolError


def find_misfit(function: Any, arguments: Sequence[str], *, more: bool = False) -> str | None:
    """Say why a function can never be called with these arguments.

    Args:
        function: what the program wants to register.
        arguments: names, for the message, of the positional arguments that it will be given.
        more: whether any number of further arguments may follow, as the peer chooses.
    Returns:
        A sentence without a full stop, or None if the call is possible or its signature unknown.
    """
    if not callable(function):
        return f"{function!r} is not a function"
    try:
        # The wrapper is what gets called, and it may take other arguments than what it wraps.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some functions written in C have no signature to inspect
        return None
    given: list[str] = list(arguments)
    if more:
        # The peer may send as many arguments as the function requires, so this is a misfit only
        # if not even the right number would do.
        required = sum(
            parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
            for parameter in signature.parameters.values()
        )
        given += ["..."] * (required - len(given))
    try:
        signature.bind(*given)
    except TypeError as error:
        shown = ", ".join([*arguments, "..."] if more else arguments)
        name = getattr(function, "__qualname__", repr(function))
        return f"{name} will be called with ({shown}), which it cannot take: {error}"
    return None


def check_function(
    what: str, function: Any, arguments: Sequence[str], *, more: bool = False
) -> None:
    """Refuse a function that can never be called with these arguments.

    Args:
        what: names the thing that is registered, for the message.
        function: see find_misfit.
        arguments: see find_misfit.
        more: see find_misfit.
    Raises:
        LocalProtocolError: find_misfit found a reason.
    """
    misfit = find_misfit(function, arguments, more=more)
    if misfit is not None:
        raise LocalProtocolError(f"{what}: {misfit}")


def check_event_key(event: Any) -> None:
    """Check that a handler is registered for an event's name, which is text or a number.

    Raises:
        LocalProtocolError: it is something else, such as the function below a bare ``@on``.
    """
    if isinstance(event, (str, int, float)) and not isinstance(event, bool):
        return
    if callable(event):
        raise LocalProtocolError(
            f'the event\'s name is missing: write @on("name") above {event!r}, with parentheses'
        )
    raise LocalProtocolError(f"an event's name is text or a number, not {event!r}")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of the function returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - asks whether it is async, not callable
    )
