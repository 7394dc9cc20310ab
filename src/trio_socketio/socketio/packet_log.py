"""What was emitted lately: numbered, bounded, and found by whom it was for."""

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
"""A namespace, and what narrows it down: what it is made of is up to the caller."""

_OFFSET: Final = re.compile(r"([\w-]{8})\.([0-9]{1,16})", re.ASCII).fullmatch
_COMPACT_AT: Final = 1000


class LoggedPacket(msgspec.Struct, frozen=True, gc=False):
    """A packet, and whom it was for.

    Args:
        number: of it, one more than the last.
        at: when it was emitted.
        packet: with its offset inside.
        destinations: found by each of them.
        rooms: one of which its receivers were in; none is everybody.
        excluded: rooms that they were not in.
        size_bytes: of it.
    """

    number: int
    at: float
    packet: Outgoing
    destinations: tuple[Destination, ...]
    rooms: tuple[str, ...]
    excluded: tuple[str, ...]
    size_bytes: int

    def is_for(self, rooms: Collection[str]) -> bool:
        """Whether it was for a socket of its destinations that was in these rooms."""
        return (not self.rooms or any(room in rooms for room in self.rooms)) and not any(
            room in rooms for room in self.excluded
        )


class PacketLog:
    """The last packets of a server, all namespaces together.

    An offset names a packet to its receivers: it is the last argument of its event.

    Args:
        max_packets: older ones are dropped.
        max_bytes: of all packets; the oldest are dropped.
        keep_s: older ones are dropped.

    Attributes:
        last: number of the last packet that was added; the first has 1.
        dropped: number of the last packet that was dropped.
    """

    __slots__ = (
        "_by_destination",
        "_bytes",
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
        self._name = secrets.token_urlsafe(6)  # offsets of another life are not taken for ours
        self._packets: list[LoggedPacket] = []  # what is before _first is dropped
        self._first = 0
        self._by_destination: dict[Destination, deque[LoggedPacket]] = {}
        self._bytes = 0
        self.last = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._packets) - self._first

    @property
    def byte_count(self) -> int:
        """Bytes of all packets."""
        return self._bytes

    def offset(self, number: int) -> str:
        """What the packet of that number is called."""
        return f"{self._name}.{number}"

    def number_of(self, offset: str | None) -> int:
        """The number of the packet that is called so; 0 when none was ever added."""
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
        """Add a packet, whose offset is that of the next number."""
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
        """Drop what is too old or too much."""
        oldest = now - self._keep_s
        while self._first < len(self._packets) and (
            self._packets[self._first].at < oldest
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
        self._bytes -= logged.size_bytes
        for destination in logged.destinations:
            found = self._by_destination[destination]
            found.popleft()  # the oldest of all is the oldest here
            if not found:
                del self._by_destination[destination]

    def next_deadline(self) -> float:
        """When the oldest packet is too old; infinity when there is none."""
        return self._packets[self._first].at + self._keep_s if len(self) else inf

    def position_at(self, time: float) -> int:
        """The number of the last packet that was added by then."""
        index = bisect_right(self._packets, time, lo=self._first, key=lambda logged: logged.at)
        return self.dropped + index - self._first

    def find(self, after: int, destinations: Iterable[Destination]) -> list[LoggedPacket]:
        """Packets with larger numbers that were for one of these destinations, in order."""
        found: dict[int, LoggedPacket] = {}
        for destination in destinations:
            for logged in reversed(self._by_destination.get(destination, ())):
                if logged.number <= after:
                    break
                found[logged.number] = logged
        return [found[number] for number in sorted(found)]
