"""The commands of one connection to Redis and what it answers, without I/O.

::

    add ──> output ──> take          bytes that have to be sent
       └──> waiting ─┐               slots, in the order of their commands
    feed ──> reader ─┴─> dispatch    a reply goes to the slot that waits longest

Redis answers in the order of the commands, and nothing else says which reply belongs to which. So a
slot keeps its place even if nobody waits for it any more. Under RESP3 messages are pushes, which
come between the replies. A subscription is confirmed by a push as well, in place of a reply.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

import hiredis

from trio_socketio.errors import RedisCommandError, RemoteProtocolError

CONFIRMATIONS: Final = frozenset((b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe"))

Message = list[Any]
"""``[b"message", channel, payload]`` or ``[b"pmessage", pattern, channel, payload]``."""

_MESSAGE_SIZES: Final = {b"message": 3, b"pmessage": 4}
_INCOMPLETE: Final = object()
_Push: Final = hiredis.PushNotification
_are_bytes: Final = frozenset((bytes,)).issuperset


class Slot(Protocol):
    """Waits for the reply to one command. Either `answer` or `lose` is called, once.

    Attributes:
        deadline: when it has waited for too long, on the caller's clock; infinite if it may wait.
    """

    deadline: float

    def answer(self, reply: Any) -> None:
        """Take the reply.

        Args:
            reply: as hiredis reads it; an error is a RedisCommandError.
        Raises:
            RemoteProtocolError: it is no reply to this command.
        """

    def expire(self) -> None:
        """Learn that the deadline has passed. The reply may still come; it is of no use then."""

    def lose(self, reason: str) -> None:
        """Learn that no reply will come, because the connection is lost."""


class Confirmation:
    """Waits for the confirmation of a subscription, or of its end.

    Args:
        kind: which of CONFIRMATIONS.
        name: of the channel or pattern.
        done: called with None when it has come, or with the error that has come instead. It is not
            called if the connection is lost.
    """

    __slots__ = ("_done", "_kind", "_name", "deadline")

    def __init__(
        self, kind: bytes, name: bytes, done: Callable[[RedisCommandError | None], None]
    ) -> None:
        self.deadline = inf
        self._kind = kind
        self._name = name
        self._done = done

    def confirm(self, push: list[Any]) -> None:
        """Take a confirmation.

        Raises:
            RemoteProtocolError: it is that of another one.
        """
        if push[:2] != [self._kind, self._name]:
            raise RemoteProtocolError("Redis confirmed another subscription than was asked for")
        self._done(None)

    def answer(self, reply: Any) -> None:
        if not isinstance(reply, RedisCommandError):
            raise RemoteProtocolError("Redis sent a reply in place of a confirmation")
        self._done(reply)

    def expire(self) -> None:
        """Do nothing: it has no deadline."""

    def lose(self, reason: str) -> None:
        """Do nothing: whoever is subscribed learns of the loss of the whole connection."""


class Pipeline:
    """Pairs replies with commands.

    Args:
        receive: called for each message. It must raise nothing.
        wake: called when there is output, and was none before.
        max_commands: how many commands may wait for their replies.
        max_bytes: how many bytes may wait to be sent.
        max_reply_bytes: the largest reply or message.

    Attributes:
        is_lost: whether the connection is lost.
        unsent_bytes: how many bytes wait to be sent, or are being sent.
    """

    __slots__ = (
        "_max_bytes",
        "_max_commands",
        "_max_reply_bytes",
        "_output",
        "_partial_bytes",
        "_reader",
        "_receive",
        "_waiting",
        "_wake",
        "is_lost",
        "unsent_bytes",
    )

    def __init__(
        self,
        receive: Callable[[Message], None],
        wake: Callable[[], None],
        *,
        max_commands: int,
        max_bytes: int,
        max_reply_bytes: int,
    ) -> None:
        self.is_lost = False
        self.unsent_bytes = 0
        self._receive = receive
        self._wake = wake
        self._max_commands = max_commands
        self._max_bytes = max_bytes
        self._max_reply_bytes = max_reply_bytes
        self._reader = hiredis.Reader(
            replyError=RedisCommandError, notEnoughData=_INCOMPLETE, errors="replace"
        )
        self._partial_bytes = 0  # fed since the last whole reply
        self._output: list[bytes] = []
        self._waiting: deque[Slot] = deque()

    @property
    def waiting(self) -> int:
        """How many commands wait for their replies."""
        return len(self._waiting)

    def add(self, command: bytes, slot: Slot, *, is_bounded: bool = True) -> bool:
        """Queue a command if there is room.

        Args:
            command: packed.
            slot: for its reply.
            is_bounded: False for a command of the connection itself, which always has room.
        Returns:
            False if the queue is full or the connection is lost; nothing was queued then.
        """
        size = len(command)
        is_full = (
            len(self._waiting) >= self._max_commands or self.unsent_bytes + size > self._max_bytes
        )
        if (is_full and is_bounded) or self.is_lost:
            return False  # REDIS-12
        if not self._output:
            self._wake()
        self._output.append(command)
        self._waiting.append(slot)
        self.unsent_bytes += size
        return True

    # -- output

    def take(self) -> tuple[bytes, int]:
        """Take all output.

        Returns:
            The bytes, and of how many commands they are. `sent` is to be told when they have left.
        """
        output, self._output = self._output, []
        return b"".join(output), len(output)

    def sent(self, size: int) -> None:
        """Note that so many bytes of what was taken have left."""
        self.unsent_bytes -= size

    # -- input

    def feed(self, data: bytes) -> None:
        """Take bytes that Redis has sent. `dispatch` says what is in them."""
        self._partial_bytes += len(data)
        self._reader.feed(data)

    def dispatch(self, limit: int) -> bool:
        """Hand over replies and messages, in the order in which they came.

        Args:
            limit: how many of them.
        Returns:
            Whether there may be more; False if no whole one is left.
        Raises:
            RemoteProtocolError: what was fed is no RESP3, is too large, or does not fit the
                commands. Nothing can be made of the rest, so the connection has to end.
        """
        gets, waiting, receive = self._reader.gets, self._waiting, self._receive
        for done in range(limit):
            try:
                reply = gets()
            except (hiredis.ProtocolError, TypeError) as error:  # REDIS-22
                # A TypeError means that a list or a map is a key of a map.
                raise RemoteProtocolError(f"Redis sent what is not RESP3: {error}") from None
            if reply is _INCOMPLETE:
                self._check_size(done)
                return False
            if type(reply) is _Push:
                kind = reply[0] if reply and type(reply[0]) is bytes else b""
                if kind in _MESSAGE_SIZES:
                    if len(reply) != _MESSAGE_SIZES[kind] or not _are_bytes(map(type, reply)):
                        raise RemoteProtocolError("Redis sent a malformed message")
                    receive(reply)
                elif kind in CONFIRMATIONS:
                    self._confirm(reply)
                # Any other push is of a feature that we do not switch on.
            elif waiting:
                waiting.popleft().answer(reply)
            else:
                raise RemoteProtocolError("Redis sent a reply to no command")  # REDIS-11
        self._partial_bytes = 0
        return True

    def _confirm(self, push: list[Any]) -> None:
        slot = self._waiting.popleft() if self._waiting else None
        if not isinstance(slot, Confirmation):
            raise RemoteProtocolError("Redis confirmed a subscription that was not asked for")
        slot.confirm(push)

    def _check_size(self, done: int) -> None:
        # Bytes behind the last whole reply are counted again only from the next call of feed on. A
        # reply may so be larger than the bound by one read.
        if done:
            self._partial_bytes = 0
        elif self._partial_bytes > self._max_reply_bytes:
            raise RemoteProtocolError(
                f"Redis sent more than {self._max_reply_bytes} bytes that are not one whole reply"
            )

    # -- time

    def expire(self, now: float) -> float:
        """Tell those slots whose deadline has passed. They keep their places.

        Args:
            now: on the clock of their deadlines.
        Returns:
            When the next deadline passes; infinite if there is none. Slots that were queued later
            are taken to have later deadlines.
        """
        for slot in self._waiting:
            if now < slot.deadline < inf:
                return slot.deadline
            if slot.deadline <= now:
                slot.deadline = inf
                slot.expire()
        return inf

    # -- end

    def lose(self, reason: str) -> None:
        """End everything: no command is taken any more, and each slot learns of it (REDIS-19).

        Args:
            reason: why, in words.
        """
        self.is_lost = True
        self._output.clear()
        self.unsent_bytes = 0
        waiting, self._waiting = self._waiting, deque()
        for slot in waiting:
            slot.lose(reason)
