"""Acknowledgements: one that this side waits for, and what a handler answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import trio

from trio_socketio.errors import AckTimeout, LocalProtocolError, TrioSocketIOError


class Ack(NamedTuple):
    """One client's answer to a broadcast.

    Args:
        socket_id: the public id of who answered; None when another server does not say it.
        answer: its first argument; None when it answered with nothing.
    """

    socket_id: str | None
    answer: Any


class PendingAck:
    """One event that was sent, or waits to be, and asks for an answer."""

    __slots__ = ("_answer", "_error", "_event", "sent")

    def __init__(self) -> None:
        self.sent = False
        self._event = trio.Event()
        self._answer: list[Any] = []
        self._error: TrioSocketIOError | None = None

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """The peer answered; there is only one that can."""
        self._answer = arguments
        self._event.set()

    def fail(self, error: TrioSocketIOError) -> None:
        """No answer will come; one that has come is kept."""
        if not self._event.is_set():  # else whoever waits has merely not run since
            self._error = error
            self._event.set()

    async def wait(self, timeout_s: float) -> Any:
        """The answer: None for no argument, the argument itself, or a tuple of several.

        Raises:
            AckTimeout: none came in time.
            TrioSocketIOError: why none will come.
        """
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        if not self._event.is_set():
            raise AckTimeout(f"no acknowledgement within {timeout_s} s")
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # with its traceback it would be a cycle, and keep the asker's frames
        return self._answer[0] if len(self._answer) == 1 else tuple(self._answer) or None


def check_timeout(timeout_s: float) -> float:
    """Look at a time that an answer may take.

    Raises:
        LocalProtocolError: it is not a number above zero.
    """
    try:
        is_time = timeout_s > 0
    except TypeError:
        is_time = False
    if not is_time:
        raise LocalProtocolError(f"a timeout is a number of seconds above zero, not {timeout_s!r}")
    return timeout_s


def answer_arguments(result: Any) -> Sequence[Any]:
    """What a handler's return value answers: None nothing, a tuple several, else itself."""
    if result is None:
        return ()
    return result if type(result) is tuple else (result,)
