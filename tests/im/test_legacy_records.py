"""The on/off records of the original contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.cli_process import serving
from tests.im.feed_world import Crowd, Restartable
from tests.im.test_presence_webhook import until
from tests.wire import SocketIOClient, open_client
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Step, TcpEndpoint
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import MemoryStore, Presence, StoreUnavailable
from trio_socketio.im.presence import legacy as legacy_module
from trio_socketio.im.presence.legacy import LegacyRecords
from trio_socketio.im.presence.legacy_methods import LegacyMethods
from trio_socketio.protocol.presence_claims import Count
from trio_socketio.runtime.runtime import open_runtime


@asynccontextmanager
async def recording(
    most: int = 100, policy: Any = "newest", store: MemoryStore | None = None
) -> AsyncIterator[tuple[LegacyMethods, LegacyRecords, int]]:
    server = Server(ServerOptions())

    def identify(joining: Joining) -> None:
        joining.identify(joining.auth["user"])

    server.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
    presence = Presence(server, store)
    presence.seat("/chat", policy=policy, maximum=2 if policy == "many" else 1)
    server.of("/open")
    records = LegacyRecords(server, presence, most)
    async with open_runtime() as runtime:
        await runtime.start_service("records", records.run)
        serve = partial(server.serve, runtime=runtime, endpoints=[TcpEndpoint(port=0)])
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(serve)
            yield LegacyMethods(records), records, addresses[0][1]
            server.stop()


async def kinds(methods: LegacyMethods, **asked: Any) -> list[tuple[str, str, str | None]]:
    page = await methods.legacy_list("/chat", **asked)
    return [(one.evtTyp, one.meta.userId, one.clientIp) for one in page.records]


async def until_there(methods: LegacyMethods, number: int) -> None:
    """Wait until there are so many records."""
    with trio.fail_after(10):
        while len(await kinds(methods)) < number:  # noqa: ASYNC110 - on the other side of a socket
            await trio.sleep(0.005)


async def join(client: SocketIOClient, user: str) -> str:
    return await client.connect("/chat", {"user": user, "token": "secret"})


@pytest.mark.req("HOOK-20")
@trio_test
async def test_a_seat_that_moves_is_a_disconnect_and_then_a_connect() -> None:
    async with recording() as (methods, records, port):
        assert (await methods.legacy_list("/chat")).records == []
        async with open_client(port) as old, open_client(port) as new:
            ids = [await join(old, "ann"), await join(new, "ann")]
            await new.send("1/chat,")
            await until_there(methods, 4)
            await new.connect("/open", {"user": "ann"})
        assert await kinds(methods) == [
            ("connect", "ann", "127.0.0.1"),
            ("disconnect", "ann", "127.0.0.1"),
            ("connect", "ann", "127.0.0.1"),
            ("disconnect", "ann", "127.0.0.1"),
        ]
        found = (await methods.legacy_list("/chat")).records
        assert [one.socketId for one in found] == [ids[0], ids[0], ids[1], ids[1]]
        assert found[0].evtTimestamp > 1_600_000_000_000
        assert "secret" not in repr(found)
        assert "/open" not in records._records, "nobody has a seat there"
        assert records._addresses == {}


@pytest.mark.req("HOOK-20")
@trio_test
async def test_each_of_several_seats_has_records() -> None:
    async with recording(policy="many") as (methods, _, port):
        async with open_client(port) as one, open_client(port) as other:
            await join(one, "ann")
            await join(other, "ann")
            await one.send("1/chat,")
            await other.send("1/chat,")
            await until_there(methods, 4)
        assert [kind for kind, *_ in await kinds(methods)] == ["connect"] * 2 + ["disconnect"] * 2


@pytest.mark.req("HOOK-21", "HOOK-22")
@trio_test
async def test_the_list_is_bounded_and_read_in_pages() -> None:
    async with recording(most=4) as (methods, _, port):
        async with open_client(port) as client:
            first = (await methods.legacy_list("/chat")).next
            for _ in range(3):
                await join(client, "ann")
                await client.send("1/chat,")
            head = first
            with trio.fail_after(10):
                while not head.endswith("-13"):  # behind the sixth entry
                    await trio.sleep(0.005)
                    head = (await methods.legacy_list("/chat")).next
        generation = first.partition("-")[0]
        page = await methods.legacy_list("/chat", limit=3)
        assert (len(page.records), page.next) == (3, f"{generation}-11")
        page = await methods.legacy_list("/chat", after=page.next, limit=3)
        assert (len(page.records), page.next) == (1, f"{generation}-13")
        assert (await methods.legacy_list("/chat", after=page.next)).records == []
        for after, code in (
            (first, Code.CURSOR_EXPIRED),
            (f"{int(generation) + 1}-1", Code.GENERATION_CHANGED),
            (f"{int(generation) - 1}-1", Code.GENERATION_CHANGED),
            (f"{generation}-14", Code.GENERATION_CHANGED),
            ("x", Code.INVALID_PARAMS),
        ):
            with pytest.raises(ControlError) as caught:
                await methods.legacy_list("/chat", after=after)
            assert caught.value.code == code


@pytest.mark.req("HOOK-23")
@trio_test
async def test_where_none_are_kept_it_is_of_no_use_to_ask_again() -> None:
    with pytest.raises(ControlError, match="set \\[presence\\] legacy_records") as failed:
        await LegacyMethods(None).legacy_list()
    assert failed.value.code == Code.UNAVAILABLE
    assert failed.value.data == {"retryable": False}


@pytest.mark.req("FEED-06")
@trio_test
async def test_a_namespace_without_seats_has_no_records() -> None:
    async with recording() as (methods, _, _):
        assert (await methods.legacy_list("chat")).records == []
        for name in ("/open", "/caht", "/"):
            with pytest.raises(ControlError) as failed:
                await methods.legacy_list(name)
            assert failed.value.code == Code.NOT_FOUND


@trio_test
async def test_a_log_that_is_too_short_leaves_a_gap(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_module, "MAX_ADDRESSES", 1)
    store = MemoryStore(max_events=1)
    inner = store.read

    async def read_late(*arguments: Any) -> Any:
        await trio.sleep(0.1)
        return await inner(*arguments)

    monkeypatch.setattr(store, "read", read_late)
    async with (
        recording(store=store) as (methods, _, port),
        open_client(port) as ann,
        open_client(port) as bob,
    ):
        await join(ann, "ann")
        await join(bob, "bob")
        await until_there(methods, 1)
        await ann.send("1/chat,")
        await until_there(methods, 2)
        assert await kinds(methods) == [
            ("connect", "bob", "127.0.0.1"),  # the first entry was gone
            ("disconnect", "ann", None),  # the address was forgotten
        ]
        assert "have a gap" not in caplog.text
        await join(ann, "ann")
        await bob.send("1/chat,")
        await until(lambda: "have a gap" in caplog.text)


class Slow(MemoryStore):
    """A store that may be rebuilding, and that may not answer."""

    is_rebuilding = False
    is_away = False

    async def count(self, namespace: str) -> Count:
        if self.is_away:
            raise StoreUnavailable("the test says so")
        found = await super().count(namespace)
        return Count(found.users, found.cursor, is_rebuilding=self.is_rebuilding)


@pytest.mark.req("HOOK-25", "HOOK-26")
@trio_test
async def test_nodes_that_share_a_store_have_the_same_records() -> None:
    store = Slow()
    async with (
        recording(store=store) as (here, _, port),
        recording(store=store) as (elsewhere, _, other_port),
    ):
        async with (
            open_client(port) as ann,
            open_client(other_port) as bob,
            open_client(other_port) as again,
        ):
            await join(ann, "ann")
            await join(bob, "bob")
            await join(again, "ann")
            await until_there(here, 4)
            found = await elsewhere.legacy_list("/chat")
            assert await kinds(here) == [
                ("connect", "ann", "127.0.0.1"),
                ("connect", "bob", None),
                ("disconnect", "ann", "127.0.0.1"),
                ("connect", "ann", None),
            ]
        assert [(one.evtTyp, one.meta.userId, one.socketId) for one in found.records] == [
            (one.evtTyp, one.meta.userId, one.socketId)
            for one in (await here.legacy_list("/chat")).records[:4]
        ]
        half = await here.legacy_list("/chat", limit=2)
        rest = await elsewhere.legacy_list("/chat", after=half.next, limit=2)
        assert [one.evtTyp for one in rest.records] == ["disconnect", "connect"]
        assert rest.records[0].socketId == half.records[0].socketId
        assert not rest.rebuilding
        store.is_rebuilding = True
        assert (await elsewhere.legacy_list("/chat")).rebuilding
        store.is_away = True
        with pytest.raises(ControlError) as failed:
            await here.legacy_list("/chat")
        assert failed.value.code == Code.STORE_UNAVAILABLE
        store.is_away = False


@pytest.mark.req("HOOK-25")
@trio_test
async def test_a_log_that_begins_anew_goes_on_in_the_records() -> None:
    store = Restartable()
    async with recording(store=store) as (methods, _, _):
        crowd = Crowd(store)
        await crowd.start()
        await crowd.come("ann")
        await until_there(methods, 1)
        old = await methods.legacy_list("/chat")
        store.restart()
        await crowd.start()
        await crowd.come("ann", "bob")
        await until_there(methods, 3)
        new = await methods.legacy_list("/chat", after=old.next)
        assert [one.meta.userId for one in new.records] == ["ann", "bob"]


@trio_test
async def test_namespaces_with_records_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_module, "MAX_NAMESPACES", 0)
    async with recording() as (methods, _, port), open_client(port) as client:
        await join(client, "ann")
        assert await kinds(methods) == []
    assert "0 namespaces have on/off records, and /chat gets none" in caplog.text


@trio_test
async def test_a_program_lists_them_on_its_control_socket(tmp_path: Path) -> None:
    conf, control = tmp_path / "conf.toml", tmp_path / "run" / "control.sock"
    conf.write_text(
        f"""
        [identity]
        tokens = [{{ user = "ann", token = "token-of-ann" }}]
        namespaces = [{{ name = "/chat", methods = ["static"] }}]
        [presence]
        legacy_records = 10
        [control]
        listen = ["unix:{control}"]
        """
    )
    async with serving("--config", str(conf)) as server:
        port = await server.wait_port()
        async with open_client(port) as ann, open_control(f"unix:{control}") as backend:
            sid = await ann.connect("/chat", {"token": "token-of-ann"})
            found: Any = {"records": []}
            with trio.fail_after(5):
                while not found["records"]:
                    found = await backend.call("presence.legacy_list", {"namespace": "/chat"})
            (record,) = found["records"]
            assert record.pop("evtTimestamp") > 0
            assert record == {
                "meta": {"userId": "ann"},
                "evtTyp": "connect",
                "socketId": sid,
                "clientIp": "127.0.0.1",
            }
        assert await server.end() == 0
