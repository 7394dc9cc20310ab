"""A handler behind a guard."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from trio_socketio.socketio.handlers import Deputy, Handler

if TYPE_CHECKING:
    from trio_socketio.im.rules.denial import Denied
    from trio_socketio.runtime.timings import Timing, Timings
    from trio_socketio.socketio.socket import Socket

Judge = Callable[["Socket"], "Denied | None"]
"""Says whether the client of a socket may send an event now; it is counted as sent then."""

Tell = Callable[["Socket", "Denied"], dict[str, Any]]
"""Tells a client that it may not; returns the answer to an event that asks for one."""


class GuardedHandler(Handler):
    """Calls a handler if a client may send the event, and otherwise tells the client why not.

    Args:
        inner: the handler.
        judge: see Judge.
        tell: see Tell.
    """

    __slots__ = ("inner",)

    def __init__(self, inner: Handler, judge: Judge, tell: Tell) -> None:
        self.name = inner.name
        self.inner = inner
        self.is_async = inner.is_async
        self.concurrent = inner.concurrent
        self.timing = None
        self.untimed = 0
        function = inner.function
        if inner.is_async:

            def begin(socket: "Socket", *arguments: Any) -> Coroutine[Any, Any, Any]:
                # It is called as an async function is. A frame is saved at each step of the inner
                # one, because there is none of ours around it.
                denied = judge(socket)
                if denied is None:
                    coroutine: Coroutine[Any, Any, Any] = function(socket, *arguments)
                    return coroutine
                return _answer(tell(socket, denied))

            self.function = begin
            return

        def call(socket: "Socket", *arguments: Any) -> Any:
            denied = judge(socket)
            return function(socket, *arguments) if denied is None else tell(socket, denied)

        self.function = call

    def __str__(self) -> str:
        return str(self.inner)

    def take_timing(self, timings: "Timings") -> "Timing | None":
        if isinstance(self.inner, Deputy):  # a client may have made the name up
            return self.inner.take_timing(timings)
        return super().take_timing(timings)


async def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return answer
