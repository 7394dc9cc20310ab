"""Delivers presence logs to backends on the control socket, as fast as each of them takes it.

A subscription is a cursor that moves through a log. The log buffers, so a reader that is slow only
lags, and one that lags too far is told that its cursor has expired. Entries are sent at least once:
after a reconnection some may come again, always with the same cursors and tokens.

A group of subscriptions to one namespace shares one cursor, that of the last acknowledgement. One
member is sent entries. When it leaves, or lets ACK_TIMEOUT_S pass while others wait, the next one
begins behind that cursor.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import Final

import trio

from trio_socketio.codec.json_rpc import Code, encode_request
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.failures import (
    overloaded,
    store_unavailable,
    timed_out,
    unauthorized,
    unavailable,
)
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.feed_errors import describe, unreadable
from trio_socketio.im.presence.groups import Groups
from trio_socketio.im.presence.log_reader import BATCH_BYTES, RETRY_S, Batch, LogReader
from trio_socketio.im.presence.store import PresenceStore, StoreUnavailable
from trio_socketio.im.presence.subscription import Subscription
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, Entries, GenerationChanged
from trio_socketio.protocol.subscription_life import Input, State
from trio_socketio.runtime.groups import alone

SUBSCRIBE: Final = "presence.subscribe"
"""The method that a token has to allow for as long as its peer is sent entries."""
NOTICE: Final = "backend.presence"
MAX_OF_PEER: Final = 16
"""The number of subscriptions that a peer may have."""
MAX_SUBSCRIPTIONS: Final = 1000
"""The number of subscriptions that all peers may have together."""
ACK_TIMEOUT_S: Final = 30.0
"""The time for which an active member may acknowledge nothing new, while others wait."""

_HEAD: Final = b'{"jsonrpc":"2.0","method":"backend.presence","params":{"subscription":'
_HEAD_BYTES: Final = 256  # what a notification has besides its entries, at most


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """The current numbers of the feed, and its totals since it was made.

    Args:
        subscriptions: how many there are, members of groups that wait included.
        groups: how many groups are known.
        lag: the number of entries that the slowest subscription has not acknowledged.
        lag_s: how long it takes at most until an entry of a log is read here; see LogReader.
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
    """

    def __init__(
        self,
        store: PresenceStore,
        max_line_bytes: int = 1 << 20,
        ack_timeout_s: float = ACK_TIMEOUT_S,
    ) -> None:
        self._store = store
        self._max_bytes = min(BATCH_BYTES, max(max_line_bytes - _HEAD_BYTES, 1))
        self._ack_timeout_s = ack_timeout_s
        self._numbers = count(1)
        self._turn = trio.Lock()  # to encode a batch
        self._by_peer: dict[BackendPeer, dict[int, Subscription]] = {}
        self._readers: dict[str, tuple[LogReader, trio.CancelScope]] = {}
        self._groups = Groups[Subscription](trio.current_time)
        self._nursery: trio.Nursery | None = None
        self._count = 0
        self._entries = 0
        self._ended = Counter[str]()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled: a service for Runtime.start_service."""
        try:
            async with alone(trio.open_nursery()) as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def statistics(self) -> FeedStatistics:
        """Return a snapshot of what the feed does."""
        every = [one for owned in self._by_peer.values() for one in owned.values()]
        return FeedStatistics(
            subscriptions=self._count,
            groups=len(self._groups),
            lag=max((one.lag for one in every), default=0),
            lag_s=max((reader.lag_s for reader, _ in self._readers.values()), default=0.0),
            entries=self._entries,
            ended=dict(self._ended),
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
                one.group = self._groups.join((namespace, group), one)
                if one.group is None:  # FEED-27
                    raise overloaded("too many groups of subscriptions have members", 60_000)
                active = one.group.active
                if active is not None and len(one.group.members) == 2:
                    # Nobody waited before, so its time for an acknowledgement begins now.
                    active.window.wait_anew(trio.current_time())
            await self._find_begin(one, namespace, cursor)
        except StoreUnavailable as error:
            self._end(one)
            raise store_unavailable(f"the presence store is not available: {error}") from None
        except BaseException:
            self._end(one)
            raise
        if one.state is State.OVER:
            raise unavailable("the connection has ended")
        one.move(Input.FOUND)
        self._run_next(one)
        return one

    def acknowledge(self, peer: BackendPeer, number: int, cursor: Cursor) -> Subscription | None:
        """Note that a peer has dealt with all entries up to a cursor.

        Returns:
            The subscription; None if the peer has none of this number.
        Raises:
            ValueError: the cursor is ahead of what was sent, or of another log.
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
        if one.group is not None:
            one.group.acked = one.window.acked
        self._watch(one)
        return one

    def unsubscribe(self, peer: BackendPeer, number: int) -> bool:
        """End a subscription; return whether there was one."""
        one = self._by_peer.get(peer, {}).get(number)
        if one is not None:
            self._end(one)
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

    async def _find_begin(self, one: Subscription, namespace: str, cursor: Cursor | None) -> None:
        group = one.group
        if group is not None and group.acked is not None:  # FEED-21
            one.begin = group.acked
            if group.active is not one:
                return  # the active member finds out whether that can be read from
        elif cursor is not None:
            one.begin = cursor
        else:
            one.begin = (await self._store.count(namespace)).cursor
            return
        # Not what the reader has kept: it may be of a log that is no more.
        found = await self._store.read(namespace, one.begin, 1)
        if not isinstance(found, Entries):
            if group is not None and group.acked == one.begin:
                group.acked = None  # the next member says where to begin
            self._count_end(found)
            raise unreadable(one.begin, found)

    # -- delivery

    def _run_next(self, member: Subscription) -> None:
        """Start a subscription, if it stands alone; else the first member of its group."""
        group = member.group
        one = member if group is None else group.active
        if one is None or one.state is State.BEGINNING:
            return
        if one.state is State.WAITING:
            assert self._nursery is not None
            begin = one.begin
            if group is not None:
                begin = group.acked = one.begin if group.acked is None else group.acked
            one.window.begin_at(begin)
            one.move(Input.START)
            if one is not member:  # FEED-23
                self._send(one, b"[]", begin)
            self._nursery.start_soon(self._deliver, one)
        self._watch(one)

    def _watch(self, one: Subscription) -> None:
        """Set the time for the next acknowledgement of an active member."""
        is_awaited = one.group is not None and one.group.has_others  # FEED-24
        one.scope.deadline = one.window.next_ack_by(self._ack_timeout_s) if is_awaited else inf

    async def _deliver(self, one: Subscription) -> None:
        error: ControlError | None = None
        with one.scope:
            error = await self._deliver_entries(one)
        if one.state is State.OVER:
            return
        if error is None:  # its time is over
            self._ended["ack_timeout"] += 1
            error = timed_out(
                f"nothing was acknowledged for {self._ack_timeout_s:g} s, and others of the group "
                "wait: subscribe again"
            )
        self._end(one, error)

    async def _deliver_entries(self, one: Subscription) -> ControlError | None:
        """Deliver as long as that is possible; return why it is not, or None if it has ended."""
        reader, peer, window = one.reader, one.peer, one.window
        while True:
            await trio.lowlevel.checkpoint()
            if reader.tail == window.sent:  # it is up to date, and asks no store
                await reader.wait(window.sent)
            room = await window.wait_credit()  # FEED-13
            await peer.wait_room()
            if one.has_ended():  # it was woken before it was cancelled
                return None
            if not peer.allows(SUBSCRIBE):  # FEED-28
                self._ended["forbidden"] += 1
                return _not_allowed(peer)
            try:
                found = await reader.read(window.sent, room)
            except StoreUnavailable:  # the reader logs it, once for all
                await trio.sleep(RETRY_S)
                continue
            if one.has_ended():
                return None
            if not isinstance(found, Batch):
                self._count_end(found)
                if one.group is not None:
                    self._give_up(one, found)
                return unreadable(window.sent, found)
            if not found.entries:
                await reader.wait(window.sent)
                continue
            window.note_sent(found.cursor, trio.current_time())
            self._entries += found.entries
            self._send(one, found.text, found.cursor)
            self._watch(one)

    def _send(self, one: Subscription, entries: bytes, cursor: Cursor) -> None:
        one.peer.notify(
            b'%b%d,"entries":%b,"cursor":"%b"}}'
            % (_HEAD, one.number, entries, str(cursor).encode())
        )

    # -- the end

    def _give_up(self, one: Subscription, found: CursorExpired | GenerationChanged) -> None:
        """End the other members of a group whose position is lost: all need a snapshot."""
        assert one.group is not None
        one.group.acked = None
        for member in tuple(one.group.members):
            if member is not one and member.state is State.WAITING:
                self._count_end(found)
                self._end(member, unreadable(one.window.sent, found))

    def _count_end(self, found: CursorExpired | GenerationChanged) -> None:
        expired = isinstance(found, CursorExpired)
        self._ended["cursor_expired" if expired else "generation_changed"] += 1

    def _forget(self, peer: BackendPeer) -> None:
        """End all subscriptions of a peer that has gone."""
        for one in tuple(self._by_peer.pop(peer, {}).values()):
            self._end(one)

    def _end(self, one: Subscription, error: ControlError | None = None) -> None:
        if one.state is State.OVER:
            return
        position = one.position
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
        if one.group is not None:
            self._groups.leave(one.group, one)
            if self._nursery is not None:
                self._run_next(one)  # FEED-22

    def _drop_reader(self, reader: LogReader) -> None:
        for namespace, (other, scope) in tuple(self._readers.items()):
            if other is reader:
                scope.cancel()
                del self._readers[namespace]


def _not_allowed(peer: BackendPeer) -> ControlError:
    if not peer.allows("auth"):
        return unauthorized("the token is not valid any more")
    return ControlError(Code.FORBIDDEN, f"the token does not allow {SUBSCRIBE} any more")
