"""How failures of handlers are told."""

import logging
import re
from contextlib import suppress
from functools import partial
from typing import Any, Self

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.socketio.serving import ask, joined, serving, until
from trio.testing import trio_test

from trio_socketio import Server, SessionClosed, Socket
from trio_socketio.runtime.failures import IN_FULL, INTERVAL_S, FailureLog
from trio_socketio.runtime.jobs import Workers
from trio_socketio.runtime.sampling import MAX_KINDS
from trio_socketio.socketio.handlers import Handler


class Clock:
    """Stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    """What a FailureLog tells, and how many failures that is."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def in_full(self) -> int:
        return sum(record.exc_info is not None for record in self.records)

    @property
    def sums(self) -> list[int]:
        found = [record.args for record in self.records if "more times" in record.msg]
        return [int(str(args[1])) for args in found if isinstance(args, tuple)]

    def __enter__(self) -> Self:
        logging.getLogger("trio_socketio.runtime.failures").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trio_socketio.runtime.failures").removeHandler(self)


def test_the_first_come_in_full_and_the_others_once_a_minute() -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for _ in range(1000):
            failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums, len(lines.records)) == (IN_FULL, [], IN_FULL + 1)
        for second in range(1, 181):
            clock.now = 1000 + second
            failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums) == (IN_FULL, [1000 - IN_FULL + 60, 60, 60])
        failures.tell("handler", "id", KeyError("another"))  # is not lost among them
        failures.tell("other", "id", TypeError("x"))
        assert lines.in_full == IN_FULL + 2
        failures.tell("handler", "id", TypeError("x"))
        failures.flush()
        assert lines.sums[-1] == 1


def test_after_a_quiet_minute_tracebacks_come_again() -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for _ in range(IN_FULL + 3):
            failures.tell("handler", "id", TypeError("x"))
        clock.now += INTERVAL_S
        failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums) == (IN_FULL + 1, [3])


def test_what_is_remembered_is_bounded() -> None:
    failures = FailureLog(Clock())
    with Lines() as lines:
        for _ in range(IN_FULL + 2):
            failures.tell("0", "id", TypeError("x"))
        for number in range(1, MAX_KINDS + 10):
            failures.tell(str(number), "id", TypeError("x"))
        assert len(failures._sampler._kinds) == MAX_KINDS
        assert lines.sums == [2]  # of the one that was forgotten


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 1.0, 30.0, 61.0]))))
def test_every_failure_is_told_in_full_or_in_a_sum(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for whose, pause_s in steps:
            clock.now += pause_s
            failures.tell(whose, "id", ValueError())
        failures.flush()
        assert lines.in_full + sum(lines.sums) == len(steps)


@trio_test
async def test_a_client_cannot_fill_the_log(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("pair")
    def pair(_: Socket, first: int, second: int) -> None:
        raise AssertionError

    server.on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, _):
        for _ in range(50):
            await client.emit("pair", 1)
        assert await ask(client, "ping") == ["pong"]
        assert server.statistics().handler_failures == 50
        assert caplog.text.count("Traceback") == IN_FULL
    assert f"of 'pair' failed {50 - IN_FULL} more times with TypeError" in caplog.text


class Watcher:
    """An object of its own for every socket, as programs register them."""

    def __call__(self, *_: Any) -> None:
        raise AssertionError("a defect")


async def fail_after_a_step(*_: Any) -> None:
    await trio.lowlevel.checkpoint()
    raise AssertionError("a defect")


def fail(*_: Any) -> None:
    raise AssertionError("a defect")


def register_on_any(server: Server) -> None:
    server.on("connection")(lambda socket: socket.on_any(Watcher()))


def register_on_any_async(server: Server) -> None:
    server.on("connection")(lambda socket: socket.on_any(partial(fail_after_a_step, socket)))


def register_outgoing(server: Server) -> None:
    server.on("connection")(lambda socket: socket.on_any_outgoing(partial(fail, socket)))


def register_middleware(server: Server) -> None:
    server.on("connection")(lambda socket: socket.use(Watcher()))


def register_rooms(server: Server) -> None:
    server.of("/").adapter.on("join_room")(partial(fail, "x"))


def register_new_namespace(server: Server) -> None:
    server.on("new_namespace")(fail)


@pytest.mark.req("SURF-34")
@pytest.mark.parametrize(
    "register",
    [
        register_on_any,
        register_on_any_async,
        register_outgoing,
        register_middleware,
        register_rooms,
        register_new_namespace,
    ],
)
@trio_test
async def test_no_kind_of_listener_lets_clients_fill_the_log(
    transport: str, register: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    register(server)
    children = server.of(re.compile("/.+"))
    children.on("ping")(lambda _: "pong")

    async def come_and_ask(port: int, number: int) -> None:
        async with joined(port, transport) as (client, socket_id):
            for name in "abc":  # names that the client makes up
                await client.emit(f"{name}{number}")
            server.to(socket_id).emit("hello")
            await client.receive()
            await client.connect(f"/x{number}")
            await until(lambda: server.statistics().handler_failures > number)

    with caplog.at_level(logging.ERROR):
        async with serving(server) as port:
            for number in range(3 * IN_FULL):
                await come_and_ask(port, number)
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == IN_FULL
    assert len(caplog.records) == IN_FULL + 2  # that the others are summed up, and their sum


@pytest.mark.req("SURF-34")
@trio_test
async def test_failing_middleware_of_children_is_one_failure_for_the_log(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.of(re.compile("/.+")).use(fail)
    async with serving(server) as port, joined(port, transport) as (client, _):
        for number in range(3 * IN_FULL):
            await client.send(f"0/x{number},")
            text, _ = await client.receive()
            assert text.startswith(f"4/x{number},")
    assert caplog.text.count("Traceback") == IN_FULL


def test_server_side_handlers_are_summed_up_whatever_namespace_they_fail_in() -> None:
    workers = Workers()
    handler = Handler("tell", partial(fail, 1), concurrent=False)
    with Lines() as lines:
        for number in range(2 * IN_FULL):
            workers.log_failure(handler, f"server-side, /x{number}", AssertionError())
        assert lines.in_full == IN_FULL
    assert str(handler) == "handler fail of 'tell'"


async def ask_in_vain(socket: Socket) -> None:
    await socket.emit_with_ack("question")


async def ask_in_a_nursery(socket: Socket) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.emit_with_ack, "question")
        nursery.start_soon(socket.timeout(9).emit_with_ack, "question")


async def ask_when_gone(socket: Socket) -> None:
    with suppress(SessionClosed):
        await socket.emit_with_ack("question")
    await socket.emit_with_ack("too late")


async def drain_when_gone(socket: Socket) -> None:
    with suppress(SessionClosed):
        await socket.emit_with_ack("question")
    await socket.wait_drained()


@pytest.mark.req("SURF-35")
@pytest.mark.parametrize("wait", [ask_in_vain, ask_in_a_nursery, ask_when_gone, drain_when_gone])
@trio_test
async def test_an_answer_that_never_comes_because_the_client_left_is_no_failure(
    transport: str, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.on("begin")(wait)
    gone = trio.Event()
    server.on("disconnect")(lambda *_: gone.set())
    with caplog.at_level(logging.DEBUG, "trio_socketio"):
        async with serving(server) as port, joined(port, transport) as (client, _):
            await client.emit("begin")
            await client.receive()
            await client.send("1")
            await gone.wait()
            assert server.statistics().handler_failures == 0
    lines = [record for record in caplog.records if "handler" in record.getMessage()]
    assert [record.levelname for record in lines] == ["DEBUG"]
    assert "which has left" in lines[0].getMessage()


@pytest.mark.req("SURF-35")
@trio_test
async def test_another_socket_that_left_is_a_failure(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("ask_first")
    async def ask_first(socket: Socket) -> None:
        first = next(iter(server.of("/").sockets.values()))
        assert first is not socket
        await first.emit_with_ack("question")

    async with (
        serving(server) as port,
        joined(port, transport) as (first, _),
        joined(port, transport) as (second, _),
    ):
        await second.emit("ask_first")
        await first.receive()
        await first.send("1")
        await until(lambda: server.statistics().handler_failures == 1)
    assert "ask_first" in caplog.text
