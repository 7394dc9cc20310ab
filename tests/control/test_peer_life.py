"""How peers of the control socket begin and end, and what they can cause in the log."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.control.serving import (
    SECRET,
    FakeSystem,
    controlled,
    little_buffer,
    peer,
    tcp_peer,
    write_token,
)
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import ControlToken, TokenTable
from trio_socketio.control.options import BackendOptions, ForwardedEvents
from trio_socketio.net.connection import Connection

TCP = "tcp:127.0.0.1:0"


def token(folder: Path, *methods: str) -> ControlToken:
    return ControlToken(name="ops", file=write_token(folder), methods=methods or ("*",))


# -- peers that send nothing more


@pytest.mark.req("CONTROL-73", "RUN-41")
@trio_test
async def test_a_peer_that_sends_nothing_more_gets_its_answers(tmp_path: Path) -> None:
    system = FakeSystem(waits=True)
    async with controlled(tmp_path, system=system) as where, where.client() as (client, socket_id):
        async with peer(where) as raw:
            assert isinstance(raw.stream, trio.SocketStream)
            ask = raw.request("emit_with_ack", event="q", sockets=[socket_id])
            await raw.send(raw.request("system.reload"), ask, raw.request("system.info"))
            await raw.stream.send_eof()
            assert (await raw.receive())["id"] == 3
            assert (await client.receive())[0] == '20["q"]'
            await client.send('30["yes"]')
            assert (await raw.receive())["result"]["answers"][0]["answer"] == "yes"
            system.resume.set()
            assert (await raw.receive())["result"]["changed"] == ["log.level"]
            assert await raw.is_closed()
        await until(lambda: not where.service._peers)
        for _ in range(2):
            async with peer(where) as raw:  # with nothing that waits
                assert isinstance(raw.stream, trio.SocketStream)
                await raw.send(raw.request("system.info"))
                await raw.stream.send_eof()
                assert (await raw.receive())["result"]["pid"] == 1
                assert await raw.is_closed()


@pytest.mark.req("CONTROL-73")
@trio_test
async def test_a_peer_that_sends_nothing_more_and_reads_slowly_gets_its_answers(
    tmp_path: Path,
) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        assert isinstance(raw.stream, trio.SocketStream)
        little_buffer(raw.stream)
        await raw.send(*(raw.request("rpc.discover") for _ in range(40)))
        await raw.stream.send_eof()
        await trio.sleep(0.2)
        assert [(await raw.receive())["id"] for _ in range(40)] == list(range(1, 41))
        assert await raw.is_closed()


@pytest.mark.req("CONTROL-73", "CONTROL-76")
@trio_test
async def test_a_backend_that_sends_nothing_more_is_given_no_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    system = FakeSystem(waits=True)
    forward = BackendOptions(forward=(ForwardedEvents(),))
    async with (
        controlled(tmp_path, system=system, backends=forward) as where,
        where.client() as (client, _),
        peer(where) as raw,
    ):
        assert isinstance(raw.stream, trio.SocketStream)
        await raw.call("backend.register")
        await client.emit("under way")
        assert (await raw.receive())["method"] == "backend.event"
        await raw.send(raw.request("system.reload"))
        await raw.stream.send_eof()
        for name in ("under way", "later"):
            _, what = await client.receive_event()
            assert (what["event"], what["code"]) == (name, Code.UNAVAILABLE)
            await client.emit("later")
        assert where.service.statistics().backends == 0
        system.resume.set()
        assert (await raw.receive())["result"]["changed"]
        assert await raw.is_closed()
        await until(lambda: "has ended: transport close" in caplog.text)


@trio_test
async def test_calls_of_a_peer_that_sends_nothing_more_may_take_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.control.peer._LAST_CALLS_S", 0.1)
    system = FakeSystem(waits=True)
    async with controlled(tmp_path, system=system) as where, peer(where) as raw:
        assert isinstance(raw.stream, trio.SocketStream)
        await raw.send(raw.request("system.reload"))
        await raw.stream.send_eof()
        assert await raw.is_closed()
        await until(lambda: not where.service._peers)
        system.resume.set()


@pytest.mark.req("CONTROL-73")
@trio_test
async def test_who_gives_its_token_and_sends_nothing_more_is_known(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where,
        tcp_peer(where) as raw,
    ):
        assert isinstance(raw.stream, trio.SocketStream)
        await raw.send([raw.request("auth", token=SECRET), raw.request("system.info")])
        await raw.stream.send_eof()
        known, told = await raw.receive()
        assert known["result"]["name"] == "ops"
        assert told["result"]["pid"] == 1
        assert await raw.is_closed()


# -- peers that do not say who they are


async def flood(where: Any, line: bytes) -> None:
    """Send a line as often as the server takes it."""
    async with tcp_peer(where) as raw:
        with trio.fail_after(10):
            try:
                while True:
                    await raw.stream.send_all((line + b"\n") * 8)
            except trio.BrokenResourceError:
                pass


@pytest.mark.req("CONTROL-70", "CONTROL-77")
@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "x"},
        {"jsonrpc": "2.0", "method": "auth", "params": ["x"]},
        {"jsonrpc": "2.0", "method": "auth", "params": ["x"], "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": 1},
        1,
    ],
)
@pytest.mark.parametrize("is_batch", [True, False])
@trio_test
async def test_who_does_not_say_who_it_is_cannot_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, message: Any, is_batch: bool
) -> None:
    caplog.set_level(logging.INFO)
    line = json.dumps([message] * 100 if is_batch else message).encode()
    async with controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where:
        await flood(where, line)
        await until(lambda: not where.service._peers)
        methods = where.service.statistics().methods
        assert methods["auth"][0] <= 3 * 100  # CONTROL-77: nothing is read behind the third
    lines = [record for record in caplog.records if record.name.startswith("trio_socketio.control")]
    assert len(lines) < 15


@pytest.mark.req("CONTROL-77")
@trio_test
async def test_after_some_wrong_tokens_none_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where:
        compared: list[str] = []

        def find(_: object, secret: str) -> None:
            compared.append(secret)

        monkeypatch.setattr(TokenTable, "find", find)
        async with tcp_peer(where) as raw:
            guesses = [raw.request("auth", token=f"guess {number}") for number in range(100)]
            await raw.send(guesses, guesses, guesses)
            answers = await raw.receive()
            assert {one["error"]["code"] for one in answers} == {Code.UNAUTHORIZED}
            assert await raw.is_closed()
        assert compared == ["guess 0", "guess 1", "guess 2"]


@pytest.mark.req("CONTROL-70")
@trio_test
async def test_wrong_tokens_are_summed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where:
        for _ in range(4):
            async with tcp_peer(where) as raw:
                for _ in range(3):
                    await raw.fail("auth", token="wrong")
                assert await raw.is_closed()
    lines = caplog.text.count("has given a wrong token")
    assert lines < 12
    assert f"wrong tokens given to the control socket: {12 - lines} more in" in caplog.text


# -- where the right to do everything comes from


@pytest.mark.req("CONTROL-78")
@trio_test
async def test_an_address_that_is_missing_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Connection.__init__

    def without_address(self: Connection, owner: Any, sock: Any, address: str) -> None:
        create(self, owner, sock, "")

    monkeypatch.setattr(Connection, "__init__", without_address)
    async with (
        controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where,
        tcp_peer(where) as raw,
    ):
        assert raw.greeting["params"]["needs_token"] is True
        assert (await raw.fail("system.info"))["code"] == Code.UNAUTHORIZED


@trio_test
async def test_a_peer_that_cannot_be_watched_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(tmp_path) as where:

        def fail(*_: object) -> None:
            raise MemoryError("no memory")

        with monkeypatch.context() as patched:
            patched.setattr(where.runtime.poller, "register", fail)
            async with await trio.open_unix_socket(where.unix) as stream:
                with trio.fail_after(5):
                    assert await stream.receive_some() == b""
        await until(lambda: where.service.statistics().peers == 0)
        async with peer(where) as raw:
            assert (await raw.call("system.info"))["pid"] == 1
