"""Sends entries of the log to the subscriptions that may be sent some."""

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
"""The method that a token has to allow for as long as its peer is sent entries."""

HEAD_BYTES: Final = 256
"""What a notification has besides its entries, at most."""
_HEAD: Final = b'{"jsonrpc":"2.0","method":"backend.presence","params":{"subscription":'


class Ends(Protocol):
    """What becomes of a subscription that cannot be sent entries any more."""

    def end(self, one: Subscription, error: ControlError) -> None:
        """End a subscription, and tell its peer why."""

    def give_up(self, one: Subscription, found: CursorExpired | GenerationChanged) -> None:
        """Note that a member cannot go on from where its group is."""


class Deliveries:
    """The subscriptions that are sent entries, each by a task.

    Args:
        ends: what becomes of those that end.
        ack_timeout_s: how long an active member may acknowledge nothing new, while others wait.

    Attributes:
        ack_timeout_s: see above.
        ended: how many subscriptions the server has ended, by reason.
        entries: how many entries were sent, each subscription counted.
    """

    def __init__(self, ends: Ends, ack_timeout_s: float) -> None:
        self.ack_timeout_s = ack_timeout_s
        self.ended = Counter[str]()
        self.entries = 0
        self._ends = ends

    def start(self, one: Subscription, begin: Cursor, nursery: trio.Nursery) -> None:
        """Send a subscription that waits what stands behind a cursor, from now on.

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
        """Set the time for the next acknowledgement of an active member."""
        if one.state is State.RUNNING:
            is_awaited = one.group is not None and one.group.has_others  # FEED-24
            one.scope.deadline = one.window.next_ack_by(self.ack_timeout_s) if is_awaited else inf

    def watch_others(self, group: Group[Subscription]) -> None:
        """Do so because members on other nodes have come or gone."""
        if group.others and len(group.members) == 1:
            self.wait_anew(group)
        elif group.active is not None:
            self.watch(group.active)

    def wait_anew(self, group: Group[Subscription]) -> None:
        """Begin the time for an acknowledgement now: nobody has waited before."""
        if group.active is not None:
            group.active.window.wait_anew(trio.current_time())
            self.watch(group.active)

    def suspend(self, group: Group[Subscription]) -> None:
        """Send the active member of a group nothing more, until it has the turn again."""
        one = group.active
        if one is not None and one.state is State.RUNNING:
            one.move(Input.SUSPEND)
            one.scope.cancel()

    def send(self, one: Subscription, entries: bytes, cursor: Cursor) -> None:
        """Send a notification.

        Args:
            one: the subscription.
            entries: a JSON array.
            cursor: of the last of them, or where the subscription is.
        """
        one.peer.notify(
            b'%b%d,"entries":%b,"cursor":"%b"}}'
            % (_HEAD, one.number, entries, str(cursor).encode())
        )

    def count_end(self, found: CursorExpired | GenerationChanged) -> None:
        """Count a subscription that ends because its log cannot be read."""
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
        """Deliver as long as that is possible; return why it is not, or None if it has ended."""
        reader, peer, window = one.reader, one.peer, one.window
        while True:
            await trio.lowlevel.checkpoint()
            if reader.tail == window.sent:  # it is up to date, and asks no store
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
            except StoreUnavailable:  # the reader logs it, once for all
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
    """Whether a delivery has ended: a task that waited may have been woken before that."""
    return scope.cancel_called


def _not_allowed(peer: BackendPeer) -> ControlError:
    if not peer.allows("auth"):
        return unauthorized("the token is not valid any more")
    return ControlError(Code.FORBIDDEN, f"the token does not allow {SUBSCRIBE} any more")
