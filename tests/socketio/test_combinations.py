"""Options that are switched on together: compression with MessagePack, and with recovery."""

import json
from typing import Any

import msgspec
import pytest
import trio
from tests.engine.harness import UPGRADE_HEADERS
from tests.net.test_deflate import BINARY, RSV1, TEXT, Client, agreed
from tests.net.wsproto_server import make_frame
from tests.socketio.recovering import recovering_server
from tests.socketio.serving import serving, until
from trio.testing import trio_test

from trio_socketio import PerMessageDeflate, Server, ServerOptions

OFFER = "permessage-deflate; client_max_window_bits"
LARGE = "a text of some length, " * 100
BYTES = bytes(range(256)) * 20


class Compressing:
    """A WebSocket session whose client compresses all that it sends."""

    def __init__(self, stream: trio.SocketStream, options: PerMessageDeflate) -> None:
        self._stream = stream
        self._client = Client(agreed(OFFER, options))
        self._rest = b""
        self.compressed = 0

    @classmethod
    async def open(cls, port: int, options: PerMessageDeflate) -> "Compressing":
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        headers = [*UPGRADE_HEADERS, ("Sec-WebSocket-Extensions", OFFER)]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        target = "/socket.io/?EIO=4&transport=websocket"
        await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        self = cls(stream, options)
        while b"\r\n\r\n" not in self._rest:
            self._rest += await stream.receive_some()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        assert b"permessage-deflate" in head
        assert (await self.receive())[:1] == b"0"
        return self

    async def send(self, message: str | bytes) -> None:
        opcode, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        await self._stream.send_all(make_frame(opcode, self._client.compress(data), rsv=RSV1))

    async def receive(self) -> bytes:
        """The next message, inflated."""
        with trio.fail_after(5):
            while (frame := self._cut()) is None:
                part = await self._stream.receive_some()
                assert part, "the server hung up"
                self._rest += part
        first, payload = frame
        if first & 0x40:
            self.compressed += 1
            return self._client.decompress(payload)
        return payload

    def _cut(self) -> tuple[int, bytes] | None:
        """The next frame, if it is whole."""
        data = self._rest
        if len(data) < 4:
            return None
        size, at = data[1], 2
        if size >= 126:
            at += 2 if size == 126 else 8
            size = int.from_bytes(data[2:at])
        if len(data) < at + size:
            return None
        self._rest = data[at + size :]
        return data[0], data[at : at + size]

    async def aclose(self) -> None:
        await self._stream.aclose()


def options(*, takeover: bool) -> PerMessageDeflate:
    return PerMessageDeflate(
        server_no_context_takeover=not takeover, client_no_context_takeover=not takeover
    )


@pytest.mark.req("WS-11")
@pytest.mark.parametrize("takeover", [False, True])
@trio_test
async def test_messagepack_is_compressed(takeover: bool) -> None:
    deflate = options(takeover=takeover)
    server = Server(ServerOptions(per_message_deflate=deflate, parser="msgpack"))

    @server.on("echo")
    def echo(_: Any, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    async with serving(server) as port:
        client = await Compressing.open(port, deflate)
        await client.send(msgspec.msgpack.encode({"type": 0, "nsp": "/"}))
        assert msgspec.msgpack.decode(await client.receive())["type"] == 0
        for number in range(3):
            event = {"type": 2, "nsp": "/", "id": number, "data": ["echo", LARGE, BYTES]}
            await client.send(msgspec.msgpack.encode(event))
            answer = msgspec.msgpack.decode(await client.receive())
            assert answer == {"type": 3, "nsp": "/", "id": number, "data": [LARGE, BYTES]}
        assert client.compressed == 3
        await client.aclose()


@pytest.mark.req("WS-11", "RECOVER-02")
@pytest.mark.parametrize("takeover", [False, True])
@trio_test
async def test_what_was_missed_is_recovered_over_compressed_messages(takeover: bool) -> None:
    deflate = options(takeover=takeover)
    server = recovering_server(per_message_deflate=deflate)
    async with serving(server) as port:
        client = await Compressing.open(port, deflate)
        await client.send("40")
        told = json.loads((await client.receive())[2:])
        server.emit("n", 1, LARGE)
        *_, offset = json.loads((await client.receive())[2:])
        await client.aclose()
        await until(lambda: not server.of("/").sockets)
        server.emit("n", 2, LARGE)
        server.emit("n", 3, BYTES)
        client = await Compressing.open(port, deflate)
        await client.send("40" + json.dumps({"pid": told["pid"], "offset": offset}))
        again = json.loads((await client.receive())[2:])
        assert (again["sid"], again["pid"]) == (told["sid"], told["pid"])
        assert json.loads((await client.receive())[2:])[:3] == ["n", 2, LARGE]
        assert (await client.receive()).startswith(b'451-["n",3,')
        assert await client.receive() == BYTES
        assert client.compressed == 2
        await client.aclose()
