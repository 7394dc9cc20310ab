"""Events that servers send one another."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.handlers import Handler

MAX_OPEN: Final = 1000
"""The most events of other nodes that may wait for their handlers or run, in one namespace."""


def _nothing() -> None:
    """Nobody counts this event."""


class ServerSideEvent:
    """An event on its way to a handler: another node has sent it, or a session has expired.

    Args:
        namespace: its name, for the log.
        handler: of the event.
        arguments: of the event, without its name.
        answer: called with what the handler returns; None if no answer is asked for.
        done: called once when the event has been handled or dropped.
    """

    __slots__ = ("_answer", "_arguments", "_done", "_handler", "_namespace")

    def __init__(
        self,
        namespace: str,
        handler: "Handler",
        arguments: list[Any],
        answer: Callable[[Any], None] | None,
        done: Callable[[], None] = _nothing,
    ) -> None:
        self._namespace = namespace
        self._handler = handler
        self._arguments = arguments
        self._answer = answer
        self._done = done

    def give_up(self) -> int:
        """Drop the event."""
        self._done()
        return 1

    async def run(self, workers: "Workers") -> bool:
        """Call the handler, and answer. Returns False: the clock was not read."""
        handler = self._handler
        try:
            if handler.is_async:
                workers.running = handler
                result = await workers.call_async(handler.function, *self._arguments)
            else:
                result = workers.call(handler, self._arguments)
            if self._answer is not None:
                self._answer(result)
        except BaseException as error:
            workers.log_failure(handler, f"server-side, {self._namespace}", error)
        finally:
            self._done()
        return False
