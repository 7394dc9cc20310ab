"""Transports of clients that cost little: Engine.IO by bytes, on long-polling and on WebSocket.

To receive may be cancelled: what has come stays in the buffer until a packet is whole.
"""

import json
import socket
import struct
from base64 import b64decode, b64encode
from collections import deque
from typing import Final, Protocol

import trio

PATH: Final = "/socket.io/?transport="
CONNECT_S: Final = 20.0
_UPGRADE: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_RESET: Final = struct.pack("ii", 1, 0)


class Closed(Exception):
    """The server has closed, or has refused a request with a status."""


class Line:
    """A TCP connection; what is read from it stays in input until it is cut off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.input = bytearray()
        self._sock = trio.socket.socket()

    async def open(self) -> None:
        with trio.fail_after(CONNECT_S):
            await self._sock.connect(("127.0.0.1", self._port))

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[await self._sock.send(view) :]
        except OSError as error:
            raise Closed(f"while it was sent something: {error}") from error

    async def fill(self, count: int) -> None:
        """Read until there is so much input."""
        while len(self.input) < count:
            await self._read()

    async def find(self, mark: bytes) -> int:
        """Read until there is a mark in the input; return where it ends."""
        while (at := self.input.find(mark)) < 0:
            await self._read()
        return at + len(mark)

    def cut(self, count: int) -> bytes:
        data = bytes(self.input[:count])
        del self.input[:count]
        return data

    async def wait_closed(self) -> None:
        """Read away what comes, until the server closes."""
        try:
            while True:
                self.input.clear()
                await self._read()
        except Closed:
            return

    async def _read(self) -> None:
        try:
            data = await self._sock.recv(65536)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("the server hung up")
        self.input += data

    def close(self) -> None:
        """Close it in order (FIN)."""
        self._sock.close()

    def reset(self) -> None:
        """Close it with a RST, as a machine does that has forgotten the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()


Packet = str | bytes
"""Of Engine.IO: text with its type, or the bytes of a binary message."""


class Transport(Protocol):
    """A session of Engine.IO.

    Attributes:
        line: its connection.
        sid: of the session.
    """

    line: Line
    sid: str

    async def send(self, *packets: Packet) -> None: ...

    async def receive(self) -> Packet: ...

    async def say_goodbye(self) -> None:
        """End the session in order."""

    def close(self) -> None:
        """Close its connections (FIN)."""

    def reset(self) -> None:
        """Close its connections with RST."""


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """Return a frame whose mask is zero."""
    size = len(payload)
    head = struct.pack("!BB", 0x80 | opcode, 0x80 | size if size < 126 else 0xFE)
    return head + (b"" if size < 126 else struct.pack("!H", size)) + bytes(4) + payload


class WebSocket:
    """A session on a WebSocket.

    Args:
        line: that is open.
        port: of the server.
        revision: of Engine.IO, 3 or 4.
    """

    def __init__(self, line: Line, port: int, revision: int) -> None:
        self.line = line
        self.sid = ""
        self._port = port
        self._revision = revision

    async def open(self) -> None:
        await self.shake_hands()
        self.sid = _sid_of(await self.receive())

    async def shake_hands(self, sid: str = "") -> None:
        query = f"websocket&EIO={self._revision}" + (sid and f"&sid={sid}")
        head = f"GET {PATH}{query} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{_UPGRADE}\r\n"
        await self.line.send(head.encode())
        answer = self.line.cut(await self.line.find(b"\r\n\r\n"))
        if not answer.startswith(b"HTTP/1.1 101"):
            raise Closed(answer.partition(b"\r")[0].decode())

    async def send(self, *packets: Packet) -> None:
        await self.line.send(b"".join(map(self._frame, packets)))

    def _frame(self, packet: Packet) -> bytes:
        if isinstance(packet, str):
            return frame(packet.encode())
        return frame((b"\x04" if self._revision == 3 else b"") + packet, opcode=2)

    async def receive(self) -> Packet:
        line, begin = self.line, 2
        await line.fill(begin)
        head, length = line.input[:2]
        if length >= 126:
            begin = 4 if length == 126 else 10
            await line.fill(begin)
            length = int.from_bytes(line.input[2:begin], "big")
        await line.fill(begin + length)
        payload = line.cut(begin + length)[begin:]
        if head == 0x88:
            raise Closed(f"close code {int.from_bytes(payload[:2], 'big')}")
        if head == 0x81:
            return payload.decode()
        assert head == 0x82, head
        return payload[1:] if self._revision == 3 else payload

    async def say_goodbye(self) -> None:
        await self.line.send(frame(b"\x03\xe8", opcode=8))
        await self.line.wait_closed()
        self.line.close()

    def close(self) -> None:
        self.line.close()

    def reset(self) -> None:
        self.line.reset()


class Polling:
    """A session on long-polling; the arguments are those of WebSocket."""

    def __init__(self, line: Line, port: int, revision: int) -> None:
        self.line = line
        self.sid = ""
        self._port = port
        self._revision = revision
        self._received: deque[Packet] = deque()
        self._asked: deque[str] = deque()  # methods of requests that have no answer yet
        self._posts: Line | None = None  # the second connection, once there is one
        self._posted: deque[str] = deque()  # the same of that one

    async def open(self) -> None:
        self.sid = _sid_of(await self.receive())

    async def upgrade(self) -> WebSocket:
        """Go over to a WebSocket, as clients do."""
        line = Line(self._port)
        await line.open()
        websocket = WebSocket(line, self._port, self._revision)
        await websocket.shake_hands(self.sid)
        websocket.sid = self.sid
        await websocket.send("2probe")
        answer = await websocket.receive()
        assert answer == "3probe", answer
        await websocket.send("5")
        self.line.close()
        return websocket

    async def send(self, *packets: Packet) -> None:
        line, asked = self.line, self._asked
        if "GET" in asked:
            if self._posts is None:
                self._posts = Line(self._port)
                await self._posts.open()
            line, asked = self._posts, self._posted
        await self.begin(line, "POST", self._pack(packets))
        asked.append("POST")
        await self._take_answers(line, asked)

    async def receive(self) -> Packet:
        while not self._received:
            if "GET" not in self._asked:
                await self.begin(self.line, "GET")
                self._asked.append("GET")
            await self._take_answers(self.line, self._asked)
        packet = self._received.popleft()
        if packet == "1":
            raise Closed("closed by a packet")
        return packet

    async def _take_answers(self, line: Line, asked: deque[str]) -> None:
        """Take the answers to all requests on a connection, also of those that were cancelled."""
        while asked:
            body = await _take_answer(line)
            if asked.popleft() == "GET":
                self._received.extend(self._unpack(body))
            else:
                assert body == "ok", body

    async def say_goodbye(self) -> None:
        await self.send("1")
        self.close()

    async def begin(self, line: Line, method: str, body: str = "", sent: int | None = None) -> None:
        """Send a request, or the head and the first bytes of its body alone."""
        data = body.encode()
        sid = self.sid and f"&sid={self.sid}"
        head = (
            f"{method} {PATH}polling&b64=1&EIO={self._revision}{sid} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self._port}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        await line.send(head.encode() + data[:sent])

    def close(self) -> None:
        self.line.close()
        if self._posts is not None:
            self._posts.close()

    def reset(self) -> None:
        self.line.reset()
        if self._posts is not None:
            self._posts.reset()

    def _pack(self, packets: tuple[Packet, ...]) -> str:
        mark = "b4" if self._revision == 3 else "b"
        texts = [one if isinstance(one, str) else mark + b64encode(one).decode() for one in packets]
        if self._revision == 3:
            return "".join(f"{len(text)}:{text}" for text in texts)
        return "\x1e".join(texts)

    def _unpack(self, body: str) -> list[Packet]:
        if self._revision == 4:
            return [b64decode(one[1:]) if one[0] == "b" else one for one in body.split("\x1e")]
        packets: list[Packet] = []
        while body:  # all that is sent here is ASCII
            size, _, rest = body.partition(":")
            packet, body = rest[: int(size)], rest[int(size) :]
            packets.append(b64decode(packet[2:]) if packet[0] == "b" else packet)
        return packets


async def _take_answer(line: Line) -> str:
    begin = await line.find(b"\r\n\r\n")
    head = line.input[:begin].decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r")[0])
    await line.fill(begin + length)
    text = line.cut(begin + length)[begin:].decode()
    if not head.startswith("http/1.1 200"):
        raise Closed(f"{head.partition(chr(13))[0]}: {text}")
    return text


def _sid_of(packet: Packet) -> str:
    assert isinstance(packet, str)
    assert packet[0] == "0", packet
    sid: str = json.loads(packet[1:])["sid"]
    return sid
