"""The definitions of namespaces in Redis, where all nodes of a cluster share them.

Every change is published in the step that makes it, with a revision that rises by one. A node that
hears all revisions in order knows all definitions. If it has missed one, or was away, it reads the
hash. If the hash is gone, Redis has lost its data, and the first node that knows any namespaces
puts them back. A node that knows none makes no hash, because it would wipe out what others know:
the first change makes it.
"""

import logging
from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import trio

from trio_socketio.errors import LocalProtocolError, RedisCommandError, RedisUnavailable
from trio_socketio.im.namespaces.definition import (
    NamespaceDefinition,
    decode_definition,
    encode_definition,
)
from trio_socketio.im.namespaces.scripts import CHANGE, RESTORE
from trio_socketio.im.namespaces.store import (
    MAX_NAMESPACES,
    MAX_TOTAL_BYTES,
    Change,
    DefinitionRefused,
    DefinitionsUnavailable,
    Listener,
    Stamp,
)

log = logging.getLogger(__name__)

LOOK_S: Final = 30.0
"""How often a node checks whether it has missed a change."""

RETRY_S: Final = 0.5
"""The wait before Redis is asked again that could not be."""

FORBIDDEN_S: Final = 10.0
"""The wait before Redis is asked again that does not let this node read the namespaces."""

_HEAD: Final = b""
_NO_EPOCH: Final = ""  # of a hash that is not there
_FAILURES: Final = (RedisUnavailable, RedisCommandError, TimeoutError, LocalProtocolError)


class Script(Protocol):
    """A Lua script; see redis.scripts."""

    async def run(self, keys: Any = (), arguments: Any = ()) -> Any:
        """Carry it out, as one step."""


class Subscription(Protocol):
    """A subscription to a channel; see redis.subscriptions."""

    @property
    def confirmed(self) -> bool:
        """Whether messages arrive."""

    async def wait_confirmed(self) -> None:
        """Wait until messages arrive."""

    def close(self) -> None:
        """End it."""


class DefinitionRedis(Protocol):
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


class _Message(msgspec.Struct, array_like=True, frozen=True):
    """A change that was published; without a name, everything has to be read."""

    epoch: str
    revision: int
    name: str
    value: str
    reason: str


class _Head(NamedTuple):
    epoch: str
    revision: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_message: Final = msgspec.msgpack.Decoder(_Message).decode


class RedisStore:
    """Keeps the definitions in a hash of Redis.

    It has 14 attributes: the connection and its scripts, and what this node has read.

    Args:
        redis: the connection.
        prefix: begins the names of the key and of the channel.
    """

    where = "in Redis, for all nodes"

    def __init__(self, redis: DefinitionRedis, prefix: str = "tsio") -> None:
        self.key = f"{prefix}:{{namespaces}}:defined"
        self.channel = f"{prefix}:{{namespaces}}:changed"
        self.revision = 0
        self._redis = redis
        self._change = redis.script(CHANGE)
        self._restore = redis.script(RESTORE)
        self._epoch: str | None = None
        self._births: dict[str, bytes] = {}  # of the namespaces that the listener knows
        self._fault = "the namespaces have not been read yet"
        self._listener: Listener | None = None
        self._subscription: Subscription | None = None
        self._heard: list[_Message] | None = None  # while the hash is read
        self._has_missed = False  # since that was begun
        self._hurry = trio.Event()

    @property
    def fault(self) -> str:
        if self._fault:
            return self._fault
        is_connected = self._subscription is not None and self._subscription.confirmed
        return "" if is_connected else "Redis is away"

    @property
    def epoch(self) -> str:
        return self._epoch or _NO_EPOCH

    async def change(self, change: Change) -> Stamp:
        # Redis is asked even if this node has missed something: it is Redis that decides.
        status, *rest = await self._send(change, self.epoch)
        if status == b"lost":  # NSP-25
            await self._put_back()
            status, *rest = await self._send(change, _NO_EPOCH)
        if status != b"done":
            raise DefinitionRefused(status.decode())
        return Stamp(rest[0].decode(), int(rest[1]))

    async def _send(self, change: Change, epoch: str) -> list[Any]:
        """Ask Redis for a change; return its answer.

        Args:
            change: the change.
            epoch: that this node knows; if there is one, the change is not made without the hash.
        """
        expected = -1 if change.expected is None else change.expected
        try:
            answer: list[Any] = await self._change.run(
                [self.key],
                (
                    self.channel, token_urlsafe(6), change.kind, change.name, change.definition,
                    change.reason, expected, MAX_NAMESPACES, MAX_TOTAL_BYTES, epoch,
                ),
            )  # fmt: skip
        except RedisCommandError as error:
            # The script has one key, which it reads before it writes.
            is_unsure = error.is_unsure and error.code != "WRONGTYPE"
            raise DefinitionsUnavailable(error.explain(), is_unsure=is_unsure) from None
        except LocalProtocolError as error:
            raise DefinitionsUnavailable(str(error)) from None
        except (RedisUnavailable, TimeoutError) as error:
            is_unsure = not isinstance(error, RedisUnavailable) or error.is_unsure
            raise DefinitionsUnavailable(str(error), is_unsure=is_unsure) from None
        return answer

    async def run(
        self,
        listener: Listener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._listener = listener
        self._subscription = self._redis.subscribe(self.channel, self._receive, gap=self._miss)
        is_told = has_started = False
        try:
            while True:
                self._hurry = trio.Event()
                try:
                    await self._redis.wait_connected()
                    await self._catch_up(self._subscription)
                except DefinitionsUnavailable as error:
                    self._fault = f"the namespaces cannot be read: {error}"
                    if not is_told:  # not again at every try
                        log.warning("%s", self._fault)
                    is_told = True
                    if error.is_forbidden and not has_started:  # NSP-24
                        has_started = True
                        log.warning("this node serves no namespaces that are made at run time")
                        task_status.started()
                    await trio.sleep(FORBIDDEN_S if error.is_forbidden else RETRY_S)
                    continue
                if is_told:
                    log.info("the namespaces were read again")
                    is_told = False
                if not has_started and not self._fault:
                    has_started = True
                    task_status.started()
                with trio.move_on_after(LOOK_S):
                    await self._hurry.wait()
        finally:
            self._fault = "the program ends"
            self._subscription.close()
            self._subscription = None

    async def _catch_up(self, subscription: Subscription) -> None:
        try:
            await subscription.wait_confirmed()
        except (RedisUnavailable, RedisCommandError) as error:
            raise DefinitionsUnavailable(str(error)) from None
        before = self.revision
        head = _read_head(self.key, await self._execute("HGET", self.key, _HEAD))
        # Messages may have told of that revision meanwhile.
        is_known = head is not None and before <= head.revision <= self.revision
        if self._fault or not is_known or head is None or head.epoch != self._epoch:
            await self._read()

    async def _read(self) -> None:
        """Read all definitions; what is changed meanwhile is told by messages."""
        assert self._listener is not None
        self._heard = heard = list[_Message]()
        self._has_missed = False
        try:
            raw = await self._execute("HGETALL", self.key)
        finally:
            self._heard = None
        fields: dict[bytes, bytes] = raw if isinstance(raw, dict) else _pair(raw)
        head = _read_head(self.key, fields.pop(_HEAD, None))
        if head is None:
            if fields:
                raise DefinitionsUnavailable(f"{self.key} is not a hash of namespaces")
            if self._listener.known():
                await self._put_back()  # it is read like any other then
                return
            await self._note_empty()
            head = _Head(_NO_EPOCH, 0)
        if self._epoch not in (None, _NO_EPOCH, head.epoch):
            log.warning(
                "the namespaces in Redis are others than this node knew: they were lost, and put "
                "back by another node, or from a backup"
            )
        births, definitions = self._decode(fields)
        before = self._births
        reborn = {name for name in births if before.get(name, births[name]) != births[name]}
        if reborn:  # NSP-26: as if this node had read them after the removal, too
            rest = {name: one for name, one in definitions.items() if name not in reborn}
            self._listener.replace(rest, self.revision)
        self._epoch, self.revision = head
        self._births = births
        self._listener.replace(definitions, head.revision)
        for message in heard:
            if message.epoch != head.epoch or message.revision > self.revision:
                self._take(message)
        if not self._has_missed:
            self._fault = ""

    async def _put_back(self) -> None:
        """Make the hash, which Redis has lost, of what this node knows, if anything (NSP-15)."""
        assert self._listener is not None
        known = self._listener.known()
        given: list[str | bytes] = []
        for name, definition in known.items():
            birth = self._births.get(name, b"")
            given += (
                name,
                b"%d %b%b" % (definition.revision, birth, encode_definition(definition)),
            )
        arguments = (self.channel, token_urlsafe(6), self.revision + 1, *given)
        if known:
            log.warning("Redis has lost the %d namespaces: this node puts them back", len(known))
            try:
                status, *rest = await self._restore.run([self.key], arguments)
            except _FAILURES as error:
                raise DefinitionsUnavailable(str(error)) from None
            if status == b"done":
                self._epoch = rest[0].decode()
        self._miss()

    async def _note_empty(self) -> None:
        """Have others look at once, which may know what Redis has lost (NSP-25)."""
        if self._epoch != _NO_EPOCH:  # else they were told
            message = _Message(_NO_EPOCH, 0, "", "", "")
            await self._execute("PUBLISH", self.channel, _encode(message))

    def _decode(
        self, fields: dict[bytes, bytes]
    ) -> tuple[dict[str, bytes], dict[str, NamespaceDefinition]]:
        """Return the births of all namespaces, and the definitions of those that can be read."""
        births, found = {}, {}
        for field, raw in fields.items():
            name = field.decode("utf-8", "replace")
            revision, _, rest = raw.partition(b" ")
            birth, brace, data = rest.partition(b"{")
            births[name] = birth or self._births.get(name, b"")  # without one, it is as before
            try:
                definition = decode_definition(brace + data, int(revision))
            except ValueError as error:
                log.error("the definition of the namespace %s cannot be read: %s", name, error)
            else:
                found[definition.namespace] = definition
        return births, found

    # -- messages

    def _receive(self, channel: bytes, payload: bytes) -> None:
        try:
            message = _decode_message(payload)
        except msgspec.MsgspecError as error:
            log.warning("a message about namespaces cannot be read: %s", error)
            self._miss()
            return
        if self._heard is not None:
            self._heard.append(message)
        else:
            self._take(message)

    def _take(self, message: _Message) -> None:
        """Take a change, if it is the next one; if not, everything is read."""
        assert self._listener is not None
        is_next = message.epoch == self._epoch and message.revision == self.revision + 1
        if not is_next or not message.name:
            if message.epoch != self._epoch or message.revision > self.revision:
                self._miss()
            return
        value = message.value.encode()
        self.revision = message.revision
        try:
            definition = decode_definition(value, message.revision) if value else None
        except ValueError as error:
            log.error("the definition of the namespace %s cannot be read: %s", message.name, error)
            definition = None  # served by the old one, it would be another namespace than elsewhere
        if value:
            birth = f"{message.epoch}:{message.revision} "  # unless it is an update
            self._births.setdefault(message.name, birth.encode())
        else:
            self._births.pop(message.name, None)
        self._listener.change_one(message.name, definition, message.revision, message.reason)

    def _miss(self, duration_s: float = 0.0) -> None:
        """Note that changes may have been missed: they are read at once."""
        self._has_missed = True
        self._fault = self._fault or "changes of namespaces were missed, and are being read"
        self._hurry.set()

    async def _execute(self, *arguments: Any) -> Any:
        try:
            return await self._redis.execute(*arguments)
        except _FAILURES as error:
            is_forbidden = isinstance(error, RedisCommandError) and error.code == "NOPERM"
            raise DefinitionsUnavailable(str(error), is_forbidden=is_forbidden) from None


def _pair(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read_head(key: str, found: bytes | None) -> _Head | None:
    """Read the epoch and the revision; None if there is no hash.

    Raises:
        DefinitionsUnavailable: something else is kept there.
    """
    if found is None:
        return None
    try:
        epoch, revision, _, _ = found.decode().split(" ")
        return _Head(epoch, int(revision))
    except ValueError:
        raise DefinitionsUnavailable(f"{key} is not a hash of namespaces") from None
