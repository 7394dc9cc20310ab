"""Deliveries in Redis, which all nodes share: when one is lost, another one goes on."""

import logging
from collections.abc import Sequence
from importlib import resources
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trio_socketio.codec.json_text import encode_json
from trio_socketio.errors import LocalProtocolError, RedisCommandError, RedisUnavailable
from trio_socketio.im.deliveries.record import Answer, Head, Key, Line, Record
from trio_socketio.im.deliveries.store import Bounds, DeliveriesUnavailable, Full, Taken

if TYPE_CHECKING:
    from trio_socketio.redis.commands import Argument
    from trio_socketio.redis.redis import Redis

log = logging.getLogger(__name__)

LEASE_S: Final = 5.0
"""A node that has not called `take` for so long is lost, and others take its deliveries."""

_TAG: Final = "{deliveries}"
_KEYS: Final = (
    *("heads", "users", "args", "sizes", "left", "confirmed", "names"),
    *("open", "ended", "totals", "leases", "expiries"),
)
_SCRIPTS: Final = ("add", "confirm", "end", "get", "page", "take", "release")
_AT_ONCE: Final = 100
"""How many deliveries a node takes over, and how many reports are forgotten, in one step."""
_USERS_AT_ONCE: Final = 2000
"""How many users the deliveries have that a node takes over in one step, if they are several."""
_LATE_S: Final = 300.0
"""A delivery that has expired so long ago and goes on is attended to by nobody, whatever the clocks
of the nodes show."""
_ANSWERS_AT_ONCE: Final = 500
_FOREIGN: Final = "Redis has a delivery that this version cannot read"


class RedisDeliveries:
    """A store in Redis. Each method is one script, so one step of Redis.

    A node has a number and a lease, which `take` renews. When its lease has ended, the next node
    that calls `take` gets what it attended to, and the node itself is told that it was lost.

    Args:
        redis: the connection.
        bounds: how much it keeps, for all nodes together.
        prefix: begins the names of keys.
        lease_s: how long a lease lasts.
    """

    is_shared = True
    is_durable = True

    def __init__(
        self, redis: "Redis", bounds: Bounds, *, prefix: str = "tsio", lease_s: float = LEASE_S
    ) -> None:
        self._bounds = bounds
        self._lease_s = lease_s
        self._keys = [f"{prefix}:{_TAG}:{name}" for name in _KEYS]
        self._node = b"0"
        self._born = b""  # of the data in Redis
        self._scripts = {name: redis.script(_load(name)) for name in _SCRIPTS}

    async def add(self, record: Record, now: float) -> Record | Full | None:
        head, bounds = record.head, self._bounds.of_sender(record.head.sender)
        about = (_name(head.key), encode_json(head), encode_json(record.users), record.args)
        numbers = (record.size, len(record.users), self._node, bounds.open, bounds.size)
        status, *found = await self._run("add", *about, *numbers, _ms(head.expires_at))
        if status == b"KNOWN":
            return _read(found[0])
        if status == b"GONE":
            raise DeliveriesUnavailable("this node is not known to Redis yet", is_unsure=False)
        if status == b"FULL":
            return Full(f"as many deliveries are kept as may be ({found[0].decode()})")
        return None

    async def confirm(self, answers: Sequence[Answer]) -> None:
        for first in range(0, len(answers), _ANSWERS_AT_ONCE):
            some = answers[first : first + _ANSWERS_AT_ONCE]
            told = [item for key, user, at in some for item in (_name(key), user, _ms(at))]
            await self._run("confirm", *told)

    async def end(self, keys: Sequence[Key], now: float) -> None:
        await self._run("end", _ms(now), *map(_name, keys))

    async def get(self, key: Key) -> Record | None:
        status, *found = await self._run("get", _name(key))
        return _read(found[0]) if status == b"KNOWN" else None

    async def page(self, namespace: str, after: str, limit: int) -> list[Line]:
        last = f"{namespace}\x01".encode()
        _, rows = await self._run("page", _name(Key(namespace, after)), last, limit)
        try:
            return [_line(*row) for row in rows]
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise DeliveriesUnavailable(f"{_FOREIGN}: {error}") from None

    async def take(self, now: float) -> Taken:
        bounds = self._bounds
        status, node, going, ended, size, born, found = await self._run(
            *("take", self._node, _ms(self._lease_s), _AT_ONCE),
            *(_ms(now - bounds.keep_s), bounds.reports, _AT_ONCE, _USERS_AT_ONCE),
            *(_ms(now), _ms(_LATE_S), token_urlsafe(9)),
        )
        was_lost = status == b"ENROLLED" and self._node != b"0"
        was_emptied = was_lost and born != self._born
        self._node, self._born = node, born
        records = []
        for one in found:
            try:
                records.append(_read(one))
            except DeliveriesUnavailable as error:
                log.error("a delivery cannot be taken over, and remains where it is: %s", error)
        return Taken(records, was_lost, going, ended, size, was_emptied)

    async def release(self) -> None:
        await self._run("release", self._node)

    async def _run(self, name: str, *arguments: "Argument") -> list[Any]:
        try:
            reply: list[Any] = await self._scripts[name].run(self._keys, arguments)
        except RedisCommandError as error:
            raise DeliveriesUnavailable(
                error.explain(), is_forbidden=error.code == "NOPERM", is_unsure=error.is_unsure
            ) from None
        except RedisUnavailable as error:
            raise DeliveriesUnavailable(str(error), is_unsure=error.is_unsure) from None
        except LocalProtocolError as error:  # it is too large for the connection
            raise DeliveriesUnavailable(str(error), is_unsure=False) from None
        except TimeoutError as error:
            raise DeliveriesUnavailable(str(error)) from None
        return reply


def _load(name: str) -> str:
    folder = resources.files(__package__) / "lua"
    begin = (folder / "begin.lua").read_text("utf-8")
    return f"{begin}\n{(folder / f'{name}.lua').read_text('utf-8')}"


def _name(key: Key) -> bytes:
    return "\0".join(key).encode()


def _line(text: bytes, left: bytes, ended_at: bytes) -> Line:
    head = msgspec.json.decode(text, type=Head)
    return Line(head, head.targets - int(left), _seconds(ended_at))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(text: bytes | float) -> float | None:
    return None if text == b"" else float(text) / 1000


def _read(found: Sequence[Any]) -> Record:
    """Read a delivery.

    Raises:
        DeliveriesUnavailable: it was not written by this program, or by a later version of it.
    """
    try:
        return _record(found)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise DeliveriesUnavailable(f"{_FOREIGN}: {error}") from None


def _record(found: Sequence[Any]) -> Record:
    head, users, args, ended_at, answers = found
    several = msgspec.json.decode(users, type=tuple[str, ...])
    pairs = zip(answers[::2], answers[1::2], strict=True)
    confirmed = {user.decode(): float(at) / 1000 for user, at in pairs}
    return Record(
        msgspec.json.decode(head, type=Head), several, args, confirmed, _seconds(ended_at)
    )
