"""The hash in Redis that has the revocations of all nodes, and what is published when it changes.

The field of a user begins with ``u:`` and that of a token with ``t:``; the value is MessagePack:
when it was revoked, until when, the ids of tokens without a date, and, of what was lifted, when it
had been revoked and until when. What was lifted stays until it would have been over, so that what
the hash lacks was lost, and never lifted.

The field without a name has the epoch, which is drawn when the hash is made, the version, which
rises with every change, and how many revocations there are, each token without a date being
another. The field ``key`` has the key of TokenNames, so that a token without a name has the same
one on all nodes. Whoever can read it can find out by trying which token a digest is of; but nobody
should read it who is not a node.
"""

from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from trio_socketio.errors import (
    LocalProtocolError,
    RedisCommandError,
    RedisUnavailable,
    TrioSocketIOError,
)
from trio_socketio.im.identity.revocation_scripts import ADD, DROP, LIFT, TAKE_KEY
from trio_socketio.im.identity.revocations import Record, RevokedId
from trio_socketio.redis.key_names import name_key

KEPT_ON_S: Final = 3600.0
"""How long a revocation that is over stays in Redis: by so much the clocks of nodes may differ."""

_PAGE: Final = 500
_LATER_S: Final = 1e-6
_HEAD: Final = b""
_KEY_FIELD: Final = "key"
_OTHERS: Final = (_HEAD, _KEY_FIELD.encode())
_FAILURES: Final = (
    RedisUnavailable,
    RedisCommandError,
    TimeoutError,
    msgspec.MsgspecError,  # as of a key of another program
    ValueError,
    LocalProtocolError,  # it is larger than the queue of the connection
)


class RevocationsUnavailable(TrioSocketIOError):
    """Redis has not answered, or refuses.

    Args:
        reason: why.
        is_unsure: whether it may have done what it was asked; otherwise nothing was changed.
    """

    def __init__(self, reason: str, *, is_unsure: bool = True) -> None:
        super().__init__(reason)
        self.is_unsure = is_unsure


class Subscription(Protocol):
    """A subscription to a channel; see redis.subscriptions."""

    @property
    def confirmed(self) -> bool:
        """Whether messages arrive."""

    async def wait_confirmed(self) -> None:
        """Wait until messages arrive."""

    def close(self) -> None:
        """End it."""


class Script(Protocol):
    """A Lua script; see redis.scripts."""

    async def run(self, keys: Any = (), arguments: Any = ()) -> Any:
        """Carry it out, as one step."""


class RevocationRedis(Protocol):
    """What is needed of a connection to Redis; see redis.Redis."""

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""

    def subscribe(
        self,
        channel: str,
        receive: Callable[[bytes, bytes], object],
        *,
        gap: Callable[[float], object] | None = None,
    ) -> Subscription:
        """Have a plain function called with each message on a channel."""

    async def execute(self, *arguments: Any) -> Any:
        """Carry out a command."""

    def script(self, source: str) -> Script:
        """Return a script that can be carried out."""


class Entry(NamedTuple):
    """What the hash has of a user or token.

    Args:
        what: the user or token.
        record: of the revocation that is in force; None if there is none.
        lifted_at_s: when the revocation was made that was lifted last, as were all that are older;
            0 if none was.
    """

    what: RevokedId
    record: Record | None
    lifted_at_s: float


class Added(NamedTuple):
    """A revocation that was added.

    Args:
        entry: what there is now. It has no record if the revocation was lifted meanwhile.
        version: of the last change at that moment.
    """

    entry: Entry
    version: int


class Head(NamedTuple):
    """The state of the hash.

    Args:
        epoch: another one if the hash was lost and made anew.
        version: of the last change.
    """

    epoch: str
    version: int


class Change(NamedTuple):
    """A change that was published.

    Args:
        epoch: of the hash.
        version: of the change.
        entry: has changed.
    """

    epoch: str
    version: int
    entry: Entry


class _Value(msgspec.Struct, array_like=True, frozen=True):
    at_s: float
    until_s: float
    undated: tuple[str, ...]
    lifted_at_s: float
    lifted_until_s: float


class _Message(msgspec.Struct, array_like=True, frozen=True):
    epoch: str
    version: int
    field: str
    value: _Value


_decode_value: Final = msgspec.msgpack.Decoder(_Value).decode
_decode_message: Final = msgspec.msgpack.Decoder(_Message).decode


class RevocationHash:
    """The hash.

    Args:
        redis: the connection.
        bound: how many revocations are kept, on all nodes together.
        clock: seconds since 1970.
        prefix: begins the names of the key and of the channel.

    Attributes:
        channel: on which changes are published.
    """

    def __init__(
        self, redis: RevocationRedis, bound: int, clock: Callable[[], float], prefix: str
    ) -> None:
        self.channel = f"{prefix}:revoked"
        self._key = name_key(prefix, "revoked")
        self._redis = redis
        self._bound = bound
        self._clock = clock
        self._add = redis.script(ADD)
        self._lift = redis.script(LIFT)
        self._drop = redis.script(DROP)
        self._take_key = redis.script(TAKE_KEY)
        self._swept = b"0"  # how far the search for what is over has come

    async def revoke(self, record: Record) -> Added | None:
        """Keep a revocation that is made now, so later than all that were lifted; see add."""
        lifted_at_s = (await self._find(record.what)).lifted_at_s
        # The clock of the node that has made the older one may be ahead.
        return await self.add(record._replace(at_s=max(record.at_s, lifted_at_s + _LATER_S)))

    async def add(self, record: Record) -> Added | None:
        """Keep a revocation, together with what is known of it there, unless it was lifted.

        Returns:
            What is kept now. None if there was no room: then nothing has changed (IDENT-41).
        Raises:
            RevocationsUnavailable: it is unknown whether it is kept.
        """
        arguments = (repr(record.at_s), repr(record.until_s), self._bound, *sorted(record.undated))
        answer = await self._run(self._add, record.what, *arguments)
        if not answer[0]:
            await self.sweep(whole=True)
            answer = await self._run(self._add, record.what, *arguments)
        if not answer[0]:
            return None
        _, _, version, value = answer
        return Added(_entry(record.what, _read(value)), version)

    async def lift(self, what: RevokedId, known: Record | None) -> tuple[bool, int]:
        """Lift the revocation that is in force now, but none that is made later (IDENT-92).

        Args:
            what: the user or token.
            known: what this node knows of it, which Redis may have lost.
        Returns:
            Whether there was one, and the version of the change.
        Raises:
            RevocationsUnavailable: it is unknown whether it is lifted.
        """
        # The script may reach Redis long after this call was given up, on an old connection.
        entry = await self._find(what)
        lifted = [
            one for one in (entry.record, known) if one is not None and one.at_s > entry.lifted_at_s
        ]
        at_s = max((one.at_s for one in lifted), default=0.0)
        until_s = max((one.until_s for one in lifted), default=0.0)
        _, version = await self._run(self._lift, what, repr(at_s), repr(until_s))
        return bool(lifted), version

    async def _find(self, what: RevokedId) -> Entry:
        raw = await self._execute("HGET", self._key, _field(what))
        return Entry(what, None, 0.0) if raw is None else _entry(what, _read(raw))

    async def share_key(self, own: bytes) -> tuple[Head, bytes]:
        """Return the key that names tokens on all nodes, which is this one if there is none.

        Raises:
            RevocationsUnavailable: Redis has not answered, or something else is kept there.
        """
        epoch, version, key = await self._run(self._take_key, _KEY_FIELD, own)
        return Head(epoch.decode(), version), key

    async def read_head(self) -> Head | None:
        """Return the epoch and the version; None if there is no hash.

        Raises:
            RevocationsUnavailable: Redis has not answered.
        """
        found = await self._execute("HGET", self._key, _HEAD)
        if found is None:
            return None
        try:
            epoch, version, _ = found.decode().split(" ")
            return Head(epoch, int(version))
        except ValueError:
            raise RevocationsUnavailable(f"{self._key} is not a hash of revocations") from None

    async def scan(self, cursor: bytes) -> tuple[bytes, list[Entry]]:
        """Return some of what the hash has; see HSCAN of Redis.

        Args:
            cursor: from the call before; ``0`` for the first.
        Returns:
            The next cursor, ``0`` if this was the last page, and what was found.
        Raises:
            RevocationsUnavailable: Redis has not answered, or something else is kept there.
        """
        following, fields = await self._page(cursor)
        return following, [_entry(what, value) for what, value, _ in fields]

    async def sweep(self, *, whole: bool = False) -> None:
        """Remove revocations that are over: those in a slice of the hash, or all.

        Raises:
            RevocationsUnavailable: Redis has not answered, or something else is kept there.
        """
        self._swept = b"0" if whole else self._swept
        while True:
            self._swept, fields = await self._page(self._swept)
            ended_s = self._clock() - KEPT_ON_S
            for what, value, raw in fields:
                if max(value.until_s, value.lifted_until_s) <= ended_s:
                    await self._run(self._drop, what, raw)
            if not whole or self._swept == b"0":
                return

    async def _page(self, cursor: bytes) -> tuple[bytes, list[tuple[RevokedId, _Value, bytes]]]:
        following, flat = await self._execute("HSCAN", self._key, cursor, "COUNT", _PAGE)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return following, [
            (read_field(field), _read(raw), raw) for field, raw in pairs if field not in _OTHERS
        ]

    async def _run(self, script: Script, what: RevokedId | str, *arguments: Any) -> Any:
        if not isinstance(what, str):
            what = _field(what)
        try:
            given = (what, self.channel, token_urlsafe(6), *arguments)
            return await script.run([self._key], given)
        except _FAILURES as error:
            raise _unavailable(error) from None

    async def _execute(self, *arguments: Any) -> Any:
        try:
            return await self._redis.execute(*arguments)
        except _FAILURES as error:
            raise _unavailable(error) from None


def _unavailable(error: Exception) -> RevocationsUnavailable:
    if isinstance(error, RedisCommandError):
        return RevocationsUnavailable(error.explain(), is_unsure=error.is_unsure)
    is_unsure = not isinstance(error, RedisUnavailable) or error.is_unsure
    return RevocationsUnavailable(str(error), is_unsure=is_unsure)


def read_message(payload: bytes) -> Change:
    """Read a message on the channel.

    Raises:
        RevocationsUnavailable: it is none of ours.
    """
    try:
        epoch, version, field, value = msgspec.structs.astuple(_decode_message(payload))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RevocationsUnavailable(f"a message cannot be read: {error}") from None
    return Change(epoch, version, _entry(read_field(field), value))


def read_field(field: bytes | str) -> RevokedId:
    """Read the name of a field.

    Raises:
        RevocationsUnavailable: it is none of ours.
    """
    text = field if isinstance(field, str) else field.decode("utf-8", "replace")
    kind, colon, name = text.partition(":")
    if kind not in ("u", "t") or not colon:
        raise RevocationsUnavailable(f"{text[:100]!r} names neither a user nor a token")
    return RevokedId(kind == "t", name)


def _read(raw: bytes) -> _Value:
    try:
        return _decode_value(raw)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RevocationsUnavailable(f"a revocation cannot be read: {error}") from None


def _field(what: RevokedId) -> str:
    return f"{'t' if what.is_token else 'u'}:{what.id}"


def _entry(what: RevokedId, value: _Value) -> Entry:
    record = None
    if value.at_s > value.lifted_at_s:
        record = Record(what, value.at_s, value.until_s, frozenset(value.undated))
    return Entry(what, record, value.lifted_at_s)
