"""Two pollers, which differ in how they learn what connections are ready."""

import logging
import select
import sys
from collections import deque
from math import inf
from time import perf_counter
from typing import Final

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, wait_readable, wait_writable

from trio_socketio.net.driving import HANG_UP, READ, WRITE, Pollable
from trio_socketio.runtime.newcomers import CLOSED, Newcomers, watch_mask
from trio_socketio.runtime.poller import TURN_S, Poller

log = logging.getLogger(__name__)

BATCH: Final = 256
_CROWD: Final = 16
"""In a round with more connections than this, those that their peers have closed are put off."""
_PUT_OFF_TURNS: Final = 4
"""How many turns that may take in a round. Others may stand behind thousands that are closed."""
_MOST_DEFERRED: Final = 8
"""How many calls newcomers may defer in a turn. Each may be the end of a client, which takes as
long as a turn should with some observers; the call that has deferred it took no time at all."""
_SHARE_S: Final = 2 * TURN_S
"""How long newcomers may go on at most when their turn is over."""
_USUAL: Final = watch_mask(READ)
_HANG_UP_LOOK_S: Final = 1.0


_Ready = list[tuple[Pollable | Newcomers, int]]


class EpollPoller(Poller):
    """Watches all connections with two epoll objects, for which one task waits.

    The kernel reports what is ready in the order in which it became so. With one object, a client
    who has joined would wait behind all those who come back at once after an outage, each of whom
    costs as much as ten messages. So the first object has the preferred connections, and the second
    one the newcomers. The first one watches the second like a connection: a program waits for one
    descriptor, and rounds in which no newcomer is ready cost no more than with one object.

    If many are ready, those that their peers have closed are put off: the end of a client costs as
    much as its start, and no other client waits for it. They become newcomers and come before the
    others, because what they hold has to be free for those.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._newcomers = newcomers = Newcomers()
        self._connections: dict[int, Pollable | Newcomers] = {newcomers.fileno(): newcomers}
        self._epoll.register(newcomers.fileno(), READ)
        self._asked: dict[int, int] = {}  # the events of those that are not watched for READ alone
        self._round_began = 0.0

    def register(self, connection: Pollable, *, preferred: bool = False) -> None:
        if preferred:
            number = connection.fileno()
            self._epoll.register(number, _USUAL)
            self._connections[number] = connection
        else:
            self._newcomers.add(connection, READ)

    def prefer(self, connection: Pollable) -> None:
        newcomers, asked = self._newcomers, self._asked
        number = newcomers.numbers.get(connection)
        if number is None:  # it is preferred already, or closed
            return
        try:
            self._epoll.register(number, watch_mask(asked[number]) if number in asked else _USUAL)
        except OSError:  # RUN-57
            log.debug("a connection stays a newcomer: no memory, or no epoll watches are left")
            return
        # Every client who joins pays for this, so nothing more is called.
        self._connections[number] = connection
        del newcomers.connections[number], newcomers.numbers[connection]
        newcomers.epoll.unregister(number)

    def watch(self, connection: Pollable, events: int) -> None:
        number = connection.fileno()
        if events == READ:
            self._asked.pop(number, None)
        else:
            self._asked[number] = events
        if number in self._connections:
            self._epoll.modify(number, watch_mask(events))
        else:
            self._newcomers.epoll.modify(number, watch_mask(events))

    def unregister(self, connection: Pollable) -> None:
        number = connection.fileno()
        self._asked.pop(number, None)
        if self._connections.pop(number, None) is not None:
            self._epoll.unregister(number)
        elif number in self._newcomers.connections:
            del self._newcomers.connections[number], self._newcomers.numbers[connection]
            self._newcomers.epoll.unregister(number)

    def _registered(self) -> list[Pollable]:
        found = [one for one in self._connections.values() if not isinstance(one, Newcomers)]
        return found + list(self._newcomers.connections.values())

    def _close(self) -> None:
        self._epoll.close()
        self._newcomers.epoll.close()

    @enable_ki_protection
    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        newcomers, agenda = self._newcomers, self._agenda
        while True:
            if newcomers.are_ready:
                await checkpoint()
            else:
                await wait_readable(self._epoll.fileno())
            if agenda.deferred:  # not called in the common case
                await self._settle_deferred()
            batch = self._take(BATCH)
            if len(batch) == BATCH and newcomers.connections:
                newcomers.are_ready = True  # RUN-48: perhaps, as their object may stand behind
            if len(batch) > _CROWD:
                batch = await self._put_off_closed(batch)  # RUN-55
                await self._settle_deferred()
            self._begin_turn()
            self._round_began = self.turn_ends - TURN_S
            for connection, events in batch:
                if perf_counter() > self.turn_ends:
                    await self._end_turn()
                try:
                    connection.on_ready(events)
                except BaseException as error:
                    agenda.contain(connection, error)
            await self._finish_turn()  # their output leaves before anything else is read
            if newcomers.are_ready:  # RUN-47
                await self._read_newcomers()

    def find_closed(self) -> list[Pollable]:
        found: list[Pollable] = []
        for one, events in self._take_all():
            if events & CLOSED and not isinstance(one, Newcomers):
                asked = self._asked.get(one.fileno(), READ)
                if asked & READ:
                    found.append(one)
                else:  # reported once only, see watch_mask: this has to be seen by its own turn
                    self.watch(one, asked)
        return found

    async def read_ready(self) -> None:
        await self._settle_deferred()
        ready = self._take_all()
        self._begin_turn()
        await self._call(ready, inf)

    def _take_all(self) -> deque[tuple[Pollable | Newcomers, int]]:
        """Return all connections that are ready, and for what. The kernel keeps their order.

        Both objects are asked before anything is called, because calls move connections (RUN-56).
        """
        newcomers, ready = self._newcomers, deque(self._take(len(self._connections)))
        ready += newcomers.take(max(1, len(newcomers.connections)))
        return ready

    def _take(self, most: int) -> _Ready:
        """Return up to this many of the preferred connections that are ready, and for what."""
        connections = self._connections
        # Connections and not their numbers, because a number may be reused before its turn comes.
        return [(connections[number], events) for number, events in self._epoll.poll(0, most)]

    async def _put_off_closed(self, batch: _Ready) -> _Ready:
        """Put off the connections that their peers have closed, and return the others.

        If there are hardly any others, it goes on with those that stand behind.
        """
        others: dict[Pollable | Newcomers, int] = {}  # none twice: they are reported again
        turns = 0
        turn_ends = perf_counter() + TURN_S
        while True:
            others |= {
                connection: events
                for connection, events in batch
                if not events & CLOSED or not self._put_off(connection, events)
            }
            if len(batch) < BATCH or len(others) > _CROWD:
                break
            if perf_counter() > turn_ends:
                turns += 1
                if turns == _PUT_OFF_TURNS:
                    break
                await checkpoint()
                turn_ends = perf_counter() + TURN_S
            batch = self._take(BATCH)
        return list(others.items())

    def _put_off(self, connection: Pollable | Newcomers, events: int) -> bool:
        """Make a newcomer of a connection whose peer has closed it; return whether that works."""
        newcomers = self._newcomers
        if isinstance(connection, Newcomers):
            return False
        number = connection.fileno()
        try:
            newcomers.add(connection, self._asked.get(number, READ))
        except OSError:
            return False
        newcomers.closed.append((connection, events))
        newcomers.are_ready = True
        del self._connections[number]
        self._epoll.unregister(number)
        return True

    async def _read_newcomers(self) -> None:
        """Call closed connections that were put off, then newcomers that are ready; one at least.

        They have what is left of the turn, and as long as the others took in this round, so that
        clients who have much to say do not starve them (RUN-48). That is bounded, because what the
        round took may include tasks that those very newcomers have started.
        """
        now, turn_ends = perf_counter(), self.turn_ends
        took_s = min(now - self._round_began, _SHARE_S)
        if now > turn_ends:
            await self._begin_next_turn()
            turn_ends = inf
        else:
            self._begin_turn()
        self.turn_ends = min(turn_ends, self.turn_ends)
        newcomers = self._newcomers
        ready = newcomers.closed
        if not ready:  # RUN-49
            ready = newcomers.waiting = newcomers.waiting or newcomers.take(BATCH)
        await self._call(ready, max(self.turn_ends, perf_counter() + took_s))
        newcomers.are_ready = bool(newcomers.closed or newcomers.waiting)

    async def _call(self, ready: deque[tuple[Pollable | Newcomers, int]], ends: float) -> None:
        """Call connections until a time, the first one in any case, and take them off the queue.

        What they have left for the end of a turn counts as well.
        """
        deferred = self._agenda.deferred
        while ready:
            connection, events = ready.popleft()
            try:
                connection.on_ready(events)
            except BaseException as error:
                self._agenda.contain(connection, error)
            if perf_counter() > self.turn_ends or len(deferred) >= _MOST_DEFERRED:
                await self._finish_turn()
                if perf_counter() > ends:
                    return
                await self._begin_next_turn()
                self.turn_ends = min(self.turn_ends, ends)
        await self._finish_turn()

    async def _settle_deferred(self) -> None:
        """Make the calls that other tasks have deferred: they come before reading."""
        if self._agenda.deferred:
            self._begin_turn()
            await self._finish_turn()

    async def _end_turn(self) -> None:
        """Let other tasks run in the middle of a batch."""
        await self._finish_turn()
        await self._begin_next_turn()

    async def _begin_next_turn(self) -> None:
        """Let other tasks run, and begin another turn behind them."""
        await checkpoint()
        await self._settle_deferred()
        self._begin_turn()


class PortablePoller(Poller):
    """Watches each connection with tasks of its own, on systems without epoll.

    It knows no order, and prefers nothing. In each pass trio runs the tasks forwards or backwards,
    at random, so that none of them waits for all that became ready before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches: dict[Pollable, _Watch] = {}
        self._pass = 0  # counts the passes of trio's scheduler in which a connection was ready
        self._pass_ends = 0.0
        self._nursery: trio.Nursery | None = None

    def register(self, connection: Pollable, *, preferred: bool = False) -> None:
        self._watches[connection] = _Watch()
        self.watch(connection, READ)

    def prefer(self, connection: Pollable) -> None:
        """Do nothing; see above."""

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

    def find_closed(self) -> list[Pollable]:
        """Return none: other systems do not tell without a read whether a peer has closed."""
        return []

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
