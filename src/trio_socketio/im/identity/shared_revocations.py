"""Revocations that all nodes of a cluster share: they are kept in Redis, and outlive restarts.

Every change is published in the step that makes it. A node that hears all versions in order knows
all revocations. If it has missed one, was away, or has just started, it reads the hash, and until
then it lets nobody in. The hash also says what was lifted. So whatever a node knows and the hash
lacks was lost by Redis, and the node puts it back.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from trio_socketio.errors import RedisCommandError, RedisUnavailable
from trio_socketio.im.identity.revocation_hash import (
    Added,
    Change,
    Entry,
    Head,
    RevocationHash,
    RevocationRedis,
    RevocationsUnavailable,
    Subscription,
    read_message,
)
from trio_socketio.im.identity.revocations import Record, RevokedId
from trio_socketio.im.identity.token_names import TokenNames

log = logging.getLogger(__name__)

LOOK_S: Final = 30.0
"""How often a node checks whether it has missed a change."""
RETRY_S: Final = 0.5
"""The wait before Redis is asked again that could not be."""
MAX_SAVED: Final = 1000
"""Of how many revocations it is remembered at which version they were saved."""

_SLICE: Final = 500


class Listener(Protocol):
    """Who is told what others revoke, and knows what this node keeps."""

    def learn(self, records: Iterable[Record]) -> None:
        """Take in revocations; some may be known."""

    def forget(self, what: RevokedId, at_s: float) -> None:
        """Lift what was revoked up to a time."""

    def find(self, what: RevokedId) -> Record | None:
        """Return what this node keeps of a user or token."""

    def kept(self) -> Iterable[Record]:
        """Return all revocations that this node keeps."""


class SharedRevocations:
    """The revocations of all nodes, as one of them sees them.

    It has 16 attributes and 21 methods: the connection, how far it has read and written, and what
    callers, messages and its task do about that.

    Args:
        redis: the connection.
        bound: how many revocations are kept, on all nodes together.
        clock: seconds since 1970.
        names: gets the key of all nodes.
        prefix: begins the names of the key and of the channel.

    Attributes:
        fault: why this node does not know all revocations; empty if it does.
        version: of the last change that this node knows.
    """

    def __init__(
        self,
        redis: RevocationRedis,
        bound: int,
        clock: Callable[[], float],
        names: TokenNames,
        prefix: str = "tsio",
    ) -> None:
        self.version = 0
        self.fault = "the revocations have not been read yet"
        self._redis = redis
        self._hash = RevocationHash(redis, bound, clock, prefix)
        self._names = names
        self._listener: Listener | None = None
        self._subscription: Subscription | None = None
        self._epoch: str | None = None
        self._heard: list[Change] | None = None  # while the hash is read
        self._has_missed = False  # since that was begun
        self._unsaved: dict[RevokedId, Record] = {}
        self._new: set[RevokedId] = set()  # those of them that Redis cannot have had
        self._saved: OrderedDict[RevokedId, int] = OrderedDict()  # the versions of what was
        self._is_refused = False  # that Redis refuses changes was told
        self._hurry = trio.Event()  # there is something to do before the next look
        self._changed = trio.Event()

    def use(self, listener: Listener) -> None:
        """Tell a listener what others revoke, once this runs."""
        self._listener = listener

    # -- whether this node knows them all

    @property
    def is_current(self) -> bool:
        """Whether this node knows all revocations, but for what is on its way (IDENT-82)."""
        return not self.fault and self.is_connected

    @property
    def is_connected(self) -> bool:
        """Whether Redis tells this node of changes."""
        return self._subscription is not None and self._subscription.confirmed

    async def wait_current(self) -> None:
        """Wait until this node knows all revocations."""
        while not self.is_current:
            await self._changed.wait()

    async def wait_version(self, version: int) -> None:
        """Wait until this node knows all changes up to a version."""
        while self.version < version or not self.is_current:
            self._hurry.set()
            await self._changed.wait()

    # -- changing them

    async def add(self, record: Record) -> Added | None:
        """Keep a revocation that is made now, for all nodes, with what they know of it.

        Returns:
            What is kept now. None if there was no room: then nothing has changed (IDENT-41).
        Raises:
            RevocationsUnavailable: it is unknown whether it is kept.
        """
        return await self._hash.revoke(record)

    async def lift(self, what: RevokedId) -> tuple[bool, int]:
        """Lift a revocation, for all nodes.

        Returns:
            Whether there was one, and the version of the change.
        Raises:
            RevocationsUnavailable: it is unknown whether it is lifted.
        """
        assert self._listener is not None
        known = self._listener.find(what)
        found, version = await self._hash.lift(what, known)
        if known is not None and self._unsaved.get(what, known).at_s <= known.at_s:
            self._unsaved.pop(what, None)
            self._new.discard(what)
        return found, version

    def save(self, record: Record, *, is_new: bool = False) -> None:
        """Have a revocation kept as soon as Redis takes it. `run` sees to that.

        Args:
            record: of it.
            is_new: whether it is made now, so that nobody can have lifted it.
        """
        self._unsaved[record.what] = record
        if is_new:
            self._new.add(record.what)
        self._hurry.set()

    async def wait_saved(self, what: RevokedId) -> int:
        """Wait until what was to be saved of a user or token is.

        Returns:
            The version of that change, if it was one of the last MAX_SAVED; otherwise 0.
        """
        while what in self._unsaved:
            await self._changed.wait()
        return self._saved.get(what, 0)

    # -- running

    async def run(self) -> None:
        """Follow what others revoke, until cancelled."""
        receive, channel = self._receive, self._hash.channel
        self._subscription = self._redis.subscribe(channel, receive, gap=self._miss)
        failures = 0
        try:
            while True:
                self._hurry = trio.Event()
                try:
                    await self._redis.wait_connected()
                    await self._catch_up(self._subscription)
                except RevocationsUnavailable as error:
                    if not failures:  # not again at every try
                        log.warning("revocations cannot be read, and nobody is let in: %s", error)
                    failures += 1
                    self.fault = f"the revocations cannot be read: {error}"
                    await trio.sleep(RETRY_S)
                    continue
                if failures:
                    log.info("revocations are read again, after %d failures", failures)
                    failures = 0
                pause_s = LOOK_S if await self._write() else RETRY_S
                with trio.move_on_after(pause_s):
                    await self._hurry.wait()
        finally:
            self._subscription.close()
            self._subscription = None

    async def _catch_up(self, subscription: Subscription) -> None:
        try:
            await subscription.wait_confirmed()
        except (RedisUnavailable, RedisCommandError) as error:
            raise RevocationsUnavailable(str(error)) from None
        before = self.version
        head = await self._hash.read_head()
        # Messages may have told of that version meanwhile.
        is_known = head is not None and before <= head.version <= self.version
        if self.fault or not is_known or head is None or head.epoch != self._epoch:
            await self._read()

    async def _read(self) -> None:
        """Read all revocations; what others change meanwhile is told by messages."""
        assert self._listener is not None
        found: dict[RevokedId, Entry] = {}
        self._heard = heard = list[Change]()
        self._has_missed = False
        try:
            head = await self._share_key()
            cursor = b""
            while cursor != b"0":
                cursor, entries = await self._hash.scan(cursor or b"0")
                told = {one.entry.what for one in heard}
                for entry in entries:
                    if entry.what not in told:
                        found[entry.what] = entry
                        self._take_in(entry)
        finally:
            self._heard = None
        self._epoch, self.version = head
        for one in heard:
            if one.epoch != self._epoch or one.version > self.version:
                self._count(one)
        found.update((one.entry.what, one.entry) for one in heard)
        for looked_at, record in enumerate(self._listener.kept(), start=1):
            theirs = found.get(record.what)
            if theirs is None or theirs.record is None or _has_more(record, theirs.record):
                self.save(record)  # IDENT-85
            if looked_at % _SLICE == 0:
                await trio.lowlevel.checkpoint()
        if not self._has_missed:
            self.fault = ""
        self._tell()

    async def _share_key(self) -> Head:
        head, key = await self._hash.share_key(self._names.key)
        if self._epoch is not None and key != self._names.key:
            log.warning(
                "Redis has lost the key that names tokens, and a node that did not know it has "
                "drawn another one: tokens that say neither their age nor their name may come back "
                "although their user was revoked; revoke the user again"
            )
        self._names.key = key
        return head

    async def _write(self) -> bool:
        """Save what was not saved, and remove some of what is over; return whether that was done.

        If Redis refuses it, this node still knows all that others revoke.
        """
        try:
            for record in tuple(self._unsaved.values()):
                await self._save(record)
            await self._hash.sweep()
        except RevocationsUnavailable as error:
            if not self._is_refused:  # not again at every try
                log.error(
                    "Redis takes no revocations; %d are kept by this node alone: %s",
                    len(self._unsaved),
                    error,
                )
            self._is_refused = True
            return False
        self._is_refused = False
        return True

    async def _save(self, record: Record) -> None:
        is_new = record.what in self._new
        added = await (self._hash.revoke if is_new else self._hash.add)(record)
        if added is None:
            log.error(
                "max_revocations of [identity] are kept already: %s is revoked on this node alone",
                "a token" if record.what.is_token else f"the user {record.what.id!r}",
            )
        else:
            if added.entry.record is None:
                self._take_in(added.entry)  # it was lifted meanwhile
            self._saved[record.what] = added.version
            self._saved.move_to_end(record.what)
            if len(self._saved) > MAX_SAVED:
                self._saved.popitem(last=False)
        if self._unsaved.get(record.what) is record:  # otherwise there is more of it by now
            del self._unsaved[record.what]
            self._new.discard(record.what)
        self._tell()

    # -- messages

    def _receive(self, channel: bytes, payload: bytes) -> None:
        try:
            change = read_message(payload)
        except RevocationsUnavailable as error:
            log.warning("what others have revoked is read, because %s", error)
            self._miss()
            return
        if self._heard is None:
            self._count(change)
        else:
            self._heard.append(change)
        self._take_in(change.entry)
        self._tell()

    def _take_in(self, entry: Entry) -> None:
        assert self._listener is not None
        if entry.lifted_at_s:
            self._listener.forget(entry.what, entry.lifted_at_s)
        if entry.record is not None:
            self._listener.learn([entry.record])

    def _count(self, change: Change) -> None:
        """Note the version of a change, which is the next one if none was missed."""
        if change.epoch == self._epoch and change.version == self.version + 1:
            self.version += 1
        else:
            self._miss()

    def _miss(self, duration_s: float = 0.0) -> None:
        """Note that changes may have been missed: nobody is let in until they are read."""
        self._has_missed = True
        self.fault = self.fault or "changes were missed, and are being read"
        self._hurry.set()

    def _tell(self) -> None:
        """Have those look again who wait."""
        self._changed.set()
        self._changed = trio.Event()


def _has_more(one: Record, other: Record) -> bool:
    is_later = one.at_s > other.at_s or one.until_s > other.until_s
    return is_later or bool(one.undated - other.undated)
