"""The interface that a client and each of its namespaces offer to the program."""

from collections.abc import Callable
from typing import Any

import trio

from trio_socketio.acks import DEFAULT_ACK_TIMEOUT_S, check_timeout
from trio_socketio.client.dispatch import Function, ReceivedEvent
from trio_socketio.client.membership import ClientMembership
from trio_socketio.codec.socket_packet import RESERVED_EVENTS
from trio_socketio.errors import AckTimeout, LocalProtocolError
from trio_socketio.signatures import check_event_key


class Channel:
    """Emits and handles the events of one namespace, which may be joined or not.

    Args:
        membership: of the namespace.
    """

    def __init__(self, membership: ClientMembership) -> None:
        self._membership = membership
        self._outbox = membership.outbox
        self._dispatcher = membership.dispatcher

    # -- its state

    @property
    def connected(self) -> bool:
        """Whether the connection is open and the server has let us into the namespace."""
        return self._membership.is_joined

    @property
    def id(self) -> str:
        """The id that the server has given our socket; empty while not connected."""
        return self._membership.machine.socket_id

    @property
    def recovered(self) -> bool:
        """Whether the server restored our session when the namespace was last joined."""
        return self._membership.machine.recovered

    @property
    def joined_count(self) -> int:
        """How often the namespace has been joined: more than once after a reconnection."""
        return self._membership.joined_count

    # -- what arrives

    def on(self, event: str | float) -> Callable[[Function], Function]:
        """Decorate the handler of an event: plain or async, called with the event's arguments.

        Handlers of a namespace run one after the other, in the order of the events. If the event
        asks for an acknowledgement, it is answered with what its handler returns: no value for
        None, several for a tuple. A handler that raises is logged, and harms nothing else.

        ``connect`` is called without arguments each time the namespace was joined, ``disconnect``
        with the reason each time the connection or the namespace was lost or left, and
        ``connect_error`` with the exception each time an attempt to get back has failed.

        Raises:
            LocalProtocolError: the event has a handler already, or its name is reserved; or the
                handler cannot be called so.
        """
        check_event_key(event)

        def register(function: Function) -> Function:
            self._dispatcher.add_handler(event, function)
            return function

        return register

    def on_any(self, function: Function) -> Function:
        """Decorate a function that gets the name and arguments of each event before its handler.

        Raises:
            LocalProtocolError: it cannot be called so.
        """
        self._dispatcher.add_any(function)
        return function

    def events(self) -> trio.MemoryReceiveChannel[ReceivedEvent]:
        """Open a channel that gets every event from now on, also after reconnections.

        It ends when the namespace is left for good. A channel that is neither read nor closed
        becomes full. Then handlers have to wait, and in the end reading from the server stops.
        """
        return self._dispatcher.open_stream()

    # -- sending

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event. Never blocks.

        Until the server has let us in, and while there is no connection, events are kept and then
        sent in order. If the namespace is left instead, they are dropped, counted and logged.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
            BufferFull: too much waits already.
            SessionClosed: the namespace was left.
        """
        check_event(event)
        self._membership.check_can_emit()
        self._outbox.emit([event, *arguments])

    async def emit_with_ack(
        self, event: str, *arguments: Any, timeout_s: float = DEFAULT_ACK_TIMEOUT_S
    ) -> Any:
        """Send an event and wait for the server's answer.

        Returns:
            None for no argument, the argument itself, or a tuple of several.
        Raises:
            AckTimeout: no answer came in time.
            SessionClosed: the connection was lost before the answer came, or the namespace was
                left, which it also is when the server refuses to let us in.
            LocalProtocolError: see emit; or timeout_s is not a number above zero.
            BufferFull: see emit.
        """
        check_event(event)
        check_timeout(timeout_s)
        membership = self._membership
        membership.check_can_emit()
        ack_id, pending = self._outbox.ask([event, *arguments])
        membership.link.read_on()
        try:
            return await pending.wait(timeout_s)
        except AckTimeout as error:
            if pending.sent or membership.is_wanted:
                raise
            name = membership.name
            raise AckTimeout(f"{error}: {name} is not joined, call its connect()") from None
        finally:
            self._outbox.forget(ack_id, pending)  # CLI-47

    @property
    def volatile(self) -> "VolatileClient":
        """Emits events that are dropped if they cannot be sent at once."""
        return VolatileClient(self._membership)

    async def wait_drained(self) -> None:
        """Wait until the network has taken what was emitted.

        It does not wait for events that are kept because there is no connection, or because the
        namespace is not joined.
        """
        await self._membership.link.wait_drained()

    # -- joining and leaving

    async def connect(self) -> None:
        """Join the namespace, and wait until the server has let us in.

        A namespace that was left is joined again. If there is no connection at the moment, this
        waits for one.

        Raises:
            ConnectRefused: the server does not let us in.
            ConnectFailed: there was no connection, or no answer, in time; or the namespace was left
                meanwhile, or the block of open_client has ended.
            Exception: whatever auth raises.
        """
        await self._membership.connect()

    async def wait_closed(self) -> str:
        """Wait until the namespace has been left for good, and return the reason."""
        return await self._membership.wait_left()


class VolatileClient:
    """Emits events that may be lost.

    Args:
        membership: of the namespace.
    """

    __slots__ = ("_membership",)

    def __init__(self, membership: ClientMembership) -> None:
        self._membership = membership

    def emit(self, event: str, *arguments: Any) -> None:
        """Send an event; it is dropped and counted when it cannot be sent at once.

        Raises:
            LocalProtocolError: the name is reserved, or an argument cannot be sent.
            SessionClosed: the namespace was left.
        """
        check_event(event)
        self._membership.check_can_emit()
        self._membership.outbox.emit_volatile([event, *arguments])


def check_event(event: Any) -> None:
    """Check the name of an event that a program emits.

    Raises:
        LocalProtocolError: no event can be sent under that name.
    """
    if type(event) is not str or event in RESERVED_EVENTS:
        raise LocalProtocolError(f"{event!r} cannot be the name of an event that is sent")
