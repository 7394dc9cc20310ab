"""Delivers presence logs to backends on the control socket, as fast as each of them takes it.

A subscription is a cursor that moves through a log. The log buffers, so a reader that is slow only
lags, and one that lags too far is told that its cursor has expired. Entries are sent at least once:
after a reconnection some may come again, always with the same cursors and tokens.

A group of subscriptions to one namespace shares one cursor, that of the last acknowledgement. One
member is sent entries. When it leaves, or lets ACK_TIMEOUT_S pass while others wait, the next one
begins behind that cursor. The members may be connected to several nodes; see groups.py.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

import trio

from trio_socketio.codec.json_rpc import encode_request
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.failures import overloaded, store_unavailable, unavailable
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.deliveries import HEAD_BYTES, Deliveries
from trio_socketio.im.presence.feed_errors import describe, unreadable
from trio_socketio.im.presence.group import Group
from trio_socketio.im.presence.groups import Groups
from trio_socketio.im.presence.log_reader import BATCH_BYTES, LogReader
from trio_socketio.im.presence.store import PresenceStore, StoreUnavailable
from trio_socketio.im.presence.subscription import Subscription
from trio_socketio.im.presence.turns import LocalTurns, Turns
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged
from trio_socketio.protocol.presence_turns import Place
from trio_socketio.protocol.subscription_life import Input, State
from trio_socketio.runtime.groups import alone

NOTICE: Final = "backend.presence"
MAX_OF_PEER: Final = 16
"""The number of subscriptions that a peer may have."""
MAX_SUBSCRIPTIONS: Final = 1000
"""The number of subscriptions that all peers may have together."""
ACK_TIMEOUT_S: Final = 30.0
"""The time for which an active member may acknowledge nothing new, while others wait."""


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """The current numbers of the feed, and its totals since it was made.

    Args:
        subscriptions: how many there are, members of groups that wait included.
        groups: how many groups are known.
        lag: the number of entries that the slowest subscription has not acknowledged.
        lag_s: the longest time until an entry of a log is read here; see LogReader.
        entries: how many entries were sent, each subscription counted.
        ended: how many subscriptions the server has ended, by reason: cursor_expired,
            generation_changed, ack_timeout, forbidden.
    """

    subscriptions: int
    groups: int
    lag: int
    lag_s: float
    entries: int
    ended: dict[str, int]


class Feed:
    """The subscriptions to the logs of a store. `run` starts it.

    Args:
        store: has the logs.
        max_line_bytes: the longest line that peers take.
        ack_timeout_s: see ACK_TIMEOUT_S.
        turns: the turns of groups; None means that this feed shares its groups with no other.
    """

    def __init__(
        self,
        store: PresenceStore,
        max_line_bytes: int = 1 << 20,
        ack_timeout_s: float = ACK_TIMEOUT_S,
        turns: Turns | None = None,
    ) -> None:
        self._store = store
        self._max_bytes = min(BATCH_BYTES, max(max_line_bytes - HEAD_BYTES, 1))
        self._deliveries = Deliveries(self, ack_timeout_s)
        self._numbers = count(1)
        self._turn = trio.Lock()  # to encode a batch
        self._by_peer: dict[BackendPeer, dict[int, Subscription]] = {}
        self._readers: dict[str, tuple[LogReader, trio.CancelScope]] = {}
        self._groups = Groups[Subscription](
            LocalTurns() if turns is None else turns, self, self._deliveries
        )
        self._nursery: trio.Nursery | None = None
        self._count = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled: a service for Runtime.start_service."""
        async with alone(trio.open_nursery()) as self._nursery:
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None  # at once: those who still end start nothing any more

    def statistics(self) -> FeedStatistics:
        """Return a snapshot of what the feed does."""
        every = [one for owned in self._by_peer.values() for one in owned.values()]
        return FeedStatistics(
            subscriptions=self._count,
            groups=len(self._groups),
            lag=max((one.lag for one in every), default=0),
            lag_s=max((reader.lag_s for reader, _ in self._readers.values()), default=0.0),
            entries=self._deliveries.entries,
            ended=dict(self._deliveries.ended),
        )

    # -- what peers ask for

    async def subscribe(
        self,
        peer: BackendPeer,
        namespace: str,
        cursor: Cursor | None,
        group: str | None,
        credit: int,
    ) -> Subscription:
        """Deliver the log of a namespace to a peer.

        Args:
            peer: is sent the entries.
            namespace: its name.
            cursor: where to begin; None means now. The position of a group goes before.
            group: the name of a group; None for a subscription that stands alone.
            credit: how many entries may be sent that are not acknowledged.
        Raises:
            ControlError: the log cannot be read from there, or something is exhausted.
        """
        owned = self._subscriptions_of(peer)
        if len(owned) >= MAX_OF_PEER:  # FEED-25
            raise overloaded(f"a connection may have {MAX_OF_PEER} subscriptions")
        if self._count >= MAX_SUBSCRIPTIONS:  # FEED-26
            raise overloaded(f"there are {MAX_SUBSCRIPTIONS} subscriptions already")
        one = Subscription(next(self._numbers), peer, self._use_reader(namespace), credit)
        owned[one.number] = one
        self._count += 1
        try:
            if group is not None:
                await self._join(one, (namespace, group))
            await self._find_begin(one, namespace, cursor)
        except StoreUnavailable as error:
            self.end(one)
            raise store_unavailable(f"the presence store is not available: {error}") from None
        except BaseException:
            self.end(one)
            raise
        if one.state is State.OVER:
            raise unavailable("the connection has ended")
        if self._nursery is None:
            self.end(one)
            raise unavailable("the presence feed has ended")
        one.move(Input.FOUND)
        if one.group is None:
            self._deliveries.start(one, one.begin, self._nursery)
        else:
            self.run_next(one.group, one)
        return one

    async def acknowledge(
        self, peer: BackendPeer, number: int, cursor: Cursor
    ) -> Subscription | None:
        """Note that a peer has dealt with all entries up to a cursor.

        Returns:
            The subscription; None if the peer has none of this number.
        Raises:
            ValueError: the cursor is ahead of what was sent, or of another log, or the turn of the
                group is lost.
            StoreUnavailable: it is not known whether the acknowledgement is stored.
        """
        one = self._by_peer.get(peer, {}).get(number)
        if one is None:
            return None
        sent = one.window.sent
        if one.state is not State.RUNNING:
            raise ValueError("nothing was sent yet: another member of the group is active")
        if cursor.generation != sent.generation or cursor > sent:  # FEED-16
            raise ValueError(f"the last entry that was sent is {sent}")
        one.window.acknowledge(cursor, trio.current_time())
        self._deliveries.watch(one)
        group = one.group
        if group is not None:
            group.move(one.window.acked)
            if not await group.wait_stored(cursor):  # FEED-62
                raise ValueError("another member of the group is active, and goes on from before")
        return one

    def unsubscribe(self, peer: BackendPeer, number: int) -> bool:
        """End a subscription; return whether there was one."""
        one = self._by_peer.get(peer, {}).get(number)
        if one is not None:
            self.end(one)
        return one is not None

    # -- the beginning

    def _subscriptions_of(self, peer: BackendPeer) -> dict[int, Subscription]:
        owned = self._by_peer.get(peer)
        if owned is None:
            owned = self._by_peer[peer] = {}
            peer.on_end(partial(self._forget, peer))
        return owned

    def _use_reader(self, namespace: str) -> LogReader:
        if self._nursery is None:
            raise unavailable("the presence feed does not run")
        found = self._readers.get(namespace)
        if found is None:
            reader = LogReader(self._store, namespace, self._max_bytes, self._turn)
            scope = trio.CancelScope()
            self._readers[namespace] = reader, scope
            self._nursery.start_soon(self._follow, reader, scope)
        else:
            reader, _ = found
        reader.subscriptions += 1
        return reader

    async def _follow(self, reader: LogReader, scope: trio.CancelScope) -> None:
        with scope:
            await reader.follow()

    async def _join(self, one: Subscription, place: Place) -> None:
        assert self._nursery is not None
        group = one.group = self._groups.join(place, one, self._nursery.start_soon)
        if len(group.members) == 2 and not group.others:
            self._deliveries.wait_anew(group)
        await group.wait_known()

    async def _find_begin(self, one: Subscription, namespace: str, cursor: Cursor | None) -> None:
        group = one.group
        if group is not None and group.acked is not None:  # FEED-21
            one.begin = group.acked
            if group.turn is None or group.active is not one:
                return  # the active member finds out whether that can be read from
        elif cursor is not None:
            one.begin = cursor
        else:
            one.begin = (await self._store.count(namespace)).cursor
        if cursor is not None or (group is not None and group.acked is not None):
            # Ask the store, because the reader may have kept entries of a log that is gone.
            found = await self._store.read(namespace, one.begin, 1)
            if not isinstance(found, Entries):
                if group is not None and group.acked == one.begin:
                    group.move(None)
                self._deliveries.count_end(found)
                raise unreadable(one.begin, found)
        if group is not None and group.active is one and group.acked is None:
            await group.begin_at(one.begin)

    # -- delivery

    def run_next(self, group: Group[Subscription], own: Subscription | None = None) -> None:
        """Start the first member of a group, if this node has the turn.

        Args:
            group: the group.
            own: a member that learns of it from the answer of its own call.
        """
        one = group.active
        if one is None or group.turn is None or group.yields or one.state is State.BEGINNING:
            return
        if self._nursery is None:
            return
        if one.state is State.WAITING:
            begin = one.begin if group.acked is None else group.acked
            group.move(begin)
            self._deliveries.start(one, begin, self._nursery)
            if one is not own:  # FEED-23
                self._deliveries.send(one, b"[]", begin)
        self._deliveries.watch(one)

    # -- the end

    def give_up(self, one: Subscription, found: CursorExpired | GenerationChanged) -> None:
        """End the other members of a group whose position is lost: all need a snapshot."""
        assert one.group is not None
        one.group.move(None)
        self._end_waiting(one.group, one.window.sent, found)

    async def check_lost(self, group: Group[Subscription], position: Cursor) -> bool:
        """End the members that wait, if the log cannot be read from a position any more.

        Raises:
            StoreUnavailable: that cannot be found out now (FEED-69).
        """
        found = await self._store.read(group.place[0], position, 1)
        if isinstance(found, Entries):
            return False
        self._end_waiting(group, position, found)
        return True

    def _end_waiting(
        self, group: Group[Subscription], position: Cursor, found: CursorExpired | GenerationChanged
    ) -> None:
        for member in tuple(group.members):
            if member.state is State.WAITING:
                self._deliveries.count_end(found)
                self.end(member, unreadable(position, found))

    def _forget(self, peer: BackendPeer) -> None:
        """End all subscriptions of a peer that has gone."""
        for one in tuple(self._by_peer.pop(peer, {}).values()):
            self.end(one)

    def end(self, one: Subscription, error: ControlError | None = None) -> None:
        """End a subscription; if there is an error, send it to the peer."""
        if one.state is State.OVER:
            return
        position, was_active = one.position, one.state is State.RUNNING
        one.move(Input.END)
        one.scope.cancel()
        self._count -= 1
        self._by_peer.get(one.peer, {}).pop(one.number, None)
        one.reader.subscriptions -= 1
        if not one.reader.subscriptions:
            self._drop_reader(one.reader)
        if error is not None:
            told = {
                "subscription": one.number,
                "entries": [],
                "cursor": str(position),
                "error": describe(error),
            }
            one.peer.notify(encode_request(NOTICE, told, None))
        group = one.group
        if group is not None:
            # Members on other nodes come first, if there are any (FEED-63).
            group.yields = group.yields or (was_active and group.others)
            self._groups.leave(group, one)
            self.run_next(group)  # FEED-22

    def _drop_reader(self, reader: LogReader) -> None:
        for namespace, (other, scope) in tuple(self._readers.items()):
            if other is reader:
                scope.cancel()
                del self._readers[namespace]
