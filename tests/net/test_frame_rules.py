"""The rules of RFC 6455 for frames, one by one, whichever of the two readers sees the frame."""

import struct
from math import inf
from typing import Final

import pytest
import trio
from tests.net.harness import FrameEnd, Net, open_net
from tests.net.wsproto_server import make_frame

from trio_socketio import PerMessageDeflate
from trio_socketio.net.deflate import Deflate, DeflateReceiver, Inflater
from trio_socketio.net.frames import encode_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
OPEN: Final = make_frame(TEXT, b"op", fin=False)
WHOLE: Final = make_frame(TEXT, b"late")


def closed(code: int) -> bytes:
    """The close frame that a server sends."""
    return b"\x88\x02" + struct.pack("!H", code)


def deflating(net: Net) -> FrameEnd:
    """A connection on which messages may be compressed."""
    connection, _, peer = net.connect()
    agreement = Deflate(PerMessageDeflate()).negotiate("permessage-deflate")
    assert agreement is not None
    messages: list[str | bytes] = []
    lost: list[str] = []
    receiver = DeflateReceiver(
        connection,
        1 << 20,
        lambda text: messages.append(text.decode()),
        messages.append,
        lost.append,
        Inflater(agreement.client_bits, 1 << 20, takeover=agreement.client_takeover),
    )
    return FrameEnd(connection, receiver, peer, messages, lost)


@pytest.fixture(params=[False, True], ids=["plain", "deflating"])
def may_be_compressed(request: pytest.FixtureRequest) -> bool:
    """Whether the extension was agreed on: it changes no rule but that of the first bit."""
    chosen: bool = request.param
    return chosen


def check(
    stream: bytes,
    *,
    compressed: bool,
    messages: list[str | bytes],
    answer: bytes = b"",
    lost: str | None = None,
) -> None:
    """What a stream of frames does, in one piece and in single bytes."""

    async def main() -> None:
        for step in (len(stream), 1):
            async with open_net() as net:
                end = deflating(net) if compressed else net.frames()
                for at in range(0, len(stream), step):
                    if not end.lost:
                        end.receiver.receive_data(stream[at : at + step])
                await trio.testing.wait_all_tasks_blocked(0.003)
                assert end.messages == messages
                assert end.peer.read_nowait() == answer
                assert end.lost == ([] if lost is None else [lost])
                assert end.peer.eof is (lost is not None)

    trio.run(main)


def check_refused(stream: bytes, code: int, *, compressed: bool) -> None:
    """The connection is failed with that code, and nothing after it is handed over."""
    check(
        make_frame(TEXT, b"early") + stream + WHOLE,
        compressed=compressed,
        messages=["early"],
        answer=closed(code),
        lost="transport error",
    )


# --- what every frame has to be ------------------------------------------------------------------


@pytest.mark.req("WSP-10")
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 5, 125])
def test_a_frame_without_a_mask_is_refused(opcode: int, size: int, may_be_compressed: bool) -> None:
    frame = make_frame(opcode, b"x" * size, masked=False)
    check_refused(frame, 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-10")
@pytest.mark.parametrize("size", [126, 65536])
def test_a_long_frame_without_a_mask_is_refused(size: int, may_be_compressed: bool) -> None:
    check_refused(make_frame(TEXT, b"x" * size, masked=False), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-10")
@pytest.mark.parametrize("size", [0, 125, 126, 65536])
def test_a_frame_without_a_mask_is_refused_as_soon_as_it_is_whole(size: int) -> None:
    check(
        make_frame(BINARY, b"x" * size, masked=False),
        compressed=False,
        messages=[],
        answer=closed(1002),
        lost="transport error",
    )


@pytest.mark.req("WSP-11")
@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_reserved_bits_are_refused(bits: int, opcode: int) -> None:
    check_refused(make_frame(opcode, b"", rsv=bits), 1002, compressed=False)


@pytest.mark.req("WSP-11")
@pytest.mark.parametrize("bits", range(1, 8))
def test_reserved_bits_of_a_continuation_are_refused(bits: int, may_be_compressed: bool) -> None:
    frames = OPEN + make_frame(CONTINUATION, b"en", rsv=bits)
    check_refused(frames, 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-12")
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_an_unknown_kind_of_frame_is_refused(opcode: int, may_be_compressed: bool) -> None:
    check_refused(make_frame(opcode, b"x"), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-13")
@pytest.mark.parametrize(("size", "width"), [(0, 2), (125, 2), (0, 8), (126, 8), (65535, 8)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_length_in_more_bytes_than_it_needs_is_refused(
    size: int, width: int, opcode: int, may_be_compressed: bool
) -> None:
    frame = make_frame(opcode, b"x" * size, width=width)
    check_refused(frame, 1002, compressed=may_be_compressed)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
def test_a_length_in_the_bytes_that_it_needs_is_taken(size: int, may_be_compressed: bool) -> None:
    check(make_frame(BINARY, b"x" * size), compressed=may_be_compressed, messages=[b"x" * size])


@pytest.mark.parametrize("size", [5, 126, 65536])
def test_a_header_that_is_cut_is_waited_for(size: int) -> None:
    first, second = make_frame(BINARY, b"first"), make_frame(BINARY, b"x" * size)

    async def main() -> None:
        async with open_net() as net:
            net.poller.turn_ends = inf
            for cut in range(1, 15):
                end = net.frames()
                end.receiver.receive_data(first + second[:cut])
                assert end.messages == [b"first"] + [b"x" * size] * (cut >= len(second))
                end.receiver.receive_data(second[cut:] + WHOLE)
                assert end.messages == [b"first", b"x" * size, "late"]

    trio.run(main)


# --- messages in fragments -----------------------------------------------------------------------


@pytest.mark.req("WSP-14")
@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_of_nothing_is_refused(fin: bool, may_be_compressed: bool) -> None:
    frame = make_frame(CONTINUATION, b"x", fin=fin)
    check_refused(frame, 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-14")
def test_a_continuation_after_a_message_in_fragments_is_refused(may_be_compressed: bool) -> None:
    frames = OPEN + make_frame(CONTINUATION, b"en")
    check(
        frames * 2 + make_frame(CONTINUATION, b"x") + WHOLE,
        compressed=may_be_compressed,
        messages=["open", "open"],
        answer=closed(1002),
        lost="transport error",
    )


@pytest.mark.req("WSP-15")
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_a_message_that_begins_within_another_is_refused(
    opcode: int, fin: bool, may_be_compressed: bool
) -> None:
    check_refused(OPEN + make_frame(opcode, b"x", fin=fin), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-16")
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_in_fragments_is_the_same_message(opcode: int, may_be_compressed: bool) -> None:
    text = "a\u00e9\U0001f600".encode()
    frames = [
        make_frame(opcode if at == 0 else CONTINUATION, text[at : at + 1], fin=False)
        for at in range(len(text))  # in the middle of characters, too
    ]
    check(
        b"".join(frames) + make_frame(CONTINUATION, b""),
        compressed=may_be_compressed,
        messages=[text.decode() if opcode == TEXT else text],
    )


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.req("WSP-17")
@pytest.mark.parametrize(
    "data", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"]
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_text_that_is_not_utf8_is_refused(
    data: bytes, fragmented: bool, may_be_compressed: bool
) -> None:
    frames = make_frame(TEXT, data)
    if fragmented:
        frames = make_frame(TEXT, data[:1], fin=False) + make_frame(CONTINUATION, data[1:])
    check_refused(frames, 1007, compressed=may_be_compressed)


# --- control frames ------------------------------------------------------------------------------


@pytest.mark.req("WSP-18")
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_above_125_bytes_is_refused(opcode: int, may_be_compressed: bool) -> None:
    payload = struct.pack("!H", 1000) + b"x" * 124
    check_refused(make_frame(opcode, payload), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-19")
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_in_fragments_is_refused(opcode: int, may_be_compressed: bool) -> None:
    check_refused(make_frame(opcode, b"", fin=False), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-20")
@pytest.mark.parametrize("payload", [b"", b"p", b"\xff" * 125])
def test_a_ping_is_answered_with_its_payload(payload: bytes, may_be_compressed: bool) -> None:
    check(
        make_frame(PING, payload) + WHOLE,
        compressed=may_be_compressed,
        messages=["late"],
        answer=encode_frame(0x8A, payload),
    )


@pytest.mark.req("WSP-21")
def test_a_pong_that_nobody_asked_for_is_ignored(may_be_compressed: bool) -> None:
    frames = make_frame(PONG, b"") + OPEN + make_frame(PONG, b"x") + make_frame(CONTINUATION, b"en")
    check(frames, compressed=may_be_compressed, messages=["open"])


@pytest.mark.req("WSP-22")
def test_control_frames_may_stand_between_fragments(may_be_compressed: bool) -> None:
    frames = OPEN + make_frame(PING, b"p") + make_frame(CONTINUATION, b"en")
    check(
        frames,
        compressed=may_be_compressed,
        messages=["open"],
        answer=encode_frame(0x8A, b"p"),
    )


# --- closing -------------------------------------------------------------------------------------


@pytest.mark.req("WSP-23")
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 3000, 4000, 4999])
@pytest.mark.parametrize("reason", [b"", "so \u00e9".encode()])
@pytest.mark.parametrize("before", [b"", OPEN], ids=["between messages", "within one"])
def test_a_close_is_answered_with_its_code(
    code: int, reason: bytes, before: bytes, may_be_compressed: bool
) -> None:
    check(
        before + make_frame(CLOSE, struct.pack("!H", code) + reason) + WHOLE,
        compressed=may_be_compressed,
        messages=[],
        answer=closed(code),
        lost="transport close",
    )


@pytest.mark.req("WSP-24")
@pytest.mark.parametrize("before", [b"", OPEN], ids=["between messages", "within one"])
def test_a_close_without_a_code_is_a_normal_one(before: bytes, may_be_compressed: bool) -> None:
    check(
        before + make_frame(CLOSE, b"") + WHOLE,
        compressed=may_be_compressed,
        messages=[],
        answer=closed(1000),
        lost="transport close",
    )


@pytest.mark.req("WSP-25")
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2000, 2999])
def test_a_close_code_that_nobody_may_send_is_refused(code: int, may_be_compressed: bool) -> None:
    frame = make_frame(CLOSE, struct.pack("!H", code))
    check_refused(frame, 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-26")
def test_half_a_close_code_is_refused(may_be_compressed: bool) -> None:
    check_refused(make_frame(CLOSE, b"\x03"), 1002, compressed=may_be_compressed)


@pytest.mark.req("WSP-27")
def test_a_reason_that_is_not_utf8_is_refused(may_be_compressed: bool) -> None:
    frame = make_frame(CLOSE, struct.pack("!H", 1000) + b"\xff")
    check_refused(frame, 1007, compressed=may_be_compressed)


# --- what the server sends -----------------------------------------------------------------------


@pytest.mark.req("WSP-28")
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PONG])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_a_frame_of_the_server_is_final_and_has_no_mask(opcode: int, size: int) -> None:
    assert encode_frame(0x80 | opcode, b"x" * size) == bytes((0x80 | opcode, size)) + b"x" * size
