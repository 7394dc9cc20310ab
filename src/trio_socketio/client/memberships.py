"""The namespaces of one client."""

import logging
from typing import Final

import trio

from trio_socketio.client.membership import ClientMembership, Link
from trio_socketio.codec.socket_packet import Packet
from trio_socketio.errors import ConnectRefused

log = logging.getLogger(__name__)

_OVERLOAD_FACTOR: Final = 4
"""While a task waits for an answer, this many times handler_queue events may wait."""


class Memberships:
    """The namespaces that the program has asked for, by name.

    Args:
        link: the connection that they share.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._by_name: dict[str, ClientMembership] = {}
        self._nursery: trio.Nursery | None = None  # calls handlers, while the program's block runs
        self._closed_for = ""  # why no namespace can be joined any more

    @property
    def are_closed(self) -> bool:
        """Whether the client has ended for good."""
        return bool(self._closed_for)

    @property
    def are_wanted(self) -> bool:
        """Whether the program wants any of them to be joined."""
        return any(membership.is_wanted for membership in self._by_name.values())

    @property
    def refusal(self) -> ConnectRefused | None:
        """The answer of a server that did not let us into one of them; None if there is none."""
        refusals = (membership.refusal for membership in self._by_name.values())
        return next((refusal for refusal in refusals if refusal is not None), None)

    @property
    def handler_failures(self) -> int:
        """How many calls of handlers have failed."""
        return sum(membership.dispatcher.failed for membership in self._by_name.values())

    @property
    def events_dropped(self) -> int:
        """How many events were not handled because the program's block has ended."""
        return sum(membership.dispatcher.dropped for membership in self._by_name.values())

    def of(self, name: str) -> ClientMembership:
        """Return the membership of a namespace. A new one is not wanted yet."""
        membership = self._by_name.get(name)
        if membership is None:
            membership = self._by_name[name] = ClientMembership(name, self._link)
            if self._closed_for:
                self._close(membership)
            elif self._nursery is not None:
                self._nursery.start_soon(membership.dispatcher.run)
        return membership

    def wanted(self) -> list[ClientMembership]:
        """Return those that the program wants to be joined."""
        return [membership for membership in self._by_name.values() if membership.is_wanted]

    def dispatch(self, nursery: trio.Nursery) -> None:
        """Begin to call handlers, in tasks of the nursery."""
        self._nursery = nursery
        for membership in self._by_name.values():
            nursery.start_soon(membership.dispatcher.run)

    def leave(self, reason: str) -> None:
        """Leave all of them. Never blocks."""
        for membership in self._by_name.values():
            membership.leave(reason)

    def close(self, reason: str) -> None:
        """Leave all of them for good, because the program's block has ended (CLI-28)."""
        self._nursery = None
        self._closed_for = reason
        for membership in self._by_name.values():
            self._close(membership)

    def _close(self, membership: ClientMembership) -> None:
        membership.leave(self._closed_for)
        membership.dispatcher.stop()

    def lose(self, reason: str) -> None:
        """Note that the connection is lost. Another may follow."""
        for membership in self._by_name.values():
            membership.lose(reason)

    def call_hook(self, name: str, *arguments: object) -> None:
        """Call a hook in those that the program wants to be joined."""
        for membership in self.wanted():
            membership.dispatcher.call_hook(name, *arguments)

    # -- for PacketReader

    def receive_packet(self, packet: Packet, size_bytes: int) -> None:
        """Hand a packet to the namespace that it is for; see packet_reader.Receiver."""
        membership = self._by_name.get(packet.namespace)
        if membership is None:
            log.debug("%s for %s, never joined, is ignored", packet.type.name, packet.namespace)
        else:
            membership.receive_packet(packet, size_bytes)

    async def wait_ready(self) -> None:
        """Wait until handlers have caught up so far that reading may go on.

        CLI-36: while a task waits for an answer, more events may wait than usual. If that task is a
        handler, the handlers after it are not called before the answer comes, and the answer may
        come after their events. It does not matter in which namespace the task waits, because all
        of them share the connection.
        """
        while (full := self._find_full()) is not None:
            await full.dispatcher.wait_room()

    def read_on(self) -> None:
        """Make wait_ready check again."""
        for membership in self._by_name.values():
            membership.dispatcher.poke()

    def _find_full(self) -> ClientMembership | None:
        memberships = self._by_name.values()
        awaits = any(membership.awaits_answer for membership in memberships)
        factor = _OVERLOAD_FACTOR if awaits else 1
        for membership in memberships:
            if membership.dispatcher.is_full(factor):
                return membership
        return None
