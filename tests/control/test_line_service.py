"""The control socket: greeting, order, tokens, bounds, and peers that misbehave."""

import json
import logging
import os
import ssl
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.control.serving import (
    SECRET,
    FakeSystem,
    RawPeer,
    controlled,
    little_buffer,
    peer,
    tcp_peer,
    write_token,
)
from tests.properties import examples
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio import ConfigurationError, Server
from trio_socketio.codec.json_rpc import Code
from trio_socketio.control.options import ControlOptions, ControlToken
from trio_socketio.control.places import prepare_folder
from trio_socketio.control.service import ControlService
from trio_socketio.control.tokens import TokenTable
from trio_socketio.runtime.runtime import open_runtime

TCP = "tcp:127.0.0.1:0"


def tokens(folder: Path, **methods: tuple[str, ...]) -> tuple[ControlToken, ...]:
    """A token with each name, whose secret is its name 32 times."""
    return tuple(
        ControlToken(name=name, file=write_token(folder, name, name[0] * 32), methods=allowed)
        for name, allowed in methods.items()
    )


@pytest.mark.req("CONTROL-06")
@trio_test
async def test_a_peer_is_greeted(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        assert raw.greeting == {
            "jsonrpc": "2.0",
            "method": "hello",
            "params": {
                "api": "1.0",
                "server": "trio-socketio 0.1.0",
                "node": "n0de",
                "needs_token": False,
                "max_line_bytes": 1 << 20,
                "max_batch": 100,
            },
        }


@trio_test
async def test_the_system_is_asked(tmp_path: Path) -> None:
    system = FakeSystem()
    async with controlled(tmp_path, system=system) as where, peer(where) as raw:
        assert (await raw.call("system.info"))["node"] == "n0de"
        assert (await raw.call("system.stats"))["engine"] == {"sessions": 1}
        assert await raw.call("system.reload") == {
            "changed": ["log.level"],
            "needs_restart": ["listen.port"],
        }
        system.reload_error = "control.tokens: cannot read /x"
        error = await raw.fail("system.reload")
        assert error == {
            "code": Code.INVALID_CONFIGURATION,
            "message": "control.tokens: cannot read /x",
        }
        assert await raw.call("system.drain") == {"state": "draining"}
        assert system.drained == 1


@trio_test
async def test_calls_are_counted_by_method(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        for _ in range(3):
            await raw.call("system.info")
        await raw.fail("emit")
        await raw.fail("no_such")
        await raw.send(raw.request("emit_with_ack", event="q", sockets=[socket_id], timeout_s=0.2))
        await raw.receive()
        methods = where.service.statistics().methods
        assert list(methods["system.info"][:2]) == [3, 0]
        assert list(methods["emit"][:2]) == [1, 1]
        assert not any(methods["rooms.list"])
        assert "no_such" not in methods
        calls, failures, seconds = methods["emit_with_ack"]
        assert (calls, failures) == (1, 0)
        assert 0.2 <= seconds < 2
        assert (await client.receive())[0] == '20["q"]'


@pytest.mark.req("CONTROL-04")
@trio_test
async def test_a_reload_whose_caller_has_gone_changes_nothing(tmp_path: Path) -> None:
    system = FakeSystem(waits=True)
    async with controlled(tmp_path, system=system) as where:
        async with peer(where) as raw:
            await raw.send(raw.request("system.reload"))
            await raw.call("system.info")
        await until(lambda: not where.service._peers)
        system.resume.set()
        async with peer(where) as raw:
            assert (await raw.call("system.reload"))["changed"]
        assert system.reloads == 1


@pytest.mark.req("CFG-30")
@trio_test
async def test_a_reload_that_takes_too_long_is_told(tmp_path: Path) -> None:
    system = FakeSystem(is_slow=True)
    async with controlled(tmp_path, system=system) as where, peer(where) as raw:
        error = await raw.fail("system.reload")
        assert error["code"] == Code.TIMEOUT
        assert error["message"] == "not read within 30 s"


@trio_test
async def test_lines_that_are_empty_are_ignored(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        await raw.send("", "  ", "\r")
        assert (await raw.call("system.info"))["pid"] == 1


@pytest.mark.req("CONTROL-09")
@trio_test
async def test_calls_take_effect_in_order_and_wait_side_by_side(tmp_path: Path) -> None:
    server = Server()
    async with (
        controlled(tmp_path, server) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        await raw.send(
            raw.request("emit_with_ack", event="ask", sockets=[socket_id]),
            raw.request("rooms.join", sockets=[socket_id], rooms=["r"]),
            raw.request("emit", event="in room", rooms=["r"]),
            raw.request("emit_with_ack", event="ask", rooms=["r"], timeout_s=60),
            raw.request("emit", event="last", all=True),
        )
        texts = [(await client.receive())[0] for _ in range(4)]
        assert texts == ['20["ask"]', '2["in room"]', '21["ask"]', '2["last"]']
        # The plain ones are answered while the others wait for the client.
        assert [(await raw.receive())["id"] for _ in range(3)] == [2, 3, 5]
        await client.send('31["second"]')
        assert (await raw.receive())["result"]["answers"][0]["answer"] == "second"
        await client.send('30["first"]')
        answer = await raw.receive()
        assert answer["id"] == 1
        assert answer["result"]["answers"] == [{"socket": socket_id, "answer": "first"}]


@pytest.mark.req("CONTROL-79")
@trio_test
async def test_a_batch_is_not_overtaken_while_it_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_socketio.control.dispatcher.SLICE_S", 0)  # a pause after each call
    async with (
        controlled(tmp_path) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        emit = partial(raw.request, "emit", all=True)
        await raw.send([emit(event=f"e{number}") for number in range(50)], emit(event="late"))
        texts = [(await client.receive())[0] for _ in range(51)]
        assert texts == [*(f'2["e{number}"]' for number in range(50)), '2["late"]']
        # One of whose calls waits is overtaken from there on.
        ask = raw.request("emit_with_ack", event="ask", sockets=[socket_id])
        await raw.send([emit(event="first"), ask, emit(event="last")], emit(event="late"))
        texts = [(await client.receive())[0] for _ in range(3)]
        assert texts == ['2["first"]', '20["ask"]', '2["late"]']
        await client.send("30[]")
        assert (await client.receive())[0] == '2["last"]'


@trio_test
async def test_a_batch_is_answered_as_one(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        await raw.send(
            [
                raw.request("rooms.list"),
                {"jsonrpc": "2.0", "method": "emit", "params": {"event": "a", "all": True}},
                raw.request("no_such"),
                raw.request("system.info"),
            ]
        )
        answers = await raw.receive()
        assert [one["id"] for one in answers] == [1, 2, 3]
        assert answers[1]["error"]["code"] == Code.METHOD_NOT_FOUND
        await raw.send([{"jsonrpc": "2.0", "method": "system.info"}])  # nothing is answered
        assert (await raw.call("system.info"))["pid"] == 1
        await raw.send([1] * 101)
        assert (await raw.receive())["error"]["code"] == Code.TOO_LARGE


@trio_test
async def test_garbage_is_answered_line_by_line(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        await raw.send(b"\xff\x00{", "[1,", '{"jsonrpc":"2.0","method":"system.info","id":"x"}')
        for _ in range(2):
            answer = await raw.receive()
            assert (answer["error"]["code"], answer["id"]) == (Code.PARSE_ERROR, None)
        assert (await raw.receive())["id"] == "x"


@given(st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line), max_size=20))
@settings(max_examples=examples(15), deadline=None)
def test_no_garbage_harms_another_peer(tmp_path_factory: Any, lines: list[bytes]) -> None:
    async def main() -> None:
        folder = tmp_path_factory.mktemp("c")
        async with controlled(folder) as where, peer(where) as raw, peer(where) as other:
            await raw.send(*lines)
            assert (await other.call("system.info"))["pid"] == 1
            await raw.send('{"jsonrpc":"2.0","method":"system.info","id":"last"}')
            while (await raw.receive()).get("id") != "last":
                pass

    trio.run(main)


@pytest.mark.req("CONTROL-20")
@trio_test
async def test_a_line_of_1_mib_is_taken_and_a_longer_one_ends_its_peer(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
        peer(where) as other,
    ):
        request = json.dumps(raw.request("emit", event="e", args=[""], sockets=[socket_id]))
        text = "x" * ((1 << 20) - len(request))
        await raw.send(request.replace('[""]', f'["{text}"]'))
        assert (await raw.receive())["result"]["reached"] == 1
        assert len((await client.receive())[0]) == len(text) + len('2["e",""]')
        with trio.move_on_after(5), suppress(trio.BrokenResourceError):
            await raw.stream.send_all(b"x" * ((1 << 20) + 70000))
        assert await raw.is_closed()
        assert (await other.call("system.info"))["pid"] == 1


@pytest.mark.req("CONTROL-25")
@trio_test
async def test_a_peer_that_does_not_read_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        controlled(tmp_path, output_bound_bytes=10_000, slow_peer_s=0.3) as where,
        peer(where) as raw,
        peer(where) as other,
    ):
        little_buffer(raw.stream)
        line = json.dumps(raw.request("rpc.discover")).encode() + b"\n"
        with trio.fail_after(10):
            try:
                while True:
                    await raw.stream.send_all(line * 10)
            except trio.BrokenResourceError:
                pass
        assert (await other.call("system.info"))["pid"] == 1
        await until(lambda: len(where.service._peers) == 1)
        assert "slow client" in caplog.text


@pytest.mark.req("CONTROL-23")
@trio_test
async def test_calls_in_flight_are_bounded(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, max_in_flight=3) as where,
        where.client() as (client, socket_id),
        peer(where) as raw,
    ):
        ask = partial(raw.request, "emit_with_ack", event="ask", sockets=[socket_id])
        await raw.send(*(ask() for _ in range(5)), raw.request("system.info"))
        assert [(await client.receive())[0] for _ in range(3)] == [
            f'2{number}["ask"]' for number in range(3)
        ]
        with trio.move_on_after(0.1):
            await client.receive()
            raise AssertionError("a call began above the bound")
        await client.send("31[]")
        assert (await raw.receive())["id"] == 2
        assert (await client.receive())[0] == '23["ask"]'
        for number in (0, 2, 3):
            await client.send(f"3{number}[]")
        assert (await client.receive())[0] == '24["ask"]'
        await client.send("34[]")
        ids = [(await raw.receive())["id"] for _ in range(5)]
        assert sorted(ids) == [1, 3, 4, 5, 6]


@pytest.mark.req("CONTROL-24")
@trio_test
async def test_what_was_read_is_done_though_the_peer_has_gone(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, socket_id):
        async with peer(where) as raw:
            await raw.send(
                raw.request("emit_with_ack", event="a", sockets=[socket_id], timeout_s=60),
                raw.request("emit_with_ack", event="b", sockets=[socket_id], timeout_s=60),
                raw.request("emit", event="c", all=True),
            )
            await trio.lowlevel.checkpoint()
        texts = [(await client.receive())[0] for _ in range(3)]
        assert texts == ['20["a"]', '21["b"]', '2["c"]']
        await until(lambda: not where.service._peers)
        # Nobody waits for the answers any more.
        (socket,) = where.server.of("/").sockets.values()
        acks = socket._acks
        assert acks is not None
        await until(lambda: not acks._waiting)


# -- tokens


@pytest.mark.req("CONTROL-13", "CONTROL-15")
@trio_test
async def test_tcp_needs_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given = tokens(tmp_path, ops=("*",), reader=("rooms.list", "system.*"))
    async with controlled(tmp_path, listen=(TCP,), tokens=given) as where:
        async with tcp_peer(where) as raw:
            assert raw.greeting["params"]["needs_token"] is True
            assert (await raw.fail("system.info"))["code"] == Code.UNAUTHORIZED
            assert (await raw.fail("auth"))["code"] == Code.UNAUTHORIZED
            assert (await raw.call("auth", token="r" * 32)) == {
                "name": "reader",
                "methods": ["rooms.list", "system.*"],
            }
            assert (await raw.call("system.info"))["pid"] == 1
            error = await raw.fail("emit", event="a", all=True)
            assert error["code"] == Code.FORBIDDEN
            assert error["data"] == {"method": "emit"}
            await raw.call("rpc.discover")
            assert (await raw.call("auth"))["name"] == "reader"
            await raw.call("auth", token="o" * 32)
            assert (await raw.call("emit", event="a", all=True))["reached"] == 0
        assert "has the token reader" in caplog.text
        assert "r" * 32 not in caplog.text


@pytest.mark.req("CONTROL-13")
@trio_test
async def test_a_peer_without_a_token_has_little(tmp_path: Path) -> None:
    given = tokens(tmp_path, ops=("*",))
    async with controlled(tmp_path, listen=(TCP,), tokens=given, auth_timeout_s=1.5) as where:
        async with tcp_peer(where) as raw:  # a long line
            await raw.stream.send_all(b"x" * 20_000)
            assert await raw.is_closed()
        async with tcp_peer(where) as raw:  # wrong tokens
            for _ in range(3):
                assert (await raw.fail("auth", token="x" * 32))["code"] == Code.UNAUTHORIZED
            assert await raw.is_closed()
        async with tcp_peer(where) as raw:  # garbage
            await raw.send("{", "{", "{")
            for _ in range(3):
                assert (await raw.receive())["error"]["code"] == Code.PARSE_ERROR
            assert await raw.is_closed()
        async with tcp_peer(where) as raw:  # silence
            assert await raw.is_closed()
        async with tcp_peer(where) as raw:
            await raw.call("auth", token="o" * 32)
            await trio.sleep(2)  # it has all the time in the world
            assert (await raw.call("system.info"))["pid"] == 1


@pytest.mark.req("CONTROL-16")
@trio_test
async def test_tokens_are_replaced(tmp_path: Path) -> None:
    both = tokens(tmp_path, ops=("*",), reader=("*",))
    async with (
        controlled(tmp_path, listen=(TCP, f"unix:{tmp_path / 'c.sock'}"), tokens=both) as where,
        tcp_peer(where) as ops,
        tcp_peer(where) as reader,
        tcp_peer(where) as unknown,
        peer(where) as local,
    ):
        await ops.call("auth", token="o" * 32)
        await reader.call("auth", token="r" * 32)
        where.service.apply(TokenTable(tokens(tmp_path, reader=("rooms.*",), new=("*",))))
        assert await ops.is_closed()
        assert (await reader.fail("system.info"))["code"] == Code.FORBIDDEN
        assert (await reader.call("rooms.list"))["total"] == 0
        assert (await unknown.fail("auth", token="o" * 32))["code"] == Code.UNAUTHORIZED
        await unknown.call("auth", token="n" * 32)
        assert (await local.call("system.info"))["pid"] == 1


@trio_test
async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    for name, blob in {
        "cert": certificate.cert_chain_pems[0],
        "key": certificate.private_key_pem,
    }.items():
        blob.write_to_path(str(tmp_path / name))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with (
        controlled(
            tmp_path,
            listen=(TCP,),
            tokens=tokens(tmp_path, ops=("*",)),
            certfile=str(tmp_path / "cert"),
            keyfile=str(tmp_path / "key"),
        ) as where,
        tcp_peer(where, context) as raw,
    ):
        assert raw.greeting["method"] == "hello"
        await raw.call("auth", token="o" * 32)
        assert (await raw.call("system.info"))["pid"] == 1


# -- where it listens


@pytest.mark.req("CONTROL-10")
@trio_test
async def test_the_folder_and_the_socket_are_for_us(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:
        assert os.stat(where.unix).st_mode & 0o777 == 0o660
        assert os.stat(Path(where.unix).parent).st_mode & 0o777 == 0o700
        with pytest.raises(ConfigurationError, match="another program has it"):
            async with controlled(tmp_path):
                raise AssertionError
        async with peer(where) as raw:
            assert (await raw.call("system.info"))["pid"] == 1
    assert not await trio.Path(where.unix).exists()


@pytest.mark.req("CONTROL-10")
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ConfigurationError, match="every user may write to the folder"):
        prepare_folder(shared)
    shared.chmod(0o750)
    prepare_folder(shared)
    with pytest.raises(ConfigurationError, match="cannot make the folder"):
        prepare_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot make the folder"):
        prepare_folder(tmp_path / "file")


@trio_test
async def test_a_service_without_a_place_to_listen_runs_all_the_same() -> None:
    service = ControlService(Server(), FakeSystem(), ControlOptions())
    async with open_runtime() as runtime:
        assert await runtime.start_service("control", partial(service.run, runtime)) == []


@trio_test
async def test_a_secret_of_the_test_is_long_enough(tmp_path: Path) -> None:
    assert TokenTable([ControlToken(name="a", file=write_token(tmp_path))]).find(SECRET)


@trio_test
async def test_the_service_ends_with_its_peers(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:
        stream = await trio.open_unix_socket(where.unix)
        raw = RawPeer(stream)
        await raw.receive()
        assert len(where.service._peers) == 1
    async with stream:
        assert await raw.is_closed()
    assert not where.service._peers
