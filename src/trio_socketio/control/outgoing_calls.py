"""The calls that this side makes on a connection: pairs requests with the peer's answers."""

import logging
from collections.abc import Iterator, Sequence
from itertools import count

import trio
from msgspec import Raw

from trio_socketio.codec.json_rpc import Response
from trio_socketio.control.failures import overloaded, timed_out
from trio_socketio.errors import ControlError, SessionClosed

log = logging.getLogger(__name__)


class _Pending:
    """A request whose answer is awaited."""

    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Response | None = None  # None if the connection has ended


class OutgoingCalls:
    """The requests that were sent on a connection and have not been answered.

    Args:
        peer: names the peer in errors.
        max_pending: how many answers may be awaited.
        ids: numbers the requests; shared with others that are sent on the same connection.
    """

    __slots__ = ("_closed", "_ids", "_max_pending", "_peer", "_pending")

    def __init__(self, peer: str, max_pending: int, ids: Iterator[int] | None = None) -> None:
        self._peer = peer
        self._max_pending = max_pending
        self._ids = count(1) if ids is None else ids
        self._pending: dict[int, _Pending] = {}
        self._closed = ""

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, number: object) -> bool:
        return number in self._pending

    def expect(self) -> int:
        """Expect an answer; return the id for its request.

        Raises:
            ControlError: too many answers are awaited.
            SessionClosed: the connection has ended.
        """
        if self._closed:
            raise SessionClosed(self._closed)
        if len(self._pending) >= self._max_pending:
            # CONTROL-36
            raise overloaded(f"{self._peer} already has {self._max_pending} calls to answer")
        number = next(self._ids)
        self._pending[number] = _Pending()
        return number

    def forget(self, ids: Sequence[int]) -> None:
        """Stop waiting for the answers to these requests."""
        for number in ids:
            self._pending.pop(number, None)

    async def wait(self, ids: Sequence[int], timeout_s: float) -> list[Raw | ControlError]:
        """Wait for the answers to requests, and forget the requests.

        Returns:
            The result of each, as it was sent, or its error.
        Raises:
            ControlError: they have not all come in time.
            SessionClosed: the connection has ended.
        """
        pending = [self._pending[number] for number in ids]
        answers: list[Raw | ControlError] = []
        try:
            with trio.move_on_after(timeout_s) as scope:
                for one in pending:
                    await one.answered.wait()
            for one in pending:
                answer = one.answer
                if answer is None and one.answered.is_set():
                    raise SessionClosed(self._closed)
                if answer is None:
                    assert scope.cancelled_caught
                    raise timed_out(f"{self._peer} has not answered within {timeout_s:g} s")
                answers.append(answer.error or answer.result or Raw(b"null"))
            return answers
        finally:
            self.forget(ids)

    def receive(self, response: Response) -> None:
        """Take an answer. If it comes too late, when no call waits for it, it is ignored."""
        pending = None if response.id is None else self._pending.get(response.id)
        if pending is None or pending.answered.is_set():
            log.debug("%s has answered a call that no longer waits", self._peer)
            return
        pending.answer = response
        pending.answered.set()

    def close(self, reason: str) -> None:
        """Wake every call that waits, because the connection has ended."""
        if not self._closed:
            self._closed = reason
            for one in self._pending.values():
                one.answered.set()
