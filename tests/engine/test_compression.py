"""Compressed answers of long-polling: for whom, from which size, how often, and in which thread."""

import gzip
import threading
import zlib
from typing import Any

import pytest
import trio
from tests.engine.harness import Engine, in_trio, open_engine, settle
from tests.wire import HttpClient, PollingEngine, Response

from trio_socketio import ConfigurationError, HttpCompression
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.engine import compression
from trio_socketio.http import content_coding

GZIP = [("Accept-Encoding", "gzip, deflate, br")]
SMALL = b"x" * 1022
LARGE = b"x" * 1023
HUGE = b"x" * (compression.INLINE_BYTES + 1)


async def get(engine: Engine, polling: PollingEngine, headers: Any = GZIP) -> Response:
    return await engine.request("GET", polling.target, headers)


def body_of(response: Response) -> bytes:
    coding = response.headers.get("content-encoding")
    if coding == "gzip":
        return gzip.decompress(response.body)
    return zlib.decompress(response.body) if coding == "deflate" else response.body


@pytest.mark.req("EIO4-74")
@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.1", "deflate"),
        ("br", None),
        ("identity", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("message", [LARGE, HUGE])
@in_trio
async def test_a_body_is_compressed_as_the_client_accepts(
    accepted: str | None, coding: str | None, message: bytes
) -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_text(message)
        headers = [] if accepted is None else [("Accept-Encoding", accepted)]
        response = await get(engine, polling, headers)
        assert (response.status, response.headers.get("content-encoding")) == (200, coding)
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-length"] == str(len(response.body))
        assert body_of(response) == b"4" + message
        assert (len(response.body) < 1000) is (coding is not None)


@pytest.mark.req("EIO4-74")
@in_trio
async def test_a_body_below_the_threshold_is_never_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("nobody should look")

    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_text(LARGE)
        assert (await get(engine, polling)).headers["content-encoding"] == "gzip"
        monkeypatch.setattr(compression, "choose_coding", fail)
        engine.session.send_text(SMALL)
        response = await get(engine, polling)
        assert response.body == b"4" + SMALL
        assert "content-encoding" not in response.headers
        posted = await engine.request("POST", polling.target, GZIP, b"4" + b"y" * 2000)
        assert posted.text == "ok"


@pytest.mark.req("EIO4-74")
@in_trio
async def test_threshold_level_and_off() -> None:
    async with open_engine(http_compression=HttpCompression(threshold_bytes=10)) as engine:
        polling = await engine.polling()
        engine.session.send_text(b"x" * 8)
        assert "content-encoding" not in (await get(engine, polling)).headers
        engine.session.send_text(b"x" * 9)
        assert (await get(engine, polling)).headers["content-encoding"] == "gzip"
    async with open_engine(http_compression=None) as engine:
        polling = await engine.polling()
        engine.session.send_text(HUGE)
        response = await get(engine, polling)
        assert response.body == b"4" + HUGE


@pytest.mark.req("EIO4-74")
@in_trio
async def test_packets_that_ask_for_it_go_as_they_are() -> None:
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send(Outgoing(b"4" + LARGE, compress=False))
        assert "content-encoding" not in (await get(engine, polling)).headers
        engine.session.send(Outgoing(b"4" + LARGE, compress=False))
        engine.session.send(Outgoing(b"4y"))
        response = await get(engine, polling)
        assert response.headers["content-encoding"] == "gzip"
        assert body_of(response) == b"4" + LARGE + b"\x1e4y"


@pytest.mark.req("EIO4-75")
@pytest.mark.parametrize("message", [LARGE, HUGE])
@in_trio
async def test_a_broadcast_is_compressed_once_for_each_coding(
    message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class Counting(content_coding.ContentCoder):
        def encode(self, coding: str, body: bytes) -> bytes:
            made.append(coding)
            return super().encode(coding, body)

    def encode(coding: str, body: bytes, level: int) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        made.append(coding)
        return content_coding.encode_content(coding, body, level)

    monkeypatch.setattr(compression, "ContentCoder", Counting)
    monkeypatch.setattr(compression, "encode_content", encode)
    async with open_engine() as engine:
        clients: list[HttpClient] = []
        for coding in ("gzip", "gzip", "deflate", "gzip", "deflate", "br"):
            polling = await engine.polling()
            clients.append(engine.http())
            await clients[-1].send("GET", polling.target, [("Accept-Encoding", coding)])
        await settle()
        packet = Outgoing(b"4" + message)
        for listener in engine.listeners:
            listener.session.send(packet)
        for http in clients:
            assert body_of(await http.receive()) == b"4" + message
        assert sorted(made) == ["deflate", "gzip"]


@pytest.mark.req("EIO4-90")
@pytest.mark.parametrize("message", [LARGE, HUGE])
@in_trio
async def test_a_compressed_broadcast_is_kept_for_later_requests(
    message: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine() as engine:
        pollings = [await engine.polling() for _ in range(4)]
        packet = Outgoing(b"4" + message)
        for listener in engine.listeners:
            listener.session.send(packet)
        codings = ("gzip", "deflate")
        first = [
            await get(engine, polling, [("Accept-Encoding", coding)])
            for polling, coding in zip(pollings, codings, strict=False)
        ]
        assert [body_of(response) for response in first] == [packet.text] * 2

        def fail(*_: object) -> bytes:
            raise AssertionError("it has been compressed before")

        monkeypatch.setattr(content_coding.ContentCoder, "encode", fail)
        monkeypatch.setattr(compression, "encode_content", fail)
        for polling, coding, before in zip(pollings[2:], codings, first, strict=True):
            response = await get(engine, polling, [("Accept-Encoding", coding)])
            assert response.headers["content-encoding"] == coding
            assert response.body == before.body


@pytest.mark.req("EIO4-90")
@pytest.mark.parametrize("size", [1022, compression.INLINE_BYTES])
@in_trio
async def test_a_body_of_several_packets_is_kept_for_none_of_them(size: int) -> None:
    async with open_engine() as engine:
        one, two = await engine.polling(), await engine.polling()
        packets = [Outgoing(b"4" + b"x" * size), Outgoing(b"4" + b"y" * size)]
        first, second = (listener.session for listener in engine.listeners)
        for packet in packets:
            first.send(packet)
        both = b"\x1e".join(packet.text for packet in packets)
        assert body_of(await get(engine, one)) == both
        for packet in packets:
            second.send(packet)
            assert body_of(await get(engine, two)) == packet.text


@in_trio
async def test_what_is_large_keeps_its_place_while_a_thread_compresses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def encode(coding: str, body: bytes, level: int) -> bytes:
        assert go_on.wait(5)
        return content_coding.encode_content(coding, body, level)

    monkeypatch.setattr(compression, "encode_content", encode)
    async with open_engine() as engine:
        polling = await engine.polling()
        http = engine.http()
        await http.send("GET", polling.target, GZIP)
        await settle()
        engine.session.send_text(HUGE)
        await trio.sleep(0.01)
        engine.session.send_text(b"after")
        assert not engine.session.is_writable
        other = await engine.polling()  # nobody waits for a thread
        await other.send("4x")
        assert await other.receive() == "4x"
        go_on.set()
        assert body_of(await http.receive()) == b"4" + HUGE
        assert (await get(engine, polling)).text == "4after"


@pytest.mark.req("EIO4-20")
@in_trio
async def test_a_second_get_while_the_first_is_compressed_is_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def encode(coding: str, body: bytes, level: int) -> bytes:
        assert go_on.wait(5)
        return content_coding.encode_content(coding, body, level)

    monkeypatch.setattr(compression, "encode_content", encode)
    async with open_engine() as engine:
        polling = await engine.polling()
        engine.session.send_text(HUGE)
        http = engine.http()
        await http.send("GET", polling.target, GZIP)
        await trio.sleep(0.01)
        assert (await get(engine, polling)).status == 400
        await engine.listener.ended.wait()
        assert engine.listener.reasons == ["transport error"]
        go_on.set()
        assert body_of(await http.receive()) == b"4" + HUGE


@pytest.mark.req("EIO4-74")
@in_trio
async def test_what_cannot_be_compressed_is_sent_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(coding: str, body: bytes, level: int) -> bytes:
        raise MemoryError("no room for a window")

    monkeypatch.setattr(compression, "encode_content", encode)
    async with open_engine() as engine:
        polling = await engine.polling()
        for _ in range(2):
            engine.session.send_text(HUGE)
            response = await get(engine, polling)
            assert "content-encoding" not in response.headers
            assert response.body == b"4" + HUGE
    assert "no room for a window" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    "given",
    [{"level": 0}, {"level": 10}, {"threshold_bytes": -1}],
)
def test_unusable_settings_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        HttpCompression(**given)
