"""Answers that are awaited: of one socket, or of all sockets that a broadcast reached."""

from typing import Any, Protocol

import trio

from trio_socketio.acks import Ack, Keep
from trio_socketio.errors import AckTimeout, TrioSocketIOError


class Awaited(Protocol):
    """Receives the answer to a question, or the news that none will come."""

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """Take the answer of a client.

        Args:
            arguments: the answer.
            socket_id: the public id of the socket; None if it is not known.
        """

    def fail(self, error: TrioSocketIOError) -> None:
        """Learn that a client has left before it answered."""


class AnsweringClient(Protocol):
    """The client whose answers are awaited.

    It counts them, because an answer may be queued behind events that are not read for the moment.
    """

    def ack_awaited(self) -> None:
        """One more answer is awaited."""

    def ack_over(self) -> None:
        """One answer fewer is awaited."""


class PendingAcks:
    """Pairs the answers of a socket's client with the questions.

    Args:
        client: the client of the socket.
    """

    __slots__ = ("_client", "_waiting")

    def __init__(self, client: AnsweringClient) -> None:
        self._client = client
        self._waiting: dict[int, Awaited] = {}

    def expect(self, ack_id: int, pending: Awaited) -> None:
        """Have pending told the answer to an event, which may be expected already."""
        is_new = ack_id not in self._waiting
        self._waiting[ack_id] = pending
        if is_new:
            self._client.ack_awaited()

    def forget(self, ack_id: int) -> None:
        """Await the answer to an event no longer."""
        if self._waiting.pop(ack_id, None) is not None:
            self._client.ack_over()

    def receive(self, ack_id: int | None, arguments: list[Any], socket_id: str) -> None:
        """Hand over an answer. One that is not awaited is ignored (SIO5-28).

        Args:
            ack_id: of the event that it answers.
            arguments: the answer (SIO5-85).
            socket_id: the public id of the socket.
        """
        # SIO5-84: only questions to this socket. SURF-07: once, so the first answer counts.
        pending = None if ack_id is None else self._waiting.pop(ack_id, None)
        if pending is not None:
            self._client.ack_over()
            pending.receive(arguments, socket_id)

    def fail(self, error: TrioSocketIOError) -> None:
        """Tell every task that waits that no answer will come, because the socket has left."""
        waiting, self._waiting = self._waiting, {}
        for pending in waiting.values():
            self._client.ack_over()
            pending.fail(error)


class GatheredAcks:
    """The answers to one broadcast that asks every socket that it reaches.

    The sender says with `expect` how many answers there will be. An adapter expects one more for as
    long as a node has not said how many clients it asked.

    Args:
        keep: called with each answer when it comes; returns what is kept of it. None keeps all.
    """

    __slots__ = ("_answers", "_changed", "_gone", "_keep", "_missing")

    def __init__(self, keep: Keep | None = None) -> None:
        self._keep = keep
        self._answers: list[Ack] = []
        self._missing = 0
        self._gone = 0
        self._changed = trio.Event()

    def expect(self, count: int) -> None:
        """Expect this number of further answers; a negative count means fewer."""
        self._missing += count
        self._look()

    def receive(self, arguments: list[Any], socket_id: str | None = None) -> None:
        """Take the answer of a client (SURF-07).

        Only its first argument counts, as no more travels between nodes.
        """
        self._missing -= 1
        ack = Ack(socket_id, arguments[0] if arguments else None)
        self._answers.append(ack if self._keep is None else self._keep(ack))
        self._look()

    def fail(self, error: TrioSocketIOError) -> None:
        """Note that a client left before it answered."""
        self._missing -= 1
        self._gone += 1
        self._look()

    def _look(self) -> None:
        if self._missing <= 0:
            self._changed.set()

    async def wait(self, timeout_s: float) -> list[Ack]:
        """Wait until every client has answered or left.

        Returns:
            One answer of each client, in the order in which they came.
        Raises:
            AckTimeout: clients have not answered in time, or have left and cannot any more; the
                error holds the answers of the others.
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
