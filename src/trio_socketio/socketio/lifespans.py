"""The lifespans, which a program runs around the time in which its server serves."""

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from trio_socketio.errors import LocalProtocolError
from trio_socketio.runtime.groups import alone, raise_unchanged
from trio_socketio.runtime.verdicts import function_name
from trio_socketio.signatures import check_function

log = logging.getLogger(__name__)

Lifespan = Callable[[Any], AsyncIterator[None]]
"""An async generator function; see Server.lifespan."""


class Lifespans:
    """The lifespans of one server, in order of registration."""

    def __init__(self) -> None:
        self._functions: list[Lifespan] = []

    def add(self, function: Lifespan) -> None:
        """Register a lifespan.

        Raises:
            LocalProtocolError: it is not an async generator function of one argument.
        """
        if not inspect.isasyncgenfunction(function):
            raise LocalProtocolError(
                f"a lifespan must be an async generator function, not {function!r}"
            )
        check_function("lifespan", function, ("server",))
        self._functions.append(function)

    def leave_out(self, is_left_out: Callable[[Lifespan], bool]) -> None:
        """Forget some of them: the server has no clients, and they are for those."""
        self._functions = [one for one in self._functions if not is_left_out(one)]

    @asynccontextmanager
    async def entered(self, server: object, grace_s: float) -> AsyncIterator[None]:
        """Be inside all of them while the block runs.

        Args:
            server: what they are called with.
            grace_s: how long each may take behind its ``yield`` before it is cancelled (RUN-23).
        """
        async with AsyncExitStack() as stack:
            for function in self._functions:  # RUN-05
                await stack.enter_async_context(alone(_entered(function, server, grace_s)))
            yield


@asynccontextmanager
async def _entered(function: Lifespan, server: object, grace_s: float) -> AsyncIterator[None]:
    name = function_name(function)
    failure: BaseException | None = None
    try:
        # The scope is opened before the lifespan is entered, because it has to enclose the
        # nurseries that the lifespan holds open. It gets its deadline when the block has ended.
        with trio.CancelScope() as scope:
            async with asynccontextmanager(function)(server):
                try:
                    yield
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    log.info("waiting up to %g s for the lifespan %s", grace_s, name)
                    scope.deadline = trio.current_time() + grace_s  # RUN-23
        if scope.cancelled_caught:
            log.warning("the lifespan %s took longer and was cancelled", name)
            if failure is not None:  # Cancelled has taken its place
                raise_unchanged(failure)
    finally:
        failure = None  # it refers to this frame, and this frame to it
