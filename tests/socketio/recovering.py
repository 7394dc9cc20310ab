"""A client that may lose its connection and come back, as official clients do."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from tests.socketio.serving import open_client
from tests.wire import TIMEOUT_S, PollingEngine, SocketIOClient

from trio_socketio import Adapter, Namespace, Server, ServerOptions


def recovering_server(
    adapter: Callable[[Namespace], Adapter] | None = None, **options: Any
) -> Server:
    """A server with recovery; a client can have itself put into a room."""
    server = Server(ServerOptions(state_recovery=True, **options), adapter=adapter or Adapter)

    @server.on("join")
    def join(socket: Any, room: str) -> None:
        socket.join(room)
        socket.emit("joined")

    return server


class Client:
    """A connection, and what it was told when it joined."""

    def __init__(self, wire: SocketIOClient, parser: str) -> None:
        self._wire = wire
        self._parser = parser
        self.sid = ""
        self.pid = ""
        self.offset: str | None = None

    async def send(self, packet: dict[str, Any]) -> None:
        """Send a packet, given as MessagePack has it."""
        if self._parser == "msgpack":
            await self._wire.engine.send(msgspec.msgpack.encode(packet))
        else:
            namespace = "" if packet["nsp"] == "/" else packet["nsp"] + ","
            data = json.dumps(packet["data"]) if "data" in packet else ""
            await self._wire.send(f"{packet['type']}{namespace}{packet.get('id', '')}{data}")

    async def receive(self) -> dict[str, Any]:
        """The next packet, as MessagePack has it."""
        with trio.fail_after(TIMEOUT_S):
            if self._parser == "msgpack":
                while not isinstance(message := await self._wire.engine.receive(), bytes):
                    assert message in "26", message
                packet: dict[str, Any] = msgspec.msgpack.decode(message)
                return packet
            text, attachments = await self._wire.receive()
            assert not attachments
            kind, rest = int(text[0]), text[1:]
            namespace = "/"
            if rest.startswith("/"):
                namespace, _, rest = rest.partition(",")
            digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
            packet = {"type": kind, "nsp": namespace}
            if digits:
                packet["id"] = int(digits)
            if rest[len(digits) :]:
                packet["data"] = json.loads(rest[len(digits) :])
            return packet

    async def connect(self, auth: Any = None, namespace: str = "/") -> "Client":
        """Join a namespace."""
        await self.send({"type": 0, "nsp": namespace} | ({} if auth is None else {"data": auth}))
        told = await self.receive()
        assert told["type"] == 0, told
        self.sid, self.pid = told["data"]["sid"], told["data"]["pid"]
        assert set(told["data"]) == {"sid", "pid"}
        return self

    async def emit(self, *arguments: Any) -> None:
        await self.send({"type": 2, "nsp": "/", "data": arguments})

    async def receive_event(self) -> list[Any]:
        """The next event without its offset, which is remembered."""
        packet = await self.receive()
        assert packet["type"] == 2, packet
        assert "id" not in packet
        arguments: list[Any]
        *arguments, self.offset = packet["data"]
        assert isinstance(self.offset, str)
        return arguments

    async def join(self, *rooms: str) -> None:
        for room in rooms:
            await self.emit("join", room)
            assert await self.receive_event() == ["joined"]

    def credentials(self) -> dict[str, Any]:
        """What goes into the CONNECT of the next connection."""
        return {"pid": self.pid} | ({} if self.offset is None else {"offset": self.offset})

    async def lose(self) -> None:
        """Break the connection."""
        if isinstance(self._wire.engine, PollingEngine):
            await self._wire.engine.post("1")
        await self._wire.engine.aclose()


@asynccontextmanager
async def arriving(
    port: int, transport: str = "websocket", parser: str = "json"
) -> AsyncIterator[Client]:
    """A client that has joined nothing yet."""
    async with open_client(port, transport) as wire:
        yield Client(wire, parser)
