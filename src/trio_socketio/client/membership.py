"""A client's membership of one namespace: how it is joined and left, and what arrives meanwhile.

`protocol.membership.Membership` is its state machine. `Outbox` sends its events, and `Dispatcher`
handles those that it receives.
"""

import inspect
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol

import trio

from trio_socketio.client.dispatch import Dispatcher, ReceivedEvent
from trio_socketio.client.outbox import Outbox, Wire
from trio_socketio.client.session import ClientSession
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import (
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.protocol.membership import Input, Membership, State
from trio_socketio.runtime.failures import FailureLog

log = logging.getLogger(__name__)

LEAVING: Final = "io client disconnect"
"""The reason when the program itself leaves."""


class Link(Wire, Protocol):
    """The client's connection, as a membership needs it."""

    @property
    def failures(self) -> FailureLog:
        """Logs what handlers raise."""

    async def join(self, membership: "ClientMembership", /) -> None:
        """Join a namespace now, or with the next connection.

        Raises:
            ConnectFailed: the client has ended.
            Exception: whatever the program's auth raises.
        """

    def check_thread(self) -> None:
        """Check that the caller runs in the client's thread. It is called before any change.

        Raises:
            LocalProtocolError: the client runs in another thread; nothing was done.
        """

    def read_on(self) -> None:
        """Read on although handlers are behind: the answer that a task waits for may come next."""

    def membership_ended(self) -> None:
        """Note that a namespace was left. The connection is closed with the last one."""

    async def wait_drained(self) -> None:
        """Wait until the network has taken what was emitted; returns at once without a session."""


class EarlyEvents:
    """Events that came before the CONNECT that they belong to (CLI-16).

    The reference sends what a restored session has missed before the CONNECT, and python-socketio
    what a connect handler emits.

    Args:
        bound_bytes: of all of them together.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._bound_bytes = bound_bytes
        self._packets: list[Packet] = []
        self._bytes = 0

    def keep(self, packet: Packet, size_bytes: int) -> None:
        """Keep an event.

        Raises:
            RemoteProtocolError: the server sends too much.
        """
        self._bytes += size_bytes
        if self._bytes > self._bound_bytes:  # CLI-41
            raise RemoteProtocolError("too much came before the CONNECT")
        self._packets.append(packet)

    def take(self) -> list[Packet]:
        """Return all of them in order, and keep none."""
        packets, self._packets, self._bytes = self._packets, [], 0
        return packets


class ClientMembership:
    """A namespace that the program has asked for, whether it is joined or not.

    Args:
        name: begins with a slash.
        link: the connection of the client.

    Attributes:
        machine: the state, and what the server has said about us.
        dispatcher: calls handlers and feeds streams.
        outbox: sends events, and waits for their answers.
        joined_count: how often the server has let us in.
        reason: why it was left the last time.
        refusal: why the server did not let us in the last time.
    """

    def __init__(self, name: str, link: Link) -> None:
        options = link.settings.options
        self.name = name
        self.machine = Membership()
        self.dispatcher = Dispatcher(name, options.handler_queue, link.failures)
        self.outbox = Outbox(name, self.machine, link)
        self.joined_count = 0
        self.reason = "not joined"
        self.refusal: ConnectRefused | None = None
        self.link = link
        self._early = EarlyEvents(options.max_message_bytes)
        self._changed = trio.Event()

    @property
    def is_joined(self) -> bool:
        """Whether the connection is open and the server has let us in."""
        return self.machine.state is State.JOINED

    @property
    def is_wanted(self) -> bool:
        """Whether the program wants the namespace to be joined."""
        return self.machine.state not in (State.NEW, State.LEFT)

    @property
    def awaits_answer(self) -> bool:
        """Whether a task waits for an answer of the server."""
        return self.outbox.awaits_answers or self.machine.state is State.JOINING

    def check_can_emit(self) -> None:
        """Check that an event may be emitted.

        Raises:
            SessionClosed: the namespace was left, so that it would never be sent.
            LocalProtocolError: the client runs in another thread.
        """
        self.link.check_thread()
        if self.machine.state is State.LEFT:
            raise SessionClosed(self.reason)

    # -- joining

    def ask(self) -> None:
        """Note that the program wants the namespace to be joined."""
        self.machine.receive(Input.ASK)
        self.refusal = None

    async def join(self, session: ClientSession) -> None:
        """Get the auth from the program, and send a CONNECT (CLI-05, CLI-06, CLI-24).

        Raises:
            LocalProtocolError: the auth cannot be sent.
            Exception: whatever the program's auth raises.
        """
        auth: Any = self.link.settings.auth
        if callable(auth):
            auth = auth(self.name)
            if inspect.isawaitable(auth):
                auth = await auth
        if not session.is_open or self.machine.state is not State.WAITING:
            return  # it may have been left while auth was running
        if auth is not None and not isinstance(auth, Mapping):
            raise LocalProtocolError(f"auth for {self.name} is an object, not {auth!r}")
        payload = self.machine.connect_payload(dict(auth or {}))
        self._send(session, PacketType.CONNECT, payload)
        self.machine.receive(Input.CONNECT_SENT)

    async def connect(self) -> None:
        """Join the namespace if it is not wanted yet, and wait until the server has let us in.

        Raises:
            ConnectRefused: the server does not let us in.
            ConnectFailed: there is no connection, or no answer, in time.
            Exception: whatever the program's auth raises.
        """
        self.link.check_thread()
        await trio.lowlevel.checkpoint()
        asks = not self.is_wanted
        limit_s = self.link.settings.options.connect_timeout_s
        try:
            with trio.fail_after(limit_s):
                if asks:
                    self.ask()
                    await self.link.join(self)
                self.link.read_on()
                while self.is_wanted and not self.is_joined:
                    await self._changed.wait()
        except BaseException as error:
            if asks:
                self.leave(LEAVING)  # CLI-26
            if isinstance(error, trio.TooSlowError):
                raise ConnectFailed(f"{self.name} was not joined within {limit_s:g} s") from None
            raise
        if not self.is_joined:
            raise self.refusal or ConnectFailed(f"{self.name} was left: {self.reason}")

    async def wait_settled(self) -> None:
        """Wait until the server has answered the CONNECT, or the connection is lost."""
        while self.machine.state is State.JOINING:
            await self._changed.wait()

    # -- leaving

    def leave(self, reason: str) -> None:
        """Leave for good, and tell the server if there is a connection. Never blocks."""
        self.link.check_thread()
        session = self.link.session
        if self.machine.state in (State.JOINED, State.JOINING) and session and session.is_open:
            self._send(session, PacketType.DISCONNECT)  # CLI-10
        self._end(Input.LEAVE, reason)

    def lose(self, reason: str) -> None:
        """Note that the connection is lost. Another may follow."""
        was_joined = self.is_joined
        self.machine.receive(Input.LOST)
        self._early.take()
        self.outbox.fail_sent(reason)
        if was_joined:
            self.dispatcher.call_hook("disconnect", reason)
        self._wake()

    async def wait_left(self) -> str:
        """Wait until the namespace is left for good, and return the reason."""
        await trio.lowlevel.checkpoint()
        while self.is_wanted:
            await self._changed.wait()
        return self.reason

    def _end(self, event: Input, reason: str) -> None:
        if self.machine.state is State.LEFT:
            return
        was_joined = self.is_joined
        was_new = self.machine.state is State.NEW
        self.machine.receive(event)
        self.reason = reason
        self._early.take()
        unsent = self.outbox.fail_all(reason)
        if unsent:
            what = "was never joined" if was_new else f"was left: {reason}"
            self.link.count_dropped(unsent, f"{self.name} {what}")
        if was_joined:
            self.dispatcher.call_hook("disconnect", reason)
        self.dispatcher.close_streams()
        self._wake()
        self.link.membership_ended()

    def _send(self, session: ClientSession, kind: PacketType, payload: Any = None) -> None:
        packet = self.link.settings.parser.encode_packet(Packet(kind, self.name, payload))
        session.send(packet, bounded=False)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- what arrives

    def receive_packet(self, packet: Packet, size_bytes: int) -> None:
        """Take a packet for this namespace; see packet_reader.Receiver."""
        kind, state = packet.type, self.machine.state
        if state in (State.NEW, State.LEFT, State.WAITING):
            log.debug("%s for %s, which is not joined, is ignored", kind.name, self.name)
        elif kind is PacketType.CONNECT:
            self._receive_connect(packet.data)
        elif kind is PacketType.CONNECT_ERROR:  # also while joined (CLI-35): see TRANSITIONS
            self._receive_refusal(packet.data)
        elif kind is PacketType.EVENT or kind is PacketType.BINARY_EVENT:
            if state is State.JOINED:
                self._receive_event(packet.data, packet.ack_id)
            else:
                self._early.keep(packet, size_bytes)
        elif kind is PacketType.ACK or kind is PacketType.BINARY_ACK:
            if packet.ack_id is not None:  # one without an id answers nothing
                self.outbox.receive_answer(packet.ack_id, packet.data)
        elif state is State.JOINED:
            self._end(Input.PUT_OUT, "io server disconnect")  # CLI-09
        else:
            # CLI-35: the server put us out while we left and asked again. It answers neither.
            log.debug("DISCONNECT for %s, which is being joined, is ignored", self.name)

    def _receive_connect(self, data: Any) -> None:
        self.machine.receive_connect(data)
        self.joined_count += 1
        self.dispatcher.call_hook("connect")
        for early in self._early.take():
            self._receive_event(early.data, early.ack_id)
        self.outbox.flush()
        self._wake()

    def _receive_refusal(self, data: Any) -> None:
        if type(data) is dict:
            message = data.get("message")
            error = ConnectRefused(message if type(message) is str else "", data.get("data"))
        else:
            error = ConnectRefused(str(data))
        self.refusal = error  # CLI-07
        self.dispatcher.call_hook("connect_error", error)
        self._end(Input.REFUSED, f"refused: {error.message}")

    def _receive_event(self, arguments: list[Any], ack_id: int | None) -> None:
        has_offset = self.machine.receive_event(arguments, ack_id)
        acknowledge = None
        if ack_id is not None:
            acknowledge = partial(self._answer, ack_id, self.joined_count)
        name, *rest = arguments
        self.dispatcher.push(ReceivedEvent(name, rest, acknowledge, has_offset=has_offset))

    def _answer(self, ack_id: int, joined_count: int, values: list[Any]) -> None:
        self.link.check_thread()
        if self.joined_count == joined_count:
            self.outbox.answer(values, ack_id)
        else:
            self.outbox.drop_answer()  # the id means nothing in another session
