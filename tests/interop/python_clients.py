"""The clients in Python, threaded and of asyncio, behind one face each: Socket.IO and Engine.IO.

The threaded ones are used as they are; those of asyncio live in a loop in a thread of its own, and
every call is handed over to it.
"""

import asyncio
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp
import engineio
import requests
import websocket

import socketio

WAIT_S = 8.0
TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}
RECONNECTION = {
    "reconnection_delay": 0.05,
    "reconnection_delay_max": 0.2,
    "randomization_factor": 0,
}


class Inbox:
    """The arguments of every event of one name, in the order its handlers ran."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def put(self, *args: Any) -> None:
        self._received.put(args)

    def take(self, timeout_s: float = WAIT_S) -> tuple[Any, ...]:
        """The next one; ``queue.Empty`` if none comes."""
        return self._received.get(timeout=timeout_s)

    def take_all(self) -> list[tuple[Any, ...]]:
        """Those that are here already."""
        return [self._received.get() for _ in range(self._received.qsize())]

    def is_empty(self) -> bool:
        return self._received.empty()


class _Log(logging.Logger):
    """Finds the pings in what a client logs: it tells nobody else of them."""

    def __init__(self, pings: Inbox) -> None:
        super().__init__("pings", logging.INFO)
        self._pings = pings

    def handle(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Received packet PING"):
            self._pings.put()


Make = Callable[..., Any]  # a class of python-socketio or python-engineio, options bound


class _Threaded:
    """A threaded client, and what it leaves open."""

    def __init__(self, make: Make, end: str) -> None:
        self._end = end  # the method of the client that ends it
        self._http = requests.Session()
        self._websockets: list[websocket.WebSocket] = []
        self.native = make(
            http_session=self._http,
            websocket_extra_options={"class_": self._open_websocket},
        )

    def _open_websocket(self, **options: Any) -> websocket.WebSocket:
        # The client forgets a WebSocket that the server closed, and leaves its descriptor open.
        self._websockets.append(websocket.WebSocket(**options))
        return self._websockets[-1]

    def wait(self, outcome: Any) -> Any:
        return outcome

    def close(self) -> None:
        try:
            getattr(self.native, self._end)()
        finally:
            self._http.close()
            for opened in self._websockets:
                opened.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations


class _InLoop:
    """A client of asyncio, and the thread with its loop."""

    native: Any

    def __init__(self, make: Make, end: str) -> None:
        self._make = make
        self._end = end
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the event loop did not start"

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        async with aiohttp.ClientSession() as http:
            self.native = self._make(http_session=http)
            self._ready.set()
            await self._leave.wait()
            await getattr(self.native, self._end)()

    def wait(self, outcome: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(outcome, self._loop).result(WAIT_S + 2)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the event loop did not end"


class Face(ABC):
    """A client as scenarios see it: every call returns when it is done, every wait is bounded."""

    native: Any
    pings: Inbox
    transports: list[str]

    @abstractmethod
    def wait(self, outcome: Any) -> Any:
        """Turn what a method of the client returned into its outcome."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect, if it is connected, and leave nothing open."""

    def transport(self) -> str:
        return str(self.native.transport())


class Client(Face):
    """A Socket.IO client."""

    def on(self, event: str, handler: Callable[..., Any], namespace: str = "/") -> None:
        self.native.on(event, handler, namespace=namespace)

    def inbox(self, event: str, namespace: str = "/") -> Inbox:
        inbox = Inbox()
        self.on(event, inbox.put, namespace)
        return inbox

    def connect(self, url: str, *, auth: Any = None, namespaces: tuple[str, ...] = ("/",)) -> None:
        self.wait(
            self.native.connect(
                url,
                auth=auth,
                transports=self.transports,
                namespaces=list(namespaces),
                wait_timeout=WAIT_S,
            )
        )

    def emit(self, event: str, payload: Any = None, namespace: str = "/") -> None:
        self.wait(self.native.emit(event, payload, namespace=namespace))

    def call(
        self, event: str, payload: Any = None, namespace: str = "/", timeout_s: float = WAIT_S
    ) -> Any:
        return self.wait(self.native.call(event, payload, namespace=namespace, timeout=timeout_s))

    def disconnect(self) -> None:
        self.wait(self.native.eio.queue.join())  # see Engine.disconnect
        self.wait(self.native.disconnect())

    def sid(self, namespace: str = "/") -> str:
        return str(self.native.get_sid(namespace))


class Engine(Face):
    """An Engine.IO client."""

    messages: Inbox
    closings: Inbox

    def connect(self, url: str, path: str) -> None:
        self.native.on("message", self.messages.put)
        self.native.on("disconnect", self.closings.put)
        self.wait(self.native.connect(url, transports=self.transports, engineio_path=path))

    def send(self, message: str | bytes) -> None:
        self.wait(self.native.send(message))

    def disconnect(self) -> None:
        # Who disconnects while a POST is under way never sends what is queued behind it.
        self.wait(self.native.queue.join())
        self.wait(self.native.disconnect())

    def sid(self) -> str:
        return str(self.native.sid)


class ThreadedClient(_Threaded, Client):
    """``socketio.Client``; its handlers run in threads of their own."""


class LoopClient(_InLoop, Client):
    """``socketio.AsyncClient``; its handlers run in its loop."""


class ThreadedEngine(_Threaded, Engine):
    """``engineio.Client``; its handlers run in threads of their own."""


class LoopEngine(_InLoop, Engine):
    """``engineio.AsyncClient``; its handlers run in its loop."""


CLIENTS: dict[str, tuple[Callable[[Make, str], Client], Any]] = {
    "socketio.Client": (ThreadedClient, socketio.Client),
    "socketio.AsyncClient": (LoopClient, socketio.AsyncClient),
}
ENGINES: dict[str, tuple[Callable[[Make, str], Engine], Any]] = {
    "engineio.Client": (ThreadedEngine, engineio.Client),
    "engineio.AsyncClient": (LoopEngine, engineio.AsyncClient),
}


def make_client(name: str, transport: str, *, reconnection: bool = False) -> Client:
    """A client that is not connected yet."""
    kind, native = CLIENTS[name]
    pings = Inbox()
    make = partial(
        native,
        reconnection=reconnection,
        request_timeout=WAIT_S,
        handle_sigint=False,
        engineio_logger=_Log(pings),
        **RECONNECTION,
    )
    client = kind(make, "shutdown")
    client.pings, client.transports = pings, TRANSPORTS[transport]
    return client


def make_engine(name: str, transport: str) -> Engine:
    """A client of the transport layer alone, not connected yet."""
    kind, native = ENGINES[name]
    pings = Inbox()
    make = partial(native, request_timeout=WAIT_S, handle_sigint=False, logger=_Log(pings))
    engine = kind(make, "disconnect")
    engine.pings, engine.transports = pings, TRANSPORTS[transport]
    engine.messages, engine.closings = Inbox(), Inbox()
    return engine
