"""python-socketio's two clients behind one face, so that one test drives either of them.

``ThreadedClient`` is ``socketio.Client`` as it is; ``LoopClient`` runs ``socketio.AsyncClient``
with ``asyncio.run`` in a thread and hands every call over.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

import aiohttp
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

    def is_empty(self) -> bool:
        return self._received.empty()


class Client(Protocol):
    """What a test does with a client. Every wait is bounded."""

    def on(self, event: str, handler: Callable[..., Any], namespace: str = "/") -> None: ...

    def connect(
        self, url: str, *, auth: Any = None, namespaces: tuple[str, ...] = ("/",)
    ) -> None: ...

    def emit(self, event: str, payload: Any = None, namespace: str = "/") -> None: ...

    def call(
        self, event: str, payload: Any = None, namespace: str = "/", timeout_s: float = WAIT_S
    ) -> Any: ...

    def disconnect(self) -> None: ...

    def transport(self) -> str: ...

    def sid(self, namespace: str = "/") -> str: ...

    def inbox(self, event: str, namespace: str = "/") -> Inbox: ...


class _WithInboxes:
    def inbox(self: Client, event: str, namespace: str = "/") -> Inbox:
        inbox = Inbox()
        self.on(event, inbox.put, namespace)
        return inbox


class ThreadedClient(_WithInboxes):
    """``socketio.Client``; its handlers run in threads of their own."""

    def __init__(self, transport: str, *, reconnection: bool = False) -> None:
        self._transports = TRANSPORTS[transport]
        self._http = requests.Session()
        self._websockets: list[websocket.WebSocket] = []
        self._client = socketio.Client(
            reconnection=reconnection,
            request_timeout=WAIT_S,
            http_session=self._http,
            handle_sigint=False,
            websocket_extra_options={"class_": self._open_websocket},
            **RECONNECTION,
        )

    def _open_websocket(self, **options: Any) -> websocket.WebSocket:
        # The client forgets a WebSocket that the server closed, and leaves its descriptor open.
        self._websockets.append(websocket.WebSocket(**options))
        return self._websockets[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._client.shutdown()
        finally:
            self._http.close()
            for opened in self._websockets:
                opened.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations

    def on(self, event: str, handler: Callable[..., Any], namespace: str = "/") -> None:
        self._client.on(event, handler, namespace=namespace)

    def connect(self, url: str, *, auth: Any = None, namespaces: tuple[str, ...] = ("/",)) -> None:
        self._client.connect(
            url,
            auth=auth,
            transports=self._transports,
            namespaces=list(namespaces),
            wait_timeout=WAIT_S,
        )

    def emit(self, event: str, payload: Any = None, namespace: str = "/") -> None:
        self._client.emit(event, payload, namespace=namespace)

    def call(
        self, event: str, payload: Any = None, namespace: str = "/", timeout_s: float = WAIT_S
    ) -> Any:
        return self._client.call(event, payload, namespace=namespace, timeout=timeout_s)

    def disconnect(self) -> None:
        self._client.disconnect()

    def transport(self) -> str:
        return str(self._client.transport())

    def sid(self, namespace: str = "/") -> str:
        return str(self._client.get_sid(namespace))


class LoopClient(_WithInboxes):
    """``socketio.AsyncClient`` in an event loop of its own; handlers run in that loop."""

    def __init__(self, transport: str, *, reconnection: bool = False) -> None:
        self._transports = TRANSPORTS[transport]
        self._reconnection = reconnection
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the event loop did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the event loop did not end"

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        async with aiohttp.ClientSession() as http:
            self._client = socketio.AsyncClient(
                reconnection=self._reconnection,
                request_timeout=WAIT_S,
                http_session=http,
                handle_sigint=False,
                **RECONNECTION,
            )
            self._ready.set()
            await self._leave.wait()
            await self._client.shutdown()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S + 2)

    def on(self, event: str, handler: Callable[..., Any], namespace: str = "/") -> None:
        self._client.on(event, handler, namespace=namespace)

    def connect(self, url: str, *, auth: Any = None, namespaces: tuple[str, ...] = ("/",)) -> None:
        self._wait(
            self._client.connect(
                url,
                auth=auth,
                transports=self._transports,
                namespaces=list(namespaces),
                wait_timeout=WAIT_S,
            )
        )

    def emit(self, event: str, payload: Any = None, namespace: str = "/") -> None:
        self._wait(self._client.emit(event, payload, namespace=namespace))

    def call(
        self, event: str, payload: Any = None, namespace: str = "/", timeout_s: float = WAIT_S
    ) -> Any:
        return self._wait(self._client.call(event, payload, namespace=namespace, timeout=timeout_s))

    def disconnect(self) -> None:
        self._wait(self._client.disconnect())

    def transport(self) -> str:
        return str(self._client.transport())

    def sid(self, namespace: str = "/") -> str:
        return str(self._client.get_sid(namespace))


KINDS: dict[str, type[ThreadedClient] | type[LoopClient]] = {
    "Client": ThreadedClient,
    "AsyncClient": LoopClient,
}


@contextmanager
def open_client(kind: str, transport: str, *, reconnection: bool = False) -> Iterator[Client]:
    """A client that is not connected yet; it is disconnected when the block ends."""
    with KINDS[kind](transport, reconnection=reconnection) as client:
        yield client
