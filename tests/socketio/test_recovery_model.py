"""A client that is lost again and again sees what one that is never lost sees: a model."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties import examples
from tests.socketio.in_process import FakeSession, join
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_socketio import Server, ServerOptions, Socket
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.socketio import socket_recovery
from trio_socketio.socketio.acks import GatheredAcks
from trio_socketio.socketio.socket_life import lose
from trio_socketio.socketio.target import EVERYBODY

ROOMS = ("red", "green")
CLIENTS = 2
AWAY_S = 50.0

clients = st.integers(0, CLIENTS - 1)
rooms = st.lists(st.sampled_from((*ROOMS, "0", "1")), max_size=2, unique=True)  # digits: own rooms
commands = st.lists(
    st.one_of(
        st.tuples(st.just("to all"), rooms, rooms),
        st.tuples(st.just("to all"), st.just(["red"]), st.just([])),
        st.tuples(st.just("to others"), clients, rooms, rooms),
        st.tuples(st.just("to one"), clients),
        st.tuples(st.just("volatile"), clients),
        st.tuples(st.just("volatile to all")),
        st.tuples(st.just("ask")),
        st.tuples(st.just("join"), clients, st.sampled_from(ROOMS)),
        st.tuples(st.just("leave"), clients, st.sampled_from(ROOMS)),
        st.tuples(st.just("lose"), clients, st.integers(0, 6)),
        st.tuples(st.just("lose"), clients, st.integers(0, 6)),
        st.tuples(st.just("come back"), clients),
        st.tuples(st.just("come back"), clients),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 5.0, 45.0, 200.0])),
    ),
    min_size=40,  # Hypothesis' lists are short on average if they may be
    max_size=120,
)


class TimedSession(FakeSession):
    """See FakeSession. Knows when what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def send(self, packet: Any) -> None:
        super().send(packet)
        self.times.append(trio.current_time())

    def send_volatile(self, packet: Any) -> None:
        self.send(packet)


@dataclass
class Client:
    """As the official client does, it takes any text at the end of an event for an offset."""

    socket: Socket
    pid: str = ""
    offset: str | None = None
    read: int = 0  # packets of this connection
    received: list[int] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    rooms: set[str] = field(default_factory=set)

    @property
    def session(self) -> TimedSession:
        session: Any = self.socket.session
        assert isinstance(session, TimedSession)
        return session

    def read_up_to(self, count: int) -> None:
        for packet in self.session.sent[self.read : count]:
            text = packet.text.decode()
            arguments = json.loads(text[text.index("[") :])
            if text.startswith("42["):  # no acknowledgement
                assert isinstance(arguments[-1], str)
                self.offset = arguments[-1]
                if arguments[0] == "news":
                    self.received.append(arguments[1])
        self.read = max(self.read, count)


def pid_of(socket: Socket) -> str:
    assert socket._recovery is not None
    return socket._recovery.pid


class World:
    def __init__(self, options: ServerOptions) -> None:
        self.server = Server(options)
        self.deadlines = Deadlines(0.01)
        self.server._host.begin(self.deadlines)
        self.server._namespaces.begin()
        self.space = self.server.of("/")
        self.number = 0
        self.recovered = 0
        self.begun_anew = 0
        self.clients: list[Client] = []
        assert self.server._host.recovery is not None
        self.recovery = self.server._host.recovery

    async def populate(self) -> None:
        for _ in range(CLIENTS):
            client = Client(await self.connect({}))
            client.pid = pid_of(client.socket)
            self.clients.append(client)

    async def connect(self, auth: dict[str, Any]) -> Socket:
        joining = join(self.space, TimedSession(), auth)
        await wait_all_tasks_blocked()
        assert joining.state is State.JOINED
        assert joining.socket is not None
        return joining.socket

    def names(self, rooms: list[str]) -> list[str]:
        return [self.clients[int(r)].socket.id if r.isdigit() else r for r in rooms]

    def expect(self, to: list[str], without: list[str]) -> None:
        for client in self.clients:
            own = {*client.rooms, client.socket.id}
            if (not to or own & set(to)) and not own & set(without):
                client.expected.append(self.number)

    async def do(self, command: tuple[Any, ...]) -> None:
        kind, *rest = command
        self.number += 1
        if kind == "to all":
            to, without = map(self.names, rest)
            self.server.to(to).except_(without).emit("news", self.number)
            self.expect(to, without)
        elif kind == "to others":
            client, (to, without) = self.clients[rest[0]], map(self.names, rest[1:])
            client.socket.broadcast.to(to).except_(without).emit("news", self.number)
            self.expect(to, [client.socket.id, *without])
        elif kind == "to one":
            client = self.clients[rest[0]]
            client.socket.emit("news", self.number)
            client.expected.append(self.number)
        elif kind == "volatile":
            self.clients[rest[0]].socket.volatile.emit("perhaps", "text")
        elif kind == "volatile to all":
            self.server.volatile.emit("perhaps")
        elif kind == "ask":
            with self.space.adapter.asking(["sure", "text"], EVERYBODY, GatheredAcks()):
                pass
        elif kind in ("join", "leave"):
            client, room = self.clients[rest[0]], rest[1]
            if client.socket.connected:
                getattr(client.socket, kind)(room)
                (client.rooms.add if kind == "join" else client.rooms.discard)(room)
        elif kind == "lose":
            await self.lose(self.clients[rest[0]], rest[1])
        elif kind == "come back":
            await self.come_back(self.clients[rest[0]])
        else:
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            clock.jump(rest[0])
            await wait_all_tasks_blocked()

    async def lose(self, client: Client, unread: int) -> None:
        """The connection breaks; what was sent last did not arrive."""
        if not client.socket.connected:
            return
        session, now = client.session, trio.current_time()
        arrived = max(len(session.sent) - unread, client.read)
        alive_s = self.server.options.ping_interval_s + 2 * self.server.options.ping_timeout_s
        while arrived < len(session.sent) and session.times[arrived] < now - alive_s:
            arrived += 1  # it would be gone for long
        client.read_up_to(arrived)
        lose(client.socket, "transport close")
        await wait_all_tasks_blocked()

    async def come_back(self, client: Client) -> None:
        if client.socket.connected:
            return
        before = client.socket
        auth = {"pid": client.pid}
        client.socket = await self.connect(
            auth if client.offset is None else {**auth, "offset": client.offset}
        )
        client.read = 0
        if client.socket.recovered:
            self.recovered += 1
            assert client.socket.id == before.id
            assert pid_of(client.socket) == client.pid
            assert client.socket.data is before.data
            assert client.socket.rooms == {client.socket.id, *client.rooms}
        else:
            self.begun_anew += 1
            assert client.socket.id != before.id
            client.pid = pid_of(client.socket)  # the offset stays: official clients keep it
            client.rooms, client.expected, client.received = set(), [], []

    async def check(self) -> None:
        for client in self.clients:
            await self.come_back(client)
        for client in self.clients:
            client.read_up_to(len(client.session.sent))
            assert client.received == client.expected


async def live(options: ServerOptions, commands: list[tuple[Any, ...]]) -> World:
    async with trio.open_nursery() as nursery:
        world = World(options)
        world.server._workers.start(nursery)
        nursery.start_soon(world.deadlines.run)
        await world.populate()
        for command in commands:
            await world.do(command)
        await world.check()
        assert world.server._workers.failed == 0
        nursery.cancel_scope.cancel()
    return world


@pytest.mark.req("RECOVER-02")
@given(commands)
@settings(max_examples=examples(40), deadline=None)
def test_nothing_is_missed_or_seen_twice(commands: list[tuple[Any, ...]]) -> None:
    waited = sum(command[1] for command in commands if command[0] == "wait")
    options = ServerOptions(state_recovery=True, state_recovery_max_disconnection_s=AWAY_S)
    world = trio.run(live, options, commands, clock=MockClock())
    if waited < AWAY_S:
        assert world.begun_anew == 0, "it was away for a short time only"


@pytest.mark.req("RECOVER-05")
@given(commands, st.integers(1, 8), st.integers(20, 300), st.integers(1, 3), st.integers(1, 1000))
@settings(max_examples=examples(40), deadline=None)
def test_who_may_have_missed_something_begins_anew(
    commands: list[tuple[Any, ...]], packets: int, size: int, sessions: int, changes: int
) -> None:
    """Tiny bounds: a new session at worst, never a gap."""
    options = ServerOptions(
        state_recovery=True,
        state_recovery_max_disconnection_s=AWAY_S,
        state_recovery_max_packets=packets,
        state_recovery_max_bytes=size,
        state_recovery_max_sessions=sessions,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket_recovery, "MAX_CHANGES", changes)
        world = trio.run(live, options, commands, clock=MockClock())
    assert len(world.recovery.log) <= packets
    assert world.recovery.log.byte_count <= size
    assert world.recovery.session_count <= sessions
