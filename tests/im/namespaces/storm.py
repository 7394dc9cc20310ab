"""``python -m tests.im.namespaces.storm [NAMESPACES CLIENTS]``: 500 namespaces come and go.

They are made, changed and removed on two nodes with one Redis, while 1,000 clients join and leave
whatever namespaces there are, or have been. What was measured is printed; the exit code is 1 if
anything was wrong.
"""

import gc
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

import trio
from tests.crowd import need_descriptors
from tests.im.namespaces.defined import DefinedNode, DefinedNodes, defined_nodes
from tests.redis_server import RedisServer, running_redis
from tests.socketio.serving import until
from tests.time_limit import walk_tasks

from trio_socketio.socketio.namespace import Namespace
from trio_socketio.socketio.socket import Socket

AGREE_S: Final = 1.0
GROWTH_BYTES: Final = 24 << 20
LEFT: Final = {"DefinedNode": 2, "Namespace": 2}
"""The objects that there are without namespaces: each node has the main one."""
HELD: Final = 40
"""How many namespaces there are at a time."""


@dataclass
class Report:
    """What was seen."""

    faults: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    growth_bytes: int = 0
    took_s: float = 0.0

    def blame(self, fault: str) -> None:
        if len(self.faults) < 20:
            self.faults.append(fault)


class Crowd:
    """The clients, in a process of their own: ``python -m tests.im.namespaces.crowd``.

    Args:
        process: of the clients.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def tell(self, **told: Any) -> None:
        """Tell the clients of the namespaces and the ports that there are, or that all is over."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(told).encode() + b"\n")

    async def end(self) -> dict[str, Any]:
        """Have all clients leave, and return what they have seen."""
        await self.tell(over=True)
        assert self._process.stdout is not None
        answer = b""
        while data := await self._process.stdout.receive_some():
            answer += data
        await self._process.wait()
        found: dict[str, Any] = json.loads(answer)
        return found


@asynccontextmanager
async def open_crowd(clients: int, seed: int) -> AsyncIterator[Crowd]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.im.namespaces.crowd", str(clients), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.receive_some(6) == b"ready\n"
        yield Crowd(process)
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


class Storm:
    """Makes, changes and removes namespaces, and watches.

    Args:
        nodes: two of them.
        count: how many namespaces there are to be.
        clients: how many come and go.
        seed: of what happens.
        pace_s: the pause before each further namespace.
    """

    def __init__(
        self, nodes: DefinedNodes, count: int, clients: int, seed: int, pace_s: float
    ) -> None:
        self.nodes = nodes
        self.report = Report()
        self._count = count
        self._clients = clients
        self._pace_s = pace_s
        self._random = Random(seed)
        self._made: list[str] = []
        self._past: list[str] = ["/never"]
        self._crowd: Crowd | None = None
        self._late_s = 0.0

    async def _tell(self) -> None:
        """Tell the clients which namespaces they may ask for: most of them are there."""
        if self._crowd is not None:
            ports = [node.port for node in self.nodes.nodes.values()]
            await self._crowd.tell(names=[*self._made, *self._past[-5:]], ports=ports)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self._run()
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Add up the time in which this process was not given the processor."""
        while True:
            before, used_s = time.monotonic(), time.process_time()
            await trio.sleep(0.02)
            late_s = time.monotonic() - before - (time.process_time() - used_s) - 0.02
            self._late_s += max(0.0, late_s)

    async def _run(self) -> None:
        # A first round has whatever is made only once.
        await self._play(max(8, self._count // 10))
        tasks, channels, rss = self._measure()
        start = time.monotonic()
        await self._play(self._count)
        self.report.took_s = time.monotonic() - start
        more_tasks, more_channels, more_rss = self._measure()
        self.report.growth_bytes = more_rss - rss
        for what, before, after in (
            ("tasks", tasks, more_tasks),
            ("channels", channels, more_channels),
        ):
            if after != before:
                self.report.blame(f"{what} are left behind: {before} before, {after} after")
        if self.report.growth_bytes > GROWTH_BYTES:
            self.report.blame(f"the memory has grown by {self.report.growth_bytes:,} bytes")

    async def _play(self, count: int) -> None:
        seed = self._random.getrandbits(32)
        async with open_crowd(self._clients, seed) as self._crowd:
            for number in range(count):
                await self._make(f"/n{number}-{self._random.getrandbits(24):x}")
                await self._change(self._random.choice(self._made))
                while len(self._made) > HELD:
                    await self._remove(self._made[0])
                if number == count // 2:
                    await self._restart("b")
                await trio.sleep(self._pace_s)
            while self._made:
                await self._remove(self._made[0])
            found = await self._crowd.end()
        self._crowd = None
        self.report.done.update(found["done"])
        for fault in found["faults"]:
            self.report.blame(fault)
        await self._settle()

    async def _make(self, name: str) -> None:
        await self._call("create", name, **self._draw())
        self._made.append(name)
        await self._tell()

    def _draw(self) -> dict[str, Any]:
        choose = self._random.choice
        identity = choose(([], ["static"], None))
        given: dict[str, Any] = {"identity": identity, "max_sockets": choose((None, None, 9, 90))}
        if identity != []:
            many = {"policy": "many", "maximum": 1000}
            given["seats"] = choose((None, many, many, {"policy": "none"}, {"policy": "reject"}))
        return given

    async def _change(self, name: str) -> None:
        if self._random.random() < 0.7:
            await self._call("update", name, max_sockets=self._random.choice((None, 9, 900)))
        else:
            await self._call("update", name, **{"seats": None, **self._draw()})

    async def _remove(self, name: str) -> None:
        self._made.remove(name)
        self._past.append(name)
        await self._tell()
        await self._call("remove", name)
        for node in self.nodes.nodes.values():
            if name in node.server.namespaces:
                self.report.blame(f"{node.name} still has {name}, which was removed")

    async def _call(self, kind: str, name: str, **params: Any) -> None:
        """Make a change on one of the nodes; when it is answered, both must have made it."""
        node = self._random.choice(tuple(self.nodes.nodes.values()))
        start, late_s = time.monotonic(), self._late_s
        found = await node.call(f"namespaces.{kind}", namespace=name, **params)
        took_s = time.monotonic() - start - (self._late_s - late_s)
        self.report.longest_s = max(self.report.longest_s, took_s)
        self.report.done[kind] += 1
        if found.get("failed") or found.get("missing"):
            self.report.blame(f"{kind} {name}: {found}")
        if took_s > AGREE_S:
            self.report.blame(f"{kind} {name} took {took_s:.2f} s")
        definitions = [one.namespaces.find(name) for one in self.nodes.nodes.values()]
        if definitions[0] != definitions[1] or (definitions[0] is None) is not (kind == "remove"):
            self.report.blame(f"{kind} {name}: the nodes disagree: {definitions}")

    async def _restart(self, name: str) -> None:
        before = await self.nodes["a"].listed()
        await self.nodes.end(name)
        node = await self.nodes.start(name)
        await self._tell()
        after = await node.listed()
        if after != before:
            self.report.blame(f"a restart has changed the list: {before} before, {after} after")

    async def _settle(self) -> None:
        """Wait until the servers have noticed that all clients are gone."""
        for node in self.nodes.nodes.values():
            try:
                await until(partial(_is_empty, node))
            except trio.TooSlowError:
                found = node.server.statistics()
                self.report.blame(f"{node.name} still has clients: {found}")
        left = _find_objects()
        with trio.move_on_after(15):  # handlers of removed namespaces have 5 s
            while left != LEFT:
                await trio.sleep(0.5)
                left = _find_objects()
        if left != LEFT:
            self.report.blame(f"objects are left behind: {left} instead of {LEFT}")

    def _measure(self) -> tuple[int, int, int]:
        """Count tasks and channels in Redis, and return the memory of this process."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        channels = len(self.nodes.redis.command("PUBSUB", "CHANNELS"))
        return sum(1 for _ in walk_tasks(root)), channels, _rss_bytes()


def _is_empty(node: DefinedNode) -> bool:
    found = node.server.statistics()
    return not (found.sessions or found.joining)


def _find_objects() -> dict[str, int]:
    """Count what there may be too much of."""
    gc.collect()
    kinds = (Namespace, Socket, DefinedNode)
    found = Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))
    return dict(found)


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def play(
    redis: RedisServer, count: int, clients: int, seed: int = 1, pace_s: float = 0.05
) -> Report:
    """Play a storm."""
    async with defined_nodes(
        "a",
        "b",
        redis=redis,
        timeout_s=5.0,
        max_connections=2 * clients + 100,
        max_unjoined_sessions=clients * 2,
    ) as nodes:
        storm = Storm(nodes, count, clients, seed, pace_s)
        await storm.run()
        return storm.report


def table(report: Report) -> Iterator[str]:
    """Return what was seen, line by line."""
    for what, number in sorted(report.done.items()):
        if what:
            yield f"{what:<10} {number:>10,}"
    yield (
        f"Longest time until both nodes agreed: {report.longest_s * 1000:.0f} ms, less what other "
        "programs had the processor."
    )
    yield f"The memory has grown by {report.growth_bytes:,} bytes."
    yield f"It took {report.took_s:.1f} s."
    yield from (f"FAULT: {fault}" for fault in report.faults)


def main(arguments: list[str]) -> int:
    count, clients = map(int, arguments) if arguments else (500, 1000)
    need_descriptors(2 * clients + 200)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Redis is ended in any case
    with running_redis() as redis:
        report = trio.run(play, redis, count, clients)
    sys.stdout.write("\n".join(table(report)) + "\n")
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
