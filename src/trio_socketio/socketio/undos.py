"""Undoes what the steps of a joining have done."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.signatures import is_async

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers

Undo = Callable[[], Coroutine[Any, Any, None] | None]

UNDO_S: Final = 5.0
"""How long each of them may take. One that hangs takes no time from the others."""


class Undos:
    """Functions that undo what steps have done. Each is called once, the last one first.

    Args:
        workers: run them.
        name: the namespace that the client was joining, for the log.
    """

    __slots__ = ("_functions", "_name", "_workers")

    def __init__(self, workers: "Workers", name: str) -> None:
        self._workers = workers
        self._name = name
        self._functions: list[Undo] = []

    def add(self, function: Undo) -> None:
        """Register a plain or async function."""
        self._functions.append(function)

    @property
    def has_async(self) -> bool:
        """Whether one of them is async, so that a task is needed."""
        return any(map(is_async, self._functions))

    def run(self) -> None:
        """Call them (JOIN-11, JOIN-12). None of them may be async."""
        while self._functions:
            self._call(self._functions.pop())

    async def run_async(self) -> None:
        """Call them, also while the server is cancelled: a claim must not outlive its client."""
        while self._functions:
            function: Any = self._functions.pop()  # popped first, so that none is called twice
            if not is_async(function):
                self._call(function)
                continue
            try:
                ends = trio.current_time() + UNDO_S
                with trio.CancelScope(shield=True, deadline=ends) as scope:
                    await self._workers.call_async(function)
                if scope.cancelled_caught:
                    raise TimeoutError(f"it took longer than {UNDO_S} s, and was cancelled")
            except BaseException as error:
                self._log(error)

    def _call(self, function: Undo) -> None:
        try:
            self._workers.run(function)
        except BaseException as error:
            self._log(error)

    def _log(self, error: BaseException) -> None:
        # Clients may have made the name up, so it must not be a kind of failure (SURF-34).
        self._workers.log_failure("an undo of joining", self._name, error)
