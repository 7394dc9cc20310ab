"""Acknowledgements that this side waits for."""

from collections.abc import Sequence
from typing import Any

import trio

from trio_socketio.errors import AckTimeout, SessionClosed


class PendingAck:
    """One event that was sent and asks for an answer."""

    __slots__ = ("_answer", "_event", "_reason")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._answer: list[Any] = []
        self._reason = ""

    def receive(self, arguments: list[Any]) -> None:
        """The peer answered."""
        self._answer = arguments
        self._event.set()

    def fail(self, reason: str) -> None:
        """The peer is gone."""
        self._reason = reason
        self._event.set()

    async def wait(self, timeout_s: float) -> Any:
        """The answer: None for no argument, the argument itself, or a tuple of several.

        Raises:
            AckTimeout: none came in time.
            SessionClosed: the peer disconnected before.
        """
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        if not self._event.is_set():
            raise AckTimeout(f"no acknowledgement within {timeout_s} s")
        if self._reason:
            raise SessionClosed(self._reason)
        return self._answer[0] if len(self._answer) == 1 else tuple(self._answer) or None


def answer_arguments(result: Any) -> Sequence[Any]:
    """What a handler's return value answers: None nothing, a tuple several, else itself."""
    if result is None:
        return ()
    return result if type(result) is tuple else (result,)
