"""The events of a socket on their way to handlers: at once, or in order behind those that wait."""

import types
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trio_socketio.acks import answer_arguments
from trio_socketio.socketio.handlers import Handler
from trio_socketio.socketio.intake import OVERLOAD_FACTOR, Holder
from trio_socketio.socketio.interception import HandlerTable, Interception

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import TypeAlias

    from trio_socketio.engine.session import Session
    from trio_socketio.runtime.jobs import Workers
    from trio_socketio.socketio.host import Host
    from trio_socketio.socketio.packets import PacketWriter
    from trio_socketio.socketio.registry import Registry

    _Event: TypeAlias = tuple[Handler, list[Any], int | None, int]  # the last is its weight


class EventSender(Holder, Protocol):
    """The client whose events these are."""

    @property
    def host(self) -> "Host":
        """The server, which weighs them."""


class EventSocket(Protocol):
    """The socket whose events these are: the first argument of every handler."""

    @property
    def id(self) -> str:
        """See Socket."""

    @property
    def session(self) -> "Session":
        """See Socket."""

    @property
    def connected(self) -> bool:
        """See Socket."""

    @property
    def _participant(self) -> EventSender:
        """Its client."""


class EventPlace(Protocol):
    """The namespace of that socket."""

    @property
    def _registry(self) -> "Registry":
        """Knows the handlers."""

    @property
    def _packets(self) -> "PacketWriter":
        """Writes the answers."""

    @property
    def _workers(self) -> "Workers":
        """Run async handlers."""


class Events:
    """Queues the events of one socket, dispatches them to handlers, and answers them.

    It does not refer to the socket, which would be a cycle for the collector: the socket is the
    first of every event's arguments.

    Args:
        place: the namespace.

    Attributes:
        handlers: where handlers are looked up: the namespace's table, or an Interception.
        pending: events that wait or run.
    """

    __slots__ = ("_place", "_queue", "handlers", "pending")

    def __init__(self, place: EventPlace) -> None:
        self._place = place
        self.handlers: HandlerTable = place._registry.handlers
        self.pending = 0
        self._queue: deque[_Event] | None = None  # a worker goes through it

    def receive(
        self, socket: EventSocket, arguments: list[Any], ack_id: int | None, weight: int = 0
    ) -> None:
        """An event arrived: call its handler, or queue it behind those that run.

        Args:
            socket: whose.
            arguments: its name, then what goes with it.
            ack_id: answered with what the handler returns.
            weight: see Intake.
        """
        name = arguments[0]
        handler = self.handlers.get(name) or self._place._registry.unhandled_for(name)
        if handler is not None:  # SIO5-22: else it is ignored
            arguments[0] = socket
            self.dispatch(handler, arguments, ack_id, weight)

    def dispatch(
        self, handler: Handler, arguments: list[Any], ack_id: int | None = None, weight: int = 0
    ) -> None:
        """Call a plain handler now if nothing is before it; queue any other.

        Args:
            handler: see above.
            arguments: the socket, then what goes with the event.
            ack_id: see receive.
            weight: see receive.
        """
        if handler.is_async or self.pending:
            self._enqueue(handler, arguments, ack_id, weight)
            return
        workers = self._place._workers
        try:
            result = workers.call(handler, arguments)
        except BaseException as error:
            workers.log_failure(handler, arguments[0].id, error)
            return
        if ack_id is not None:
            self._acknowledge(handler, arguments[0], ack_id, result)

    def _acknowledge(self, handler: Handler, socket: EventSocket, ack_id: int, result: Any) -> None:
        arguments = result if type(result) is tuple else answer_arguments(result)
        try:
            packet = self._place._packets.encode_ack(arguments, ack_id)
        except BaseException as error:  # a result may be of any class, and fail while it is read
            self._place._workers.log_failure(handler, socket.id, error)
            return
        if socket.connected:
            socket.session.send(packet)

    # -- what comes before the handlers

    def intercept(self) -> Interception:
        """Let listeners and middleware see every event, those that wait included."""
        if not isinstance(self.handlers, Interception):
            self.handlers = Interception(self._place._registry)
        return self.handlers

    @property
    def interception(self) -> Interception | None:
        """What sees every event; None when nothing does."""
        return self.handlers if isinstance(self.handlers, Interception) else None

    def reconsider(self) -> None:
        """Listeners or middleware have come or gone: what waits passes those that are there now."""
        interception = self.interception
        if interception is None:
            return
        if interception.is_idle:
            self.handlers = self._place._registry.handlers  # nothing is left that would cost
        queue = self._queue or deque()
        for _ in range(len(queue)):  # in place: a worker may be going through it
            handler, arguments, ack_id, weight = queue.popleft()
            queue.append((interception.wrap(handler), arguments, ack_id, weight))

    def intercepted(self, handler: Handler) -> Handler:
        """A handler that was looked up before, as it is to be called now."""
        interception = self.interception
        return handler if interception is None else interception.wrap(handler)

    # -- handlers that take their time

    @property
    def has_room(self) -> bool:
        """Whether another event may be queued."""
        return self.pending < self._place._workers.queue_bound

    async def wait_handled(self, socket: EventSocket) -> None:
        """Wait until the events that are queued now have been handled, one after the other."""
        end = _End()
        self.dispatch(end, [socket])
        try:
            await end.reached.wait()
        except trio.Cancelled:
            self._withdraw(end)
            raise

    def _withdraw(self, end: "_End") -> None:
        for number, (queued, *_) in enumerate(self._queue or ()):
            if queued is end and self._queue is not None:
                del self._queue[number]
                self.pending -= 1
                break

    def _enqueue(
        self, handler: Handler, arguments: list[Any], ack_id: int | None, weight: int
    ) -> None:
        workers = self._place._workers
        self.pending += 1
        if handler.concurrent:
            workers.submit(_ConcurrentEvent(self, handler, arguments, ack_id, weight))
        elif self._queue is not None:
            self._queue.append((handler, arguments, ack_id, weight))
        else:
            self._queue = deque(((handler, arguments, ack_id, weight),))
            workers.submit(self)
        client: EventSender = arguments[0]._participant
        if weight:
            client.host.intake.add(client, weight)
        if self.pending >= workers.queue_bound:
            overload = OVERLOAD_FACTOR * workers.queue_bound
            client.burdened(is_overload=self.pending >= overload)

    def run(self, workers: "Workers") -> "Awaitable[bool]":
        """See Job: handle what is queued, in order."""
        return self.handle(workers, self._queue or deque())

    def give_up(self) -> int:
        """See EventJob."""
        queue, self._queue = self._queue or deque(), None
        given_up = list(queue)
        queue.clear()  # a worker that is still going through it must not handle them after all
        events = 0
        for handler, arguments, _, weight in given_up:
            self.put_down(arguments[0], weight)
            if isinstance(handler, _End):
                handler.reached.set()  # nothing is before it any more
            else:
                events += 1
        return events

    def put_down(self, socket: EventSocket, weight: int) -> None:
        """An event that waited will never be handled."""
        self.pending -= 1
        if weight:
            socket._participant.host.intake.remove(socket._participant, weight)

    @types.coroutine
    def handle(self, workers: "Workers", queue: "deque[_Event]") -> "Generator[Any, Any, bool]":
        """Run handlers in a worker, one after the other, and answer. See Job.run.

        One generator for a queue: every call between trio and the handler is paid at each step.
        """
        suspended = False
        try:
            while queue:
                handler, arguments, ack_id, weight = queue.popleft()
                socket: EventSocket = arguments[0]
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
                    workers.log_failure(handler, socket.id, error)
                else:
                    if ack_id is not None:
                        self._acknowledge(handler, socket, ack_id, result)
                finally:
                    self.pending -= 1
                    if weight:
                        socket._participant.host.intake.remove(socket._participant, weight)
                    if self.pending == workers.queue_bound // 2:
                        socket._participant.queue_eased()
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
    """Stands in a queue behind the events that were there before it. It is not an event itself."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        # Of that name, as catch-all listeners must not see it either.
        super().__init__("disconnect", lambda _: self.reached.set())
        self.reached = trio.Event()


class _ConcurrentEvent:
    """An event whose handler may run beside others of its socket."""

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
        """See Job."""
        handler = self._events.intercepted(self._handler)
        event = (handler, self._arguments, self._ack_id, self._weight)
        return self._events.handle(workers, deque([event]))

    def give_up(self) -> int:
        """See EventJob."""
        self._events.put_down(self._arguments[0], self._weight)
        return 1
