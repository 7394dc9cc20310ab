"""The turns of groups where several nodes share a presence store on Redis."""

from collections.abc import Callable
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.errors import RedisCommandError, RedisUnavailable, RemoteProtocolError
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.im.presence.turns import GROUP_AGE_S, POLL_S
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_turns import (
    MAX_GROUPS,
    Busy,
    Crowded,
    Gone,
    Held,
    Idle,
    Kept,
    Lost,
    Place,
)
from trio_socketio.redis.key_names import name_key

if TYPE_CHECKING:
    from trio_socketio.redis.redis import Redis
    from trio_socketio.redis.subscriptions import Subscription

SWEEP_S: Final = 600.0
"""The time between two looks for groups that have had no members for too long."""
_NONE: Final = b"-"


class RedisTurns:
    """The turns of one node, which are kept in a hash beside the presence store.

    Args:
        redis: the connection.
        boot: returns the incarnation of this node in the presence store; empty while it has none.
            The turns of a boot without a lease there are free (FEED-61).
        prefix: of keys and channels.
        max_groups: how many groups are known at a time.
        age_s: how long a group without members is known, on the clock of a node that runs for so
            long.
    """

    def __init__(
        self,
        redis: "Redis",
        boot: Callable[[], str],
        *,
        prefix: str = "tsio",
        max_groups: int = MAX_GROUPS,
        age_s: float = GROUP_AGE_S,
    ) -> None:
        self._redis = redis
        self._boot = boot
        self._max_groups = max_groups
        self._keys = (name_key(prefix, "groups"), name_key(prefix, "leases"))
        self._channel = f"{prefix}:presence:groups"
        self._scripts = {name: redis.script(_load(name)) for name in _SCRIPTS}
        self._numbers = count(1)
        self._known = 0
        self._idle = Idle(age_s)
        self._sweep_at = 0.0  # on trio's clock
        self._news: dict[bytes, trio.Event] = {}
        self._subscription: Subscription | None = None

    @property
    def boot(self) -> str:
        return self._boot()

    @property
    def known(self) -> int:
        return self._known

    async def take(self, place: Place, *, is_bounded: bool = True) -> Held | Busy | Crowded | Gone:
        boot, number = self.boot, next(self._numbers)
        if not boot:
            await trio.lowlevel.checkpoint()
            return Gone()
        self._watch(place)
        most = self._max_groups if is_bounded else 0
        status, *found = await self._run("take", _name(place), boot, number, most)
        if status == b"GONE":
            return Gone()
        if status == b"CROWDED":
            return Crowded()
        position, losses, others, self._known = found
        if status == b"BUSY":
            return Busy(_cursor(position), losses)
        return Held(place, boot, number, _cursor(position), losses, bool(others))

    async def acknowledge(self, turn: Held, position: Cursor | None = None) -> Kept | Lost:
        return await self._keep(turn, _NONE if position is None else str(position))

    async def forget(self, turn: Held) -> Kept | Lost:
        return await self._keep(turn, b"lost")

    async def _keep(self, turn: Held, position: str | bytes) -> Kept | Lost:
        self._watch(turn.place)
        status, *found = await self._run(
            "acknowledge", _name(turn.place), turn.boot, turn.number, position
        )
        if status == b"LOST":
            return Lost()
        losses, others, self._known = found
        return Kept(bool(others), losses)

    async def give_back(self, turn: Held, position: Cursor | None, *, waits: bool) -> bool:
        if waits:
            self._watch(turn.place)
        else:
            self._news.pop(_name(turn.place), None)
        acked = _NONE if position is None else str(position)
        return await self._leave(turn.place, turn.boot, turn.number, acked, int(waits))

    async def withdraw(self, place: Place) -> None:
        self._news.pop(_name(place), None)
        await self._leave(place, self.boot, _NONE, _NONE, 0)

    async def _leave(self, place: Place, boot: str, *arguments: str | bytes | int) -> bool:
        _, others, self._known = await self._run("leave", _name(place), boot, *arguments)
        return bool(others)

    async def wait_changed(self, place: Place) -> None:
        await self._sweep()
        with trio.move_on_after(POLL_S):
            await self._news.setdefault(_name(place), trio.Event()).wait()

    # -- parts

    def _watch(self, place: Place) -> None:
        """Begin to listen for news of a group, before the call that they would make out of date."""
        if self._subscription is None:  # it lasts as long as the connection
            self._subscription = self._redis.subscribe(self._channel, self._note)
        name = _name(place)
        news = self._news.get(name)
        if news is None or news.is_set():  # another task may be waiting for it
            self._news[name] = trio.Event()

    def _note(self, _: bytes, told: bytes) -> None:
        boot, _, name = told.partition(b" ")
        event = self._news.get(name)
        if event is not None and boot != self.boot.encode():
            event.set()

    async def _sweep(self) -> None:
        """Drop groups that have had no members for too long (FEED-30)."""
        now = trio.current_time()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_S
        found = await self._run("idle", b"", "")
        places = {_place(name): touched for name, touched in zip(*[iter(found)] * 2, strict=True)}
        for place, touched in self._idle.note(places, now).items():
            await self._run("discard", _name(place), "", touched)

    async def _run(
        self, script: str, name: bytes, boot: str, *arguments: str | bytes | int
    ) -> list[Any]:
        """Carry a script out.

        Raises:
            StoreUnavailable: it is not known whether Redis has done it.
        """
        given = (self._channel, name, boot, *arguments)
        try:
            found: list[Any] = await self._scripts[script].run(self._keys, given)
        except (RedisUnavailable, RedisCommandError, TimeoutError) as error:
            raise StoreUnavailable(str(error)) from None
        return found


_SCRIPTS: Final = ("take", "acknowledge", "leave", "idle", "discard")


def _load(name: str) -> str:
    folder = resources.files(__package__) / "lua" / "turns"
    begin = (folder / "begin.lua").read_text("utf-8")
    return f"{begin}\n{(folder / f'{name}.lua').read_text('utf-8')}"


def _name(place: Place) -> bytes:
    return "\0".join(place).encode()


def _place(name: bytes) -> Place:
    namespace, _, group = name.decode("utf-8", "replace").partition("\0")
    return namespace, group


def _cursor(text: bytes) -> Cursor | None:
    if text == _NONE:
        return None
    try:
        return parse_cursor(text.decode("ascii", "replace"))
    except RemoteProtocolError as error:
        raise StoreUnavailable(
            f"a group has a position that was not written here: {error}"
        ) from None
