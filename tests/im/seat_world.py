"""Servers that share a presence store, and clients on socket pairs, under a clock at rest."""

import json
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
import trio
from tests.im.held_store import HeldStore, Line
from tests.im.presence_reader import Reader
from tests.im.store_world import MAXIMUM, NAMESPACES
from tests.socketio.joining_world import STILL_S, Defects, Wire
from trio.testing import wait_all_tasks_blocked

from trio_socketio import Joining, JoiningState, Observer, Server, ServerOptions, Socket, Step
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.runtime import jobs, poller
from trio_socketio.runtime.fence import Fences
from trio_socketio.socketio.steps import Awaited

AWAY_S = 60.0
LINGER_S = 20.0
HOOK_S = 10.0


@dataclass(eq=False)
class Visitor:
    """A client: one connection that asks for one namespace."""

    number: int
    server: int
    namespace: str
    user: str
    wire: Wire
    is_gone: bool = False
    has_left: bool = False
    came_back: bool = False
    auth: dict[str, Any] = field(default_factory=dict)
    gate: trio.Event = field(default_factory=trio.Event)  # of the step behind the seat
    busy: trio.Event = field(default_factory=trio.Event)  # of its slow handler

    @property
    def told(self) -> list[tuple[Any, ...]]:
        return self.wire.received.get(self.namespace, [])

    @property
    def is_in(self) -> bool:
        """As far as the client knows."""
        if self.has_left:
            return False
        answers = [token[0] for token in self.told if token[0] in ("connect", "disconnect")]
        return bool(answers) and answers[-1] == "connect" and not self.wire.closed

    @property
    def is_cut_off(self) -> bool:
        """Whether it was hung up on before it was told anything."""
        return self.wire.closed and not self.told

    @property
    def pid(self) -> str:
        told = self.wire.told.get(self.namespace)
        return told[-1]["pid"] if told and "pid" in told[-1] else ""


class SeatWorld(Observer):
    """Call its async methods in one trio run.

    Args:
        takeover: of all namespaces.
        linger_s: of all namespaces.
        count: how many servers there are.
        lease_s: of all nodes. If it is finite, each has a line to the store of its own.
        outage: see Presence.
        is_near: whether those lines have the store answer at once.

    Attributes:
        crowds: how many clients of one user were in at the same moment, at most, by namespace.
    """

    def __init__(
        self,
        *,
        takeover: Any = "strict",
        linger_s: float = 0.0,
        count: int = 2,
        lease_s: float = inf,
        outage: Any = "strict",
        is_near: bool = False,
    ) -> None:
        self.store = HeldStore(MemoryStore(lease_s=lease_s))
        lines = count if lease_s < inf else 0
        self.lines = [Line(self.store, is_near=is_near) for _ in range(lines)]
        self.crowds: Counter[str] = Counter()
        self.readers = {name: Reader(self.store.inner, name) for name in NAMESPACES}
        self.visitors: list[Visitor] = []
        self.defects = Defects()
        self.servers: list[Server] = []
        self.presences: list[Presence] = []
        self._serving: list[trio.CancelScope] = []
        for number in range(count):
            server = Server(
                ServerOptions(
                    ping_interval_s=STILL_S,
                    ping_timeout_s=STILL_S,
                    slow_handler_s=STILL_S,
                    connect_timeout_s=STILL_S,
                    hook_timeout_s=HOOK_S,
                    state_recovery=True,
                    state_recovery_max_disconnection_s=AWAY_S,
                    stop_grace_s=1,
                    stop_flush_s=1,
                )
            )
            self.servers.append(server)
            store: Any = self.lines[number] if self.lines else self.store
            presence = Presence(server, store, node=f"node {number}", outage=outage)
            presence._life._clock = trio.current_time
            self._furnish(server, presence, takeover, linger_s)
            self.presences.append(presence)

    def _furnish(self, server: Server, presence: Presence, takeover: Any, linger_s: float) -> None:
        for name in NAMESPACES:
            policy: Any = NAMESPACES[name]
            maximum = MAXIMUM if policy == "many" else 1
            space = server.of(name)
            space.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
            presence.seat(
                name, policy=policy, maximum=maximum, takeover=takeover, linger_s=linger_s
            )
            space.observe(self)
            space.add_steps([Step(JoiningState.SEAT, self._come_late)])
            space.on("busy")(self._be_busy)

    def joined(self, socket: Socket) -> None:
        name, user = socket.namespace.name, socket.user
        inside = sum(one.user == user for one in {*self.sockets(name), socket})
        self.crowds[name] = max(self.crowds[name], inside)

    def _come_late(self, joining: Joining) -> Awaited | None:
        if not joining.auth.get("late"):
            return None  # so that a client can enter within the turn of its CONNECT
        return Awaited(self.visitors[joining.auth["n"]].gate.wait, ())

    async def _be_busy(self, socket: Socket, number: int) -> None:
        await self.visitors[number].busy.wait()

    # -- running

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self._serve_all)
        await wait_all_tasks_blocked()

    async def _serve_all(self, task_status: trio.TaskStatus[None]) -> None:
        # One patch for all servers: if each had its own, the last to end could restore STILL_S.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(poller, "TURN_S", STILL_S)  # a batch is read in one turn
            patch.setattr(jobs, "_SLICE_S", STILL_S)
            patch.setattr(Fences.__init__, "__defaults__", (trio.current_time,))
            async with trio.open_nursery() as nursery:
                for server in self.servers:
                    await nursery.start(self._serve, server)
                task_status.started()

    async def _serve(self, server: Server, task_status: trio.TaskStatus[Any]) -> None:
        with trio.CancelScope() as scope:
            self._serving.append(scope)
            await server.serve(port=0, task_status=task_status)

    async def stop(self) -> None:
        """Cancel the servers: what they hold is released all the same."""
        self.store.let_all_go()
        for line in self.lines:
            line.mend()
        for visitor in self.visitors:
            visitor.gate.set()
            visitor.busy.set()
        for scope in self._serving:
            scope.cancel()
        for visitor in self.visitors:
            visitor.wire.sock.close()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()

    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        await wait_all_tasks_blocked()
        for visitor in self.visitors:
            if not visitor.is_gone:
                visitor.wire.read()
        for reader in self.readers.values():
            await reader.follow()

    async def wipe(self) -> None:
        """The store loses everything."""
        self.store.wipe()
        self.readers = {name: Reader(self.store.inner, name) for name in NAMESPACES}
        await self.settle()

    # -- clients

    async def come(
        self,
        server: int,
        namespace: str,
        user: str | int | None,
        *,
        back: Visitor | None = None,
        late: bool = False,
        busy: bool = False,
    ) -> Visitor:
        """A client opens a connection, and asks for a namespace; perhaps with a pid that it has."""
        visitor = await self.open(server, namespace, user, back=back, late=late)
        self.ask(visitor)
        await self.settle()
        if busy and visitor.is_in:
            visitor.wire.send([f'42{namespace},["busy",{visitor.number}]'])
            await self.settle()
        return visitor

    async def open(
        self,
        server: int,
        namespace: str,
        user: str | int | None,
        *,
        back: Visitor | None = None,
        late: bool = False,
    ) -> Visitor:
        """A client opens a connection, and does no more."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        running = self.servers[server]._running
        assert running is not None
        running.connections.accept(theirs, "", None)
        number = len(self.visitors)
        visitor = Visitor(number, server, namespace, str(user), Wire(ours, 4))
        self.visitors.append(visitor)
        ours.send(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await self.settle()
        auth: dict[str, Any] = {"user": user, "n": number, "late": late}
        if back is not None:
            auth["pid"] = back.pid
            back.came_back = True
            if namespace in back.wire.offsets:
                auth["offset"] = back.wire.offsets[namespace]
        visitor.auth = auth
        return visitor

    def ask(self, visitor: Visitor) -> None:
        """A client asks for its namespace. What several ask for, one server reads in one turn."""
        visitor.wire.send([f"40{visitor.namespace},{json.dumps(visitor.auth)}"])

    async def lose(self, visitor: Visitor) -> None:
        """The connection breaks."""
        visitor.is_gone = True
        visitor.wire.sock.close()
        await self.settle()

    async def leave(self, visitor: Visitor) -> None:
        self.say_goodbye(visitor)
        await self.settle()

    def say_goodbye(self, visitor: Visitor) -> None:
        """A client leaves its namespace, which its server reads in the next turn."""
        visitor.has_left = True
        visitor.wire.send([f"41{visitor.namespace},"])

    async def act(self, action: Callable[[], Any]) -> None:
        action()
        await self.settle()

    # -- what is so

    def sockets(self, namespace: str) -> list[Socket]:
        return [one for server in self.servers for one in server.of(namespace).sockets.values()]

    async def seats(self, namespace: str) -> dict[str, list[str]]:
        """The ids of the sockets that have seats, by user."""
        found = (await self.store.inner.snapshot(namespace)).users
        return {user: [seat.id for seat in seats] for user, seats in found.items()}

    def types(self, namespace: str) -> list[str]:
        return [entry.type for entry in self.readers[namespace].entries]

    def reasons(self, namespace: str) -> list[str | None]:
        return [entry.reason for entry in self.readers[namespace].entries]


def identify(joining: Joining) -> None:
    user = joining.auth.get("user")
    if user is not None:
        joining.identify(user)
