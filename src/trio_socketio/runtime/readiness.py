"""Two pollers, which differ in how they learn what connections are ready."""

import select
import sys
from time import perf_counter
from typing import Final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, wait_readable, wait_writable

from trio_socketio.net.driving import HANG_UP, READ, WRITE, Pollable
from trio_socketio.runtime.poller import TURN_S, Poller

BATCH: Final = 256
_HANG_UP_LOOK_S: Final = 1.0


class EpollPoller(Poller):
    """Watches all connections with one epoll object, for which one task waits."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._connections: dict[int, Pollable] = {}

    def register(self, connection: Pollable) -> None:
        number = connection.fileno()
        self._epoll.register(number, READ)
        self._connections[number] = connection

    def watch(self, connection: Pollable, events: int) -> None:
        self._epoll.modify(connection.fileno(), events)

    def unregister(self, connection: Pollable) -> None:
        number = connection.fileno()
        if self._connections.pop(number, None) is not None:
            self._epoll.unregister(number)

    def _registered(self) -> list[Pollable]:
        return list(self._connections.values())

    def _close(self) -> None:
        self._epoll.close()

    @enable_ki_protection
    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await wait_readable(self._epoll.fileno())
            await self._read_batch(BATCH)

    async def read_ready(self) -> None:
        await self._read_batch(max(1, len(self._connections)))

    async def _read_batch(self, most: int) -> None:
        """Call up to this many of the connections that are ready."""
        # The flush task may have left deferred calls for later, and they come before any reading.
        while self._agenda.deferred:
            self._begin_turn()
            await self._end_turn()
        connections = self._connections
        # Connections and not their numbers, because a number may be reused before its turn comes.
        batch = [(connections[number], events) for number, events in self._epoll.poll(0, most)]
        self._begin_turn()
        for connection, events in batch:
            if perf_counter() > self.turn_ends:
                await self._end_turn()
            try:
                connection.on_ready(events)
            except BaseException as error:
                self._agenda.contain(connection, error)
        await self._finish_turn()

    async def _end_turn(self) -> None:
        """Let other tasks run in the middle of a batch."""
        await self._finish_turn()
        await checkpoint()
        self._begin_turn()


class PortablePoller(Poller):
    """Watches each connection with tasks of its own, on systems without epoll."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: dict[Pollable, _Watch] = {}
        self._pass = 0  # counts the passes of trio's scheduler in which a connection was ready
        self._pass_ends = 0.0
        self._nursery: trio.Nursery | None = None

    def register(self, connection: Pollable) -> None:
        self._watches[connection] = _Watch()
        self.watch(connection, READ)

    def watch(self, connection: Pollable, events: int) -> None:
        assert self._nursery is not None, "the poller is not running"
        watch = self._watches[connection]
        watch.events = events
        for direction in (READ, WRITE):
            if events & direction and not watch.waiting & direction:
                watch.waiting |= direction
                self._nursery.start_soon(self._drive, connection, watch, direction)
        if not events & READ and not watch.waiting & HANG_UP and hasattr(select, "poll"):
            watch.waiting |= HANG_UP
            self._nursery.start_soon(self._look_for_hang_up, connection, watch)

    def unregister(self, connection: Pollable) -> None:
        watch = self._watches.pop(connection, None)
        if watch is not None:
            watch.closed = True
            trio.lowlevel.notify_closing(connection.fileno())

    def _registered(self) -> list[Pollable]:
        return list(self._watches)

    async def read_ready(self) -> None:
        for connection, watch in self._find_ready():
            await self._wait_turn()
            if not watch.closed and watch.events & READ:
                await self._call(connection, READ)

    def _find_ready(self) -> "list[tuple[Pollable, _Watch]]":
        readers = {
            connection.fileno(): (connection, watch)
            for connection, watch in self._watches.items()
            if watch.events & READ and not watch.closed
        }
        if not hasattr(select, "poll"):  # all are tried: those that are not ready read nothing
            return list(readers.values())
        looker = select.poll()
        for number in readers:
            looker.register(number, select.POLLIN)
        return [readers[number] for number, _ in looker.poll(0)]

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    @enable_ki_protection
    async def _drive(self, connection: Pollable, watch: "_Watch", direction: int) -> None:
        wait = wait_readable if direction == READ else wait_writable
        try:
            while watch.events & direction and not watch.closed:
                await wait(connection.fileno())
                await self._wait_turn()
                if not watch.events & direction or watch.closed:
                    break
                await self._call(connection, direction)
        except (trio.ClosedResourceError, OSError):
            pass  # the connection was released while its task waited
        finally:
            watch.waiting &= ~direction

    @enable_ki_protection
    async def _look_for_hang_up(self, connection: Pollable, watch: "_Watch") -> None:
        """Look now and then for a hang-up, because trio cannot wait for that alone."""
        while not watch.events & READ and not watch.closed:
            looker = select.poll()
            looker.register(connection.fileno(), 0)
            if looker.poll(0):
                await self._call(connection, HANG_UP)
            await trio.sleep(_HANG_UP_LOOK_S)
        watch.waiting &= ~HANG_UP

    async def _gather(self) -> None:
        """Let tasks add to the output, in one pass of the scheduler only.

        To ask trio whether any can run, as the base class does, walks over all descriptors that are
        waited for, which are those of all connections here.
        """
        await checkpoint()

    async def _wait_turn(self) -> None:
        """Wait until this pass of the scheduler has time left.

        All tasks whose connections are ready share TURN_S in each pass.
        """
        while perf_counter() > self._pass_ends:
            seen = self._pass
            await checkpoint()
            if self._pass == seen:  # this task is the first one to run in the new pass
                self._pass += 1
                self._pass_ends = perf_counter() + TURN_S

    async def _call(self, connection: Pollable, events: int) -> None:
        self._begin_turn()
        try:
            connection.on_ready(events)
        except BaseException as error:
            self._agenda.contain(connection, error)
        await self._finish_turn()


class _Watch:
    """The events for which a connection is watched, and those for which a task waits."""

    __slots__ = ("closed", "events", "waiting")

    def __init__(self) -> None:
        self.events = 0
        self.waiting = 0
        self.closed = False


def create_poller() -> Poller:
    """Create the fastest poller that this system supports."""
    return EpollPoller() if sys.platform == "linux" else PortablePoller()
