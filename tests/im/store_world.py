"""Runs a presence store in a thread with a trio run of its own, so that rules can hand it work."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_socketio.im.presence.memory import MemoryStore
from trio_socketio.im.presence.store import PresenceStore

LEASE_S = 10.0
TIMEOUT_S = 30.0  # of real time; more is a hang, however busy the machine is
NAMESPACES = {"/newest": "newest", "/reject": "reject", "/many": "many"}
MAXIMUM = 2


class StoreWorld(Protocol):
    """A store that is being tested, its clock, and its thread."""

    store: PresenceStore

    def do(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Call an async function there; return or raise what it does."""

    async def advance(self, seconds: float) -> None:
        """Let time pass, for leases too."""

    async def ends_at_once(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
        """Whether a function ends without anything else happening; if not, it is cancelled."""

    def close(self) -> None:
        """End the thread."""


class TrioThread:
    """A thread with a trio run that waits for work.

    Args:
        clock: of the run; None means the real one.

    Attributes:
        nursery: for tasks that go on until the end.
    """

    def __init__(self, clock: MockClock | None = None) -> None:
        self._clock = clock
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # it may hang
        self._thread.start()
        assert self._ready.wait(TIMEOUT_S)

    def _run(self) -> None:
        trio.run(self._main, clock=self._clock)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._over = trio.Event()
        async with trio.open_nursery() as self.nursery:
            self._ready.set()
            await self._over.wait()
            self.nursery.cancel_scope.cancel()

    def do(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        done: list[Any] = []
        ended = threading.Event()

        async def run() -> None:
            try:
                done.append(await function(*arguments))
            except BaseException as error:
                done.append(error)
            finally:
                ended.set()

        self._token.run_sync_soon(lambda: self.nursery.start_soon(run))
        assert ended.wait(TIMEOUT_S), "the store hangs"
        if isinstance(done[0], BaseException):
            raise done[0]
        return done[0]

    def close(self) -> None:
        self._token.run_sync_soon(self._over.set)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


class MemoryWorld:
    """A MemoryStore under a mock clock."""

    def __init__(self, make: Callable[[], PresenceStore] | None = None) -> None:
        self.store: PresenceStore = make() if make else MemoryStore(lease_s=LEASE_S)
        self._clock = MockClock()
        self._thread = TrioThread(self._clock)
        self.do, self.close = self._thread.do, self._thread.close

    @property
    def nursery(self) -> trio.Nursery:
        """Of the thread."""
        return self._thread.nursery

    async def advance(self, seconds: float) -> None:
        self._clock.jump(seconds)
        await wait_all_tasks_blocked()

    async def ends_at_once(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
        has_ended = False

        async def run() -> None:
            nonlocal has_ended
            await function(*arguments)
            has_ended = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return has_ended
