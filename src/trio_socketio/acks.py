"""Acknowledgements: those that this side waits for, and those that its handlers give."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import trio

from trio_socketio.errors import AckTimeout, LocalProtocolError, TrioSocketIOError

DEFAULT_ACK_TIMEOUT_S: Final = 20.0
"""The default timeout for an answer, in seconds."""


class Ack(NamedTuple):
    """One client's answer to a broadcast.

    Args:
        socket_id: the public id of the client that answered; None if the client is connected to
            another server that does not tell.
        answer: the first argument of the answer; None if the answer has no arguments.
    """

    socket_id: str | None
    answer: Any


_NOTHING_YET: Final = object()

Keep = Callable[[Ack], Ack]
"""Says what is kept of an answer to a broadcast, such as a shorter one if it is too large."""


class PendingAck:
    """An event that asks for an answer, and was sent or waits to be sent."""

    __slots__ = ("_answer", "_error", "_event", "sent")

    def __init__(self) -> None:
        self.sent = False
        self._event = trio.Event()
        self._answer: list[Any] = []
        self._error: TrioSocketIOError | None = None

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """Take the peer's answer. Only one peer can answer, so the id is of no use here."""
        self._answer = arguments
        self._event.set()

    def fail(self, error: TrioSocketIOError) -> None:
        """Have the waiter raise an error, because no answer will come.

        An answer that has come is kept: its waiter has merely not run since.
        """
        if not self._event.is_set():
            self._error = error
            self._event.set()

    async def wait(self, timeout_s: float) -> Any:
        """Wait for the answer.

        Returns:
            None for an answer without arguments, the argument if there is one, a tuple if there
            are several.
        Raises:
            AckTimeout: no answer came in time.
            TrioSocketIOError: no answer will come; the error that was given to fail.
        """
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        if not self._event.is_set():
            raise AckTimeout(f"no acknowledgement within {timeout_s} s")
        if self._error is not None:
            error, self._error = self._error, _copy(self._error)
            try:
                raise error
            finally:
                # Its traceback will refer to this frame and to that of the caller, and so to this
                # object. Had it stayed here, that would be a cycle that keeps frames alive.
                del error
        return self._answer[0] if len(self._answer) == 1 else tuple(self._answer) or None


def _copy(error: TrioSocketIOError) -> TrioSocketIOError:
    """The same error without a traceback. Its __init__ is not called: it has made the message."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


class LateAnswer:
    """What a plain handler returns to answer later: events behind this one need not wait.

    Whoever made it calls `give` once. If it is given up instead, the client's timeout decides.
    """

    __slots__ = ("_result", "_send")

    def __init__(self) -> None:
        self._result: Any = _NOTHING_YET
        self._send: Callable[[Any], None] | None = None

    def give(self, result: Any) -> None:
        """Answer with what a handler would have returned; nothing is sent if nobody asked."""
        self._result = result
        if self._send is not None:
            self._send(result)

    def send_with(self, send: Callable[[Any], None]) -> None:
        """Have the answer sent by a function, now or when it is there: the client asked for it."""
        if self._result is _NOTHING_YET:
            self._send = send
        else:
            send(self._result)


def check_timeout(timeout_s: float) -> float:
    """Check how long an answer may take.

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
    """The arguments that a handler's return value stands for.

    None stands for no arguments, a tuple for several, and any other value for itself.
    """
    if result is None:
        return ()
    return result if type(result) is tuple else (result,)
