"""Nodes that claim, lose, move, kick and crash in any order, on a presence store of any kind.

The machine plays honest nodes: each puts out whom it is ordered to put out, lets a client enter
when the store lets it, and stops serving when its lease is over. What it does to the network is not
honest: answers are lost, releases come late, twice, or out of order. After every step the store is
compared with a plain model, and at every moment the log with the state. I1 to I8 are the invariants
in spec/presence.toml.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.im.presence_reader import Reader
from tests.im.store_world import LEASE_S, MAXIMUM, NAMESPACES, StoreWorld

from trio_socketio.protocol.presence_claims import (
    Absent,
    Claimed,
    ClaimRef,
    ClaimRequest,
    Fenced,
    Kicked,
    Order,
    Released,
    Renewal,
    Stale,
    Taken,
)
from trio_socketio.protocol.presence_cursor import Cursor

T = TypeVar("T")

picks = st.integers(0, 30)
names = st.sampled_from(("a", "b", "c"))
kinds = st.sampled_from(("here", "here", "here", "/newest", "/reject", "/many"))
users = st.sampled_from(("ann", "bob"))
takeovers = st.sampled_from(("strict", "strict", "fast"))


@dataclass(eq=False)
class Client:
    """A client that has asked for a seat."""

    request: ClaimRequest
    node: "Node"
    token: Cursor | None = None
    awaits: tuple[Cursor, ...] = ()
    is_unsure: bool = False  # it did not wait for others, and the log says so
    state: str = "waiting"  # live, lost, gone

    @property
    def place(self) -> tuple[str, str]:
        return self.request.namespace, self.request.user


@dataclass(eq=False)
class Node:
    """An incarnation of a node."""

    name: str
    boot: str
    lease_ends: float
    runs: bool = True  # false once it has crashed or stopped, or knows that its lease is over
    is_dead: bool = False  # the store has ended its lease for good
    clients: dict[int, Client] = field(default_factory=dict)
    outbox: list[tuple[ClaimRef, str]] = field(default_factory=list)
    unsaid: list[Order] = field(default_factory=list)  # obeyed, and not confirmed yet


class PresenceMachine(RuleBasedStateMachine):
    """Is given a world by its subclass."""

    open_world: Callable[[], StoreWorld]

    @initialize(namespace=st.sampled_from(("/newest", "/newest", "/reject", "/many", "/many")))
    def begin(self, namespace: str) -> None:
        self.here = namespace  # where most of it happens
        self.world = type(self).open_world()
        self.store = self.world.store
        self.now = 0.0
        self.nodes: list[Node] = []
        self.clients: list[Client] = []
        self.attempts = 0
        self.seats: dict[tuple[str, str], list[Client]] = {}
        self.orders: dict[tuple[str, str], list[Client]] = {}  # put out by others, not confirmed
        self.sent: list[tuple[Node, ClaimRef]] = []
        self.readers = {name: Reader(self.store, name) for name in NAMESPACES}
        for name in ("a", "b"):
            self.start(name)

    # -- asking the store

    def ask(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call a method of the store, while others check at every moment that all is well."""
        found: T = self.world.do(self._ask, function, arguments)
        return found

    async def _ask(self, function: Callable[..., Awaitable[T]], arguments: tuple[Any, ...]) -> T:
        async def watch() -> None:
            while True:
                await self._check_log()
                await trio.lowlevel.checkpoint()  # here it may be cancelled

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            found = await function(*arguments)
            nursery.cancel_scope.cancel()
        await self._check_log()
        return found

    async def _check_log(self) -> None:
        with trio.CancelScope(shield=True):  # a reader that is cut off would miss entries
            for reader in self.readers.values():
                await reader.follow()

    def is_alive(self, node: Node) -> bool:
        return not node.is_dead and self.now < node.lease_ends

    def check(self) -> None:
        """Compare the state with the model, and count the clients that are in (I1, I5, I7)."""
        for namespace in NAMESPACES:
            snapshot = self.world.do(self.store.snapshot, namespace)
            so = {
                user: [(seat.boot, seat.attempt, seat.id) for seat in seats]
                for user, seats in snapshot.users.items()
            }
            expected = {
                user: [(c.node.boot, c.request.attempt, c.request.id) for c in clients]
                for (name, user), clients in self.seats.items()
                if name == namespace and clients
            }
            assert so == expected
        inside: dict[tuple[str, str], list[Client]] = {}
        for client in self.clients:
            if client.state == "live" and client.node.runs and self.is_alive(client.node):
                inside.setdefault(client.place, []).append(client)
        for (namespace, _), clients in inside.items():
            most = MAXIMUM if namespace == "/many" else 1
            # Whoever has entered without the word of others is excused, and the log says so.
            assert len(clients) <= most or any(client.is_unsure for client in clients), "I7"

    # -- nodes

    def start(self, name: str) -> None:
        """Start a node, or restart it: it has crashed before its successor starts."""
        before = [node for node in self.nodes if node.name == name]
        for node in before:
            self._stop_running(node)
        ended = {node.boot for node in before if not node.is_dead}
        alive = {node.boot for node in before if self.is_alive(node)}
        boot = f"{name}{len(self.nodes)}"
        answer = self.ask(self.store.enroll, name, boot)
        assert not isinstance(answer, Fenced)
        assert alive <= set(answer) <= ended  # those that were over before may be known already
        for node in before:
            node.is_dead = True
        self.nodes.append(Node(name, boot, self.now + LEASE_S))
        self.check()

    @rule(
        what=st.sampled_from(
            ("start", "crash", "retire", "enroll", "renew", "reap", "time", "time", "time", "time")
        ),
        name=names,
        pick=picks,
        limit=st.sampled_from((1, 1, 2, 500)),
        seconds=st.sampled_from((1.0, 4.0, 4.0, 4.0, LEASE_S + 1)),
        renews=st.booleans(),
    )
    def disturb(
        self, what: str, name: str, pick: int, limit: int, seconds: float, renews: bool
    ) -> None:
        """Time passes, or something happens to a node."""
        node = self.pick(self.nodes, pick)
        if what == "start":
            self.start(name)
        elif what == "crash":
            self._stop_running(node)
        elif what == "reap":
            self.reap(pick, limit)
        elif what == "renew":
            self.renew(pick)
        elif what == "time":
            self.pass_time(seconds, renews)
        elif what == "retire" and node.runs:
            self._stop_running(node)
            self.ask(self.store.retire, node.boot)
            node.is_dead = True
            self.check()
        elif what == "enroll" and not self.is_alive(node):
            # A late packet cannot bring an ended lease back.
            assert isinstance(self.ask(self.store.enroll, node.name, node.boot), Fenced)

    def _stop_running(self, node: Node) -> None:
        node.runs = False
        node.outbox.clear()
        for client in node.clients.values():
            client.state = "gone"

    def renew(self, pick: int) -> None:
        """Any node tries, also one that does not know that others have given it up."""
        node = self.pick(self.nodes, pick)
        if self.ask(self.store.renew, node.boot) is Renewal.RENEWED:
            assert self.is_alive(node), "I5"
            node.lease_ends = self.now + LEASE_S
        else:
            assert not self.is_alive(node)
            self._stop_running(node)

    def pass_time(self, seconds: float, renews: bool) -> None:
        self.advance(seconds)
        for number, node in enumerate(self.nodes):
            if renews and node.runs:
                self.renew(number)

    def advance(self, seconds: float) -> None:
        """Let time pass. A node that could not renew its lease stops serving by itself."""
        self.now += seconds
        self.world.do(self.world.advance, seconds)
        for node in self.nodes:
            if not self.is_alive(node):
                node.runs = False
                for client in node.clients.values():
                    if client.state in ("live", "waiting", "lost"):
                        client.state = "gone"
        self.check()

    def reap(self, pick: int, limit: int) -> None:
        node = self.pick(self.nodes, pick)
        ended = self.ask(self.store.reap, node.boot, limit)
        if self.is_alive(node):
            assert ended is None
        else:
            node.is_dead = True
            found = self.world.do(self._left_of, node.boot)
            owned = [c for seats in self.seats.values() for c in seats if c.node is node]
            assert ended == min(limit, len(owned))
            for client in owned:
                if (client.request.namespace, client.request.attempt) not in found:
                    self._end(client)
            assert len(owned) - ended == len(found)
            for put_out in self.orders.values():
                put_out[:] = [client for client in put_out if client.node is not node]
        self.check()

    async def _left_of(self, boot: str) -> set[tuple[str, int]]:
        return {
            (namespace, seat.attempt)
            for namespace in NAMESPACES
            for seats in (await self.store.snapshot(namespace)).users.values()
            for seat in seats
            if seat.boot == boot
        }

    # -- clients

    @rule(
        what=st.sampled_from(
            (
                "recover",
                "recover",
                "lose",
                "lose",
                "leave",
                "leave",
                "enter",
                "enter",
                "again",
                "kick",
            )
        ),
        pick=picks,
        at=picks,
        takeover=takeovers,
        knows=st.booleans(),
        at_once=st.booleans(),
    )
    def move(
        self, what: str, pick: int, at: int, takeover: str, knows: bool, at_once: bool
    ) -> None:
        """Something happens to a client; if that cannot be, to another one."""
        if what == "recover" and self.those("live", "lost"):
            if not self.those("lost"):
                self.lose(pick)
                if knows:  # meanwhile the user has logged in anew
                    namespace, user = self.those("lost")[0].place
                    self.log_in(at, namespace, user, takeover, 1)
            self.recover(pick, at, takeover)
        elif what == "enter" and self.those("waiting"):
            self.enter(pick)
        elif what == "again" and self.those("waiting", "live"):
            self.ask_again(pick)
        elif what == "lose" and self.those("live"):
            self.lose(pick)
        elif what == "kick" and any(self.seats.values()):
            self.kick(*self.pick([place for place, held in self.seats.items() if held], pick))
        elif self.those("waiting", "live", "lost"):
            self.leave(pick, knows, at_once)
        else:
            self.log_in(pick, "here", "ann", takeover, 1)

    move_again = move  # so that it happens twice as often

    @rule(
        what=st.sampled_from(("deliver", "deliver again", "obey", "obey", "confirm")),
        pick=picks,
        which=picks,
        says=st.booleans(),
    )
    def arrive(self, what: str, pick: int, which: int, says: bool) -> None:
        """Something that was on its way arrives."""
        if what == "deliver again" and self.sent:
            node, ref = self.pick(self.sent, pick)
            self._release(node, ref, "late")
        elif what == "confirm" and any(node.unsaid and node.runs for node in self.nodes):
            self.confirm(pick, which)
        elif what in ("deliver", "deliver again") and any(node.outbox for node in self.nodes):
            self.deliver(pick, which)
        else:
            self.obey(pick, says)

    @rule(pick=picks, kind=kinds, user=users, takeover=takeovers, runs=st.integers(0, 4))
    def log_in(self, pick: int, kind: str, user: str, takeover: Any, runs: int) -> None:
        nodes = [node for node in self.nodes if node.runs or not runs] or self.nodes
        namespace = self.here if kind == "here" else kind
        self._claim(
            self.pick(nodes, pick), namespace, user, f"id-{self.attempts}", takeover, recovers=False
        )

    log_in_again = log_in

    def recover(self, pick: int, at: int, takeover: Any) -> None:
        """A lost client comes back with its pid, to any node, in time or not."""
        client = self.pick(self.those("lost"), pick)
        client.state = "gone"  # its session was handed out
        node, (namespace, user) = self.pick(self.nodes, at), client.place
        self._claim(node, namespace, user, client.request.id, takeover, recovers=True)
        if client.node.runs and client in self.seats.get(client.place, ()):
            self._send_release(client, knows=True)  # the claim has failed, and linger ends

    def _claim(
        self, node: Node, namespace: str, user: str, name: str, takeover: Any, *, recovers: bool
    ) -> None:
        if not node.runs and self.is_alive(node):
            return  # it has crashed, and says nothing
        self.attempts += 1
        policy: Any = NAMESPACES[namespace]
        request = ClaimRequest(
            namespace=namespace,
            user=user,
            id=name,
            node=node.name,
            boot=node.boot,
            attempt=self.attempts,
            policy=policy,
            maximum=MAXIMUM,
            takeover=takeover,
            recovers=recovers,
        )
        client = Client(request, node)
        outcome = self.ask(self.store.claim, request)
        if not self.is_alive(node):
            assert isinstance(outcome, Fenced), "I5"
            client.state = "gone"
            return
        seats = self.seats.setdefault(client.place, [])
        own = [one for one in seats if recovers and one.request.id == name]
        refusal = self._refusal(request, seats, own)
        if refusal:
            assert isinstance(outcome, Taken)
            assert outcome.reason == refusal
            client.state = "gone"
            return
        assert isinstance(outcome, Claimed)
        client.token, client.awaits = outcome.token, outcome.awaits
        for one in own or (tuple(seats) if policy == "newest" else ()):
            self._end(one)
            if self.is_alive(one.node):
                self.orders.setdefault(one.place, []).append(one)
        seats.append(client)
        node.clients[request.attempt] = client
        self.clients.append(client)
        ordered = [one for one in self.orders.get(client.place, ()) if self.is_alive(one.node)]
        others = {one.token for one in ordered if one.node is not node}
        assert set(outcome.awaits) == others
        own_orders = {one.token for one in ordered if one.node is node}
        assert {order.token for order in outcome.orders} == own_orders
        self.world.do(self._check_log)
        entry = self.readers[namespace].entries[-1]
        kind = "moved" if entry.prev else "seat_added" if len(seats) > 1 else "online"
        assert (entry.token, entry.type) == (str(client.token), kind)
        assert entry.reason == (None if not entry.prev else "recovered" if own else "replaced")
        client.is_unsure = takeover == "fast" and bool(others)
        assert entry.unconfirmed == client.is_unsure
        for order in outcome.orders:
            self._obey(node, order)
        if not client.awaits or takeover == "fast":
            client.state = "live"
        self.check()

    def _refusal(self, request: ClaimRequest, seats: list[Client], own: list[Client]) -> str:
        if not seats or own:
            return ""
        if request.policy == "many":
            return "too many sessions" if len(seats) >= MAXIMUM else ""
        if request.recovers:
            return "seat taken"
        return "already connected" if request.policy == "reject" else ""

    def _end(self, client: Client) -> None:
        self.seats[client.place].remove(client)

    def ask_again(self, pick: int) -> None:
        """An answer was lost, and the node asks again: it gets the same one."""
        client = self.pick(self.those("waiting", "live"), pick)
        outcome = self.ask(self.store.claim, client.request)
        assert isinstance(outcome, Claimed)
        assert outcome.token == client.token
        self.check()

    def enter(self, pick: int) -> None:
        client = self.pick(self.those("waiting"), pick)
        ends = self.world.do(
            self.world.ends_at_once, self.store.wait_confirmed, *client.place, client.awaits
        )
        orders = self.orders.get(client.place, ())
        assert ends == (
            not any(one.token in client.awaits and self.is_alive(one.node) for one in orders)
        )
        if ends:
            client.state = "live"
        self.check()

    def leave(self, pick: int, knows: bool, at_once: bool) -> None:
        """A client goes; its release is on its way, perhaps by a node that never got its token."""
        client = self.pick(self.those("waiting", "live", "lost"), pick)
        self._send_release(client, knows=knows)
        if at_once:
            self._deliver(client.node, -1)

    def _send_release(self, client: Client, *, knows: bool) -> None:
        client.state = "gone"
        ref = ClaimRef(
            namespace=client.request.namespace,
            user=client.request.user,
            boot=client.node.boot,
            attempt=client.request.attempt,
            token=client.token if knows else None,
        )
        client.node.outbox.append((ref, "transport close"))

    def lose(self, pick: int) -> None:
        """A client is lost, and its seat is held for it."""
        self.pick(self.those("live"), pick).state = "lost"

    def deliver(self, pick: int, which: int) -> None:
        node = self.pick([node for node in self.nodes if node.outbox], pick)
        self._deliver(node, which % len(node.outbox))

    def _deliver(self, node: Node, which: int) -> None:
        ref, reason = node.outbox.pop(which)
        self.sent.append((node, ref))
        self._release(node, ref, reason)

    def _release(self, node: Node, ref: ClaimRef, reason: str) -> None:
        outcome = self.ask(self.store.release, ref, reason)
        held = [
            client
            for client in self.seats.get((ref.namespace, ref.user), ())
            if client.node is node and client.request.attempt == ref.attempt
        ]
        if not self.is_alive(node):
            assert isinstance(outcome, Fenced), "I5"
        elif held:
            assert isinstance(outcome, Released)
            self._end(held[0])
            assert self.readers[ref.namespace].entries[-1].reason == reason
        else:
            assert isinstance(outcome, Stale), "I5"
        self.check()

    # -- orders

    def kick(self, namespace: str, user: str) -> None:
        outcome = self.ask(self.store.kick, namespace, user)
        seats = self.seats.get((namespace, user), [])
        if not seats:
            assert isinstance(outcome, Absent)
        else:
            assert isinstance(outcome, Kicked)
            assert outcome.tokens == tuple(client.token for client in seats)
            assert self.readers[namespace].entries[-1].reason == "kicked"
            for client in tuple(seats):
                self._end(client)
                if self.is_alive(client.node):
                    self.orders.setdefault(client.place, []).append(client)
        self.check()

    def obey(self, pick: int, says: bool) -> None:
        """A node does what it is told, and may be slow to confirm it."""
        running = [node for node in self.nodes if node.runs and self.is_alive(node)]
        if running:
            node = self.pick(running, pick)
            for order in self._receive(node):
                self._obey(node, order)
                if says:
                    self._confirm(node, order)
            self.check()

    def _receive(self, node: Node) -> list[Order]:
        found: list[Order] = []

        async def receive() -> None:
            found.extend(await self.store.receive_orders(node.boot))

        self.world.do(self.world.ends_at_once, receive)
        mine = [c for put_out in self.orders.values() for c in put_out if c.node is node]
        assert {(o.namespace, o.attempt, o.token) for o in found} == {
            (c.request.namespace, c.request.attempt, c.token) for c in mine
        }
        return found

    def _obey(self, node: Node, order: Order) -> None:
        client = node.clients[order.attempt]
        assert client.token == order.token
        if client.state != "lost":  # it may still ask for its session
            client.state = "gone"
        node.unsaid.append(order)

    def confirm(self, pick: int, which: int) -> None:
        node = self.pick([node for node in self.nodes if node.unsaid and node.runs], pick)
        self._confirm(node, self.pick(node.unsaid, which))
        self.check()

    def _confirm(self, node: Node, order: Order) -> None:
        node.unsaid = [one for one in node.unsaid if one.token != order.token]
        self.ask(self.store.confirm, order)
        put_out = self.orders.get((order.namespace, order.user), [])
        put_out[:] = [client for client in put_out if client.token != order.token]

    # -- reading

    def _look(self) -> None:
        namespace, names = self.here, ("bob", "nobody", "ann")
        found = self.ask(self.store.get, namespace, names)
        snapshot = self.ask(self.store.snapshot, namespace)
        assert found == snapshot
        listed: dict[str, Any] = {}
        after = None
        while True:
            page = self.ask(self.store.list_users, namespace, after, 1)
            assert page.cursor == snapshot.cursor
            listed |= page.users
            after = page.next
            if after is None:
                break
        assert list(listed.items()) == sorted(snapshot.users.items())

    # -- the end

    def quiesce(self) -> None:
        """Everything that is under way arrives; a lease and a second later all is true (I6)."""
        for node in self.nodes:
            if node.runs and self.is_alive(node):
                for order in self._receive(node):
                    self._obey(node, order)
                for order in tuple(node.unsaid):
                    self._confirm(node, order)
        for _ in range(3):
            self.advance(4.0)
            for number, node in enumerate(self.nodes):
                if node.runs:
                    self.renew(number)
        for boot in self.ask(self.store.expired):
            number = next(n for n, node in enumerate(self.nodes) if node.boot == boot)
            self.reap(number, 500)
        assert self.ask(self.store.expired) == []
        for client in self.clients:
            if client.state == "lost":
                self._send_release(client, knows=True)
        for node in self.nodes:
            while node.outbox:
                self._release(node, *node.outbox.pop())
        for _ in self.those("waiting"):
            self.enter(0)
        live = {(c.place, c.request.attempt) for c in self.clients if c.state == "live"}
        held = {(place, c.request.attempt) for place, cs in self.seats.items() for c in cs}
        assert live == held, "I6"
        self._look()

    def those(self, *states: str) -> list[Client]:
        """The clients in one of these states, whose nodes run."""
        return [c for c in self.clients if c.state in states and c.node.runs]

    def pick(self, among: list[T], number: int) -> T:
        return among[number % len(among)]

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.quiesce()
            finally:
                self.world.close()
