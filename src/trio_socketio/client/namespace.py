"""One namespace of a client: what the program emits and handles there."""

from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import PendingAck
from trio_socketio.client.dispatch import Function, ReceivedEvent
from trio_socketio.client.membership import ClientMembership
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import AckTimeout, ConnectFailed, LocalProtocolError, SessionClosed
from trio_socketio.protocol.membership import State
from trio_socketio.signatures import check_event_key

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_ACK_TIMEOUT_S: Final = 20.0


class ClientNamespace(ClientMembership):
    """A namespace, as one client sees it.

    Args:
        client: whose connection it uses.
        name: begins with a slash.
    """

    def __repr__(self) -> str:
        return f"<ClientNamespace {self.name} {self._machine.state.name.lower()}>"

    @property
    def id(self) -> str:
        """Our socket's public name on the server; empty while not connected."""
        return self._machine.socket_id

    @property
    def recovered(self) -> bool:
        """Whether the server restored the session when it was joined last."""
        return self._machine.recovered

    def on(self, event: str | float) -> "Callable[[Function], Function]":
        """Decorate the handler of an event: plain or async, called with the event's arguments.

        Handlers of a namespace run one after the other, in the order of the events. What one
        returns answers an event that asks for an acknowledgement: None nothing, a tuple several
        values. One that raises is logged, and harms nothing else.

        ``connect`` is called with nothing after each joining, ``disconnect`` with the reason
        after each loss, ``connect_error`` with the exception after each attempt to get back that
        failed.

        Raises:
            LocalProtocolError: the event has a handler already, or its name is reserved; or the
                handler cannot be called so.
        """
        check_event_key(event)

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
        """Send an event. Never blocks.

        Until the server has let us in, and while the connection is away, events wait and are then
        sent in order. When the namespace is left instead, they are dropped, counted and logged.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
            BufferFull: too much waits already.
            SessionClosed: the namespace was left.
        """
        self._check(event)
        self._send(self._encode_event([event, *arguments], None), None)

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> Any:
        """Send an event and wait for the server's answer.

        Returns:
            None for no argument, the argument itself, or a tuple of several.
        Raises:
            AckTimeout: no answer in time.
            SessionClosed: the connection was lost before the answer, or the namespace was left; a
                refusal by the server is among its reasons.
            LocalProtocolError: see emit.
            BufferFull: see emit.
        """
        self._check(event)
        ack_id = self._outbox.new_ack_id()
        packet = self._encode_event([event, *arguments], ack_id)
        pending = PendingAck()
        self._send(packet, pending)
        self._outbox.expect(ack_id, pending)
        self.dispatcher.poke()  # what is awaited may stand behind what is not read
        try:
            return await pending.wait(timeout_s)
        except AckTimeout as error:
            if pending.sent or self.is_wanted:
                raise
            raise AckTimeout(f"{error}: {self.name} is not joined, call its connect()") from None
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

    # -- what is sent

    def _check(self, event: str) -> None:
        if type(event) is not str or event in RESERVED_EVENTS:
            raise LocalProtocolError(f"{event!r} is no name of an event")
        if self._machine.state is State.LEFT:
            raise SessionClosed(self._reason)

    def send_volatile(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See VolatileClient.emit."""
        self._check(event)
        packet = self._encode_event([event, *arguments], None)
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
