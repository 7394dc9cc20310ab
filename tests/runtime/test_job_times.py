"""Which handler is told as having blocked the server: the one that did, and none after it."""

import ast
import re
from concurrent.futures import Future
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from tests.socketio.in_process import enter
from trio.testing import trio_test

import trio_socketio
from trio_socketio import Server
from trio_socketio.engine import compression, hook_admission
from trio_socketio.http import files
from trio_socketio.runtime import jobs
from trio_socketio.runtime.jobs import Job, Workers
from trio_socketio.socketio import events, from_thread
from trio_socketio.socketio.events import Events
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.server_side import ServerSideEvent
from trio_socketio.socketio.socket_recovery import Saving

BLOCKS_S = 0.08


class World:
    """A server's workers, and a clock that stands still except while something computes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.computed = 0.0
        self.notes: list[tuple[float, str]] = []
        self.jobs: list[Job] = []
        self.server = Server()
        self.workers = workers = self.server._workers
        workers.queue_bound = 256
        workers.note_s = workers.slow_handler_s = BLOCKS_S / 2
        workers.note = lambda elapsed_s, what: self.notes.append((elapsed_s, what))
        log_failure = workers.log_failure

        def log_slowly(*arguments: Any) -> None:
            self.compute()
            log_failure(*arguments)

        patch.setattr(workers, "log_failure", log_slowly)
        patch.setattr(workers, "submit", self.jobs.append)
        for module in (jobs, events):
            patch.setattr(module, "perf_counter", lambda: self.now)

    def compute(self, *_: object) -> None:
        self.now += BLOCKS_S
        self.computed += BLOCKS_S

    # -- what handlers do

    async def stay(self, *_: object) -> None:
        self.compute()

    async def suspend(self, *_: object) -> None:
        self.compute()
        await trio.lowlevel.checkpoint()
        self.compute()

    async def suspend_and_fail(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        self.compute()
        raise ValueError("on purpose")

    async def fail(self, *_: object) -> None:
        self.compute()
        raise ValueError("on purpose")

    # -- jobs

    def event(self, function: Any, *, concurrent: bool = False) -> Job:
        socket = enter(self.server.of("/"))
        handler = Handler("event", function, concurrent=concurrent)
        socket._open_events().dispatch(handler, [socket])
        return self.jobs.pop()

    def make(self, kind: type, function: Any) -> Any:
        """Make a job of a class, which calls a function if it calls any."""

        async def decide(*_: object) -> None:
            await self.workers.call_async(function)

        kept: Any = SimpleNamespace(persist_session=function, id="")
        files_: Any = SimpleNamespace(complain=self.compute, loaded=self.compute)
        compressing: Any = SimpleNamespace(finish=self.compute)
        asking: Any = SimpleNamespace(decide=decide, admit_later=self.compute)
        request: Any = SimpleNamespace(answered=False)
        handler = Handler("event", function, concurrent=False)
        if kind is Events:
            return self.event(function)
        if kind is events._ConcurrentEvent:
            return self.event(function, concurrent=True)
        if kind is ServerSideEvent:
            return ServerSideEvent("/", handler, [], self.compute, self.compute)
        if kind is from_thread._AsyncCall:
            return from_thread._AsyncCall(Future(), function, ())
        if kind is Saving:
            return Saving(kept, kept, 9)
        if kind is files._Load:
            return files._Load(files_, Path("/there/is/no/such/file"))
        if kind is compression._Job:
            return compression._Job(bytes, None, "gzip", compressing)
        return hook_admission._Job(asking, request, request)

    async def run(self, *made: Job) -> None:
        async with trio.open_nursery() as nursery:
            self.workers.start(nursery)
            for job in made:
                Workers.submit(self.workers, job)
            await self.workers.wait_idle()
            nursery.cancel_scope.cancel()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


class Watched:
    """Runs a job as a worker does, and checks what it returns."""

    def __init__(self, job: Job, world: World) -> None:
        self.job = job
        self.world = world
        self.result: bool | None = None

    async def run(self, workers: Workers) -> bool:
        self.result = result = await self.job.run(workers)
        assert result in (True, False)
        if result:
            assert workers.step_began == self.world.now, "it has not looked at the clock"
        return result


KINDS: list[type] = [
    Events,
    events._ConcurrentEvent,
    ServerSideEvent,
    from_thread._AsyncCall,
    Saving,
    files._Load,
    compression._Job,
    hook_admission._Job,
]


async def quick(_: object) -> None:
    """Take no time."""


@pytest.mark.parametrize("does", ["stay", "suspend", "suspend_and_fail", "fail"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@trio_test
async def test_a_job_returns_true_only_if_it_has_just_looked_at_the_clock(
    kind: type, does: str, world: World
) -> None:
    if kind is hook_admission._Job and "fail" in does:
        does = "suspend"  # `decide` contains what hooks raise
    watched = Watched(world.make(kind, getattr(world, does)), world)
    await world.run(world.event(quick), watched, world.event(quick))
    assert watched.result is not None
    assert world.workers.failed == ("fail" in does and kind in FAILING)
    # All that was computed was told, and nobody is blamed who had no part in it.
    assert sum(elapsed_s for elapsed_s, _ in world.notes) == pytest.approx(world.computed)
    assert world.computed >= BLOCKS_S
    assert not [what for _, what in world.notes if "quick" in what]


FAILING = (Events, events._ConcurrentEvent, ServerSideEvent, Saving)


def test_every_class_of_jobs_is_tried() -> None:
    found = set()
    root = Path(trio_socketio.__file__).parent
    for path in root.rglob("*.py"):
        text = path.read_bytes()
        if re.search(rb"def run\(\s*self, workers\b", text) is None:
            continue  # to parse all of them takes seconds
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                for one in node.body:
                    if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and (
                        one.name == "run" and [it.arg for it in one.args.args][1:2] == ["workers"]
                    ):
                        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
                        found.add((module, node.name))
    assert found == {(kind.__module__, kind.__name__) for kind in KINDS}


@trio_test
async def test_a_handler_that_fails_after_a_wait_is_told_by_name(world: World) -> None:
    await world.run(world.event(world.suspend_and_fail), world.event(quick))
    assert world.notes[0][1] == "handler World.suspend_and_fail of 'event' blocked the server for"


@trio_test
async def test_nobody_is_blamed_for_a_wait_at_a_fence(world: World) -> None:
    workers = world.workers

    async def wait_fenced() -> None:
        workers.fences.at = inf
        world.compute()  # others do
        await trio.lowlevel.checkpoint()

    workers.wait_fenced = wait_fenced
    workers.fences.at = 0.0
    await world.run(world.event(quick))
    assert world.computed
    assert not world.notes
