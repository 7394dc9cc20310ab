"""The client for trio and the one for threads, against a real server over Unix, TCP and TLS."""

import contextlib
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from hypothesis import given
from tests.codec.test_json_rpc import VALUES
from tests.control.serving import SECRET, Controlled, FakeSystem, controlled, write_token
from trio.testing import trio_test

from trio_socketio import ConfigurationError, ConnectFailed, LocalProtocolError, SessionClosed
from trio_socketio.codec.json_rpc import Code, decode_value, encode_value
from trio_socketio.control import (
    ControlClient,
    ControlError,
    ControlToken,
    open_control,
    sync_client,
)
from trio_socketio.control.api import BackendEvent
from trio_socketio.control.options import BackendOptions, ForwardedEvents

FORWARD = BackendOptions(forward=(ForwardedEvents(),))
TCP = "tcp:127.0.0.1:0"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_files(folder: Path, authority: trustme.CA) -> dict[str, str]:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert"))
    certificate.private_key_pem.write_to_path(str(folder / "key"))
    return {"certfile": str(folder / "cert"), "keyfile": str(folder / "key")}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def token(folder: Path) -> ControlToken:
    return ControlToken(name="ops", file=write_token(folder))


async def in_thread(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    return await trio.to_thread.run_sync(partial(function, *arguments, **more))


# -- both


@trio_test
async def test_both_clients_call_methods(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, socket_id):
        params = {"event": "e", "args": [b"\0", {"$bytes": 1}], "sockets": [socket_id]}
        async with open_control(where.address) as control:
            assert control.greeting.api == "1.0"
            assert (await control.call("emit", params))["reached"] == 1
            with ControlClient(where.address) as blocking:
                assert (await in_thread(blocking.call, "emit", params))["reached"] == 1
        for _ in range(2):
            text, attachments = await client.receive()
            assert text == '51-["e",{"_placeholder":true,"num":0},{"$bytes":1}]'.replace(
                "51-", "51-"
            )
            assert attachments == [b"\0"]


@trio_test
async def test_both_get_bytes(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, socket_id):

        async def acknowledge() -> None:
            for number in range(2):
                assert (await client.receive())[0] == f'2{number}["q"]'
                await client.send(
                    f'61-{number}[{{"a":{{"_placeholder":true,"num":0}},"b":{{"$object":1}}}}]',
                    b"\xff",
                )

        ask = ("emit_with_ack", {"event": "q", "sockets": [socket_id]})
        async with (
            open_control(where.address) as control,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(acknowledge)
            with ControlClient(where.address) as blocking:
                for result in (await control.call(*ask), await in_thread(blocking.call, *ask)):
                    assert result["answers"][0]["answer"] == {"a": b"\xff", "b": {"$object": 1}}


@trio_test
async def test_both_raise_what_the_server_answers(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, open_control(where.address) as control:
        with ControlClient(where.address) as blocking:
            for call in (control.call, partial(in_thread, blocking.call)):
                with pytest.raises(ControlError) as caught:
                    await call("sockets.get", {"socket": "nobody"})
                assert caught.value.code == Code.NOT_FOUND
                assert caught.value.data == {"parameter": "socket"}
                assert str(caught.value) == "socket: there is no socket 'nobody' (code 1003)"
                with pytest.raises(LocalProtocolError):
                    await call("emit", {"event": object()})
                assert (await call("system.info"))["pid"] == 1
                assert (await call("rooms.list", ["/"]))["total"] == 0


@trio_test
async def test_both_make_batches_and_notify(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path, max_batch=3) as where,
        where.client() as (client, _),
        open_control(where.address) as control,
    ):
        with ControlClient(where.address) as blocking:
            note = ("emit", {"event": "note", "all": True})
            await control.notify(*note)
            await in_thread(blocking.notify, *note)
            for batch in (control.batch, partial(in_thread, blocking.batch)):
                info, wrong, rooms = await batch(
                    [("system.info", None), ("no_such", None), ("rooms.list", {"limit": 1})]
                )
                assert info["pid"] == 1
                assert isinstance(wrong, ControlError)
                assert wrong.code == Code.METHOD_NOT_FOUND
                assert rooms["total"] == 0
                assert await batch([]) == []
            for _ in range(2):
                assert await client.receive_event() == ["note"]
            with pytest.raises(ControlError) as caught:
                await in_thread(blocking.batch, [("system.info", None)] * 4)
            assert caught.value.code == Code.TOO_LARGE
            assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        # It is not known which line was refused, so that all that wait are told.
        with pytest.raises(SessionClosed, match="refused a line"):
            await control.batch([("system.info", None)] * 4)


@trio_test
async def test_both_over_tcp_with_a_token(tmp_path: Path) -> None:
    async with controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),)) as where:
        address = f"tcp:127.0.0.1:{where.tcp_port}"
        async with open_control(address, token=SECRET) as control:
            assert (await control.call("system.info"))["pid"] == 1
        with ControlClient(address, token=SECRET) as blocking:
            assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        for wrong in (None, "x" * 32):
            with pytest.raises(ControlError) as caught:
                async with open_control(address, token=wrong):
                    raise AssertionError
            assert caught.value.code == Code.UNAUTHORIZED
            with pytest.raises(ControlError) as caught:
                await in_thread(ControlClient(address, token=wrong).call, "system.info")
            assert caught.value.code == Code.UNAUTHORIZED


@trio_test
async def test_both_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    files: dict[str, Any] = tls_files(tmp_path, authority)
    async with controlled(tmp_path, listen=(TCP,), tokens=(token(tmp_path),), **files) as where:
        address = f"tls:localhost:{where.tcp_port}"
        context = trusting(authority)
        async with open_control(address, token=SECRET, ssl_context=context) as control:
            assert (await control.call("system.info"))["pid"] == 1
        with ControlClient(address, token=SECRET, ssl_context=context) as blocking:
            for _ in range(2):
                assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        with pytest.raises(ConnectFailed):
            async with open_control(address, token=SECRET):
                raise AssertionError
        with ControlClient(address, token=SECRET) as blocking, pytest.raises(ConnectFailed):
            await in_thread(blocking.call, "system.info")


@trio_test
async def test_both_say_why_they_cannot_connect(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(ConnectFailed, match=f"cannot connect to unix:{path}"):
        async with open_control(f"unix:{path}"):
            raise AssertionError
    with pytest.raises(ConnectFailed, match=f"cannot connect to unix:{path}"):
        await in_thread(ControlClient(f"unix:{path}").call, "system.info")
    context = ssl.create_default_context()
    with pytest.raises(ConfigurationError, match="is not an address"):
        ControlClient("nonsense")
    with pytest.raises(ConfigurationError, match="is not an address"):
        async with open_control("nonsense"):
            raise AssertionError
    with pytest.raises(ConfigurationError, match="ssl_context has no effect"):
        ControlClient(f"unix:{path}", ssl_context=context)
    with pytest.raises(ConfigurationError, match="ssl_context has no effect"):
        async with open_control(f"unix:{path}", ssl_context=context):
            raise AssertionError


@pytest.mark.parametrize(
    "greeting",
    [b"", b"SSH-2.0-x\r\n", b'{"jsonrpc":"2.0","method":"hello","params":{}}\n', b"x" * (5 << 20)],
)
@trio_test
async def test_both_know_a_control_socket_by_its_greeting(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                sock, _peer = listener.accept()
                with sock, contextlib.suppress(OSError):
                    sock.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectFailed):
            async with open_control(address, timeout_s=5):
                raise AssertionError
        with pytest.raises(ConnectFailed):
            await in_thread(ControlClient(address, timeout_s=5).call, "system.info")
        thread.join()


@trio_test
async def test_both_give_up_after_their_timeout(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client() as (_, socket_id),
        open_control(where.address) as control,
    ):
        ask = ("emit_with_ack", {"event": "q", "sockets": [socket_id]})
        with ControlClient(where.address) as blocking:
            await in_thread(blocking.call, "system.info")  # it connects
            with pytest.raises(ControlError, match=r"within 0\.2 s") as caught:
                await in_thread(blocking.call, *ask, timeout_s=0.2)
            assert caught.value.code == Code.TIMEOUT
            assert blocking._line is None  # a part of a message may have been sent
            with pytest.raises(ControlError, match=r"within 0\.2 s"):
                await control.call(*ask, timeout_s=0.2)
            # A late answer is not taken for that of another call.
            assert (await control.call("system.info"))["pid"] == 1
            assert (await in_thread(blocking.call, "system.info"))["pid"] == 1


@trio_test
async def test_both_are_told_that_there_are_too_many_peers(tmp_path: Path) -> None:
    async with controlled(tmp_path, max_connections=1) as where, open_control(where.address):
        with pytest.raises(ConnectFailed, match="too many peers are connected"):
            async with open_control(where.address):
                raise AssertionError
        with pytest.raises(ConnectFailed, match="too many peers are connected"):
            await in_thread(ControlClient(where.address).call, "system.info")


# -- the client for trio


@trio_test
async def test_a_backend_in_trio(tmp_path: Path) -> None:
    seen: list[BackendEvent] = []

    async def handle(event: BackendEvent) -> Any:
        seen.append(event)
        await trio.lowlevel.checkpoint()
        if event.event == "refuse":
            raise ControlError(42, "sold out")
        if event.event == "fail":
            raise ZeroDivisionError("a secret")
        if event.event == "odd":
            return object()
        return event.args

    async with (
        controlled(tmp_path, backends=FORWARD) as where,
        where.client() as (client, socket_id),
        open_control(where.address) as control,
    ):
        assert (await control.register(handle))["missing"] == []
        await client.send('51-1["echo",{"_placeholder":true,"num":0}]', b"\7")
        text, attachments = await client.receive()
        assert (text, attachments) == ('61-1[[{"_placeholder":true,"num":0}]]', [b"\7"])
        assert seen == [
            BackendEvent(namespace="/", event="echo", args=[b"\7"], socket=socket_id, user=None)
        ]
        for name, words in {
            "refuse": "sold out",
            "fail": "the handler failed",
            "odd": "cannot send",
        }.items():
            await client.emit(name)
            _, told = await client.receive_event()
            assert words in told["message"]
            assert "secret" not in json.dumps(told)
        await control.register(lambda event: event.namespace, namespaces=["/"])
        await client.emit("plain", ack_id=5)
        assert (await client.receive())[0] == '35["/"]'
        nullary: Any = lambda: None  # noqa: E731 - a def would not be Any
        with pytest.raises(LocalProtocolError):
            await control.register(nullary)


@trio_test
async def test_the_end_of_the_connection_is_told_to_all_who_wait(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client() as (client, socket_id),
        open_control(where.address) as control,
    ):
        failures: list[str] = []

        async def ask() -> None:
            with pytest.raises(SessionClosed) as caught:
                await control.call("emit_with_ack", {"event": "q", "sockets": [socket_id]})
            failures.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await client.receive()
            await client.receive()
            for one in tuple(where.service._peers):
                one.close("for the test")
        assert failures == ["the server has closed the connection"] * 2
        assert await control.wait_closed() == "the server has closed the connection"
        for call in (control.call, control.notify):
            with pytest.raises(SessionClosed):
                await call("system.info")


@trio_test
async def test_what_was_sent_leaves_at_the_end_of_the_block(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, _):
        async with open_control(where.address) as control:
            for number in range(50):
                params = {"event": "n", "args": [number, "x" * 10_000], "all": True}
                await control.notify("emit", params)
        for number in range(50):
            assert (await client.receive_event())[1] == number


@trio_test
async def test_calls_can_be_cancelled(tmp_path: Path) -> None:
    async with (
        controlled(tmp_path) as where,
        where.client() as (_, socket_id),
        open_control(where.address) as control,
    ):
        for delay_s in (0, 0.05):
            with trio.move_on_after(delay_s):
                await control.call("emit_with_ack", {"event": "q", "sockets": [socket_id]})
            assert len(control._asked) == 0
            assert (await control.call("system.info"))["pid"] == 1


@trio_test
async def test_many_calls_at_a_time(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, open_control(where.address) as control:
        done = 0

        async def call() -> None:
            nonlocal done
            assert (await control.call("system.info"))["pid"] == 1
            done += 1

        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(call)
        assert done == 500


@trio_test
async def test_what_the_block_raises_is_raised_alone(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:
        with pytest.raises(ZeroDivisionError):
            async with open_control(where.address):
                raise ZeroDivisionError


# -- the client for threads


@given(VALUES)
def test_the_two_clients_write_values_alike(value: Any) -> None:
    escaped = json.dumps(sync_client.escape(value))
    assert decode_value(escaped.encode()) == value
    assert sync_client.unescape(json.loads(encode_value(value))) == value


@pytest.mark.req("CONTROL-51")
@trio_test
async def test_it_connects_again(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:
        blocking = ControlClient(where.address)
        assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        for one in tuple(where.service._peers):
            one.close("for the test")
        await trio.sleep(0.05)
        assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        blocking.close()
        assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
    with pytest.raises(ConnectFailed):
        await in_thread(blocking.call, "system.info")
    async with controlled(tmp_path) as where:
        assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
        blocking.close()
        blocking.close()


@pytest.mark.req("CONTROL-51")
@trio_test
async def test_a_call_that_was_under_way_is_not_repeated(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, where.client() as (client, socket_id):
        with ControlClient(where.address) as blocking:
            outcome: list[BaseException] = []

            async def ask() -> None:
                with pytest.raises(SessionClosed) as caught:
                    await in_thread(
                        blocking.call, "emit_with_ack", {"event": "q", "sockets": [socket_id]}
                    )
                outcome.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                assert (await client.receive())[0] == '20["q"]'
                for one in tuple(where.service._peers):
                    one.close("for the test")
            assert outcome
            assert (await in_thread(blocking.call, "system.info"))["pid"] == 1
            await client.emit("nothing")
            with trio.move_on_after(0.1):
                await client.receive()
                raise AssertionError("the event was sent twice")


@trio_test
async def test_threads_share_it(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:
        with ControlClient(where.address) as blocking:
            done: list[int] = []

            async def call() -> None:
                done.append((await in_thread(blocking.call, "system.info"))["pid"])

            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(call)
            assert len(done) == 30
            assert len(where.service._peers) == 1
            blocking._lock.acquire()
            try:
                with pytest.raises(ControlError, match="other threads"):
                    await in_thread(blocking.call, "system.info", timeout_s=0.05)
            finally:
                blocking._lock.release()


FORKING = """
import os, sys, threading, time
from trio_socketio.control import ControlClient

client = ControlClient(sys.argv[1])
client.call("system.info")
results = []
ask = {"event": "q", "sockets": sys.argv[2:], "timeout_s": 1.5}
thread = threading.Thread(target=lambda: results.append(client.call("emit_with_ack", ask)))
thread.start()
while client._lock.acquire(blocking=False):  # until the thread has it
    client._lock.release()
    time.sleep(0.001)
child = os.fork()
if child == 0:
    try:
        client.call("system.info", timeout_s=1)
        client.close()
        os._exit(0)
    finally:
        os._exit(1)
print("child", os.waitpid(child, 0)[1])
thread.join()
print("parent", results[0]["asked"], client.call("system.info")["pid"])
"""


@pytest.mark.req("CONTROL-80")
@trio_test
async def test_after_a_fork_the_child_has_its_own_connection(tmp_path: Path) -> None:
    """The lock is held by another thread at the fork, and the parent's call goes on."""
    async with controlled(tmp_path) as where, where.client() as (_, socket_id):
        # Python 3.12 and later warn of a fork beside threads, which is what is tried here.
        warnings = ("-W", "error", "-W", "ignore::DeprecationWarning")
        command = [sys.executable, *warnings, "-c", FORKING, where.address, socket_id]
        with trio.fail_after(20):
            ended = await trio.run_process(command, capture_stdout=True)
    assert ended.stdout.decode().splitlines() == ["child 0", "parent 1 1"]


def test_a_server_that_reloads(tmp_path: Path) -> None:
    """The whole round for a script: no trio in it."""
    system = FakeSystem()
    ready: list[Controlled] = []
    stop: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []

    async def main() -> None:
        async with controlled(tmp_path, system=system) as where:
            event = trio.Event()
            stop.append((trio.lowlevel.current_trio_token(), event))
            ready.append(where)
            await event.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    path = tmp_path / "control" / "c.sock"
    while not ready:
        thread.join(0.01)
    with ControlClient(f"unix:{path}") as blocking:
        assert blocking.call("system.reload")["changed"] == ["log.level"]
    entered, event = stop[0]
    entered.run_sync_soon(event.set)
    thread.join(5)
    assert system.reloads == 1
