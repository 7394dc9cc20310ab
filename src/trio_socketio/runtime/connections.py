"""A group of accepted connections, which are bounded in number and ended together."""

import logging
import socket
import ssl
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

import trio

from trio_socketio.net.connection import Connection
from trio_socketio.net.tls import TlsConnection
from trio_socketio.net.traffic import Traffic
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.options import ConnectionLimits
from trio_socketio.runtime.poller import TURN_S, Poller
from trio_socketio.runtime.sampling import REFUSALS, SampledLog

log = logging.getLogger(__name__)

ENDS_S: Final = 1.0
"""The longest time for which a connection waits until another one has ended and made room."""
_LOOK_SHARE: Final = 0.1
"""The share of the time that may go into looking for connections whose peers have closed them."""


class Connections:
    """A group of connections. It owns no task: the runtime's poller and deadlines drive it.

    It has 18 attributes: nine are for its connections, and the others are its bounds, its numbers
    and its log.

    Args:
        poller, deadlines: those of the runtime.
        limits: the bounds of this group.
        serve: called with every new connection, to give it its receiver.
        busy_answer: sent to a connection that is refused, unless it uses TLS.
        traffic: the numbers to which connections add that do not count apart; None for new ones.
        apart: the numbers to which those that do are added when they end; None for new ones.
        preferred: whether they come before newcomers from the start (RUN-52).

    Attributes:
        accepted: how many connections were accepted and not refused.
        refused: how many connections were refused because there were too many.
        writes_dropped: how many writes were dropped because their connections were too far behind.
    """

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        limits: ConnectionLimits,
        serve: Callable[[Connection], None],
        busy_answer: bytes = b"",
        traffic: Traffic | None = None,
        apart: Traffic | None = None,
        *,
        preferred: bool = False,
    ) -> None:
        self.poller = poller
        self.deadlines = deadlines
        self.output_bound_bytes = limits.output_bound_bytes
        self.slow_client_s = limits.slow_client_s
        self.traffic = traffic or Traffic()
        self._apart = apart or Traffic()
        self.accepted = 0
        self.refused = 0
        self.writes_dropped = 0
        self._limits = limits
        self._serve = serve
        self._preferred = preferred
        self._busy_answer = busy_answer
        self._open: set[Connection] = set()
        self._per_address: dict[str, int] = {}
        self._waiting_empty = trio.lowlevel.ParkingLot()
        # When waiting may begin again, by whether only the places of one address are taken.
        self._waits_from = {False: -inf, True: -inf}
        self._refusals = SampledLog(log, logging.WARNING, REFUSALS, deadlines)

    def __len__(self) -> int:
        return len(self._open)

    def traffic_apart(self) -> list[Traffic]:
        """The numbers of all connections that are open and count apart.

        With those of connections that have ended, taken in the same step, they are the sum of all:
        whoever adds them up later has counted nothing twice, and missed nothing up to now.
        """
        shared = self.traffic
        return [each.traffic for each in self._open if each.traffic is not shared]

    def apply(self, limits: ConnectionLimits, busy_answer: bytes) -> None:
        """Use these limits on the number of connections from the next one on (CFG-14).

        Open connections stay open. The bounds on output do not change.
        """
        self._limits = limits
        self._busy_answer = busy_answer

    def accept(
        self, sock: socket.socket, address: str, context: ssl.SSLContext | None = None
    ) -> Connection | None:
        """Take a connected socket, and close it if that fails (SYS-02).

        Args:
            sock: a non-blocking socket. It may still be connecting: what is written waits.
            address: the peer's address; empty for a Unix socket.
            context: for TLS; None for cleartext.
        Returns:
            The connection; None if there are too many.
        Raises:
            Exception: the system or TLS cannot take one more. Only this connection is lost.
        """
        there = self._per_address.get(address, 0)
        if not self._has_place(address):
            self.refused += 1  # HTTP-27
            self._tell_refused(address, there)
            if context is None and self._busy_answer:
                try:
                    sock.send(self._busy_answer)
                except OSError:
                    log.debug("a client that was refused had already gone")
            sock.close()
            return None
        try:
            if context is None:
                connection = Connection(self, sock, address)
            else:
                connection = TlsConnection(self, sock, address, context)
        except BaseException:
            sock.close()
            raise
        self.accepted += 1
        self._open.add(connection)
        if address:
            self._per_address[address] = there + 1
        try:
            self._serve(connection)
            # Raises without memory, or without epoll watches left.
            self.poller.register(connection, preferred=self._preferred)
        except BaseException:
            connection.lose("transport error")  # its receiver, if it has one already, is told
            raise
        return connection

    def _has_place(self, address: str) -> bool:
        return len(self._open) < self._limits.max_connections and not self._is_crowded(address)

    def _is_crowded(self, address: str) -> bool:
        bound = self._limits.max_connections_per_address
        return bound is not None and self._per_address.get(address, 0) >= bound

    async def wait_place(self, address: str) -> None:
        """If there is no place, wait for a connection to end whose peer has already closed it.

        When there are many of those, the poller comes to them late. Clients who lose their
        connections and reconnect at once would be refused because of them (RUN-58), and so would
        those who give up before they have joined, and try again. All others in the backlog wait as
        well, so after a wait in vain, none begins for ENDS_S (RUN-59). Nor is a look in vain
        repeated at once: when many are refused, each of them would cost one.
        """
        if self._has_place(address):  # a scope would take longer than all else that accepting does
            return
        is_crowded = self._is_crowded(address)
        if trio.current_time() < self._waits_from[is_crowded]:
            return
        with trio.move_on_after(ENDS_S) as scope:
            while not self._has_place(address):
                began = perf_counter()
                closed = self._open.intersection(self.poller.find_closed())
                if self._is_crowded(address):
                    closed = {one for one in closed if one.address == address}
                rest_s = (perf_counter() - began) / _LOOK_SHARE
                if not closed:
                    self._waits_from[is_crowded] = trio.current_time() + rest_s
                    return
                await trio.sleep(max(TURN_S, rest_s))
        if scope.cancelled_caught:
            self._waits_from[is_crowded] = trio.current_time() + ENDS_S

    def _tell_refused(self, address: str, there: int) -> None:
        kind = "connections refused"  # LOG-23
        if not self._refusals.admits(kind):
            return
        most = self._limits.max_connections
        if len(self._open) >= most:
            log.warning(
                "refused a connection from %s: %d are open, which is max_connections "
                "(--max-connections, or the limit of open files)",
                address or "a Unix socket",
                most,
                extra={"fields": {"refusal": kind, "address": address}},
            )
        else:
            log.warning(
                "refused a connection from %s: it has %d open, which is "
                "max_connections_per_address (--max-connections-per-address)",
                address,
                there,
                extra={"fields": {"refusal": kind, "address": address}},
            )

    def connection_released(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection.traffic is not self.traffic:
            self._apart.add(connection.traffic)
        if not self._open:
            self._waiting_empty.unpark_all()
        address = connection.address
        if address:
            left = self._per_address[address] - 1
            if left:
                self._per_address[address] = left
            else:
                del self._per_address[address]

    async def wait_empty(self) -> None:
        """Wait until no connection is open."""
        while self._open:
            await self._waiting_empty.park()

    def finish_all(self) -> None:
        """Send all output of every connection, then close it."""
        for connection in list(self._open):
            connection.finish()

    def abort_all(self) -> None:
        """Close every connection at once, without sending its output."""
        for connection in list(self._open):
            connection.abort()
        self._refusals.flush()
