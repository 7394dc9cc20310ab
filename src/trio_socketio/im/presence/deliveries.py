"""Sends entries of the log to subscriptions that are active."""

from collections import Counter
from math import inf
from typing import Final, Protocol

import trio

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.caller import BackendPeer
from trio_socketio.control.failures import timed_out, unauthorized
from trio_socketio.errors import ControlError
from trio_socketio.im.presence.feed_errors import unreadable
from trio_socketio.im.presence.group import Group
from trio_socketio.im.presence.log_reader import RETRY_S, Batch
from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.im.presence.subscription import Subscription
from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import CursorExpired, GenerationChanged
from trio_socketio.protocol.subscription_life import Input, State

SUBSCRIBE: Final = "presence.subscribe"
"""The method that the token of a peer has to allow as long as the peer is sent entries."""

HEAD_BYTES: Final = 256
"""The most bytes that a notification has besides its entries."""
_HEAD: Final = b'{"jsonrpc":"2.0","method":"backend.presence","params":{"subscription":'


class Ends(Protocol):
    """Ends subscriptions that can no longer be sent entries."""

    def end(self, one: Subscription, error: ControlError) -> None:
        """End a subscription, and tell its peer why."""

    def give_up(self, one: Subscription, found: CursorExpired | GenerationChanged) -> None:
        """Note that a member cannot go on from the position of its group."""


class Deliveries:
    """Sends entries to subscriptions, with one task for each.

    Args:
        ends: ends subscriptions.
        ack_timeout_s: how long an active member may acknowledge nothing new while others wait.

    Attributes:
        ack_timeout_s: see above.
        ended: how many subscriptions the server has ended, by reason.
        entries: how many entries were sent, summed over all subscriptions.
    """

    def __init__(self, ends: Ends, ack_timeout_s: float) -> None:
        self.ack_timeout_s = ack_timeout_s
        self.ended = Counter[str]()
        self.entries = 0
        self._ends = ends

    def start(self, one: Subscription, begin: Cursor, nursery: trio.Nursery) -> None:
        """Begin to send a waiting subscription the entries behind a cursor.

        Args:
            one: the subscription.
            begin: the cursor.
            nursery: where the task runs.
        """
        one.window.begin_at(begin)
        one.scope = trio.CancelScope()
        one.move(Input.START)
        nursery.start_soon(self._deliver, one, one.scope)

    def watch(self, one: Subscription) -> None:
        """Set the deadline for the next acknowledgement of an active member."""
        if one.state is State.RUNNING:
            is_awaited = one.group is not None and one.group.has_others  # FEED-24
            one.scope.deadline = one.window.next_ack_by(self.ack_timeout_s) if is_awaited else inf

    def watch_others(self, group: Group[Subscription]) -> None:
        """Set that deadline again, because members on other nodes have come or gone."""
        if group.others and len(group.members) == 1:
            self.wait_anew(group)
        elif group.active is not None:
            self.watch(group.active)

    def wait_anew(self, group: Group[Subscription]) -> None:
        """Begin the time for an acknowledgement now, because nobody waited until now."""
        if group.active is not None:
            group.active.window.wait_anew(trio.current_time())
            self.watch(group.active)

    def suspend(self, group: Group[Subscription]) -> None:
        """Send the active member of a group nothing until it has the turn again."""
        one = group.active
        if one is not None and one.state is State.RUNNING:
            one.move(Input.SUSPEND)
            one.scope.cancel()

    def send(self, one: Subscription, entries: bytes, cursor: Cursor) -> None:
        """Send a notification.

        Args:
            one: the subscription.
            entries: a JSON array.
            cursor: that of the last entry, or where the subscription is if there is none.
        """
        one.peer.notify(
            b'%b%d,"entries":%b,"cursor":"%b"}}'
            % (_HEAD, one.number, entries, str(cursor).encode())
        )

    def count_end(self, found: CursorExpired | GenerationChanged) -> None:
        """Count a subscription that ends because its log cannot be read from its position."""
        expired = isinstance(found, CursorExpired)
        self.ended["cursor_expired" if expired else "generation_changed"] += 1

    async def _deliver(self, one: Subscription, scope: trio.CancelScope) -> None:
        error: ControlError | None = None
        with scope:
            error = await self._deliver_entries(one, scope)
        if one.state is not State.RUNNING or one.scope is not scope:
            return  # it has ended, or was suspended and perhaps started anew
        if error is None:  # its time is over
            self.ended["ack_timeout"] += 1
            error = timed_out(
                f"nothing was acknowledged for {self.ack_timeout_s:g} s, and others of the group "
                "wait: subscribe again"
            )
        self._ends.end(one, error)

    async def _deliver_entries(
        self, one: Subscription, scope: trio.CancelScope
    ) -> ControlError | None:
        """Deliver until that is impossible and return why, or until the delivery is cancelled."""
        reader, peer, window = one.reader, one.peer, one.window
        while True:
            await trio.lowlevel.checkpoint()
            if reader.tail == window.sent:  # up to date: the store need not be asked
                await reader.wait(window.sent)
            room = await window.wait_credit()  # FEED-13
            await peer.wait_room()
            if _is_over(scope):
                return None
            if not peer.allows(SUBSCRIBE):  # FEED-28
                self.ended["forbidden"] += 1
                return _not_allowed(peer)
            try:
                found = await reader.read(window.sent, room)
            except StoreUnavailable:  # the reader logs this once for all subscriptions
                await trio.sleep(RETRY_S)
                continue
            if _is_over(scope):
                return None
            if not isinstance(found, Batch):
                self.count_end(found)
                if one.group is not None:
                    self._ends.give_up(one, found)
                return unreadable(window.sent, found)
            if not found.entries:
                await reader.wait(window.sent)
                continue
            window.note_sent(found.cursor, trio.current_time())
            self.entries += found.entries
            self.send(one, found.text, found.cursor)
            self.watch(one)


def _is_over(scope: trio.CancelScope) -> bool:
    """Whether a delivery was cancelled, perhaps after its task was woken."""
    return scope.cancel_called


def _not_allowed(peer: BackendPeer) -> ControlError:
    if not peer.allows("auth"):
        return unauthorized("the token is not valid any more")
    return ControlError(Code.FORBIDDEN, f"the token does not allow {SUBSCRIBE} any more")
