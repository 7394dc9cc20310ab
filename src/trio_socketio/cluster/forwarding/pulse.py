"""Asks another node whether it is at work."""

from typing import TYPE_CHECKING

from trio_socketio.cluster.forwarding.pool import DialFailed, Pool

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.link import Link


class Pulse:
    """One pulse at a time: the next one is sent when the one before has ended.

    Args:
        pool: the connections to the node. Whatever comes on them is heard.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._link: Link | None = None
        self._is_under_way = False

    def send(self) -> None:
        """Send a pulse, unless one is under way."""
        if self._is_under_way:
            return
        try:
            link = self._pool.take(self)
        except DialFailed:
            return
        self._is_under_way = True
        if link.dialer.is_open:
            link.use(self)

    def link_opened(self, link: "Link") -> None:
        self._link = link
        link.send_pulse()

    def receive_answer(self, data: bytes) -> None:
        assert self._link is not None
        self._is_under_way = self._link.receive_pulse(data) is None

    def link_lost(self, reason: str, cause: str = "") -> None:
        """Have the next pulse go over a new connection.

        Whatever is between two nodes may have forgotten the connections that carry nothing, and TCP
        would try them for a quarter of an hour.
        """
        self._is_under_way = False
        self._pool.end_idle()
