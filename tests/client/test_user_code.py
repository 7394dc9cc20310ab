"""Whatever the program's own code raises ends neither the client nor the program."""

import logging
import signal
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tests.client.fake_server import FakeServer, options
from tests.client.serving import QUICK, connected, create_server, wait_transport
from tests.socketio.serving import serving, until
from tests.wire import TIMEOUT_S
from trio.testing import MockClock, trio_test

from trio_socketio import ConnectFailed, open_client
from trio_socketio.codec.parsers import PARSERS
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.runtime.failures import IN_FULL


class OwnBaseException(BaseException):
    """Of no class that a program would catch."""


FAILURES: list[Callable[[], BaseException]] = [
    lambda: ValueError("oh no"),
    lambda: SystemExit(3),
    lambda: KeyboardInterrupt(),
    lambda: GeneratorExit(),
    lambda: OwnBaseException(),
    lambda: BaseExceptionGroup("several", [SystemExit(3), ValueError("oh no")]),
]
KINDS = ("plain", "async", "async after a while", "catch-all", "hook")


@pytest.mark.req("CLI-18")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_a_handler_that_raises_is_counted_and_told(
    kind: str, failure: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(create_server(), ("websocket",)) as client:

        def fail(*_: Any) -> None:
            raise failure()

        async def fail_async(*_: Any) -> None:
            if kind == "async after a while":
                await trio.sleep(0.001)
            raise failure()

        if kind == "catch-all":
            client.on_any(fail)
        else:
            name = "connect" if kind == "hook" else "echo"
            client.on(name)(fail_async if kind.startswith("async") else fail)
        assert await client.emit_with_ack("echo", 1) == 1
        await until(lambda: client.handler_failures == 1)
        seen: list[int] = []
        client.on("number")(seen.append)
        client.emit("count", 3)  # a catch-all fails for these too
        await until(lambda: seen == [0, 1, 2])
        assert client.connected
        assert client.joined_count == 1
        assert client.handler_failures == (4 if kind == "catch-all" else 1)
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    of = {"catch-all": "of any event", "hook": "of 'connect'"}.get(kind, "of 'echo'")
    assert len(told) == client.handler_failures
    assert f"{of} failed" in told[0].getMessage()
    assert told[0].exc_info is not None
    assert type(told[0].exc_info[1]) is type(failure())


@pytest.mark.req("CLI-18")
@trio_test
async def test_a_cancellation_passes_and_what_came_with_it_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(create_server(), ("websocket",)) as client:
        started = trio.Event()

        @client.on("echo")
        async def echo(*_: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail_at_the_end)
                started.set()
                await trio.sleep_forever()

        async def fail_at_the_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while it was cancelled")

        client.emit("echo")
        await started.wait()
    assert client.handler_failures == 1
    assert "while it was cancelled" in caplog.text


@trio_test
async def test_splitting_a_cancellation_from_a_failure() -> None:
    error = ValueError()
    assert split_failure(error) == (error, None)
    group = BaseExceptionGroup("a", [SystemExit(), BaseExceptionGroup("b", [error])])
    failure, stopped = split_failure(group)
    assert stopped is None
    assert repr(failure) == repr(group)

    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(trio.Cancelled) as caught:
            await trio.lowlevel.checkpoint()
        cancelled = caught.value
        assert split_failure(cancelled) == (None, cancelled)
        failure, stopped = split_failure(BaseExceptionGroup("both", [error, cancelled]))
        assert isinstance(failure, BaseExceptionGroup)
        assert failure.exceptions == (error,)
        assert isinstance(stopped, BaseExceptionGroup)
        assert stopped.exceptions == (cancelled,)


def test_a_task_that_is_thrown_away_is_no_failure() -> None:
    """Where no trio runs, a GeneratorExit was not raised by a handler."""
    error = GeneratorExit()
    assert split_failure(error) == (None, error)


@pytest.mark.req("CLI-18")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_real_interrupt_in_a_handler_ends_the_program(is_async: bool) -> None:
    """Ctrl-C is for the program, and does not pass for an exception of the handler."""
    finished = False

    async def main() -> None:
        async with connected(create_server(), ("websocket",)) as client:

            def interrupt(*_: Any) -> None:
                nonlocal finished
                signal.raise_signal(signal.SIGINT)
                finished = True

            async def interrupt_async(*_: Any) -> None:
                interrupt()

            client.on("echo")(interrupt_async if is_async else interrupt)
            client.emit("echo")
            await trio.sleep_forever()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.RaisesGroup(KeyboardInterrupt, allow_unwrapped=True, flatten_subgroups=True):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)
    assert finished


@pytest.mark.req("CLI-19")
@trio_test
async def test_failures_of_handlers_are_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(create_server(), ("websocket",)) as client:

        @client.on_any
        def fail(*_: Any) -> None:
            raise ValueError("oh no")

        client.emit("count", 50)
        await until(lambda: client.handler_failures == 50)
        assert caplog.text.count("Traceback") == IN_FULL
    assert f"failed {50 - IN_FULL} more times with ValueError" in caplog.text


@pytest.mark.req("CLI-19")
@trio_test
async def test_names_from_the_server_do_not_make_new_kinds_of_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = create_server()

    @server.on("many")
    def many(socket: Any) -> None:
        for number in range(50):
            socket.emit(f"name {number}")

    async with connected(server, ("websocket",)) as client:

        @client.on_any
        async def fail(*_: Any) -> None:
            raise ValueError("oh no")

        client.emit("many")
        await until(lambda: client.handler_failures == 50)
    assert caplog.text.count("Traceback") == IN_FULL


@trio_test
async def test_a_failure_names_its_namespace(caplog: pytest.LogCaptureFixture) -> None:
    server = create_server()
    server.of("/chat").on("connection")(lambda socket: socket.emit("hello"))
    async with connected(server, ("websocket",), namespaces=["/", "/chat"]) as client:
        client.of("/chat").on("hello")(lambda: 1 / 0)
        await until(lambda: client.handler_failures == 1)
    assert "of 'hello' in /chat failed" in caplog.text


@pytest.mark.req("CLI-18")
@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_auth_that_raises_when_connecting_again(
    autojump_clock: MockClock, failure: Callable[[], BaseException]
) -> None:
    server = FakeServer()
    told: list[Exception] = []
    asked = 0

    def auth(_: str) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise failure()
        return {}

    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            end = await server.accept_websocket()
            await end.join()
            await end.drop()
            end = await server.accept_websocket()
            await end.send('0{"sid":"x","upgrades":[],"pingInterval":9000,"pingTimeout":9000}')
            assert await end.receive() == "closed"
            end = await server.accept_websocket()
            await end.join("third")

        nursery.start_soon(serve)
        async with server.client(auth=auth, options=options()) as client:
            client.on("connect_error")(told.append)
            joined_again = trio.Event()
            client.on("connect")(lambda: joined_again.set() if client.id == "third" else None)
            with trio.fail_after(60):
                await joined_again.wait()
        nursery.cancel_scope.cancel()
    assert [type(error) for error in told] == [type(failure())]


@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_auth_that_raises_at_first_is_the_callers(
    failure: Callable[[], BaseException],
) -> None:
    def auth(_: str) -> dict[str, Any]:
        raise failure()

    async with serving(create_server()) as port:
        with pytest.raises(type(failure())):
            async with open_client(f"http://127.0.0.1:{port}", auth=auth):
                raise AssertionError("never")


@pytest.mark.req("CLI-18")
@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_a_parser_that_raises_ends_the_connection_alone(
    failure: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    json_parser = PARSERS["json"]

    class Parser:
        arguments_encoder = staticmethod(json_parser.arguments_encoder)
        encode_packet = staticmethod(json_parser.encode_packet)
        decode_binary = staticmethod(json_parser.decode_binary)
        failed = False

        @classmethod
        def decode_text(cls, text: bytes) -> Any:
            if b"echo" in text and not cls.failed:
                cls.failed = True
                raise failure()
            return json_parser.decode_text(text)

    async with connected(create_server(), ("websocket",), parser=Parser()) as client:
        reasons: list[str] = []
        client.on("disconnect")(reasons.append)
        client.emit("echo", 1)
        await until(lambda: client.joined_count == 2)
        assert reasons == ["parse error"]
        assert await client.emit_with_ack("echo", 2) == 2
    assert "reading from the server failed, which ends the connection" in caplog.text
    assert type(failure()).__name__ in caplog.text


@pytest.mark.req("CLI-11", "CLI-18")
@pytest.mark.parametrize("failure", FAILURES)
@trio_test
async def test_an_open_stream_that_raises_during_the_upgrade(
    failure: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(create_server()) as port:
        failed = trio.Event()

        async def open_stream() -> trio.abc.Stream:
            if any(frame.name == "upgrade" for frame in traceback.extract_stack()):
                failed.set()
                raise failure()
            return await trio.open_tcp_stream("127.0.0.1", port)

        async with connected_by(open_stream) as client:
            with trio.fail_after(TIMEOUT_S):
                await failed.wait()
            assert await client.emit_with_ack("echo", 1) == 1
            assert (client.transport, client.joined_count) == ("polling", 1)
    assert "the upgrade failed, and the session stays on polling" in caplog.text


@pytest.mark.req("CLI-18")
@trio_test
async def test_an_open_stream_that_raises_is_a_failed_attempt() -> None:
    async with serving(create_server()) as port:
        calls = 0

        async def open_stream() -> trio.abc.Stream:
            nonlocal calls
            calls += 1
            if 3 < calls < 7:
                raise LookupError("no proxy")
            return await trio.open_tcp_stream("127.0.0.1", port)

        async with connected_by(open_stream) as client:
            assert await client.emit_with_ack("echo", 1) == 1
            client.emit("put me out", True)
            assert await client.wait_closed()
            client.on("connect_error")(lambda _: None)
            await client.connect()
            assert await client.emit_with_ack("echo", 2) == 2


class BadlyClosed(trio.abc.Stream):
    """A stream of the program, which raises when it is closed."""

    def __init__(self, stream: trio.abc.Stream, failure: BaseException) -> None:
        self._stream = stream
        self._failure = failure

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            raise self._failure


@pytest.mark.req("CLI-18")
@pytest.mark.parametrize("failure", [*FAILURES, lambda: OSError(5, "close failed")])
@trio_test
async def test_a_stream_that_raises_when_it_is_closed(
    failure: Callable[[], BaseException], transports: tuple[str, ...]
) -> None:
    """The first session is treated like all others, and each stream is closed."""
    server = create_server()
    async with serving(server) as port:

        async def open_stream() -> trio.abc.Stream:
            return BadlyClosed(await trio.open_tcp_stream("127.0.0.1", port), failure())

        async with open_client(
            "http://fake.example", open_stream=open_stream, options=QUICK, transports=transports
        ) as client:
            reasons: list[str] = []
            client.on("disconnect")(reasons.append)
            client.on("connect_error")(lambda error: reasons.append(str(error)))
            for _ in range(2):
                await wait_transport(client, transports[-1])
                assert await client.emit_with_ack("echo", 1) == 1
                client.emit("put me out", True)
                await client.wait_closed()
                await client.connect()
            await wait_transport(client, transports[-1])
            assert client.joined_count == 3
            assert reasons == ["io server disconnect"] * 2
        await until(lambda: server.statistics().connections == 0)


@pytest.mark.req("CLI-18")
@trio_test
async def test_a_stream_that_raises_when_it_is_closed_after_it_was_refused() -> None:
    """The program is told why it was not connected, not what came of closing."""
    server = create_server()
    async with serving(server) as port:

        async def open_stream() -> trio.abc.Stream:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            return BadlyClosed(stream, OSError(5, "close failed"))

        with pytest.raises(ConnectFailed, match="404"):
            async with open_client("http://fake.example/wrong/", open_stream=open_stream):
                raise AssertionError("never")


def connected_by(open_stream: Any) -> Any:
    return open_client("http://fake.example", open_stream=open_stream, options=QUICK)
