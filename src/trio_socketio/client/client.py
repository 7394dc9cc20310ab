"""The client: keeps one connection to a server, and its namespaces joined."""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any

import trio

from trio_socketio.client.dispatch import Function, ReceivedEvent
from trio_socketio.client.endpoint import Dialer
from trio_socketio.client.engine import Engine, open_engine
from trio_socketio.client.namespace import (
    DEFAULT_ACK_TIMEOUT_S,
    ClientNamespace,
    VolatileClient,
    check_name,
)
from trio_socketio.client.options import ClientOptions
from trio_socketio.codec.parsers import Parser
from trio_socketio.codec.socket_packet import Packet, Reassembly
from trio_socketio.errors import ConnectFailed, RemoteProtocolError
from trio_socketio.protocol.backoff import Backoff
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.runtime.failures import FailureLog

log = logging.getLogger(__name__)

Auth = Mapping[str, Any] | Callable[[str], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]


class Client:
    """A connection to a server and its namespaces; made by ``open_client``.

    What it has in common with a ClientNamespace concerns the first namespace that was asked for.
    """

    def __init__(
        self,
        dialer: Dialer,
        namespaces: Sequence[str],
        auth: Auth | None,
        transports: Sequence[str],
        options: ClientOptions,
        parser: Parser,
    ) -> None:
        self.options = options
        self.parser = parser
        self.auth = auth
        self.engine: Engine | None = None
        self.failures = FailureLog()
        self.packets_dropped = 0
        self._dialer = dialer
        self._transports = transports
        self._namespaces: dict[str, ClientNamespace] = {}
        self._reassembly: Reassembly | None = None
        self._size = 0  # bytes of the packet that is arriving
        self._asked = trio.Event()  # a namespace is wanted that no connection knows of
        self._lost = ""  # why there is no connection
        self._nursery: trio.Nursery | None = None
        # Whatever cancels the program's block, there is time for a goodbye: aclose ends the scope.
        self._scope = trio.CancelScope(shield=True)
        self._opened = trio.Event()  # the first connection stands, or has failed
        self._failure: BaseException | None = None  # why it failed
        for name in dict.fromkeys(map(check_name, namespaces)):
            self.of(name).ask()
        self._first = self.of(namespaces[0])

    # -- what user code sees

    def of(self, name: str) -> ClientNamespace:
        """A namespace. One that open_client was not asked for is joined by its ``connect``."""
        name = check_name(name)
        namespace = self._namespaces.get(name)
        if namespace is None:
            namespace = self._namespaces[name] = ClientNamespace(self, name)
            if self._nursery is not None:
                self._nursery.start_soon(namespace.dispatcher.run)
        return namespace

    @property
    def connected(self) -> bool:
        """See ClientNamespace.connected."""
        return self._first.connected

    @property
    def id(self) -> str:
        """See ClientNamespace.id."""
        return self._first.id

    @property
    def recovered(self) -> bool:
        """See ClientNamespace.recovered."""
        return self._first.recovered

    @property
    def joined_count(self) -> int:
        """How often it was joined: more than once after a reconnection."""
        return self._first.joined_count

    @property
    def handler_failures(self) -> int:
        """How many calls of handlers, in all namespaces, have ended with an exception."""
        return sum(namespace.dispatcher.failed for namespace in self._namespaces.values())

    @property
    def transport(self) -> str:
        """What carries the connection now: "polling", "websocket", or nothing."""
        return "" if self.engine is None else self.engine.transport

    def on(self, event: str | float) -> Callable[[Function], Function]:
        """See ClientNamespace.on."""
        return self._first.on(event)

    def on_any(self, function: Function) -> Function:
        """See ClientNamespace.on_any."""
        return self._first.on_any(function)

    def events(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """See ClientNamespace.events."""
        return self._first.events()

    def emit(self, event: str, *arguments: Any) -> None:
        """See ClientNamespace.emit."""
        self._first.emit(event, *arguments)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> Any:
        """See ClientNamespace.emit_with_ack."""
        return await self._first.emit_with_ack(event, *arguments, timeout_s=timeout_s)

    @property
    def volatile(self) -> VolatileClient:
        """See ClientNamespace.volatile."""
        return self._first.volatile

    async def connect(self) -> None:
        """See ClientNamespace.connect; waits for a connection that is away to come back."""
        await self._first.connect()

    def disconnect(self) -> None:
        """Leave every namespace; the connection closes with the last. Plain."""
        for namespace in self._namespaces.values():
            namespace.disconnect()

    async def wait_drained(self) -> None:
        """Wait until the network has taken what was emitted; while there is no connection, not."""
        if self.engine is not None:
            await self.engine.wait_drained()

    async def wait_closed(self) -> str:
        """See ClientNamespace.wait_closed."""
        return await self._first.wait_closed()

    # -- EngineListener

    def receive_text(self, packet: bytes) -> None:
        """See EngineListener."""
        if self._reassembly is not None:
            raise RemoteProtocolError("text before the attachments of a binary packet are complete")
        decoded = self.parser.decode_text(packet)
        self._size = len(packet)
        if decoded.attachments:
            # No deadline: it holds no more than one message may, and heartbeats go on beside it.
            self._reassembly = Reassembly(decoded, self.options.max_message_bytes, inf)
        else:
            self._receive_packet(decoded)

    def receive_binary(self, data: bytes) -> None:
        """See EngineListener."""
        if self._reassembly is None:
            decoded = self.parser.decode_binary(data)
            if decoded.attachments:
                raise RemoteProtocolError("a packet whose attachments nobody would put in")
            self._size = len(data)
            self._receive_packet(decoded)
            return
        self._size += len(data)
        packet = self._reassembly.receive_attachment(data)
        if packet is not None:
            self._reassembly = None
            self._receive_packet(packet)

    async def wait_ready(self) -> None:
        """See EngineListener."""
        for namespace in tuple(self._namespaces.values()):
            while namespace.is_full:
                await namespace.dispatcher.wait_room()

    def connection_ended(self, reason: str) -> None:
        """See EngineListener."""
        self._reassembly = None
        self._lost = reason
        engine, self.engine = self.engine, None
        if engine is not None and engine.unsent:
            self.count_dropped(engine.unsent, f"the connection was lost: {reason}")
        for namespace in self._namespaces.values():
            namespace.lose(reason)

    def _receive_packet(self, packet: Packet) -> None:
        namespace = self._namespaces.get(packet.namespace)
        if namespace is None:
            log.debug("%s for %s, never joined, is ignored", packet.type.name, packet.namespace)
        else:
            namespace.receive_packet(packet, self._size)

    # -- for its namespaces

    def count_dropped(self, number: int, why: str) -> None:
        """Packets were not sent and will not be."""
        self.packets_dropped += number
        if why:
            log.warning("%d packets were not sent: %s", number, why)

    async def join(self, namespace: ClientNamespace) -> None:
        """A namespace is wanted now: join it, or have it joined with the next connection."""
        if self.engine is not None and self.engine.is_open:
            await namespace.join(self.engine)
        else:
            self._asked.set()

    def namespace_left(self) -> None:
        """A namespace was left: with the last of them the connection has no use any more."""
        if self.engine is not None and not self._is_wanted():
            self.engine.close()

    def _is_wanted(self) -> bool:
        return any(namespace.is_wanted for namespace in self._namespaces.values())

    # -- for open_client

    @trio.lowlevel.enable_ki_protection  # it calls the program's auth: see Dispatcher.run
    async def run(self) -> None:
        """Connect, and again whenever the connection is lost, until aclose."""
        with self._scope:
            try:
                await self._serve_connection(self._first_joined)
            except BaseException as error:
                if self._opened.is_set():
                    raise
                self._failure, cancelled = split_failure(error)
                self._opened.set()
                if cancelled is not None:
                    raise cancelled from None
                return
            await self._reconnect()

    async def wait_opened(self) -> None:
        """Wait until every namespace has been joined for the first time.

        Raises:
            ConnectFailed: the server cannot be reached.
            ConnectRefused: it refuses.
            Exception: from the application's auth.
        """
        await self._opened.wait()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # it holds this frame, and this frame it

    def _first_joined(self) -> None:
        for namespace in self._namespaces.values():
            if namespace.refusal is not None:
                raise namespace.refusal
        self._opened.set()

    def dispatch(self, nursery: trio.Nursery) -> None:
        """Begin to call handlers, in tasks of nursery."""
        self._nursery = nursery
        for namespace in self._namespaces.values():
            nursery.start_soon(namespace.dispatcher.run)

    async def aclose(self) -> None:
        """Say goodbye, within close_timeout_s, and end what run does."""
        self._nursery = None
        with trio.move_on_after(self.options.close_timeout_s, shield=True):
            engine = self.engine
            self.disconnect()
            if engine is not None:
                await engine.wait_ended()
        self._scope.cancel()
        self.failures.flush()

    async def _serve_connection(self, joined: Callable[[], None]) -> None:
        """Connect, join, and wait for the end.

        Args:
            joined: called when every namespace has its answer.
        Raises:
            ConnectFailed: it did not come so far.
            Exception: from the application's auth, or joined.
        """
        async with open_engine(self._dialer, self.options, self._transports, self) as engine:
            self.engine = engine
            self._asked = trio.Event()
            try:
                await self._join_all(engine)
                joined()
                self.namespace_left()  # all of them, perhaps, while it opened
            except BaseException:
                if not self._opened.is_set():
                    # open_client is about to raise, so the namespaces that did let us in are left.
                    # Later they stay wanted: without a DISCONNECT the server may restore them.
                    self.disconnect()
                engine.close()
                with trio.move_on_after(self.options.close_timeout_s):
                    await engine.wait_ended()
                raise
            await engine.wait_ended()

    async def _join_all(self, engine: Engine) -> None:
        limit_s = self.options.connect_timeout_s
        with trio.move_on_after(limit_s) as scope:
            wanted = [space for space in self._namespaces.values() if space.is_wanted]
            for namespace in wanted:
                await namespace.join(engine)
            for namespace in wanted:
                await namespace.wait_settled()
        if scope.cancelled_caught:
            raise ConnectFailed(f"the server did not answer a CONNECT within {limit_s:g} s")
        if engine.reason and self._is_wanted():
            raise ConnectFailed(f"the connection was lost at once: {engine.reason}")

    async def _reconnect(self) -> None:
        options = self.options
        attempts = inf if options.reconnect_attempts is None else options.reconnect_attempts
        limit = attempts if options.reconnect else 0
        backoff = Backoff(
            options.reconnect_delay_s, options.reconnect_delay_max_s, options.reconnect_jitter
        )
        while True:
            if self._asked.is_set() or not self._is_wanted():
                await self._asked.wait()
                self._asked = trio.Event()
                backoff.succeeded()
            elif backoff.attempts >= limit:
                for namespace in self._namespaces.values():
                    namespace.leave(self._lost)
                continue
            else:
                with trio.move_on_after(backoff.next_delay_s(random.random())):
                    await self._asked.wait()
            if not self._is_wanted():  # not any more
                continue
            try:
                await self._serve_connection(backoff.succeeded)
            except ConnectFailed as error:
                self._tell(error)
            except BaseException as error:
                failure, cancelled = split_failure(error)
                if cancelled is not None:
                    raise cancelled from None
                if failure is not None:
                    self.failures.tell("connecting again", "", failure)
                    self._tell(failure)

    def _tell(self, error: BaseException) -> None:
        """An attempt to connect again failed."""
        log.info("connecting again failed: %s", error)
        self._lost = str(error)
        for namespace in self._namespaces.values():
            if namespace.is_wanted:
                namespace.dispatcher.call_hook("connect_error", error)
