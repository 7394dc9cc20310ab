"""The Lua scripts of the presence store on Redis, and how they are called."""

import secrets
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trio_socketio.errors import LocalProtocolError, RedisCommandError, RedisUnavailable
from trio_socketio.im.presence.store import NamespaceUnusable, StoreUnavailable
from trio_socketio.redis.commands import Argument
from trio_socketio.redis.key_names import name_key
from trio_socketio.redis.redis import Redis

if TYPE_CHECKING:
    from trio_socketio.redis.scripts import Script

_STORE_KEYS: Final = ("meta", "leases", "dead", "owned", "orders", "inbox", "kicked")
_NAMESPACE_KEYS: Final = ("head", "users", "names", "log")
_ABOUT_NODES: Final = (
    *("enroll", "renew", "rebuilt", "watch", "settle", "fence", "owned", "forget", "inbox"),
)
_CHANGES: Final = ("claim", "reassert", "release", "kick", "confirm", "reap")
_READS: Final = ("awaited", "count", "read")
_PRESENTS: Final = ("get", "page")
_FOREIGN: Final = "FOREIGN"


class Answer(NamedTuple):
    """What a script has returned.

    Args:
        status: how it has ended.
        epoch: of the store at that moment.
        is_rebuilding: whether claims may be missing that nodes have yet to reassert.
        values: what else it returns.
    """

    status: str
    epoch: int
    is_rebuilding: bool
    values: list[Any]


class PresenceScripts:
    """Runs the scripts, each as one step of Redis, and knows whether the store is the one it was.

    Every call carries how far this program has seen the store go. A store that is not so far has
    lost what it had said: the script begins another epoch then, before it does anything else.

    It has 16 attributes: eight are what it knows of the store, the others what it is made of.

    Args:
        redis: the connection.
        prefix: begins the names of keys.
        channels: begins the names of channels.
        max_events: how many entries the log of a namespace keeps at least.
        changed: called when the epoch is another one.

    Attributes:
        epoch: of the store; 0 before it was asked.
        epochs: how many other ones have been seen since the first.
        fault: why it cannot be used although there is a connection; empty if it can.
        is_rebuilding: whether claims may be missing that nodes have yet to reassert.
    """

    def __init__(
        self,
        redis: Redis,
        prefix: str,
        channels: str,
        max_events: int,
        changed: Callable[[], None],
    ) -> None:
        self.epoch = 0
        self.epochs = 0
        self.fault = ""
        self.is_rebuilding = False
        self._channels = channels
        self._redis = redis
        self._changed = changed
        self._max_events = max_events
        self._era = 0  # the processes of Redis that have had this epoch
        self._revision = 0
        self._generations = 0
        self._writer = secrets.token_urlsafe(9)
        self._wrote = 0  # the revision of our last write that was answered
        self._keys = name_key(prefix)
        self._store_keys = [self._keys + name for name in _STORE_KEYS]
        sources = {
            **dict.fromkeys(_ABOUT_NODES, ("begin",)),
            **dict.fromkeys(_CHANGES, ("begin", "namespace", "changing")),
            **dict.fromkeys(_READS, ("begin", "namespace")),
            **dict.fromkeys(_PRESENTS, ("begin", "namespace", "present")),
            "kinds": (),
        }
        self._scripts: dict[str, Script] = {
            name: redis.script("".join(map(_read, (*parts, name))))
            for name, parts in sources.items()
        }

    async def run(self, name: str, *arguments: Argument) -> Answer:
        """Run a script about nodes.

        Raises:
            StoreUnavailable: there is no answer, or Redis refuses it.
        """
        return await self._run(name, self._store_keys, arguments)

    async def run_for(self, namespace: str, name: str, *arguments: Argument) -> Answer:
        """Run a script about a namespace.

        Raises:
            StoreUnavailable: there is no answer, or Redis refuses it.
        """
        place = f"{self._keys}ns:{namespace}:"
        keys = [*self._store_keys, *(place + name for name in _NAMESPACE_KEYS)]
        return await self._run(name, keys, (namespace, self._max_events, *arguments))

    async def _run(self, name: str, keys: list[str], arguments: tuple[Argument, ...]) -> Answer:
        reply = await self._execute(name, keys, arguments)
        status, epoch, era, revision, generations, rebuilding, has_written, *values = reply
        if status == b"OVERTAKEN":
            raise StoreUnavailable("the connection was lost before this was carried out")
        self._note(status, epoch, era, revision, has_written)
        self._generations = max(self._generations, generations)
        self.is_rebuilding = bool(rebuilding)
        if status == b"LOST":
            raise StoreUnavailable("Redis has lost presence data; the nodes are restoring it")
        if status == b"LATE":
            raise StoreUnavailable("it came to Redis too late, and was not done")
        return Answer(status.decode(), epoch, bool(rebuilding), values)

    async def _execute(
        self, name: str, keys: list[str], arguments: tuple[Argument, ...]
    ) -> list[Any]:
        seen = (self.epoch, self._era, self._revision, self._generations)
        own = (self._writer, self._wrote, self._redis.connections)
        try:
            reply: list[Any] = await self._scripts[name].run(
                keys, [*seen, *own, self._channels, *arguments]
            )
        except (RedisUnavailable, TimeoutError, LocalProtocolError) as error:
            raise StoreUnavailable(str(error)) from None
        except RedisCommandError as error:
            if error.code == "WRONGTYPE":
                await self._find_foreign(keys)
            raise self._explain(error) from None
        return reply

    async def _find_foreign(self, keys: list[str]) -> None:
        """Raise an error that names the key which is of another kind than ours, if it still is."""
        try:
            await self._scripts["kinds"].run(keys)
        except RedisCommandError as error:
            raise self._explain(error) from None
        except (RedisUnavailable, TimeoutError) as error:
            raise StoreUnavailable(str(error)) from None

    def _note(self, status: bytes, epoch: int, era: int, revision: int, has_written: int) -> None:
        """Remember how far the store has gone."""
        if epoch > self.epoch:
            self.epochs += self.epoch > 0
            self.epoch, self._era, self._revision, self._wrote = epoch, 0, 0, 0
            self._changed()
        if epoch == self.epoch:  # not an answer that comes late, from before a loss
            self._era, self._revision = max((self._era, self._revision), (era, revision))
            if has_written:
                self._wrote = max(self._wrote, revision)
        if has_written or status == b"RENEWED":  # both need memory, and a master
            self.fault = ""

    def _explain(self, error: RedisCommandError) -> StoreUnavailable:
        """Say why a script was not carried out; remember it if that concerns all of them."""
        told = error.explain()
        if f"{self._keys}ns:" in str(error):
            return NamespaceUnusable(told)
        self.fault = told
        return StoreUnavailable(told)


def _read(name: str) -> str:
    return files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
