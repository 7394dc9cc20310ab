"""A worker process: serves clients on sockets that its parent has opened, and obeys it."""

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec import Raw

from trio_socketio.cluster.forwarding.internal import Internal, among_workers, find_internal
from trio_socketio.cluster.workers.link import Link, LinkLost
from trio_socketio.cluster.workers.orphan import OrphanWatch
from trio_socketio.cluster.workers.process import GROUP_SIGNALS
from trio_socketio.cluster.workers.role import Family, longest_stop_s
from trio_socketio.cluster.workers.shares import Share, Shares
from trio_socketio.codec.json_text import encode_json
from trio_socketio.codec.worker_messages import (
    MAX_ORDER_BYTES,
    Answer,
    Call,
    Count,
    Drain,
    Failed,
    Ping,
    Pong,
    Ready,
    decode_order,
    decode_place,
    encode_line,
)
from trio_socketio.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from trio_socketio.runtime.endpoints import bind
from trio_socketio.runtime.groups import alone
from trio_socketio.socketio.measures import summarize

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.credentials import Credentials
    from trio_socketio.cluster.options import ClusterOptions
    from trio_socketio.cluster.workers.role import (
        EncodedMetrics,
        HealthChecks,
        MetricsText,
        Program,
    )
    from trio_socketio.codec.worker_messages import CallName
    from trio_socketio.runtime.connections import Connections
    from trio_socketio.runtime.endpoints import Endpoint
    from trio_socketio.runtime.runtime import Runtime
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)

MAX_CALLS: Final = 16
"""The most calls of the parent that may wait for their answers."""
_COUNT_S: Final = 1.0
_SAY_S: Final = 1.0
_UNSERVED_S: Final = 30.0
"""How long a process without a parent may take to end if it has not served yet."""


class WorkerRole:
    """The role of a process that serves clients for its parent.

    It has 14 attributes: what its parent told it, what it shares with others, and what it runs.

    Args:
        told: the place of this worker, as its parent has put it into the environment.

    Attributes:
        index: the number of this worker, from 1.

    Raises:
        ConfigurationError: it is not the place of a worker, or what it names is not there.
    """

    workers = None

    def __init__(self, told: str) -> None:
        try:
            place = decode_place(told)
            self._sock = socket.socket(fileno=place.link)
            for number in (place.link, place.shares, *place.listeners):
                os.set_inheritable(number, False)  # not for what the app starts
        except (OSError, RemoteProtocolError) as error:
            raise ConfigurationError(f"this process was not started as a worker: {error}") from None
        self.index = place.index
        self.node = place.node
        self.family = Family(parent=place.parent)
        self.listeners: Sequence[int] = place.listeners
        self.inherited: Sequence[str] = place.inherited
        shares = Shares.attach(place.shares, place.count)
        self._share = Share(shares, place.index)
        self._secret = shares.secret
        self._link = Link(self._sock, MAX_ORDER_BYTES)
        self._orphan = OrphanWatch(self._sock)
        self._metrics: EncodedMetrics | None = None
        self._server: Server | None = None
        self._serves = trio.Event()
        self._calls = 0

    def watch_parent(self) -> None:
        """End this process if its parent goes and the event loop does not notice."""
        self._orphan.start()

    def find_internal(
        self, options: "ClusterOptions", credentials: "Credentials | None"
    ) -> Internal:
        configured = find_internal(options, credentials, self.index)
        return configured or among_workers(self._secret, self.family.parent)

    @asynccontextmanager
    async def opened(
        self, program: "Program", endpoints: Sequence["Endpoint"]
    ) -> AsyncIterator[None]:
        """Do as the parent says while the block runs."""
        async with alone(trio.open_nursery()) as tasks:
            tasks.start_soon(self._obey, program, tasks)
            yield
            tasks.cancel_scope.cancel()

    async def serve(
        self,
        server: "Server",
        runtime: "Runtime",
        endpoints: Sequence["Endpoint"],
        *,
        task_status: "trio.TaskStatus[list[Any]]",
    ) -> None:
        self._server = server
        async with AsyncExitStack() as opened:
            bound = [await opened.enter_async_context(bind(endpoint)) for endpoint in endpoints]
            connections = await opened.enter_async_context(server.mounted(runtime))
            addresses = await opened.enter_async_context(
                runtime.listening(connections, *bound, balance=self._share)
            )
            async with alone(trio.open_nursery()) as tasks:
                tasks.start_soon(self._tell_counts, connections)
                with suppress(LinkLost):  # then it stops soon
                    await self._link.send(Ready())
                self._serves.set()
                task_status.started(addresses)
                await server.wait_stopping()
                self._share.leave()
                await server.wait_closing()
                tasks.cancel_scope.cancel()

    async def _tell_counts(self, connections: "Connections") -> None:
        told = 0
        while True:
            await trio.sleep(_COUNT_S)
            count = len(connections)
            self._share.publish(count)
            if count != told and not self._link.is_sending:
                with suppress(LinkLost):
                    await self._link.send(Count(connections=count))
                    told = count

    def use_metrics(self, metrics: "MetricsText", health: "HealthChecks") -> "EncodedMetrics":
        self._metrics = metrics
        return metrics

    async def reload(self) -> None:
        """Do nothing: the parent tells every worker by itself."""

    async def add_up(self, statistics: dict[str, Any]) -> Mapping[str, Any]:
        return statistics

    def fail(self, reason: str) -> None:
        """Tell the parent why this process ends with exit code 2: it shows the line once."""
        with suppress(OSError):
            self._sock.settimeout(_SAY_S)
            self._sock.sendall(encode_line(Failed(reason=reason)))

    # -- what the parent says

    async def _obey(self, program: "Program", tasks: trio.Nursery) -> None:
        try:
            async with self._link.reading() as lines:
                async for line in lines:
                    order = decode_order(line)
                    if isinstance(order, Call):
                        tasks.start_soon(self._answer, program, order)
                    elif isinstance(order, Ping):
                        if not self._link.is_sending:  # otherwise the parent hears from us anyway
                            tasks.start_soon(self._say_pong)
                    elif isinstance(order, Drain):
                        self._share.leave()
                        program.stop("told by the parent")
                    else:
                        program.end("told by the parent to end at once")
        except RemoteProtocolError as error:
            log.error("the parent says what makes no sense: %s", error)
        self._share.leave()
        self._orphan.noticed(_UNSERVED_S if self._server is None else longest_stop_s(self._server))
        program.stop("the parent has gone")  # WORK-15

    async def _say_pong(self) -> None:
        with suppress(LinkLost):  # then it stops soon
            await self._link.send(Pong(), inf)  # as in _answer

    async def _answer(self, program: "Program", call: Call) -> None:
        self._calls += 1
        try:
            if self._calls > MAX_CALLS:
                answer = Answer(number=call.number, fault="too many calls wait for their answers")
            else:
                answer = await self._make(program, call)
            # Without a deadline: a parent that stands still takes the answer when it goes on, and
            # makes no further calls until then.
            try:
                await self._link.send(answer, inf)
            except LocalProtocolError as error:  # such as metrics of very many events
                await self._link.send(Answer(number=call.number, fault=str(error)), inf)
        except LinkLost as error:
            log.debug("an answer was not sent: %s", error)
        finally:
            self._calls -= 1

    async def _make(self, program: "Program", call: Call) -> Answer:
        make: dict[CallName, Callable[[Program], Awaitable[Any]]] = {
            "reload": self._reload,
            "metrics": self._encode_metrics,
            "statistics": self._summarize,
        }
        try:
            result = encode_json(await make[call.name](program))
            return Answer(number=call.number, result=Raw(result))
        except (ConfigurationError, LocalProtocolError, TimeoutError) as error:
            return Answer(number=call.number, fault=str(error))
        except Exception as error:  # WORK-16: the parent waits, and clients are still served
            log.exception("a call of the parent has failed: %s", call.name)
            return Answer(number=call.number, fault=f"{type(error).__name__}: see the log")

    async def _reload(self, program: "Program") -> Any:
        await self._serves.wait()
        planned = await program.reload()
        return [len(planned.changed), len(planned.needs_restart)]

    async def _encode_metrics(self, _: "Program") -> str:
        if self._metrics is None:
            raise ConfigurationError("there are no metrics, because there is no admin port")
        return (await self._metrics.encode()).decode()

    async def _summarize(self, _: "Program") -> Any:
        if self._server is None:
            return {}
        return await summarize(self._server)


def leave_signals_to_parent() -> None:
    """Ignore what a terminal sends to all processes of the program; the parent tells what to do.

    They are blocked since before this interpreter began.
    """
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
