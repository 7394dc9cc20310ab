"""Measures a server for its operators, without blocking it.

Sessions and namespaces are counted in slices, between which other tasks run. The numbers of one
measurement may therefore be some milliseconds apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trio.lowlevel import checkpoint, current_statistics

from trio_socketio.engine.counts import ENDS, OTHER, EngineCounts
from trio_socketio.net.traffic import Traffic
from trio_socketio.socketio.lifecycle import State
from trio_socketio.socketio.registrar import Observer
from trio_socketio.socketio.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_socketio.errors import ConnectRefused
    from trio_socketio.runtime.timings import Timing
    from trio_socketio.socketio.joining import Joining
    from trio_socketio.socketio.mount import Mount
    from trio_socketio.socketio.namespace import Namespace
    from trio_socketio.socketio.socket import Socket

MAX_NAMESPACES: Final = 100
"""How many namespaces are counted by name; later ones are summed as OTHER."""

_LEAVES: Final = (
    *ENDS,
    "client namespace disconnect",
    "server namespace disconnect",
    "namespace removed",
)
_SLICE: Final = 256

T = TypeVar("T")


class SocketCounts(Observer):
    """Counts the sockets that come and go.

    Attributes:
        joined, refused, abandoned: how many joinings of clients have ended in that way.
        left: how many sockets have left their namespaces, by reason; reasons that a program has
            made up are summed as OTHER.
    """

    def __init__(self) -> None:
        self.joinings = {"joined": 0, "refused": 0, "abandoned": 0}
        self.left_for = dict.fromkeys((*_LEAVES, OTHER), 0)

    def joined(self, socket: "Socket") -> None:
        self.joinings["joined"] += 1

    def left(self, socket: "Socket", reason: str, recoverable: bool) -> None:
        self.left_for[reason if reason in self.left_for else OTHER] += 1

    def refused(self, joining: "Joining", error: "ConnectRefused") -> None:
        self.joinings["refused"] += 1

    def abandoned(self, joining: "Joining") -> None:
        self.joinings["abandoned"] += 1


@dataclass(frozen=True, slots=True)
class Measures:
    """The current numbers of a server, and its totals since it was made.

    Current numbers, such as those of sessions and sockets, are zero while it does not serve.

    It has 26 attributes, one for each measure.

    Args:
        counts: counts its sessions and requests. It is live, not a snapshot.
        traffic: the traffic with its clients, by transport.
        connections: open connections, by transport; connections that speak HTTP count as polling.
        timings: of its handlers, by the names of their events; live, too.
        joinings: the joinings of clients, by result.
        disconnects: the sockets that have left, by reason.
        connections_accepted, connections_refused: counted since the last mount.
        sessions: open sessions, by the transport that carries them.
        sessions_unjoined: those whose clients have joined no namespace.
        outbound_queue_bytes: output that waits to be sent.
        drain_remaining: sessions that are still open while the server stops; zero before.
        sockets, rooms: by namespace; all children of a parent count as one (OPS-23).
        joining: clients that are joining a namespace.
        packets_dropped, handler_failures, events_dropped, input_held, input_dropped, defects: as in
            Statistics.
        tasks: all tasks of trio in the program.
        idle_workers: those tasks that wait for an event to handle.
        deadlines: those that are being watched.
        late_s, slow_turns: of the runtime.
    """

    counts: EngineCounts
    traffic: Mapping[str, Traffic]
    connections: Mapping[str, int]
    timings: "Mapping[str | float, Timing]"
    joinings: Mapping[str, int]
    disconnects: Mapping[str, int]
    connections_accepted: int
    connections_refused: int
    sessions: Mapping[str, int]
    sessions_unjoined: int
    outbound_queue_bytes: int
    drain_remaining: int
    sockets: Mapping[str, int]
    rooms: Mapping[str, int]
    joining: int
    packets_dropped: int
    handler_failures: int
    events_dropped: int
    input_held: int
    input_dropped: int
    defects: int
    tasks: int
    idle_workers: int
    deadlines: int
    late_s: float
    slow_turns: int


class Measuring:
    """Measures one server, any number of times.

    Args:
        server: is observed from now on.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sockets = SocketCounts()
        self._mount: Mount | None = None  # the last one; its numbers are kept after its end
        server.observe(self._sockets)

    async def take(self) -> Measures:
        """Return a measurement. Other tasks run meanwhile."""
        server = self._server
        mount = self._mount = server._running or self._mount
        engines = () if mount is None else mount.engines
        traffic, connected = await _sum_traffic(server, mount)
        sessions = {"polling": 0, "websocket": 0}
        queued = 0
        for engine in engines:
            async for session in _sliced(list(engine.sessions.values())):
                sessions[session.transport] += 1
                queued += session.waiting_bytes
        sockets, rooms, joining = await _count_by_namespace(server)
        host, workers = server._host, server._workers
        unjoined = None if mount is None else mount.engine.unjoined
        connections = None if mount is None else mount.connections
        poller = None if mount is None else mount.runtime.poller
        is_stopping = server._lifecycle.state is State.STOPPING
        dropped = sum(engine.packets_dropped for engine in engines)
        return Measures(
            counts=host.counts,
            traffic=traffic,
            connections=connected,
            timings=workers.timings.by_name,
            joinings=self._sockets.joinings,
            disconnects=self._sockets.left_for,
            connections_accepted=connections.accepted if connections else 0,
            connections_refused=connections.refused if connections else 0,
            sessions=sessions,
            sessions_unjoined=len(unjoined) if unjoined else 0,
            outbound_queue_bytes=queued,
            drain_remaining=sum(len(engine.sessions) for engine in engines) if is_stopping else 0,
            sockets=sockets,
            rooms=rooms,
            joining=joining,
            packets_dropped=dropped + (connections.writes_dropped if connections else 0),
            handler_failures=workers.failed,
            events_dropped=workers.events_dropped,
            input_held=host.intake.held,
            input_dropped=host.intake.dropped,
            defects=poller.failures if poller else 0,
            tasks=current_statistics().tasks_living,
            idle_workers=workers.idle_workers,
            deadlines=len(mount.runtime.deadlines) if mount else 0,
            late_s=poller.late_s if poller else 0.0,
            slow_turns=mount.runtime.slow_turns if mount else 0,
        )


def count_sessions(server: Server) -> int:
    """Return how many sessions there are, without looking at every namespace."""
    running = server._running
    return len(running.engine.sessions) if running is not None else 0


async def summarize(server: Server) -> dict[str, Any]:
    """Return the numbers of Server.statistics, and the traffic, by name (CTL-15, CTL-17).

    Namespaces are told apart as in Measures, since clients may have created any number of them.
    """
    traffic = await count_traffic(server)
    sockets, _, joining = await _count_by_namespace(server)
    return {**asdict(server._summarize(sockets, joining)), "traffic": traffic}


async def _count_by_namespace(server: Server) -> tuple[dict[str, int], dict[str, int], int]:
    """Return how many sockets and rooms each namespace has, and how many clients are joining."""
    sockets: dict[str, int] = {}
    rooms: dict[str, int] = {}
    joining = 0
    async for namespace in _sliced(list(server.namespaces.values())):
        name = _label(namespace, sockets)
        sockets[name] = sockets.get(name, 0) + len(namespace.rooms.sockets)
        rooms[name] = rooms.get(name, 0) + len(namespace.rooms)
        joining += len(namespace._joinings)
    return sockets, rooms, joining


async def count_traffic(server: Server) -> dict[str, int]:
    """Return the totals of the traffic between a server and its clients (CTL-15)."""
    counts = server._host.counts
    traffic, _ = await _sum_traffic(server, server._running)
    total = Traffic()
    for each in traffic.values():
        total.add(each)
    return {
        "packets_in": total.packets_in,
        "packets_out": total.packets_out,
        "bytes_in": total.bytes_in,
        "bytes_out": total.bytes_out,
        "sessions_opened": sum(counts.opened.values()),
        "sessions_ended": sum(counts.ended.values()),
        "requests_refused": sum(counts.refused.values()),
    }


@dataclass(frozen=True, slots=True)
class Load:
    """What the Admin UI reports of a server.

    Args:
        traffic: with its clients, since it was made.
        opened: how many sessions have opened since then.
        ended: how many sessions have ended, by reason.
        sessions: open sessions, by the transport that carries them.
        sockets: of the first MAX_NAMESPACES namespaces, by name; those of all others as OTHER.
    """

    traffic: Traffic
    opened: int
    ended: Mapping[str, int]
    sessions: Mapping[str, int]
    sockets: Mapping[str, int]


async def take_load(server: Server) -> Load:
    """Return what the Admin UI reports. Other tasks run meanwhile."""
    mount, counts = server._running, server._host.counts
    traffic, _ = await _sum_traffic(server, mount)
    total = Traffic()
    for each in traffic.values():
        total.add(each)
    sessions = {"polling": 0, "websocket": 0}
    for engine in () if mount is None else mount.engines:
        async for session in _sliced(list(engine.sessions.values())):
            sessions[session.transport] += 1
    sockets: dict[str, int] = {}
    async for namespace in _sliced(list(server.namespaces.values())):
        name = namespace.name if len(sockets) < MAX_NAMESPACES else OTHER
        sockets[name] = sockets.get(name, 0) + len(namespace.rooms.sockets)
    return Load(total, sum(counts.opened.values()), dict(counts.ended), sessions, sockets)


async def _sum_traffic(
    server: Server, mount: "Mount | None"
) -> tuple[dict[str, Traffic], dict[str, int]]:
    """Return what the transports have carried, and how many connections each has.

    Nothing that a connection carries is lost or counted twice when it ends meanwhile, so that no
    sum is ever smaller than the one before.
    """
    counts = server._host.counts
    websocket = Traffic()
    websocket.add(counts.websocket)
    apart = [] if mount is None else mount.connections.traffic_apart()  # in the same step
    open_now = 0 if mount is None else len(mount.connections)
    forwarding = server._host.forwarding
    if forwarding is not None:
        apart += forwarding.traffic_apart()
        open_now += forwarding.incoming_count
    async for traffic in _sliced(apart):
        websocket.add(traffic)
    polling = Traffic(
        counts.polling.packets_in,
        counts.http.bytes_in,
        counts.polling.packets_out,
        counts.http.bytes_out,
    )
    return (
        {"polling": polling, "websocket": websocket},
        {"polling": open_now - len(apart), "websocket": len(apart)},
    )


def _label(namespace: "Namespace", known: Mapping[str, Any]) -> str:
    """The name under which a namespace is counted. No client can make up further ones."""
    name = namespace._family
    return name if name in known or len(known) < MAX_NAMESPACES else OTHER


async def _sliced(items: "Iterable[T]") -> "AsyncIterator[T]":
    """Yield the items, and let other tasks run from time to time."""
    for number, item in enumerate(items):
        if number % _SLICE == _SLICE - 1:
            await checkpoint()
        yield item
