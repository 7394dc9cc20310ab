"""Clients that join, leave, are kicked, lost and recovered in any order, against a plain model.

With TRIO_SOCKETIO_SOAK=N, N times as many games are played as in the suite, others in each run.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

import pytest
import trio
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.socketio.joining_model import Attempt, Client, Model, has_socket
from tests.socketio.joining_script import (
    SPACES,
    WIDE,
    Ack,
    Auth,
    Close,
    Connect,
    Event,
    Leave,
    Packet,
    Plan,
    Visit,
    tame,
)
from tests.socketio.joining_world import World

SOAK = int(os.environ.get("TRIO_SOCKETIO_SOAK", "0"))
TICK_S = 1.0
COALESCED_S = 0.06
ROOMS = ("red", "green")

picks = st.integers(0, 11)
names = st.sampled_from([*SPACES, "/event", "/async", "/event", "/ask-1"])
waits = ("", "gate", "gate", "shield", "shield")
claims = ("", "", "plain", "async", "gated", "failing")
outcomes = ("pass",) * 9 + ("refuse", "refuse", "fail", "false", "kick", "kick all", "close")
# One draw each, for games are long.
VISITS = [Visit(*parts) for parts in product(waits, claims, claims, ("", "", *ROOMS), outcomes)]
visits = st.integers(0, len(VISITS) - 1).map(lambda number: VISITS[number])
positions = st.sampled_from(
    ["search", "restore", "auth", "auth", "middleware", "middleware", "seat", "seat", "observer",
     "connection"]
)  # fmt: skip
full_plans = st.dictionaries(positions, visits, min_size=1, max_size=4)
plans: st.SearchStrategy[Plan] = st.one_of(st.just({}), full_plans)
connects = st.tuples(st.just("connect"), names, plans, st.integers(0, 7))
# Slow, action, gated, ack.
CALLS = [
    (slow, action, gated, ack)
    for action in (*[""] * 8, "kick", "kick and tell", "kick all", "kick everybody", "close")
    for slow, gated, ack in product((False, True), repeat=3)
]
calls = st.integers(0, len(CALLS) - 1).map(lambda number: CALLS[number])
events = st.tuples(st.just("event"), picks, calls)
sentences = st.one_of(
    connects,
    connects,
    events,
    events,
    st.tuples(st.just("leave"), picks),
    st.tuples(st.just("auth"), st.sampled_from([True, True, True, False])),
    st.tuples(st.just("ack"), picks),
    st.tuples(st.just("close"), picks),
)
batches = st.lists(sentences, min_size=1, max_size=6)
LOGINS: tuple[list[Any], ...] = (
    [("connect", "/event", {}, 0), ("auth", True)],
    [("connect", "/", {}, 3), ("connect", "/event", {}, 3), ("auth", True)],
    [("connect", "/gone", {}, 4), ("connect", "/dyn-1", {}, 4)],
    [("connect", "/plain", {}, 5), ("connect", "/ask-1", {}, 5), ("connect", "/async", {}, 5)],
)


class Joinings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.ending = ""
        self.has_failed = False
        self.asked: dict[int, Attempt] = {}

    @initialize(
        recovery=st.booleans(),
        skip=st.booleans(),
        cleanup=st.sampled_from([False, True, True]),
        ending=st.sampled_from(["leave", "stop", "cancel"]),
    )
    def start(self, recovery: bool, skip: bool, cleanup: bool, ending: str) -> None:
        self.ending = ending
        self.model = Model(recovery=recovery, skip_middlewares=skip, cleanup=cleanup)
        self.world = World(recovery=recovery, skip_middlewares=skip, cleanup=cleanup)

    # -- what happens

    @precondition(lambda self: len(self.clients) < 3)
    @rule(protocol=st.sampled_from([3, 4, 4]), plan=plans)
    def open(self, protocol: int, plan: Plan) -> None:
        number, main = self.next(), None
        if protocol == 3:
            main = Connect("/", self.next(), tame("/", plan))
            self.world.announce(main)
        self.model.open(number, protocol, main)
        self.do(lambda: self.world.open(number, protocol, main))

    @rule(pick=picks, batch=batches, rude=st.sampled_from([*[False] * 19, True]))
    def send(self, pick: int, batch: list[Any], rude: bool) -> None:
        """In one read."""
        client = self.someone(pick)
        places = [*client.current, *[rest[0] for kind, *rest in batch if kind == "connect"]]
        packets = [self.compose(sentence, client, places, batch) for sentence in batch]
        sent = self.model.receive(client, [(packet, rude) for packet in packets if packet])
        for packet in packets:
            if isinstance(packet, Connect):
                self.world.announce(packet)
        self.model.settle()
        self.do(lambda: self.world.send(client.number, sent))

    @rule(pick=picks, batch=st.one_of(batches, st.sampled_from(LOGINS)))
    def send_one_by_one(self, pick: int, batch: list[Any]) -> None:
        client = self.someone(pick)
        for sentence in batch:
            if client.open:
                self.send(self.clients.index(client), [sentence], False)

    @rule(pick=picks, login=st.sampled_from(LOGINS), at_once=st.booleans())
    def log_in(self, pick: int, login: list[Any], at_once: bool) -> None:
        if at_once:
            self.send(pick, login, False)
        else:
            self.send_one_by_one(pick, login)

    @rule(pick=picks, name=names, plan=full_plans, pid=st.integers(0, 7))
    def come(self, pick: int, name: str, plan: Plan, pid: int) -> None:
        self.send(pick, [("connect", name, plan, pid)], False)

    @rule(
        pick=picks,
        plan=plans,
        right=st.sampled_from([True, True, True, False]),
        events=st.lists(calls, min_size=1, max_size=4),
    )
    def authenticate(self, pick: int, plan: Plan, right: bool, events: list[Any]) -> None:
        """As clients do: events come right behind the credentials."""
        client = self.someone(pick)
        number = self.clients.index(client)
        self.send(number, [("connect", "/event", plan, 0)], False)
        if client.open and "/event" in client.current:
            place = list(client.current).index("/event")
            burst = [("auth", right), *[("event", place, call) for call in events]]
            self.send(self.clients.index(client), burst, False)

    @precondition(lambda self: self.askable)
    @rule(pick=picks, events=st.lists(calls, min_size=1, max_size=4))
    def talk(self, pick: int, events: list[Any]) -> None:
        attempt = self.pick(self.askable, pick)
        place = list(attempt.client.current).index(attempt.name)
        batch = [("event", place, call) for call in events]
        self.send(self.clients.index(attempt.client), batch, False)

    @precondition(lambda self: self.clients)
    @rule(pick=picks)
    def hang_up(self, pick: int) -> None:
        client = self.pick(self.clients, pick)
        client.heard_all = False
        self.model.close(client, "transport close")
        self.model.settle()
        self.do(lambda: self.world.hang_up(client.number))

    @precondition(lambda self: self.gates)
    @rule(pick=picks, kick=st.sampled_from([False, False, True]))
    def open_gate(self, pick: int, kick: bool) -> None:
        """Let a function that waits go on; or kick the socket before it can."""
        attempt, gate = self.pick(self.gates, pick)
        seen = self.world.seen[attempt.number]
        kick = kick and gate in ("auth", "middleware", "seat") and attempt.is_undecided
        kick = kick and attempt.visit(gate).outcome == "pass" and attempt.credentials is not False
        if gate == ("undo", attempt.undo_waits):
            self.model.tasks.append(lambda: self.model.undo(attempt))
        elif attempt.waiting == gate:
            self.model.open_gate(attempt)
        else:
            self.model.tasks.append(lambda: self.model.handle(attempt, opened=True))
        if kick:
            self.model.kick(attempt)
        self.model.settle()

        def act() -> None:
            seen.gate(gate).set()
            if kick:
                assert seen.socket is not None
                seen.socket.disconnect()

        self.do(act)

    @precondition(lambda self: self.kickable)
    @rule(pick=picks, close=st.sampled_from([False, False, True]))
    def kick(self, pick: int, close: bool) -> None:
        attempt = self.pick(self.kickable, pick)
        self.model.kick(attempt, everywhere=close)
        self.model.settle()
        seen = self.world.seen[attempt.number]
        assert seen.socket is not None
        self.do(partial(seen.socket.disconnect, close))

    @rule(name=names, room=st.sampled_from([*ROOMS, *ROOMS, ""]), close=st.booleans())
    def kick_room(self, name: str, room: str, close: bool) -> None:
        space = self.world.server.namespaces.get(name)
        if space is not None:
            self.model.kick_all_of(name, room, everywhere=close)
            self.model.settle()
            target = space.in_(room) if room else space
            self.do(lambda: target.disconnect_sockets(close=close))

    @precondition(lambda self: self.clients)
    @rule(pick=picks)
    def close_session(self, pick: int) -> None:
        client = self.pick(self.clients, pick)
        session = self.session_of(client)
        if session is not None:
            self.model.close(client, "forced close")
            self.model.settle()
            self.do(session.close)

    @precondition(lambda self: self.model.removed or self.is_used("/gone"))
    @rule()
    def remove_or_make_again(self) -> None:
        if "/gone" in self.model.removed:
            self.model.removed.discard("/gone")
            self.do(lambda: self.world.furnish(self.world.server.of("/gone"), "/gone"))
        else:
            self.model.remove("/gone", "removed")
            self.model.settle()
            remove = partial(self.world.server.remove, "/gone", "removed")
            self.do(lambda: self.world._nursery.start_soon(remove))

    @rule(name=names)
    def broadcast(self, name: str) -> None:
        number = self.next()
        space = self.world.server.namespaces.get(name)
        if space is not None:
            self.model.broadcast(name, number)
            self.do(lambda: space.emit("news", number))

    @precondition(lambda self: self.askable)
    @rule(pick=picks)
    def ask(self, pick: int) -> None:
        attempt, question = self.pick(self.askable, pick), self.next()
        self.asked[question] = attempt
        self.model.ask(attempt, question)
        self.do(lambda: self.world.ask(attempt.number, question))

    @rule(seconds=st.sampled_from([3.0, 12.0, 12.0, 30.0, 130.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.check()

    # -- what there is

    @property
    def clients(self) -> list[Client]:
        return [client for client in self.model.clients if client.open]

    @property
    def gates(self) -> list[tuple[Attempt, Any]]:
        """What is waited for, by whom."""
        found: list[tuple[Attempt, Any]] = []
        for attempt in self.model.attempts:
            if attempt.waiting not in ("", "credentials"):
                found.append((attempt, attempt.waiting))
            if attempt.undo_waits is not None:
                found.append((attempt, ("undo", attempt.undo_waits)))
            if attempt.queue and attempt.queue[0].gated:
                label = attempt.queue[0].label
                found.append((attempt, "connection" if label == ("connection",) else label))
        return found

    @property
    def kickable(self) -> list[Attempt]:
        return [
            a
            for a in self.model.attempts
            if (a.is_undecided and has_socket(a)) or a.state == "joined"
        ]

    @property
    def askable(self) -> list[Attempt]:
        return [a for a in self.model.attempts if a.is_reachable]

    def is_used(self, name: str) -> bool:
        return any(attempt.name == name and attempt.found for attempt in self.model.attempts)

    def session_of(self, client: Client) -> Any:
        for attempt in client.current.values():
            socket = self.world.seen[attempt.number].socket
            if socket is not None:
                return socket.session
        return None

    def someone(self, pick: int) -> Client:
        """A client that is there; there are two at least."""
        while len(self.clients) < 2:
            self.open(4, {})
        client: Client = self.pick(self.clients, pick)
        return client

    def pick(self, things: list[Any], pick: int) -> Any:
        return things[pick % len(things)]

    def next(self) -> int:
        self.number += 1
        return self.number

    def compose(
        self, sentence: Any, client: Client, places: list[str], batch: list[Any]
    ) -> Packet | None:
        kind, *rest = sentence
        if kind == "connect":
            name, plan, pid = rest
            lost = self.choose_pid(pid, name) if client.protocol == 4 else ""
            if self.would_race(lost, name, client, len(batch) == 1):
                lost = ""
            return Connect(name, self.next(), tame(name, plan, lost), lost)
        if kind == "leave":
            return Leave(self.pick(places or ["/"], rest[0]))
        if kind == "event":
            slow, action, gated, ack = rest[1]
            name = self.pick(places or ["/"], rest[0])
            gated = slow and (gated or action in WIDE or self.may_be_held(name, client, batch))
            return Event(name, self.next(), slow, action, gated, ack)
        if kind == "auth":
            return Auth("/event", self.next(), rest[0])
        if kind == "ack":
            questions = [q for a in client.current.values() for q in a.questions]
            question = self.pick(questions, rest[0]) if questions else 0
            name = self.asked[question].name if question else "/"
            return Ack(name, question)
        return Close() if rest[0] < 3 else None

    def choose_pid(self, choice: int, name: str) -> str:
        """Of a session that is kept, of one that is not any more, or of none."""
        if not self.model.recovery or choice == 0:
            return ""
        if choice == 1:
            return "made-up-pid-20-chars"
        if choice == 2:
            pids = [a.pid for a in self.model.attempts if a.pid and a.name == name]
        else:
            pids = [saved.owner.pid for saved in self.model.saved if saved.name == name]
        return pids[-1] if pids else ""

    def may_be_held(self, name: str, client: Client, batch: list[Any]) -> bool:
        """Whether the event may be let go by a task, beside which its handler's would run."""
        attempt = client.current.get(name)
        authenticates = any(kind == "auth" for kind, *_ in batch)
        is_joined = attempt is not None and not attempt.is_undecided
        return SPACES[name].by_event and (authenticates or not is_joined)

    def would_race(self, pid: str, name: str, client: Client, alone: bool) -> bool:
        """Whether the session may be given back just as it is asked for: tasks run in any order."""
        takers = [
            a
            for a in self.model.attempts
            if a.is_undecided and a.name == name and a.restored and a.restored.owner.pid == pid
        ]
        return any(taker.client is client or not alone for taker in takers)

    # -- both, and how they compare

    def do(self, action: Callable[[], Any]) -> None:
        self.has_failed = True  # unless we get to the end
        self.world.do(self.world.act, action)
        self.check()
        self.pass_time(TICK_S)
        self.check()
        self.has_failed = False

    def pass_time(self, seconds: float) -> None:
        ends = self.model.now + seconds
        while self.model.now < ends:
            at = min(ends, self.model.next_deadline() + COALESCED_S)
            for step in (at, at + COALESCED_S) if at < ends else (at,):
                self.world.do(self.world.pass_to, step)
                self.model.expire(step)

    def check(self) -> None:
        model, world = self.model, self.world
        for client in model.clients:
            self.check_client(client)
        for attempt in model.attempts:
            self.check_attempt(attempt)
        assert world.answers == model.answers
        assert world.defects.told == []
        self.check_namespaces()
        statistics = world.server.statistics()
        kept = sum(not saved.is_out for saved in model.saved)
        assert (
            statistics.defects,
            statistics.joining,
            statistics.events_dropped,
            statistics.sessions,
            statistics.sessions_saved,
        ) == (0, model.joining(), model.dropped, len(self.clients), kept)

    def check_client(self, client: Client) -> None:
        wire = self.world.wires.get(client.number)
        if wire is None:
            return
        assert wire.closed is not client.open
        for name in client.expected.keys() | wire.received.keys():
            got, expected = wire.received.get(name, []), client.expected.get(name, [])
            expected = expected if client.heard_all else expected[: len(got)]
            assert got == expected, f"{client.number} got in {name}: {got}, not {expected}"
        for name, attempt in client.current.items():
            told = wire.told.get(name)
            if told and attempt.is_reachable and client.protocol == 4:
                seen = self.world.seen[attempt.number]
                seen.sid = told[-1]["sid"]
                attempt.pid = told[-1].get("pid", "")
                if attempt.restored is not None:
                    assert attempt.pid == attempt.restored.owner.pid
                    assert seen.sid == self.world.seen[attempt.restored.owner.number].sid
                if name in wire.offsets and attempt.pid:
                    self.world.offsets[attempt.pid] = wire.offsets[name]

    def check_attempt(self, attempt: Attempt) -> None:
        seen = self.world.seen[attempt.number]
        whose = f"of {attempt.number} in {attempt.name}"
        for what in ("entered", "told", "handled", "undone"):
            got, expected = getattr(seen, what), getattr(attempt, what)
            assert got == expected, f"{what} {whose}: {got}, not {expected}"
        kinds = [kind for kind, *_ in seen.told]
        assert kinds in ([], ["joined"], ["joined", "left"], ["refused"], ["abandoned"])
        assert len(set(seen.undone)) == len(seen.undone)
        events = [what for what, *_ in seen.handled]
        assert events[:1] in ([], ["connection"])
        assert "connection" not in events[1:]
        assert not {"disconnecting", "disconnect"} & set(events[:-2])

    def check_namespaces(self) -> None:
        spaces = self.world.server.namespaces
        for name, setting in SPACES.items():
            there = setting.kind == "static"
            if setting.kind == "removable":
                there = name not in self.model.removed
            elif setting.kind in ("pattern", "predicate"):
                there = self.model.child_exists(name)
            assert (name in spaces) is there, f"{name} is {'not ' * there}there"
            inside = {self.world.seen[a.number].socket: a for a in self.model.sockets(name)}
            if not there:
                assert not inside
                continue
            space = spaces[name]
            assert set(space.sockets.values()) == set(inside)
            for socket, attempt in inside.items():
                assert socket is not None
                own = {"user:somebody"} if attempt.user else set()  # JOIN-35
                assert socket.rooms == {socket.id, *attempt.rooms} | own
            for room in ROOMS:
                members = {one for one, a in inside.items() if room in a.rooms}
                assert set(space.rooms.members(room)) == members
            working = {a for a in self.model.attempts if a.name == name and a.found and a.at_work}
            assert {self.world.find(joining) for joining in space._joinings} == {
                self.world.seen[a.number] for a in working
            }

    # -- the end

    def teardown(self) -> None:
        if not self.ending:
            return
        try:
            if not self.has_failed:
                getattr(self, f"end_by_{self.ending}")()
        finally:
            with suppress(trio.RunFinishedError):
                self.world.do(self.world.abort)
            self.world.join()
            for wire in self.world.wires.values():
                wire.sock.close()

    def end_by_leave(self) -> None:
        """Everybody goes, and nothing is left."""
        while self.clients:
            self.hang_up(0)
        while self.gates:
            self.open_gate(0, False)
        statistics = self.world.server.statistics()
        assert not any(statistics.sockets.values())
        assert statistics.joining == statistics.sessions == 0
        assert self.world.do(self.world.count_tasks) == 0
        self.check_claims()

    def end_by_stop(self) -> None:
        """The server stops; what waits for a gate is given up."""
        self.open_shields()
        self.world.do(self.world.stop)
        self.model.stop()
        self.check_end()

    def end_by_cancel(self) -> None:
        """The server is cancelled."""
        self.open_shields()
        self.world.do(self.world.cancel)
        self.model.cancel()
        self.check_end(told=False)  # connections are aborted

    def open_shields(self) -> None:
        """A function that cannot be cancelled would keep the server from ending."""
        while shields := [
            number
            for number, (attempt, gate) in enumerate(self.gates)
            if gate == "restore" or attempt.visit(gate).wait == "shield"
        ]:
            self.open_gate(shields[0], False)

    def check_end(self, *, told: bool = True) -> None:
        self.world.join()
        for client in self.model.clients if told else ():
            if client.number in self.world.wires:
                self.world.wires[client.number].read()
            self.check_client(client)
        for attempt in self.model.attempts:
            self.check_attempt(attempt)
        assert self.world.defects.told == []
        assert self.world.server._workers.events_dropped == self.model.dropped
        self.check_claims()

    def check_claims(self) -> None:
        for attempt in self.model.attempts:
            seen = self.world.seen[attempt.number]
            made = list(range(seen.claims))
            assert seen.undone == (made[::-1] if attempt.state in ("refused", "abandoned") else [])


# The suite plays the same few games each time, and shows one that fails as it is: to make it small
# can take Hypothesis five minutes, in which the time limit would end the test without a word of it.
# A soak plays others in each run, and has the time.
TestJoinings = pytest.mark.time_limit(600 + 60 * SOAK if SOAK else 60)(Joinings.TestCase)
TestJoinings.settings = settings(
    max_examples=40 * (SOAK or 1),
    stateful_step_count=40,
    deadline=None,
    derandomize=not SOAK,
    phases=tuple(Phase) if SOAK else (Phase.explicit, Phase.generate),
)
