"""Whatever user code raises is its own failure: SystemExit and its like end nothing else."""

import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.lowlevel
from tests.socketio.serving import ask, joined, send_batch, serving, the_socket, until
from tests.wire import SocketIOClient
from trio.testing import trio_test

from trio_socketio import Adapter, Server, ServerOptions, Socket, open_server
from trio_socketio.codec.parsers import JSON, Parser
from trio_socketio.runtime.barrier import split_failure
from trio_socketio.socketio import socket_life

TRANSPORTS = ["websocket", "polling"]


class Own(BaseException):
    """A BaseException of the program's own."""


FAULTS = [SystemExit, KeyboardInterrupt, GeneratorExit, Own]


class Fault:
    """User code that fails while it is armed, in each way in which it can be called."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.armed = False
        self.raised = 0

    def plain(self, *_: Any) -> bool:
        if self.armed:
            self.raised += 1
            raise self.kind("of a handler")
        return True

    async def at_once(self, *_: Any) -> bool:
        return self.plain()

    async def later(self, *_: Any) -> bool:
        await trio.lowlevel.checkpoint()
        return self.plain()

    async def in_a_group(self, *_: Any) -> bool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.later)
            nursery.start_soon(trio.lowlevel.checkpoint)
        return True


WAYS = ["plain", "at_once", "later", "in_a_group"]


async def provoke(fault: Fault, act: Callable[[], Awaitable[None]]) -> None:
    """Act until user code has failed: on a busy machine once may not be enough."""
    with trio.fail_after(20):
        while True:
            await act()
            if fault.raised:
                break


async def misbehave(port: int, transport: str, namespace: str = "/") -> None:
    """Do all that a client can do; it may be refused, or lose its session."""
    with trio.move_on_after(0.2), suppress(Exception):
        async with joined(port, transport, namespace) as (client, _):
            await client.emit("fail", namespace=namespace)
            await client.emit("fail", namespace=namespace)
            await client.send("1" if namespace == "/" else f"1{namespace},")
            await trio.sleep(0.02)


async def check_bystander(client: SocketIOClient) -> None:
    """Somebody else's events are handled and answered."""
    assert await ask(client, "ask") == [1]


def on_fail(sio: Server, function: Callable[..., Any]) -> None:
    sio.on("fail")(function)


def on_connection(sio: Server, function: Callable[..., Any]) -> None:
    sio.on("connection")(function)


def on_disconnect(sio: Server, function: Callable[..., Any]) -> None:
    sio.on("disconnect")(function)


def use_namespace(sio: Server, function: Callable[..., Any]) -> None:
    sio.use(function)


def use_engine(sio: Server, function: Callable[..., Any]) -> None:
    sio.engine.use(_give_nothing(function))


def use_socket(sio: Server, function: Callable[..., Any]) -> None:
    sio.on("connection")(lambda socket: socket.use(function))
    sio.on("fail")(lambda _: None)


def on_any(sio: Server, function: Callable[..., Any]) -> None:
    sio.on("connection")(lambda socket: socket.on_any(function))
    sio.on("fail")(lambda _: None)


def _give_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    async def middleware(request: Any) -> None:
        await function(request)

    def plain(request: Any) -> None:
        function(request)

    return plain if function.__name__ == "plain" else middleware


PLACES = [
    on_fail, on_connection, on_disconnect, use_namespace, use_engine, use_socket, on_any,
]  # fmt: skip


@pytest.mark.req("CODE-01")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", FAULTS)
@trio_test
async def test_what_user_code_raises_is_its_own_failure(
    kind: type[BaseException], place: Callable[[Server, Callable[..., Any]], None], way: str
) -> None:
    sio, fault = Server(), Fault(kind)
    sio.on("ask")(lambda _: 1)
    place(sio, getattr(fault, way))
    async with serving(sio) as port, joined(port, "websocket") as (bystander, _):
        fault.armed = True
        await provoke(fault, lambda: misbehave(port, "websocket"))
        await until(lambda: sio.statistics().handler_failures >= fault.raised > 0)
        fault.armed = False
        await check_bystander(bystander)
        async with joined(port, "polling") as (client, _):
            await check_bystander(client)


@pytest.mark.req("CODE-01")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", FAULTS)
@trio_test
async def test_an_event_that_waits_behind_such_a_failure_is_handled(
    kind: type[BaseException], transport: str
) -> None:
    sio, fault = Server(), Fault(kind)
    sio.on("fail")(fault.later)
    sio.on("ask")(lambda _: 1)
    async with serving(sio) as port, joined(port, transport) as (client, _):
        fault.armed = True
        for _ in range(3):
            await client.emit("fail", ack_id=1)
        await check_bystander(client)
        assert sio.statistics().handler_failures == 3


def with_option(name: str) -> Callable[[Fault, str], Server]:
    def create(fault: Fault, way: str) -> Server:
        function = getattr(fault, way)
        if name == "generate_id":
            function = _named(function, way)
        if name == "cors_origins":
            return Server(ServerOptions(cors_origins=(function,)))
        return Server(ServerOptions(**{name: function}))

    return create


def _named(function: Callable[..., Any], way: str) -> Callable[..., Any]:
    count = iter(range(100))

    async def name(request: Any) -> str:
        await function(request)
        return f"session-{next(count)}"

    def plain(request: Any) -> str:
        function(request)
        return f"session-{next(count)}"

    return plain if way == "plain" else name


def with_hook(register: Callable[[Server, Callable[..., Any]], Any]) -> Callable[..., Server]:
    def create(fault: Fault, way: str) -> Server:
        sio = Server()
        register(sio, getattr(fault, way))
        return sio

    return create


def with_engine_event(event: str) -> Callable[..., Server]:
    return with_hook(lambda sio, function: sio.engine.on(event)(function))


def with_room_event(event: str) -> Callable[..., Server]:
    return with_hook(lambda sio, function: sio.of("/").adapter.on(event)(function))


def with_adapter(method: str) -> Callable[[Fault, str], Server]:
    def create(fault: Fault, _: str) -> Server:
        class Failing(Adapter):
            def __getattribute__(self, name: str) -> Any:
                found = super().__getattribute__(name)
                if name != method:
                    return found

                def fail(*arguments: Any, **named: Any) -> Any:
                    fault.plain()
                    return found(*arguments, **named)

                return fail

        sio = Server(adapter=Failing)
        sio.on("fail")(lambda socket: socket.join("room"))
        return sio

    return create


def with_parser(method: str) -> Callable[[Fault, str], Server]:
    def create(fault: Fault, _: str) -> Server:
        def fail(*arguments: Any) -> Any:
            fault.plain()
            return getattr(JSON, method)(*arguments)

        return Server(parser=_copy(JSON, method, fail))

    return create


def _copy(parser: Parser, method: str, function: Callable[..., Any]) -> Any:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return function if name == method else getattr(parser, name)

    return Failing()


ELSEWHERE = [
    *(
        pytest.param(with_option(name), way, id=f"{name}-{way}")
        for name in ("allow_request", "generate_id")
        for way in WAYS
    ),
    pytest.param(with_option("cors_origins"), "plain", id="cors_origins"),
    *(
        pytest.param(with_hook(lambda sio, f: sio.of(f)), way, id=f"predicate-{way}")
        for way in WAYS
    ),
    *(
        pytest.param(with_engine_event(event), "plain", id=event)
        for event in ("initial_headers", "headers", "connection")
    ),
    *(
        pytest.param(with_room_event(event), "plain", id=event)
        for event in ("create_room", "join_room", "leave_room", "delete_room")
    ),
    pytest.param(
        with_hook(
            lambda sio, f: sio.on("fail")(
                lambda socket: (socket.on_any_outgoing(f), socket.emit("x"))[:0]
            )
        ),
        "plain",
        id="outgoing",
    ),
    pytest.param(
        with_hook(lambda sio, f: (sio.of(lambda name, _: True), sio.on("new_namespace")(f))),
        "plain",
        id="new_namespace",
    ),
    *(
        pytest.param(with_adapter(method), "plain", id=f"adapter.{method}")
        for method in ("add", "remove_all")
    ),
    pytest.param(with_parser("encode_packet"), "plain", id="parser"),
]


@pytest.mark.req("CODE-01")
@pytest.mark.parametrize(("create", "way"), ELSEWHERE)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
@trio_test
async def test_other_code_of_the_program_ends_at_most_its_own_client(
    kind: type[BaseException], create: Callable[[Fault, str], Server], way: str
) -> None:
    fault = Fault(kind)
    sio = create(fault, way)
    sio.on("ask")(lambda _: 1)
    with trio.fail_after(40):
        async with open_server(sio) as addresses:
            port = addresses[0][1]
            async with joined(port, "websocket") as (bystander, own_id):
                fault.armed = True

                async def act() -> None:
                    await misbehave(port, "websocket")
                    await misbehave(port, "polling", "/dynamic")
                    if fault.raised == 0:  # origins are asked about only when there is one
                        await _fetch_as_page(port)

                await provoke(fault, act)
                fault.armed = False
                await check_bystander(bystander)
                async with joined(port, "polling") as (client, _):
                    await check_bystander(client)
                assert own_id in sio.of("/").sockets


async def _fetch_as_page(port: int) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(
            b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"
            b"Origin: https://page.example\r\n\r\n"
        )
        with trio.fail_after(5):
            assert await stream.receive_some()


@pytest.mark.req("CODE-01")
@trio_test
async def test_a_socket_leaves_even_if_its_adapter_fails() -> None:
    class Failing(Adapter):
        def remove_all(self, socket: Socket) -> None:
            raise Own

    sio = Server(adapter=Failing)
    reasons: list[str] = []
    sio.on("disconnect")(lambda _, reason: reasons.append(reason))
    async with serving(sio) as port:
        async with joined(port, "websocket") as (client, _):
            the_socket(sio).join("room")
            await client.send("1")
            await client.connect()  # what follows a leave waits until it is over
        await until(lambda: len(reasons) == 2)
        assert not sio.of("/").sockets
        assert sio.statistics().handler_failures == 2


@pytest.mark.alone
@trio_test
async def test_packets_for_a_socket_that_cannot_leave_do_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Socket) -> None:
        raise ValueError("a defect")

    sio = Server()
    sio.on("ask")(lambda _: 1)
    with trio.fail_after(10):
        async with open_server(sio) as addresses:
            port = addresses[0][1]
            async with (
                joined(port, "websocket") as (bystander, _),
                joined(port, "websocket") as (client, _),
            ):
                with monkeypatch.context() as patched:
                    patched.setattr(socket_life, "_leave_rooms", fail)
                    await send_batch(client, ["1", '2["ask"]'])
                    await check_bystander(bystander)
                    await until(lambda: sio.statistics().sessions == 1)
                    busy = time.process_time()
                    await trio.sleep(0.2)
                    assert time.process_time() - busy < 0.15  # nobody looks again and again


@pytest.mark.req("CODE-02")
@trio_test
async def test_handlers_are_cancelled_when_the_server_ends() -> None:
    seen: list[str] = []
    sio = Server(ServerOptions(stop_grace_s=0.05))

    async def wait(_: Socket | None) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    async def wait_and_fail(_: Socket) -> None:
        async def fail() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise SystemExit("while cancelled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(wait, None)

    sio.on("wait", concurrent=True)(wait)
    sio.on("fail", concurrent=True)(wait_and_fail)
    with trio.fail_after(5):
        async with serving(sio) as port, joined(port, "websocket") as (client, _):
            await client.emit("wait")
            await client.emit("fail")
            await until(lambda: sio._workers.running is not None)
            await trio.sleep(0.05)
    assert seen == ["cancelled", "cancelled"]
    assert sio.statistics().handler_failures == 1  # the SystemExit; no Cancelled is a failure


@pytest.mark.req("CODE-02")
def test_ctrl_c_reaches_the_program_and_no_handler() -> None:
    sio = Server()
    seen: list[BaseException] = []

    @sio.on("interrupt")
    def interrupt(_: Socket) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            seen.append(error)
        return 1

    @sio.on("interrupt late")
    async def interrupt_late(socket: Socket) -> int:
        await trio.lowlevel.checkpoint()
        return interrupt(socket)

    async def main(name: str) -> None:
        with trio.fail_after(5):
            async with serving(sio) as port, joined(port, "websocket") as (client, _):
                await client.emit(name, ack_id=1)
                await trio.sleep_forever()

    for name in ("interrupt", "interrupt late"):
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
            trio.run(main, name)
        found: BaseException = caught.value
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        assert isinstance(found, KeyboardInterrupt)
    assert seen == []
    assert sio.statistics().handler_failures == 0


CRASH = """
import gc, logging, sys
import trio
from tests.socketio.serving import joined, the_socket
from trio_socketio import Server, open_server
from trio_socketio.socketio import socket_life

logging.basicConfig(stream=sys.stdout, format="%(message)s")
sio = Server()

async def wait(*_):
    try:
        await trio.sleep_forever()
    except GeneratorExit:
        print("closed")
        raise

sio.on("wait")(wait)
sio.on("wait too")(wait)

async def main():
    async with open_server(sio) as addresses:
        async with joined(addresses[0][1], "websocket") as (client, _):
            the_socket(sio).on_any(wait if "listener" in sys.argv else lambda *_: None)
            await client.emit("wait")
            await client.emit("wait too")
            await trio.sleep(0.1)
            with trio.move_on_after(0.01):  # this breaks trio's own loop
                await trio.lowlevel.wait_task_rescheduled(lambda _: 1 // 0)

try:
    trio.run(main)
except trio.TrioInternalError:
    print("crashed")
gc.collect()
"""


@pytest.mark.req("CODE-02")
@pytest.mark.parametrize("who", ["handler", "listener"])
def test_a_handler_is_closed_when_trio_crashes(who: str) -> None:
    """In a process of its own: trio leaves a mess behind then."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, who], capture_output=True, text=True, timeout=30, check=False
    )
    told = done.stdout.splitlines()
    assert "crashed" in told, done.stderr
    assert told.count("closed") == 1, told  # the event behind it was not begun
    assert not [line for line in told if "failed" in line]


def test_what_unwinds_a_task_is_told_from_failures() -> None:
    async def cancelled() -> BaseException:
        caught: list[BaseException] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
                raise
        return caught[0]

    unwinding = trio.run(cancelled)
    failure = SystemExit()
    assert split_failure(unwinding) == (None, unwinding)
    assert split_failure(failure) == (failure, None)
    assert split_failure(GeneratorExit())[0] is None
    group = ExceptionGroup("", [ValueError()])
    assert split_failure(group) == (group, None)
    mixed = BaseExceptionGroup("", [BaseExceptionGroup("", [unwinding, failure]), ValueError()])
    left, right = split_failure(mixed)
    assert isinstance(left, BaseExceptionGroup)
    assert isinstance(right, BaseExceptionGroup)
    assert left.subgroup(trio.Cancelled) is None
    assert right.subgroup(lambda error: not isinstance(error, BaseExceptionGroup)) is not None
    only = BaseExceptionGroup("", [failure])
    assert split_failure(only) == (only, None)
    assert split_failure(BaseExceptionGroup("", [unwinding]))[0] is None
