"""Packets for many sessions at once, which touch each of their connections once a turn."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from trio_socketio.net.frames import encode_frames
from trio_socketio.net.shared_output import SharedOutput

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.session import Session


class Receiver(Protocol):
    """Something that receives packets by a session."""

    @property
    def session(self) -> "Session":
        """The session."""


class FanOut:
    """Sends packets to the same sessions, until the first of these connections has sent them on.

    Whoever sends the first packet to a thousand sessions pays for each of them. The next one costs
    no more than a packet to those that have been sent something else in between (RUN-45).

    Args:
        receivers: have the sessions.
        packet: the first packet.
        left_out: those of the receivers that do not get it.
        on_end: called once, when it takes no more packets.
    """

    __slots__ = ("_apart", "_counts", "_ended", "_shared")

    def __init__(
        self,
        receivers: "Collection[Receiver]",
        packet: "Outgoing",
        left_out: "Collection[Receiver]",
        on_end: Callable[[], object],
    ) -> None:
        self._shared = shared = SharedOutput(encode_frames(packet), on_end)
        apart: list[Receiver] = []  # the others, which are sent each packet by itself
        for receiver in receivers:
            direct = receiver.session._direct
            if direct is None or receiver in left_out or not shared.attach(direct):
                apart.append(receiver)
        self._counts = next(iter(receivers)).session._owner.counts
        self._ended = self._counts.ended_in_all
        self._apart = apart
        self._send_apart(packet, left_out)

    @property
    def is_open(self) -> bool:
        """Whether it may take more packets; never, if no receiver is on a plain WebSocket."""
        return self._shared.is_open

    def add(self, packet: "Outgoing", left_out: "Collection[Receiver]") -> bool:
        """Send another packet, unless it takes no more; then nothing was sent.

        Args:
            packet: the packet.
            left_out: those of the receivers that do not get it.
        """
        # Perhaps that of a receiver, for which the packet has to be dropped.
        if self._counts.ended_in_all != self._ended:
            return False
        shared = self._shared
        for receiver in left_out:
            direct = receiver.session._direct
            if direct is not None and direct._shared is shared:
                shared.detach(direct)
        if not shared.add(encode_frames(packet)):
            return False
        self._send_apart(packet, left_out)
        return True

    def _send_apart(self, packet: "Outgoing", left_out: "Collection[Receiver]") -> None:
        detached = self._shared.detached
        if detached:
            frames = encode_frames(packet)
            without = {receiver.session._direct for receiver in left_out}
            for connection in detached:
                if connection not in without:
                    connection.write(frames)
        for receiver in self._apart:
            if not left_out or receiver not in left_out:
                receiver.session.send(packet)
