"""Nodes on a Redis that loses what it was told, crashes of nodes, and pauses.

The nodes are honest: each puts out whom it is ordered to put out, lets a client enter when the
store lets it, stops serving when its lease is over by its own clock, and reasserts its claims when
the store has lost them. What must hold is not a forecast of each answer, as in `presence_machine`,
but I1 to I8: at every moment no user has two clients in, the log of each generation is whole and
folds to the state, and when all is at rest those online are those who are in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.im.presence_reader import Reader
from tests.im.redis_world import RedisWorld
from tests.im.store_world import LEASE_S

from trio_socketio.im.presence.store import StoreUnavailable
from trio_socketio.protocol.presence_claims import (
    Claimed,
    ClaimRef,
    ClaimRequest,
    Fenced,
    Order,
    Renewal,
    Stale,
)
from trio_socketio.protocol.presence_cursor import Cursor

T = TypeVar("T")

HERE = "/chat"
MARGIN_S = 1.0
RENEW_S = 3.0
picks = st.integers(0, 30)


@dataclass(eq=False)
class Client:
    """A client that has asked for a seat."""

    request: ClaimRequest
    token: Cursor
    awaits: tuple[Cursor, ...]
    is_in: bool = False
    has_gone: bool = False


@dataclass(eq=False)
class Node:
    """An incarnation of a node.

    Attributes:
        fence: when it stops to serve, by its own clock.
        to_reassert: what it has yet to tell a store that has lost it; None if it need not.
    """

    name: str
    boot: str
    fence: float
    renewed_at: float
    runs: bool = True
    is_paused: bool = False
    clients: dict[int, Client] = field(default_factory=dict)
    unsaid: list[Order] = field(default_factory=list)
    releases: list[ClaimRef] = field(default_factory=list)
    to_reassert: list[Client] | None = None


class LossyMachine(RuleBasedStateMachine):
    """Is given a world by its subclass."""

    open_world: Callable[[], RedisWorld]

    @initialize()
    def begin(self) -> None:
        self.world = type(self).open_world()
        self.store = self.world.store
        self.nodes: list[Node] = []
        self.attempts = 0
        self.reader = Reader(self.store, HERE)
        self.losses = 0
        for name in ("a", "b", "c"):
            self.start(name)
        self.world.save()

    @rule(
        what=st.sampled_from(
            (
                *("log in", "log in", "log in", "log in", "leave", "leave", "kick"),
                *("enter", "enter", "obey", "obey", "confirm", "confirm", "deliver", "deliver"),
                *("rebuild", "rebuild", "rebuild", "rebuild", "time", "time", "time"),
                *("start", "crash", "pause", "pause", "go on", "save", "wipe", "roll back"),
            )
        ),
        pick=picks,
        which=picks,
        user=st.sampled_from(("ann", "ann", "bob")),
        seconds=st.sampled_from((1.0, 2.0, 4.0, 11.0)),
    )
    def act(self, what: str, pick: int, which: int, user: str, seconds: float) -> None:
        running = [node for node in self.nodes if node.runs and not node.is_paused]
        node = running[pick % len(running)] if running else None
        if what == "time":
            self.pass_time(seconds)
        elif what == "save":
            self.world.save()
        elif what == "wipe":
            self.lose(self.world.wipe)
        elif what == "roll back":
            self.lose(self.world.roll_back)
        elif what == "go on":
            for one in self.nodes:
                self.go_on(one)
        elif what == "kick":
            self.ask(self.store.kick, HERE, user)
        elif node is None or what == "start":
            self.start("abc"[pick % 3])
        elif what == "log in":
            self.log_in(node, user)
        elif what == "crash":
            node.runs = False
        elif what == "pause":
            node.is_paused = True
        elif what == "rebuild":
            self.rebuild(node)
        elif what == "obey":
            self.obey(node)
        elif what == "confirm" and node.unsaid:
            self.confirm(node, which)
        elif what == "deliver" and node.releases:
            self.release(node, node.releases.pop(which % len(node.releases)))
        elif what in ("enter", "leave"):
            self.move(node, what, which)
        self.check()

    # -- asking the store

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the store; None if it has lost what it would have to know."""
        try:
            return self.world.do(function, *arguments)
        except StoreUnavailable:
            return None

    def check(self) -> None:
        """No user has two clients in (I7), and the log is that of the state (I1 to I4, I8)."""
        inside: dict[str, list[Client]] = {}
        for node in self.nodes:
            if node.runs and self.world.now < node.fence:
                for client in node.clients.values():
                    if client.is_in:
                        inside.setdefault(client.request.user, []).append(client)
        for clients in inside.values():
            assert len(clients) <= 1, "I7"
        self.world.do(self._check_log)

    async def _check_log(self) -> None:
        at = (await self.store.count(HERE)).cursor
        if self.reader.cursor is not None and at.generation != self.reader.cursor.generation:
            assert at.generation > self.reader.cursor.generation, "I4"
            self.reader = Reader(self.store, HERE)
        await self.reader.follow()

    # -- nodes

    def start(self, name: str) -> None:
        for node in self.nodes:
            if node.name == name:
                node.runs = False
        boot = f"{name}{len(self.nodes)}"
        now = self.world.now
        assert not isinstance(self.ask(self.store.enroll, name, boot), Fenced)
        self.nodes.append(Node(name, boot, now + LEASE_S - MARGIN_S, now))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.world.do(self.world.advance, 1.0)
            for node in self.nodes:
                if not node.is_paused:
                    self.stop_if_fenced(node)
                if node.runs and not node.is_paused and self.world.now - node.renewed_at >= RENEW_S:
                    self.renew(node)
            for boot in self.ask(self.store.expired) or ():
                self.ask(self.store.reap, boot, 2)
            self.check()

    def stop_if_fenced(self, node: Node) -> None:
        if self.world.now >= node.fence:
            node.runs = False

    def go_on(self, node: Node) -> None:
        """A node that was paused looks at its clock before it does anything else."""
        node.is_paused = False
        self.stop_if_fenced(node)

    def renew(self, node: Node) -> None:
        now = self.world.now
        renewal = self.ask(self.store.renew, node.boot)
        if renewal is Renewal.ENDED:
            node.runs = False
        elif renewal is not None:
            node.renewed_at, node.fence = now, now + LEASE_S - MARGIN_S
            if renewal is Renewal.REBUILD:
                node.to_reassert = [c for c in node.clients.values() if not c.has_gone]

    def rebuild(self, node: Node) -> None:
        """Renew the lease, or go on with what that has brought."""
        if node.to_reassert is None:
            self.renew(node)
            return
        if node.to_reassert:
            client = node.to_reassert[-1]
            if not client.has_gone:
                answer = self.ask(self.store.reassert, client.request, client.token)
                if answer is None:
                    self.renew(node)  # it has lost everything once more
                    return
                if isinstance(answer, Fenced):
                    node.runs = False
                    return
                if isinstance(answer, Stale):
                    self.put_out(client)
                else:
                    client.token = answer.token
            node.to_reassert.remove(client)
        if not node.to_reassert:
            node.to_reassert = None
            self.ask(self.store.end_rebuild, node.boot)

    # -- clients

    def log_in(self, node: Node, user: str) -> None:
        self.attempts += 1
        request = ClaimRequest(
            namespace=HERE,
            user=user,
            id=f"id-{self.attempts}",
            node=node.name,
            boot=node.boot,
            attempt=self.attempts,
        )
        outcome = self.ask(self.store.claim, request)
        if isinstance(outcome, Fenced):
            node.runs = False
        if not isinstance(outcome, Claimed):
            return
        for order in outcome.orders:
            self.carry_out(node, order)
        client = Client(request, outcome.token, outcome.awaits, is_in=not outcome.awaits)
        node.clients[request.attempt] = client

    def move(self, node: Node, what: str, which: int) -> None:
        there = [client for client in node.clients.values() if not client.has_gone]
        if not there:
            return
        client = there[which % len(there)]
        if what == "leave":
            self.put_out(client)
            node.releases.append(refer(client))
        elif not client.is_in:
            user, awaits = client.request.user, client.awaits
            try:
                client.is_in = self.world.do(
                    self.world.ends_at_once, self.store.wait_confirmed, HERE, user, awaits
                )
            except (StoreUnavailable, BaseExceptionGroup):
                return

    def put_out(self, client: Client) -> None:
        client.is_in = False
        client.has_gone = True

    def release(self, node: Node, ref: ClaimRef) -> None:
        if self.ask(self.store.release, ref, "transport close") is None:
            node.releases.append(ref)  # it is tried again

    def obey(self, node: Node) -> None:
        found: list[Order] = []

        async def receive() -> None:
            found.extend(await self.store.receive_orders(node.boot))

        self.world.do(self.world.ends_at_once, receive)
        for order in found:
            self.carry_out(node, order)

    def carry_out(self, node: Node, order: Order) -> None:
        client = node.clients.get(order.attempt)
        if client is not None:
            self.put_out(client)
        node.unsaid.append(order)

    def confirm(self, node: Node, which: int) -> None:
        order = node.unsaid[which % len(node.unsaid)]
        node.unsaid = [one for one in node.unsaid if one.token != order.token]
        self.ask(self.store.confirm, order)

    # -- the server

    def lose(self, how: Callable[[], None]) -> None:
        """The server loses what it knew; every node finds its connection broken, and asks."""
        how()
        self.losses += 1

        async def ask_all() -> None:
            for store in self.world.stores:
                await store.count(HERE)

        self.world.do(ask_all)

    # -- the end

    def quiesce(self) -> None:
        """Everything arrives; a lease later those online are those who are in (I6)."""
        for node in self.nodes:
            self.go_on(node)
        for _ in range(2):
            self.pass_time(6.0)
            for node in self.nodes:
                while node.runs and (node.to_reassert is not None):
                    self.rebuild(node)
                if node.runs:
                    self.obey(node)
                    while node.unsaid:
                        self.confirm(node, 0)
                    for ref in tuple(node.releases):
                        node.releases.remove(ref)
                        self.release(node, ref)
            self.pass_time(6.0)
        while boots := self.world.do(self.store.expired):
            for boot in boots:
                self.world.do(self.store.reap, boot)
        for node in self.nodes:
            for which in range(len(node.clients) if node.runs else 0):
                self.move(node, "enter", which)
        self.check()
        snapshot = self.world.do(self.store.snapshot, HERE)
        assert not snapshot.is_rebuilding
        held = {user: [seat.id for seat in seats] for user, seats in snapshot.users.items()}
        live: dict[str, list[str]] = {}
        for node in self.nodes:
            for client in node.clients.values():
                if node.runs and not client.has_gone:
                    assert client.is_in, "a client waits for nothing"
                    live.setdefault(client.request.user, []).append(client.request.id)
        assert held == live, "I6"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.quiesce()
            finally:
                self.world.close()


def refer(client: Client) -> ClaimRef:
    return ClaimRef(
        namespace=HERE,
        user=client.request.user,
        boot=client.request.boot,
        attempt=client.request.attempt,
        token=client.token,
    )
