"""The events of a socket on their way to handlers: at once, or in order behind those that wait."""

import types
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import answer_arguments
from trio_socketio.socketio.any_listeners import AnyListeners
from trio_socketio.socketio.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import TypeAlias

    from trio_socketio.engine.session import Session
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.peer import Peer

    _Event: TypeAlias = tuple[Handler, list[Any], int | None, int]  # the last is its weight

OVERLOAD_FACTOR: Final = 4
"""Times the queue bound: how far events may pile up behind a handler that awaits an ack."""


class EventQueue(AnyListeners):
    """The part of a socket that has its events handled, and answers them."""

    __slots__ = ("_pending", "_queue")

    _pending: int
    _queue: "deque[_Event] | None"
    if TYPE_CHECKING:  # the socket's
        peer: Peer
        session: Session

    def receive_event(self, arguments: list[Any], ack_id: int | None, weight: int = 0) -> None:
        """An event arrived: call its handler, or queue it behind those that run.

        Args:
            arguments: its name, then what goes with it.
            ack_id: answered with what the handler returns.
            weight: see Intake.
        """
        handler = self.handlers.get(arguments[0]) or self.namespace.unhandled_for(arguments[0])
        if handler is not None:
            arguments[0] = self
            self.dispatch(handler, arguments, ack_id, weight)

    def dispatch(
        self, handler: "Handler", arguments: list[Any], ack_id: int | None, weight: int = 0
    ) -> None:
        """Call a plain handler now if nothing is before it; queue any other."""
        if handler.is_async or self._pending:
            self._enqueue(handler, arguments, ack_id, weight)
            return
        try:
            result = self.namespace.workers.call(handler, arguments)
        except BaseException as error:
            self.namespace.workers.log_failure(handler, self.id, error)
            return
        if ack_id is not None:
            self._acknowledge(handler, ack_id, result)

    def _acknowledge(self, handler: "Handler", ack_id: int, result: Any) -> None:
        arguments = result if type(result) is tuple else answer_arguments(result)
        try:
            packet = self.namespace.encode_ack(arguments, ack_id)
        except BaseException as error:  # a result may be of any class, and fail while it is read
            self.namespace.workers.log_failure(handler, self.id, error)
            return
        if self.connected:
            self.session.send(packet)

    # -- handlers that take their time

    @property
    def is_busy(self) -> bool:
        """Whether events of it wait or run."""
        return self._pending > 0

    @property
    def has_room(self) -> bool:
        """Whether another event may be queued."""
        return self._pending < self.namespace.workers.queue_bound

    async def wait_handled(self) -> None:
        """Wait until the events that are queued now have been handled, one after the other."""
        end = _End()
        self.dispatch(end, [self], None)
        try:
            await end.reached.wait()
        except trio.Cancelled:
            self._withdraw(end)
            raise

    def _withdraw(self, end: "_End") -> None:
        for number, (queued, *_) in enumerate(self._queue or ()):
            if queued is end and self._queue is not None:
                del self._queue[number]
                self._pending -= 1
                break

    def _enqueue(
        self, handler: "Handler", arguments: list[Any], ack_id: int | None, weight: int
    ) -> None:
        workers = self.namespace.workers
        self._pending += 1
        if handler.concurrent:
            workers.submit(_ConcurrentEvent(self, handler, arguments, ack_id, weight))
        else:
            if self._queue is not None:
                self._queue.append((handler, arguments, ack_id, weight))
            else:
                self._queue = deque(((handler, arguments, ack_id, weight),))
                workers.submit(self)
        if weight:
            self.peer.intake.add(self.peer, weight)
        if self._pending >= workers.queue_bound:
            self.peer.queue_full(self._pending)

    def reconsider_queue(self) -> None:
        """See AnyListeners."""
        queue = self._queue or deque()
        for _ in range(len(queue)):  # in place: a worker may be going through it
            handler, arguments, ack_id, weight = queue.popleft()
            queue.append((self.intercepted(handler), arguments, ack_id, weight))

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """See Job: handle what is queued, in order."""
        return self.handle(workers, self._queue or deque())

    def give_up(self) -> int:
        """See EventJob."""
        queue, self._queue = self._queue or deque(), None
        given_up = list(queue)
        queue.clear()  # a worker that is still going through it must not handle them after all
        self._pending -= len(given_up)
        events = 0
        for handler, *_, weight in given_up:
            self.put_down(weight)
            if isinstance(handler, _End):
                handler.reached.set()  # nothing is before it any more
            else:
                events += 1
        return events

    def put_down(self, weight: int) -> None:
        """An event was handled, or never will be."""
        if weight:
            self.peer.intake.remove(self.peer, weight)

    @types.coroutine
    def handle(self, workers: "Workers", queue: "deque[_Event]") -> "Generator[Any, Any, bool]":
        """Run handlers in a worker, one after the other, and answer. See Job.run.

        One generator for a queue: every call between trio and the handler is paid at each step.
        """
        suspended = False
        try:
            while queue:
                handler, arguments, ack_id, weight = queue.popleft()
                suspended = False
                try:
                    if handler.is_async:
                        workers.running = handler
                        result = workers.begin(handler.function, arguments)
                        if result is workers.suspended:
                            suspended = True
                            result = yield from result
                    else:
                        result = workers.call(handler, arguments)
                except BaseException as error:
                    workers.log_failure(handler, self.id, error)
                else:
                    if ack_id is not None:
                        self._acknowledge(handler, ack_id, result)
                finally:
                    self._pending -= 1
                    if weight:
                        self.peer.intake.remove(self.peer, weight)
                    if self._pending == workers.queue_bound // 2:
                        self.peer.queue_eased()
                if queue and not suspended and workers.is_slice_over():
                    yield from workers.rest()
        except BaseException:  # cancelled: the server has waited long enough
            workers.give_up(self)
            raise
        finally:
            if queue is self._queue:
                self._queue = None
        return suspended


class _End(Handler):
    """Stands in a queue behind the events that were there before it. It is no event itself."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        # Of that name, as catch-all listeners must not see it either.
        super().__init__("disconnect", lambda _: self.reached.set())
        self.reached = trio.Event()


class _ConcurrentEvent:
    """An event whose handler may run beside others of its socket."""

    __slots__ = ("_ack_id", "_arguments", "_handler", "_socket", "_weight")

    def __init__(
        self,
        socket: EventQueue,
        handler: "Handler",
        arguments: list[Any],
        ack_id: int | None,
        weight: int,
    ) -> None:
        self._socket = socket
        self._weight = weight
        self._handler = handler
        self._arguments = arguments
        self._ack_id = ack_id

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """See Job."""
        handler = self._socket.intercepted(self._handler)
        event = (handler, self._arguments, self._ack_id, self._weight)
        return self._socket.handle(workers, deque([event]))

    def give_up(self) -> int:
        """See EventJob."""
        self._socket._pending -= 1
        self._socket.put_down(self._weight)
        return 1
