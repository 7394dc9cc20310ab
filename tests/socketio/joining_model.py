"""What must become of clients that join and leave: a plain model, without tasks and without I/O.

It does one thing after the other. What the server puts off until a batch has been read stands in
`after_batch`, what a task does in `tasks`; `settle` does both.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from tests.socketio.joining_script import (
    AUTH_S,
    AWAY_S,
    CONNECT_S,
    HOOK_S,
    PASS,
    PUT_OUT,
    SPACES,
    UNDO_S,
    Ack,
    Auth,
    Close,
    Connect,
    Event,
    Leave,
    Packet,
    Plan,
    Visit,
)

from trio_socketio.socketio.socket_recovery import RECOVERABLE

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class Saved:
    """What is kept of a client that was lost."""

    name: str
    owner: "Attempt"
    rooms: set[str]
    ends_at: float
    is_out: bool = False  # handed out to a client that is on its way in
    missed: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """A call of a handler."""

    label: tuple[Any, ...]
    slow: bool = False
    gated: bool = False
    action: str = ""
    ack: int | None = None
    begun: bool = False


@dataclass(eq=False)
class Given:
    """A packet of a batch; with rude it is sent even if it is an offence."""

    packet: Packet
    rude: bool
    is_sent: bool = True


@dataclass(eq=False)
class Client:
    """An Engine.IO session."""

    number: int
    protocol: int
    connect_by: float
    open: bool = True
    told: bool = False  # its peer knows that it has ended
    reason: str = ""
    heard_all: bool = True  # nothing that was sent to it can have been lost
    current: dict[str, "Attempt"] = field(default_factory=dict)
    departing: set[str] = field(default_factory=set)
    put_off: list[Given] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    expected: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)


@dataclass(eq=False)
class Attempt:
    """One CONNECT, and all that comes of it."""

    number: int
    client: Client
    name: str
    plan: Plan
    state: str = "asking"  # joined, left, refused, abandoned
    found: bool = False
    by_event: bool = False  # its CONNECT was answered before it had joined
    credentials: bool | None = None
    todo: list[str] = field(default_factory=list)
    has_task: bool = False
    at_work: bool = True
    running: bool = False
    waiting: str = ""
    opened: bool = False  # its gate is open; it goes on when its task runs
    deadline: float = inf
    overdue: bool = False
    asked_for: "Attempt | None" = None  # whose session it wants to go on with
    restored: Saved | None = None
    user: bool = False
    rooms: set[str] = field(default_factory=set)
    held: list[Event] = field(default_factory=list)
    queue: deque[Job] = field(default_factory=deque)
    claims: list[str] = field(default_factory=list)
    to_undo: list[int] | None = None
    undo_waits: int | None = None
    undo_by: float = inf
    questions: list[int] = field(default_factory=list)
    pid: str = ""  # as the client was told
    # What the server must have done, in order.
    entered: list[str] = field(default_factory=list)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    handled: list[tuple[Any, ...]] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)

    def visit(self, position: str) -> Visit:
        return self.plan.get(position, PASS)

    def is_slow(self, position: str) -> bool:
        return position in ("search", "restore") or position in SPACES[self.name].slow

    @property
    def is_undecided(self) -> bool:
        return self.state == "asking"

    @property
    def is_reachable(self) -> bool:
        return self.state == "joined" or (self.is_undecided and self.by_event)


class Model:
    def __init__(self, *, recovery: bool, skip_middlewares: bool, cleanup: bool) -> None:
        self.recovery = recovery
        self.skip_middlewares = skip_middlewares
        self.cleanup = cleanup
        self.now = 0.0
        self.clients: list[Client] = []
        self.attempts: list[Attempt] = []
        self.saved: list[Saved] = []
        self.removed: set[str] = set()
        self.dropped = 0
        self.is_stopped = False  # no task runs any more
        self.answers: dict[int, str] = {}  # of questions
        self.after_batch: deque[Callable[[], None]] = deque()
        self.tasks: deque[Callable[[], None]] = deque()

    def settle(self) -> None:
        while self.after_batch or self.tasks:
            (self.after_batch or self.tasks).popleft()()

    def emit(self, attempt: Attempt, *token: Any) -> None:
        if attempt.client.open:
            attempt.client.expected.setdefault(attempt.name, []).append(token)

    # -- what clients send

    def open(self, number: int, protocol: int, main: Connect | None) -> Client:
        client = Client(number, protocol, self.now + CONNECT_S)
        self.clients.append(client)
        if main is not None:  # clients of that age do not ask
            self._connect(client, main)
        self.settle()
        return client

    def receive(self, client: Client, packets: list[tuple[Packet, bool]]) -> list[Packet]:
        """One read. Gives what is to be sent: packets that are offences only if that is wanted."""
        given = [Given(packet, rude) for packet, rude in packets]
        for one in given:
            if client.open:
                self._receive(client, one)
            else:
                one.is_sent = one.rude
        while self.after_batch:
            self.after_batch.popleft()()
        return [one.packet for one in given if one.is_sent]

    def _receive(self, client: Client, given: "Given") -> None:
        packet, attempt = given.packet, client.current.get(given.packet.name)
        if isinstance(packet, Close):
            client.heard_all = False
            self.close(client, "transport close")
        elif isinstance(packet, Connect) and attempt is not None and attempt.is_undecided:
            self._abandon(attempt)
            self._connect(client, packet)
        elif isinstance(packet, Connect) and attempt is not None:
            self.leave(attempt, "client namespace disconnect")
            self._receive(client, given)
        elif client.departing and not self._is_for(attempt, packet):
            # A socket leaves when the batch has been read; whatever needs a place waits for that.
            if not client.put_off:
                self.after_batch.append(lambda: self._receive_put_off(client))
            client.put_off.append(given)
        elif self._is_offence(client, packet):
            given.is_sent = given.rude
            if given.rude:
                client.heard_all = False
                self.close(client, "parse error")
        elif isinstance(packet, Connect):
            self._connect(client, packet)
        elif attempt is None:
            pass  # it crossed a DISCONNECT
        elif isinstance(packet, Leave):
            if attempt.is_undecided:
                self._abandon(attempt)
            else:
                self.leave(attempt, "client namespace disconnect")
        elif isinstance(packet, Ack):
            if packet.question in attempt.questions:
                attempt.questions.remove(packet.question)
                self.answers[packet.question] = "answered"
        elif attempt.is_reachable:
            self._receive_event(attempt, packet)
        # Otherwise it was meant for the socket before.

    def _receive_put_off(self, client: Client) -> None:
        if client.departing:  # still, or others
            self.after_batch.append(lambda: self._receive_put_off(client))
            return
        packets, client.put_off = client.put_off, []
        for given in packets:
            if client.open:
                self._receive(client, given)

    def _is_for(self, attempt: Attempt | None, packet: Packet) -> bool:
        """Whether somebody is there who takes it."""
        return attempt is not None and (attempt.is_reachable or isinstance(packet, Leave))

    def _is_offence(self, client: Client, packet: Packet) -> bool:
        attempt = client.current.get(packet.name)
        if isinstance(packet, Connect) or packet.name in client.left:
            return False
        if attempt is None:
            return True
        return not isinstance(packet, Leave) and not attempt.is_reachable

    def _receive_event(self, attempt: Attempt, packet: Event | Auth) -> None:
        if attempt.state == "joined":
            if isinstance(packet, Event):  # else nobody handles it
                self._dispatch(attempt, event_job(packet))
        elif attempt.credentials is not None:
            attempt.held.append(packet)  # type: ignore[arg-type]  # handled alike
        elif isinstance(packet, Auth):
            attempt.credentials = packet.right
            self.tasks.append(lambda: self._judge(attempt))
        else:
            self.dropped += 1
            self.emit(attempt, "event", "logic/error", (5, "not authenticated"))
            if packet.ack:
                self.emit(attempt, "ack", packet.number)

    def close(self, client: Client, reason: str) -> None:
        """The session is over, and takes nothing more; its peer is told after the batch."""
        if client.open:
            client.open = False
            client.reason = reason
            self.after_batch.append(lambda: self._closed(client))

    def _closed(self, client: Client) -> None:
        client.told = True
        for attempt in list(client.current.values()):
            if attempt.is_undecided:
                self._abandon(attempt)
        for attempt in list(client.current.values()):
            self.leave(attempt, client.reason)

    # -- on the way in

    def _connect(self, client: Client, packet: Connect) -> None:
        attempt = Attempt(packet.number, client, packet.name, packet.plan)
        self.attempts.append(attempt)
        client.current[packet.name] = attempt
        attempt.todo = ["auth", "middleware", "seat"]
        if self.recovery and client.protocol == 4 and packet.pid:
            attempt.asked_for = next((a for a in self.attempts if a.pid == packet.pid), None)
            attempt.todo.insert(0, "restore")
        kind = SPACES[packet.name].kind
        if kind == "pattern" or self._exists(packet.name):
            self._find(attempt)
        else:
            attempt.todo.insert(0, "search")
        self._advance(attempt)

    def _find(self, attempt: Attempt) -> None:
        """Its namespace is there, or comes into being."""
        is_child = SPACES[attempt.name].kind in ("pattern", "predicate")
        if is_child and not self.child_exists(attempt.name):
            self._forget(attempt.name)
        attempt.found = True

    def _forget(self, name: str) -> None:
        """A namespace has ended, and who was in it is not in the next one of that name."""
        for attempt in self.attempts:
            attempt.found = attempt.found and attempt.name != name

    def _exists(self, name: str) -> bool:
        kind = SPACES[name].kind
        if kind == "removable":
            return name not in self.removed
        return kind == "static" or (kind != "none" and self.child_exists(name))

    def child_exists(self, name: str) -> bool:
        here = [a for a in self.attempts if a.name == name and a.found]
        return bool(here) and (not self.cleanup or not all(map(is_over, here)))

    def _advance(self, attempt: Attempt) -> None:
        """As far as it goes."""
        attempt.running = True
        while attempt.is_undecided and attempt.todo:
            position = attempt.todo[0]
            if attempt.is_slow(position) and not attempt.has_task:
                attempt.has_task = True
                self.tasks.append(lambda: self._advance(attempt))
                attempt.running = False
                return
            if position == "middleware" and attempt.restored and self.skip_middlewares:
                attempt.todo.pop(0)
                continue
            self._enter(attempt, position)
            if attempt.waiting:
                attempt.running = False
                return
            self._pass(attempt, position)
        if attempt.is_undecided:
            self._join(attempt)
        attempt.running = False
        if attempt.state in ("refused", "abandoned"):
            self._conclude(attempt)
        else:
            attempt.at_work = False

    def _enter(self, attempt: Attempt, position: str) -> None:
        visit, space = attempt.visit(position), SPACES[attempt.name]
        attempt.entered.append(position)
        if position in ("auth", "seat"):
            attempt.claims += [visit.claim] if visit.claim else []
        if position in ("auth", "middleware", "seat") and visit.room:
            attempt.rooms.add(visit.room)
        if not attempt.is_slow(position):
            return
        short = position in ("search", "restore")
        attempt.deadline = self.now + (HOOK_S if short else space.timeout_s)
        if position == "auth" and space.by_event:
            attempt.deadline = self.now + AUTH_S
            attempt.by_event = True
            attempt.client.connect_by = inf
            self.emit(attempt, "connect")
            attempt.waiting = "credentials"
        elif visit.wait:
            attempt.waiting = position

    def _judge(self, attempt: Attempt) -> None:
        """Its credentials have come, and the step goes on."""
        wait = attempt.visit("auth").wait or ("" if attempt.credentials else "gate")
        attempt.waiting = ""
        if wait == "shield" or (wait and attempt.is_undecided):
            attempt.waiting = "auth"
        elif wait:
            self._conclude(attempt)  # cancelled where it would wait
        else:
            self.resume(attempt)

    def open_gate(self, attempt: Attempt) -> None:
        attempt.opened = True
        self.tasks.append(lambda: self.resume(attempt))

    def resume(self, attempt: Attempt) -> None:
        """The wait is over."""
        position = attempt.waiting or attempt.todo[0]
        attempt.waiting, attempt.opened, attempt.running = "", False, True
        self._pass(attempt, position)
        self._advance(attempt)

    def _pass(self, attempt: Attempt, position: str, *, failed: bool = False) -> None:
        """What a function does in the end."""
        attempt.todo.remove(position)
        visit, client = attempt.visit(position), attempt.client
        outcome = "fail" if failed else visit.outcome
        if position in ("auth", "seat") and visit.late:
            attempt.claims.append(visit.late)
        if position == "auth":
            attempt.user = True
            if attempt.credentials is False:
                outcome = "refuse"
        if position == "restore" and outcome == "pass":
            self._restore(attempt)
        if position in ("auth", "middleware", "seat"):
            if outcome in ("kick", "kick all") and attempt.is_undecided:
                self.kick(attempt, everywhere=outcome == "kick all")
            elif outcome == "close":
                self.close(client, "forced close")
        has_raised = outcome == "fail" or (outcome == "refuse" and position != "search")
        if attempt.overdue and not has_raised:
            self._refuse_late(attempt, position)
        elif position == "search":
            if outcome == "pass" and SPACES[attempt.name].kind == "predicate":
                if attempt.is_undecided:
                    self._find(attempt)
            else:
                self.refuse(attempt, "Invalid namespace")
        elif position == "restore":
            return
        elif outcome == "refuse":
            self.refuse(attempt, f"no {attempt.number}")
        elif outcome in ("fail", "false"):
            self.refuse(attempt, "Internal server error", 1)
        elif attempt.is_undecided and not client.open:
            self._abandon(attempt)

    def _restore(self, attempt: Attempt) -> None:
        for saved in self.saved:
            is_meant = saved.owner is attempt.asked_for and saved.name == attempt.name
            if is_meant and saved.ends_at > self.now and not saved.is_out:
                saved.is_out = True
                attempt.restored = saved
                attempt.rooms |= saved.rooms
                attempt.claims.append("restore")

    def _refuse_late(self, attempt: Attempt, position: str) -> None:
        if position == "auth" and attempt.by_event:
            self.refuse(attempt, "authentication timed out", 4)
        else:
            self.refuse(attempt, "Timed out", 1)

    def _join(self, attempt: Attempt) -> None:
        client = attempt.client
        if not attempt.by_event:
            self.emit(attempt, "connect")
        client.connect_by = inf
        attempt.state = "joined"
        attempt.deadline = inf
        if attempt.restored is not None:
            self.saved.remove(attempt.restored)
            for number in attempt.restored.missed:
                self.emit(attempt, "event", "news", number)
        client.left.discard(attempt.name)
        attempt.told.append(("joined", attempt.restored is not None))
        if attempt.visit("observer").outcome == "kick":
            self.kick(attempt)
        visit = attempt.visit("connection")
        slow = attempt.is_slow("connection")
        self._dispatch(
            attempt, Job(("connection",), slow, slow and bool(visit.wait), visit.outcome)
        )
        for event in attempt.held:
            if attempt.state == "joined":
                self._receive_event(attempt, event)
            else:
                self.dropped += 1

    # -- decided against it

    def refuse(self, attempt: Attempt, message: str, code: int = 3) -> None:
        if not attempt.is_undecided:
            return
        client = attempt.client
        attempt.state = "refused"
        if attempt.by_event:
            self.emit(attempt, "event", "logic/error", (code, message))
            self.emit(attempt, "disconnect")
            client.left.add(attempt.name)
            if not any(a.user for a in client.current.values() if a.state == "joined"):
                self.kick(attempt, everywhere=True)
        else:
            self.emit(attempt, "error", message)
        attempt.told.append(("refused", message))
        self._decided(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        attempt.state = "abandoned"
        attempt.told.append(("abandoned",))
        self._decided(attempt)

    def _decided(self, attempt: Attempt) -> None:
        del attempt.client.current[attempt.name]
        self.dropped += len(attempt.held)
        attempt.held.clear()
        self._fail_questions(attempt)
        if attempt.waiting == "credentials":
            if attempt.credentials is not None:
                return  # they have come already, and the step goes on
        elif not attempt.waiting or attempt.opened:
            return  # who is at work, or about to be, finds that it is decided
        elif attempt.waiting == "restore" or attempt.visit(attempt.waiting).wait == "shield":
            return
        attempt.waiting = ""
        self.tasks.append(lambda: self._conclude(attempt))

    def _conclude(self, attempt: Attempt) -> None:
        """Nothing of it is at work any more: undo what was done."""
        attempt.deadline = inf
        attempt.to_undo = list(range(len(attempt.claims)))
        if not attempt.has_task and {"async", "gated"} & set(attempt.claims):
            attempt.has_task = True
            self.tasks.append(lambda: self.undo(attempt))
        else:
            self.undo(attempt)

    def undo(self, attempt: Attempt) -> None:
        """From where it waits, if it does, to the end or to where it waits next."""
        attempt.undo_waits = None
        attempt.undo_by = inf
        while attempt.to_undo:
            number = attempt.to_undo.pop()
            kind = attempt.claims[number]
            if kind == "restore":
                assert attempt.restored is not None
                attempt.restored.is_out = False
                if attempt.state == "refused":  # its client cannot go on with it any more
                    self.saved.remove(attempt.restored)
                continue
            number -= "restore" in attempt.claims  # it came first, and is not a step's
            attempt.undone.append(number)
            if kind == "gated":
                attempt.undo_waits = number
                attempt.undo_by = self.now + UNDO_S
                return
        attempt.at_work = False

    # -- inside

    def _dispatch(self, attempt: Attempt, job: Job) -> None:
        if self.is_stopped and job.slow:
            self.dropped += 1
        elif job.slow or attempt.queue:
            attempt.queue.append(job)
            if len(attempt.queue) == 1:
                self.tasks.append(lambda: self.handle(attempt))
        else:
            self._begin(attempt, job)
            self._end(attempt, job)

    def handle(self, attempt: Attempt, *, opened: bool = False) -> None:
        """Go through what is queued."""
        while attempt.queue:
            job = attempt.queue[0]
            if not job.begun:
                self._begin(attempt, job)
                if job.gated:
                    return
            elif job.gated and not opened:
                return
            self._end(attempt, job)
            attempt.queue.popleft()
            opened = False

    def _begin(self, attempt: Attempt, job: Job) -> None:
        job.begun = True
        attempt.handled.append(job.label)

    def _end(self, attempt: Attempt, job: Job) -> None:
        if job.action in ("kick", "kick and tell"):
            self.kick(attempt)
            if job.action == "kick and tell" and attempt.found:
                self.broadcast(attempt.name, job.label[1])
        elif job.action == "kick all":
            if attempt.state == "joined":
                self.kick(attempt, everywhere=True)
        elif job.action == "kick everybody" and attempt.found:
            self.kick_all_of(attempt.name)
        elif job.action == "close":
            self.close(attempt.client, "forced close")
        if job.ack is not None and attempt.state == "joined":
            self.emit(attempt, "ack", job.ack)

    def leave(self, attempt: Attempt, reason: str) -> None:
        client = attempt.client
        attempt.state = "left"
        del client.current[attempt.name]
        recoverable = self.recovery and client.protocol == 4 and reason in RECOVERABLE
        attempt.told.append(("left", reason, recoverable))
        if recoverable:
            owner = attempt.restored.owner if attempt.restored else attempt
            ends_at = self.now + AWAY_S
            self.saved.append(Saved(attempt.name, owner, set(attempt.rooms), ends_at))

        def leave_namespace() -> None:
            client.departing.discard(attempt.name)
            client.left.add(attempt.name)
            self._fail_questions(attempt)
            slow = attempt.is_slow("disconnect")
            for event in ("disconnecting", "disconnect"):
                self._dispatch(attempt, Job((event, reason), slow and event == "disconnect"))

        if client.told:
            leave_namespace()
        else:
            client.departing.add(attempt.name)
            self.after_batch.append(leave_namespace)

    def _fail_questions(self, attempt: Attempt) -> None:
        for question in attempt.questions:
            self.answers[question] = "closed"
        attempt.questions.clear()

    # -- what the program does

    def kick(self, attempt: Attempt, *, everywhere: bool = False) -> None:
        if everywhere:
            here = list(attempt.client.current.values())
            for one in here:
                self.refuse(one, PUT_OUT)
            for one in here:
                if one.state == "joined":
                    self.kick(one)
            self.close(attempt.client, "forced server close")
        elif attempt.is_undecided:
            self.refuse(attempt, PUT_OUT)
        elif attempt.state == "joined":
            self.emit(attempt, "disconnect")
            self.leave(attempt, "server namespace disconnect")

    def kick_all_of(self, name: str, room: str = "", *, everywhere: bool = False) -> None:
        for state in ("asking", "joined"):
            for attempt in list(self.attempts):
                is_here = attempt.name == name and attempt.found and attempt.state == state
                if is_here and has_socket(attempt) and (not room or room in attempt.rooms):
                    self.kick(attempt, everywhere=everywhere)

    def remove(self, name: str, reason: str) -> None:
        self.removed.add(name)
        self.saved = [saved for saved in self.saved if saved.name != name or saved.is_out]
        for attempt in list(self.attempts):
            if attempt.name == name and attempt.found and attempt.is_undecided:
                self.refuse(attempt, reason)
        for attempt in list(self.attempts):
            if attempt.name == name and attempt.state == "joined":
                self.emit(attempt, "disconnect")
                self.leave(attempt, reason)
        self._forget(name)

    def broadcast(self, name: str, number: int) -> None:
        for attempt in self.attempts:
            if attempt.name == name and attempt.state == "joined":
                self.emit(attempt, "event", "news", number)
        for saved in self.saved:
            if saved.name == name:
                saved.missed.append(number)

    def ask(self, attempt: Attempt, question: int) -> None:
        attempt.questions.append(question)
        self.emit(attempt, "event", "question", question)

    # -- time

    def next_deadline(self) -> float:
        times = [min(a.deadline, a.undo_by) for a in self.attempts]
        times += [c.connect_by for c in self.clients if c.open]
        times += [saved.ends_at for saved in self.saved if not saved.is_out]
        return min(times, default=inf)

    def expire(self, now: float) -> None:
        """What has run out until now, one after the other."""
        self.now = now
        while (at := self.next_deadline()) <= now:
            self._expire(at)
            self.settle()

    def _expire(self, at: float) -> None:
        self.saved = [saved for saved in self.saved if saved.ends_at > at or saved.is_out]
        for client in self.clients:
            if client.open and client.connect_by <= at:
                client.connect_by = inf
                self.close(client, "forced server close")
        for attempt in self.attempts:
            if attempt.undo_by <= at:
                self.undo(attempt)
            elif attempt.deadline <= at:
                attempt.deadline = inf
                self._time_out(attempt)

    def _time_out(self, attempt: Attempt) -> None:
        position = attempt.waiting
        if position == "restore":
            attempt.waiting, attempt.running = "", True
            self._pass(attempt, "restore", failed=True)
            self._advance(attempt)
        elif not attempt.is_undecided:
            return  # only its function goes on
        elif position != "credentials" and attempt.visit(position).wait == "shield":
            attempt.overdue = True
        else:
            self._refuse_late(attempt, "auth" if position == "credentials" else position)

    # -- the end

    def stop(self) -> None:
        """Say goodbye to everybody, give handlers their time, give up those that need more."""
        self._close_all()
        for attempt in self.attempts:
            while attempt.undo_waits is not None:
                self.undo(attempt)
            self.dropped += max(len(attempt.queue) - 1, 0)

    def cancel(self) -> None:
        """End tasks first, then sessions."""
        for attempt in self.attempts:
            if attempt.is_undecided:
                self._abandon(attempt)
        self.settle()
        for attempt in self.attempts:
            while attempt.undo_waits is not None:
                self.undo(attempt)
            self.dropped += max(len(attempt.queue) - 1, 0)
            attempt.queue.clear()
        self.is_stopped = True
        self._close_all()

    def _close_all(self) -> None:
        for client in self.clients:
            self.close(client, "server shutting down")
        self.settle()

    # -- what must be so now

    def joining(self) -> int:
        return sum(a.at_work and a.found for a in self.attempts)

    def sockets(self, name: str) -> list[Attempt]:
        return [a for a in self.attempts if a.name == name and a.state == "joined"]


def is_over(attempt: Attempt) -> bool:
    return not attempt.at_work and attempt.state != "joined"


def has_socket(attempt: Attempt) -> bool:
    return "search" not in attempt.todo and "restore" not in attempt.todo


def event_job(event: Event) -> Job:
    return Job(
        ("event", event.number),
        event.slow,
        event.slow and event.gated,
        event.action,
        event.number if event.ack else None,
    )
