"""One Engine.IO session of a client, from its handshake to its end."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from trio_socketio.client.endpoint import Dialer
from trio_socketio.client.nursery import open_bare_nursery
from trio_socketio.client.options import ClientOptions
from trio_socketio.client.output import PONG, Output
from trio_socketio.client.polling import PollingTransport
from trio_socketio.client.upgrade import Carrier, upgrade
from trio_socketio.client.websocket import WebSocketTransport
from trio_socketio.codec.engine_packet import Outgoing, Packet, PacketType
from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import (
    ConnectFailed,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.protocol.client import ClientMachine, Input
from trio_socketio.runtime.barrier import split_failure

log = logging.getLogger(__name__)

TRANSPORTS: Final = ("polling", "websocket")


class Reader(Protocol):
    """Receives the messages of a session."""

    def receive_text(self, packet: bytes) -> None:
        """Take a text message, its type character included.

        Raises:
            RemoteProtocolError: it is invalid or out of place; the session ends.
        """

    def receive_binary(self, data: bytes) -> None:
        """Take a binary message.

        Raises:
            RemoteProtocolError: it is invalid or out of place; the session ends.
        """

    async def wait_ready(self) -> None:
        """Wait until it can take more messages."""


class ClientSession:
    """One session, from its handshake to its end, on either transport (CLI-02).

    A task reads and a task writes; a third moves the session to WebSocket.

    Args:
        dialer: opens streams.
        options: times and bounds.
        transports: the first opens it; "websocket" anywhere after "polling" allows the upgrade.
        reader: gets the messages.
        ended: is called once with the reason, at the moment when the session ends.

    Attributes:
        reason: why it ended; empty while it has not.
        output: the packets that it has to send.
    """

    def __init__(
        self,
        dialer: Dialer,
        options: ClientOptions,
        transports: Sequence[str],
        reader: Reader,
        ended: Callable[[str], None],
    ) -> None:
        self.reason = ""
        self.output = Output(options.output_bound_bytes)
        self._options = options
        self._reader = reader
        self._tell_ended = ended
        self._machine = ClientMachine(transport=transports[0])
        self._early: list[Packet] = []  # came with the handshake
        self._closing = False
        self._ended = trio.Event()
        websocket = WebSocketTransport(dialer, options.max_message_bytes)
        self._candidate: WebSocketTransport | None = None  # for the upgrade
        if transports[0] == "websocket":
            self._carrier = Carrier(websocket)
        else:
            self._carrier = Carrier(PollingTransport(dialer, options.max_message_bytes))
            if "websocket" in transports:
                self._candidate = websocket

    @property
    def transport(self) -> str:
        """The name of the transport that carries it now: "polling" or "websocket"."""
        return self._machine.transport

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return not self._closing and not self._ended.is_set()

    def send(self, packet: Outgoing, *, bounded: bool = True) -> None:
        """Queue a packet, which the writing task sends. Never blocks.

        Args:
            packet: what to send.
            bounded: whether it counts against output_bound_bytes; if not, it was counted before.
        Raises:
            BufferFull: too much waits already.
            LocalProtocolError: it is larger than the server takes.
        """
        limit = self._machine.max_payload_bytes
        if limit and _largest_part(packet, self.transport) > limit:  # CLI-04
            raise LocalProtocolError(f"a message of more than the server's {limit} bytes")
        self.output.add(packet, bounded=bounded)

    def close(self) -> None:
        """Begin to end the session: send what waits, then say goodbye. Never blocks."""
        self._closing = True
        self.output.wake()

    async def wait_ended(self) -> str:
        """Wait for the end of the session, and return the reason."""
        await self._ended.wait()
        return self.reason

    # -- for open_session

    async def open(self) -> None:
        """Do the handshake. The caller bounds the time.

        Raises:
            ConnectFailed: see open_session.
        """
        transport = self._carrier.transport
        try:
            packets = await transport.open()
            while not packets:
                packets = await transport.receive()
            first, *self._early = packets
            if first.type is not PacketType.OPEN:
                raise RemoteProtocolError(f"it began with {first.type.name}, not with a handshake")
            self._machine.receive_handshake(decode_json(first.data), trio.current_time())
        except SessionClosed:
            raise ConnectFailed("the server closed the connection") from None
        except RemoteProtocolError as error:  # CLI-03
            raise ConnectFailed(f"no Engine.IO server answers there: {error}") from error
        if isinstance(transport, PollingTransport):
            transport.opened(self._machine.sid, self._machine.max_payload_bytes)

    def start(self, nursery: trio.Nursery) -> None:
        """Start the tasks that read, write and upgrade."""
        nursery.start_soon(self._read)
        nursery.start_soon(self._write)
        if self._candidate is not None and "websocket" in self._machine.upgrades:
            nursery.start_soon(self._upgrade, self._candidate)

    async def aclose(self) -> None:
        """End at once, even if packets wait."""
        self._end("forced close")
        with trio.CancelScope(shield=True):
            await self._carrier.transport.aclose()

    # -- its tasks. They call code of the program, and Dispatcher.run says why they are protected.

    @trio.lowlevel.enable_ki_protection
    async def _read(self) -> None:
        try:
            self._receive_packets(self._early)
            while self._machine.transport == "polling":
                async with self._carrier.reading:
                    if self._machine.may_poll():  # not upgraded while it waited for the lock
                        await self._receive()
                await self._wait_ready()
            while True:
                await self._receive()
                await self._wait_ready()
        except (SessionClosed, ConnectFailed, RemoteProtocolError) as error:
            self._fail(error)
        except trio.TooSlowError:
            self._end("ping timeout")  # CLI-42
        except BaseException as error:
            self._contain("reading from the server", "parse error", error)

    async def _receive(self) -> None:
        with trio.fail_at(self._machine.dead_at):
            packets = await self._carrier.transport.receive()
        self._receive_packets(packets)

    async def _wait_ready(self) -> None:
        """Stop reading while handlers are behind. Its heartbeat is not due in that time."""
        began = trio.current_time()
        await self._reader.wait_ready()
        self._machine.dead_at += trio.current_time() - began

    def _receive_packets(self, packets: list[Packet]) -> None:
        for packet in packets:
            if self._ended.is_set():
                return
            kind = packet.type
            if packet.binary:
                self._reader.receive_binary(packet.data)
            elif kind is PacketType.MESSAGE:
                self._reader.receive_text(b"4" + packet.data)
            elif kind is PacketType.PING:  # CLI-42
                self._machine.receive_ping(trio.current_time())
                self.send(PONG, bounded=False)
            elif kind is PacketType.CLOSE:
                raise SessionClosed("transport close")
            elif kind is not PacketType.NOOP:  # CLI-40
                raise RemoteProtocolError(f"a server does not send {kind.name} in a session")

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        output = self.output
        try:
            while True:
                while not output.has_work and not self._closing:
                    await output.wait_work()
                async with self._carrier.writing:
                    await self._send_output()
                    if self._closing and not output.has_work:
                        await self._say_goodbye()
                        return
        except (SessionClosed, ConnectFailed, RemoteProtocolError) as error:
            self._fail(error)
        except trio.TooSlowError:
            self._end("transport error")  # CLI-43
        except BaseException as error:
            self._contain("writing to the server", "transport error", error)

    async def _send_output(self) -> None:
        packets = self.output.take()
        if packets:
            with trio.fail_after(self._options.send_timeout_s):
                await self._carrier.transport.send(packets, self.output.sent)

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(self._options.close_timeout_s):
            if await self._carrier.transport.say_goodbye():
                await self._ended.wait()  # the reader sees the server's answer
        self._end("forced close")

    @trio.lowlevel.enable_ki_protection
    async def _upgrade(self, candidate: WebSocketTransport) -> None:
        try:
            await upgrade(self._carrier, candidate, self._machine, self._options.connect_timeout_s)
        except BaseException as error:
            self._contain("the upgrade", "transport error", error)

    # -- its end

    def _contain(self, what: str, reason: str, error: BaseException) -> None:
        """End the session: the program's parser or stream has failed, or we have a defect."""
        failure, cancelled = split_failure(error)
        if failure is not None:  # CLI-18
            log.error("%s failed, which ends the connection", what, exc_info=failure)
            self._end(reason)
        if cancelled is not None:
            raise cancelled from None

    def _fail(self, error: SessionClosed | ConnectFailed | RemoteProtocolError) -> None:
        if isinstance(error, SessionClosed):
            self._end(error.reason)
        elif isinstance(error, ConnectFailed):
            self._end("transport error")
        else:
            log.warning("the server broke the protocol: %s", error)
            self._end("parse error")

    def _end(self, reason: str) -> None:
        if self._ended.is_set():
            return
        self.reason = "forced close" if self._closing else reason
        self._machine.receive(Input.CLOSED)
        self._ended.set()
        self.output.end()
        self._tell_ended(self.reason)


@asynccontextmanager
async def open_session(
    dialer: Dialer,
    options: ClientOptions,
    transports: Sequence[str],
    reader: Reader,
    ended: Callable[[str], None],
) -> AsyncIterator[ClientSession]:
    """Open a session, and close it at the end of the block; see ClientSession.

    Raises:
        ConnectFailed: the server cannot be reached, refuses, or is no Engine.IO server.
    """
    session = ClientSession(dialer, options, transports, reader, ended)
    try:
        with trio.move_on_after(options.connect_timeout_s) as scope:
            await session.open()
        if scope.cancelled_caught:
            raise ConnectFailed(f"no answer within {options.connect_timeout_s:g} s")
        async with open_bare_nursery() as nursery:
            session.start(nursery)
            yield session
    finally:
        await session.aclose()


def _largest_part(packet: Outgoing, transport: str) -> int:
    """Return the size in bytes of the largest message of a packet."""
    largest = max(map(len, packet.attachments), default=0)
    if transport == "polling" and largest:
        largest = 1 + (largest + 2) // 3 * 4  # base64
    return max(len(packet.text), largest)
