"""The on/off records of the original contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.cli_process import serving
from tests.im.test_presence_webhook import until
from tests.wire import SocketIOClient, open_client
from trio.testing import trio_test

from trio_socketio import Joining, JoiningState, Server, ServerOptions, Step, TcpEndpoint
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError
from trio_socketio.im.presence import MemoryStore, Presence
from trio_socketio.im.presence import legacy as legacy_module
from trio_socketio.im.presence.legacy import LegacyRecords
from trio_socketio.im.presence.legacy_methods import LegacyMethods
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
    records = LegacyRecords(server, presence, most, 7)
    async with open_runtime() as runtime:
        await runtime.start_service("records", records.run)
        serve = partial(server.serve, runtime=runtime, endpoints=[TcpEndpoint(port=0)])
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(serve)
            yield LegacyMethods(records), records, addresses[0][1]
            server.stop()


def kinds(methods: LegacyMethods, **asked: Any) -> list[tuple[str, str, str | None]]:
    page = methods.legacy_list("/chat", **asked)
    return [(one.evtTyp, one.meta.userId, one.clientIp) for one in page.records]


async def join(client: SocketIOClient, user: str) -> str:
    return await client.connect("/chat", {"user": user, "token": "secret"})


@pytest.mark.req("HOOK-20")
@trio_test
async def test_a_seat_that_moves_is_a_disconnect_and_then_a_connect() -> None:
    async with recording() as (methods, records, port):
        assert methods.legacy_list("/chat").records == []
        async with open_client(port) as old, open_client(port) as new:
            ids = [await join(old, "ann"), await join(new, "ann")]
            await new.send("1/chat,")
            await until(lambda: len(kinds(methods)) == 4)
            await new.connect("/open", {"user": "ann"})
        assert kinds(methods) == [
            ("connect", "ann", "127.0.0.1"),
            ("disconnect", "ann", "127.0.0.1"),
            ("connect", "ann", "127.0.0.1"),
            ("disconnect", "ann", "127.0.0.1"),
        ]
        found = methods.legacy_list("/chat").records
        assert [one.socketId for one in found] == [ids[0], ids[0], ids[1], ids[1]]
        assert found[0].evtTimestamp > 1_600_000_000_000
        assert "secret" not in repr(found)
        assert records.find("/open") is None, "nobody has a seat there"
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
            await until(lambda: len(kinds(methods)) == 4)
        assert [kind for kind, *_ in kinds(methods)] == ["connect"] * 2 + ["disconnect"] * 2


@pytest.mark.req("HOOK-21", "HOOK-22")
@trio_test
async def test_the_list_is_bounded_and_read_in_pages() -> None:
    async with recording(most=4) as (methods, _, port):
        async with open_client(port) as client:
            first = methods.legacy_list("/chat").next
            for _ in range(3):
                await join(client, "ann")
                await client.send("1/chat,")
            await until(lambda: kinds(methods)[-1][0] == "disconnect")
            await until(lambda: methods.legacy_list("/chat").next == "7-6")
        page = methods.legacy_list("/chat", limit=3)
        assert (len(page.records), page.next) == (3, "7-5")
        page = methods.legacy_list("/chat", after=page.next, limit=3)
        assert (len(page.records), page.next) == (1, "7-6")
        assert methods.legacy_list("/chat", after=page.next).records == []
        for after, code in (
            (first, Code.CURSOR_EXPIRED),
            ("8-1", Code.GENERATION_CHANGED),
            ("7-9", Code.GENERATION_CHANGED),
            ("x", Code.INVALID_PARAMS),
        ):
            with pytest.raises(ControlError) as caught:
                methods.legacy_list("/chat", after=after)
            assert caught.value.code == code


@pytest.mark.req("HOOK-23")
def test_where_none_are_kept_it_is_of_no_use_to_ask_again() -> None:
    with pytest.raises(ControlError, match="set \\[presence\\] legacy_records") as failed:
        LegacyMethods(None).legacy_list()
    assert failed.value.code == Code.UNAVAILABLE
    assert failed.value.data == {"retryable": False}


@pytest.mark.req("FEED-06")
@trio_test
async def test_a_namespace_without_seats_has_no_records() -> None:
    async with recording() as (methods, _, _):
        assert methods.legacy_list("chat").records == []
        for name in ("/open", "/caht", "/"):
            with pytest.raises(ControlError) as failed:
                methods.legacy_list(name)
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
    async with recording(store=store) as (methods, _, port):
        async with open_client(port) as ann, open_client(port) as bob:
            await join(ann, "ann")
            await join(bob, "bob")
            await trio.sleep(0.5)
            await ann.send("1/chat,")
            await until(lambda: bool(kinds(methods)))
        assert kinds(methods)[0] == ("disconnect", "ann", None), "the address was forgotten"
    assert "have a gap" in caplog.text


@trio_test
async def test_namespaces_with_records_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legacy_module, "MAX_NAMESPACES", 0)
    async with recording() as (methods, _, port), open_client(port) as client:
        await join(client, "ann")
        assert kinds(methods) == []
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
