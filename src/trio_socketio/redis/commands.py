"""Packs commands, and waits for their answers."""

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
    name = _word(arguments[0])
    names = {name}
    if name in ("CLIENT", "XREAD", "XREADGROUP"):
        words = [_word(argument) for argument in arguments[1:8]]
        options = words[: words.index("STREAMS")] if "STREAMS" in words else words
        names.update(f"{name}|{option}" for option in options)
    if names & _CHANGES_THE_CONNECTION:
        raise LocalProtocolError(
            f"{name} would change the connection for everybody who uses it; for messages there is "
            "Redis.subscribe, for transactions a script"
        )
    if names & _BLOCKS:
        raise LocalProtocolError(
            f"{name} would hold up all other commands until it is answered: ask without waiting"
        )
    return name


def _word(argument: Argument) -> str:
    """Return an argument as it is if it is a word, in capitals."""
    if isinstance(argument, bytes):
        argument = argument.decode("latin-1") if len(argument) < 32 else ""
    return argument.upper() if isinstance(argument, str) and len(argument) < 32 else ""


class Answer:
    """The answer to one command, which one task waits for."""

    __slots__ = ("_error", "_event", "_reply")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._reply: Any = None
        self._error: RedisUnavailable | None = None

    def answer(self, reply: Any) -> None:
        self._reply = reply
        self._event.set()

    def lose(self, reason: str) -> None:
        self._error = RedisUnavailable(f"no answer, because the connection was lost: {reason}")
        self._event.set()

    async def wait(self, name: str, timeout_s: float) -> Any:
        """Wait for the answer. Whoever stops waiting leaves the command in its place (REDIS-10).

        Args:
            name: of the command, for errors.
            timeout_s: how long to wait.
        Raises:
            RedisCommandError: it is an error.
            RedisUnavailable: the connection was lost.
            TimeoutError: there is none in time; the command may be carried out all the same.
        """
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        if not self._event.is_set():
            raise TimeoutError(f"Redis has not answered {name} within {timeout_s:g} s")
        error, reply = self._error, self._reply
        self._error = self._reply = None
        try:
            if error is not None:
                raise error
            if isinstance(reply, RedisCommandError):
                raise reply
            return reply
        finally:
            # The traceback of what is raised refers to this frame: a cycle would keep both alive.
            del error, reply
