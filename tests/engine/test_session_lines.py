"""The lines of the log about sessions: what they say, what they count, and what they never show."""

import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trustme
from tests.engine.harness import (
    PATH,
    POLLING,
    WEBSOCKET,
    Engine,
    Recorder,
    in_trio,
    open_engine,
    settle,
)
from tests.engine.test_per_message_deflate import LARGE, OFFER, Raw
from tests.net.test_deflate import RSV1, TEXT, Client, agreed
from tests.net.wsproto_server import make_frame
from tests.socketio.serving import frame, joined, serving, the_session, until
from tests.wire import WebSocketClient
from tests.wire_v3 import PollingEngineV3
from trio.testing import trio_test
from wsproto.events import Ping, TextMessage

from trio_socketio import PerMessageDeflate, Server, Session, open_server
from trio_socketio.engine.ids import shorten_sid
from trio_socketio.engine.sessions import MAX_USER_AGENT
from trio_socketio.runtime.sampling import SESSIONS

SWITCHED = len(
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
RECORD = 22  # what a record of TLS 1.3 adds
LOGGER = "trio_socketio.engine.sessions"


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)


class Lines:
    """What the log says of sessions."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def all(self) -> list[str]:
        return [record.getMessage() for record in self._records]

    @property
    def _records(self) -> list[logging.LogRecord]:
        return [record for record in self._caplog.records if record.name == LOGGER]

    async def ended(self) -> dict[str, Any]:
        """The fields of the line that says that the session has ended; the last one."""
        await until(lambda: any(" ended: " in line for line in self.all))
        fields = vars(self._records[-1])["fields"]
        assert isinstance(fields, dict)
        return fields

    async def counts(self) -> tuple[int, int, int, int]:
        """Packets in, packets out, bytes in, bytes out."""
        fields = await self.ended()
        return tuple(
            fields[name] for name in ("packets_in", "packets_out", "bytes_in", "bytes_out")
        )


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    return Lines(caplog)


def opening(engine: Engine) -> int:
    """The length of the open packet of a session."""
    return len(engine_open(engine.session))


def engine_open(session: Session) -> bytes:
    return (
        b'0{"sid":"%b","upgrades":%b,"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
        % (
            session.sid.encode(),
            b'["websocket"]' if session.transport == "polling" else b"[]",
        )
    )


# --- what they say


@pytest.mark.req("LOG-10")
@in_trio
async def test_a_session_has_two_lines(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = [("User-Agent", "Tester/1.0 (X11)")]
    async with open_engine() as engine:
        websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET, agent))
        await websocket.receive()
        name = shorten_sid(engine.session.sid)
        ends_at = engine.session.handshake.issued_s + 90.04
        monkeypatch.setattr("trio_socketio.engine.sessions.time", lambda: ends_at)
        assert lines.all == [
            f"session {name} opened: websocket from 127.0.0.1, Engine.IO 4, 'Tester/1.0 (X11)'"
        ]
        await websocket.send("1")
        fields = await lines.ended()
    assert lines.all[1:] == [
        f"session {name} ended: transport close after 90.0 s; websocket from 127.0.0.1, "
        f"Engine.IO 4, 'Tester/1.0 (X11)'; in 1 packets, 7 bytes; "
        f"out 1 packets, {fields['bytes_out']} bytes"
    ]
    assert fields.pop("duration_s") == pytest.approx(90.04)
    fields.pop("bytes_out")
    assert fields == {
        "session": name,
        "transport": "websocket",
        "address": "127.0.0.1",
        "eio": 4,
        "user_agent": "Tester/1.0 (X11)",
        "upgraded": False,
        "reason": "transport close",
        "packets_in": 1,
        "bytes_in": 7,
        "packets_out": 1,
    }


@pytest.mark.req("LOG-10")
@in_trio
async def test_clients_of_revision_3_are_named_so(lines: Lines) -> None:
    async with open_engine(allow_eio3=True) as engine:
        engine.keep(await PollingEngineV3.open(engine.port, PATH))
        assert ", Engine.IO 3, " in lines.all[0]
        engine.session.close()
        fields = await lines.ended()
        assert (fields["eio"], fields["reason"]) == (3, "forced close")


@pytest.mark.req("LOG-10")
@in_trio
async def test_a_session_whose_listener_fails_has_two_lines_too(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Session) -> Any:
        raise RuntimeError

    def configure(server: Server) -> None:
        server.mount("/failing/", fail)

    async with open_engine(configure=configure) as engine:
        await engine.request("GET", "/failing/?EIO=4&transport=polling")
        assert (await lines.ended())["reason"] == "transport error"
        assert [" opened: " in line for line in lines.all] == [True, False]


@pytest.mark.req("LOG-10")
@in_trio
async def test_the_address_is_the_one_that_a_trusted_proxy_tells(lines: Lines) -> None:
    from ipaddress import ip_network

    headers = [("X-Forwarded-For", "203.0.113.7")]
    async with open_engine(trusted_proxies=(ip_network("127.0.0.0/8"),)) as engine:
        await engine.request("GET", POLLING, headers)
        assert " from 203.0.113.7, " in lines.all[0]


@pytest.mark.req("LOG-25", "LOG-05")
@in_trio
async def test_a_user_agent_is_cut_off_and_quoted(lines: Lines) -> None:
    agent = b"It's \x9b31m ended: x" + b"y" * 1000
    async with open_engine() as engine:
        stream = await engine.connect()
        request = b"GET %b HTTP/1.1\r\nHost: x\r\nUser-Agent: %b\r\n\r\n"
        await stream.send_all(request % (POLLING.encode(), agent))
        await stream.receive_some()
        assert lines.all[0].isprintable()
        assert lines.all[0].endswith('y..."')
        assert len(lines.all[0]) < MAX_USER_AGENT + 120


# --- what they count


async def stay(_: Engine, websocket: WebSocketClient) -> None:
    """Do nothing."""


async def echo(_: Engine, websocket: WebSocketClient) -> None:
    await websocket.send("4hello")
    assert await websocket.receive() == "4hello"


async def several_in_one_read(_: Engine, websocket: WebSocketClient) -> None:
    await websocket.stream.send_all(frame("4a") * 5)
    for _each in range(5):
        assert await websocket.receive() == "4a"


async def many_in_one_read(_: Engine, websocket: WebSocketClient) -> None:
    await websocket.stream.send_all(frame("4a") * 500)
    for _each in range(500):
        assert await websocket.receive() == "4a"


async def in_pieces(_: Engine, websocket: WebSocketClient) -> None:
    for byte in frame("4a"):
        await websocket.stream.send_all(bytes((byte,)))
        await settle()
    assert await websocket.receive() == "4a"


async def fragments(_: Engine, websocket: WebSocketClient) -> None:
    ws, stream = websocket.ws, websocket.stream
    await stream.send_all(ws.send(TextMessage("4", message_finished=False)))
    await stream.send_all(ws.send(Ping(b"x")))
    await stream.send_all(ws.send(TextMessage("a")))
    assert await websocket.receive() == "4a"


async def binary(_: Engine, websocket: WebSocketClient) -> None:
    await websocket.send(b"ab")
    assert await websocket.receive() == b"ab"


@pytest.mark.req("LOG-12")
@pytest.mark.parametrize(
    ("act", "counts"),
    [
        (stay, (0, 0, 0, 0)),
        (echo, (1, 1, 12, 8)),
        (several_in_one_read, (5, 5, 40, 20)),
        (many_in_one_read, (500, 500, 4000, 2000)),
        (in_pieces, (1, 1, 8, 4)),
        (fragments, (1, 1, 7 + 7 + 7, 4 + 3)),
        (binary, (1, 1, 8, 4)),
    ],
)
@pytest.mark.parametrize("ends", ["client", "server", "gone"])
@in_trio
async def test_packets_and_bytes_of_a_websocket(
    act: Callable[[Engine, WebSocketClient], Any],
    counts: tuple[int, int, int, int],
    ends: str,
    lines: Lines,
) -> None:
    async with open_engine() as engine:
        websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET))
        await websocket.receive()
        head = len(engine_open(engine.session))
        await act(engine, websocket)
        closing, closed = 0, 0
        if ends == "client":
            await websocket.stream.send_all(b"\x88\x82\0\0\0\0\x03\xe8")
            closing, closed = 4, 8  # the frame that answers it
        elif ends == "server":
            engine.session.close()
            closing = 4
        else:
            await websocket.aclose()
        packets_in, packets_out, bytes_in, bytes_out = counts
        assert await lines.counts() == (
            packets_in,
            packets_out + 1,
            bytes_in + closed,
            SWITCHED + bytes_out + head + (2 if head < 126 else 4) + closing,
        )


@pytest.mark.req("LOG-12")
@in_trio
async def test_what_came_with_the_close_is_counted(lines: Lines) -> None:
    async with open_engine() as engine:
        websocket = engine.keep(await WebSocketClient.open(engine.port, WEBSOCKET))
        await websocket.stream.send_all(frame("4a") * 3 + b"\x88\x82\0\0\0\0\x03\xe8")
        packets_in, packets_out, bytes_in, _ = await lines.counts()
        assert (packets_in, packets_out, bytes_in) == (3, 4, 24 + 8)


@pytest.mark.req("LOG-12")
@in_trio
async def test_compressed_messages_are_counted_as_they_came(lines: Lines) -> None:
    options = PerMessageDeflate()
    async with open_engine(per_message_deflate=options) as engine:
        raw = await Raw.open(engine)
        client = Client(agreed(OFFER, options))
        await raw.frames()
        # So large that it counts as several messages where the length of a turn is bounded.
        sent = make_frame(TEXT, client.compress(b"4" + LARGE * 100), rsv=RSV1)
        await raw.stream.send_all(sent + sent + frame("4a"))
        await until(lambda: len(engine.listener.received) == 3)
        await raw.stream.aclose()
        packets_in, packets_out, bytes_in, bytes_out = await lines.counts()
        assert (packets_in, packets_out, bytes_in) == (3, 4, 2 * len(sent) + 8)
        assert bytes_out < len(LARGE) * 100


@pytest.mark.req("LOG-12")
@in_trio
async def test_packets_and_bytes_of_polling(lines: Lines) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        head = len(engine_open(engine.session))
        await polling.post("4hello\x1e4you")
        assert await polling.receive() == "4hello"
        assert await polling.receive() == "4you"
        await polling.send("1")
        assert await lines.counts() == (3, 3, 11 + 1, head + 11)
        assert (await lines.ended())["transport"] == "polling"


@pytest.mark.req("LOG-12")
@in_trio
async def test_an_upgrade_adds_up_both_transports(lines: Lines) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        head = len(engine_open(engine.session))
        await polling.send("4a")
        assert await polling.receive() == "4a"
        websocket = await engine.upgrade(polling)  # 2probe, 3probe, 5
        await websocket.send("4b")
        assert await websocket.receive() == "4b"
        await websocket.aclose()
        fields = await lines.ended()
        assert (fields["transport"], fields["upgraded"]) == ("websocket", True)
        assert "; websocket (upgraded) from 127.0.0.1, " in lines.all[-1]
        assert await lines.counts() == (
            1 + 2 + 1,
            1 + 1 + 1 + 1,
            2 + (12 + 7) + 8,
            head + 2 + SWITCHED + 8 + 4,
        )


@pytest.mark.req("LOG-12")
@in_trio
async def test_bytes_are_those_of_tls_records(lines: Lines) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = Server()
    listeners: list[Recorder] = []

    def open_session(session: Session) -> Recorder:
        listeners.append(Recorder(session, echo=True))
        return listeners[-1]

    server.mount(PATH, open_session)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with open_server(server, ssl_context=context) as addresses:
        port = addresses[0][1]
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port), trusting, server_hostname="localhost"
        )
        websocket = await WebSocketClient.open(port, WEBSOCKET, stream=stream)
        await websocket.receive()
        head = len(engine_open(listeners[0].session))
        await stream.send_all(frame("4a") * 3)
        for _ in range(3):
            assert await websocket.receive() == "4a"
        await websocket.aclose()
        packets_in, packets_out, bytes_in, bytes_out = await lines.counts()
        assert (packets_in, packets_out) == (3, 4)
        assert bytes_in == 24 + RECORD
        sent = SWITCHED + head + (2 if head < 126 else 4) + 12
        assert bytes_out - sent in (2 * RECORD, 3 * RECORD, 4 * RECORD)


# --- what they never show


@pytest.mark.req("LOG-11", "LOG-24")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@trio_test
async def test_no_line_shows_a_sid_at_any_level(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server()

    @server.on("fail")
    def fail(_: Any) -> None:
        raise ValueError

    async with serving(server) as port, joined(port, transport) as (client, socket_id):
        session = the_session(server)
        await client.emit("fail")
        session.pause_reading()
        session.resume_reading()
        session.close()
        await until(lambda: not server.of("/").sockets)
    name = shorten_sid(session.sid)
    assert f"session {name}: socket {socket_id} has joined '/'" in caplog.messages
    assert f"session {name}: socket {socket_id} has left '/': forced close" in caplog.messages
    assert f"reading from session {name} pauses until its listener has caught up" in caplog.messages
    assert f"reading from session {name} resumes" in caplog.messages
    assert f"session {name} closes: forced close" in caplog.messages
    assert session.sid not in caplog.text
    assert session.sid[4:12] not in caplog.text


@pytest.mark.req("LOG-24")
@in_trio
async def test_upgrades_have_lines_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_socketio.engine")
    async with open_engine() as engine:
        polling = await engine.polling()
        candidate = await engine.candidate(polling)
        await candidate.send("nonsense")
        await settle()
        await engine.upgrade(polling)
        name = shorten_sid(engine.session.sid)
        assert f"session {name} stays on polling: its WebSocket has failed" in caplog.messages
        assert f"session {name} has changed from polling to WebSocket" in caplog.messages


@pytest.mark.req("LOG-11")
def test_the_short_name_of_a_session_is_found_by_its_sid() -> None:
    # printf %s 0123456789abcdefghij | sha256sum | cut -c1-8
    assert shorten_sid("abc") == "ba7816bf"
    assert len(shorten_sid("\ud800")) == 8


# --- storms


@pytest.mark.req("LOG-13")
@in_trio
async def test_a_storm_of_sessions_is_summed_up(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SESSIONS, "burst", 3)
    monkeypatch.setattr(SESSIONS, "per_s", 0)
    async with open_engine() as engine:
        for _ in range(10):
            await engine.request("GET", POLLING)
        assert len(lines.all) == 3
    told = [line for line in lines.all if line.startswith("session ")]
    opened = [line for line in told if " opened: " in line]
    ended = [line for line in told if " ended: " in line]
    assert (len(opened), len(ended)) == (3, 3)
    assert [line for line in lines.all if line not in told] == [
        "sessions opened: 7 more in 0 s",
        "sessions ended: 7 more in 0 s",
    ]


@pytest.mark.req("LOG-10")
@in_trio
async def test_without_a_listener_nothing_is_made(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, LOGGER)

    def never(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("trio_socketio.engine.sessions._describe", never)
    async with open_engine() as engine:
        await engine.request("GET", POLLING)
    assert caplog.messages == []
