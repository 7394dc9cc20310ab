"""Compressed WebSocket messages of sessions: agreed on at the handshake, used by both sides."""

from base64 import b64encode
from typing import Any

import pytest
import trio
from tests.engine.harness import (
    PATH,
    UPGRADE_HEADERS,
    WEBSOCKET,
    Engine,
    in_trio,
    open_engine,
    settle,
)
from tests.net.test_deflate import BINARY, RSV1, TEXT, Client, agreed, bomb, split_frames
from tests.net.wsproto_server import make_frame
from tests.wire_v3 import PollingEngineV3

from trio_socketio import PerMessageDeflate
from trio_socketio.codec.engine_packet import Outgoing

LARGE = b"a message of some length, " * 100
OFFER = "permessage-deflate; client_max_window_bits"


class Raw:
    """A WebSocket whose frames are looked at."""

    def __init__(self, stream: trio.SocketStream, head: bytes, rest: bytes) -> None:
        self.stream = stream
        self.head = head
        self._rest = rest

    @classmethod
    async def open(
        cls, engine: Engine, offer: str | None = OFFER, target: str = WEBSOCKET
    ) -> "Raw":
        stream = await engine.connect()
        lines = [f"GET {target} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in UPGRADE_HEADERS]
        if offer is not None:
            lines.append(f"Sec-WebSocket-Extensions: {offer}")
        await stream.send_all("\r\n".join([*lines, "", ""]).encode("latin-1"))
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, rest = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        return cls(stream, head, rest)

    @property
    def extensions(self) -> str | None:
        for line in self.head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Sec-WebSocket-Extensions":
                return value
        return None

    async def frames(self) -> list[tuple[int, bytes]]:
        """What has come."""
        await settle()
        with trio.move_on_after(0.01):
            while True:
                part = bytes(await self.stream.receive_some())
                if not part:
                    break
                self._rest += part
        frames, self._rest = split_frames(self._rest), b""
        return frames


@pytest.mark.req("WS-01", "WS-02")
@pytest.mark.parametrize(
    ("options", "offer", "answer"),
    [
        (None, OFFER, None),
        (PerMessageDeflate(), None, None),
        (PerMessageDeflate(), "permessage-deflate; client_max_window_bits=x", None),
        (PerMessageDeflate(), "\xff;=,;,=", None),
        (
            PerMessageDeflate(),
            OFFER,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
@in_trio
async def test_the_extension_is_agreed_on_or_left(
    options: PerMessageDeflate | None, offer: str | None, answer: str | None
) -> None:
    async with open_engine(per_message_deflate=options) as engine:
        raw = await Raw.open(engine, offer)
        assert raw.extensions == answer
        await raw.stream.send_all(make_frame(TEXT, b"4" + LARGE))
        opened, echoed = await raw.frames()
        assert opened[0] == 0x81
        if answer is None:
            assert echoed == (0x81, b"4" + LARGE)
        else:
            assert echoed[0] == 0xC1
            assert Client(agreed(OFFER, PerMessageDeflate())).decompress(echoed[1]) == b"4" + LARGE


@pytest.mark.req("WS-03", "WS-05")
@pytest.mark.parametrize("takeover", [False, True])
@in_trio
async def test_messages_are_compressed_both_ways(takeover: bool) -> None:
    options = PerMessageDeflate(
        server_no_context_takeover=not takeover, client_no_context_takeover=not takeover
    )
    async with open_engine(per_message_deflate=options) as engine:
        raw = await Raw.open(engine)
        client = Client(agreed(OFFER, options))
        sizes = []
        await raw.frames()
        for _ in range(3):
            payload = client.compress(b"4" + LARGE)
            await raw.stream.send_all(make_frame(TEXT, payload, rsv=RSV1))
            ((first, echoed),) = await raw.frames()
            assert first == 0xC1
            assert client.decompress(echoed) == b"4" + LARGE
            sizes.append((len(payload), len(echoed)))
        assert (sizes[1] < sizes[0]) is takeover  # the window of the first message was kept
        await raw.stream.send_all(make_frame(TEXT, b"4small"))
        assert await raw.frames() == [(0x81, b"4small")]


@pytest.mark.req("WS-03", "EIO4-50")
@in_trio
async def test_an_upgraded_session_compresses_from_then_on() -> None:
    async with open_engine(per_message_deflate=PerMessageDeflate()) as engine:
        polling = await engine.polling()
        target = f"{WEBSOCKET}&sid={polling.handshake['sid']}"
        raw = await Raw.open(engine, target=target)
        await raw.stream.send_all(make_frame(TEXT, b"2probe"))
        assert await raw.frames() == [(0x81, b"3probe")]
        assert (await polling.poll()).text == "6"
        engine.session.send_text(LARGE)  # waits for the upgrade, and leaves in order
        engine.session.send_text(b"small")
        await raw.stream.send_all(make_frame(TEXT, b"5"))
        (first, payload), small = await raw.frames()
        assert (first, small) == (0xC1, (0x81, b"4small"))
        client = Client(agreed(OFFER, PerMessageDeflate()))
        assert client.decompress(payload) == b"4" + LARGE
        assert engine.session.transport == "websocket"


@pytest.mark.req("WS-04")
@in_trio
async def test_a_broadcast_reaches_those_who_agreed_and_those_who_did_not() -> None:
    async with open_engine(per_message_deflate=PerMessageDeflate()) as engine:
        raws = [await Raw.open(engine, offer) for offer in (OFFER, None, OFFER)]
        for raw in raws:
            await raw.frames()
        packet = Outgoing(b"4" + LARGE, (b"\x00" * 2000,))
        for listener in engine.listeners:
            listener.session.send(packet)
        compressed, plain, same = [await raw.frames() for raw in raws]
        assert plain == [(0x81, b"4" + LARGE), (0x82, bytes(2000))]
        assert compressed == same
        assert [first for first, _ in compressed] == [0xC1, 0xC2]
        assert packet.coded is not None
        assert list(packet.coded) == ["websocket-15"]


@pytest.mark.req("WS-07")
@in_trio
async def test_a_bomb_ends_its_session_alone() -> None:
    options: dict[str, Any] = {"per_message_deflate": PerMessageDeflate()}
    async with open_engine(**options) as engine:
        raw = await Raw.open(engine)
        await raw.frames()
        bad = engine.listener
        other = await engine.websocket()
        await raw.stream.send_all(make_frame(TEXT, bomb(50_000_000), rsv=RSV1))
        assert await raw.frames() == [(0x88, b"\x03\xf1")]  # 1009
        assert (bad.received, bad.reasons) == ([], ["transport error"])
        await other.send("4x")
        assert await other.receive() == "4x"


# --- clients of revision 3 (WS-10)

WEBSOCKET_3 = f"{PATH}?EIO=3&transport=websocket"


@pytest.mark.req("WS-10", "EIO3-16")
@pytest.mark.parametrize("takeover", [False, True])
@in_trio
async def test_clients_of_revision_3_compress_both_ways(takeover: bool) -> None:
    options = PerMessageDeflate(
        server_no_context_takeover=not takeover, client_no_context_takeover=not takeover
    )
    async with open_engine(per_message_deflate=options, allow_eio3=True) as engine:
        raw = await Raw.open(engine, target=WEBSOCKET_3)
        client = Client(agreed(OFFER, options))
        assert raw.extensions == agreed(OFFER, options).answer.decode()
        ((first, opened),) = await raw.frames()
        assert (first, opened[:1]) == (0x81, b"0")
        assert engine.session.protocol == 3
        for _ in range(2):
            payload = client.compress(b"4" + LARGE)
            await raw.stream.send_all(make_frame(TEXT, payload, rsv=RSV1))
            ((first, echoed),) = await raw.frames()
            assert (first, client.decompress(echoed)) == (0xC1, b"4" + LARGE)
            payload = client.compress(b"\x04" + LARGE)
            await raw.stream.send_all(make_frame(BINARY, payload, rsv=RSV1))
            ((first, echoed),) = await raw.frames()
            assert (first, client.decompress(echoed)) == (0xC2, b"\x04" + LARGE)
        assert engine.listener.received == [LARGE.decode(), LARGE] * 2
        await raw.stream.send_all(make_frame(BINARY, b"\x04small"))
        assert await raw.frames() == [(0x82, b"\x04small")]
        await raw.stream.send_all(make_frame(TEXT, b"2"))
        assert await raw.frames() == [(0x81, b"3")]


@pytest.mark.req("WS-10", "EIO3-17")
@in_trio
async def test_base64_of_revision_3_is_compressed_as_text() -> None:
    options = PerMessageDeflate()
    async with open_engine(per_message_deflate=options, allow_eio3=True) as engine:
        raw = await Raw.open(engine, target=f"{WEBSOCKET_3}&b64=1")
        client = Client(agreed(OFFER, options))
        await raw.frames()
        engine.session.send_binary(LARGE)
        ((first, sent),) = await raw.frames()
        assert (first, client.decompress(sent)) == (0xC1, b"b4" + b64encode(LARGE))


@pytest.mark.req("WS-10", "EIO3-19")
@in_trio
async def test_an_upgraded_session_of_revision_3_compresses_from_then_on() -> None:
    options = PerMessageDeflate()
    async with open_engine(per_message_deflate=options, allow_eio3=True) as engine:
        polling = engine.keep(await PollingEngineV3.open(engine.port, PATH))
        raw = await Raw.open(engine, target=f"{WEBSOCKET_3}&sid={polling.handshake['sid']}")
        await raw.stream.send_all(make_frame(TEXT, b"2probe"))
        assert await raw.frames() == [(0x81, b"3probe")]
        engine.session.send(Outgoing(b"4" + LARGE, (LARGE,)))  # waits for the upgrade
        await raw.stream.send_all(make_frame(TEXT, b"5"))
        client = Client(agreed(OFFER, options))
        frames = [(first, client.decompress(sent)) for first, sent in await raw.frames()]
        assert frames == [(0xC1, b"4" + LARGE), (0xC2, b"\x04" + LARGE)]


@pytest.mark.req("WS-04", "WS-10", "EIO3-32")
@in_trio
async def test_a_broadcast_is_compressed_once_for_clients_of_revision_3() -> None:
    options = PerMessageDeflate()
    async with open_engine(per_message_deflate=options, allow_eio3=True) as engine:
        raws = [await Raw.open(engine, target=WEBSOCKET_3) for _ in range(2)]
        raws.append(await Raw.open(engine))
        for raw in raws:
            await raw.frames()
        packet = Outgoing(b"4" + LARGE, (LARGE,))
        text_alone = Outgoing(b"4" + LARGE)
        for listener in engine.listeners:
            listener.session.send(packet)
            listener.session.send(text_alone)
        one, same, newer = [await raw.frames() for raw in raws]
        assert one == same
        assert one[0] == newer[0]
        assert one[1] != newer[1]  # the type stands in front
        assert one[2] == newer[2]
        assert packet.v3 is not None
        assert packet.v3.messages is not None
        (message,) = packet.v3.messages
        assert [list(item.coded or ()) for item in (packet, message, text_alone)] == [
            ["websocket-15"]
        ] * 3
        asked_not_to = Outgoing(b"4" + LARGE, (LARGE,), compress=False)
        for listener in engine.listeners:
            listener.session.send(asked_not_to)
        plain = [(0x81, b"4" + LARGE), (0x82, b"\x04" + LARGE)]
        assert [await raw.frames() for raw in raws[:2]] == [plain] * 2
