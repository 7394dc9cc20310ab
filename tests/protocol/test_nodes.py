"""Several nodes on a bus that delays, loses and outlives them: they agree once it is calm."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.properties import examples

from trio_socketio.codec.node_messages import Beat, Bye, Claim, NodeFacts
from trio_socketio.protocol.node_name import Count, SendBeat, SendBye, SendClaim, State
from trio_socketio.protocol.node_roster import Gone
from trio_socketio.protocol.nodes import INTERVAL_S, SILENCE_S, NodesMachine, Output

STEP_S = 0.25
CALM_S = 4 * SILENCE_S


@dataclass(eq=False)
class Process:
    """A node with its connection to Redis."""

    name: str
    pid: int
    started_at_s: float
    machine: NodesMachine
    is_paused: bool = False
    is_connected: bool = True
    inbox: deque[Claim | Beat | Bye | tuple[str, int]] = field(default_factory=deque)
    gone: list[Gone] = field(default_factory=list)

    @property
    def boot(self) -> str:
        return self.machine.own.boot

    @property
    def state(self) -> State:
        return self.machine.own.state

    @property
    def seen(self) -> dict[str, str]:
        """The boots of the nodes that it knows, by name."""
        return {name: peer.node.boot for name, peer in self.machine.roster.peers.items()}


class World:
    """Processes, the bus between them, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.processes: list[Process] = []
        self.ghosts: list[str] = []  # names whose dead subscribers Redis still counts
        self._pids = count(1)

    def start(self, name: str) -> Process:
        pid = next(self._pids)
        boots: Iterator[str] = (f"p{pid}-{number}" for number in count(1))
        machine = NodesMachine(name, self.now, boots)
        process = Process(name, pid, self.now, machine)
        self.processes.append(process)
        self.do(process, machine.begin(self.now))
        return process

    def end(self, process: Process, *, bye: bool = False, ghost: bool = False) -> None:
        if bye:
            self.do(process, process.machine.own.end())
        self.processes.remove(process)
        if ghost:
            self.ghosts.append(process.name)

    def do(self, process: Process, outputs: Iterable[Output]) -> None:
        for one in outputs:
            facts = NodeFacts(
                name=process.name,
                boot=process.boot,
                host="h",
                pid=process.pid,
                version="1",
                started_at_s=process.started_at_s,
                state="serving",
                connections=0,
            )
            if isinstance(one, SendBeat):
                self.publish(process, one.to, Beat(node=facts, number=one.number, asks=one.asks))
            elif isinstance(one, SendClaim):
                self.publish(process, process.name, Claim(node=facts))
            elif isinstance(one, SendBye):
                self.publish(process, "", Bye(name=process.name, boot=process.boot))
            elif isinstance(one, Count) and process.is_connected:
                listening = [other for other in self.processes if other.is_connected]
                names = [*self.ghosts, *(other.name for other in listening)]
                process.inbox.append((one.boot, names.count(process.name)))
            elif isinstance(one, Gone):
                process.gone.append(one)

    def publish(self, sender: Process, to: str, message: Claim | Beat | Bye) -> None:
        if sender.is_connected:
            for one in self.processes:
                if one.is_connected and to in ("", one.name):
                    one.inbox.append(message)

    def read(self, process: Process) -> None:
        while process.inbox:
            item = process.inbox.popleft()
            if isinstance(item, tuple):
                self.do(process, process.machine.own.counted(*item, self.now))
            else:
                self.do(process, process.machine.receive(item, self.now))

    def tick(self, *, reads: bool = True, reads_first: bool = True) -> None:
        self.now += STEP_S
        for process in self.processes:
            if process.is_paused:
                continue
            if reads and reads_first:
                self.read(process)
            if self.now >= process.machine.next_deadline():
                self.do(process, process.machine.advance(self.now))
            if reads and not reads_first:
                self.read(process)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.tick()

    def cut(self, process: Process) -> None:
        process.is_connected = False
        process.inbox.clear()

    def mend(self, process: Process) -> None:
        if not process.is_connected:
            process.is_connected = True
            self.do(process, process.machine.own.reconnected(self.now))

    def calm(self) -> None:
        """Let the bus and the processes work for a while."""
        for process in self.processes:
            process.is_paused = False
            self.mend(process)
        self.run(CALM_S)

    def check_agreement(self) -> None:
        """Each name has one member, and all members know one another."""
        members = {one.name: one for one in self.processes if one.state is State.MEMBER}
        assert members.keys() == {one.name for one in self.processes}
        for process in self.processes:
            others = {name: one.boot for name, one in members.items() if name != process.name}
            assert process.seen == others
            if process is not members[process.name]:
                assert process.state is State.REFUSED


class Nodes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def pick(self, number: int) -> Process:
        return self.world.processes[number % len(self.world.processes)]

    @precondition(lambda self: len(self.world.processes) < 5)
    @rule(name=st.sampled_from("ab"))
    def start(self, name: str) -> None:
        self.world.start(name)

    @precondition(lambda self: self.world.processes)
    @rule(number=st.integers(0, 4), bye=st.booleans(), ghost=st.booleans())
    def end(self, number: int, bye: bool, ghost: bool) -> None:
        self.world.end(self.pick(number), bye=bye, ghost=ghost)

    @precondition(lambda self: self.world.ghosts)
    @rule()
    def reap(self) -> None:
        self.world.ghosts.clear()

    @precondition(lambda self: self.world.processes)
    @rule(number=st.integers(0, 4))
    def pause(self, number: int) -> None:
        process = self.pick(number)
        process.is_paused = not process.is_paused

    @precondition(lambda self: self.world.processes)
    @rule(number=st.integers(0, 4))
    def cut(self, number: int) -> None:
        process = self.pick(number)
        if process.is_connected:
            self.world.cut(process)
        else:
            self.world.mend(process)

    @rule(ticks=st.integers(1, 20), reads=st.booleans(), reads_first=st.booleans())
    def tick(self, ticks: int, reads: bool, reads_first: bool) -> None:
        for _ in range(ticks):
            self.world.tick(reads=reads, reads_first=reads_first)

    @rule()
    def calm(self) -> None:
        self.world.calm()
        self.world.check_agreement()

    @invariant()
    def nobody_is_known_that_was_not_heard(self) -> None:
        for process in self.world.processes:
            assert process.name not in process.seen
            for peer in process.machine.roster.peers.values():
                silent_s = process.machine._awake_at - peer.heard_at - peer.overlooked_s
                assert silent_s < SILENCE_S

    def teardown(self) -> None:
        self.calm()


TestNodes = Nodes.TestCase
TestNodes.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)


@pytest.fixture
def world() -> World:
    world = World()
    world.start("a")
    world.start("b")
    world.run(1.0)
    world.check_agreement()
    return world


def test_a_new_node_knows_the_others_before_they_beat_again(world: World) -> None:
    world.run(0.5)
    world.start("c")
    world.run(0.5)
    world.check_agreement()


@pytest.mark.req("NODE-12")
def test_a_second_node_of_a_name_is_refused_and_told_who_has_it(world: World) -> None:
    a = world.processes[0]
    boot = a.boot
    second = world.start("a")
    world.run(0.75)
    assert second.state is State.REFUSED
    assert (a.state, a.boot) == (State.MEMBER, boot)
    world.run(CALM_S)
    assert (a.state, a.boot) == (State.MEMBER, boot)
    world.check_agreement()


@pytest.mark.req("NODE-11")
@pytest.mark.req("NODE-16")
def test_a_killed_node_is_replaced_as_soon_as_it_starts_again(world: World) -> None:
    a, b = world.processes
    world.end(a)
    again = world.start("a")
    world.run(0.75)
    assert again.state is State.MEMBER
    assert b.seen == {"a": again.boot}
    assert [one.why for one in b.gone] == ["was replaced"]


@pytest.mark.req("NODE-13")
def test_a_vanished_node_is_replaced_when_it_is_silent(world: World) -> None:
    world.end(world.processes[0], ghost=True)
    again = world.start("a")
    world.run(SILENCE_S - STEP_S)
    assert again.state is State.CLAIMING
    world.run(1.0)
    assert again.machine.is_member


@pytest.mark.req("NODE-20")
def test_a_killed_node_is_gone_when_it_is_silent(world: World) -> None:
    a, b = world.processes
    world.end(a)
    world.run(SILENCE_S - INTERVAL_S - STEP_S)
    assert "a" in b.seen
    world.run(INTERVAL_S + 2 * STEP_S)
    assert "a" not in b.seen


@pytest.mark.req("NODE-21")
def test_a_node_that_says_goodbye_is_gone_at_once(world: World) -> None:
    a, b = world.processes
    world.end(a, bye=True)
    world.tick()
    assert b.seen == {}


@pytest.mark.req("NODE-22")
def test_a_paused_node_gives_up_nobody_and_is_given_up(world: World) -> None:
    a, b = world.processes
    a.is_paused = True
    world.run(2 * SILENCE_S)
    assert b.seen == {}
    a.is_paused = False
    world.tick(reads_first=False)
    assert a.gone == []
    world.run(1.0)
    world.check_agreement()
    assert a.gone == []


@pytest.mark.req("NODE-18")
def test_a_name_that_changed_hands_while_its_node_was_away(world: World) -> None:
    b = world.processes[1]
    world.cut(b)
    taker = world.start("b")
    world.run(0.5)
    assert taker.machine.is_member
    world.mend(b)
    world.run(1.0)
    assert b.state is State.REFUSED
    assert taker.machine.is_member
    world.check_agreement()


@pytest.mark.req("NODE-19")
def test_all_are_back_at_once_when_the_bus_has_stood_still(world: World) -> None:
    for _ in range(40):
        world.tick(reads=False)
    assert {one.state for one in world.processes} == {State.CLAIMING}
    world.run(0.75)
    world.check_agreement()


@pytest.mark.req("NODE-15")
def test_a_node_whose_name_was_taken_meanwhile_is_refused(world: World) -> None:
    a = world.processes[0]
    world.cut(a)
    world.run(SILENCE_S + 1.0)
    taker = world.start("a")
    world.run(1.0)
    assert taker.machine.is_member
    world.mend(a)
    world.run(1.5)
    assert a.state is State.REFUSED
    world.end(taker, bye=True)
    world.run(1.0)
    assert a.machine.is_member
    world.check_agreement()


@pytest.mark.req("NODE-17")
def test_all_are_back_within_a_second_of_redis(world: World) -> None:
    for process in world.processes:
        world.cut(process)
    world.run(10.0)
    assert world.processes[1].seen == {}
    for process in world.processes:
        world.mend(process)
    world.run(1.25)
    world.check_agreement()
