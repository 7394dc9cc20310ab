"""One namespace of a client: what the program emits and handles there."""

import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import PendingAck
from trio_socketio.client.dispatch import Dispatcher, Function, ReceivedEvent
from trio_socketio.client.outbox import Outbox
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import (
    RESERVED_EVENTS,
    Packet,
    PacketType,
    encode_arguments,
    encode_header,
    encode_packet,
)
from trio_socketio.errors import (
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.protocol.membership import Input, Membership, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.client.client import Client
    from trio_socketio.client.engine import Engine

log = logging.getLogger(__name__)

DEFAULT_ACK_TIMEOUT_S: Final = 20.0
_OVERLOAD_FACTOR: Final = 4
"""Times the queue's limit: how far events may pile up behind a handler that awaits an ack."""


class ClientNamespace:
    """A namespace, as one client sees it.

    Args:
        client: whose connection it uses.
        name: begins with a slash.
    """

    def __init__(self, client: "Client", name: str) -> None:
        self.name = name
        self.joined_count = 0  # times the server has let us in
        self.dispatcher = Dispatcher(client.options.handler_queue)
        self._client = client
        self._event_header = encode_header(PacketType.EVENT, name)
        self._ack_header = encode_header(PacketType.ACK, name)
        self._membership = Membership()
        self._reason = "not joined"
        self._refusal: ConnectRefused | None = None
        self._changed = trio.Event()
        self._outbox = Outbox(client.options.output_bound_bytes)
        self._early: list[Packet] = []  # events that came before the CONNECT
        self._early_bytes = 0

    def __repr__(self) -> str:
        return f"<ClientNamespace {self.name} {self._membership.state.name.lower()}>"

    # -- what user code sees

    @property
    def connected(self) -> bool:
        """Whether the server has let us in, and the connection is there."""
        return self._membership.state is State.JOINED

    @property
    def id(self) -> str:
        """Our socket's public name on the server; empty while not connected."""
        return self._membership.socket_id

    @property
    def recovered(self) -> bool:
        """Whether the server restored the session when it was joined last."""
        return self._membership.recovered

    def on(self, event: str | float) -> "Callable[[Function], Function]":
        """Decorate the handler of an event: plain or async, called with the event's arguments.

        Handlers of a namespace run one after the other, in the order of the events. What one
        returns answers an event that asks for an acknowledgement: None nothing, a tuple several
        values. One that raises is logged, and harms nothing else.

        ``connect`` is called with nothing after each joining, ``disconnect`` with the reason
        after each loss, ``connect_error`` with the exception after each attempt to get back that
        failed.

        Raises:
            LocalProtocolError: the event has a handler already, or its name is reserved.
        """

        def register(function: Function) -> Function:
            self.dispatcher.add_handler(event, function)
            return function

        return register

    def on_any(self, function: "Function") -> "Function":
        """Decorate a function that gets every event, name first, before its handler."""
        self.dispatcher.add_any(function)
        return function

    def events(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """A channel of the events from now on, over reconnections, to iterate or to receive from.

        It ends when the namespace is left for good. Read it or close it: where it is full,
        handlers wait, and reading from the server stops in the end.
        """
        return self.dispatcher.open_stream()

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event. Never blocks; while the connection is away, the event waits for it.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
            BufferFull: too much waits already.
            SessionClosed: the namespace was left.
        """
        self._check(event)
        self._send(encode_arguments(self._event_header, [event, *arguments], None), None)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> Any:
        """Send an event and wait for the server's answer.

        Returns:
            None for no argument, the argument itself, or a tuple of several.
        Raises:
            AckTimeout: no answer in time.
            SessionClosed: the connection was lost before the answer, or the namespace was left.
            LocalProtocolError: see emit.
            BufferFull: see emit.
        """
        self._check(event)
        ack_id = self._outbox.new_ack_id()
        packet = encode_arguments(self._event_header, [event, *arguments], ack_id)
        pending = PendingAck()
        self._send(packet, pending)
        self._outbox.expect(ack_id, pending)
        self.dispatcher.poke()  # what is awaited may stand behind what is not read
        try:
            return await pending.wait(timeout_s)
        finally:
            self._outbox.forget(ack_id, pending)

    @property
    def volatile(self) -> "VolatileClient":
        """Emit through it what may be lost when it cannot be sent at once."""
        return VolatileClient(self)

    async def connect(self) -> None:
        """Join, or join again after it was left; wait until the server has let us in.

        Raises:
            ConnectRefused: the server does not let us in.
            ConnectFailed: there is no connection, or no answer, in time.
        """
        asks = not self.is_wanted
        limit_s = self._client.options.connect_timeout_s
        try:
            with trio.fail_after(limit_s):
                if asks:
                    self.ask()
                    await self._client.join(self)
                while self.is_wanted and not self.connected:
                    await self._changed.wait()
        except BaseException as error:
            if asks:
                self.leave("io client disconnect")
            if isinstance(error, trio.TooSlowError):
                raise ConnectFailed(f"{self.name} was not joined within {limit_s:g} s") from None
            raise
        if not self.connected:
            raise self._refusal or ConnectFailed(f"{self.name} was left: {self._reason}")

    def disconnect(self) -> None:
        """Leave the namespace; the connection and other namespaces stay. Plain."""
        self.leave("io client disconnect")

    async def wait_drained(self) -> None:
        """Wait until the network has taken what was emitted."""
        await self._client.wait_drained()

    async def wait_closed(self) -> str:
        """Wait until the namespace was left for good; gives the reason."""
        while self.is_wanted:
            await self._changed.wait()
        return self._reason

    # -- how it is joined and left

    @property
    def is_wanted(self) -> bool:
        """Whether the program wants to be in."""
        return self._membership.state is not State.LEFT

    @property
    def refusal(self) -> ConnectRefused | None:
        """Why the server did not let us in the last time."""
        return self._refusal

    def ask(self) -> None:
        """Want to be in."""
        self._membership.receive(Input.ASK)
        self._refusal = None

    async def join(self, engine: "Engine") -> None:
        """Ask the application for its auth, and the server to let us in.

        Raises:
            Exception: whatever the application raises.
        """
        auth: Any = self._client.auth
        if callable(auth):
            auth = auth(self.name)
            if inspect.isawaitable(auth):
                auth = await auth
        if not engine.is_open or self._membership.state is not State.WAITING:
            return  # much may have happened meanwhile
        payload = self._membership.connect_payload(dict(auth or {}))
        packet = encode_packet(Packet(PacketType.CONNECT, self.name, payload))
        self._membership.receive(Input.CONNECT_SENT)
        engine.send(packet, bounded=False)

    async def wait_settled(self) -> None:
        """Wait until the server has let us in or not, or the connection is lost."""
        while self._membership.state is State.JOINING:
            await self._changed.wait()

    def leave(self, reason: str) -> None:
        """Say goodbye if there is somebody to say it to, and be out for good. Plain."""
        if self._membership.state in (State.JOINED, State.JOINING):
            engine = self._client.engine
            if engine is not None and engine.is_open:
                packet = encode_packet(Packet(PacketType.DISCONNECT, self.name))
                engine.send(packet, bounded=False)
        self._end(Input.LEAVE, reason)

    def lose(self, reason: str) -> None:
        """The connection is gone; another may come."""
        was_connected = self.connected
        self._membership.receive(Input.LOST)
        self._forget_early()
        self._outbox.fail_sent(reason)
        if was_connected:
            self.dispatcher.call_hook("disconnect", reason)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _end(self, event: Input, reason: str) -> None:
        if self._membership.state is State.LEFT:
            return
        was_connected = self.connected
        self._membership.receive(event)
        self._reason = reason
        self._forget_early()
        unsent = self._outbox.fail_all(reason)
        if unsent:
            self._client.count_dropped(unsent, f"{self.name} was left: {reason}")
        if was_connected:
            self.dispatcher.call_hook("disconnect", reason)
        self.dispatcher.close_streams()
        self._wake()
        self._client.namespace_left()

    # -- what arrives

    def receive_packet(self, packet: Packet, size_bytes: int) -> None:
        """A packet for this namespace arrived, whole.

        Args:
            packet: decoded.
            size_bytes: as it came, attachments included.
        Raises:
            RemoteProtocolError: it has no place here.
        """
        kind, state = packet.type, self._membership.state
        if state is State.LEFT or state is State.WAITING:
            log.debug("%s for %s, which was left, is ignored", kind.name, self.name)
        elif kind is PacketType.CONNECT:
            self._receive_connect(packet.data)
        elif kind is PacketType.CONNECT_ERROR and state is State.JOINING:
            self._receive_refusal(packet.data)
        elif kind is PacketType.EVENT or kind is PacketType.BINARY_EVENT:
            if state is State.JOINED:
                self._receive_event(packet.data, packet.ack_id)
            else:
                self._keep_early(packet, size_bytes)
        elif kind is PacketType.ACK or kind is PacketType.BINARY_ACK:
            assert packet.ack_id is not None  # the codec sees to it
            self._outbox.receive_answer(packet.ack_id, packet.data)
        elif kind is PacketType.DISCONNECT and state is State.JOINED:
            self._end(Input.PUT_OUT, "io server disconnect")
        else:
            raise RemoteProtocolError(f"{kind.name} for a namespace that is {state.name.lower()}")

    @property
    def is_full(self) -> bool:
        """Whether so many events wait that reading should stop."""
        return self.dispatcher.is_full(_OVERLOAD_FACTOR if self._outbox.awaits_answers else 1)

    def _keep_early(self, packet: Packet, size_bytes: int) -> None:
        """Keep an event until the CONNECT that it belongs to.

        The reference sends what a restored session has missed before the CONNECT, python-socketio
        what a connect handler emits.
        """
        self._early_bytes += size_bytes
        if self._early_bytes > self._client.options.max_message_bytes:
            raise RemoteProtocolError("too much came before the CONNECT")
        self._early.append(packet)

    def _forget_early(self) -> list[Packet]:
        early, self._early, self._early_bytes = self._early, [], 0
        return early

    def _receive_connect(self, data: Any) -> None:
        self._membership.receive_connect(data)
        self.joined_count += 1
        self.dispatcher.call_hook("connect")
        for early in self._forget_early():
            self._receive_event(early.data, early.ack_id)
        for packet, pending in self._outbox.take():
            try:
                self._send_now(packet, pending, bounded=False)
            except LocalProtocolError as error:  # too large for this server
                self._client.count_dropped(1, str(error))
                if pending is not None:
                    pending.fail(error)
        self._wake()

    def _receive_refusal(self, data: Any) -> None:
        if type(data) is dict:
            message = data.get("message")
            error = ConnectRefused(message if type(message) is str else "", data.get("data"))
        else:
            error = ConnectRefused(str(data))
        self._refusal = error
        self.dispatcher.call_hook("connect_error", error)
        self._end(Input.REFUSED, f"refused: {error.message}")

    def _receive_event(self, arguments: list[Any], ack_id: int | None) -> None:
        has_offset = self._membership.receive_event(arguments, ack_id)
        acknowledge = None
        if ack_id is not None:
            joined_count = self.joined_count

            def acknowledge(values: list[Any]) -> None:
                packet = encode_arguments(self._ack_header, values, ack_id)
                if self.connected and self.joined_count == joined_count:
                    self._send_now(packet, None)
                else:  # the id means nothing to another session
                    self._client.count_dropped(1, "an answer came after the connection was lost")

        name, *rest = arguments
        self.dispatcher.push(ReceivedEvent(name, rest, acknowledge, has_offset=has_offset))

    # -- what is sent

    def _check(self, event: str) -> None:
        if type(event) is not str or event in RESERVED_EVENTS:
            raise LocalProtocolError(f"{event!r} is no name of an event")
        if self._membership.state is State.LEFT:
            raise SessionClosed(self._reason)

    def _send(self, packet: Outgoing, pending: PendingAck | None) -> None:
        if self.connected:
            self._send_now(packet, pending)
        else:
            self._outbox.keep(packet, pending)

    def _send_now(
        self, packet: Outgoing, pending: PendingAck | None, *, bounded: bool = True
    ) -> None:
        engine = self._client.engine
        if engine is None or not engine.is_open:
            raise SessionClosed("io client disconnect")
        engine.send(packet, bounded=bounded)
        if pending is not None:
            pending.sent = True

    def send_volatile(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See VolatileClient.emit."""
        self._check(event)
        packet = encode_arguments(self._event_header, [event, *arguments], None)
        engine = self._client.engine
        if self.connected and engine is not None and engine.is_open and engine.is_writable:
            engine.send(packet)
        else:
            self._client.count_dropped(1, "")


class VolatileClient:
    """Emits what may be lost."""

    __slots__ = ("_namespace",)

    def __init__(self, namespace: ClientNamespace) -> None:
        self._namespace = namespace

    def emit(self, event: str, *arguments: Any) -> None:
        """See ClientNamespace.emit; dropped and counted when it cannot be sent at once."""
        self._namespace.send_volatile(event, arguments)


def check_name(name: str) -> str:
    """The name of a namespace; a leading slash may be left out.

    Raises:
        LocalProtocolError: nothing can be called that.
    """
    if not name.startswith("/"):
        name = "/" + name
    if "," in name or not name.isprintable():
        raise LocalProtocolError(f"a namespace cannot be called {name!r}")
    return name
