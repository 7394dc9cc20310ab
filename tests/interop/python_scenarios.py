"""What the clients in Python are asked to do; ``python_driver.py`` runs it."""

import asyncio
import time
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any
from uuid import uuid4

from tests.interop.python_clients import (
    TRANSPORTS,
    WAIT_S,
    Client,
    Engine,
    Inbox,
    make_client,
    make_engine,
)

import socketio

TEXTS = [
    "",
    "hello",
    'quotes " and \\ backslashes',
    "tab\tnewline\nreturn\r nul\x00 escape\x1b",
    "separators of the polling payload: \x1e and again \x1e\x1e",
    "\u2028 and \u2029",
    "Grüße, Привет, שלום, नमस्ते, 你好",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
    '42["echo","a packet in a string"]',
]
VALUES = [0, -0.5, 1.5e-7, 2**53 - 1, True, False, [], {}, [[[[]]]], {"a": {"b": [1, "2", None]}}]
EVERY_BYTE = bytes(range(256))
REASONS = socketio.Client.reason
CONNECTION_ERROR = socketio.exceptions.ConnectionError
TIMEOUT_ERROR = socketio.exceptions.TimeoutError


class Clients:
    """The clients that one scenario opens: on its transport, closed at its end.

    Args:
        url: of the server.
        transport: one of TRANSPORTS.
        name: of the client, as in the matrix.
        restart: asks the caller to restart the server, in order ("stop") or not ("crash").
    """

    def __init__(self, url: str, transport: str, name: str, restart: Any) -> None:
        self.url = url
        self.transport = transport
        self.name = name
        self.restart = restart
        self.final_transport = "polling" if transport == "polling" else "websocket"
        self._opened: list[Client | Engine] = []

    def create(self, *, reconnection: bool = False) -> Client:
        """A client that is not connected yet."""
        client = make_client(self.name, self.transport, reconnection=reconnection)
        self._opened.append(client)
        return client

    def connect(self) -> Client:
        """A client that is connected to "/", on the transport in question."""
        client = self.create()
        client.connect(self.url)
        assert client.transport() == self.final_transport
        return client

    def connect_engine(self, path: str = "engine") -> Engine:
        """The same for the transport layer alone."""
        engine = make_engine(self.name, self.transport)
        self._opened.append(engine)
        engine.connect(self.url, path)
        assert engine.transport() == self.final_transport
        return engine

    def close(self) -> None:
        for opened in self._opened:
            opened.close()


def assert_raises(kind: type[BaseException], call: Any) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def assert_echoed(client: Client, *args: Any) -> None:
    """Send ``args`` and get them back as an acknowledgement (one is returned as it is)."""
    answer = client.call("echo", args)
    assert answer == (args[0] if len(args) == 1 else args or None)


# --- payloads ------------------------------------------------------------------------------------


def text(clients: Clients) -> None:
    client = clients.connect()
    said = client.inbox("said")
    for value in VALUES:
        assert_echoed(client, value)
        client.emit("say", (value,))
        assert said.take() == (value,)
    assert_echoed(client)
    assert_echoed(client, "one", 2, ["three"], {"four": None}, None)
    client.emit("say", ("one", 2, None))
    assert said.take() == ("one", 2, None)


def unicode(clients: Clients) -> None:
    client = clients.connect()
    for value in TEXTS:
        assert_echoed(client, value)
    assert_echoed(client, TEXTS, {value: value for value in TEXTS})


def lone_surrogates(clients: Clients) -> None:
    client = clients.connect()
    client.emit("echo", "a\udc00z")  # json writes the escape
    assert_echoed(client, "still 😀 here")


def large_text(clients: Clients) -> None:
    client = clients.connect()
    assert_echoed(client, "0123456789abcdef" * 56_250)
    assert_echoed(client, "small again")


def simple_client(clients: Clients) -> None:
    asyncio.run(_use_simple_client(clients))


async def _use_simple_client(clients: Clients) -> None:
    """Both kinds: what one returns, the other has awaited."""

    async def done(outcome: Any) -> Any:
        return await outcome if isawaitable(outcome) else outcome

    in_loop = clients.name == "socketio.AsyncClient"
    client = socketio.AsyncSimpleClient() if in_loop else socketio.SimpleClient()
    transports = TRANSPORTS[clients.transport]
    await done(client.connect(clients.url, transports=transports, auth={"token": "simple"}))
    assert await done(client.receive(timeout=WAIT_S)) == ["welcome", {"token": "simple"}]
    assert client.transport == clients.final_transport
    echoed = await done(client.call("echo", ["one", b"two", "😀"], timeout=WAIT_S))
    assert echoed == ["one", b"two", "😀"]
    await done(client.emit("say", ("event", {"bytes": b"\x00"})))
    assert await done(client.receive(timeout=WAIT_S)) == ["said", "event", {"bytes": b"\x00"}]
    await done(client.disconnect())


def binary(clients: Clients) -> None:
    client = clients.connect()
    said = client.inbox("said")
    values = (EVERY_BYTE, {"one": b"\x00", "list": ["text", [b"", {"deep": EVERY_BYTE}]]}, 7)
    assert_echoed(client, *values)
    client.emit("say", values)
    assert said.take() == values
    assert client.call("describe", ({"a": [b"\x01\xff"], "b": "text"},)) == [
        {"a": [{"binary": "01ff", "length": 2}], "b": "text"}
    ]
    assert_echoed(client, [bytes([index]) * index for index in range(10)])


def binary_from_server(clients: Clients) -> None:
    client = clients.connect()
    made = client.inbox("binary")
    client.emit("make_binary", ([0, 1, 256, 70_000],))
    parts = [b"", b"\x00", EVERY_BYTE, (EVERY_BYTE * 274)[:70_000]]
    assert made.take() == ({"parts": parts, "deep": [{"first": b""}, None]}, parts[-1])


def large_binary(clients: Clients) -> None:
    client = clients.connect()
    assert_echoed(client, bytes(range(250)) * 2_800)
    assert_echoed(client, "small again")


def order_of_a_burst(clients: Clients) -> None:
    # The threaded client runs every handler in a thread: their order is not the wire's. Both
    # clients refuse a polling payload of more than 16 packets, so a burst stays below.
    client = clients.connect()
    received = client.inbox("burst")
    for _ in range(10):
        client.emit("burst", 12)
        numbers = [received.take()[0] for _ in range(12)]
        in_order = numbers if "Async" in clients.name else sorted(numbers)
        assert in_order == list(range(12))
    assert_echoed(client, "fence")
    assert received.is_empty()


def too_large(clients: Clients) -> None:
    client, bystander = clients.connect(), clients.connect()
    gone = client.inbox("disconnect")
    client.emit("echo", "x" * 1_100_000)
    assert gone.take() != (REASONS.CLIENT_DISCONNECT,)
    assert_echoed(bystander, "still here")


# --- acknowledgements ----------------------------------------------------------------------------


def ack_from_server(clients: Clients) -> None:
    client = clients.connect()
    assert_echoed(client)
    assert_echoed(client, "one", {"two": b"\x02"})
    for number in range(50):
        assert_echoed(client, number)
    assert client.call("say", "nothing is returned") is None


def ack_from_server_late(clients: Clients) -> None:
    client = clients.connect()
    assert_raises(TIMEOUT_ERROR, lambda: client.call("slow", 0.3, timeout_s=0.1))
    assert_echoed(client, "before the late answer")
    assert client.call("slow", 0.3) == "late"
    assert_echoed(client, "and after it")


def ack_from_client(clients: Clients) -> None:
    client = clients.connect()
    client.on("question", lambda question: {"question": question, "bytes": b"\x00\x01"})
    assert client.call("ask", ("why?", 5)) == {"answer": {"question": "why?", "bytes": b"\x00\x01"}}


def ack_from_client_late(clients: Clients) -> None:
    client = clients.connect()
    client.on("question", lambda _: time.sleep(0.3))  # and then answers, too late
    assert client.call("ask", ("why?", 0.1)) == {"error": "timeout"}
    assert client.call("slow", 0.3) == "late"
    client.on("question", lambda _: "in time")
    assert client.call("ask", ("why?", 5)) == {"answer": "in time"}


def gathered_acks(clients: Clients) -> None:
    asker, *asked = [clients.connect() for _ in range(3)]
    room = str(uuid4())
    for index, client in enumerate(asked):
        client.on("question", partial(lambda index, question: [index, question], index))
        client.call("join", room)
    outcome = asker.call("poll", (room, "which?", 5))
    assert outcome["missing"] is False
    assert sorted(outcome["answers"]) == [[0, "which?"], [1, "which?"]]


# --- namespaces ----------------------------------------------------------------------------------


def namespaces(clients: Clients) -> None:
    client, other = clients.create(), clients.create()
    heard, stray = client.inbox("message", "/chat"), client.inbox("message")
    client.connect(clients.url, namespaces=("/", "/chat"))
    other.connect(clients.url, namespaces=("/chat",))
    assert client.call("whoami")["id"] == client.sid("/")
    name = client.call("name", namespace="/chat")
    assert (name["namespace"], name["id"]) == ("/chat", client.sid("/chat"))
    assert client.sid("/") != client.sid("/chat")
    assert other.call("message", "hello 😀", namespace="/chat") == "ok"
    assert heard.take() == ("hello 😀",)
    assert_echoed(client, "fence")
    assert stray.is_empty()


def dynamic_namespaces(clients: Clients) -> None:
    client = clients.create()
    heard = [client.inbox("all", namespace) for namespace in ("/room-1", "/room-2")]
    client.connect(clients.url, namespaces=("/room-1", "/room-2"))
    assert client.call("where", namespace="/room-2") == "/room-2"
    assert client.call("to all rooms", "hello", namespace="/room-1") is True
    assert [inbox.take() for inbox in heard] == [("hello",), ("hello",)]


def event_middleware(clients: Clients) -> None:
    client = clients.create()
    client.connect(clients.url, namespaces=("/guarded",))
    assert client.call("say", "fine", namespace="/guarded") == "fine, checked"
    forbidden = partial(client.call, "say", "forbidden", namespace="/guarded", timeout_s=0.2)
    assert_raises(TIMEOUT_ERROR, forbidden)
    assert client.call("say", "again", namespace="/guarded") == "again, checked"


def auth(clients: Clients) -> None:
    payload = {"token": "abc", "user": {"name": "Zoë 😀", "tags": [1, None]}}
    client = clients.create()
    welcome = client.inbox("welcome")
    client.connect(f"{clients.url}?color=blue%20%26%20green", auth=payload)
    assert welcome.take() == (payload,)
    assert client.call("whoami") == {
        "id": client.sid(),
        "auth": payload,
        "color": "blue & green",
        "rooms": [client.sid()],
        "checked": True,
    }


def _assert_refused(clients: Clients, namespace: str, said: Any, error: dict[str, Any]) -> None:
    client = clients.create()
    refused = client.inbox("connect_error", namespace)
    connect = partial(client.connect, clients.url, namespaces=(namespace,), auth=said)
    assert_raises(CONNECTION_ERROR, connect)
    assert refused.take() == (error,)


def namespaces_unknown(clients: Clients) -> None:
    _assert_refused(clients, "/nowhere", None, {"message": "Invalid namespace"})


def refused(clients: Clients) -> None:
    error = {"message": "token revoked", "data": {"code": 4011, "retry": False}}
    _assert_refused(clients, "/", {"token": "revoked"}, error)


def refused_by_async_middleware(clients: Clients) -> None:
    error = {"message": "admins only", "data": {"needed": ["admin"], "seen": None}}
    _assert_refused(clients, "/admin", {"role": "guest"}, error)


# --- rooms, and what may be dropped --------------------------------------------------------------


def rooms(clients: Clients) -> None:
    three = [clients.connect() for _ in range(3)]
    heard = [client.inbox("room") for client in three]
    everybody = [client.inbox("everybody") for client in three]
    room = str(uuid4())
    assert three[0].call("join", room) == [room]
    assert three[1].call("join", room) == [room]

    def assert_heard(said: str, by: set[int]) -> None:
        for client in three:
            assert_echoed(client, "fence")
        for index in by:
            assert heard[index].take() == (said,)
        assert all(inbox.is_empty() for inbox in heard)

    three[0].call("to_others", (room, "except the sender"))
    assert_heard("except the sender", {1})
    three[0].call("to_others_by_exception", (room, "again"))
    assert_heard("again", {1})
    three[2].call("to_room", (room, "everyone"))
    assert_heard("everyone", {0, 1})
    assert three[1].call("leave", room) == []
    three[2].call("to_room", (room, "who is left"))
    assert_heard("who is left", {0})
    three[0].call("to_everybody", "all of them")
    assert [inbox.take() for inbox in everybody] == [("all of them",)] * 3


def volatile(clients: Clients) -> None:
    # On polling one may find no request to leave by; on WebSocket there is always room here.
    client = clients.connect()
    said = client.inbox("said")
    sent = list(range(20))
    for number in sent:
        client.call("say_volatile", (number, b"\x00\xff"))
        assert_echoed(client, "fence")
    time.sleep(0.05)  # threads of handlers
    heard = said.take_all()
    assert all(bytes_ == b"\x00\xff" for _, bytes_ in heard)
    numbers = sorted(number for number, _ in heard)
    assert len(set(numbers)) == len(numbers) > 0
    if clients.final_transport == "websocket":
        assert numbers == sent


# --- the end -------------------------------------------------------------------------------------


def _watched(clients: Clients) -> tuple[Client, Inbox, Inbox]:
    watcher, client = clients.connect(), clients.connect()
    leaving, gone = watcher.inbox("leaving"), watcher.inbox("gone")
    watcher.call("watch", client.sid())
    client.call("join", "red")
    return client, leaving, gone


def disconnect_by_client(clients: Clients) -> None:
    client, leaving, gone = _watched(clients)
    reasons = client.inbox("disconnect")
    client.disconnect()
    # On polling both packets are in one request, in order. On WebSocket the client often closes
    # before its other thread or task has sent the first of them.
    by_namespace, by_transport = "client namespace disconnect", "transport close"
    reason, rooms_left = leaving.take()
    assert rooms_left == ["red"]
    on_polling = clients.transport == "polling"
    assert reason in ({by_namespace} if on_polling else {by_namespace, by_transport})
    assert gone.take() == (reason,)
    assert reasons.take() == (REASONS.CLIENT_DISCONNECT,)


def _kicked(clients: Clients, *, close: bool) -> None:
    client, leaving, gone = _watched(clients)
    reasons = client.inbox("disconnect")
    client.emit("kick_me", close)
    assert gone.take() == ("server namespace disconnect",)
    assert leaving.take() == ("server namespace disconnect", ["red"])
    assert reasons.take() == (REASONS.SERVER_DISCONNECT,)


def heartbeat(clients: Clients) -> None:
    client = clients.connect()
    for _ in range(2):
        client.pings.take()
    assert_echoed(client, "still here")


def reconnection(clients: Clients) -> None:
    client, connected, disconnected = _make_steady(clients)
    client.connect(clients.url, auth={"token": "again"})
    connected.take()
    for how in ("stop", "crash"):
        before = client.sid()
        clients.restart(how)
        (reason,) = disconnected.take()
        if reason == REASONS.SERVER_DISCONNECT:
            # A polling server that stops in order answers the GET with a close packet. These
            # clients take it for a decision, and the program comes back. (With a client of its
            # own: one that is used again may lose packets to the thread that served it before.)
            assert (clients.transport, how) == ("polling", "stop")
            client, connected, disconnected = _make_steady(clients)
            _connect_patiently(client, clients.url)
        connected.take(2 * WAIT_S)
        assert client.sid() != before
        assert client.call("whoami")["auth"] == {"token": "again"}
        assert client.transport() == clients.final_transport


def _make_steady(clients: Clients) -> tuple[Client, Inbox, Inbox]:
    client = clients.create(reconnection=True)
    return client, client.inbox("connect"), client.inbox("disconnect")


def _connect_patiently(client: Client, url: str) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with suppress(CONNECTION_ERROR):  # nobody listens
            client.connect(url, auth={"token": "again"})
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come back")


# --- the transport layer alone -------------------------------------------------------------------


def _assert_engine_echoes(engine: Engine, *messages: str | bytes) -> None:
    for message in messages:  # one by one: handlers in threads keep no order
        engine.send(message)
        assert engine.messages.take() == (message,)


def engine_handshake(clients: Clients) -> None:
    engine = clients.connect_engine()
    native = engine.native
    assert len(engine.sid()) == 20
    assert native.upgrades == ([] if clients.transport == "websocket" else ["websocket"])
    assert (native.ping_interval, native.ping_timeout) == (0.3, 20.0)


def engine_text(clients: Clients) -> None:
    # Without U+001E: it ends a packet wherever it stands (Socket.IO's JSON escapes it).
    engine = clients.connect_engine()
    texts = [value for value in TEXTS if "\x1e" not in value]
    _assert_engine_echoes(engine, *texts, "x" * 70_000)


def engine_binary(clients: Clients) -> None:
    engine = clients.connect_engine()
    _assert_engine_echoes(engine, b"", b"\x00", b"\x04\x00\xff", "text between", EVERY_BYTE * 300)


def engine_burst(clients: Clients) -> None:
    engine = clients.connect_engine()
    sent: list[tuple[str | bytes]] = [(f"{number:02}",) for number in range(12)]
    for _ in range(10):
        for (message,) in sent:
            engine.send(message)
        received = [engine.messages.take() for _ in sent]
        assert (received if "Async" in clients.name else sorted(received)) == sent


def engine_heartbeat(clients: Clients) -> None:
    engine = clients.connect_engine()
    for _ in range(2):
        engine.pings.take()
    _assert_engine_echoes(engine, "still here")


def engine_closed_by_client(clients: Clients) -> None:
    engine, watcher = clients.connect_engine(), clients.connect_engine()
    sid = engine.sid()
    _assert_engine_echoes(watcher, f"watch {sid}")
    engine.disconnect()
    assert engine.closings.take() == (REASONS.CLIENT_DISCONNECT,)
    assert watcher.messages.take() == (f"{sid} transport close",)


def engine_closed_by_server(clients: Clients) -> None:
    engine = clients.connect_engine()
    engine.send("close")
    assert engine.messages.take() == ("close",)
    assert engine.closings.take() != (REASONS.CLIENT_DISCONNECT,)


def engine_broken_packet(clients: Clients) -> None:
    engine, bystander = clients.connect_engine("socket.io"), clients.connect_engine()
    engine.send("no packet starts like this")
    assert engine.closings.take() != (REASONS.CLIENT_DISCONNECT,)
    _assert_engine_echoes(bystander, "still here")


def engine_too_large(clients: Clients) -> None:
    engine, bystander = clients.connect_engine(), clients.connect_engine()
    engine.send("x" * 1_100_000)
    assert engine.closings.take() != (REASONS.CLIENT_DISCONNECT,)
    _assert_engine_echoes(bystander, "still here")


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        text,
        unicode,
        lone_surrogates,
        large_text,
        simple_client,
        binary,
        binary_from_server,
        large_binary,
        order_of_a_burst,
        too_large,
        ack_from_server,
        ack_from_server_late,
        ack_from_client,
        ack_from_client_late,
        gathered_acks,
        namespaces,
        dynamic_namespaces,
        event_middleware,
        auth,
        namespaces_unknown,
        refused,
        refused_by_async_middleware,
        rooms,
        volatile,
        disconnect_by_client,
        heartbeat,
        reconnection,
        engine_handshake,
        engine_text,
        engine_binary,
        engine_burst,
        engine_heartbeat,
        engine_closed_by_client,
        engine_closed_by_server,
        engine_broken_packet,
        engine_too_large,
    )
} | {
    "disconnect_by_server": partial(_kicked, close=False),
    "disconnect_by_server_with_connection": partial(_kicked, close=True),
}
