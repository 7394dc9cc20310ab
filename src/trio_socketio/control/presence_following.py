"""How a backend follows who is online, whatever happens to its connection; without I/O.

The clients for trio and for threads drive the same generator, `follow`: it yields what is to be
done next, and is sent the outcome.
"""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.errors import ControlError

SILENCE_S: Final = 30.0
"""After this time without entries, the server is asked whether it is still there."""
ANSWER_S: Final = 30.0
"""The time that the server has for an answer."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_ANEW: Final = (Code.CURSOR_EXPIRED, Code.GENERATION_CHANGED)
_LATER: Final = (
    Code.TIMEOUT,
    Code.OVERLOADED,
    Code.STORE_UNAVAILABLE,
    Code.DRAINING,
    Code.UNAVAILABLE,
)

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PresenceBatch:
    """News of who is online.

    Args:
        entries: the next entries of the log, in order, none of which has come before.
        cursor: of the last one. Whoever keeps it together with what the entries have changed can go
            on from there after a restart.
        online: None, unless the log could not be followed from the cursor: then the number of users
            that are online at this one. What was folded before is to be thrown away.
        rebuilding: whether online lacks users whose nodes have yet to say so, because the store has
            lost them. They come as entries.
    """

    entries: list[Entry]
    cursor: str
    online: int | None = None
    rebuilding: bool = False


class Call(NamedTuple):
    """Call a method, and send its result, or throw its ControlError."""

    method: str
    params: dict[str, Any]


class Note(NamedTuple):
    """Call a method without asking for an answer."""

    method: str
    params: dict[str, Any]


class Receive(NamedTuple):
    """Send the parameters of the next backend.presence, or None after SILENCE_S without one."""


Step = PresenceBatch | Call | Note | Receive


class Place:
    """What is followed, and how far that has come.

    Args:
        namespace: its name.
        cursor: where to begin; None begins with a count.
        group: the name of a group, or None.
        credit: how many entries may be on their way.

    Attributes:
        cursor: of the last entry that was dealt with; None if a count is needed.
    """

    def __init__(self, namespace: str, cursor: str | None, group: str | None, credit: int) -> None:
        self.cursor = cursor
        self._namespace = namespace
        self._params: dict[str, Any] = {"namespace": namespace, "credit": credit}
        if group is not None:
            self._params["group"] = group
        self._pauses = _pauses()

    def next_pause(self) -> float:
        """Return how long to wait before the next attempt to connect, in seconds."""
        return next(self._pauses)

    def follow(self) -> Generator[Step, Any, None]:
        """Follow the log on a connection; what it yields is to be done.

        Raises:
            ControlError: the server refuses, for a reason that only people can change, or for one
                that passes: see passes.
        """
        while True:
            try:
                if self.cursor is None:  # FEED-41
                    count = yield Call("presence.count", {"namespace": self._namespace})
                    yield PresenceBatch(
                        [], count["cursor"], count["users"], count.get("rebuilding", False)
                    )
                    self.cursor = count["cursor"]
                yield from self._subscribe()
            except ControlError as error:
                if error.code not in _ANEW:
                    raise
                self.cursor = None

    def _subscribe(self) -> Generator[Step, Any, None]:
        told = yield Call("presence.subscribe", {**self._params, "cursor": self.cursor})
        number, at = told["subscription"], told["cursor"]
        self._pauses = _pauses()
        while True:
            notice = yield Receive()
            if notice is None:
                yield from _probe(number, at)
                continue
            if notice["subscription"] != number:
                continue
            if "error" in notice:
                error = notice["error"]
                raise ControlError(error["code"], error["message"], error.get("data"))
            at = notice["cursor"]
            entries = _fresh(notice["entries"], self.cursor)
            if entries:
                yield PresenceBatch(entries, at)
                self.cursor = at
            if notice["entries"]:  # FEED-42: only now, when the caller has asked for the next batch
                yield Note("presence.ack", {"subscription": number, "cursor": at})


def passes(error: ControlError) -> bool:
    """Whether an error is gone some time later, by itself."""
    return error.code in _LATER


def _probe(number: int, cursor: str) -> Generator[Step, Any, None]:
    """Ask for any answer; a connection that is lost without notice gives none."""
    try:
        yield Call("presence.ack", {"subscription": number, "cursor": cursor})
    except ControlError as error:
        if error.code != Code.INVALID_PARAMS:  # a member that waits has nothing to acknowledge
            raise


def _fresh(entries: list[Entry], cursor: str | None) -> list[Entry]:
    """Leave out the entries up to a cursor of the same log (FEED-43)."""
    if cursor is None:
        return entries
    generation, _, last = cursor.partition("-")
    found = []
    for entry in entries:
        its_generation, _, sequence = entry["cursor"].partition("-")
        if its_generation != generation or int(sequence) > int(last):
            found.append(entry)
    return found


def _pauses() -> Iterator[float]:
    longest = _FIRST_PAUSE_S
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(2 * longest, _LONGEST_PAUSE_S)
