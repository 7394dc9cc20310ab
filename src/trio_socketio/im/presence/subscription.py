"""One subscription to a presence log: how far it is, and how much more it may be sent."""

from math import inf
from typing import TYPE_CHECKING

import trio

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.subscription_life import Input, State, advance

if TYPE_CHECKING:
    from trio_socketio.control.caller import BackendPeer
    from trio_socketio.im.presence.group import Group
    from trio_socketio.im.presence.log_reader import LogReader


class Window:
    """What was sent and is not acknowledged.

    Cursors are dense within a generation, so the difference of two of them counts entries.

    Args:
        credit: how many entries may be in flight.

    Attributes:
        acked: the last entry that is acknowledged.
        sent: the last entry that was sent.
    """

    __slots__ = ("_credit", "_room", "_waits_since", "acked", "sent")

    def __init__(self, credit: int) -> None:
        self.acked = self.sent = Cursor(0, 0)
        self._credit = credit
        self._room = trio.lowlevel.ParkingLot()
        self._waits_since = inf  # when the peer acknowledged something last, or was sent something

    @property
    def in_flight(self) -> int:
        """How many entries were sent and are not acknowledged."""
        return self.sent.sequence - self.acked.sequence

    def begin_at(self, cursor: Cursor) -> None:
        """Send what stands behind this cursor."""
        self.acked = self.sent = cursor

    def note_sent(self, cursor: Cursor, now: float) -> None:
        """Note what was sent, and from when on its acknowledgement is waited for."""
        if not self.in_flight:
            self._waits_since = now
        self.sent = cursor

    def wait_anew(self, now: float) -> None:
        """Wait for the next acknowledgement from now on."""
        self._waits_since = now

    def acknowledge(self, cursor: Cursor, now: float) -> None:
        """Note an acknowledgement. One that says nothing new changes nothing (FEED-15)."""
        if cursor > self.acked:
            self.acked = cursor
            self._waits_since = now
            self._room.unpark_all()

    def next_ack_by(self, timeout_s: float) -> float:
        """When the peer has to have acknowledged something; infinity with nothing in flight."""
        return self._waits_since + timeout_s if self.in_flight else inf

    async def wait_credit(self) -> int:
        """Wait until something may be sent; return how many entries."""
        while self.in_flight >= self._credit:
            await self._room.park()
        return self._credit - self.in_flight


class Subscription:
    """A peer follows the log of a namespace.

    Args:
        number: names it.
        peer: is sent the entries.
        reader: reads the log of the namespace.
        credit: how many entries may be in flight.

    Attributes:
        begin: where it begins, unless its group has been further already.
        group: None if it stands alone.
        number: see above.
        peer: see above.
        reader: see above.
        scope: of its present delivery; its deadline is that of the next acknowledgement.
        state: changed by `move` alone.
        window: what is in flight.
    """

    __slots__ = ("begin", "group", "number", "peer", "reader", "scope", "state", "window")

    def __init__(self, number: int, peer: "BackendPeer", reader: "LogReader", credit: int) -> None:
        self.number = number
        self.peer = peer
        self.reader = reader
        self.group: Group[Subscription] | None = None
        self.begin = Cursor(0, 0)
        self.state = State.BEGINNING
        self.scope = trio.CancelScope()
        self.window = Window(credit)

    def __repr__(self) -> str:
        return f"<Subscription {self.number} of {self.peer.name}, {self.state.name}>"

    def move(self, event: Input) -> None:
        """Apply an input of the table."""
        self.state = advance(self.state, event)

    @property
    def position(self) -> Cursor:
        """What is acknowledged, by it or by the active member of its group."""
        if self.state is State.RUNNING:
            return self.window.acked
        acked = None if self.group is None else self.group.acked
        return self.begin if acked is None else acked

    @property
    def lag(self) -> int:
        """How many entries are not acknowledged, those included that were not sent yet."""
        tail, window = self.reader.tail, self.window
        if (
            self.state is not State.RUNNING
            or tail is None
            or tail.generation != window.acked.generation
        ):
            return window.in_flight
        return max(window.in_flight, tail.sequence - window.acked.sequence)
