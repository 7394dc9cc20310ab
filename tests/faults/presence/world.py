"""A cluster with its Redis, users and readers, and the wait until it has recovered."""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from tests.faults.presence import checker
from tests.faults.presence.crowd import Crowd, open_crowd
from tests.faults.presence.history import History, boottime
from tests.faults.presence.nodes import Node
from tests.faults.presence.reader import Reader, follow
from tests.faults.presence.sessions import check_end
from tests.faults.relay import Relay, open_relay
from tests.redis_server import RedisServer, running_redis
from trio_socketio import open_redis
from trio_socketio.im.presence import StoreUnavailable
from trio_socketio.im.presence.redis_store import RedisStore

NAMES: Final = ("a", "b", "c")
LOGS_IN_S: Final = 60.0
"""The time for all users to log in; the machine may be busy."""
LOOKS_S: Final = 1.0
"""How often the whole state is compared with the log."""


@dataclass(frozen=True)
class Size:
    """How much is done.

    Args:
        users: how many.
        lease_s: of the nodes.
        share: of the times and counts of the whole form that the scenarios take.
    """

    users: int
    lease_s: float
    share: float

    def take(self, count: float, least: float = 1) -> int:
        """Return how many of so many things are done."""
        return round(max(least, count * self.share))


WHOLE: Final = Size(users=3000, lease_s=5.0, share=1.0)
SHORT: Final = Size(users=150, lease_s=1.5, share=0.05)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: was measured.
        target: what it has to be, in words.
        measured: what it was, in words.
        is_right: whether that is good enough.
    """

    what: str
    target: str
    measured: str
    is_right: bool


@dataclass
class World:
    """All of it.

    Attributes:
        history: what is written down.
        nodes: by name.
        users: the names of all users.
        wanted: those that have to be online in the end.
        rows: what was measured.
        complaints: what was wrong.
        relays: that of each node, if there are any.
        is_judged: whether everything was checked.
    """

    size: Size
    redis: RedisServer
    history: History
    crowd: Crowd
    reader: Reader
    nodes: dict[str, Node]
    folder: Path
    relays: dict[str, Relay] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    is_judged: bool = False

    @property
    def users(self) -> list[str]:
        return [f"u{number}" for number in range(self.size.users)]

    @property
    def lease_s(self) -> float:
        return self.size.lease_s

    def ports(self, *but: str) -> list[int]:
        """Return the ports of all nodes but some."""
        return [node.port for name, node in self.nodes.items() if name not in but]

    def at(self, name: str) -> list[str]:
        """Return the users that are in at a node, as they know."""
        return self.crowd.at(self.nodes[name].port)

    # -- measuring

    def note(self, what: str, target: str, measured: str, *, is_right: bool) -> None:
        """Write a line of the table."""
        self.rows.append(Row(what, target, measured, is_right))

    def note_time(self, what: str, seconds: float | None, limit_s: float) -> None:
        """Write down how long something took; None if it never came about."""
        measured = "never" if seconds is None else f"{seconds:.2f} s"
        is_right = seconds is not None and seconds <= limit_s
        self.note(what, f"at most {limit_s:g} s", measured, is_right=is_right)

    def note_refused(self, since: int) -> None:
        """Write down how many logins were refused since so many notes: none may be."""
        whys = Counter(note.why for note in self.crowd.notes[since:] if note.do == "refused")
        measured = "; ".join(f"{count:,}: {why}" for why, count in whys.items()) or "0"
        self.note("logins refused", "0", measured, is_right=not whys)

    def note_unanswered(self) -> None:
        """Write down how many claims the store has not answered, and why."""
        self.read_acts()
        whys = Counter(
            act.reason or "no answer in time"
            for process in self.history.processes
            for act in process.acts
            if act.do == "claim" and act.outcome == "unknown"
        )
        measured = "; ".join(f"{count:,}: {why}" for why, count in whys.items()) or "0"
        self.note("claims that were not answered", "-", measured, is_right=True)

    def note_count(self, what: str, count: int, wanted: int = 0) -> None:
        """Write down how often something has happened."""
        self.note(what, f"{wanted:,}", f"{count:,}", is_right=count == wanted)

    def note_closed(self, users: int, name: str, since: float, limit_s: float) -> None:
        """Write down when a node has put out the last of its clients, as it saw that itself."""
        node = self.nodes[name]
        node.read_acts()
        acts = [act for act in node.process.acts if act.do == "left" and act.at > since]
        last = sorted(act.at for act in acts)[:users]
        seconds = last[-1] - since if len(last) == users else None
        self.note_time(f"the clients of {name} are closed", seconds, limit_s)

    # -- waiting

    async def fill(self) -> None:
        """Have all users log in, spread over all nodes."""
        await self.crowd.set_ports(self.ports())
        await self.enter(self.users)

    async def enter(
        self,
        users: Iterable[str],
        ports: Sequence[int] | None = None,
        *,
        returns: bool = True,
        limit_s: float = LOGS_IN_S,
    ) -> None:
        """Have users log in, and wait until they are in."""
        names = list(users)
        before = self.crowd.entered
        self.wanted.update(names)
        await self.crowd.enter(names, ports or self.ports(), returns=returns)
        if not await self.crowd.wait_until(
            lambda: self.crowd.entered >= before + len(names), limit_s
        ):
            self.complaints.append(
                f"{self.crowd.entered - before} of {len(names)} users were let in within "
                f"{limit_s:g} s; {self.crowd.refused} were refused so far"
            )

    def is_right(self) -> bool:
        """Whether those are online who have to be, through the clients that they have."""
        owners, inside = self.reader.fold.owners, self.crowd.inside
        return owners.keys() == self.wanted == inside.keys() and all(
            owners[user].id == note.id for user, note in inside.items()
        )

    async def time_until_right(self, since: float, limit_s: float) -> float | None:
        """Return how long after a moment all was right; None if it takes longer than limit_s more.

        What the readers of the log have read counts, and what the clients have been told.
        """
        return await self.time_until(self.is_right, since, limit_s)

    async def time_until(
        self, condition: Callable[[], bool], since: float, limit_s: float
    ) -> float | None:
        """Return how long after a moment something was so."""
        until = boottime() + limit_s
        while not condition():
            if boottime() > until:
                return None
            await trio.sleep(0.01)
        return boottime() - since

    async def time_until_ready(
        self, name: str, condition: Callable[[str | None], bool], since: float, limit_s: float
    ) -> tuple[float | None, str | None]:
        """Return how long after a moment a node said so in /readyz, and what it said last."""
        until = boottime() + limit_s
        while not condition(why := await self.nodes[name].why_not_ready()):
            if boottime() > until:
                return None, why
            await trio.sleep(0.05)
        return boottime() - since, why

    # -- the end

    async def judge(self) -> None:
        """Wait until all has come to rest, and check whatever was written down (I1 to I8)."""
        self.is_judged = True
        await trio.sleep(self.lease_s + 1)
        try:
            with trio.fail_after(10):
                state = await self.reader.see()
                await self._wait_read(state.cursor)
        except (StoreUnavailable, trio.TooSlowError) as error:
            self.complaints.append(f"the store does not answer in the end: {error!r}")
            return
        self.read_acts()
        history = self.history
        self.complaints += checker.check(history)
        self.complaints += check_end(state, history.processes, history.marks, history.notes)
        self.complaints += self.reader.complaints
        if self.wanted != set(state.users or ()):
            lost = sorted(self.wanted - set(state.users or ()))
            more = sorted(set(state.users or ()) - self.wanted)
            self.complaints.append(
                f"{len(lost)} users are missing in the end, such as {lost[:3]}, and "
                f"{len(more)} are too many, such as {more[:3]}"
            )
        for node in self.nodes.values():
            log = node.read_log()
            if "Traceback" in log:
                at = log.index("Traceback")
                self.complaints.append(f"{node.name} has logged a traceback: {log[at : at + 1500]}")
            if not node.is_up and not self._was_killed(node):
                self.complaints.append(f"{node.name} has ended by itself: {log[-1500:]}")

    def _was_killed(self, node: Node) -> bool:
        number = node.process.number
        return any(m.process == number and m.do == "killed" for m in self.history.marks)

    async def _wait_read(self, cursor: Any) -> None:
        while self.reader.fold.cursor < cursor:
            await self.reader.changed.wait()

    def read_acts(self) -> None:
        for node in self.nodes.values():
            node.read_acts()


@asynccontextmanager
async def open_world(
    size: Size,
    *,
    redis: Sequence[str] = (),
    with_relays: bool = False,
    nodes: Sequence[str] = NAMES,
    **setup: Any,
) -> AsyncIterator[World]:
    """Start everything.

    Args:
        size: how much is done.
        redis: options of the server of Redis.
        with_relays: whether each node reaches Redis through a relay of its own.
        nodes: their names.
        setup: of all nodes; see NodeSetup.
    """
    async with AsyncExitStack() as stack:
        server = stack.enter_context(running_redis(*redis))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodes-")))
        history, relays = History(), {}
        if with_relays:
            for name in (*nodes, "reader"):
                relays[name] = await stack.enter_async_context(open_relay(server.port))
        all_nodes = {
            name: Node(
                history,
                folder,
                name,
                f"redis://127.0.0.1:{relays[name].port}" if relays else server.tcp_url,
                lease_s=size.lease_s,
                **setup,
            )
            for name in nodes
        }
        for node in all_nodes.values():
            stack.push_async_callback(node.close)
        url = f"redis://127.0.0.1:{relays['reader'].port}" if relays else server.url
        connection = await stack.enter_async_context(open_redis(url))
        reader = Reader(history, RedisStore(connection, lease_s=size.lease_s))
        crowd = await stack.enter_async_context(open_crowd(history.notes))
        world = World(size, server, history, crowd, reader, all_nodes, folder, relays)
        async with trio.open_nursery() as starting:
            for node in all_nodes.values():
                starting.start_soon(node.start)
        tasks = await stack.enter_async_context(trio.open_nursery())
        begin = str(await reader.begin())
        tasks.start_soon(reader.run)
        tasks.start_soon(reader.look, LOOKS_S)
        for node in all_nodes.values():
            tasks.start_soon(follow, node, history, begin)
        await world.fill()
        yield world
        tasks.cancel_scope.cancel()
