"""Whether a function of the program can be called as it will be: asked when it is registered.

A handler that takes too few arguments would otherwise fail with its first event, in production.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from trio_socketio.errors import LocalProtocolError


def find_misfit(function: Any, arguments: Sequence[str], *, more: bool = False) -> str | None:
    """Say why a function can never be called with these arguments.

    Args:
        function: what a program has registered.
        arguments: what it will be called with, by position; names for the message.
        more: others may follow, as many as the other side likes.
    Returns:
        A sentence without a full stop; None if it can be called, or may be for all that is known.
    """
    if not callable(function):
        return f"{function!r} is not a function"
    try:
        # What it wraps does not matter: a wrapper may take other arguments.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some of what is written in C tells nothing
        return None
    given: list[str] = list(arguments)
    if more:
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
        return f"{function!r} will be called with ({shown}), and that cannot be: {error}"
    return None


def check_function(
    what: str, function: Any, arguments: Sequence[str], *, more: bool = False
) -> None:
    """Refuse a function that can never be called so; see find_misfit.

    Args:
        what: is registered, for the message.
        function: see find_misfit.
        arguments: see find_misfit.
        more: see find_misfit.
    Raises:
        LocalProtocolError: it can never be called so.
    """
    misfit = find_misfit(function, arguments, more=more)
    if misfit is not None:
        raise LocalProtocolError(f"{what}: {misfit}")


def check_event_key(event: Any) -> None:
    """Look at what a handler is registered for: an event's name, which is text or a number.

    Raises:
        LocalProtocolError: it is something else, such as a function under a bare ``@on``.
    """
    if isinstance(event, (str, int, float)) and not isinstance(event, bool):
        return
    if callable(event):
        raise LocalProtocolError(
            f'the event\'s name is missing: write @on("name") above {event!r}, with parentheses'
        )
    raise LocalProtocolError(f"an event's name is text or a number, not {event!r}")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - its kind matters, not its being there
    )
