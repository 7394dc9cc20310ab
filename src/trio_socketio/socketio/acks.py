"""Answers that are waited for: those of one socket, and those of all that a broadcast reached."""

from typing import Any, Final, Protocol

import trio

from trio_socketio.acks import Ack
from trio_socketio.errors import AckTimeout, TrioSocketIOError

DEFAULT_ACK_TIMEOUT_S: Final = 20.0
"""How long an answer may take when nobody says otherwise."""


class Awaited(Protocol):
    """What a socket tells the answer to, or its end."""

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """A client answered; its public id, if it is known."""

    def fail(self, error: TrioSocketIOError) -> None:
        """A client is gone."""


class AnsweringClient(Protocol):
    """Is told while answers of it are waited for: they may stand behind what is not read."""

    def ack_awaited(self) -> None:
        """One answer more is waited for."""

    def ack_over(self) -> None:
        """One answer less."""


class PendingAcks:
    """Pairs the answers of a socket's client with the questions.

    Args:
        client: of the socket.
    """

    __slots__ = ("_client", "_waiting")

    def __init__(self, client: AnsweringClient) -> None:
        self._client = client
        self._waiting: dict[int, Awaited] = {}

    def expect(self, ack_id: int, pending: Awaited) -> None:
        """Tell pending the answer to an event that was sent."""
        self._waiting[ack_id] = pending
        self._client.ack_awaited()

    def forget(self, ack_id: int) -> None:
        """Wait for an answer no longer."""
        if self._waiting.pop(ack_id, None) is not None:
            self._client.ack_over()

    def receive(self, ack_id: int | None, arguments: list[Any], socket_id: str) -> None:
        """Hand over an answer. One that nobody waits for is ignored (SIO5-28).

        Args:
            ack_id: of the event that it answers.
            arguments: the answer.
            socket_id: the public id of the socket.
        """
        pending = None if ack_id is None else self._waiting.pop(ack_id, None)
        if pending is not None:
            self._client.ack_over()
            pending.receive(arguments, socket_id)

    def fail(self, error: TrioSocketIOError) -> None:
        """Tell all that wait that no answer will come: the socket has left."""
        waiting, self._waiting = self._waiting, {}
        for pending in waiting.values():
            self._client.ack_over()
            pending.fail(error)


class GatheredAcks:
    """One broadcast that asks everybody whom it reached.

    Whoever sends it says with `expect` how many answers there will be; an adapter expects one more
    for as long as a node has not said how many clients it asked.
    """

    __slots__ = ("_answers", "_changed", "_gone", "_missing")

    def __init__(self) -> None:
        self._answers: list[Ack] = []
        self._missing = 0
        self._gone = 0
        self._changed = trio.Event()

    def expect(self, count: int) -> None:
        """So many more have been asked; below zero, fewer."""
        self._missing += count
        self._look()

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """A client answered. Its first argument counts: no more travels between nodes."""
        self._missing -= 1
        self._answers.append(Ack(socket_id, arguments[0] if arguments else None))
        self._look()

    def fail(self, error: TrioSocketIOError) -> None:
        """A client left before it answered."""
        self._missing -= 1
        self._gone += 1
        self._look()

    def _look(self) -> None:
        if self._missing <= 0:
            self._changed.set()

    async def wait(self, timeout_s: float) -> list[Ack]:
        """One answer of each client, in the order in which they came.

        Raises:
            AckTimeout: some did not answer in time, or have left and cannot any more; the answers
                of the others are with it.
        """
        with trio.move_on_after(timeout_s):
            await trio.lowlevel.checkpoint()
            while self._missing > 0:
                self._changed = trio.Event()
                await self._changed.wait()
        if self._missing > 0 or self._gone:
            missing = max(self._missing, 0) + self._gone
            raise AckTimeout(
                f"{missing} of {missing + len(self._answers)} clients did not answer: "
                f"{self._gone} left, the others not within {timeout_s} s",
                self._answers,
            )
        return self._answers
