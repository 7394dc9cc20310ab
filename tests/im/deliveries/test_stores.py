"""One test of a model for every store of deliveries, and what is peculiar to each of them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.im.deliveries.stores import (
    BOUNDS,
    KINDS,
    new_record,
    open_shared,
    open_sqlite,
    open_store,
)
from tests.im.deliveries.world import make_place
from tests.redis_server import RedisServer
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.errors import ControlError, StorageUnavailable
from trio_socketio.im.deliveries import keeping
from trio_socketio.im.deliveries.ledger import Ledger
from trio_socketio.im.deliveries.memory import MemoryDeliveries
from trio_socketio.im.deliveries.record import Answer, Key, Record
from trio_socketio.im.deliveries.store import (
    Bounds,
    DeliveriesUnavailable,
    DeliveryStore,
    Full,
)

IDS = ("a", "b", "c", "d", "e", "f", "ü", "z" * 60)
USERS = ("ann", "bob", "ünïcode user")
WIDE = Bounds(open=1000, size=1 << 20, reports=1000, keep_s=100.0)

Step = tuple[str, str, Any]

ids = st.sampled_from(IDS)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.sampled_from(IDS), st.sets(st.sampled_from(USERS), min_size=1)
        ),
        st.tuples(st.just("big"), st.sampled_from(IDS), st.integers(1000, 6000)),
        st.tuples(st.just("confirm"), st.sampled_from(IDS), st.sampled_from(USERS)),
        st.tuples(st.just("end"), st.sampled_from(IDS), st.none()),
        st.tuples(st.just("sweep"), st.just(""), st.integers(0, 120)),
    ),
    max_size=30,
)


class Model:
    """What a store has to hold: two dicts, and no thought of speed."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.ended: list[Key] = []

    @property
    def size(self) -> int:
        return sum(one.size + len(one.args) for one in self.records.values())

    def add(self, record: Record) -> bool:
        key = record.head.key
        if key in self.records or len(self.records) - len(self.ended) >= BOUNDS.open:
            return False
        while self.ended and self.size + record.size + len(record.args) > BOUNDS.size:
            del self.records[self.ended.pop(0)]
        if self.size + record.size + len(record.args) > BOUNDS.size:
            return False
        self.records[key] = record
        return True

    def confirm(self, key: Key, user: str, now: float) -> None:
        record = self.records.get(key)
        if record is not None and record.ended_at is None and user in record.users:
            confirmed = {user: now, **record.confirmed}
            self.records[key] = record._replace(confirmed=confirmed)
            if len(confirmed) == len(record.users):
                self.end(key, now)

    def end(self, key: Key, now: float) -> None:
        record = self.records.get(key)
        if record is not None and record.ended_at is None:
            self.records[key] = record._replace(args=b"", ended_at=now)
            self.ended.append(key)

    def sweep(self, now: float) -> None:
        for key in tuple(self.ended):
            is_old = (self.records[key].ended_at or 0) <= now - BOUNDS.keep_s
            if is_old or len(self.ended) > BOUNDS.reports:
                self.ended.remove(key)
                del self.records[key]


async def play(store: DeliveryStore, script: list[Step]) -> None:
    """Take each step in the store and in the model, and compare the two."""
    model, now = Model(), 1000.0
    await store.take(now)
    for what, name, value in script:
        now += 1.0  # two deliveries never end at the same time
        key = Key("/chat", name)
        if what in ("add", "big"):
            users = tuple(sorted(value)) if what == "add" else ("ann",)
            args = b"[]" if what == "add" else b"[%b]" % (b"1" * value)
            record = new_record(name, users, args)
            record = record._replace(head=replace(record.head, expires_at=1e6))
            known = model.records.get(key)
            was_added = model.add(record)
            found = await store.add(record, now)
            if was_added:
                assert found is None
            elif known is not None:
                assert found == known
            else:
                assert isinstance(found, Full)
        elif what == "confirm":
            known = model.records.get(key)
            if known is None or value in known.users:  # the service lets no others through
                model.confirm(key, value, now)
                await store.confirm([Answer(key, value, now)])
        elif what == "end":
            model.end(key, now)
            await store.end([key], now)
        else:
            now += value
            model.sweep(now)
            taken = await store.take(now)
            assert taken.records == []
            assert (taken.open, taken.ended) == (
                len(model.records) - len(model.ended),
                len(model.ended),
            )
            assert taken.size == model.size
        for one in IDS:
            assert await store.get(Key("/chat", one)) == model.records.get(Key("/chat", one))
    lines = await store.page("/chat", "", 100)
    assert [(line.head, line.confirmed, line.ended_at, line.outcome) for line in lines] == [
        (one.head, len(one.confirmed), one.ended_at, one.outcome)
        for _, one in sorted(model.records.items())
    ]
    assert await store.page("/chat", "b", 2) == [line for line in lines if line.head.id > "b"][:2]
    assert await store.page("/cha", "", 100) == []


@pytest.fixture(scope="module")
def prefixes() -> Iterator[str]:
    return (f"p{number}" for number in range(10**9))


@pytest.mark.req("DELIV-10", "DELIV-11", "DELIV-12", "DELIV-13")
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=steps)
def test_every_store_does_what_the_model_does(
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    shared_redis: RedisServer,
    prefixes: Iterator[str],
    script: list[Step],
) -> None:
    async def run() -> None:
        if kind == "memory":
            await play(MemoryDeliveries(BOUNDS), script)
        elif kind == "sqlite":
            async with open_sqlite(tmp_path_factory.mktemp("state")) as store:
                await play(store, script)
        else:
            async with open_shared(shared_redis, prefix=next(prefixes), lease_s=60.0) as shared:
                await play(shared, script)

    trio.run(run)


@pytest.mark.req("DELIV-12")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_what_does_not_fit_is_refused(
    kind: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    async with open_store(kind, tmp_path, redis_server) as store:
        await store.take(1000.0)
        large = new_record("large", ("ann",), b"[%b]" % (b"1" * BOUNDS.size))
        found = await store.add(large, 1000.0)
        assert isinstance(found, Full)
        assert "max_bytes" in found.what
        for number in range(BOUNDS.open):
            assert await store.add(new_record(str(number), ("ann",), b"[]"), 1000.0) is None
        found = await store.add(new_record("late", ("ann",), b"[]"), 1000.0)
        assert isinstance(found, Full)
        assert "max_open" in found.what


@pytest.mark.req("DELIV-29")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_users_leave_a_part_to_the_backend(
    kind: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    bounds = BOUNDS._replace(open=8)
    async with open_store(kind, tmp_path, redis_server, bounds) as store:
        await store.take(1000.0)
        large = b"[%b]" % (b"1" * (BOUNDS.size - BOUNDS.size // 4))
        found = await store.add(new_record("large", ("ann",), large, "eve"), 1000.0)
        assert isinstance(found, Full)
        assert await store.add(new_record("large", ("ann",), large), 1000.0) is None
        await store.end([Key("/chat", "large")], 1000.0)
        for number in range(6):
            one = new_record(str(number), ("ann",), b"[]", f"user{number}")
            assert await store.add(one, 1000.0) is None
        found = await store.add(new_record("late", ("ann",), b"[]", "eve"), 1000.0)
        assert isinstance(found, Full)
        for number in range(6, 8):
            assert await store.add(new_record(str(number), ("ann",), b"[]"), 1000.0) is None


@pytest.mark.req("DELIV-05")
@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_nothing_changes_after_the_end(
    kind: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    async with open_store(kind, tmp_path, redis_server) as store:
        await store.take(1000.0)
        key, over = Key("/chat", "a"), Key("/chat", "b")
        for name in ("a", "b"):
            await store.add(new_record(name), 1000.0)
        for at in (1001.0, 1002.0):
            await store.confirm([Answer(key, "ann", at)])
        await store.end([key], 1003.0)
        await store.confirm([Answer(over, user, 1004.0) for user in ("ann", "bob")])
        for late in (key, over):
            await store.confirm([Answer(late, user, 1005.0) for user in ("ann", "bob")])
            await store.end([late], 1006.0)
        found, all_have = await store.get(key), await store.get(over)
        assert found is not None
        assert (found.confirmed, found.ended_at) == ({"ann": 1001.0}, 1003.0)
        assert all_have is not None
        assert (all_have.confirmed, all_have.ended_at) == ({"ann": 1004.0, "bob": 1004.0}, 1004.0)
        assert (await store.take(1007.0))[:4] == ([], False, 0, 2)


@pytest.mark.req("DELIV-19")
@trio_test
async def test_all_confirmations_are_written_before_any_end() -> None:
    store = MemoryDeliveries(WIDE)
    ledger = Ledger(store, lambda: 3.0)
    users = tuple(f"u{number}" for number in range(2500))
    await store.add(new_record("large", (*users, "away")), 0.0)
    await store.add(new_record("small", ("ann", "away")), 0.0)
    for user in users:
        ledger.note(Answer(Key("/chat", "large"), user, 1.0))
    ledger.note(Answer(Key("/chat", "small"), "ann", 2.0))
    ledger.end(Key("/chat", "small"))
    await ledger.flush()
    found = await store.get(Key("/chat", "small"))
    assert found is not None
    assert (found.outcome, found.confirmed) == ("expired", {"ann": 2.0})


@pytest.mark.req("DELIV-14")
@trio_test
async def test_a_restarted_node_goes_on_with_what_its_file_holds(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as store:
        await store.take(1000.0)
        for name in ("a", "b", "c"):
            assert await store.add(new_record(name), 1000.0) is None
        await store.confirm([Answer(Key("/chat", "a"), "ann", 1001.0)])
        await store.end([Key("/chat", "b")], 1002.0)
        assert (await store.take(1003.0)).records == []
    async with open_sqlite(tmp_path) as store:
        assert await store.add(new_record("d"), 1004.0) is None  # before it has looked
        taken = await store.take(1004.0)
        first, second = taken.records
        assert (first.head.id, first.confirmed) == ("a", {"ann": 1001.0})
        assert (second.head.id, second.args) == ("c", b'[{"text":"hello"}]')
        assert (taken.open, taken.ended) == (3, 1)
        assert (await store.take(1005.0)).records == []


@pytest.mark.req("DELIV-15")
@trio_test
async def test_another_node_takes_what_a_lost_one_attended_to(redis_server: RedisServer) -> None:
    async with open_shared(redis_server) as lost, open_shared(redis_server) as other:
        await lost.take(1000.0)
        await other.take(1000.0)
        assert await lost.add(new_record("a"), 1000.0) is None
        assert await other.add(new_record("b"), 1000.0) is None
        for _ in range(4):
            await trio.sleep(0.1)
            assert (await other.take(1001.0)).records == []
            assert not (await lost.take(1001.0)).was_lost
        with trio.fail_after(5):
            taken = await other.take(1001.0)
            while not taken.records:
                await trio.sleep(0.05)
                taken = await other.take(1001.0)
        assert [one.head.id for one in taken.records] == ["a"]
        found = await lost.take(1002.0)  # it has only stood still
        assert found.was_lost
        assert found.records == []
        assert (await other.take(1002.0)).records == []


@pytest.mark.req("DELIV-15")
@trio_test
async def test_a_node_that_ends_leaves_its_deliveries_at_once(redis_server: RedisServer) -> None:
    async with (
        open_shared(redis_server, WIDE, lease_s=60.0) as ends,
        open_shared(redis_server, WIDE, lease_s=60.0) as other,
    ):
        await ends.take(1000.0)
        await other.take(1000.0)
        for number in range(150):
            await ends.add(new_record(str(number)), 1000.0)
        await ends.release()
        found = [*(await other.take(1001.0)).records, *(await other.take(1001.0)).records]
        assert len({one.head.id for one in found}) == 150


@pytest.mark.req("DELIV-47")
@trio_test
async def test_a_node_takes_a_bounded_number_of_users_at_a_time(redis_server: RedisServer) -> None:
    bounds = Bounds(open=100, size=1 << 24, reports=100, keep_s=100.0)
    many = tuple(f"user {number}" for number in range(900))
    async with (
        open_shared(redis_server, bounds, lease_s=60.0) as ends,
        open_shared(redis_server, bounds, lease_s=60.0) as other,
    ):
        await ends.take(1000.0)
        await other.take(1000.0)
        for name, users in ("a", many), ("b", many), ("c", many), ("d", many * 3), ("e", ("ann",)):
            assert await ends.add(new_record(name, users), 1000.0) is None
        confirmed = dict.fromkeys(many[:500], 1001.0)
        await ends.confirm([Answer(Key("/chat", "a"), *pair) for pair in confirmed.items()])
        await ends.release()
        taken = [(await other.take(1002.0)).records for _ in range(5)]
        assert [[one.head.id for one in some] for some in taken] == [
            *(["a", "b"], ["c"], ["d"], ["e"]),
            [],
        ]
        assert taken[0][0].confirmed == confirmed


@pytest.mark.req("DELIV-47")
@trio_test
async def test_confirmations_are_forgotten_with_their_report(redis_server: RedisServer) -> None:
    async with open_shared(redis_server, lease_s=60.0) as store:
        await store.take(1000.0)
        await store.add(new_record("a"), 1000.0)
        await store.confirm([Answer(Key("/chat", "a"), "ann", 1001.0)])
        assert redis_server.command("KEYS", "test:{deliveries}:confirmed:*")
        await store.end([Key("/chat", "a")], 1002.0)
        assert (await store.take(2000.0)).ended == 0
        assert sorted(redis_server.command("KEYS", "test:*")) == [
            b"test:{deliveries}:leases",
            b"test:{deliveries}:totals",
        ]


@pytest.mark.req("DELIV-48")
@trio_test
async def test_redis_hands_out_what_has_expired_long_ago(redis_server: RedisServer) -> None:
    async with open_shared(redis_server, lease_s=60.0) as store:
        await store.take(1000.0)
        for name in ("a", "b"):
            await store.add(new_record(name), 1000.0)
        await store.end([Key("/chat", "b")], 1030.0)
        assert (await store.take(1329.0)).records == []
        for now in (1331.0, 1632.0):
            assert [one.head.id for one in (await store.take(now)).records] == ["a"]
            assert (await store.take(now + 1)).records == []
        await store.end([Key("/chat", "a")], 1640.0)
        assert (await store.take(9999.0)).records == []


@pytest.mark.req("DELIV-48")
@trio_test
async def test_a_file_hands_out_what_was_written_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_sqlite(tmp_path) as store:
        await store.take(1000.0)
        await store.add(new_record("a"), 1000.0)
        write = store._database.write

        async def fail(function: Any) -> None:
            await write(function)
            raise StorageUnavailable("the disk has not answered", is_unsure=True)

        with monkeypatch.context() as patch:
            patch.setattr(store._database, "write", fail)
            with pytest.raises(DeliveriesUnavailable):
                await store.add(new_record("b"), 1000.0)
        await store.add(new_record("c"), 1000.0)
        found = [one.head.id for one in (await store.take(1001.0)).records]
        assert "b" in found
        assert "c" not in found
        assert (await store.take(1002.0)).records == []


@trio_test
async def test_a_node_without_a_lease_takes_nothing_on(redis_server: RedisServer) -> None:
    async with open_shared(redis_server) as store:
        with pytest.raises(DeliveriesUnavailable, match="not known to Redis yet"):
            await store.add(new_record(), 1000.0)
        assert await store.get(Key("/chat", "a")) is None


@trio_test
async def test_a_store_that_is_away_says_so(tmp_path: Path, redis_server: RedisServer) -> None:
    async with open_sqlite(tmp_path) as store:
        pass
    with pytest.raises(DeliveriesUnavailable, match="not open"):
        await store.get(Key("/chat", "a"))
    with pytest.raises(DeliveriesUnavailable, match="not open"):
        await store.end([Key("/chat", "a")], 0.0)
    async with open_shared(redis_server) as shared:
        pass
    with pytest.raises(DeliveriesUnavailable, match="there is no connection"):
        await shared.get(Key("/chat", "a"))


@pytest.mark.req("DELIV-51")
@trio_test
async def test_redis_without_memory_is_told_from_one_that_does_not_answer(
    redis_server: RedisServer,
) -> None:
    async with open_shared(redis_server, WIDE) as store, trio.open_nursery() as tasks:
        place = make_place(Server(), store, store)
        await tasks.start(place.deliveries.run)
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ControlError) as caught:
            await place.deliver("ann")
        assert caught.value.message == (
            "nothing was sent, because the message cannot be kept: Redis is out of memory: raise "
            "maxmemory, or free some (OOM command not allowed when used memory > 'maxmemory')"
        )
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        assert (await place.deliver("ann")).is_new
        tasks.cancel_scope.cancel()


@pytest.mark.req("DELIV-17", "DELIV-52")
@trio_test
async def test_redis_that_was_wiped_gets_back_what_a_node_attends_to(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_shared(redis_server, WIDE) as store,
        trio.open_nursery() as tasks,
    ):
        place = make_place(Server(), store, store)
        await tasks.start(place.deliveries.run)
        ann = place.come("ann")
        await place.deliver("ann", "bob")
        await until(lambda: bool(ann.take()))
        redis_server.command("FLUSHALL")
        await until(lambda: bool(redis_server.command("ZCARD", "test:{deliveries}:open")))
        await until(lambda: place.deliveries.statistics().attended == 1)
        assert "was emptied, or is an older copy: this node keeps the 1 that" in caplog.text
        ann.acknowledge()
        await until(lambda: bool(redis_server.command("KEYS", "test:{deliveries}:confirmed:*")))
        assert await place.outcome() == ("open", ["ann"])
        tasks.cancel_scope.cancel()


@pytest.mark.req("DELIV-39")
@trio_test
async def test_a_node_without_rights_says_so_once_and_delivers_when_it_may(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "FORBIDDEN_S", 0.02)
    caplog.set_level(logging.INFO)
    redis_server.command("ACL", "SETUSER", "default", "resetkeys")
    async with open_shared(redis_server, WIDE) as store, trio.open_nursery() as tasks:
        place = make_place(Server(), store, store)
        await tasks.start(place.deliveries.run)
        await trio.sleep(0.2)
        assert caplog.text.count("NOPERM") == 1
        assert "not confirm the delivery of messages: the user of Redis has too" in caplog.text
        with pytest.raises(ControlError, match="NOPERM"):
            await place.deliver("ann")
        redis_server.command("ACL", "SETUSER", "default", "~*")
        await until(lambda: "may use the store of deliveries now" in caplog.text)
        assert (await place.deliver("ann")).is_new
        tasks.cancel_scope.cancel()


@trio_test
async def test_what_cannot_be_read_stops_nothing(
    tmp_path: Path, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    key = Key("/chat", "a")
    async with open_shared(redis_server) as store, open_shared(redis_server) as other:
        await store.take(1000.0)
        for name in ("a", "b"):
            await store.add(new_record(name), 1000.0)
        redis_server.command("HSET", "test:{deliveries}:heads", "/chat\0a", "{}")
        for read in (lambda: store.get(key), lambda: store.page("/chat", "", 9)):
            with pytest.raises(DeliveriesUnavailable, match="this version cannot read"):
                await read()
        await store.release()
        assert [one.head.id for one in (await other.take(1000.0)).records] == ["b"]
        assert "a delivery cannot be taken over" in caplog.text
        redis_server.command("SET", "test:{deliveries}:open", "foreign")
        with pytest.raises(DeliveriesUnavailable, match="WRONGTYPE"):
            await store.end([key], 1000.0)
    caplog.clear()
    async with open_sqlite(tmp_path) as kept:
        for name in ("a", "b"):
            await kept.add(new_record(name), 1000.0)
        await kept._database.write(
            lambda file: file.execute("UPDATE deliveries SET head = x'00' WHERE id = 'a'").rowcount
        )
        with pytest.raises(DeliveriesUnavailable, match="on the disk cannot be read"):
            await kept.get(key)
    async with open_sqlite(tmp_path) as kept:
        assert [one.head.id for one in (await kept.take(1000.0)).records] == ["b"]
        assert "is left there" in caplog.text
