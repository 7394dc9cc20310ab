"""The faults of Redis, one after the other, under two nodes that emit all the time.

    python -m tests.faults          the whole length: 100,000 messages, 50 cuts, 10 s of standstill
    python -m tests.faults --short  as in the suite

Whatever happens to Redis, the clients of one node get every message of that node, in order and at
once. Those of the other node get them in order and none twice. Where only the sender's connection
was cut, exactly those are missing that the sender has counted. And 3 s after Redis is back, all is
right again.
"""

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from tests.faults.messages import BATCH, Node, faults_of, open_node, time_until_right
from tests.faults.relay import Relay, open_relay
from tests.redis_server import RedisServer, running_redis
from trio_socketio.redis.options import RedisOptions

RIGHT_S: Final = 3.0
"""The time within which all has to be right when Redis is back."""
LOCAL_S: Final = 0.5
"""The longest time between two messages of a node for its own client."""
MAX_QUEUE_BYTES: Final = 4 << 20
MAX_GROWTH_BYTES: Final = 64 << 20
"""The most by which the memory of the process, with nodes, clients and relays, may grow."""
HEARS_BADLY: Final = ("cuts of both nodes", "standstill", "restart", "another password")
"""The faults in which the receiver loses its connection as well."""
PASSWORDS: Final = ("first", "second")


@dataclass(frozen=True)
class Length:
    """How much is done.

    Args:
        messages: of both nodes together, over all faults.
        cuts: how often a connection is cut.
        standstill_s: how long Redis stands still.
        away_s: how long it is away, or does not know our password.
    """

    messages: int
    cuts: int
    standstill_s: float
    away_s: float


WHOLE: Final = Length(messages=100_000, cuts=50, standstill_s=10.0, away_s=2.0)
SHORT: Final = Length(messages=6_000, cuts=6, standstill_s=0.6, away_s=0.3)


@dataclass
class Report:
    """What was seen.

    Args:
        right_s: how long it took until all was right again, by fault.
        missing: how many messages have not reached the other node, by fault.
        counted: how many of these the sender has counted as unpublished, and as unconfirmed.
        longest_local_s: the longest time between two messages of a node for its own client.
        largest_queue_bytes: the most bytes that waited for Redis.
        growth_bytes: by how much the memory of the process has grown.
        faults: what was wrong.
    """

    right_s: dict[str, float] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)
    longest_local_s: float = 0.0
    largest_queue_bytes: int = 0
    growth_bytes: int = 0
    faults: list[str] = field(default_factory=list)


class Game:
    """Two nodes, each behind a relay of its own, and the server that they share."""

    def __init__(
        self, server: RedisServer, password: Path, relays: list[Relay], nodes: list[Node]
    ) -> None:
        self.server = server
        self.password = password
        self.relays = relays
        self.nodes = nodes
        self.report = Report()
        self._random = random.Random(1)

    async def play(self, length: Length) -> Report:
        """Do everything to Redis that can be done to it."""
        each = length.messages // 5
        before = resident_bytes()
        for name, fault, share in (
            ("cuts of one node", lambda: self._cut(self.relays[:1], length.cuts // 2), each),
            ("cuts of both nodes", lambda: self._cut(self.relays, length.cuts // 2), each),
            ("standstill", lambda: self._stand_still(length.standstill_s), each),
            ("restart", lambda: self._restart(length.away_s), each),
            ("out of memory", self._run_out_of_memory, each // 2),
            ("another password", lambda: self._change_password(length.away_s), each // 2),
        ):
            await self._suffer(name, fault, share)
        for sender in self.nodes:
            for receiver in self.nodes:
                self.report.faults += faults_of(sender, receiver)
        self.report.growth_bytes = resident_bytes() - before
        if self.report.growth_bytes > MAX_GROWTH_BYTES:
            self.report.faults.append(f"the memory has grown by {self.report.growth_bytes:,} bytes")
        return self.report

    async def _suffer(self, name: str, fault: Callable[[], Awaitable[None]], share: int) -> None:
        """Emit while something happens to Redis, then see how soon all is right."""
        report, sender, receiver = self.report, *self.nodes
        before = sender.redis.statistics()
        heard, emitted = receiver.heard[sender.name].count, sender.emitted
        over = trio.Event()

        async def emit(node: Node) -> None:
            for _ in range(share // 2 // BATCH):
                await node.emit_many(BATCH, 0.002)
            while not over.is_set():  # as long as the fault lasts, and with less haste
                await node.emit_many(BATCH, 0.02)

        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(emit, node)
                nursery.start_soon(self._watch, node, over)
            await fault()
            over.set()
        report.right_s[name] = await time_until_right(self.nodes, 30)
        after = sender.redis.statistics()
        report.missing[name] = (sender.emitted - emitted) - (
            receiver.heard[sender.name].count - heard
        )
        report.counted[name] = (
            after.unpublished - before.unpublished,
            after.unconfirmed - before.unconfirmed,
        )
        report.largest_queue_bytes = max(node.largest_queue for node in self.nodes)
        if report.right_s[name] > RIGHT_S:
            report.faults.append(f"{name}: right only after {report.right_s[name]:.1f} s")
        unpublished, unconfirmed = report.counted[name]
        most = unpublished + unconfirmed
        if name in HEARS_BADLY:  # what it missed while its own connection was away is not counted
            most = sender.emitted
        if not unpublished <= report.missing[name] <= most:
            report.faults.append(
                f"{name}: {report.missing[name]} are missing; {unpublished} were counted as not "
                f"published, and {unconfirmed} as not confirmed"
            )

    async def _watch(self, node: Node, over: trio.Event) -> None:
        """Note how long the own client of a node has got nothing."""
        while not over.is_set():
            await trio.sleep(0.01)
            waited = trio.current_time() - node.heard[node.name].at
            self.report.longest_local_s = max(self.report.longest_local_s, waited)

    # -- faults

    async def _cut(self, relays: list[Relay], times: int) -> None:
        for _ in range(times):
            await trio.sleep(self._random.uniform(0.02, 0.15))
            self._random.choice(relays).cut()
        await self._wait_connected()

    async def _stand_still(self, duration_s: float) -> None:
        self.server.freeze()
        try:
            await trio.sleep(duration_s)
        finally:
            self.server.thaw()

    async def _restart(self, away_s: float) -> None:
        self.server.stop()
        await trio.sleep(away_s)
        await trio.to_thread.run_sync(self.server.start)

    async def _run_out_of_memory(self) -> None:
        await self._configure("maxmemory-policy", "noeviction")
        await self._configure("maxmemory", "1")
        await trio.sleep(0.2)
        await self._configure("maxmemory", "0")

    async def _change_password(self, away_s: float) -> None:
        _, new = PASSWORDS
        await self._configure("requirepass", new)
        for relay in self.relays:
            relay.cut()
        await trio.sleep(away_s)
        assert not any(node.redis.connected for node in self.nodes)
        self.password.write_text(new, encoding="ascii")

    async def _configure(self, option: str, value: str) -> None:
        def configure() -> None:
            self.server.command("CONFIG", "SET", option, value, password=PASSWORDS[0])

        await trio.to_thread.run_sync(configure)

    async def _wait_connected(self) -> None:
        for node in self.nodes:
            await node.redis.wait_connected()


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def play(length: Length, folder: Path) -> Report:
    """Start a server and two nodes, and play.

    Args:
        length: how much is done.
        folder: for the file that holds the password.
    """
    password = folder / "password"
    password.write_text(PASSWORDS[0], encoding="ascii")
    password.chmod(0o600)
    with running_redis("--requirepass", PASSWORDS[0]) as server:
        async with open_relay(server.port) as first, open_relay(server.port) as second:
            options = [
                RedisOptions(
                    url=f"redis://127.0.0.1:{relay.port}",
                    password_file=str(password),
                    max_queue_bytes=MAX_QUEUE_BYTES,
                    retry_max_s=1.0,
                )
                for relay in (first, second)
            ]
            async with open_node("a", options[0]) as a, open_node("b", options[1]) as b:
                await time_until_right([a, b], 10)
                return await Game(server, password, [first, second], [a, b]).play(length)
