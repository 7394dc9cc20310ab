"""Bounds the input that handlers have not finished with, and decodes large packets in turn.

Events that wait for handlers are Python objects, many times larger than the text they came from:
0.9 MB of ``[],[],...`` decodes to 20 MB. So they are weighed by their text, with 64 bytes for every
container and item. A session that holds its bound is not read any more, exactly as when it holds
too many events.

When all sessions together hold the server's bound, those that hold more than their share of it are
not read any more, and lighter ones go on. Closing the heaviest sessions instead would free little:
their handlers keep what they were given until they return, so one client after the other would be
closed for what a few of them hold. Attachments are the exception. No handler has them yet, so the
session that has collected the most is closed, which frees them at once. If it were only paused, two
sessions could wait for each other's last attachment.

A large packet takes long to decode (50 ms for the one above). It is put aside as it came, its
session is not read meanwhile, and one such packet is decoded whenever every other session has had a
turn.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import NoneType
from typing import TYPE_CHECKING, Final, Protocol

import trio
from trio.lowlevel import checkpoint, current_statistics

if TYPE_CHECKING:
    from trio_socketio.socketio.options import SocketOptions

log = logging.getLogger(__name__)

LARGE_BYTES: Final = 65536
"""A packet above this size is decoded on its own, after every other session has had a turn."""
SMALL_BYTES: Final = 4096
"""A packet up to this size weighs its bytes, so that most messages cost one comparison."""
LIGHT_BYTES: Final = 256
"""The same when much is held, because 4 KiB of "[],[]," take 20 times as much once decoded."""

OVERLOAD_FACTOR: Final = 4
"""How many times a bound may pile up behind a handler that awaits an acknowledgement (BND-03)."""

_ITEM_BYTES: Final = 64
_SHARES: Final = 4  # a session is sure of an equal share of the whole bound, divided by this
_QUIET_PASSES: Final = 5  # passes of trio's scheduler after which no other task has anything to do
_LOOKED_AT: Final = 64  # how many packets that wait one pass looks at

Receive = Callable[[bytes, int], None]
"""Takes a packet and its weight, which is above zero."""

Weigh = Callable[[bytes], int]


def weigh_text(packet: bytes) -> int:
    """Return about how many bytes a JSON packet takes once it is decoded (BND-01)."""
    return _weigh(packet, b"[{,")


_is_flat: Final = frozenset((str, int, float, bool, NoneType)).issuperset


def weigh_event(packet: bytes, arguments: Sequence[object]) -> int:
    """Weigh a JSON packet that is decoded already.

    A long text is the usual reason for a large packet. If all arguments are plain, counting them
    takes a tenth of the time that it takes to search the packet.

    Args:
        packet: as it came.
        arguments: those of its event.
    """
    if _is_flat(map(type, arguments)):
        return len(packet) + _ITEM_BYTES * len(arguments)
    return weigh_text(packet)


_MSGPACK_CONTAINERS: Final = bytes((*range(0x80, 0xA0), *range(0xDC, 0xE0)))


def weigh_msgpack(packet: bytes) -> int:
    """Return about how many bytes a MessagePack packet takes once it is decoded.

    Bytes inside texts and numbers may look like containers. A packet then weighs too much, but
    never too little.
    """
    return _weigh(packet, _MSGPACK_CONTAINERS)


def _weigh(packet: bytes, marks: bytes) -> int:
    items = len(packet) - len(packet.translate(None, marks))  # twice as fast as bytes.count
    return len(packet) + _ITEM_BYTES * items


class Reading(Protocol):
    """The session of a Holder, as far as it is read."""

    @property
    def is_open(self) -> bool:
        """Whether packets pass."""

    @property
    def paused(self) -> bool:
        """Whether nothing is handed over at present."""

    def pause_reading(self, *, briefly: bool = False) -> None:
        """Hand no further message over until resume_reading."""

    def resume_reading(self) -> None:
        """Hand over what was held back, then read on: in the next turn, never from here."""

    def lose(self, reason: str) -> None:
        """End the session at once. Only marks it."""

    def contain(self, error: Exception) -> None:
        """End the session because of an exception, with the reason that fits."""


class Holder(Protocol):
    """A client whose packets are weighed."""

    held: int
    """The weight of its input that handlers have not finished with. Only Intake changes it."""

    @property
    def session(self) -> Reading:
        """The session with the client."""

    def burdened(self, *, is_overload: bool) -> None:
        """Learn that the client has sent more than it may before its handlers have caught up.

        Args:
            is_overload: it has sent OVERLOAD_FACTOR times as much.
        """

    def queue_eased(self) -> None:
        """Learn that less is held than before: read on if nothing else is in the way."""


class Collector(Protocol):
    """Collects the attachments of a client's packet."""

    @property
    def holder(self) -> Holder:
        """The client."""

    @property
    def collected(self) -> int:
        """The weight of a packet that is not complete, with the attachments that have come."""

    def drop_collected(self) -> None:
        """Give up the packet whose attachments are being collected."""


class Waiting(Protocol):
    """The events of one socket; see Events."""

    def drop_waiting(self) -> int:
        """Drop the client's events that no handler has begun with. Returns how many they were."""


@dataclass(slots=True)
class _PutOff:
    receive: Receive
    packet: bytes
    weight: int


class Intake:
    """The input from the clients of one server that handlers have not finished with.

    It has 14 attributes and 21 methods, because queued events, packets that wait to be decoded and
    attachments share two bounds, and each of the three may have to make room for the others.

    Attributes:
        held: the weight of it all, packets that wait to be decoded included.
        dropped: the number of packets that still waited to be decoded when their clients were lost.
        put_off_above: the size in bytes above which a packet has to be shown to `put_off`.
        weigh_above: the size in bytes above which a packet that is kept has to be weighed.
    """

    def __init__(self) -> None:
        self.held = 0
        self.dropped = 0
        self.put_off_above = LARGE_BYTES
        self.weigh_above = SMALL_BYTES
        self._session_bound = 0
        self._bound = 0
        self._strained_from = 0  # the smaller of the two
        self._holders = 0  # how many clients hold anything
        self._raw = 0  # bytes that wait to be decoded
        self._waiting: dict[Holder, _PutOff] = {}  # first come, first decoded, if there is room
        self._stalled: dict[Holder, None] = {}  # not read because all together hold too much
        self._collecting: dict[Collector, None] = {}
        self._gone: dict[Holder, Sequence[Waiting]] = {}  # those that have left, and still hold
        self._news = trio.Event()

    def begin(self, options: "SocketOptions") -> None:
        """Take the bounds from the options: serving begins."""
        self._session_bound = options.input_bound_bytes
        self._bound = options.input_bound_all_bytes
        self._strained_from = min(self._session_bound, self._bound)

    # -- what is held

    def add(self, holder: Holder, weight: int) -> None:
        """Count something that waits for its handler. Reading of the holder may stop."""
        # The same as _add: every event that waits comes through here, and a call is saved.
        before = holder.held
        if not before:
            self._holders += 1
        holder.held = before + weight
        self.held = held = self.held + weight
        if held < self._strained_from:
            return
        self._look_closer()
        if held >= self._bound and holder.held > self._share:  # BND-04
            self._stalled[holder] = None
            holder.session.pause_reading()
        elif holder.held >= self._session_bound:  # BND-02
            holder.burdened(is_overload=before >= OVERLOAD_FACTOR * self._session_bound)

    def remove(self, holder: Holder, weight: int) -> None:
        """Count it no longer: it was handled, or never will be. Once for every `add` (BND-06)."""
        before = holder.held
        self._subtract(holder, weight)
        after = holder.held
        if (not after or after <= self._session_bound // 2 < before) and holder.session.paused:
            if not after:  # a session that holds nothing is read, even if the others hold too much
                self._stalled.pop(holder, None)
            holder.queue_eased()

    def has_room(self, holder: Holder) -> bool:
        """Whether the holder may be read on, as far as weight goes."""
        return (
            holder.held < self._session_bound
            and holder not in self._stalled
            and holder not in self._waiting
        )

    def keeps_back(self, holder: Holder) -> bool:
        """Whether the holder must not be read, even if an answer is awaited from it."""
        return holder in self._waiting or holder in self._stalled

    @property
    def _share(self) -> int:
        """The weight that a session may hold in any case, whatever all sessions hold together."""
        return self._bound // (_SHARES * max(self._holders, 1))

    def _add(self, holder: Holder, weight: int) -> None:
        if not holder.held:
            self._holders += 1
        holder.held += weight
        self.held += weight
        if self.held >= self._strained_from:
            self._look_closer()

    def _look_closer(self) -> None:
        """Weigh and put off smaller packets, because much is held."""
        self.weigh_above = LIGHT_BYTES
        if self.held >= self._bound:
            self.put_off_above = SMALL_BYTES

    def _subtract(self, holder: Holder, weight: int) -> None:
        holder.held -= weight
        self.held -= weight
        if not holder.held:
            self._holders -= 1
            if self._gone:
                self._gone.pop(holder, None)
        if self.held < self._strained_from:
            self.weigh_above, self.put_off_above = SMALL_BYTES, LARGE_BYTES
        elif self.held < self._bound:
            self.put_off_above = LARGE_BYTES
        if self._waiting or self._stalled:
            self._news.set()

    # -- attachments

    def collect(self, collector: Collector, weight: int) -> None:
        """Count an attachment of a packet that is not complete, or that packet's text (BND-05)."""
        self._collecting[collector] = None
        self._add(collector.holder, weight)
        while self.held > self._bound and self._collecting:
            heaviest = max(self._collecting, key=lambda other: other.collected)
            if heaviest.collected <= self._share:
                break
            log.debug("a session is closed, because it has collected the most attachments")
            heaviest.drop_collected()
            heaviest.holder.session.lose("overload")

    def stop_collecting(self, collector: Collector, weight: int) -> None:
        """Count what was collected no longer: the packet is complete, or was given up.

        Args:
            collector: has collected it.
            weight: of everything that was collected.
        """
        del self._collecting[collector]
        self.remove(collector.holder, weight)

    # -- packets that wait to be decoded

    def put_off(self, holder: Holder, receive: Receive, packet: bytes, weigh: Weigh) -> bool:
        """Put a packet aside if it has to wait.

        Nothing more is read of its session until the packet has been received, so that acks,
        attachments and DISCONNECT keep their order too (BND-08).

        Args:
            holder: the client.
            receive: takes the packet when it is its turn.
            packet: as it came.
            weigh: returns its weight.
        Returns:
            Whether it was put aside, or its client was closed; otherwise the caller receives it
            now.
        """
        size = len(packet)
        if size <= LARGE_BYTES and (size <= SMALL_BYTES or self.held < self._bound):
            return False
        if self._raw and self._raw + size > self._bound:
            self.dropped += 1
            holder.session.lose("overload")
            return True
        self._waiting[holder] = _PutOff(receive, packet, weigh(packet))
        self._raw += size
        self._add(holder, size)
        self._news.set()
        holder.session.pause_reading(briefly=True)
        return True

    def discard(self, holder: Holder, waiting: Sequence[Waiting]) -> None:
        """Drop and count what was put off of a client that is gone (BND-10).

        Its events that wait for handlers still get their turn, unless others need the room.

        Args:
            holder: the client.
            waiting: the events of its sockets.
        """
        if waiting and holder.held:
            self._gone[holder] = waiting
        self._stalled.pop(holder, None)
        put_off = self._waiting.pop(holder, None)
        if put_off is not None:
            self._release(holder, put_off)
            self.dropped += 1

    async def run(self, pass_fences: Callable[[], Awaitable[None]]) -> None:
        """Decode what was put off, and read on what was stalled, until cancelled.

        Args:
            pass_fences: see Workers.
        """
        while True:
            await pass_fences()  # LEASE-45
            began = perf_counter()
            took_up = self._take_up()
            if self._stalled and self.held < self._bound * 3 // 4:
                self._relieve()
            elif not took_up:
                self._news = trio.Event()
                await self._news.wait()
            await _let_others_run(perf_counter() - began)  # BND-07

    def _relieve(self) -> None:
        stalled, self._stalled = self._stalled, {}
        for holder in stalled:
            holder.queue_eased()

    def _take_up(self) -> bool:
        """Receive the first packet that there is room for. Returns whether there was one."""
        for _ in range(min(len(self._waiting), _LOOKED_AT)):
            holder, put_off = next(iter(self._waiting.items()))
            del self._waiting[holder]
            if not holder.session.is_open:
                self._release(holder, put_off)
                self.dropped += 1
            elif self._is_room_for(put_off) or self._can_make_room_for(put_off):
                self._release(holder, put_off)
                self._receive(holder, put_off)
                return True
            else:
                self._waiting[holder] = put_off  # at the end: others may be lighter
        return False

    def _can_make_room_for(self, put_off: _PutOff) -> bool:
        """Drop what clients have left behind; return whether there is room then (BND-17)."""
        gone, self._gone = self._gone, {}
        dropped = sum(events.drop_waiting() for waiting in gone.values() for events in waiting)
        if dropped:
            log.warning(
                "%d events of clients that have left were dropped, because their handlers take "
                "long and other clients need the room (input_bound_all_bytes)",
                dropped,
            )
        return self._is_room_for(put_off)

    def _is_room_for(self, put_off: _PutOff) -> bool:
        """Whether it can be decoded. Half of the bound is kept for packets that are not large."""
        decoded = self.held - self._raw
        bound = self._bound // 2 if len(put_off.packet) > LARGE_BYTES else self._bound
        return not decoded or decoded + put_off.weight <= bound

    def _release(self, holder: Holder, put_off: _PutOff) -> None:
        self._raw -= len(put_off.packet)
        self._subtract(holder, len(put_off.packet))

    def _receive(self, holder: Holder, put_off: _PutOff) -> None:
        # Before the packet is received, because receiving it may pause the session again.
        holder.session.resume_reading()
        try:
            put_off.receive(put_off.packet, put_off.weight)
        except Exception as error:
            holder.session.contain(error)


async def _let_others_run(at_most_s: float) -> None:
    """Wait until no other task can run, but not for long: large packets have their share too.

    Args:
        at_most_s: how long the last packet took, so that others have at least half of the time.
    """
    ends = perf_counter() + at_most_s
    quiet = 0
    while quiet < _QUIET_PASSES:
        await checkpoint()
        # One quiet pass is not enough: tasks that run after us in it are not counted, and may wake
        # others. A message goes from the poller to a worker, and from there to the flush task.
        quiet = 0 if current_statistics().tasks_runnable and perf_counter() < ends else quiet + 1
