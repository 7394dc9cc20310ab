"""Logs in to Redis, and finds out whether it is one that we can use."""

import re
from dataclasses import dataclass
from typing import Any, Final

from trio_socketio.errors import ConfigurationError, RedisCommandError, RedisUnavailable
from trio_socketio.protocol.redis_pipeline import Pipeline
from trio_socketio.redis.commands import Answer, Argument, pack
from trio_socketio.redis.dialing import Access

CLIENT_NAME: Final = "trio-socketio"
OLDEST: Final = {"redis": (6, 2), "valkey": (7, 2)}
_TOO_OLD: Final = "needs Redis 6.2 or later, or Valkey 7.2 or later"
_FINAL: Final = frozenset(("WRONGPASS", "NOAUTH", "NOPERM", "NOPROTO"))
"""Errors that stay until somebody changes the configuration, here or there."""
_PASSING: Final = frozenset(("BUSY", "LOADING", "MASTERDOWN"))
"""Errors that pass by themselves, such as while a script runs for too long."""
_NUMBERS: Final = re.compile(r"[0-9]+").findall


@dataclass(frozen=True, slots=True)
class Host:
    """Who has answered.

    Args:
        server: such as redis or valkey.
        version: as it says.
    """

    server: str
    version: str

    def __str__(self) -> str:
        return f"{self.server} {self.version}"


async def greet(pipeline: Pipeline, access: Access) -> Host:
    """Switch to RESP3, log in and select the database (REDIS-03).

    Raises:
        ConfigurationError: that will never work: the user, password or database is wrong, the user
            has too few rights, or the server is too old.
        RedisUnavailable: it does not work now.
    """
    hello: list[Argument] = ["HELLO", 3]
    if access.password is not None:
        hello += ["AUTH", access.address.user or "default", access.password]
    hello += ["SETNAME", CLIENT_NAME]
    try:
        host = _read_hello(await _ask(pipeline, hello))
    except RedisCommandError as error:
        raise _explain_hello(error, access) from None
    _check_version(host)
    if access.address.db:
        try:
            await _ask(pipeline, ["SELECT", access.address.db])
        except RedisCommandError as error:  # REDIS-06
            told = f"the database {access.address.db} cannot be used: {error}"
            raise refusal(error, told) from None
    return host


def refusal(error: RedisCommandError, told: str) -> ConfigurationError | RedisUnavailable:
    """Return what to raise when Redis refuses what a connection needs.

    Args:
        error: the answer of Redis.
        told: what to say.
    """
    return RedisUnavailable(told) if error.code in _PASSING else ConfigurationError(told)


async def _ask(pipeline: Pipeline, command: list[Argument]) -> Any:
    answer = Answer(str(command[0]))  # the connection has a deadline for all of it
    if not pipeline.add(pack(*command), answer, is_bounded=False):
        raise RedisUnavailable("the connection was lost")
    return await answer.wait()


def _explain_hello(error: RedisCommandError, access: Access) -> Exception:
    """Say what an error means that has come in place of a greeting."""
    if error.code == "WRONGPASS":  # REDIS-05
        return ConfigurationError(
            f"the password of the user {access.address.user or 'default'} is wrong, or there is no "
            "such user"
        )
    if error.code == "NOAUTH":
        return ConfigurationError("it asks for a password, and none is given")
    if error.code in ("NOPROTO", "ERR") and "unknown command" in str(error).lower():
        return ConfigurationError(f"the server does not know RESP3: it {_TOO_OLD}")  # REDIS-09
    if error.code in _FINAL:
        return ConfigurationError(str(error))
    return RedisUnavailable(str(error))  # such as the bound of its connections


def _read_hello(reply: Any) -> Host:
    """Read what the server says of itself.

    Raises:
        ConfigurationError: it is a Sentinel.
        RedisUnavailable: it is not what Redis says.
    """
    if not isinstance(reply, dict):
        raise RedisUnavailable("what has answered is not Redis")
    if reply.get(b"mode") == b"sentinel":
        raise ConfigurationError("this is a Sentinel, not a server: give the address of the server")
    server, version = (
        value.decode("ascii", "replace") if isinstance(value, bytes) else "?"
        for value in (reply.get(b"server"), reply.get(b"version"))
    )
    return Host(server, version)


def _check_version(host: Host) -> None:
    """Refuse a server that is too old. Others that speak RESP3 may know what they do.

    Raises:
        ConfigurationError: it is too old.
    """
    numbers = tuple(int(part) for part in _NUMBERS(host.version)[:2])
    oldest = OLDEST.get(host.server)
    if oldest is not None and numbers < oldest:  # REDIS-09
        raise ConfigurationError(f"this is {host}; trio-socketio {_TOO_OLD}")
