"""python-socketio's clients against the server: both kinds, every transport."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from tests.interop.python_clients import KINDS, TRANSPORTS, WAIT_S, Client, open_client
from tests.interop.server_process import ServerProcess

import socketio

FINAL_TRANSPORT = {"polling": "polling", "websocket": "websocket", "upgrade": "websocket"}
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

Opener = Callable[[], Client]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_one(kind: str, transport: str) -> Iterator[Opener]:
    """A function that opens clients which are not connected yet."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(open_client(kind, transport))


@pytest.fixture
def connect_one(open_one: Opener, shared_server: ServerProcess, transport: str) -> Opener:
    """A function that opens clients connected to "/", on the transport in question."""

    def connect() -> Client:
        client = open_one()
        client.connect(shared_server.url)
        assert client.transport() == FINAL_TRANSPORT[transport]
        return client

    return connect


def assert_echoed(client: Client, *args: Any) -> None:
    """Send ``args`` and get them back as an acknowledgement (one is returned as it is)."""
    answer = client.call("echo", args)
    assert answer == (args[0] if len(args) == 1 else args or None)


def test_text(connect_one: Opener) -> None:
    client = connect_one()
    said = client.inbox("said")
    for value in VALUES:
        assert_echoed(client, value)
        client.emit("say", (value,))
        assert said.take() == (value,)
    assert_echoed(client)
    assert_echoed(client, "one", 2, ["three"], {"four": None}, None)
    client.emit("say", ("one", 2, None))
    assert said.take() == ("one", 2, None)


def test_unicode(connect_one: Opener) -> None:
    client = connect_one()
    for text in TEXTS:
        assert_echoed(client, text)
    assert_echoed(client, TEXTS, {text: text for text in TEXTS})


def test_lone_surrogate_escapes_do_not_end_the_connection(connect_one: Opener) -> None:
    client = connect_one()
    client.emit("echo", "a\udc00z")  # json writes the escape
    assert_echoed(client, "still 😀 here")


def test_nested_binary_both_ways(connect_one: Opener) -> None:
    client = connect_one()
    everything = bytes(range(256))
    said = client.inbox("said")
    values = (everything, {"one": b"\x00", "list": ["text", [b"", {"deep": everything}]]}, 7)
    assert_echoed(client, *values)
    client.emit("say", values)
    assert said.take() == values
    assert client.call("describe", ({"a": [b"\x01\xff"], "b": "text"},)) == [
        {"a": [{"binary": "01ff", "length": 2}], "b": "text"}
    ]
    assert_echoed(client, [bytes([index]) * index for index in range(10)])


def test_binary_made_by_the_server(connect_one: Opener) -> None:
    client = connect_one()
    made = client.inbox("binary")
    client.emit("make_binary", ([0, 1, 256, 70_000],))
    parts = [b"", b"\x00", bytes(range(256)), (bytes(range(256)) * 274)[:70_000]]
    assert made.take() == ({"parts": parts, "deep": [{"first": b""}, None]}, parts[-1])


def test_large_text(connect_one: Opener) -> None:
    client = connect_one()
    assert_echoed(client, "0123456789abcdef" * 56_250)
    assert_echoed(client, "small again")


def test_large_binary(connect_one: Opener) -> None:
    client = connect_one()
    assert_echoed(client, bytes(range(250)) * 2_800)
    assert_echoed(client, "small again")


def test_many_events_are_each_handled_once(connect_one: Opener) -> None:
    # The threaded client runs every handler in a thread: their order is not the wire's. Both
    # clients refuse a polling payload of more than 16 packets, so a burst stays below.
    client = connect_one()
    received = client.inbox("burst")
    for _ in range(10):
        client.emit("burst", 12)
        assert sorted(received.take()[0] for _ in range(12)) == list(range(12))
    assert_echoed(client, "fence")
    assert received.is_empty()


def test_server_asks_client(connect_one: Opener) -> None:
    client = connect_one()
    client.on("question", lambda question: {"question": question, "bytes": b"\x00\x01"})
    assert client.call("ask", ("why?", 5)) == {"answer": {"question": "why?", "bytes": b"\x00\x01"}}


def test_server_gives_up_asking(connect_one: Opener) -> None:
    client = connect_one()
    client.on("question", lambda _: time.sleep(0.3))  # and then answers, too late
    assert client.call("ask", ("why?", 0.1)) == {"error": "timeout"}
    assert client.call("slow", 0.3) == "late"
    client.on("question", lambda _: "in time")
    assert client.call("ask", ("why?", 5)) == {"answer": "in time"}


def test_client_gives_up_asking(connect_one: Opener) -> None:
    client = connect_one()
    with pytest.raises(socketio.exceptions.TimeoutError):
        client.call("slow", 0.3, timeout_s=0.1)
    assert_echoed(client, "before the late answer")
    assert client.call("slow", 0.3) == "late"
    assert_echoed(client, "and after it")


def test_namespaces(open_one: Opener, shared_server: ServerProcess) -> None:
    client, other = open_one(), open_one()
    heard, stray = client.inbox("message", "/chat"), client.inbox("message")
    client.connect(shared_server.url, namespaces=("/", "/chat"))
    other.connect(shared_server.url, namespaces=("/chat",))
    assert client.call("whoami")["id"] == client.sid("/")
    name = client.call("name", namespace="/chat")
    assert (name["namespace"], name["id"]) == ("/chat", client.sid("/chat"))
    assert client.sid("/") != client.sid("/chat")
    assert other.call("message", "hello 😀", namespace="/chat") == "ok"
    assert heard.take() == ("hello 😀",)
    assert_echoed(client, "fence")
    assert stray.is_empty()


def test_unknown_namespace(open_one: Opener, shared_server: ServerProcess) -> None:
    client = open_one()
    refused = client.inbox("connect_error", "/nowhere")
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(shared_server.url, namespaces=("/nowhere",))
    assert refused.take() == ({"message": "Invalid namespace"},)


def test_auth(open_one: Opener, shared_server: ServerProcess) -> None:
    payload = {"token": "abc", "user": {"name": "Zoë 😀", "tags": [1, None]}}
    client = open_one()
    welcome = client.inbox("welcome")
    client.connect(f"{shared_server.url}?color=blue%20%26%20green", auth=payload)
    assert welcome.take() == (payload,)
    who = client.call("whoami")
    assert who == {
        "id": client.sid(),
        "auth": payload,
        "color": "blue & green",
        "rooms": [client.sid()],
        "checked": True,
    }


@pytest.mark.parametrize(
    ("namespace", "auth", "error"),
    [
        (
            "/",
            {"token": "revoked"},
            {"message": "token revoked", "data": {"code": 4011, "retry": False}},
        ),
        (
            "/admin",
            {"role": "guest"},
            {"message": "admins only", "data": {"needed": ["admin"], "seen": None}},
        ),
    ],
)
def test_refused(
    open_one: Opener,
    shared_server: ServerProcess,
    namespace: str,
    auth: dict[str, str],
    error: dict[str, Any],
) -> None:
    client = open_one()
    refused = client.inbox("connect_error", namespace)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(shared_server.url, namespaces=(namespace,), auth=auth)
    assert refused.take() == (error,)


def test_rooms(connect_one: Opener) -> None:
    clients = [connect_one() for _ in range(3)]
    heard = [client.inbox("room") for client in clients]
    room = str(uuid4())
    assert clients[0].call("join", room) == [room]
    assert clients[1].call("join", room) == [room]

    def assert_heard(text: str, by: set[int]) -> None:
        for client in clients:
            assert_echoed(client, "fence")
        for index in by:
            assert heard[index].take() == (text,)
        assert all(inbox.is_empty() for inbox in heard)

    clients[0].call("to_others", (room, "except the sender"))
    assert_heard("except the sender", {1})
    clients[0].call("to_others_by_exception", (room, "again"))
    assert_heard("again", {1})
    clients[2].call("to_room", (room, "everyone"))
    assert_heard("everyone", {0, 1})
    assert clients[1].call("leave", room) == []
    clients[2].call("to_room", (room, "who is left"))
    assert_heard("who is left", {0})


def test_disconnect_by_client(connect_one: Opener, transport: str) -> None:
    watcher, client = connect_one(), connect_one()
    gone, leaving = watcher.inbox("gone"), watcher.inbox("leaving")
    watcher.call("watch", client.sid())
    client.call("join", "red")
    reasons = client.inbox("disconnect")
    client.disconnect()
    # On polling both packets are in one request, in order. On WebSocket the client often closes
    # before its other thread or task has sent the first of them.
    by_namespace, by_transport = "client namespace disconnect", "transport close"
    reason, rooms = leaving.take()
    assert rooms == ["red"]
    assert reason in ({by_namespace} if transport == "polling" else {by_namespace, by_transport})
    assert gone.take() == (reason,)
    assert reasons.take() == (socketio.Client.reason.CLIENT_DISCONNECT,)


@pytest.mark.parametrize("close", [False, True])
def test_disconnect_by_server(connect_one: Opener, close: bool) -> None:
    watcher, client = connect_one(), connect_one()
    gone = watcher.inbox("gone")
    watcher.call("watch", client.sid())
    reasons = client.inbox("disconnect")
    client.emit("kick_me", close)
    assert gone.take() == ("server namespace disconnect",)
    assert reasons.take() == (socketio.Client.reason.SERVER_DISCONNECT,)
    assert_echoed(watcher, "still here")


@pytest.mark.parametrize("crash", [False, True])
def test_reconnects_after_a_restart(
    own_server: ServerProcess, kind: str, transport: str, crash: bool
) -> None:
    with open_client(kind, transport, reconnection=True) as client:
        connected = client.inbox("connect")
        disconnected = client.inbox("disconnect")
        client.connect(own_server.url, auth={"token": "again"})
        connected.take()
        before = client.sid()
        own_server.restart(crash=crash)
        (reason,) = disconnected.take()
        if reason == socketio.Client.reason.SERVER_DISCONNECT:
            # A polling server that stops in order answers the GET with a close packet. These
            # clients take it for a decision: the program comes back, with a client of its own.
            assert (transport, crash) == ("polling", False)
            with open_client(kind, transport) as another:
                another.connect(own_server.url, auth={"token": "again"})
                assert another.call("whoami")["auth"] == {"token": "again"}
            return
        connected.take(2 * WAIT_S)
        assert client.sid() != before
        assert client.call("whoami")["auth"] == {"token": "again"}
        assert client.transport() == FINAL_TRANSPORT[transport]


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_simple_client(shared_server: ServerProcess, transport: str) -> None:
    opened: AbstractContextManager[Any] = socketio.SimpleClient()
    with opened as client:
        connect = partial(client.connect, shared_server.url, transports=TRANSPORTS[transport])
        connect(auth={"token": "simple"}, wait_timeout=WAIT_S)
        assert client.receive(timeout=WAIT_S) == ["welcome", {"token": "simple"}]
        assert client.transport == FINAL_TRANSPORT[transport]
        assert client.call("echo", ["one", b"two", "😀"], timeout=WAIT_S) == ["one", b"two", "😀"]
        client.emit("say", ("event", {"bytes": b"\x00"}))
        assert client.receive(timeout=WAIT_S) == ["said", "event", {"bytes": b"\x00"}]
