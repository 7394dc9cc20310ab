"""The log of packets against a list."""

from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.engine_packet import Outgoing
from trio_socketio.socketio.packet_log import PacketLog

ROOMS = ["a", "b", "c"]
steps = st.lists(
    st.tuples(
        st.lists(st.sampled_from(ROOMS), max_size=3),  # destinations
        st.integers(0, 40),  # bytes
        st.integers(0, 20),  # seconds since the last
    ),
    max_size=60,
)


@given(
    steps,
    st.integers(1, 10),
    st.integers(1, 100),
    st.integers(1, 50),
    st.lists(st.sampled_from(ROOMS), max_size=3),
)
def test_it_is_the_end_of_a_list(
    steps: list[tuple[list[str], int, int]],
    max_packets: int,
    max_bytes: int,
    keep_s: int,
    wanted: list[str],
) -> None:
    log = PacketLog(max_packets, max_bytes, keep_s)
    kept: list[tuple[int, float, int, list[str]]] = []
    now = 0.0
    dropped, dropped_at = 0, -1.0
    for number, (rooms, size, pause_s) in enumerate(steps, 1):
        now += pause_s
        log.add(Outgoing(b"x" * size), [(room,) for room in rooms], (), (), now)
        kept.append((number, now, size, rooms))
        while kept and (
            kept[0][1] + keep_s <= now
            or len(kept) > max_packets
            or sum(entry[2] for entry in kept) > max_bytes
        ):
            dropped, dropped_at, *_ = kept.pop(0)
        assert (log.last, log.dropped, len(log)) == (number, dropped, len(kept))
        assert log.next_deadline() > now
        assert log.byte_count == sum(entry[2] for entry in kept)
        for after in range(number + 1):
            found = log.find(after, [(room,) for room in wanted])
            assert found is not None
            if found:
                assert log.find(after, [(room,) for room in wanted], len(found) - 1) is None
            assert log.find(after, [(room,) for room in wanted], len(found)) == found
            assert [logged.number for logged in found] == [
                entry[0] for entry in kept if entry[0] > after and set(entry[3]) & set(wanted)
            ]
        for time in range(0, int(now) + 2, 5):
            before = [entry[0] for entry in kept if entry[1] <= time]
            assert log.position_at(time) == (
                (before[-1] if before else dropped) if time >= dropped_at else 0
            )


def test_what_was_dropped_costs_no_memory() -> None:
    log = PacketLog(10, 1000, 1000.0)
    for number in range(10_000):
        log.add(Outgoing(b"x"), [(f"room {number}",)], (), (), 0.0)
    assert len(log) == 10
    assert len(log._packets) < 3000
    assert len(log._by_destination) == 10


def test_only_its_own_offsets_mean_something() -> None:
    log, other = PacketLog(10, 1000, 1000.0), PacketLog(10, 1000, 1000.0)
    assert log.number_of(log.offset(7)) == 7
    for offset in (
        None,
        "",
        "7",
        other.offset(7),
        log.offset(7) + "a",
        log.offset(-7),
        log.offset(10**17),
        log.offset(7) + "\n",
        log.offset(7).replace("7", "٧"),
    ):
        assert log.number_of(offset) == 0
