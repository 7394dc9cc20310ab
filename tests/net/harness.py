"""Connections on a socket pair: one end under test on a poller, the other in the test's hands."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from trio.testing import wait_all_tasks_blocked

from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.net.frames import FrameReceiver
from trio_socketio.net.traffic import Traffic
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.poller import Poller
from trio_socketio.runtime.readiness import create_poller

TIMEOUT_S = 10.0
HANDSHAKE_S = 10.0
KEEP_ALIVE_S = 65.0
LATE_S = 0.015  # that another task may wake up too late while connections flood the poller


async def settle() -> None:
    """Let everything happen that can happen without the test: local sockets deliver at once."""
    with trio.fail_after(TIMEOUT_S):
        await wait_all_tasks_blocked(0.002)


class CountingSocket(socket.socket):
    """Remembers what each send took."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.setblocking(False)
        self.sent: list[int] = []

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:  # type: ignore[override]  # typeshed names Buffer
        sent = super().send(data, flags)
        self.sent.append(sent)
        return sent


class Passes(trio.abc.Instrument):
    """Counts the passes of trio's scheduler."""

    def __init__(self) -> None:
        self.passes = 0

    def before_io_wait(self, timeout: float) -> None:
        self.passes += 1


class Recorder:
    """A receiver that writes down what it is told, and may do more."""

    def __init__(self, on_data: Callable[[bytes], None] | None = None) -> None:
        self.data = b""
        self.lost: list[str] = []
        self.more = 0
        self.on_data = on_data
        self.on_more: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None

    def receive_data(self, data: bytes) -> None:
        self.data += data
        if self.on_data is not None:
            self.on_data(data)

    def receive_more(self) -> None:
        self.more += 1
        if self.on_more is not None:
            self.on_more()

    def connection_lost(self, reason: str) -> None:
        self.lost.append(reason)
        if self.on_lost is not None:
            self.on_lost()


class Peer:
    """The test's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = b""
        self.eof = False

    def send_nowait(self, data: bytes) -> None:
        assert self.sock.send(data) == len(data)

    async def send(self, data: bytes) -> None:
        """Send all of it, as fast as it is taken, and let it be worked on."""
        view = memoryview(data)
        with trio.fail_after(TIMEOUT_S):
            while view:
                await trio.lowlevel.wait_writable(self.sock)
                view = view[self.sock.send(view) :]
        await settle()

    def read_nowait(self, limit: int = 1 << 20) -> bytes:
        """What is there now."""
        data = b""
        while not self.eof and len(data) < limit:
            try:
                part = self.sock.recv(min(65536, limit - len(data)))
            except BlockingIOError:
                break
            except ConnectionResetError:
                part = b""
            self.eof = not part
            data += part
        self.received += data
        return data

    async def read(self) -> bytes:
        """What has come once everybody is waiting."""
        await settle()
        return self.read_nowait()

    async def read_until(self, size: int) -> bytes:
        """The next size bytes."""
        data = b""
        with trio.fail_after(TIMEOUT_S):
            while len(data) < size:
                await trio.lowlevel.wait_readable(self.sock)
                data += self.read_nowait(size - len(data))
                assert not self.eof or len(data) == size, f"ended after {len(data)}"
        return data

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the stream."""
        data = b""
        with trio.fail_after(TIMEOUT_S):
            while not self.eof:
                await trio.lowlevel.wait_readable(self.sock)
                data += self.read_nowait()
        return data

    def close(self) -> None:
        self.sock.close()


@dataclass
class HttpEnd:
    """A connection that reads requests, and what came of it."""

    connection: Connection
    receiver: HttpReceiver
    peer: Peer
    requests: list[Request]

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.requests]


@dataclass
class FrameEnd:
    """A connection that reads frames, and what came of it."""

    connection: Connection
    receiver: FrameReceiver
    peer: Peer
    messages: list[bytes | str]
    lost: list[str]


class Net:
    """What owns the connections of one test. See net.connection.Owner."""

    def __init__(
        self, poller: Poller, output_bound_bytes: int = 1 << 20, slow_client_s: float = 10.0
    ) -> None:
        self.poller = poller
        self.deadlines = Deadlines(0.001)
        self.output_bound_bytes = output_bound_bytes
        self.slow_client_s = slow_client_s
        self.writes_dropped = 0
        self.traffic = Traffic()
        self.released: list[Connection] = []
        self.connections: list[Connection] = []
        self.peers: list[Peer] = []
        self._socks: list[CountingSocket] = []

    def connection_released(self, connection: Connection) -> None:
        self.released.append(connection)

    def close_all(self) -> None:
        """Close whatever a failed test left open."""
        for sock in [*self._socks, *(peer.sock for peer in self.peers)]:
            sock.close()

    def pair(self, *, buffer_bytes: int | None = None) -> tuple[Connection, CountingSocket, Peer]:
        """A connection that nobody watches yet."""
        ours, theirs = socket.socketpair()
        if buffer_bytes is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        sock, peer = CountingSocket(ours), Peer(theirs)
        connection = Connection(self, sock, "")
        self.connections.append(connection)
        self.peers.append(peer)
        self._socks.append(sock)
        return connection, sock, peer

    def connect(
        self,
        receiver: Recorder | None = None,
        *,
        buffer_bytes: int | None = None,
        preferred: bool = False,
    ) -> tuple[Connection, CountingSocket, Peer]:
        """A connection on the poller."""
        connection, sock, peer = self.pair(buffer_bytes=buffer_bytes)
        if receiver is not None:
            connection.set_receiver(receiver)
        self.poller.register(connection, preferred=preferred)
        return connection, sock, peer

    def http(self, answer: Callable[[Request], None] | None = None) -> HttpEnd:
        """A connection that speaks HTTP; requests wait for the test unless there is an answer."""
        connection, _, peer = self.pair()
        requests: list[Request] = []

        def on_request(request: Request) -> None:
            requests.append(request)
            if answer is not None:
                answer(request)

        receiver = HttpReceiver(connection, on_request, HANDSHAKE_S, KEEP_ALIVE_S)
        connection.set_receiver(receiver)
        self.poller.register(connection)
        return HttpEnd(connection, receiver, peer, requests)

    def frames(self, max_bytes: int = 1 << 20) -> FrameEnd:
        """A connection that speaks WebSocket; texts come as str, binary as bytes."""
        connection, _, peer = self.connect()
        messages: list[bytes | str] = []
        lost: list[str] = []
        receiver = FrameReceiver(
            connection,
            max_bytes,
            lambda text: messages.append(text.decode()),
            messages.append,
            lost.append,
        )
        return FrameEnd(connection, receiver, peer, messages, lost)


@asynccontextmanager
async def open_net(
    poller: Poller | None = None,
    *,
    output_bound_bytes: int = 1 << 20,
    slow_client_s: float = 10.0,
) -> AsyncIterator[Net]:
    """A running poller and its deadlines; at the end nothing may be left open."""
    net = Net(poller or create_poller(), output_bound_bytes, slow_client_s)
    try:
        async with net.poller.running(), trio.open_nursery() as nursery:
            nursery.start_soon(net.deadlines.run, net.poller.read_ready)
            try:
                yield net
            finally:
                for connection in net.connections:
                    connection.abort()
                nursery.cancel_scope.cancel()
        assert all(connection.fileno() == -1 for connection in net.connections)
    finally:
        net.close_all()


async def measure_lateness(flood: Callable[[], None], rounds: int = 10) -> float:
    """How late a task wakes that sleeps 10 ms: the median of some rounds, the best of three tries.

    Other programs share this machine; a poller that does not let go is late in every round.
    """
    medians: list[float] = []
    for _ in range(3):
        late: list[float] = []
        for _ in range(rounds):
            flood()
            began = trio.current_time()
            await trio.sleep(0.01)
            late.append(trio.current_time() - began - 0.01)
        medians.append(sorted(late)[len(late) // 2])
        if medians[-1] < LATE_S:
            break
    return min(medians)
