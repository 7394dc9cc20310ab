"""Worker processes that are played by a test, on the clock of the test."""

import errno
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio
import trio.testing

from trio_socketio.cluster.workers.link import Link
from trio_socketio.cluster.workers.supervision import Supervision
from trio_socketio.codec.worker_messages import (
    MAX_LINE_BYTES,
    Answer,
    Call,
    Drain,
    End,
    Failed,
    Ping,
    Pong,
    Ready,
    Report,
    decode_order,
    encode_line,
)
from trio_socketio.runtime.groups import alone

STOP_S = 20.0


class FakeChild:
    """A process: what it was told, and its end when the test says so.

    Args:
        index: of the worker.
        pid: of the process.
    """

    def __init__(self, index: int, pid: int) -> None:
        self.index = index
        self._pid = pid
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.setblocking(False)
        self._link = Link(ours, MAX_LINE_BYTES)
        self._ended = trio.Event()
        self.code: int | None = None
        self.killed = False
        self.stopped = False
        self.told: list[str] = []

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def link(self) -> Link:
        return self._link

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.code is not None
        return self.code

    def is_stopped(self) -> bool:
        return self.stopped

    def terminate(self) -> None:
        self.told.append("SIGTERM")

    def kill(self) -> None:
        self.killed = True
        self.end(-9)

    def end(self, code: int) -> None:
        """End with this exit code."""
        if self.code is None:
            self.code = code
            trio.lowlevel.notify_closing(self.theirs)
            self.theirs.close()
            self._ended.set()

    def say(self, report: Report) -> None:
        self.theirs.sendall(encode_line(report))

    def say_garbage(self) -> None:
        self.theirs.sendall(b"hello\n")

    def fail(self, reason: str) -> None:
        """End because the configuration cannot be used."""
        self.say(Failed(reason=reason))
        self.end(2)

    async def orders(self) -> AsyncGenerator[Any, None]:
        """Yield the orders that come, until it ends."""
        buffer = b""
        while self.code is None:
            try:
                await trio.lowlevel.wait_readable(self.theirs)
                data = self.theirs.recv(1 << 16)
            except (OSError, trio.ClosedResourceError):
                return
            buffer += data
            while b"\n" in buffer and self.code is None:
                line, _, buffer = buffer.partition(b"\n")
                yield decode_order(line)
            if not data:
                return


class FakeWorkers:
    """Starts processes, which do what a well-behaved worker does unless the test changes that.

    Attributes:
        started: all processes so far.
        act: called with each process that is started.
        obey: called with a process and each order that it gets, but for pings.
        blocked: the processes that answer no pings, and take no orders: these wait.
    """

    def __init__(self) -> None:
        self.started: list[FakeChild] = []
        self.act: Callable[[FakeChild], None] = lambda child: child.say(Ready())
        self.obey: Callable[[FakeChild, Any], None] = obey
        self.fail_to_start = False
        self.blocked: set[FakeChild] = set()
        self._unblocked = trio.Event()
        self._players: trio.Nursery | None = None

    async def start(self, index: int) -> FakeChild:
        await trio.lowlevel.checkpoint()
        if self.fail_to_start:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        child = FakeChild(index, 100 * index + len(self.of(index)))
        self.started.append(child)
        assert self._players is not None
        self._players.start_soon(self._play, child)
        self.act(child)
        return child

    def of(self, index: int) -> list[FakeChild]:
        return [child for child in self.started if child.index == index]

    def unblock(self, child: FakeChild) -> None:
        self.blocked.remove(child)
        self._unblocked.set()
        self._unblocked = trio.Event()

    def living(self) -> list[FakeChild]:
        return [child for child in self.started if child.code is None]

    @asynccontextmanager
    async def playing(self) -> AsyncGenerator[None, None]:
        """Have the processes obey while the block runs; then all of them must have ended."""
        async with alone(trio.open_nursery()) as self._players:
            yield
            self._players.cancel_scope.cancel()
        assert self.living() == []

    async def _play(self, child: FakeChild) -> None:
        async with aclosing(child.orders()) as orders:
            async for order in orders:
                while child in self.blocked:
                    await self._unblocked.wait()
                if isinstance(order, Ping):
                    child.say(Pong())
                    continue
                child.told.append(type(order).__name__)
                self.obey(child, order)


def obey(child: FakeChild, order: Any) -> None:
    """Do what a worker does."""
    if isinstance(order, Drain | End):
        child.end(0)
    elif isinstance(order, Call):
        text = msgspec.json.encode(f"{order.name} of {child.index}")
        child.say(Answer(number=order.number, result=msgspec.Raw(text)))


@asynccontextmanager
async def supervised(
    fake: FakeWorkers,
    count: int = 2,
    away: list[int] | None = None,
    max_blocked_s: float = 0.0,
) -> AsyncGenerator[Supervision, None]:
    """Run workers while the block runs; they are drained at its end."""
    on_away = (lambda _: None) if away is None else away.append
    names = [f"a-{index}" for index in range(1, count + 1)]
    workers = Supervision(names, fake, on_away, STOP_S, max_blocked_s)
    async with fake.playing(), alone(trio.open_nursery()) as nursery:
        nursery.start_soon(workers.run)
        await trio.testing.wait_all_tasks_blocked()
        yield workers
        workers.drain()
