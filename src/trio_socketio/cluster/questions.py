"""The calls that this node makes of others: which nodes still have to answer each of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Final

import trio
from msgspec import Raw

from trio_socketio.codec.json_rpc import Response
from trio_socketio.control.failures import overloaded, too_large
from trio_socketio.control.nodes import Answers

MAX_QUESTIONS: Final = 1024
"""How many calls may wait for their answers."""
MAX_HELD_BYTES: Final = 64 << 20
"""The most bytes that the answers to all of them may have together."""

Send = Callable[[], tuple[Mapping[str, str], bool]]
"""Sends a call; returns the boots of the nodes that are asked, by name, and whether it was sent."""


class OpenQuestion:
    """A call of other nodes.

    Args:
        questions: all of them.
        send: sends it.
    """

    __slots__ = (
        "_answered",
        "_answers",
        "_one_is_enough",
        "_questions",
        "_send",
        "_sent_at",
        "_waiting",
        "size",
    )

    def __init__(self, questions: "Questions", send: Send) -> None:
        self._questions = questions
        self._send: Send | None = send
        self._sent_at = 0.0
        self._answers = Answers({}, {}, [])
        self._answered = trio.Event()
        self._one_is_enough = False
        self._waiting: dict[str, str] = {}  # the boot of each node that has not answered, by name
        self.size = 0  # of the answers that are held, in bytes

    def send(self) -> None:
        """Send it, unless that was done before."""
        if self._send is not None:
            send, self._send = self._send, None
            self._sent_at = trio.current_time()
            asked, is_sent = send()
            self._waiting = dict(asked)
            for name, boot in asked.items():
                if not (is_sent and boot):
                    self.lose(name, boot)
            self._settle()

    async def wait(self, timeout_s: float, *, one_is_enough: bool = False) -> Answers:
        """Wait until every node that was asked has answered or gone, or the time is over.

        Args:
            timeout_s: how long they may take, counted from the sending.
            one_is_enough: whether not to wait for the others once a node has a result.
        """
        self._one_is_enough = one_is_enough
        self.send()
        self._settle()
        with trio.move_on_at(self._sent_at + timeout_s):
            await self._answered.wait()
        if self._waiting and not (one_is_enough and self._answers.results):  # NODE-31
            self._questions.missing += len(self._waiting)
            self._answers.missing.extend(self._waiting)
            self._waiting = {}
        results, errors, missing = self._answers
        return Answers(dict(sorted(results.items())), dict(sorted(errors.items())), sorted(missing))

    def receive(self, name: str, boot: str, response: Response) -> bool:
        """Take the answer of a node; return whether it was awaited."""
        results, errors, missing = self._answers
        if self._answered.is_set() or name in results or name in errors or name in missing:
            return False
        if self._waiting.get(name, boot) != boot:
            return False  # it is another node by now
        # A node that is not known yet has heard the question, too, and has done what it asks.
        self._waiting.pop(name, None)
        size = len(bytes(response.result or b""))
        if response.error is not None:
            errors[name] = response.error
        elif not self._questions.has_room(size):  # NODE-35
            errors[name] = too_large("its answer was thrown away: too many answers are held")
        else:
            self.size += size
            self._questions.held_bytes += size
            results[name] = response.result or Raw(b"null")
        self._settle()
        return True

    def lose(self, name: str, boot: str) -> None:
        """Note that a node has gone (NODE-32)."""
        if self._waiting.get(name) == boot:
            del self._waiting[name]
            self._answers.missing.append(name)
            self._questions.missing += 1
            self._settle()

    def _settle(self) -> None:
        if not self._waiting or (self._one_is_enough and self._answers.results):
            self._answered.set()


class Questions:
    """The calls of other nodes that wait for their answers.

    Attributes:
        asked: how many calls were made.
        held_bytes: the size of the answers that are held.
        missing: how many answers did not come.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.held_bytes = 0
        self.missing = 0
        self._open: dict[int, OpenQuestion] = {}
        self._ids = count(1)

    def __len__(self) -> int:
        return len(self._open)

    def has_room(self, size: int) -> bool:
        """Whether an answer of this size may be held."""
        return self.held_bytes + size <= MAX_HELD_BYTES

    def next_id(self) -> int:
        """Return the id for the next question.

        Raises:
            ControlError: too many wait for their answers.
        """
        if len(self._open) >= MAX_QUESTIONS:  # NODE-34
            raise overloaded(f"{MAX_QUESTIONS} calls wait for the answers of other nodes already")
        return next(self._ids)

    @contextmanager
    def opened(self, number: int, send: Send) -> Iterator[OpenQuestion]:
        """Hold a question open while the block runs."""
        self.asked += 1
        question = self._open[number] = OpenQuestion(self, send)
        try:
            yield question
        finally:
            del self._open[number]
            self.held_bytes -= question.size

    def receive(self, name: str, boot: str, response: Response) -> bool:
        """Take an answer; return whether it was awaited."""
        question = None if response.id is None else self._open.get(response.id)
        return question is not None and question.receive(name, boot, response)

    def lose(self, name: str, boot: str) -> None:
        """Note that a node has gone: it answers nothing any more."""
        for question in tuple(self._open.values()):
            question.lose(name, boot)
