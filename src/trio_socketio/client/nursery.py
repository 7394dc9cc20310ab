"""A nursery that raises what its block has raised, and no group around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio_socketio.runtime.groups import raise_unchanged


@asynccontextmanager
async def open_bare_nursery() -> AsyncIterator[trio.Nursery]:
    """Run tasks while the block runs, and cancel them at its end.

    Raises:
        BaseException: what the block has raised, also if it was cancelled at the same time. A
            group is raised only if a task has failed as well.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # CLI-37: besides the failure there are only the Cancelled of tasks. They may be left out,
        # because a cancelled task gets another one at its next checkpoint.
        failures = [each for each in group.exceptions if not isinstance(each, trio.Cancelled)]
        if len(failures) != 1:
            raise
        raise_unchanged(failures.pop())
