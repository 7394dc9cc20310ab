"""Many clients that cost little, in the process of a test: TLS, and packets by bytes.

Each of them joins the main namespace, answers heartbeats and every event that asks for an answer,
and comes back when the server closes it.
"""

import resource
import ssl
import time
from random import Random
from typing import ClassVar, Final

import pytest
import trio

PATH: Final = "/socket.io/?EIO=4&transport="
UPGRADE: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
LITTLE_BUFFER: Final = 4096


def need_descriptors(count: int) -> None:
    """Raise the limit of open files of this process if need be; fail if that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.fail(
                f"this test opens {count} files in one process, and the limit here is {hard}: "
                f"raise it, as with `ulimit -Hn {count}` or LimitNOFILE="
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Unavailable(Exception):
    """The server, or a proxy before it, has answered 503: it stops, or is not there."""


class Closed(Exception):
    """The server has closed: with a close code, or without (None)."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(code)
        self.code = code


class Pipe:
    """A TLS connection whose input is taken in pieces of a known size or up to a mark."""

    def __init__(
        self, stream: trio.SSLStream[trio.SocketStream], port: int, trust: ssl.SSLContext
    ) -> None:
        self.stream = stream
        self._port = port
        self._trust = trust
        self._input = bytearray()

    @classmethod
    async def open(cls, port: int, trust: ssl.SSLContext, *, is_little: bool = False) -> "Pipe":
        """Connect; with is_little the kernel takes hardly anything that is not read."""
        sock = trio.socket.socket()
        if is_little:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, LITTLE_BUFFER)
        try:
            await sock.connect(("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        stream = trio.SSLStream(
            trio.SocketStream(sock), trust, server_hostname="127.0.0.1", https_compatible=True
        )
        return cls(stream, port, trust)

    async def reopen(self) -> None:
        """Connect once more, to the same port."""
        self.drop()
        self.stream = (await self.open(self._port, self._trust)).stream
        self._input.clear()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def take(self, count: int) -> bytes:
        while len(self._input) < count:
            await self._read()
        return self._cut(count)

    async def take_through(self, mark: bytes) -> bytes:
        while (at := self._input.find(mark)) < 0:
            await self._read()
        return self._cut(at + len(mark))

    async def _read(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise Closed
        self._input += data

    def _cut(self, count: int) -> bytes:
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def drop(self) -> None:
        self.stream.transport_stream.socket.close()


class WebSocket:
    """Engine.IO packets on a WebSocket, all of them text."""

    def __init__(self, pipe: Pipe, port: int) -> None:
        self.pipe = pipe
        self._port = port

    async def open(self) -> None:
        head = f"GET {PATH}websocket HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{UPGRADE}\r\n"
        await self.pipe.send(head.encode())
        answer = await self.pipe.take_through(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 503"):
            raise Unavailable
        assert answer.startswith(b"HTTP/1.1 101"), answer

    async def send(self, packet: str) -> None:
        text = packet.encode()
        assert len(text) < 126
        await self.pipe.send(bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text)

    async def receive(self) -> list[str]:
        head, length = await self.pipe.take(2)
        if length >= 126:
            length = int.from_bytes(await self.pipe.take(2 if length == 126 else 8), "big")
        payload = await self.pipe.take(length)
        if head == 0x88:
            raise Closed(int.from_bytes(payload[:2], "big"))
        assert head == 0x81, head
        return [payload.decode()]


class Polling:
    """Engine.IO packets on long-polling; one connection carries GETs and POSTs in turn."""

    def __init__(self, pipe: Pipe, port: int) -> None:
        self.pipe = pipe
        self._port = port
        self._sid = ""
        self._opened = ""

    async def open(self) -> None:
        self._opened = await self._request("GET")
        self._sid = "&sid=" + self._opened.partition('"sid":"')[2].partition('"')[0]

    async def send(self, packet: str) -> None:
        assert await self._request("POST", packet) == "ok"

    async def receive(self) -> list[str]:
        body, self._opened = self._opened or await self._request("GET"), ""
        packets = body.split("\x1e")
        if packets == ["1"]:
            raise Closed
        return packets

    async def _request(self, method: str, body: str = "") -> str:
        return (await self._ask(method, body))[1]

    async def _ask(self, method: str, body: str) -> tuple[str, str]:
        """Send a request; gives the head and the body of the answer, which must be a 200."""
        await self.pipe.send(
            f"{method} {PATH}polling{self._sid} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await self.pipe.take_through(b"\r\n\r\n")).decode().lower()
        if head.startswith("http/1.1 503"):
            raise Unavailable
        if self._sid and head.startswith("http/1.1 400"):
            raise Closed  # the session has gone with its node
        assert head.startswith("http/1.1 200"), head
        length = int(head.partition("content-length: ")[2].partition("\r")[0])
        return head, (await self.pipe.take(length)).decode()


class Member:
    """One of many clients.

    Args:
        is_polling: whether it stays on long-polling; otherwise it speaks WebSocket alone.
        is_little: see Pipe.open.

    Attributes:
        polling: how it speaks long-polling.
        id: of its socket; empty while it is in no namespace.
        closes: when it was closed by the server, in seconds since 1970, and with what code.
    """

    polling: ClassVar[type[Polling]] = Polling

    def __init__(self, *, is_polling: bool = False, is_little: bool = False) -> None:
        self.is_polling = is_polling
        self.id = ""
        self.closes: list[tuple[float, int | None]] = []
        self._is_little = is_little
        self._is_reading = trio.Event()
        self._is_reading.set()
        self._transport: WebSocket | Polling

    async def stay(self, port: int, trust: ssl.SSLContext, joined: trio.Semaphore) -> None:
        """Be a client until cancelled, or until the server has closed one that reads nothing."""
        dice = Random(id(self))
        while True:
            try:
                pipe = await Pipe.open(port, trust, is_little=self._is_little)
            except OSError:  # nobody listens at the moment
                await trio.sleep(0.05 + 0.1 * dice.random())
                continue
            try:
                await self._serve(pipe, port, joined)
            except Unavailable:
                await trio.sleep(0.05 + 0.1 * dice.random())
            except Closed as end:
                self.closes.append((time.time(), end.code))
            except trio.BrokenResourceError:
                self.closes.append((time.time(), None))
            finally:
                self.id = ""
                pipe.drop()
            if self._is_little:
                return

    async def emit(self, event: str) -> None:
        await self._transport.send(f'42["{event}"]')

    def stop_reading(self) -> None:
        self._is_reading = trio.Event()

    def read_on(self) -> None:
        self._is_reading.set()

    async def _serve(self, pipe: Pipe, port: int, joined: trio.Semaphore) -> None:
        kind = self.polling if self.is_polling else WebSocket
        transport = self._transport = kind(pipe, port)
        await transport.open()
        while True:
            for packet in await transport.receive():
                if packet.startswith("0"):
                    await transport.send("40")
                elif packet.startswith("40"):
                    self.id = packet.partition('"sid":"')[2].partition('"')[0]
                    joined.release()
                elif packet == "2":
                    await transport.send("3")
                elif packet.startswith("42") and packet[2].isdigit():
                    await transport.send(f"43{packet[2 : packet.index('[')]}[]")
            await self._is_reading.wait()
