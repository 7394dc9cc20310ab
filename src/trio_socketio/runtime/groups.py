"""Takes a single exception out of the groups that nurseries put around it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn, TypeVar

from trio_socketio.runtime.barrier import sole_error

T = TypeVar("T")


@asynccontextmanager
async def alone(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter a nursery, or what holds nurseries open, and raise a single exception as itself.

    A group that the block raises is the program's own, and is not taken apart. Several exceptions
    at once still come as a group.

    Raises:
        BaseException: what the block or a task has raised, with its cause and context.
    """
    own: BaseException | None = None
    try:
        async with manager as entered:
            try:
                yield entered
            except BaseException as error:
                own = error
                raise
    except BaseExceptionGroup as group:
        raise_unchanged(
            own if own is not None and _leaves(own) == _leaves(group) else sole_error(group)
        )
    finally:
        own = None  # it refers to this frame, and this frame to it


def _leaves(error: BaseException) -> list[int]:
    """Identify the exceptions in a group, as a nursery that drops Cancelled makes a new group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [id(error)]


def raise_unchanged(error: BaseException) -> NoReturn:
    """Raise an exception that was caught before, and keep its context.

    Python sets the context of what is raised to the exception that is being handled. Here that is
    the group that error comes from, or what has cancelled a task: it would take the place of the
    context that error had, which tells where it comes from.
    """
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context  # they refer to this frame, and this frame to them
