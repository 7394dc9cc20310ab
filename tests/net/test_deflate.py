"""permessage-deflate: what is agreed on, what is sent, and what is taken in, within bounds."""

import struct
import tracemalloc
import zlib
from functools import cache
from math import inf
from random import Random
from typing import Any, Final

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.net.harness import FrameEnd, Net, open_net, settle
from tests.net.wsproto_server import make_frame
from tests.properties import examples

from trio_socketio import ConfigurationError, PerMessageDeflate
from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.errors import PayloadTooLarge
from trio_socketio.net.deflate import (
    MAX_STREAMS,
    Agreement,
    Deflate,
    DeflateReceiver,
    Inflater,
)
from trio_socketio.net.frames import MAX_FRAGMENTS, encode_frames

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
RSV1: Final = 4
TAIL: Final = b"\x00\x00\xff\xff"
KEEP: Final = PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)


def agree(offer: str, options: PerMessageDeflate = KEEP) -> Agreement | None:
    return Deflate(options).negotiate(offer)


def agreed(offer: str = "permessage-deflate", options: PerMessageDeflate = KEEP) -> Agreement:
    agreement = agree(offer, options)
    assert agreement is not None
    return agreement


class Client:
    """The client's side of the extension."""

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._deflate: Any = None
        self._inflate: Any = None

    def compress(self, data: bytes) -> bytes:
        if self._deflate is None or not self._agreement.client_takeover:
            bits = max(9, self._agreement.client_bits)
            self._deflate = zlib.compressobj(6, zlib.DEFLATED, -bits)
        deflated: bytes = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return deflated.removesuffix(TAIL)

    def decompress(self, data: bytes) -> bytes:
        if self._inflate is None or not self._agreement.server_takeover:
            self._inflate = zlib.decompressobj(-self._agreement.server_bits)
        inflated: bytes = self._inflate.decompress(data + TAIL)
        return inflated


# --- what is agreed on


@pytest.mark.req("WS-01")
@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("x-other, permessage-deflate", "permessage-deflate"),
        ("PerMessage-Deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        (
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=8",
        ),
        (
            'permessage-deflate ;server_max_window_bits = "12"',
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=15",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate",
        ),
        (
            "permessage-deflate; client_max_window_bits=x, permessage-deflate",
            "permessage-deflate",
        ),
    ],
)
def test_the_first_offer_that_can_be_met_is_taken(offer: str, answer: str) -> None:
    assert agreed(offer).answer.decode() == answer


@pytest.mark.req("WS-01", "WS-02")
@pytest.mark.parametrize(
    "offer",
    [
        "",
        ";",
        "deflate-frame",
        "permessage-deflate; server_max_window_bits=8",  # zlib cannot
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=\u0661\u0662",
        "permessage-deflate; client_max_window_bits=-9",
        "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; unknown",
        "permessage-deflate;",
        ", " * 8 + "permessage-deflate",
    ],
)
def test_without_a_good_offer_the_connection_goes_without(offer: str) -> None:
    assert agree(offer) is None


@pytest.mark.req("WS-01")
def test_the_options_are_told_as_far_as_the_client_understands() -> None:
    options = PerMessageDeflate(server_max_window_bits=11, client_max_window_bits=10)
    quiet = agreed("permessage-deflate", options)
    assert quiet.answer == (
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        b"; server_max_window_bits=11"
    )
    assert quiet[:4] == (11, 15, False, False)
    asked = agreed("permessage-deflate; client_max_window_bits; server_max_window_bits=9", options)
    assert asked.answer.endswith(b"; server_max_window_bits=9; client_max_window_bits=10")
    assert asked[:4] == (9, 10, False, False)


@given(st.text())
def test_no_offer_raises(offer: str) -> None:
    agree(offer)
    agree("permessage-deflate;" + offer)


@pytest.mark.parametrize(
    "given",
    [
        {"server_max_window_bits": 8},
        {"client_max_window_bits": 16},
        {"memory_level": 0},
        {"level": 10},
        {"threshold_bytes": -1},
    ],
)
def test_unusable_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PerMessageDeflate(**given)


# --- what is sent


def split_frames(data: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while data:
        size, at = data[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width]), 2 + width
        frames.append((data[0], data[at : at + size]))
        data = data[at + size :]
    return frames


messages = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode() * 100),
    st.sampled_from([b"", b"x" * 3000, bytes(range(256)) * 2]),
)


@pytest.mark.req("WS-03")
@given(
    sent=st.lists(st.tuples(messages, st.lists(messages, max_size=2)), min_size=1, max_size=4),
    keep=st.booleans(),
    bits=st.integers(9, 15),
    threshold=st.sampled_from([0, 1, 100]),
)
@settings(deadline=None)
def test_a_client_reads_what_was_sent(
    sent: list[tuple[bytes, list[bytes]]], keep: bool, bits: int, threshold: int
) -> None:
    options = PerMessageDeflate(server_no_context_takeover=not keep, threshold_bytes=threshold)
    deflate = Deflate(options)
    agreement = deflate.negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    assert agreement is not None
    sender, client = deflate.sender(agreement), Client(agreement)
    for text, attachments in sent:
        packet = Outgoing(b"4" + text, tuple(attachments))
        read = []
        for first, payload in split_frames(sender.encode(packet)):
            assert first & 0xB0 == 0x80
            read.append(client.decompress(payload) if first & 0x40 else payload)
            assert first & 0x40 == 0 or len(read[-1]) >= threshold
            assert first & 0x0F == (TEXT if len(read) == 1 else BINARY)
        assert read == [b"4" + text, *attachments]


@pytest.mark.req("WS-03")
def test_small_messages_and_those_that_ask_for_it_go_as_they_are() -> None:
    deflate = Deflate(PerMessageDeflate())
    sender = deflate.sender(agreed(options=PerMessageDeflate()))
    for packet in (
        Outgoing(b"x" * 1023),
        Outgoing(b"x" * 5000, compress=False),
        Outgoing(b"x" * 1000, (b"y" * 1000,)),
    ):
        assert sender.encode(packet) == encode_frames(packet)
    noise = Outgoing(b"", (Random(0).randbytes(2000),))
    assert sender.encode(noise) == encode_frames(noise)  # compressed, it would be larger
    assert len(sender.encode(Outgoing(b"x" * 1024))) < 50


@pytest.mark.req("WS-04")
def test_without_takeover_a_broadcast_is_compressed_once_for_all() -> None:
    deflate = Deflate(PerMessageDeflate())
    wide = agreed("permessage-deflate", PerMessageDeflate())
    narrow = agreed("permessage-deflate; server_max_window_bits=9", PerMessageDeflate())
    packet = Outgoing(b"4" + b"abc" * 1000)
    frames = deflate.sender(wide).encode(packet)
    assert deflate.sender(wide).encode(packet) is frames
    other = deflate.sender(narrow).encode(packet)
    assert other is not frames
    assert deflate.sender(narrow).encode(packet) is other
    assert Client(wide).decompress(split_frames(frames)[0][1]) == packet.text


def test_a_message_tells_nothing_of_those_to_others() -> None:
    deflate = Deflate(PerMessageDeflate())
    sender = deflate.sender(agreed(options=PerMessageDeflate()))
    secret = bytes(range(32, 127)) * 20
    first = sender.encode(Outgoing(secret))
    assert sender.encode(Outgoing(secret)) == first


# --- what is taken in


def deflate_end(net: Net, agreement: Agreement, max_bytes: int = 1 << 20) -> FrameEnd:
    connection, _, peer = net.connect()
    received: list[bytes | str] = []
    lost: list[str] = []
    inflater = Inflater(agreement.client_bits, max_bytes, takeover=agreement.client_takeover)
    receiver = DeflateReceiver(
        connection,
        max_bytes,
        lambda text: received.append(text.decode()),
        received.append,
        lost.append,
        inflater,
    )
    return FrameEnd(connection, receiver, peer, received, lost)


def code_of(end: FrameEnd) -> int:
    replies = end.peer.read_nowait()
    assert replies[-4:-2] == b"\x88\x02"
    code: int = struct.unpack("!H", replies[-2:])[0]
    return code


def feed(end: FrameEnd, stream: bytes, cuts: list[int]) -> None:
    at = 0
    for cut in [*cuts, len(stream)]:
        piece = stream[at : at + cut]
        if piece and not end.lost:
            end.receiver.receive_data(piece)
        at += cut


def fragments(opcode: int, payload: bytes, sizes: list[int], *, rsv: int) -> list[bytes]:
    """The payload in fragments with a ping in between."""
    parts = []
    for size in sizes:
        parts.append(payload[:size])
        payload = payload[size:]
    parts.append(payload)
    frames = []
    for number, part in enumerate(parts):
        frames.append(
            make_frame(
                opcode if number == 0 else 0,
                part,
                fin=number == len(parts) - 1,
                rsv=rsv if number == 0 else 0,
            )
        )
        if number < len(parts) - 1:
            frames.append(make_frame(PING, b"p"))
    return frames


texts = st.text(max_size=30).map(lambda text: text.encode() * 20)
one_message = st.tuples(
    st.one_of(
        st.tuples(st.just(TEXT), texts),
        st.tuples(st.just(BINARY), st.binary(max_size=600)),
        st.just((BINARY, b"y" * 3000)),
    ),
    st.lists(st.integers(0, 40), max_size=3),
    st.booleans(),
)


@pytest.mark.req("WS-05", "WS-06")
@given(
    sent=st.lists(one_message, max_size=5),
    cuts=st.lists(st.integers(1, 90), max_size=20),
    offer=st.sampled_from(
        [
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=9",
        ]
    ),
)
@settings(max_examples=examples(60), deadline=None)
@example(
    sent=[((TEXT, "\u20ac".encode() * 100), [1, 1, 1], True)],
    cuts=[1] * 20,
    offer="permessage-deflate",
)
def test_compressed_or_not_the_same_arrives(
    sent: list[tuple[tuple[int, bytes], list[int], bool]], cuts: list[int], offer: str
) -> None:
    agreement = agreed(offer)
    client = Client(agreement)
    plain: list[bytes] = []
    mixed: list[bytes] = []
    for (opcode, message), sizes, compressed in sent:
        plain += fragments(opcode, message, sizes, rsv=0)
        payload = client.compress(message) if compressed else message
        mixed += fragments(opcode, payload, sizes, rsv=RSV1 if compressed else 0)

    async def main() -> None:
        async with open_net() as net:
            expected, end = net.frames(), deflate_end(net, agreement)
            feed(expected, b"".join(plain), [])
            feed(end, b"".join(mixed), cuts)
            await settle()
            assert end.messages == expected.messages
            assert len(end.messages) == len(sent)
            assert end.peer.read_nowait() == expected.peer.read_nowait()
            assert not end.lost
            assert net.poller.failures == 0

    trio.run(main)


@pytest.mark.req("WS-20")
@pytest.mark.parametrize("compressed", [[True] * 3, [True, False, True], [False, True, False]])
def test_fragments_are_counted_anew_for_each_message(compressed: list[bool]) -> None:
    agreement = agreed()
    client = Client(agreement)
    message = Random(0).randbytes(MAX_FRAGMENTS - 1)
    sizes = [1] * (MAX_FRAGMENTS - 1)  # and the rest
    stream = b"".join(
        frame
        for squeeze in compressed
        for frame in fragments(
            BINARY,
            client.compress(message) if squeeze else message,
            sizes,
            rsv=RSV1 if squeeze else 0,
        )
    )

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreement)
            feed(end, stream, [])
            await settle()
            assert end.messages == [message] * 3
            assert not end.lost

    trio.run(main)


@pytest.mark.parametrize("size", [65535, 65536, 300_000])
def test_large_messages_pass_both_ways(size: int) -> None:
    agreement = agreed()
    client = Client(agreement)
    noise = Random(0).randbytes(size)  # its frame is as long as itself
    sent = [noise, b"x" * size]
    stream = b"".join(make_frame(BINARY, client.compress(part), rsv=RSV1) for part in sent)
    sender = Deflate(KEEP).sender(agreement)
    for part in sent:
        ((_, payload),) = split_frames(sender.encode(Outgoing(b"", (part,))))
        assert client.decompress(payload) == part

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreement)
            feed(end, stream, [1, 1, 1, 70_000, 8])
            await settle()
            assert end.messages == sent

    trio.run(main)


@cache
def bomb(size: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(bytes(size)) + deflate.flush(zlib.Z_SYNC_FLUSH)[:-4]


def test_what_inflates_to_much_counts_for_as_many_messages_in_a_turn() -> None:
    message = b"".join(fragments(BINARY, bomb(40 * 1024), [], rsv=RSV1))

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed())
            net.poller.turn_ends = inf
            feed(end, message * 20, [20 * len(message)])
            assert len(end.messages) == 6  # of 11 each, until the 64 of a turn are exceeded
            await settle()
            assert len(end.messages) == 20

    trio.run(main)


@pytest.mark.req("WS-07")
@pytest.mark.parametrize("sizes", [[], [10] * 20, [500] * 20])
@pytest.mark.parametrize(
    "offer", ["permessage-deflate", "permessage-deflate; client_no_context_takeover"]
)
def test_a_bomb_closes_within_twice_the_limit_of_memory(sizes: list[int], offer: str) -> None:
    limit = 1_000_000
    frames = b"".join(fragments(BINARY, bomb(50_000_000), sizes, rsv=RSV1))

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed(offer), limit)
            tracemalloc.start()
            try:
                feed(end, frames, [len(frames) // 3])
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            await settle()
            assert (end.messages, end.lost) == ([], ["transport error"])
            assert code_of(end) == 1009
            assert peak < 2 * limit

    trio.run(main)


@pytest.mark.req("WS-07")
@pytest.mark.parametrize("sizes", [[], [300]])
@pytest.mark.parametrize(("size", "taken"), [(5000, True), (5001, False)])
def test_the_limit_is_that_of_the_message_not_of_its_frame(
    size: int, taken: bool, sizes: list[int]
) -> None:
    frames = b"".join(fragments(BINARY, bomb(size), sizes, rsv=RSV1))

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed(), 5000)
            feed(end, frames * 3, [])
            await settle()
            if taken:
                assert end.messages[0] == bytes(size)
                assert end.lost == []
            else:
                assert end.messages == []
                assert code_of(end) == 1009

    trio.run(main)


@pytest.mark.req("WS-07")
@pytest.mark.parametrize("sizes", [[], [300]])
def test_what_inflates_to_much_takes_turns(sizes: list[int]) -> None:
    size = 1 << 20
    frames = b"".join(fragments(BINARY, bomb(size), sizes, rsv=RSV1)) * 20
    turns: list[int] = [0]

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed(), size)

            def take(message: bytes) -> None:
                if not turns[-1]:
                    net.poller.defer(lambda: turns.append(0))
                turns[-1] += len(message)

            end.receiver.set_handlers(take, take, end.lost.append)
            end.peer.send_nowait(frames)
            await settle()
            assert sum(turns) == 20 * size
            assert max(turns) == size

    trio.run(main)


@pytest.mark.req("WS-08")
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([make_frame(BINARY, b"\xff\xff\xff", rsv=RSV1)], 1007),  # no such block
        ([make_frame(TEXT, Client(agreed()).compress(b"\xff\xfe"), rsv=RSV1)], 1007),
        ([make_frame(PING, b"", rsv=RSV1)], 1002),
        ([make_frame(0, b"", rsv=RSV1)], 1002),
        ([make_frame(BINARY, b"\0", rsv=RSV1 | 2)], 1002),
        ([make_frame(BINARY, b"\0", rsv=RSV1, masked=False)], 1002),
        ([make_frame(BINARY, b"\0", rsv=RSV1, width=2)], 1002),
        ([make_frame(BINARY, b"\0", rsv=RSV1, width=8)], 1002),
        ([make_frame(3, b"\0", rsv=RSV1)], 1002),
        (
            [make_frame(BINARY, b"", rsv=RSV1, fin=False), make_frame(TEXT, b"\0", rsv=RSV1)],
            1002,
        ),
        ([make_frame(TEXT, b"a", fin=False), make_frame(TEXT, b"\0", rsv=RSV1)], 1002),
        ([make_frame(TEXT, b"a", fin=False), make_frame(0, b"\0", rsv=RSV1)], 1002),
        (
            [make_frame(BINARY, b"", rsv=RSV1, fin=False)]
            + [make_frame(0, b"", fin=False)] * MAX_FRAGMENTS,
            1009,
        ),
        ([make_frame(BINARY, b"\x03\x00" + b"\xff", rsv=RSV1)], 1007),  # after a final block
        ([make_frame(BINARY, b"\x03\x00" * (MAX_STREAMS + 1), rsv=RSV1)], 1007),
    ],
)
def test_what_breaks_the_rules_closes(frames: list[bytes], code: int) -> None:
    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed())
            feed(end, b"".join(frames), [])
            await settle()
            assert end.lost == ["transport error"]
            assert code_of(end) == code
            assert end.messages == []
            assert net.poller.failures == 0

    trio.run(main)


@pytest.mark.req("WS-05")
def test_a_last_block_ends_the_window_but_not_the_connection() -> None:
    """RFC 7692, section 7.2.3.4: the example with BFINAL, and messages after it."""
    last = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
    frames = [make_frame(TEXT, last, rsv=RSV1), make_frame(TEXT, last[:-1], rsv=RSV1)]
    frames.append(make_frame(TEXT, Client(agreed()).compress(b"more"), rsv=RSV1))

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed())
            feed(end, b"".join(frames), [])
            await settle()
            assert (end.messages, end.lost) == (["Hello", "Hello", "more"], [])

    trio.run(main)


class BlockWriter:
    """Writes messages of blocks of every kind, as RFC 7692, section 7.2.1, lets a client do."""

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._zlib: Any = None

    def write(self, blocks: list[tuple[str, bytes]], *, padded: bool) -> bytes:
        """A message of blocks, each "final", "flushed" or "empty", and the bytes in it."""
        if not self._takeover:
            self._zlib = None
        parts = []
        kind = ""
        for kind, data in blocks:
            if self._zlib is None:
                self._zlib = zlib.compressobj(6, zlib.DEFLATED, -15)
            if kind == "empty":
                parts.append(self._zlib.flush(zlib.Z_FULL_FLUSH))
            elif kind == "flushed":
                parts.append(self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH))
            else:
                parts.append(self._zlib.compress(data) + self._zlib.flush())
                self._zlib = None
        message = b"".join(parts)
        if kind == "final":
            return message + b"\0" if padded else message
        return message.removesuffix(TAIL)


sizes = st.one_of(st.integers(0, 40), st.integers(16_300, 50_000))
blocks = st.lists(
    st.tuples(st.sampled_from(["final", "final", "flushed", "empty"]), sizes),
    min_size=1,
    max_size=5,
)


def content(size: int) -> bytes:
    """Zeros or noise of that size."""
    return bytes(size) if size % 2 else Random(size).randbytes(size)


@pytest.mark.req("WS-05")
@given(
    sent=st.lists(st.tuples(blocks, st.booleans()), min_size=1, max_size=3),
    takeover=st.booleans(),
    cuts=st.lists(st.integers(1, 20_000), max_size=8),
)
@settings(max_examples=examples(60), deadline=5000)
@example([([("final", 40_001)], True)], True, [])  # looped for ever
@example([([("final", 16_384)], True)], True, [1] * 8)
@example([([("final", 40_001), ("final", 0)], True)], False, [20, 1])
@example([([("empty", 0)], False), ([("empty", 0)], False), ([("final", 0)], False)], True, [])
def test_final_and_empty_blocks_in_any_chunking_are_read(
    sent: list[tuple[list[tuple[str, int]], bool]], takeover: bool, cuts: list[int]
) -> None:
    writer = BlockWriter(takeover=takeover)
    inflater = Inflater(15, 1 << 20, takeover=takeover)
    for described, padded in sent:
        parts = [(kind, content(size)) for kind, size in described]
        payload = writer.write(parts, padded=padded)
        at = 0
        for cut in [*cuts, len(payload)]:
            inflater.feed(payload[at : at + cut])
            at += cut
        assert inflater.finish() == b"".join(data for kind, data in parts if kind != "empty")


@given(
    size=st.integers(0, 50_000),
    trailing=st.binary(max_size=60),
    cuts=st.lists(st.integers(1, 100), max_size=4),
    limit=st.sampled_from([1000, 16_384, 1 << 20]),
)
@settings(max_examples=examples(100), deadline=5000)
@example(40_000, b"\0", [], 1 << 20)
@example(40_000, b"more", [], 1 << 20)
def test_whatever_follows_a_final_block_ends(
    size: int, trailing: bytes, cuts: list[int], limit: int
) -> None:
    inflater = Inflater(15, limit, takeover=True)
    payload = BlockWriter(takeover=True).write([("final", bytes(size))], padded=False) + trailing
    at = 0
    try:
        for cut in [*cuts, len(payload)]:
            inflater.feed(payload[at : at + cut])
            at += cut
        message = inflater.finish()
    except PayloadTooLarge:
        return
    except zlib.error:
        assert trailing
        return
    assert message[:size] == bytes(size)
    assert len(message) <= limit


@pytest.mark.req("WS-09")
def test_a_frame_with_bytes_after_its_final_block_holds_nobody_up() -> None:
    final = BlockWriter(takeover=True).write([("final", b"a" * 40_000)], padded=True)

    async def main() -> None:
        async with open_net() as net:
            end, bystander = deflate_end(net, agreed()), net.frames()
            with trio.fail_after(5):
                end.peer.send_nowait(make_frame(TEXT, final, rsv=RSV1))
                bystander.peer.send_nowait(make_frame(TEXT, b"hello"))
                await settle()
            assert (end.messages, bystander.messages) == (["a" * 40_000], ["hello"])

    trio.run(main)


def test_a_message_after_a_fragmented_one_starts_anew() -> None:
    client = Client(agreed())
    frames = fragments(TEXT, client.compress(b"first"), [3], rsv=RSV1)
    frames += fragments(TEXT, b"second", [3], rsv=0)
    frames += fragments(BINARY, client.compress(b"third"), [3], rsv=RSV1)

    async def main() -> None:
        async with open_net() as net:
            end = deflate_end(net, agreed())
            feed(end, b"".join(frames), [])
            await settle()
            assert end.messages == ["first", "second", b"third"]

    trio.run(main)


@given(st.lists(st.binary(max_size=50), max_size=5), st.booleans())
def test_garbage_raises_nothing_undocumented(parts: list[bytes], takeover: bool) -> None:
    inflater = Inflater(15, 1000, takeover=takeover)
    try:
        for part in parts:
            inflater.feed(part)
        assert len(inflater.finish()) <= 1000
    except (PayloadTooLarge, zlib.error):
        pass
