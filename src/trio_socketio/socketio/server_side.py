"""Events that servers send one another."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.handlers import Handler


class ServerSideEvent:
    """One that came from another node, on its way to its handler.

    Args:
        namespace: its name, for the log.
        handler: of the event.
        arguments: without the event's name.
        answer: called with what the handler returns.
    """

    __slots__ = ("_answer", "_arguments", "_handler", "_namespace")

    def __init__(
        self,
        namespace: str,
        handler: "Handler",
        arguments: list[Any],
        answer: Callable[[Any], None] | None,
    ) -> None:
        self._namespace = namespace
        self._handler = handler
        self._arguments = arguments
        self._answer = answer

    def give_up(self) -> int:
        """See EventJob."""
        return 1

    async def run(self, workers: "Workers") -> bool:
        """See Job."""
        handler = self._handler
        try:
            if handler.is_async:
                result = await workers.call_async(handler.function, *self._arguments)
            else:
                result = workers.call(handler, self._arguments)
            if self._answer is not None:
                self._answer(result)
        except BaseException as error:
            workers.log_failure(handler, f"server-side, {self._namespace}", error)
        return False
