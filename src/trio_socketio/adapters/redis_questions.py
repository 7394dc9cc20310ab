"""Questions of other servers to the clients of this one, and the clients' answers."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S

if TYPE_CHECKING:
    from trio_socketio.errors import TrioSocketIOError
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.adapter import Adapter
    from trio_socketio.socketio.target import Target

MAX_OPEN: Final = 1000
"""The most questions of other servers whose answers are awaited at the same time."""
MAX_S: Final = 300.0
"""The longest time for which they are."""


class Questions:
    """Asks clients of this server what other servers want to know.

    Args:
        local: asks the clients.
        workers: run the tasks that wait for the answers.
    """

    def __init__(self, local: "Adapter", workers: "Workers") -> None:
        self._local = local
        self._workers = workers
        self._open = 0

    @property
    def is_full(self) -> bool:
        """Whether too many questions are open to put another one."""
        return self._open >= MAX_OPEN

    def put(
        self,
        arguments: list[Any],
        target: "Target",
        timeout_ms: float | None,
        counted: Callable[[int], None],
        answered: Callable[[Any, str | None], None],
    ) -> None:
        """Ask the clients of target, without waiting.

        Args:
            arguments: the event's name, then its arguments.
            target: selects the clients.
            timeout_ms: how long the other server waits; None if it does not say.
            counted: called once, with the number of clients that were asked.
            answered: called with each answer, and the public id of the client.
        Raises:
            LocalProtocolError: clients cannot be sent these arguments; nothing was sent.
        """
        question = _Question(answered)
        # Asked here and not in the task, so that no later event overtakes the question.
        asked = ExitStack()
        question.left = asked.enter_context(self._local.asking(arguments, target, question))
        counted(question.left)
        seconds = _seconds(timeout_ms)
        if question.left and self._workers.spawn(self._wait, asked, question, seconds):
            self._open += 1
        else:
            asked.close()

    async def _wait(self, asked: ExitStack, question: "_Question", timeout_s: float) -> None:
        try:
            with asked, trio.move_on_after(timeout_s):
                await question.over.wait()
        finally:
            self._open -= 1


class _Question:
    """One question, until all clients that were asked have answered or left."""

    __slots__ = ("_answered", "left", "over")

    def __init__(self, answered: Callable[[Any, str | None], None]) -> None:
        self.left = 0
        self.over = trio.Event()
        self._answered = answered

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        self._answered(arguments[0] if arguments else None, socket_id)
        self._count_down()

    def fail(self, error: "TrioSocketIOError") -> None:
        self._count_down()  # the protocol has no message for this

    def _count_down(self) -> None:
        self.left -= 1
        if not self.left:
            self.over.set()


def _seconds(timeout_ms: float | None) -> float:
    """How long to wait for answers, whatever another server says."""
    if timeout_ms is None or not timeout_ms > 0:
        return DEFAULT_ACK_TIMEOUT_S
    return min(timeout_ms, MAX_S * 1000) / 1000  # a number of JSON may be no float
