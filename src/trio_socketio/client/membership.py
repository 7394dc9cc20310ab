"""A client's place in one namespace: how it is joined and left, and what passes meanwhile."""

import inspect
import logging
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_socketio.acks import PendingAck
from trio_socketio.client.dispatch import Dispatcher, ReceivedEvent
from trio_socketio.client.outbox import Outbox
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import (
    ConnectRefused,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.protocol.membership import Input, Membership, State

if TYPE_CHECKING:
    from trio_socketio.client.client import Client
    from trio_socketio.client.engine import Engine

log = logging.getLogger(__name__)

_OVERLOAD_FACTOR: Final = 4
"""Times the queue's limit: how far events may pile up behind a handler that awaits an ack."""


class ClientMembership:
    """The part of a namespace that the client drives; ClientNamespace is what user code sees.

    Args:
        client: whose connection it uses.
        name: begins with a slash.
    """

    def __init__(self, client: "Client", name: str) -> None:
        self.name = name
        self.joined_count = 0  # times the server has let us in
        self.dispatcher = Dispatcher(name, client.options.handler_queue, client.failures)
        self._client = client
        self._parser = client.parser
        self._encode_event = client.parser.arguments_encoder(PacketType.EVENT, name)
        self._encode_ack = client.parser.arguments_encoder(PacketType.ACK, name)
        self._machine = Membership()
        self._reason = "not joined"
        self._refusal: ConnectRefused | None = None
        self._changed = trio.Event()
        self._outbox = Outbox(client.options.output_bound_bytes)
        self._early: list[Packet] = []  # events that came before the CONNECT
        self._early_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether the server has let us in, and the connection is there."""
        return self._machine.state is State.JOINED

    # -- how it is joined and left

    @property
    def is_wanted(self) -> bool:
        """Whether the program wants to be in."""
        return self._machine.state not in (State.NEW, State.LEFT)

    @property
    def refusal(self) -> ConnectRefused | None:
        """Why the server did not let us in the last time."""
        return self._refusal

    def ask(self) -> None:
        """Want to be in."""
        self._machine.receive(Input.ASK)
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
        if not engine.is_open or self._machine.state is not State.WAITING:
            return  # much may have happened meanwhile
        payload = self._machine.connect_payload(dict(auth or {}))
        packet = self._parser.encode_packet(Packet(PacketType.CONNECT, self.name, payload))
        self._machine.receive(Input.CONNECT_SENT)
        engine.send(packet, bounded=False)

    async def wait_settled(self) -> None:
        """Wait until the server has let us in or not, or the connection is lost."""
        while self._machine.state is State.JOINING:
            await self._changed.wait()

    def leave(self, reason: str) -> None:
        """Say goodbye if there is somebody to say it to, and be out for good. Plain."""
        if self._machine.state in (State.JOINED, State.JOINING):
            engine = self._client.engine
            if engine is not None and engine.is_open:
                packet = self._parser.encode_packet(Packet(PacketType.DISCONNECT, self.name))
                engine.send(packet, bounded=False)
        self._end(Input.LEAVE, reason)

    def lose(self, reason: str) -> None:
        """The connection is gone; another may come."""
        was_connected = self.connected
        self._machine.receive(Input.LOST)
        self._forget_early()
        self._outbox.fail_sent(reason)
        if was_connected:
            self.dispatcher.call_hook("disconnect", reason)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _end(self, event: Input, reason: str) -> None:
        if self._machine.state is State.LEFT:
            return
        was_connected = self.connected
        was_new = self._machine.state is State.NEW
        self._machine.receive(event)
        self._reason = reason
        self._forget_early()
        unsent = self._outbox.fail_all(reason)
        if unsent:
            what = "was never joined" if was_new else f"was left: {reason}"
            self._client.count_dropped(unsent, f"{self.name} {what}")
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
        kind, state = packet.type, self._machine.state
        if state in (State.NEW, State.LEFT, State.WAITING):
            log.debug("%s for %s, which is not joined, is ignored", kind.name, self.name)
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
            if packet.ack_id is not None:  # else it answers nothing
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
        self._machine.receive_connect(data)
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
        has_offset = self._machine.receive_event(arguments, ack_id)
        acknowledge = None
        if ack_id is not None:
            joined_count = self.joined_count

            def acknowledge(values: list[Any]) -> None:
                packet = self._encode_ack(values, ack_id)
                if self.connected and self.joined_count == joined_count:
                    self._send_now(packet, None)
                else:  # the id means nothing to another session
                    self._client.count_dropped(1, "an answer came after the connection was lost")

        name, *rest = arguments
        self.dispatcher.push(ReceivedEvent(name, rest, acknowledge, has_offset=has_offset))

    # -- what is sent

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
