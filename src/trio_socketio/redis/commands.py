"""Packs commands, and waits for their answers."""

from functools import lru_cache
from math import inf
from typing import Any, Final

import hiredis
import trio

from trio_socketio.errors import LocalProtocolError, RedisCommandError, RedisUnavailable

Argument = str | bytes | int | float

# fmt: off
_CHANGES_THE_CONNECTION: Final = frozenset((
    "ASKING", "AUTH", "CLIENT|REPLY", "CLIENT|TRACKING", "DISCARD", "EXEC", "HELLO", "MONITOR",
    "MULTI", "PSUBSCRIBE", "PSYNC", "PUNSUBSCRIBE", "QUIT", "READONLY", "READWRITE", "RESET",
    "SELECT", "SSUBSCRIBE", "SUBSCRIBE", "SUNSUBSCRIBE", "SYNC", "UNSUBSCRIBE", "UNWATCH", "WATCH",
))
_BLOCKS: Final = frozenset((
    "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT",
    "WAITAOF", "XREAD|BLOCK", "XREADGROUP|BLOCK",
))
# fmt: on
_WITH_OPTIONS: Final = frozenset(("CLIENT", "XREAD", "XREADGROUP"))


def pack(*arguments: Argument) -> bytes:
    """Write a command as RESP.

    Raises:
        LocalProtocolError: an argument is of another type, or is text that has no UTF-8.
    """
    try:
        packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub has one
    except (TypeError, UnicodeError) as error:
        raise LocalProtocolError(f"a command cannot be sent to Redis: {error}") from None
    return packed


def check_command(arguments: tuple[Argument, ...]) -> str:
    """Return the name of a command, in capitals.

    Raises:
        LocalProtocolError: it is none, or cannot be given on a connection that others use at the
            same time (REDIS-16).
    """
    if not arguments or not isinstance(arguments[0], (str, bytes)):
        raise LocalProtocolError("a command begins with its name, such as 'GET'")
    name = _check_name(arguments[0])
    if name in _WITH_OPTIONS:
        words = [_word(argument) for argument in arguments[1:8]]
        for option in words[: words.index("STREAMS")] if "STREAMS" in words else words:
            _refuse(name, f"{name}|{option}")
    return name


@lru_cache(maxsize=512)  # programs give few commands, many times
def _check_name(name: str | bytes) -> str:
    word = _word(name)
    _refuse(word, word)
    return word


def _refuse(name: str, kind: str) -> None:
    if kind in _CHANGES_THE_CONNECTION:
        raise LocalProtocolError(
            f"{name} would change the connection for everybody who uses it; for messages there is "
            "Redis.subscribe, for transactions a script"
        )
    if kind in _BLOCKS:
        raise LocalProtocolError(
            f"{name} would hold up all other commands until it is answered: ask without waiting"
        )


def _word(argument: Argument) -> str:
    """Return an argument in capitals if it may be a word; nothing otherwise."""
    if isinstance(argument, bytes) and len(argument) < 32:
        argument = argument.decode("latin-1")
    return argument.upper() if isinstance(argument, str) and len(argument) < 32 else ""


class Answer:
    """The answer to one command, which one task waits for.

    The task is woken directly, and its timeout is looked after by the connection. An Event and a
    CancelScope for each command would cost more than everything else together.

    Args:
        name: of the command, for errors.
        timeout_s: see `Pipeline.expire`; infinite if whoever waits has a deadline itself.
    """

    __slots__ = ("_error", "_name", "_reply", "_task", "_timeout_s", "deadline")

    def __init__(self, name: str, timeout_s: float = inf) -> None:
        self.deadline = trio.current_time() + timeout_s
        self._name = name
        self._timeout_s = timeout_s
        self._task: trio.lowlevel.Task | None = None
        self._reply: Any = None
        self._error: Exception | None = None

    def answer(self, reply: Any) -> None:
        if isinstance(reply, RedisCommandError):
            self._error = reply
        else:
            self._reply = reply
        self._wake()

    def lose(self, reason: str) -> None:
        self._error = RedisUnavailable(
            f"no answer to {self._name}, because the connection was lost: {reason}",
            is_unsure=True,
        )
        self._wake()

    def expire(self) -> None:
        self._error = not_answered(self._name, self._timeout_s)
        self._wake()

    def _wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self) -> Any:
        """Wait for the answer. It is awaited at once, before anything can have happened.

        Whoever is cancelled leaves the command in its place (REDIS-10).

        Raises:
            RedisCommandError: it is an error.
            RedisUnavailable: the connection was lost.
            TimeoutError: there is none in time; the command may be carried out all the same.
        """
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._leave)
        error, self._error = self._error, None
        if error is None:
            return self._reply
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame: a cycle would keep both alive


def not_answered(name: str, timeout_s: float) -> TimeoutError:
    """Return the error to raise when there is no answer in time (REDIS-36)."""
    return TimeoutError(f"Redis has not answered {name} within {timeout_s:g} s")
