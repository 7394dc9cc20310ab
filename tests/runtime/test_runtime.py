"""A whole program on one runtime: its listeners, its services, its lifespan, its stages."""

import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from tests.socketio.serving import ask, check_closed, open_client, until
from trio.testing import MockClock, trio_test

from trio_socketio import (
    Adapter,
    ConfigurationError,
    LocalProtocolError,
    Server,
    ServerOptions,
    Socket,
    open_server,
)
from trio_socketio.net.connection import Connection
from trio_socketio.net.lines import LineReceiver
from trio_socketio.runtime.connections import Connections
from trio_socketio.runtime.endpoints import (
    Endpoint,
    InheritedEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    bind,
)
from trio_socketio.runtime.options import ConnectionLimits, RuntimeOptions
from trio_socketio.runtime.runtime import END_S, Runtime, open_runtime
from trio_socketio.socketio.handlers import PrivateHandler

TIMEOUT_S = 10.0


def shouting(runtime: Runtime) -> Connections:
    """Connections that answer each line in capitals."""

    def serve(connection: Connection) -> None:
        receiver = LineReceiver(
            connection,
            lambda line: connection.write(line.upper() + b"\n"),
            lambda _: None,
            max_line_bytes=1000,
        )
        connection.set_receiver(receiver)

    return Connections(runtime.poller, runtime.deadlines, ConnectionLimits(), serve)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def request(stream: trio.abc.Stream) -> bytes:
    await stream.send_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return bytes(await stream.receive_some(4096))


@pytest.mark.req("RUN-01", "RUN-03")
@trio_test
async def test_one_program_with_many_listeners(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[str] = []
    sio = Server(ServerOptions(stop_grace_s=1))
    sio.on("ping")(lambda _: "pong")

    @sio.lifespan
    async def lifespan(server: Server) -> AsyncIterator[None]:
        told.append("lifespan begins")
        async with trio.open_nursery() as tasks:
            tasks.start_soon(trio.sleep_forever)
            server.emit("nobody is there yet")
            yield
            told.append("lifespan ends")
            tasks.cancel_scope.cancel()

    @sio.on("disconnect")
    async def disconnected(_: Socket, reason: str) -> None:
        await trio.sleep(0.05)
        told.append(f"disconnect: {reason}")

    async def service(*, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("ready")
        try:
            await trio.sleep_forever()
        finally:
            told.append("service ends")

    unix = tmp_path / "lines"
    with trio.fail_after(TIMEOUT_S):
        async with open_runtime() as runtime:
            assert await runtime.start_service("test", service) == "ready"
            lines = shouting(runtime)
            async with (
                runtime.holding(lines, flush_s=1),
                runtime.listening(lines, UnixEndpoint(unix)),
                sio.mounted(runtime) as connections,
                runtime.listening(
                    connections,
                    TcpEndpoint(port=0),
                    TcpEndpoint(port=0),
                    TcpEndpoint(port=0, tls=server_context(authority)),
                ) as addresses,
            ):
                assert told == ["lifespan begins"]
                ports = [port for _, port in addresses]
                assert len(set(ports)) == 3
                for port in ports[:2]:
                    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                        assert (await request(stream)).startswith(b"HTTP/1.1 404")
                trusting = ssl.create_default_context()
                authority.configure_trust(trusting)
                plain = await trio.open_tcp_stream("127.0.0.1", ports[2])
                tls = trio.SSLStream(plain, trusting, server_hostname="localhost")
                assert (await request(tls)).startswith(b"HTTP/1.1 404")
                await trio.aclose_forcefully(tls)
                async with await trio.open_unix_socket(unix) as stream:
                    await stream.send_all(b"hel")
                    await stream.send_all(b"lo\nagain\n")
                    received = b""
                    while received.count(b"\n") < 2:
                        received += await stream.receive_some(100)
                    assert received == b"HELLO\nAGAIN\n"
                async with AsyncExitStack() as clients:
                    for port in ports[:2]:
                        client = await clients.enter_async_context(open_client(port))
                        await client.connect()
                        assert await ask(client, "ping") == ["pong"]
                    sio.stop()
                    await sio.wait_stopping()
        assert not unix.exists()
    assert told[-2:] == ["lifespan ends", "service ends"]
    assert (
        told.count("disconnect: transport close") + told.count("disconnect: server shutting down")
        == 2
    )


@pytest.mark.req("RUN-02")
@trio_test
async def test_a_stop_goes_in_stages() -> None:
    told: list[str] = []

    class Closing(Adapter):
        def close(self) -> None:
            told.append("adapter")

    sio = Server(adapter=Closing)

    @sio.lifespan
    async def lifespan(_: Server) -> AsyncIterator[None]:
        yield
        told.append(f"lifespan, {sio.statistics().connections} connections")

    @sio.on("disconnect")
    async def disconnected(_: Socket, __: str) -> None:
        sessions = sio.statistics().sessions
        try:
            await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            told.append(f"handler, {sessions} sessions")

    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            told.append("service")

    with trio.fail_after(TIMEOUT_S):
        async with AsyncExitStack() as clients, open_runtime() as runtime:
            await runtime.start_service("test", service)
            async with (
                sio.mounted(runtime) as connections,
                runtime.listening(connections, TcpEndpoint(port=0)) as ((_, port),),
            ):
                client = await clients.enter_async_context(open_client(port))
                await client.connect()
    assert told == ["handler, 0 sessions", "lifespan, 0 connections", "adapter", "service"]


@pytest.mark.req("RUN-20")
@trio_test
async def test_sessions_are_closed_over_a_window() -> None:
    sio = Server(ServerOptions(stop_window_s=0.3))
    closed_at: list[float] = []
    sio.on("disconnect")(lambda *_: closed_at.append(trio.current_time()))
    async with open_server(sio) as addresses, AsyncExitStack() as clients:
        for _ in range(3):
            client = await clients.enter_async_context(open_client(addresses[0][1]))
            await client.connect()
        sio.stop()
        await check_closed(client)
    assert len(closed_at) == 3
    assert 0.1 < closed_at[2] - closed_at[0] < 2


@pytest.mark.req("RUN-22")
@trio_test
async def test_peers_that_do_not_take_their_last_bytes_are_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with open_runtime() as runtime:
        lines = shouting(runtime)
        async with (
            runtime.listening(lines, TcpEndpoint(port=0)) as ((_, port),),
            await trio.open_tcp_stream("127.0.0.1", port) as stream,
        ):
            with trio.fail_after(TIMEOUT_S):
                async with runtime.holding(lines, flush_s=0.1):
                    await stream.send_all(b"x\n")
                    assert await stream.receive_some(10) == b"X\n"
                    (connection,) = lines._open
                    connection.write(b"x" * 20_000_000)  # more than the kernel takes
                await until(lambda: len(lines) == 0)
    assert "waiting up to 0.1 s for 1 connections to take their last bytes" in caplog.messages


@pytest.mark.req("RUN-25")
@trio_test
async def test_the_log_says_what_a_stop_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sio = Server(ServerOptions(stop_grace_s=0.1, stop_window_s=0.1, stop_delay_s=0.01))
    began = trio.Event()

    @sio.on("work")
    async def work(_: Socket) -> None:
        began.set()
        await trio.sleep_forever()

    @sio.lifespan
    async def life(_: Server) -> AsyncIterator[None]:
        yield

    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with open_runtime() as runtime:
        await runtime.start_service("redis", service)
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(partial(sio.serve, port=0))
        async with open_client(address[1]) as client, open_client(address[1]) as other:
            await client.connect()
            await other.connect()
            await client.emit("work")
            await began.wait()
            sio.stop()
            await check_closed(other)
    messages = [record.getMessage() for record in caplog.records]
    assert "stopping: new clients are accepted for another 0.01 s" in messages
    assert "closing 2 sessions over 0.1 s" in messages
    assert any(message.startswith("waiting up to 0.1 s for") for message in messages)
    assert any("handlers took longer and are cancelled" in message for message in messages)
    assert any(message.startswith("waiting up to 0.1 s for the lifespan") for message in messages)
    assert "ending the services redis" in messages


@pytest.mark.req("RUN-04")
@trio_test
async def test_a_service_that_fails_ends_the_program_with_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail = trio.Event()

    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await fail.wait()
        raise ValueError("the other side is gone")

    sio = Server()

    async def run() -> None:
        async with (
            open_runtime() as runtime,
            sio.mounted(runtime) as connections,
            runtime.listening(connections, TcpEndpoint(port=0)) as ((_, port),),
        ):
            await runtime.start_service("redis", service)
            async with open_client(port) as client:
                await client.connect()
                fail.set()
                await trio.sleep_forever()

    with trio.fail_after(TIMEOUT_S), pytest.raises(ValueError, match="the other side is gone"):
        await run()
    assert "the service redis has failed: the program ends" in caplog.text
    assert sio.statistics().sessions == 0


@pytest.mark.req("RUN-04")
@trio_test
async def test_a_service_that_cannot_start_is_told_to_its_caller() -> None:
    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        raise OSError("refused")

    async with open_runtime() as runtime:
        with pytest.raises(OSError, match="refused"):
            await runtime.start_service("redis", service)


@trio_test
async def test_what_the_block_raises_comes_alone() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_runtime():
            raise KeyError("mine")


@trio_test
async def test_a_slow_turn_is_told_of_every_server_that_may_have_caused_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They share one poller; neither may speak for the other."""
    first, second = Server(), Server()

    @first.on("hog")
    def hog(_: Socket) -> None:
        time.sleep(0.05)

    @second.on("idle")
    def idle(_: Socket) -> None:
        pass

    async with (
        open_runtime(RuntimeOptions(slow_handler_s=0.02)) as runtime,
        first.mounted(runtime) as connections,
        runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
        second.mounted(runtime) as others,
        runtime.listening(others, TcpEndpoint(port=0)),
        open_client(addresses[0][1]) as client,
    ):
        await client.connect()
        await ask(client, "hog")
    assert "hog" in caplog.text
    caplog.clear()


@trio_test
async def test_no_handler_is_blamed_for_a_slow_turn_where_there_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sio = Server()

    def authenticate(_: Socket) -> None:
        time.sleep(0.05)

    sio.of("/")._registry.add_handler(PrivateHandler("auth", authenticate))
    async with (
        open_runtime(RuntimeOptions(slow_handler_s=0.02)) as runtime,
        sio.mounted(runtime) as connections,
        runtime.listening(connections, TcpEndpoint(port=0)) as addresses,
        open_client(addresses[0][1]) as client,
    ):
        runtime._note_slow_turn(0.117)
        await client.connect()
        await ask(client, "auth")
    first, *others = [line for line in caplog.messages if line.startswith("a turn took")]
    assert first == "a turn took 117 ms, and the last call was not to a handler of the app"
    assert others
    for line in others:
        assert line.endswith("and the last call was not to a handler of the app")
    caplog.clear()


@trio_test
async def test_a_runtime_belongs_to_one_thread() -> None:
    sio = Server()
    async with open_runtime() as runtime, sio.mounted(runtime):

        def misuse() -> None:
            with pytest.raises(LocalProtocolError, match="another thread"):
                runtime.check_thread()

        await trio.to_thread.run_sync(misuse)


# --- lifespans -----------------------------------------------------------------------------------


@pytest.mark.req("RUN-05")
@trio_test
async def test_lifespans_nest_in_the_order_of_registration() -> None:
    sio = Server()
    told: list[str] = []

    def register(name: str) -> None:
        @sio.lifespan
        async def lifespan(server: Server) -> AsyncIterator[None]:
            assert server is sio
            told.append(f"{name} begins")
            yield
            told.append(f"{name} ends")

    register("first")
    register("second")
    async with open_runtime() as runtime, sio.mounted(runtime):
        assert told == ["first begins", "second begins"]
    assert told[2:] == ["second ends", "first ends"]


@pytest.mark.req("RUN-05")
@pytest.mark.parametrize("when", ["before", "after", "task"])
@trio_test
async def test_a_lifespan_that_fails_ends_the_server(when: str) -> None:
    sio = Server()

    async def fail() -> None:
        await trio.sleep(0.01)
        raise ValueError(when)

    @sio.lifespan
    async def lifespan(_: Server) -> AsyncIterator[None]:
        if when == "before":
            raise ValueError(when)
        async with trio.open_nursery() as tasks:
            if when == "task":
                tasks.start_soon(fail)
            yield
        if when == "after":
            raise ValueError(when)

    async def run() -> None:
        async with open_runtime() as runtime, sio.mounted(runtime):
            if when == "task":
                await trio.sleep_forever()

    with trio.fail_after(TIMEOUT_S), pytest.raises(ValueError, match=when):
        await run()


@pytest.mark.req("RUN-23")
@pytest.mark.parametrize("fails", ["block", "nothing"])
def test_a_lifespan_that_does_not_end_is_cancelled(
    fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    sio = Server(ServerOptions(stop_grace_s=3))
    told: list[str] = []

    @sio.lifespan
    async def first(_: Server) -> AsyncIterator[None]:
        async with trio.open_nursery():
            try:
                yield
            finally:
                await trio.sleep(2)
                told.append("first ends")

    @sio.lifespan
    async def database(_: Server) -> AsyncIterator[None]:
        async with trio.open_nursery():
            try:
                yield
            finally:
                await trio.sleep_forever()

    async def run() -> None:
        async with open_runtime() as runtime, sio.mounted(runtime):
            if fails == "block":
                raise ValueError(fails)

    clock = MockClock(autojump_threshold=0.05)
    if fails == "block":
        with pytest.raises(ValueError, match=fails):
            trio.run(run, clock=clock)
    else:
        trio.run(run, clock=clock)
    assert told == ["first ends"]
    assert clock.current_time() == pytest.approx(5, abs=0.5)
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "database took longer and was cancelled" in warning.getMessage()


@trio_test
async def test_wrong_lifespans_are_refused() -> None:
    sio = Server()

    async def no_generator(_: Server) -> None:
        """It does not yield."""

    async def without_server() -> AsyncIterator[None]:
        yield

    wrong: list[Any] = [no_generator, without_server, print]
    for function in wrong:
        with pytest.raises(LocalProtocolError, match="lifespan"):
            sio.lifespan(function)
    async with open_runtime() as runtime, sio.mounted(runtime):
        with pytest.raises(LocalProtocolError, match="before it serves"):
            sio.lifespan(no_generator)  # type: ignore[arg-type]  # refused before it is looked at
        with pytest.raises(LocalProtocolError, match="running already"):
            async with sio.mounted(runtime):
                """Never reached."""


# --- endpoints -----------------------------------------------------------------------------------


async def serves(endpoint: Endpoint, connect: Any) -> None:
    async with open_runtime() as runtime:
        lines = shouting(runtime)
        async with (
            runtime.holding(lines, flush_s=1),
            runtime.listening(lines, endpoint),
            await connect() as stream,
        ):
            await stream.send_all(b"x\n")
            assert await stream.receive_some(10) == b"X\n"


@pytest.mark.req("RUN-06")
@pytest.mark.parametrize("family", ["tcp", "unix"])
@trio_test
async def test_an_inherited_socket_is_served(family: str, tmp_path: Path) -> None:
    path = tmp_path / "inherited"
    if family == "tcp":
        parent = socket.create_server(("127.0.0.1", 0))
        connect = partial(trio.open_tcp_stream, *parent.getsockname())
    else:
        parent = socket.socket(socket.AF_UNIX)
        parent.bind(str(path))
        parent.listen()
        connect = partial(trio.open_unix_socket, path)
    with parent:
        await serves(InheritedEndpoint(os.dup(parent.fileno())), connect)
    assert path.exists() == (family == "unix"), "the file belongs to the parent"


@pytest.mark.req("RUN-06")
@pytest.mark.parametrize("kind", ["closed", "file", "not listening"])
@trio_test
async def test_an_inherited_descriptor_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    if kind == "not listening":
        sock = socket.socket()
        number = sock.detach()
    else:
        number = os.open(tmp_path, os.O_RDONLY)
        if kind == "closed":
            os.close(number)
    with pytest.raises(ConfigurationError, match=f"inherited descriptor {number}"):
        await serves(InheritedEndpoint(number), None)
    if kind == "file":
        os.close(number)


@pytest.mark.req("RUN-07")
@trio_test
async def test_a_bound_endpoint_is_known_to_work_and_refuses_nobody_until_it_is_closed() -> None:
    async with bind(TcpEndpoint(port=0)) as bound, open_runtime() as runtime:
        lines = shouting(runtime)
        async with runtime.holding(lines, flush_s=1):
            async with runtime.listening(lines, bound) as (address,):
                with pytest.raises(ConfigurationError, match="another program"):
                    async with bind(TcpEndpoint(port=address[1])):
                        """Never reached."""
                async with await trio.open_tcp_stream(*address) as stream:
                    await stream.send_all(b"x\n")
                    assert await stream.receive_some(10) == b"X\n"
            with pytest.raises(OSError, match=r"refused|connect"):
                await trio.open_tcp_stream(*address)


# --- lines ---------------------------------------------------------------------------------------


@pytest.mark.req("RUN-08")
@trio_test
async def test_lines_are_cut_whatever_the_pieces(tmp_path: Path) -> None:
    async with open_runtime() as runtime:
        lines = shouting(runtime)
        path = tmp_path / "lines"
        async with (
            runtime.holding(lines, flush_s=1),
            runtime.listening(lines, UnixEndpoint(path)),
            await trio.open_unix_socket(path) as stream,
        ):
            sent = b"".join(b"line %d\n" % number for number in range(300))
            for at in range(0, len(sent), 700):
                await stream.send_all(sent[at : at + 700])
            received = b""
            while len(received) < len(sent):
                received += await stream.receive_some(4096)
            assert received == sent.upper()


@pytest.mark.req("RUN-08")
@pytest.mark.parametrize("ends", [b"", b"\n"])
@trio_test
async def test_a_line_that_is_too_long_ends_its_connection_alone(
    tmp_path: Path, ends: bytes
) -> None:
    async with open_runtime() as runtime:
        lines = shouting(runtime)
        path = tmp_path / "lines"
        async with (
            runtime.holding(lines, flush_s=1),
            runtime.listening(lines, UnixEndpoint(path)),
            await trio.open_unix_socket(path) as bystander,
            await trio.open_unix_socket(path) as stream,
        ):
            with trio.fail_after(TIMEOUT_S):
                try:
                    await stream.send_all(b"x" * 1001 + ends)
                    assert await stream.receive_some(10) == b""
                except trio.BrokenResourceError:
                    """The kernel tells it in this way, too."""
                await bystander.send_all(b"x" * 1000 + b"\n")
                assert await bystander.receive_some(2000) == b"X" * 1000 + b"\n"


@trio_test
async def test_what_has_no_effect_beside_endpoints_is_refused(authority: trustme.CA) -> None:
    """A context that is left unused would mean cleartext where the program believes in TLS."""
    for given in ({"ssl_context": server_context(authority)}, {"unix_path": Path("x")}):
        with pytest.raises(ConfigurationError, match="no effect beside endpoints"):
            async with open_server(Server(), endpoints=[TcpEndpoint(port=0)], **given):
                pass


@pytest.mark.req("RUN-03", "RUN-42")
@trio_test
async def test_services_end_one_after_another(mock_clock: MockClock) -> None:
    """The last one first; one that is asked to end has time for it, and others are cancelled."""
    mock_clock.autojump_threshold = 0
    ended: list[tuple[str, float]] = []
    asked = trio.Event()

    async def run(name: str, takes_s: float, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await asked.wait()
            await trio.sleep(takes_s)
        finally:
            ended.append((name, trio.current_time()))

    async with open_runtime() as runtime:
        await runtime.start_service("store", partial(run, "store", inf))
        await runtime.start_service("control", partial(run, "control", 3.0), end=asked.set)
        await runtime.start_service("watch", partial(run, "watch", inf))
        began = trio.current_time()
    after = [(name, at - began) for name, at in ended]
    assert after == [("watch", 0.0), ("control", 3.0), ("store", 3.0)]


@pytest.mark.req("RUN-42")
@trio_test
async def test_a_service_that_does_not_end_is_cancelled(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    mock_clock.autojump_threshold = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    async with open_runtime() as runtime:
        await runtime.start_service("stuck", run, end=lambda: None)
        began = trio.current_time()
    assert trio.current_time() - began == END_S
    assert "the service stuck took longer and is cancelled" in caplog.text
