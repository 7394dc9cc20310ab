"""The statistics of a server as the Admin UI is told of them, every two seconds."""

import os
import socket
from collections.abc import Callable
from math import floor
from time import time
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.socketio.measures import take_load

if TYPE_CHECKING:
    from trio_socketio.socketio.measures import Load
    from trio_socketio.socketio.server import Server

PERIOD_S: Final = 2.0
"""The time between two reports. After 10 s without any, the UI calls a server unhealthy."""


class Reports:
    """Makes the reports of one server.

    Args:
        server: the server.
        server_id: names it; no two servers of a cluster may have the same.
        clock: seconds since 1970.
    """

    def __init__(
        self, server: "Server", server_id: str | None, clock: Callable[[], float] = time
    ) -> None:
        self._server = server
        self._hostname = socket.gethostname()
        self._pid = os.getpid()
        self._server_id = server_id or f"{self._hostname}#{self._pid}"
        self._clock = clock
        self._started_at = trio.current_time()
        self._before: Load | None = None

    async def make(self) -> dict[str, Any]:
        """Return a report on what has happened since the last one. Other tasks run meanwhile."""
        load = await take_load(self._server)
        before, self._before = self._before, load
        return {
            "serverId": self._server_id,
            "hostname": self._hostname,
            "pid": self._pid,
            "uptime": trio.current_time() - self._started_at,
            "clientsCount": sum(load.sessions.values()),
            "pollingClientsCount": load.sessions["polling"],
            "aggregatedEvents": [] if before is None else self._count_events(before, load),
            "namespaces": [
                {"name": name, "socketsCount": count} for name, count in load.sockets.items()
            ],
        }

    def _count_events(self, before: "Load", load: "Load") -> list[dict[str, Any]]:
        """Return what was counted between two measurements, with the second of the later one.

        The UI adds up ten seconds, so it does not matter that one report has one second only. All
        packets of Engine.IO are counted, and bytes as they are on the wire (AUI-16).
        """
        counted: list[tuple[str, str | None, int]] = [
            ("rawConnection", None, load.opened - before.opened),
            ("packetsIn", None, load.traffic.packets_in - before.traffic.packets_in),
            ("bytesIn", None, load.traffic.bytes_in - before.traffic.bytes_in),
            ("packetsOut", None, load.traffic.packets_out - before.traffic.packets_out),
            ("bytesOut", None, load.traffic.bytes_out - before.traffic.bytes_out),
        ]
        counted += [
            ("rawDisconnection", reason, count - before.ended.get(reason, 0))
            for reason, count in load.ended.items()
        ]
        second = floor(self._clock()) * 1000
        events: list[dict[str, Any]] = []
        for kind, subtype, count in counted:
            if count > 0:
                event = {"timestamp": second, "type": kind, "count": count}
                events.append(event if subtype is None else {**event, "subType": subtype})
        return events
