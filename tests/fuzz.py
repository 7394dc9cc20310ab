"""Mutated inputs for every decoder: ``python -m tests.fuzz --inputs 1000000 [--seed N]``.

Valid requests, frames, packets and payloads are flipped, cut, doubled, spliced and salted, and fed
to the HTTP receiver, the frame receiver and the codecs. There is no network: a connection reads
from a list. An input fails when it raises what is not documented; the run, when memory grows.
"""

import argparse
import gc
import logging
import random
import secrets
import signal
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import trio

from trio_socketio.codec import engine_packet, engine_payload_v3, json_rpc, socket_packet
from trio_socketio.codec.engine_payload import decode_payload, encode_payload
from trio_socketio.codec.jsonp import decode_form
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError
from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request import Request
from trio_socketio.net.connection import Connection
from trio_socketio.net.deflate import DeflateReceiver, Inflater
from trio_socketio.net.driving import READ, Pollable
from trio_socketio.net.frames import FrameReceiver
from trio_socketio.net.traffic import Traffic
from trio_socketio.runtime.deadlines import Deadlines
from trio_socketio.runtime.poller import Poller

MAX_BYTES: Final = 4096
MAX_INFLATED_BYTES: Final = 64 * 1024  # more than the steps in which messages are inflated
INPUT_S: Final = 10.0
"""How long one input may take: a decoder that loops for ever is a failure too."""
PATIENCE_S: Final = 0.05
LOOK_EVERY: Final = 256
GROWTH_BLOCKS: Final = 3_000
GROWTH_BYTES: Final = 8 << 20
WARM_UP: Final = 0.1

# --- inputs --------------------------------------------------------------------------------------

HTTP: Final = [
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=polling&sid=abcDEF_-0123 HTTP/1.1\r\nHost: x\r\n"
    b"Accept: */*\r\nCookie: a=b; c=d\r\nOrigin: https://example.org\r\n\r\n",
    b"POST /body?sid=abc HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain;charset=UTF-8\r\n"
    b'Content-Length: 11\r\n\r\n42["hello"]',
    b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n",
    b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
    b"POST /late HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"POST /body HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    b"GET /switch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\x83\x01\x02\x03\x04\x33\x72\x71",
    b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://example.org/a%20b?q=%ff&q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]
HTTP_TOKENS: Final = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b"\r\n\r\n", b"HTTP/1.1", b"HTTP/9.9",
    b"Content-Length: 3\r\n", b"Content-Length: 99999999999999999999\r\n", b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n", b"Expect: 100-continue\r\n", b"ffffffff\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Connection: close\r\n", b"\xff", b"%", b"?",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST", b"CONNECT x:1 HTTP/1.1\r\n", b"A: b\r\n" * 70,
]  # fmt: skip

ENGINE: Final = [
    b'0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}',
    b"1", b"2", b"2probe", b"3", b"3probe", b"4hello", b"4\xe2\x82\xac", b"5", b"6",
    b"bAQIDBA==", b"bAQIDBAU=", b"b",
]  # fmt: skip
ENGINE_TOKENS: Final = [
    b"\x1e", b"b", b"=", b"==", b"4", b"9", b"\xff", b"\xed\xa0\x80", b"\x1e" * 9, b"AAAA", b"\n",
]  # fmt: skip

PAYLOADS_3: Final = [
    b"6:4hello", b"1:26:3probe", b"2:4\xe2\x82\xac1:6", b"10:b4AQIDBA==3:4\xf0\x9f\x98\x80",
    b"\0\6\xff4hello", b"\0\4\xff4\xe2\x82\xac\1\5\xff\4\1\2\3\4", b"\0\1\0\xff4123456789",
    b"d=6:4hello", b"x=1&d=8%3A4a%5Cn%5C%5Cn+",
]  # fmt: skip
TOKENS_3: Final = [
    b":", b"1:4", b"0:", b"2:b4", b"\0", b"\1", b"\xff", b"\0\1\xff2", b"\1\1\xff\4", b"9" * 11,
    b"\0\0\0\0\0\0\0", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"d=", b"&", b"%", b"%5C", b"+",
]  # fmt: skip

SOCKET: Final = [
    b"40", b'40{"token":"123"}', b"40/admin,", b'40/admin,{"sid":"abc"}', b"41", b"41/admin,",
    b'42["hello",1,-2.5e3,true,null]', b'42/admin,456["project:delete",123]', b'420["a",{"b":[]}]',
    b'43/admin,456[]', b'430["ok"]', b'44"bad"', b'44/admin,{"message":"no","data":{"a":1}}',
    b'451-["hello",{"_placeholder":true,"num":0}]',
    b'452-/admin,9["x",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]',
    b'461-/admin,456[{"_placeholder":true,"num":0}]', b'42["\\ud83d\\ude00\\ud800"]',
]  # fmt: skip
SOCKET_TOKENS: Final = [
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"/", b"-", b"4", b"\\", b"\\u", b"\\ud800", b"1e999",
    b"9" * 20, b"[" * 600, b'{"a":' * 300, b"null", b"connect", b'"disconnect"', b"\xff", b"\x00",
    b'{"_placeholder":true,"num":-1}', b'{"_placeholder":true,"num":1e3}', b"NaN", b"10-", b"11-",
]  # fmt: skip


RPC: Final = [
    b'{"jsonrpc":"2.0","method":"emit","params":{"event":"a","args":[1,{"$bytes":"AAE="}]}}',
    b'{"jsonrpc":"2.0","method":"m","params":[1.50,"\\ud83d\\ude00",null,{"a":[]}],"id":"x"}',
    b'{"jsonrpc":"2.0","method":"m"}',
    b'{"jsonrpc":"2.0","result":{"$object":{"$bytes":1}},"id":2}',
    b'{"jsonrpc":"2.0","error":{"code":1003,"message":"no","data":[1]},"id":3}',
    b'[{"jsonrpc":"2.0","method":"a","id":1},{"jsonrpc":"2.0","method":"b"},7]', b"[]",
]  # fmt: skip
RPC_TOKENS: Final = [
    b'"jsonrpc":"2.0",', b'"method":', b'"params":', b'"id":', b'"result":', b'"error":',
    b'{"$bytes":"*"}', b'{"\\u0024bytes":""}', b'{"$object":[]}', b"1e999", b"9" * 20, b"\\ud800",
    b"[1]" * 120, b"[" * 600, b"null", b"true",
    b"\xff", b"\x00", b"{", b"}", b"[", b"]", b",", b":", b'"',
]  # fmt: skip


def make_frame(first: int, payload: bytes, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    """A masked frame of a client."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


FRAMES: Final = [
    *(make_frame(0x81, text) for text in [*ENGINE[:8], *SOCKET[:6]]),
    make_frame(0x82, bytes(range(40))),
    make_frame(0x81, b"4" + b"x" * 200),
    make_frame(0x01, b"4[\xe2") + make_frame(0x89, b"ping") + make_frame(0x80, b"\x82\xac]"),
    make_frame(0x02, b"a") + make_frame(0x00, b"b") * 3 + make_frame(0x80, b""),
    make_frame(0x89, b"p" * 125) + make_frame(0x8A, b""),
    make_frame(0x88, b"\x03\xe8bye"),
    make_frame(0x88, b""),
]
FRAME_TOKENS: Final = [
    b"\x81\x80\x00\x00\x00\x00", b"\x00\x80\x00\x00\x00\x00", b"\x89\x80\x00\x00\x00\x00",
    b"\x88\x82\x00\x00\x00\x00\x03\xe8", b"\x81\xfe\xff\xff", b"\x82\xff" + bytes(8), b"\xff" * 8,
    b"\x81\xff\x00\x00\x00\x00\x00\x00\x10\x00", b"\xc1", b"\x01", b"\x80", b"\x81\x05", b"\x00",
    make_frame(0x81, b"42[]") * 100,
]  # fmt: skip


def deflate(message: bytes) -> bytes:
    """A message as a client compresses it, the first on its connection."""
    raw = zlib.compressobj(wbits=-15)
    return (raw.compress(message) + raw.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def finish(message: bytes) -> bytes:
    """The same in final blocks."""
    raw = zlib.compressobj(wbits=-15)
    return raw.compress(message) + raw.flush()


_SPLIT: Final = deflate(b"42[" + b"1," * 500 + b"2]")
DEFLATED: Final = [
    *FRAMES[5:],
    *(make_frame(0xC1, deflate(text)) for text in [*ENGINE[:8], *SOCKET[:6]]),
    make_frame(0xC2, deflate(bytes(2000))),
    make_frame(0xC2, deflate(bytes(1_000_000))),
    make_frame(0x41, _SPLIT[:4]) + make_frame(0x89, b"ping") + make_frame(0x80, _SPLIT[4:]),
    make_frame(0xC1, deflate(b"4a")) + make_frame(0x81, b"4b") + make_frame(0xC2, b"\x03\0"),
    make_frame(0xC2, finish(bytes(40_000)) + b"\0") + make_frame(0xC1, finish(b"4a")),
    make_frame(0xC2, finish(bytes(20_000)) + finish(b"") * 3 + deflate(bytes(range(100)))),
    make_frame(0x42, finish(bytes(20_000))) + make_frame(0x80, finish(b"a" * 300) + b"\0"),
]


def mutate(dice: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One of the seeds, after a few accidents."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        kind = dice.randrange(7)
        at = dice.randrange(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + dice.randrange(1, 9)]
        elif kind == 4:
            data[at:at] = data[at : at + dice.randrange(1, 40)] * dice.randrange(1, 4)
        elif kind == 5:
            other = dice.choice(seeds)
            data[at:] = other[dice.randrange(len(other) + 1) :]
        else:
            data[at:at] = dice.choice(tokens)
    return bytes(data)


# --- a connection without a network --------------------------------------------------------------


class ManualPoller(Poller):
    """Turns are made by hand."""

    def register(self, connection: Pollable, *, preferred: bool = False) -> None:
        """Nothing to watch."""

    def prefer(self, connection: Pollable) -> None:
        """Nothing to watch."""

    def watch(self, connection: Pollable, events: int) -> None:
        """Nothing to watch."""

    def unregister(self, connection: Pollable) -> None:
        """Nothing to watch."""

    async def read_ready(self) -> None:
        """Nothing arrives here by itself."""

    def find_closed(self) -> list[Pollable]:
        return []

    def _registered(self) -> list[Pollable]:
        return []

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    def make_turn(self, connection: Connection | None) -> None:
        """Let the connection read once, then do all that is left to do."""
        self._begin_turn()
        self._take_gathered()
        if connection is not None:
            try:
                connection.on_ready(READ)
            except Exception as error:
                self._agenda.contain(connection, error)
        while not self._settle() or self._agenda.again:
            self._begin_turn()
            self._agenda.go_on(self.turn_ends)


class Script:
    """A socket whose peer has sent these pieces, takes everything, and then hangs up."""

    family = socket.AF_UNIX

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)
        self._pieces.reverse()
        self.sent_bytes = 0
        self.closed = False

    def recv(self, _: int) -> bytes:
        return self._pieces.pop() if self._pieces else b""

    def send(self, data: bytes) -> int:
        self.sent_bytes += len(data)
        return len(data)

    def shutdown(self, _: int) -> None:
        assert not self.closed

    def fileno(self) -> int:
        return -1 if self.closed else 99

    def close(self) -> None:
        self.closed = True


class Owner:
    """See net.connection.Owner."""

    def __init__(self) -> None:
        self.poller: Poller = ManualPoller()
        self.deadlines = Deadlines(0.01)
        self.output_bound_bytes = 1 << 16
        self.slow_client_s = PATIENCE_S
        self.writes_dropped = 0
        self.traffic = Traffic()
        self.released = 0

    def connection_released(self, connection: Connection) -> None:
        self.released += 1


# --- decoders ------------------------------------------------------------------------------------


class Failure(Exception):
    """An input did what no input may."""


class Decoders:
    """Everything that is fed; each returns whether the input was taken for valid."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._owner = Owner()
        self.deadlines = self._owner.deadlines
        self._waiting: list[Request] = []
        self._handed_over = 0

    def feed_http(self, data: bytes) -> bool:
        self._handed_over = 0
        self._waiting.clear()
        self._drive(
            data,
            lambda connection: connection.set_receiver(
                HttpReceiver(connection, self._take_request, PATIENCE_S, PATIENCE_S)
            ),
        )
        return self._handed_over > 0

    def _take_request(self, request: Request) -> None:
        self._handed_over += 1
        _ = request.query
        if request.path == "/switch":
            connection, ahead = request.switch_protocols([])
            receiver = self._make_frame_receiver(connection)
            if ahead:
                receiver.receive_data(ahead)
        elif request.path in ("/wait", "/late"):
            self._waiting.append(request)
        elif request.method == "POST":
            self._read_body(request)
        else:
            request.respond(200, [(b"X", b"y")], b"answer")

    def _read_body(self, request: Request) -> None:
        request.on_abort = self._count
        request.read_body(MAX_BYTES, lambda body: self._answer_body(request, body))

    def _answer_body(self, request: Request, body: bytes | None) -> None:
        if body is not None:
            assert len(body) <= MAX_BYTES
            request.respond(200, [], body)

    def _count(self) -> None:
        self._handed_over += 1

    def feed_frames(self, data: bytes) -> bool:
        self._handed_over = 0
        self._drive(data, self._make_frame_receiver)
        return self._handed_over > 0

    def feed_deflated(self, data: bytes) -> bool:
        self._handed_over = 0
        takeover = self._dice.random() < 0.5
        inflater = Inflater(15, MAX_INFLATED_BYTES, takeover=takeover)
        self._drive(data, lambda connection: self._make_frame_receiver(connection, inflater))
        return self._handed_over > 0

    def _make_frame_receiver(
        self, connection: Connection, inflater: Inflater | None = None
    ) -> FrameReceiver:
        def take_text(text: bytes) -> None:
            text.decode()
            take(text)

        def take(data: bytes) -> None:
            assert len(data) <= (MAX_BYTES if inflater is None else MAX_INFLATED_BYTES)
            self._handed_over += 1
            if self._dice.random() < 0.1:
                receiver.pause(1)
                self._owner.poller.defer(receiver.resume)

        handlers = (take_text, take, lambda _: None)
        if inflater is None:
            receiver = FrameReceiver(connection, MAX_BYTES, *handlers)
        else:
            receiver = DeflateReceiver(connection, MAX_BYTES, *handlers, inflater)
        return receiver

    def _drive(self, data: bytes, start: Callable[[Connection], object]) -> None:
        owner, dice = self._owner, self._dice
        poller = cast("ManualPoller", owner.poller)
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 0, 1, 3))))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        pieces = [piece for piece in pieces if piece]
        script = Script(pieces)
        connection = Connection(owner, cast("socket.socket", script), "")
        before = poller.failures, owner.released
        start(connection)
        for _ in range(len(pieces) + 1):  # the last read finds the end
            poller.make_turn(connection)
            while self._waiting:
                request = self._waiting.pop()
                if request.path == "/late":
                    self._read_body(request)
                else:
                    request.respond(200, [], b"late")
                poller.make_turn(connection)
        connection.abort()
        poller.make_turn(None)
        if poller.failures != before[0]:
            raise Failure("an exception reached the poller's barrier")
        if owner.released != before[1] + 1 or not script.closed:
            raise Failure("the connection was not released")

    @staticmethod
    def feed_payload(data: bytes) -> bool:
        try:
            packets = decode_payload(data)
        except RemoteProtocolError:
            return False
        body = encode_payload([engine_packet.Outgoing(p.data) for p in packets if p.data])
        return body is not None

    @staticmethod
    def feed_payload_3(data: bytes) -> bool:
        accepted = False
        for decode in (engine_payload_v3.decode_payload, engine_payload_v3.decode_binary_payload):
            for unwrap in (bytes, decode_form):
                with suppress(RemoteProtocolError):
                    decode(unwrap(data))
                    accepted = True
        return accepted

    @staticmethod
    def feed_engine_packet(data: bytes) -> bool:
        try:
            packet = engine_packet.decode_packet(data)
        except RemoteProtocolError:
            return False
        if engine_packet.decode_packet(engine_packet.encode_packet(packet)) != packet:
            raise Failure("it decodes to something else after encoding")
        return True

    @staticmethod
    def feed_socket_packet(data: bytes) -> bool:
        try:
            packet = socket_packet.decode_packet(data)
            if packet.attachments:
                reassembly = socket_packet.Reassembly(packet, 64, 0.0)
                for number in range(packet.attachments):
                    reassembly.receive_attachment(bytes(number))
        except RemoteProtocolError:
            return False
        with suppress(LocalProtocolError):
            socket_packet.encode_packet(packet)
        return True

    @staticmethod
    def feed_rpc(data: bytes) -> bool:
        try:
            messages, _ = json_rpc.decode_messages(data)
        except ControlError:
            return False
        for message in messages:
            if isinstance(message, json_rpc.Request) and message.params is not None:
                with suppress(RemoteProtocolError):
                    value = json_rpc.decode_value(bytes(message.params))
                    if json_rpc.decode_value(json_rpc.encode_value(value)) != value:
                        raise Failure("it decodes to something else after encoding")
        return not any(isinstance(message, json_rpc.Malformed) for message in messages)


# --- the run -------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a run found."""

    seed: int
    inputs: int = 0
    seconds: float = 0.0
    accepted: dict[str, int] = field(default_factory=dict)
    fed: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    grown_blocks: int = 0
    grown_bytes: int = 0

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.inputs} inputs in {self.seconds:.1f} s, "
            f"{self.inputs / max(self.seconds, 1e-9):.0f} per second",
            *(f"  {name}: {n} inputs, {self.accepted[name]} valid" for name, n in self.fed.items()),
            f"  growth: {self.grown_blocks} blocks, {self.grown_bytes / 1024:.0f} KiB",
            *(f"  FAILED {failure}" for failure in self.failures),
            f"{'failed' if self.failures else 'passed'}",
        ]
        return "\n".join(lines)


def run(inputs: int, seed: int) -> Report:
    """Feed so many inputs; the same seed feeds the same ones."""
    logging.getLogger("trio_socketio").addHandler(logging.NullHandler())
    return trio.run(_run, inputs, seed)


async def _run(inputs: int, seed: int) -> Report:
    dice = random.Random(seed)
    decoders = Decoders(dice)
    texts = [*ENGINE, *SOCKET]
    text_tokens = [*ENGINE_TOKENS, *SOCKET_TOKENS]

    def make_payload() -> bytes:
        packets = [mutate(dice, texts, text_tokens) for _ in range(dice.randrange(1, 4))]
        return b"\x1e".join(packets)

    def make_frames() -> bytes:
        if dice.random() < 0.5:
            return mutate(dice, FRAMES, FRAME_TOKENS)
        payload = mutate(dice, texts, text_tokens)
        return make_frame(dice.choice((0x81, 0x81, 0x82, 0x01, 0x88, 0x89)), payload) * 2

    kinds: list[tuple[str, Callable[[], bytes], Callable[[bytes], bool]]] = [
        ("HTTP", lambda: mutate(dice, HTTP, HTTP_TOKENS), decoders.feed_http),
        ("frames", make_frames, decoders.feed_frames),
        ("deflated", lambda: mutate(dice, DEFLATED, FRAME_TOKENS), decoders.feed_deflated),
        ("payloads", make_payload, decoders.feed_payload),
        ("payloads 3", lambda: mutate(dice, PAYLOADS_3, TOKENS_3), decoders.feed_payload_3),
        ("engine packets", lambda: mutate(dice, ENGINE, text_tokens), decoders.feed_engine_packet),
        ("socket packets", lambda: mutate(dice, SOCKET, text_tokens), decoders.feed_socket_packet),
        ("JSON-RPC", lambda: mutate(dice, RPC, RPC_TOKENS), decoders.feed_rpc),
    ]
    names = [name for name, _, _ in kinds]
    report = Report(seed, fed=dict.fromkeys(names, 0), accepted=dict.fromkeys(names, 0))
    warm = int(inputs * WARM_UP)
    base = 0, 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(decoders.deadlines.run)
        began = time.perf_counter()
        for number in range(inputs):
            if number == warm:
                base = await _measure()
            name, make, feed = kinds[number % len(kinds)]
            data = make()
            report.fed[name] += 1
            try:
                with _time_limit():
                    report.accepted[name] += feed(data)
            except Exception as error:
                report.failures.append(f"{name}, input {number}: {error!r} from {data!r}")
                if len(report.failures) >= 10:
                    break
            report.inputs += 1
            if number % LOOK_EVERY == 0:
                await trio.lowlevel.checkpoint()
        report.seconds = time.perf_counter() - began
        blocks, resident = await _measure()
        nursery.cancel_scope.cancel()
    report.grown_blocks, report.grown_bytes = blocks - base[0], resident - base[1]
    if report.grown_blocks > GROWTH_BLOCKS or report.grown_bytes > GROWTH_BYTES:
        report.failures.append("memory grows")
    return report


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raises Failure in what takes longer than INPUT_S, where the system has such a timer."""

    def give_up(*_: object) -> None:
        raise Failure(f"it has not ended within {INPUT_S:g} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, INPUT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def _measure() -> tuple[int, int]:
    """Blocks allocated and bytes resident, once every deadline has passed."""
    await trio.sleep(PATIENCE_S * 3)
    gc.collect()
    return sys.getallocatedblocks(), _resident_bytes()


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; else a new one")
    options = parser.parse_args(arguments)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    report = run(options.inputs, seed)
    sys.stdout.write(f"{report}\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
