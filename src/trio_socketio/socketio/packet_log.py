"""The packets that were sent lately: numbered, bounded, and found by their receivers."""

import re
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable
from math import inf
from typing import Final

import msgspec

from trio_socketio.codec.engine_packet import Outgoing

Destination = tuple[str, ...]
"""A namespace, and perhaps what narrows it down. The log only compares destinations."""

_OFFSET: Final = re.compile(r"([\w-]{8})\.([0-9]{1,16})", re.ASCII).fullmatch
_COMPACT_AT: Final = 1000


class LoggedPacket(msgspec.Struct, frozen=True, gc=False):
    """A packet and its receivers.

    Args:
        number: one more than that of the packet before.
        at: when it was emitted, on trio's clock.
        packet: with its offset inside.
        destinations: it is found by each of them.
        rooms: each receiver was in one of them; empty if all sockets received it.
        excluded: no receiver was in any of them.
        size_bytes: the size of the packet.
    """

    number: int
    at: float
    packet: Outgoing
    destinations: tuple[Destination, ...]
    rooms: tuple[str, ...]
    excluded: tuple[str, ...]
    size_bytes: int

    def is_for(self, rooms: Collection[str]) -> bool:
        """Whether a socket of its destinations that was in these rooms is a receiver."""
        return (not self.rooms or any(room in rooms for room in self.rooms)) and not any(
            room in rooms for room in self.excluded
        )


class PacketLog:
    """The last packets of a server, all namespaces together.

    An offset names a packet to its receivers: it is the last argument of the event.

    Args:
        max_packets: how many are kept; the oldest are dropped.
        max_bytes: how large they may be together; the oldest are dropped.
        keep_s: how long each is kept.

    Attributes:
        last: number of the last packet that was added; the first packet has 1.
        dropped: number of the last packet that was dropped.
    """

    __slots__ = (
        "_by_destination",
        "_bytes",
        "_dropped_at",
        "_first",
        "_keep_s",
        "_max_bytes",
        "_max_packets",
        "_name",
        "_packets",
        "dropped",
        "last",
    )  # fmt: skip

    def __init__(self, max_packets: int, max_bytes: int, keep_s: float) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._name = secrets.token_urlsafe(6)  # offsets of another log are not taken for ours
        self._packets: list[LoggedPacket] = []  # those before _first are dropped
        self._first = 0
        self._by_destination: dict[Destination, deque[LoggedPacket]] = {}
        self._bytes = 0
        self._dropped_at = -inf
        self.last = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._packets) - self._first

    @property
    def byte_count(self) -> int:
        """The size of all packets."""
        return self._bytes

    def offset(self, number: int) -> str:
        """Return the offset of the packet with this number."""
        return f"{self._name}.{number}"

    def number_of(self, offset: str | None) -> int:
        """Return the number of the packet with this offset; 0 if this log never had one."""
        found = None if offset is None else _OFFSET(offset)
        return int(found[2]) if found and found[1] == self._name else 0

    def add(
        self,
        packet: Outgoing,
        destinations: Iterable[Destination],
        rooms: tuple[str, ...],
        excluded: tuple[str, ...],
        now: float,
    ) -> None:
        """Add a packet, which holds the offset of the next number.

        Args:
            packet: encoded, with its offset.
            destinations: it is found by each of them.
            rooms: see LoggedPacket.
            excluded: see LoggedPacket.
            now: trio's clock.
        """
        self.last += 1
        size = packet.byte_count()
        unique = tuple(dict.fromkeys(destinations))
        logged = LoggedPacket(self.last, now, packet, unique, rooms, excluded, size)
        self._packets.append(logged)
        self._bytes += size
        for destination in unique:
            found = self._by_destination.get(destination)
            if found is None:
                found = self._by_destination[destination] = deque()
            found.append(logged)
        self.trim(now)

    def trim(self, now: float) -> None:
        """Drop the packets that are too old, too many or too large together."""
        while self._first < len(self._packets) and (
            self._packets[self._first].at + self._keep_s <= now  # exactly the sum of next_deadline
            or self._bytes > self._max_bytes
            or len(self) > self._max_packets
        ):
            self._drop()
        if self._first > _COMPACT_AT and self._first > len(self._packets) // 2:
            del self._packets[: self._first]
            self._first = 0

    def _drop(self) -> None:
        logged = self._packets[self._first]
        self._first += 1
        self.dropped = logged.number
        self._dropped_at = logged.at
        self._bytes -= logged.size_bytes
        for destination in logged.destinations:
            found = self._by_destination[destination]
            found.popleft()  # the oldest packet of all is also the oldest of its destinations
            if not found:
                del self._by_destination[destination]

    def next_deadline(self) -> float:
        """When the oldest packet is too old; infinity if the log is empty."""
        return self._packets[self._first].at + self._keep_s if len(self) else inf

    def position_at(self, time: float) -> int:
        """Return the number of the last packet added by this time; 0 if that is no longer known."""
        if time < self._dropped_at:
            return 0
        index = bisect_right(self._packets, time, lo=self._first, key=lambda logged: logged.at)
        return self.dropped + index - self._first

    def find(
        self, after: int, destinations: Iterable[Destination], at_most: float = inf
    ) -> list[LoggedPacket] | None:
        """Return the packets after this number that were for one of the destinations, in order.

        Args:
            after: the number.
            destinations: a packet is found if it was for any of them.
            at_most: how many are looked at; if there are more, the answer is None.
        """
        found: dict[int, LoggedPacket] = {}
        for destination in destinations:
            for logged in reversed(self._by_destination.get(destination, ())):
                if logged.number <= after:
                    break
                found[logged.number] = logged
                if len(found) > at_most:
                    return None
        return [found[number] for number in sorted(found)]
