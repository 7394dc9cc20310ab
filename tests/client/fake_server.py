"""A server whose every byte the test decides: it answers the streams that a client opens."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
from trio.testing import memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from trio_socketio import Client, ClientOptions, open_client

HANDSHAKE = {
    "sid": "engine-sid",
    "upgrades": [],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 1000000,
}


class FakeServer:
    """Gives the server's ends of the connections, in the order in which they were opened."""

    def __init__(self) -> None:
        self._opened, self._accepted = trio.open_memory_channel[trio.abc.Stream](100)
        self.down = False
        self.attempts: list[float] = []

    async def open_stream(self) -> trio.abc.Stream:
        """For open_client."""
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if self.down:
            raise ConnectionRefusedError(111, "nobody is there")
        ours, theirs = memory_stream_pair()
        self._opened.send_nowait(theirs)
        return ours

    async def accept(self) -> trio.abc.Stream:
        """The next connection, raw."""
        return await self._accepted.receive()

    async def accept_websocket(self) -> "FakeWebSocket":
        """The next connection, which must ask for a WebSocket."""
        end = FakeWebSocket(await self.accept())
        await end.shake_hands()
        return end

    async def accept_http(self) -> "FakeHttp":
        """The next connection, which must speak HTTP."""
        return FakeHttp(await self.accept())

    async def join_polling(self, **handshake: Any) -> tuple["FakeHttp", "FakeHttp"]:
        """Let a client on polling into the main namespace.

        Gives the connection of its GETs, on which the next one is awaited, and that of its POSTs.
        """
        getter = await self.accept_http()
        await getter.receive()
        await getter.answer("0" + json.dumps(HANDSHAKE | handshake))
        await getter.receive()
        poster = await self.accept_http()
        await poster.receive()
        await poster.answer("ok")
        await getter.answer('40{"sid":"s"}')
        await getter.receive()
        return getter, poster

    @asynccontextmanager
    async def client(self, **settings: Any) -> AsyncIterator[Client]:
        """A client of it, on WebSocket unless told otherwise."""
        settings.setdefault("transports", ("websocket",))
        async with open_client(
            "http://fake.example", open_stream=self.open_stream, **settings
        ) as client:
            yield client


class FakeWebSocket:
    """The server's end of a WebSocket."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.SERVER)
        self.target = ""
        self.closed = False
        self._messages: list[str | bytes] = []

    async def shake_hands(
        self, reject: int | None = None, body: bytes = b"", *, read: bytes = b""
    ) -> None:
        """Answer the request, of which some was read already."""
        while True:
            self.ws.receive_data(read or bytes(await self.stream.receive_some(65536)))
            read = b""
            for event in self.ws.events():
                if isinstance(event, Request):
                    self.target = event.target
                    if reject is None:
                        await self.stream.send_all(self.ws.send(AcceptConnection()))
                    else:
                        refusal = RejectConnection(
                            headers=[(b"content-length", b"%d" % len(body))],
                            status_code=reject,
                            has_body=True,
                        )
                        await self.stream.send_all(
                            self.ws.send(refusal) + self.ws.send(RejectData(data=body))
                        )
                    return

    async def send(self, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        await self.stream.send_all(self.ws.send(event))

    async def receive(self) -> str | bytes:
        """The next message; "closed" when the client has closed or is gone."""
        while not self._messages:
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return "closed"
            self.ws.receive_data(bytes(data))
            for event in self.ws.events():
                if isinstance(event, TextMessage):
                    self._messages.append(event.data)
                elif isinstance(event, BytesMessage):
                    self._messages.append(bytes(event.data))
                elif isinstance(event, Ping):
                    await self.stream.send_all(self.ws.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._messages.append("closed")
                    if not self.closed:
                        await self.stream.send_all(self.ws.send(event.response()))
        return self._messages.pop(0)

    async def close(self, code: int = 1000) -> None:
        self.closed = True
        await self.stream.send_all(self.ws.send(CloseConnection(code)))

    async def drop(self) -> None:
        """Be gone without a word."""
        await trio.aclose_forcefully(self.stream)

    async def join(
        self, sid: str = "socket-id", *, pid: str | None = None, **handshake: Any
    ) -> Any:
        """Let the client into the main namespace; gives its auth."""
        await self.send("0" + json.dumps(HANDSHAKE | handshake))
        asked = await self.receive()
        assert isinstance(asked, str)
        assert asked.startswith("40"), asked
        await self.send("40" + json.dumps({"sid": sid} | ({} if pid is None else {"pid": pid})))
        return json.loads(asked[2:]) if asked[2:] else None


class FakeHttp:
    """The server's end of a kept-alive connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)

    async def receive(self) -> tuple[str, str, bytes]:
        """Method, target and body of the next request."""
        request, body = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                self.headers = dict(request.headers)
                return request.method.decode(), request.target.decode(), body
            else:
                raise EOFError(event)

    async def answer(
        self, body: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        data = body.encode()
        head = [*headers, ("Content-Length", str(len(data)))]
        sent = self.http.send(h11.Response(status_code=status, headers=head)) or b""
        sent += self.http.send(h11.Data(data=data)) or b""
        sent += self.http.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(sent)
        self.http.start_next_cycle()


def options(**changed: Any) -> ClientOptions:
    """Without jitter, so that delays are what they should be."""
    return ClientOptions(**({"reconnect_jitter": 0.0} | changed))
