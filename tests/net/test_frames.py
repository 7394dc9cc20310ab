"""What the frame receiver bounds, spreads and stops; the rules of frames are compared elsewhere."""

import logging
import struct
import time
import weakref
from collections.abc import Callable
from math import inf

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.net.harness import LATE_S, FrameEnd, Net, measure_lateness, open_net, settle
from tests.net.wsproto_server import make_frame
from tests.properties import examples
from trio.testing import trio_test

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.net.connection import READ_BYTES
from trio_socketio.net.frames import (
    MESSAGES_PER_TURN,
    FrameReceiver,
    apply_mask,
    encode_frame,
    encode_frames,
)
from trio_socketio.protocol.connection import HELD, ON, PAUSED, Reading

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
PAUSE_S = 20
TOO_BIG = b"\x88\x02" + struct.pack("!H", 1009)


class TestEncoding:
    @pytest.mark.req("WSP-29")
    @pytest.mark.parametrize(
        ("size", "header"),
        [
            (0, b"\x81\x00"),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (65535, b"\x81\x7e\xff\xff"),
            (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ],
    )
    def test_a_length_takes_as_few_bytes_as_it_can(self, size: int, header: bytes) -> None:
        payload = b"x" * size
        assert encode_frame(0x81, payload) == header + payload
        if payload:
            assert encode_frames(Outgoing(payload)) == header + payload

    def test_a_packet_is_framed_with_its_attachments_once(self) -> None:
        packet = Outgoing(b"451-[]", (b"one", b""))
        frames = encode_frames(packet)
        assert frames == b"\x81\x06451-[]\x82\x03one\x82\x00"
        assert encode_frames(packet) is frames
        assert encode_frames(Outgoing(b"", (b"one",))) == b"\x82\x03one"

    @given(key=st.binary(min_size=4, max_size=4), data=st.binary(max_size=70))
    def test_unmasking(self, key: bytes, data: bytes) -> None:
        """What we ask of the library, whichever of its two implementations is installed."""
        assert apply_mask(data, key) == bytes(b ^ key[at % 4] for at, b in enumerate(data))


class TestBounds:
    @pytest.mark.req("EIO4-46")
    @pytest.mark.parametrize("size", [101, 125, 126, 65536, 1 << 40, (1 << 64) - 1])
    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_a_frame_over_the_limit_is_refused_from_its_header(
        self, opcode: int, size: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> None:
            caplog.set_level(logging.DEBUG, "trio_socketio.net.frames")
            async with open_net() as net:
                end = net.frames(max_bytes=100)
                if size < 126:
                    length = bytes((0x80 | size,))
                elif size < 65536:
                    length = b"\xfe" + struct.pack("!H", size)
                else:
                    length = b"\xff" + struct.pack("!Q", size)
                await end.peer.send(bytes((0x80 | opcode,)) + length[:-1])
                assert end.lost == []
                await end.peer.send(length[-1:])
                assert end.lost == ["transport error"]
                assert end.peer.read_nowait() == TOO_BIG
                assert end.peer.eof
                assert end.messages == []
                assert caplog.messages == ["closing a WebSocket of  with code 1009"]

        trio.run(main)

    @pytest.mark.req("EIO4-46")
    @pytest.mark.parametrize("size", [100, 125, 126, 127, 65535, 65536])
    def test_the_limit_itself_is_accepted(self, size: int) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames(max_bytes=size)
                part, rest = b"z" * 50, b"z" * (size - 50)
                await end.peer.send(make_frame(TEXT, b"x" * size) + make_frame(BINARY, b"y" * size))
                await end.peer.send(
                    make_frame(TEXT, part, fin=False) + make_frame(CONTINUATION, rest)
                )
                await end.peer.send(make_frame(TEXT, b"again"))
                assert end.messages == ["x" * size, b"y" * size, "z" * size, "again"]

        trio.run(main)

    @pytest.mark.req("EIO4-46")
    @trio_test
    async def test_fragments_over_the_limit_together_are_refused(self) -> None:
        async with open_net() as net:
            end = net.frames(max_bytes=100)
            await end.peer.send(
                make_frame(BINARY, b"z" * 60, fin=False)
                + make_frame(CONTINUATION, b"z" * 40, fin=False)
            )
            assert end.lost == []
            await end.peer.send(make_frame(CONTINUATION, b"z"))
            assert end.lost == ["transport error"]
            assert end.peer.read_nowait() == TOO_BIG
            assert end.connection.traffic.packets_in == 0

    @pytest.mark.req("WSP-30")
    @trio_test
    async def test_empty_fragments_are_bounded_too(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(TEXT, b"", fin=False))
            await end.peer.send(make_frame(CONTINUATION, b"", fin=False) * 1023)
            assert end.lost == []
            await end.peer.send(make_frame(CONTINUATION, b""))
            assert end.lost == ["transport error"]
            assert end.peer.read_nowait() == TOO_BIG

    @trio_test
    async def test_as_many_fragments_as_allowed(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(TEXT, b"a", fin=False))
            await end.peer.send(make_frame(CONTINUATION, b"b", fin=False) * 1022)
            await end.peer.send(make_frame(CONTINUATION, b"c") + make_frame(TEXT, b"next"))
            assert end.messages == ["a" + "b" * 1022 + "c", "next"]

    @trio_test
    async def test_what_comes_after_a_refusal_is_neither_kept_nor_handed_over(self) -> None:
        async with open_net() as net:
            end = net.frames(max_bytes=100)
            await end.peer.send(make_frame(TEXT, b"x" * 200) + make_frame(TEXT, b"y"))
            for _ in range(10):
                await end.peer.send(make_frame(TEXT, b"y") * 1000)
            assert end.messages == []
            assert end.receiver._rest is None

    def test_single_bytes_of_a_large_frame_cost_no_more_than_in_proportion(self) -> None:
        async def measure(size: int) -> float:
            async with open_net() as net:
                end = net.frames(max_bytes=1 << 21)
                frame = make_frame(TEXT, b"x" * size)
                receive = end.receiver.receive_data
                began = time.process_time()
                for at in range(len(frame)):
                    receive(frame[at : at + 1])
                took = time.process_time() - began
                assert end.messages == ["x" * size]
                return took

        small = trio.run(measure, 1 << 17)
        large = trio.run(measure, 1 << 20)
        assert large < small * 8 * 3, f"{small:.3f} s for 128 KiB, {large:.3f} s for 1 MiB"

    def test_pieces_of_a_large_frame_are_looked_at_once(self) -> None:
        """The whole is copied when it is whole, not with every piece."""

        async def main() -> None:
            async with open_net() as net:
                end = net.frames(max_bytes=1 << 21)
                frame = make_frame(BINARY, bytes(1 << 20))
                cuts: list[int] = []

                class Watched(FrameReceiver):
                    __slots__ = ()

                    def _cut(self, data: bytes) -> None:
                        cuts.append(len(data))
                        super()._cut(data)

                watched = Watched(
                    end.connection, 1 << 21, lambda _: None, end.messages.append, end.lost.append
                )
                for at in range(0, len(frame), 1000):
                    watched.receive_data(frame[at : at + 1000])
                assert cuts == [1000, len(frame)]
                assert end.messages == [bytes(1 << 20)]

        trio.run(main)


class TestCounting:
    @trio_test
    async def test_each_message_is_counted_once_whatever_its_frames(self) -> None:
        async with open_net() as net:
            end = net.frames()
            counted: list[int] = []
            for frames in (
                make_frame(TEXT, b"one") + make_frame(BINARY, b"two"),
                make_frame(PING, b"p") + make_frame(PONG, b""),
                make_frame(TEXT, b"a", fin=False) + make_frame(PING, b"p"),
                make_frame(CONTINUATION, b"b", fin=False),
                make_frame(CONTINUATION, b"c") + make_frame(TEXT, b"next"),
                make_frame(TEXT, b"x" * 200) + make_frame(TEXT, b"y" * 70_000),
            ):
                await end.peer.send(frames)
                counted.append(end.connection.traffic.packets_in)
            assert counted == [2, 2, 2, 2, 4, 6]
            assert len(end.messages) == 6

    @pytest.mark.parametrize("payload", [b"", struct.pack("!H", 1000), b"\x03\xe8bye"])
    def test_a_close_is_no_message(self, payload: bytes) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames()
                await end.peer.send(make_frame(TEXT, b"one") + make_frame(CLOSE, payload))
                assert end.lost == ["transport close"]
                assert end.connection.traffic.packets_in == 1

        trio.run(main)


class TestHolding:
    @pytest.mark.parametrize("paused", [True, False])
    def test_a_receiver_that_is_held_is_not_read(self, paused: bool) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames()
                if paused:
                    end.receiver.pause(PAUSE_S)
                else:
                    end.receiver.hold()
                await end.peer.send(make_frame(TEXT, b"held"))
                readings = [end.connection.reading]
                assert end.messages == []
                end.receiver.resume()
                await settle()
                assert [*readings, end.connection.reading] == [PAUSED if paused else HELD, ON]
                assert end.messages == ["held"]

        trio.run(main)

    @trio_test
    async def test_bytes_that_come_all_the_same_are_kept(self) -> None:
        """TLS hands over all records of a read."""
        async with open_net() as net:
            end = net.frames()
            end.receiver.pause(PAUSE_S)
            for text in (b"one", b"two"):
                end.receiver.receive_data(make_frame(TEXT, text))
            await settle()
            assert end.messages == []
            end.receiver.resume()
            end.receiver.resume()
            readings = [end.connection.reading]  # what has come already is first
            await settle()
            assert end.messages == ["one", "two"]
            assert [*readings, end.connection.reading] == [HELD, ON]
            assert net.poller.failures == 0

    @pytest.mark.parametrize("reading", [PAUSED, HELD])
    def test_no_message_is_handed_over_meanwhile(self, reading: Reading) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames()

                def stop() -> None:
                    if reading is PAUSED:
                        end.receiver.pause(PAUSE_S)
                    else:
                        end.receiver.hold()

                stop_after(end, 1, stop)
                await end.peer.send(make_frame(TEXT, b"x") * 3)
                assert end.messages == ["x"]
                end.receiver.resume()
                stop()  # before the turn in which more would be handed over
                await settle()
                assert end.messages == ["x"]
                assert end.connection.reading is reading
                end.receiver.resume()
                await settle()
                assert end.messages == ["x"] * 3

        trio.run(main)

    @trio_test
    async def test_a_pause_in_a_later_turn_of_a_read(self) -> None:
        async with open_net() as net:
            end = net.frames()
            stop_after(end, 100, lambda: end.receiver.pause(PAUSE_S))
            await end.peer.send(make_frame(TEXT, b"x") * 200)
            assert len(end.messages) == 100
            readings = [end.connection.reading]
            end.receiver.resume()
            await settle()
            assert len(end.messages) == 200
            assert [*readings, end.connection.reading] == [PAUSED, ON]

    @trio_test
    async def test_a_pause_within_a_frame(self) -> None:
        async with open_net() as net:
            end = net.frames()
            frame = make_frame(TEXT, b"x" * 1000)
            await end.peer.send(frame[:500])
            end.receiver.pause(PAUSE_S)
            end.receiver.resume()
            await settle()
            assert end.connection.reading is ON
            await end.peer.send(frame[500:])
            assert end.messages == ["x" * 1000]


def stop_after(end: FrameEnd, count: int, stop: Callable[[], None]) -> None:
    """Have the handler of so many texts stop the reading."""

    def take(text: bytes) -> None:
        end.messages.append(text.decode())
        if len(end.messages) == count:
            stop()

    end.receiver.set_handlers(take, end.messages.append, end.lost.append)


class TestIdle:
    @trio_test
    async def test_no_wsproto_object_lives_while_no_message_is_open(self) -> None:
        async with open_net() as net:
            end = net.frames()
            alive: list[bool] = []
            for frames in (
                make_frame(TEXT, b"fast") + make_frame(PING, b"p"),
                make_frame(TEXT, b"op", fin=False),
                make_frame(PING, b"p"),
                make_frame(CONTINUATION, b"en"),
            ):
                await end.peer.send(frames)
                alive.append(end.receiver._open is not None)
            assert alive == [False, True, True, False]
            assert end.messages == ["fast", "open"]

    @trio_test
    async def test_nothing_is_buffered_between_frames(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(TEXT, b"x" * 10_000))
            assert end.receiver._rest is None


class TestSpreading:
    @trio_test
    async def test_thousands_of_frames_in_one_read_are_spread_over_turns(self) -> None:
        async with open_net() as net:
            end = net.frames()
            turns: list[int] = []
            count_per_turn(net, end, turns)
            frames = [make_frame(TEXT, b"%d" % n) for n in range(5000)]
            end.peer.send_nowait(b"".join(frames))
            await settle()
            assert end.messages == [str(n) for n in range(5000)]
            assert max(turns) <= MESSAGES_PER_TURN
            assert end.receiver._rest is None
            await end.peer.send(make_frame(TEXT, b"reading goes on"))
            assert end.messages[-1] == "reading goes on"

    @trio_test
    async def test_messages_that_take_long_have_a_turn_each(self) -> None:
        async with open_net() as net:
            end = net.frames()
            turns: list[float] = []

            def take(text: bytes) -> None:
                turns.append(net.poller.turn_ends)
                end.messages.append(text.decode())
                while time.perf_counter() < net.poller.turn_ends:
                    pass

            end.receiver.set_handlers(take, end.messages.append, end.lost.append)
            await end.peer.send(b"".join(make_frame(TEXT, b"%d" % n) for n in range(20)))
            assert end.messages == [str(n) for n in range(20)]
            assert len(set(turns)) == 20

    @trio_test
    async def test_no_more_is_read_while_frames_wait_for_their_turn(self) -> None:
        async with open_net() as net:
            end = net.frames()
            left: list[int] = []

            def look() -> None:  # after the batch, when what waits has been put aside
                left.append(len(end.receiver._rest or b""))

            def take(text: bytes) -> None:
                end.messages.append(text.decode())
                if len(end.messages) % 50 == 0:
                    net.poller.defer(look)

            end.receiver.set_handlers(take, end.messages.append, end.lost.append)
            await end.peer.send(make_frame(TEXT, b"x") * 60_000)
            assert len(end.messages) == 60_000
            assert 0 < max(left) <= READ_BYTES

    @trio_test
    async def test_control_frames_are_spread_too(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(PING, b"z") * 3000)
            assert await end.peer.read() == encode_frame(0x8A, b"z") * 3000

    @pytest.mark.parametrize(
        "frames",
        [
            [make_frame(TEXT, b"x")] * 63 + [make_frame(TEXT, b"last")],
            [make_frame(PING, b"x")] * 63 + [make_frame(TEXT, b"last")],
            [make_frame(TEXT, b"", fin=False)]
            + [make_frame(CONTINUATION, b"", fin=False)] * 62
            + [make_frame(CONTINUATION, b"last")],
        ],
        ids=["messages", "pings", "fragments"],
    )
    def test_a_turn_has_64_frames(self, frames: list[bytes]) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames()
                net.poller.turn_ends = inf
                end.receiver.receive_data(b"".join(frames) + make_frame(TEXT, b"next"))
                assert end.messages[-1] == "last"
                await settle()
                assert end.messages[-2:] == ["last", "next"]

        trio.run(main)

    @trio_test
    async def test_frames_wait_for_their_turn_behind_one_that_has_come_in_parts(self) -> None:
        async with open_net() as net:
            end = net.frames()
            frame = make_frame(TEXT, b"x" * 1000)
            await end.peer.send(make_frame(TEXT, b"y") + frame[:500])
            await end.peer.send(frame[500:] + make_frame(TEXT, b"z") * 100)
            assert end.messages == ["y", "x" * 1000, *["z"] * 100]

    @trio_test
    async def test_others_are_not_kept_waiting_by_a_flood(self) -> None:
        async with open_net() as net:
            ends = [net.frames() for _ in range(200)]
            flood_bytes = make_frame(TEXT, b"x") * 500

            def flood() -> None:
                for end in ends:
                    end.messages.clear()
                    end.peer.sock.send(flood_bytes)

            assert await measure_lateness(flood, rounds=7) < LATE_S

    @given(
        sizes=st.lists(st.integers(0, 300), min_size=1, max_size=300),
        cuts=st.lists(st.integers(1, 5000), max_size=10),
        pauses=st.sets(st.integers(0, 300), max_size=10),
    )
    @settings(max_examples=examples(40), deadline=None)
    def test_pausing_anywhere_loses_nothing_and_keeps_the_order(
        self, sizes: list[int], cuts: list[int], pauses: set[int]
    ) -> None:
        expected = [f"{number}:" + "x" * size for number, size in enumerate(sizes)]
        stream = b"".join(make_frame(TEXT, text.encode()) for text in expected)

        async def main() -> None:
            async with open_net() as net:
                end = net.frames()
                receiver = end.receiver
                while_paused: list[int] = []

                def take(text: bytes) -> None:
                    assert not receiver._stopped, "handed over while paused"
                    end.messages.append(text.decode())
                    if len(end.messages) in pauses:
                        receiver.pause(20)
                        while_paused.append(len(end.messages))

                receiver.set_handlers(take, end.messages.append, end.lost.append)
                at = 0
                for cut in [*cuts, len(stream)]:
                    if stream[at : at + cut]:
                        await end.peer.send(stream[at : at + cut])
                    at += cut
                    while receiver._stopped:
                        assert len(end.messages) == while_paused[-1]
                        receiver.resume()
                        await settle()
                assert end.messages == expected
                assert net.poller.failures == 0

        trio.run(main)

    @trio_test
    async def test_pausing_and_resuming_at_once_hands_nothing_over_from_inside(self) -> None:
        async with open_net() as net:
            end = net.frames()
            inside = False

            def take(text: bytes) -> None:
                nonlocal inside
                assert not inside, "handed over from within a handler"
                inside = True
                end.receiver.pause(20)
                end.receiver.resume()
                end.messages.append(text.decode())
                inside = False

            end.receiver.set_handlers(take, end.messages.append, end.lost.append)
            await end.peer.send(b"".join(make_frame(TEXT, b"%d" % n) for n in range(200)))
            assert end.messages == [str(n) for n in range(200)]


class TestEnding:
    @pytest.mark.req("WSP-23")
    @pytest.mark.parametrize("reason", [b"", b"bye"])
    @trio_test
    async def test_a_peer_that_has_closed_is_not_waited_for(self, reason: bytes) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(0x8, (1000).to_bytes(2, "big") + reason))
            assert end.lost == ["transport close"]
            assert end.connection.fileno() == -1
            assert end.peer.read_nowait() == b"\x88\x02" + (1000).to_bytes(2, "big")
            assert end.peer.eof

    @trio_test
    async def test_nothing_is_handed_over_behind_a_close(self) -> None:
        async with open_net() as net:
            end = net.frames()
            close = make_frame(0x8, (1000).to_bytes(2, "big"))
            await end.peer.send(make_frame(TEXT, b"a") + close + make_frame(TEXT, b"late"))
            assert end.messages == ["a"]

    @pytest.mark.req("WSP-31")
    @trio_test
    async def test_close_sends_its_code_and_tells_nobody(self) -> None:
        async with open_net() as net:
            end = net.frames()
            end.receiver.close(1001)
            end.receiver.close(1002)
            await end.peer.send(make_frame(TEXT, b"late"))
            assert end.peer.read_nowait() == b"\x88\x02" + struct.pack("!H", 1001)
            assert end.peer.eof
            end.peer.close()
            await settle()
            assert end.lost == []
            assert end.messages == []

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    @pytest.mark.parametrize("fragmented", [False, True])
    def test_closing_in_a_handler_stops_at_that_message(
        self, opcode: int, fragmented: bool
    ) -> None:
        async def main() -> None:
            async with open_net() as net:
                end = net.frames()

                def take(message: bytes) -> None:
                    end.messages.append(message)
                    end.receiver.close(1000)

                end.receiver.set_handlers(take, take, end.lost.append)
                parts = (
                    [make_frame(opcode, b"a", fin=False), make_frame(CONTINUATION, b"b")]
                    if fragmented
                    else [make_frame(opcode, b"ab")]
                )
                await end.peer.send(b"".join(parts) + make_frame(TEXT, b"more") * 3)
                assert end.messages == [b"ab"]
                assert end.lost == []
                assert net.poller.failures == 0

        trio.run(main)

    @trio_test
    async def test_a_hang_up_in_the_middle_of_a_frame(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(TEXT, b"whole") + make_frame(TEXT, b"cut")[:-1])
            end.peer.close()
            await settle()
            assert end.messages == ["whole"]
            assert end.lost == ["transport close"]

    @trio_test
    async def test_a_close_frame_ends_as_a_transport_close(self) -> None:
        async with open_net() as net:
            end = net.frames()
            await end.peer.send(make_frame(0x8, struct.pack("!H", 1001) + b"bye"))
            assert end.lost == ["transport close"]
            assert end.peer.read_nowait() == b"\x88\x02" + struct.pack("!H", 1001)

    @pytest.mark.req("RUN-44")
    @pytest.mark.parametrize("how", ["close", "sever", "the peer closes", "the peer is gone"])
    def test_nothing_is_held_once_it_has_ended(self, how: str) -> None:
        class Owner:
            def take(self, _: bytes) -> None:
                """Once there is a message."""

            def lose(self, _: str) -> None:
                """Once the connection is lost."""

        async def main() -> None:
            async with open_net() as net:
                end = net.frames()
                owner = Owner()
                end.receiver.set_handlers(owner.take, owner.take, owner.lose)
                held = weakref.ref(owner)
                del owner
                await end.peer.send(make_frame(TEXT, b"x" * 100)[:50])
                assert held() is not None
                assert end.receiver._rest is not None
                if how == "close":
                    end.receiver.close(1000)
                elif how == "sever":
                    end.receiver.sever(1012)
                elif how == "the peer closes":
                    await end.peer.send(b"x" * 56 + make_frame(CLOSE, b""))
                else:
                    end.peer.close()
                    await settle()
                assert held() is None
                assert end.receiver._rest is None

        trio.run(main)

    @trio_test
    async def test_what_has_ended_cannot_be_severed(self) -> None:
        async with open_net() as net:
            end = net.frames()
            end.connection.write(encode_frame(0x81, b"answer"))
            end.receiver.close(1000)
            assert end.receiver.sever(1012) == 0
            assert await end.peer.read() == encode_frame(0x81, b"answer") + b"\x88\x02\x03\xe8"

    @trio_test
    async def test_nothing_is_handed_over_once_a_handler_has_lost_the_connection(self) -> None:
        async with open_net() as net:
            end = net.frames()

            def take(text: bytes) -> None:
                end.messages.append(text)
                end.connection.lose("overload")

            end.receiver.set_handlers(take, take, end.lost.append)
            await end.peer.send(make_frame(TEXT, b"one") + make_frame(TEXT, b"two") * 2)
            assert (end.messages, end.lost) == ([b"one"], ["overload"])
            assert end.receiver._rest is None

    @trio_test
    async def test_handlers_that_fail_close_only_their_own(self) -> None:
        async with open_net() as net:
            broken, fine = net.frames(), net.frames()
            broken.receiver.set_handlers(fail, fail, broken.lost.append)
            await broken.peer.send(make_frame(TEXT, b"x"))
            await fine.peer.send(make_frame(TEXT, b"y"))
            assert broken.lost == ["transport error"]
            assert fine.messages == ["y"]
            assert net.poller.failures == 1


def fail(_: bytes) -> None:
    raise ValueError("a defect")


def count_per_turn(net: Net, end: FrameEnd, turns: list[int]) -> None:
    """Note how many messages each turn hands over."""
    ended = True

    def end_turn() -> None:
        nonlocal ended
        ended = True

    def take(text: bytes) -> None:
        nonlocal ended
        if ended:
            ended = False
            turns.append(0)
            net.poller.defer(end_turn)
        turns[-1] += 1
        end.messages.append(text.decode())

    end.receiver.set_handlers(take, end.messages.append, end.lost.append)


@trio_test
async def test_what_came_before_a_hang_up_is_handed_over_however_much_it_is() -> None:
    async with open_net() as net:
        end = net.frames()
        sent = 3 * MESSAGES_PER_TURN + 1
        end.peer.send_nowait(b"\x81\x81\0\0\0\0x" * sent)
        end.peer.close()
        with trio.fail_after(5):
            while not end.lost:  # noqa: ASYNC110 - the kernel sets no event
                await trio.sleep(0.002)
        assert end.messages == ["x"] * sent
        assert end.lost == ["transport close"]
