"""Clients of Engine.IO v3 for tests, beside those of wire.py; they know nothing of the package."""

import json
from base64 import b64decode, b64encode
from collections import deque
from typing import Any

from tests.wire import PATH, ConnectionEnded, HttpClient, Response, WebSocketClient


def count_units(text: str) -> int:
    """Length as JavaScript has it."""
    return sum(2 if ord(char) > 0xFFFF else 1 for char in text)


def pack(*packets: str) -> str:
    """A text payload."""
    return "".join(f"{count_units(packet)}:{packet}" for packet in packets)


def unpack(response: Response) -> list[str | bytes]:
    """The packets of an answer to a GET."""
    assert response.status == 200, response
    packets: list[str | bytes] = []
    if response.headers["content-type"] == "application/octet-stream":
        body = response.body
        while body:
            kind, (digits, _, rest) = body[0], body[1:].partition(b"\xff")
            size = int("".join(map(str, digits)))
            packet, body = rest[:size], rest[size:]
            assert len(packet) == size
            assert kind == 0 or packet[0] == 4
            packets.append(packet[1:] if kind else packet.decode())
        return packets
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    text = response.text
    while text:
        digits_, _, text = text.partition(":")
        end = 0
        while count_units(text[:end]) < int(digits_):
            end += 1
        assert count_units(text[:end]) == int(digits_)
        packet_, text = text[:end], text[end:]
        packets.append(b64decode(packet_[2:]) if packet_.startswith("b4") else packet_)
    return packets


class WebSocketEngineV3:
    """A session on WebSocket."""

    def __init__(self, websocket: WebSocketClient, handshake: dict[str, Any]) -> None:
        self.websocket = websocket
        self.handshake = handshake

    @classmethod
    async def open(cls, port: int, path: str = PATH, query: str = "&EIO=3") -> "WebSocketEngineV3":
        websocket = await WebSocketClient.open(port, f"{path}?transport=websocket{query}")
        opened = await websocket.receive()
        assert isinstance(opened, str)
        assert opened[0] == "0"
        return cls(websocket, json.loads(opened[1:]))

    async def send(self, packet: str | bytes) -> None:
        await self.websocket.send(packet if isinstance(packet, str) else b"\x04" + packet)

    async def receive(self) -> str | bytes:
        packet = await self.websocket.receive()
        if isinstance(packet, str):
            return packet
        assert packet[0] == 4
        return packet[1:]

    async def aclose(self) -> None:
        await self.websocket.aclose()


class PollingEngineV3:
    """A session on long-polling."""

    def __init__(self, port: int, path: str, handshake: dict[str, Any]) -> None:
        self.port = port
        self.path = path
        self.handshake = handshake
        self.getter = HttpClient(port)
        self.poster = HttpClient(port)
        self.packets: deque[str | bytes] = deque()

    @classmethod
    async def open(cls, port: int, path: str = PATH, query: str = "&EIO=3") -> "PollingEngineV3":
        http = HttpClient(port)
        try:
            response = await http.request("GET", f"{path}?transport=polling{query}")
        finally:
            await http.aclose()
        first, *rest = unpack(response)
        assert isinstance(first, str)
        assert first[0] == "0"
        self = cls(port, path, json.loads(first[1:]))
        self.packets.extend(rest)
        return self

    @property
    def target(self) -> str:
        return f"{self.path}?EIO=3&transport=polling&sid={self.handshake['sid']}"

    async def post(self, body: str | bytes) -> Response:
        if isinstance(body, str):
            return await self.poster.request("POST", self.target, body=body.encode())
        binary = [("Content-Type", "application/octet-stream")]
        return await self.poster.request("POST", self.target, binary, body)

    async def poll(self) -> Response:
        return await self.getter.request("GET", self.target)

    async def send(self, packet: str | bytes) -> None:
        text = packet if isinstance(packet, str) else "b4" + b64encode(packet).decode()
        response = await self.post(pack(text))
        if response.status != 200:
            raise ConnectionEnded(response.status)

    async def receive(self) -> str | bytes:
        while not self.packets:
            response = await self.poll()
            if response.status != 200:
                raise ConnectionEnded(response.status)
            self.packets.extend(unpack(response))
        packet = self.packets.popleft()
        if packet == "1":
            raise ConnectionEnded(None)
        return packet

    async def aclose(self) -> None:
        await self.getter.aclose()
        await self.poster.aclose()
