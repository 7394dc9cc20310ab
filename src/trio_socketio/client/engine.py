"""One Engine.IO connection: its transport, its heartbeat, its upgrade, its output."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from trio_socketio.client.endpoint import Dialer
from trio_socketio.client.nursery import open_bare_nursery
from trio_socketio.client.options import ClientOptions
from trio_socketio.client.polling import PollingTransport
from trio_socketio.client.websocket import WebSocketTransport
from trio_socketio.codec.engine_packet import PROBE_PING, Outgoing, Packet, PacketType
from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import (
    BufferFull,
    ConnectFailed,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
)
from trio_socketio.protocol.client import ClientMachine, Input

log = logging.getLogger(__name__)

TRANSPORTS: Final = ("polling", "websocket")

_PONG: Final = Outgoing(b"3")
_UPGRADE: Final = Outgoing(b"5")
_PROBE: Final = Outgoing(PROBE_PING)


class EngineListener(Protocol):
    """Who is told what arrives."""

    def receive_text(self, packet: bytes) -> None:
        """A text message, its type character included."""

    def receive_binary(self, data: bytes) -> None:
        """A binary message."""

    async def wait_ready(self) -> None:
        """Return when more may be handed over."""

    def connection_ended(self, reason: str) -> None:
        """Nothing more will come."""


class Engine:
    """One connection, from its handshake to its end.

    The reader and the writer are a task each. Both hold a lock around every step on polling: the
    upgrade takes the two of them, and then nothing is on its way by the transport that is left.

    Args:
        dialer: opens streams.
        options: its times and bounds.
        transports: the first opens; "websocket" anywhere after "polling" allows the upgrade.
        listener: see EngineListener.
    """

    def __init__(
        self,
        dialer: Dialer,
        options: ClientOptions,
        transports: Sequence[str],
        listener: EngineListener,
    ) -> None:
        self.reason = ""
        self._dialer = dialer
        self._options = options
        self._transports = transports
        self._listener = listener
        self._machine = ClientMachine(transport=transports[0])
        self._transport: PollingTransport | WebSocketTransport
        if transports[0] == "polling":
            self._transport = PollingTransport(dialer, options.max_message_bytes)
        else:
            self._transport = WebSocketTransport(dialer, options.max_message_bytes)
        self._early: list[Packet] = []  # came with the handshake
        self._output: list[Outgoing] = []
        self._output_bytes = 0  # what is being sent included
        self._work = trio.Event()  # the writer has something to do
        self._drained = trio.Event()
        self._closing = False
        self._ended = trio.Event()
        self._reading = trio.Lock()
        self._writing = trio.Lock()

    @property
    def transport(self) -> str:
        """What carries it now."""
        return self._machine.transport

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still arrive."""
        return not self._closing and not self._ended.is_set()

    @property
    def unsent(self) -> int:
        """Packets that no transport has taken."""
        return len(self._output)

    @property
    def is_writable(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._output_bytes == 0

    def send(self, packet: Outgoing, *, bounded: bool = True) -> None:
        """Queue a packet; the writer task sends it. Plain.

        Args:
            packet: what to send.
            bounded: whether it counts against output_bound_bytes; if not, it was counted before.
        Raises:
            BufferFull: too much waits already.
            LocalProtocolError: it is larger than the server takes.
        """
        limit = self._machine.max_payload_bytes
        if limit and self._largest_part(packet) > limit:
            raise LocalProtocolError(f"a message of more than the server's {limit} bytes")
        size = packet.byte_count()
        if bounded and self._output_bytes + size > self._options.output_bound_bytes:
            raise BufferFull(f"{self._output_bytes} bytes wait to be sent already")
        self._output.append(packet)
        self._output_bytes += size
        self._work.set()

    def close(self) -> None:
        """Send what waits, say goodbye, end. Plain."""
        self._closing = True
        self._work.set()

    async def wait_drained(self) -> None:
        """Wait until all that was sent is with the network, or the end."""
        while self._output_bytes and not self._ended.is_set():
            self._drained = trio.Event()
            await self._drained.wait()

    async def wait_ended(self) -> str:
        """Wait for the end; gives the reason."""
        await self._ended.wait()
        return self.reason

    # -- for open_engine

    async def open(self) -> None:
        """Get the handshake done. The caller bounds the time.

        Raises:
            ConnectFailed: see open_engine.
        """
        try:
            packets = await self._transport.open()
            while not packets:
                packets = await self._transport.receive()
            first, *self._early = packets
            if first.type is not PacketType.OPEN:
                raise RemoteProtocolError(f"it began with {first.type.name}, not with a handshake")
            self._machine.receive_handshake(decode_json(first.data), trio.current_time())
        except SessionClosed:
            raise ConnectFailed("the server closed the connection") from None
        except RemoteProtocolError as error:
            raise ConnectFailed(f"no Engine.IO server answers there: {error}") from error
        if isinstance(self._transport, PollingTransport):
            self._transport.opened(self._machine.sid, self._machine.max_payload_bytes)

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to read, to write, and to upgrade."""
        nursery.start_soon(self._read)
        nursery.start_soon(self._write)
        if (
            self._machine.transport == "polling"
            and "websocket" in self._machine.upgrades
            and "websocket" in self._transports
        ):
            nursery.start_soon(self._upgrade)

    async def aclose(self) -> None:
        """End at once, whatever waits."""
        self._end("forced close")
        with trio.CancelScope(shield=True):
            await self._transport.aclose()

    # -- its tasks; they call code of the program's: Dispatcher.run says why they are protected

    @trio.lowlevel.enable_ki_protection
    async def _read(self) -> None:
        try:
            self._receive_packets(self._early)
            while self._machine.transport == "polling":
                async with self._reading:
                    if self._machine.transport == "polling":
                        await self._receive()
                await self._wait_ready()
            while True:
                await self._receive()
                await self._wait_ready()
        except (SessionClosed, ConnectFailed, RemoteProtocolError) as error:
            self._fail(error)
        except trio.TooSlowError:
            self._end("ping timeout")
        except Exception as error:
            self._contain("reading from the server", "parse error", error)

    async def _receive(self) -> None:
        with trio.fail_at(self._machine.dead_at):
            packets = await self._transport.receive()
        self._receive_packets(packets)

    async def _wait_ready(self) -> None:
        """Hold reading up while handlers are behind; the server cannot be blamed for that time."""
        began = trio.current_time()
        await self._listener.wait_ready()
        self._machine.dead_at += trio.current_time() - began

    def _receive_packets(self, packets: list[Packet]) -> None:
        for packet in packets:
            if self._ended.is_set():
                return
            kind = packet.type
            if packet.binary:
                self._listener.receive_binary(packet.data)
            elif kind is PacketType.MESSAGE:
                self._listener.receive_text(b"4" + packet.data)
            elif kind is PacketType.PING:
                self._machine.receive_ping(trio.current_time())
                self.send(_PONG, bounded=False)
            elif kind is PacketType.CLOSE:
                raise SessionClosed("transport close")
            elif kind is not PacketType.NOOP:
                raise RemoteProtocolError(f"a server does not send {kind.name} in a session")

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        try:
            while True:
                while not self._output and not self._closing:
                    self._work = trio.Event()
                    await self._work.wait()
                async with self._writing:
                    await self._send_output()
                    if self._closing and not self._output:
                        await self._say_goodbye()
                        return
        except (SessionClosed, ConnectFailed, RemoteProtocolError) as error:
            self._fail(error)
        except trio.TooSlowError:
            self._end("transport error")
        except Exception as error:
            self._contain("writing to the server", "transport error", error)

    async def _send_output(self) -> None:
        packets, self._output = self._output, []
        if packets:
            with trio.fail_after(self._options.send_timeout_s):
                await self._transport.send(packets)
        self._output_bytes -= sum(packet.byte_count() for packet in packets)
        if not self._output_bytes:
            self._drained.set()

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(self._options.close_timeout_s):
            if await self._transport.say_goodbye():
                await self._ended.wait()  # the reader sees the server's answer
        self._end("forced close")

    @trio.lowlevel.enable_ki_protection
    async def _upgrade(self) -> None:
        """Move to WebSocket; whatever goes wrong, polling goes on.

        Spec: Engine.IO v4, "Upgrade".
        """
        machine = self._machine
        candidate = WebSocketTransport(self._dialer, self._options.max_message_bytes)
        left: PollingTransport | WebSocketTransport = candidate
        try:
            self._advance(Input.PROBE_SENT)
            with trio.fail_after(self._options.connect_timeout_s):
                packets = await candidate.open(machine.sid)
                await candidate.send([_PROBE])
                packets = packets or await candidate.receive()
                if [(packet.type, packet.data) for packet in packets] != [
                    (PacketType.PONG, b"probe")
                ]:
                    raise RemoteProtocolError("the probe was not answered with its pong")
                self._advance(Input.PROBE_ANSWERED)
                async with self._writing, self._reading:  # the last POST and the last GET are over
                    self._advance(Input.POLLING_PAUSED)
                    await candidate.send([_UPGRADE])
                    self._advance(Input.UPGRADE_SENT)
                    left, self._transport = self._transport, candidate
        except (SessionClosed, ConnectFailed, RemoteProtocolError, trio.TooSlowError) as error:
            if not self._ended.is_set():
                log.info("staying on polling: %s", error or "the upgrade took too long")
                machine.receive(Input.PROBE_FAILED)
        except Exception as error:
            self._contain("the upgrade", "transport error", error)
        finally:
            with trio.CancelScope(shield=True):
                await left.aclose()

    def _advance(self, event: Input) -> None:
        if self._ended.is_set():  # while the upgrade waited for something
            raise SessionClosed(self.reason)
        self._machine.receive(event)

    # -- its end

    def _contain(self, what: str, reason: str, error: Exception) -> None:
        """A parser, a stream or open_stream of the program's own failed, or there is a defect."""
        log.error("%s failed, which ends the connection", what, exc_info=error)
        self._end(reason)

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
        self._drained.set()
        self._listener.connection_ended(self.reason)

    def _largest_part(self, packet: Outgoing) -> int:
        largest = max(map(len, packet.attachments), default=0)
        if self._machine.transport == "polling" and largest:
            largest = 1 + (largest + 2) // 3 * 4  # base64
        return max(len(packet.text), largest)


@asynccontextmanager
async def open_engine(
    dialer: Dialer,
    options: ClientOptions,
    transports: Sequence[str],
    listener: EngineListener,
) -> AsyncIterator[Engine]:
    """A connection, open while the block runs.

    Raises:
        ConnectFailed: the server cannot be reached, refuses, or is none.
    """
    engine = Engine(dialer, options, transports, listener)
    try:
        with trio.move_on_after(options.connect_timeout_s) as scope:
            await engine.open()
        if scope.cancelled_caught:
            raise ConnectFailed(f"no answer within {options.connect_timeout_s:g} s")
        async with open_bare_nursery() as nursery:
            engine.start(nursery)
            yield engine
    finally:
        await engine.aclose()
