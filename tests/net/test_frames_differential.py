"""The frame receiver against wsproto's own server, on the same frames in any chunking."""

import struct

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.net.harness import FrameEnd, open_net, settle
from tests.net.wsproto_server import Outcome, make_frame, run_wsproto
from tests.properties import examples

from trio_socketio.net.frames import encode_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

keys = st.binary(min_size=4, max_size=4)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "x" * 125, "x" * 126, "\u20ac" * 42, "\U0001f600" * 40]),
).map(str.encode)
binaries = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"", bytes(125), bytes(126), bytes(200)])
)
broken_texts = st.sampled_from(
    [b"\xff", b"\xc3", b"a\xed\xa0\x80b", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x82", b"\x80"]
)
control_payloads = st.one_of(st.binary(max_size=10), st.just(bytes(125)))
close_payloads = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=1),
    st.builds(
        lambda code, reason: struct.pack("!H", code) + reason,
        st.sampled_from(
            [0, *range(999, 1017), 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535]
        ),
        st.one_of(texts.filter(lambda text: len(text) < 120), broken_texts),
    ),
)


@st.composite
def whole_messages(draw: st.DrawFn) -> list[bytes]:
    """A message in one frame or in several, with control frames between."""
    opcode, payload = draw(
        st.one_of(
            st.tuples(st.just(TEXT), texts),
            st.tuples(st.just(BINARY), binaries),
            st.tuples(st.just(TEXT), broken_texts),
            st.tuples(st.just(BINARY), broken_texts),
        )
    )
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    frames: list[bytes] = []
    for number, part in enumerate(parts):
        frames += draw(st.lists(control_frames(), max_size=1)) if number else []
        frames.append(
            make_frame(
                CONTINUATION if number else opcode,
                part,
                fin=number == len(parts) - 1,
                key=draw(keys),
            )
        )
    return frames


def control_frames() -> st.SearchStrategy[bytes]:
    return st.builds(make_frame, st.sampled_from([PING, PONG]), control_payloads, key=keys)


def strange_frames() -> st.SearchStrategy[bytes]:
    """Every field may be wrong, alone or with others."""
    return st.builds(
        make_frame,
        st.integers(0, 15).filter(lambda opcode: opcode != CLOSE),
        st.one_of(texts, binaries, broken_texts),
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
        masked=st.sampled_from([True, True, True, False]),
        key=keys,
        width=st.sampled_from([None, None, None, 2, 8]),
    )


def closes() -> st.SearchStrategy[bytes]:
    return st.builds(
        make_frame,
        st.just(CLOSE),
        close_payloads,
        fin=st.sampled_from([True, True, True, False]),
        key=keys,
    )


sequences = st.lists(
    st.one_of(
        whole_messages(),
        whole_messages(),
        control_frames().map(lambda frame: [frame]),
        strange_frames().map(lambda frame: [frame]),
        closes().map(lambda frame: [frame]),
    ),
    max_size=6,
).map(lambda groups: [frame for group in groups for frame in group])


async def run_receiver(end: FrameEnd, stream: bytes, cuts: list[int]) -> Outcome:
    """Feed the receiver in pieces; afterwards let it send, and split off the close frame."""
    at = 0
    for cut in [*cuts, len(stream)]:
        piece = stream[at : at + cut]
        if piece and not end.lost:
            end.receiver.receive_data(piece)
        at += cut
    await settle()
    replies = end.peer.read_nowait()
    code = None
    if end.lost:
        assert len(end.lost) == 1
        assert replies[-4:-2] == b"\x88\x02"
        (code,) = struct.unpack("!H", replies[-2:])
        replies = replies[:-4]
        assert end.peer.eof
    return Outcome(end.messages, replies, code)


@given(frames=sequences, cuts=st.lists(st.integers(1, 60), max_size=30))
@settings(max_examples=examples(150), deadline=None)
@example(frames=[make_frame(TEXT, b"\xe2", fin=False), make_frame(0, b"\x82\xac")], cuts=[])
@example(frames=[make_frame(TEXT, b"\xe2", fin=False), make_frame(0, b"\x28\xac")], cuts=[])
@example(frames=[make_frame(TEXT, b"\xe2\x82", fin=False), make_frame(0, b"")], cuts=[1] * 9)
@example(frames=[make_frame(TEXT, b"a", fin=False), make_frame(TEXT, b"b")], cuts=[])
@example(frames=[make_frame(CONTINUATION, b"")], cuts=[])
@example(frames=[make_frame(TEXT, b"", width=8)], cuts=[3])
@example(frames=[make_frame(BINARY, bytes(125), width=2)], cuts=[3])
@example(frames=[make_frame(PING, bytes(126))], cuts=[])
@example(frames=[make_frame(TEXT, b"a", masked=False), make_frame(TEXT, b"b")], cuts=[])
def test_the_same_frames_have_the_same_outcome(frames: list[bytes], cuts: list[int]) -> None:
    expected = run_wsproto(frames)

    async def main() -> None:
        async with open_net() as net:
            end = net.frames()
            found = await run_receiver(end, b"".join(frames), cuts)
            assert found == expected
            assert net.poller.failures == 0

    trio.run(main)


@pytest.mark.parametrize("size", [65535, 65536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_large_messages_have_the_same_outcome(opcode: int, size: int) -> None:
    frames = [make_frame(opcode, b"y" * size), make_frame(PING, b"z")]

    async def main() -> None:
        async with open_net() as net:
            found = await run_receiver(net.frames(), b"".join(frames), [1, 1, 1, 10_000])
            assert found == run_wsproto(frames)

    trio.run(main)


def test_the_reference_answers_and_closes() -> None:
    """A reference that finds nothing would let everything pass."""
    found = run_wsproto(
        [
            make_frame(TEXT, b"a", fin=False),
            make_frame(PING, b"p"),
            make_frame(CONTINUATION, b"b"),
            make_frame(CLOSE, struct.pack("!H", 4321)),
        ]
    )
    assert found == Outcome(["ab"], encode_frame(0x8A, b"p"), 4321)
