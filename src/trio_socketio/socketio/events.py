"""Dispatches the events of a socket to handlers: at once, or in order behind those that wait."""

import types
from collections import deque
from functools import partial
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import LateAnswer
from trio_socketio.protocol.socket_life import Life
from trio_socketio.runtime.timings import QUICK_S
from trio_socketio.socketio.event_roles import EventPlace, EventSender, EventSocket
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.intake import LIGHT_BYTES, OVERLOAD_FACTOR, weigh_event
from trio_socketio.socketio.interception import HandlerTable, Interception

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence
    from typing import TypeAlias

    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.runtime.timings import Timing

    _Event: TypeAlias = tuple[Handler, list[Any], int | None, int]  # the last is its weight


_JOINED: Final = Life.JOINED  # looking a member up in its Enum costs as much as the comparison

UNCOUNTED_BYTES: Final = 1024
"""Events that wait are counted together once they weigh more, as counting each takes longer than
putting it into the queue (BND-19)."""
_HANDLED_BYTES: Final = 16384
"""Events that were handled are taken out of the accounts together once they weigh this much."""


class Events:
    """Queues the events of one socket, dispatches them to handlers, and answers them.

    It holds no reference to the socket, which would be a cycle for the garbage collector. The
    socket is the first argument of every event instead.

    Args:
        place: the namespace.

    Attributes:
        handlers: the table in which handlers are looked up: that of the namespace, or an
            Interception.
        pending: the number of events that wait or are being handled.
    """

    __slots__ = ("_place", "_queue", "_task", "_uncounted", "handlers", "pending")

    def __init__(self, place: EventPlace) -> None:
        self._place = place
        self.handlers: HandlerTable = place._registry.handlers
        self.pending = 0
        self._uncounted = 0  # the part of the weight of what is queued that Intake has not counted
        self._queue: deque[_Event] | None = None  # set while a worker goes through it
        self._task: trio.lowlevel.Task | None = None  # that worker, once a handler has suspended

    def receive(
        self,
        socket: EventSocket,
        arguments: list[Any],
        ack_id: int | None,
        weight: int = 0,
        packet: bytes = b"",
    ) -> None:
        """Call the handler of an event that has arrived, or queue the event behind others.

        Args:
            socket: has received the event.
            arguments: the event's name, then its arguments. The socket takes the place of the name
                (SIO5-19).
            ack_id: of the event; None if no answer is asked for (SIO5-25).
            weight: as in `dispatch`.
            packet: as in `dispatch`.
        """
        name = arguments[0]
        handler = self.handlers.get(name) or self._place._registry.unhandled_for(name)
        if handler is not None:  # SIO5-22: otherwise it is ignored
            arguments[0] = socket
            self.dispatch(handler, arguments, ack_id, weight, packet)

    def dispatch(
        self,
        handler: Handler,
        arguments: list[Any],
        ack_id: int | None = None,
        weight: int = 0,
        packet: bytes = b"",
    ) -> None:
        """Call a plain handler now if no event is before it; otherwise queue the event (SIO5-20).

        Args:
            handler: of the event.
            arguments: the socket, then the arguments of the event.
            ack_id: of the event; None if no answer is asked for.
            weight: as Intake weighs it; 0 for an event of the server's own.
            packet: of an event that has yet to be weighed. Most events are handled at once, and are
                never weighed.
        """
        workers = self._place._workers
        if not (handler.is_async or self.pending):
            if not handler.untimed:
                self._call_timed(handler, arguments, ack_id)
                return
            handler.untimed -= 1
            try:
                result = workers.call(handler, arguments)
            except BaseException as error:
                workers.log_failure(handler, arguments[0].public_id, error)
                return  # SIO5-30: a failure answers nothing, and the client's timeout decides
            if ack_id is not None:  # SIO5-26
                self._acknowledge(handler, arguments[0], ack_id, result)
            return
        if packet:
            weight = len(packet)
            # A single text weighs as much as the packet, and is too common to be looked through.
            if weight > LIGHT_BYTES and (len(arguments) != 2 or type(arguments[1]) is not str):
                weight = self._weigh(arguments, packet)
        self.pending = pending = self.pending + 1
        self._uncounted = uncounted = self._uncounted + weight
        if uncounted > UNCOUNTED_BYTES:  # BND-19
            self._uncounted = 0
            client: EventSender = arguments[0]._participant
            client.host.intake.add(client, uncounted)
        if handler.concurrent:
            workers.submit(_ConcurrentEvent(self, handler, arguments, ack_id, weight))
        elif self._queue is not None:
            self._queue.append((handler, arguments, ack_id, weight))
        else:
            self._queue = deque(((handler, arguments, ack_id, weight),))
            workers.submit(self)
        if pending >= workers.queue_bound:
            overload = OVERLOAD_FACTOR * workers.queue_bound
            arguments[0]._participant.burdened(is_overload=pending >= overload)

    def _call_timed(self, handler: Handler, arguments: list[Any], ack_id: int | None) -> None:
        """Call a plain handler as `dispatch` does, and time it if its turn has come (OPS-22)."""
        workers, socket = self._place._workers, arguments[0]
        timing = handler.take_timing(workers.timings)
        began = perf_counter()
        try:
            result = workers.call(handler, arguments)
        except BaseException as error:
            workers.log_failure(handler, socket.public_id, error)
            return
        finally:
            if timing is not None:
                timing.add(perf_counter() - began)
        if ack_id is not None:
            self._acknowledge(handler, socket, ack_id, result)

    def _acknowledge(self, handler: Handler, socket: EventSocket, ack_id: int, result: Any) -> None:
        arguments: Sequence[Any]
        if type(result) is tuple:
            arguments = result
        elif type(result) is LateAnswer:
            result.send_with(partial(self._acknowledge, handler, socket, ack_id))
            return
        else:
            arguments = () if result is None else (result,)  # `answer_arguments` without the call
        try:
            packet = self._place._packets.encode_ack(arguments, ack_id)
        # Any exception, because a result may be of any class, and fail while it is read.
        except BaseException as error:
            self._place._workers.log_failure(handler, socket.public_id, error)
            return
        if socket._membership.life is _JOINED:  # `connected` without the call
            socket.session.send(packet)

    # -- listeners and middleware

    def intercept(self) -> Interception:
        """Let listeners and middleware see every event, also those that wait."""
        if not isinstance(self.handlers, Interception):
            self.handlers = Interception(self._place._registry)
        return self.handlers

    @property
    def interception(self) -> Interception | None:
        """What sees every event before its handler; None if nothing does."""
        return self.handlers if isinstance(self.handlers, Interception) else None

    def reconsider(self) -> None:
        """Have events that wait pass the listeners and middleware that are there now."""
        interception = self.interception
        if interception is None:
            return
        if interception.is_idle:
            self.handlers = self._place._registry.handlers  # an Interception costs a call an event
        queue = self._queue or deque()
        for _ in range(len(queue)):  # in place, as a worker may be going through it
            handler, arguments, ack_id, weight = queue.popleft()
            queue.append((interception.wrap(handler), arguments, ack_id, weight))

    def intercepted(self, handler: Handler) -> Handler:
        """Return a handler that was looked up earlier as it is to be called now."""
        interception = self.interception
        return handler if interception is None else interception.wrap(handler)

    # -- the queue

    @property
    def has_room(self) -> bool:
        """Whether another event may be queued."""
        return self.pending < self._place._workers.queue_bound

    @property
    def is_handled_here(self) -> bool:
        """Whether an event of the queue is being handled by a handler that runs in this task."""
        return self._task is trio.lowlevel.current_task()

    async def wait_handled(self, socket: EventSocket) -> None:
        """Wait until the events that are queued now have been handled."""
        end = _End()
        self.dispatch(end, [socket])
        try:
            await end.reached.wait()
        except trio.Cancelled:
            self._withdraw(end)  # it must not be counted as an event that was dropped
            raise

    def _withdraw(self, end: "_End") -> None:
        for number, (queued, *_) in enumerate(self._queue or ()):
            if queued is end and self._queue is not None:
                del self._queue[number]
                self.pending -= 1
                break

    def _weigh(self, arguments: list[Any], packet: bytes) -> int:
        """Return what an event weighs that is kept. The first of the arguments is the socket."""
        weight = len(packet)
        client: EventSender = arguments[0]._participant
        if weight <= client.host.intake.weigh_above:
            return weight
        return weigh_event(packet, arguments[1:])

    def give_up(self) -> int:
        """Drop what is queued, since no worker will run it. Returns how many events those were."""
        queue, self._queue = self._queue or deque(), None
        given_up = list(queue)
        queue.clear()  # a worker that is going through it must not handle them after all
        events = 0
        for handler, arguments, _, weight in given_up:
            self.put_down(arguments[0], weight)
            if isinstance(handler, _End):
                handler.reached.set()  # nothing is before it any more
            else:
                events += 1
        return events

    def drop_waiting(self) -> int:
        """Drop the client's events that no handler has begun with. Returns how many they were.

        What the server has queued itself, such as "disconnect", stays.
        """
        dropped, queue = 0, self._queue or deque()
        for _ in range(len(queue)):  # in place: a worker may be going through it
            event = queue.popleft()
            _, arguments, _, weight = event
            if weight:
                self.put_down(arguments[0], weight)
                dropped += 1
            else:
                queue.append(event)
        self._place._workers.events_dropped += dropped
        return dropped

    def put_down(self, socket: EventSocket, weight: int) -> None:
        """Take an event that will never be handled out of the accounts."""
        self.pending -= 1
        if weight:
            self._give_back(socket, weight)

    @types.coroutine
    def run(
        self, workers: "Workers", queue: "deque[_Event] | None" = None
    ) -> "Generator[Any, Any, bool]":
        """Run handlers in a worker, one after the other, and answer.

        One generator does it all, because each call between trio and a handler is paid at every
        step of a handler that is suspended.

        Args:
            workers: what runs them.
            queue: the events; None for what is queued here.

        Returns:
            Whether the worker need not look at the clock, because `step_began` is the end of the
            last event, and other tasks need not run before the next job.
        """
        if queue is None:
            queue = self._queue or deque()
        suspended, rests = False, True
        handled = 0  # the weight of the events that were handled and are still counted
        eased_at = workers.queue_bound // 2
        timings, fences = workers.timings, workers.fences
        # Quick calls of one handler in a row are added to its timing together: it takes as long to
        # add one up as to add up all.
        in_row: Handler | None = None
        timing: Timing | None = None
        calls = 0
        task: trio.lowlevel.Task | None = None  # this one, once a handler has suspended
        row_began = began = workers.step_began  # the worker has done nothing since
        try:
            while queue:
                handler, arguments, ack_id, weight = queue.popleft()
                if handler is not in_row:
                    if calls and timing is not None:
                        timing.add_quick(calls, began - row_began)
                    calls, row_began = 0, began
                    timing = handler.timing or handler.take_timing(timings)
                    in_row = handler if handler.timing is not None else None
                suspended = False
                try:
                    if handler.is_async:
                        workers.running = handler
                        result = workers.begin(handler.function, arguments)
                        if result is workers.suspended:
                            suspended = True
                            if task is None:
                                task = trio.lowlevel.current_task()
                                if queue is self._queue:
                                    self._task = task
                            if workers.taker is task:
                                workers.pass_on()
                            if handled > UNCOUNTED_BYTES:
                                self._give_back(arguments[0], handled)
                                handled = 0
                            result = yield from result
                    else:
                        result = workers.call(handler, arguments)
                except BaseException as error:
                    workers.log_failure(handler, arguments[0].public_id, error)
                else:
                    if ack_id is not None:
                        self._acknowledge(handler, arguments[0], ack_id, result)
                finally:
                    ended = perf_counter()
                    if ended - began <= QUICK_S:
                        calls += 1
                        workers.step_began = ended
                    else:
                        if timing is not None:
                            if calls:
                                timing.add_quick(calls, began - row_began)
                            timing.add(ended - began)
                        calls, row_began = 0, ended
                        if ended - workers.step_began > workers.note_s:
                            workers.end_step(ended)  # not called in the common case
                        workers.step_began = ended
                    began = ended
                    self.pending = pending = self.pending - 1
                    if pending == eased_at:
                        arguments[0]._participant.queue_eased()
                    handled += weight
                    if handled > _HANDLED_BYTES:
                        self._give_back(arguments[0], handled)
                        handled = 0
                if suspended:
                    rests = fences.at < inf and fences.is_passed()  # LEASE-45
                else:
                    rests = ended > workers.slice_ends
                if rests and queue:
                    yield from workers.rest()
                    row_began += workers.step_began - ended
                    began = workers.step_began
        except BaseException:  # cancelled, at the end of stop_grace_s: what waits is counted
            workers.give_up(self)
            raise
        finally:
            if calls and timing is not None:  # add_quick without the call
                timing.buckets[0] += calls
                timing.sum_s += began - row_began
            if handled > self._uncounted:
                self._give_back(arguments[0], handled)
            else:
                self._uncounted -= handled
            if queue is self._queue:
                self._queue = self._task = None
        return suspended or not rests

    def _give_back(self, socket: EventSocket, weight: int) -> None:
        """Take events out of the accounts: they were handled, or never will be (BND-06)."""
        self._uncounted -= weight
        if self._uncounted < 0:
            client = socket._participant
            client.host.intake.remove(client, -self._uncounted)
            self._uncounted = 0


class _End(Handler):
    """Stands in a queue behind the events that were there before it. It is not an event itself."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        # Of that name, as catch-all listeners must not see it either.
        super().__init__("disconnect", lambda _: self.reached.set())
        self.reached = trio.Event()

    def take_timing(self, timings: object) -> None:
        return None


class _ConcurrentEvent:
    """An event whose handler may run while other events of its socket are handled."""

    __slots__ = ("_ack_id", "_arguments", "_events", "_handler", "_weight")

    def __init__(
        self,
        events: Events,
        handler: Handler,
        arguments: list[Any],
        ack_id: int | None,
        weight: int,
    ) -> None:
        self._events = events
        self._handler = handler
        self._arguments = arguments
        self._ack_id = ack_id
        self._weight = weight

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """Handle the event, unless its session was aborted meanwhile (LEASE-48).

        Returns:
            Whether the worker need not look at the clock; see Events.run.
        """
        if self._arguments[0].session.aborted:
            workers.give_up(self)
            return self._events.run(workers, deque())
        handler = self._events.intercepted(self._handler)
        event = (handler, self._arguments, self._ack_id, self._weight)
        return self._events.run(workers, deque([event]))

    def give_up(self) -> int:
        """Drop the event."""
        self._events.put_down(self._arguments[0], self._weight)
        return 1
