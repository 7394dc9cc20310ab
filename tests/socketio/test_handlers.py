"""How handlers run: in which order, beside what, and in which context."""

import functools
import json
import logging
import time
import types
from collections.abc import Generator
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties import examples
from tests.socketio.in_process import enter
from tests.socketio.serving import Record, ask, joined, pending, send_batch, serving, the_socket
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, ServerOptions, Socket
from trio_socketio.runtime.jobs import MAX_IDLE_WORKERS, Workers
from trio_socketio.socketio.handlers import Handler

KINDS = ("plain", "async", "concurrent")
# Of each client: batches of events; of each event: its kind and how often it suspends.
Script = list[list[list[tuple[str, int]]]]
scripts: st.SearchStrategy[Script] = st.lists(
    st.lists(
        st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=8),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=3,
)


def stepping_server() -> tuple[Server, Record]:
    """Events of each kind that suspend as often as they are told; begin and end are recorded."""
    server = Server(ServerOptions(handler_queue=4))
    seen = Record()

    @server.on("plain")
    def plain(socket: Socket, number: int, _: int) -> None:
        seen.add((socket.id, "begin", number, "plain"))
        seen.add((socket.id, "end", number, "plain"))

    async def step(kind: str, socket: Socket, number: int, suspensions: int) -> None:
        seen.add((socket.id, "begin", number, kind))
        for _ in range(suspensions):
            await trio.lowlevel.checkpoint()
        seen.add((socket.id, "end", number, kind))

    server.on("async")(functools.partial(step, "async"))
    server.on("concurrent", concurrent=True)(functools.partial(step, "concurrent"))
    return server, seen


@pytest.mark.req("SIO5-20")
@settings(max_examples=examples(25), deadline=None)
@given(script=scripts, transport=st.sampled_from(["websocket", "polling"]))
def test_events_of_one_socket_are_handled_in_order_one_at_a_time(
    script: Script, transport: str
) -> None:
    async def main() -> None:
        server, seen = stepping_server()
        async with serving(server) as port, AsyncExitStack() as stack:
            sent: dict[str, list[tuple[int, str]]] = {}
            async with trio.open_nursery() as nursery:
                for batches in script:
                    client, sid = await stack.enter_async_context(joined(port, transport))
                    numbered = [
                        [(100 * at + place, *event) for place, event in enumerate(batch)]
                        for at, batch in enumerate(batches)
                    ]
                    sent[sid] = [(n, kind) for batch in numbered for n, kind, _ in batch]

                    async def send(client: Any = client, numbered: Any = numbered) -> None:
                        for batch in numbered:
                            await send_batch(
                                client,
                                ["2" + json.dumps([kind, n, count]) for n, kind, count in batch],
                            )

                    nursery.start_soon(send)
            await seen.wait(2 * sum(map(len, sent.values())))
        for sid, events in sent.items():
            own = [entry for entry in seen.entries if entry[0] == sid]
            assert sorted(n for _, step, n, _ in own if step == "end") == sorted(
                n for n, _ in events
            )
            in_turn = [(step, n) for _, step, n, kind in own if kind != "concurrent"]
            expected = [n for n, kind in events if kind != "concurrent"]
            assert in_turn == [(step, n) for n in expected for step in ("begin", "end")]

    trio.run(main)


@trio_test
async def test_concurrent_handlers_of_one_socket_run_beside_each_other(transport: str) -> None:
    server = Server()
    begun = Record()
    finish = trio.Event()

    @server.on("meet", concurrent=True)
    async def meet(_: Socket, number: int) -> int:
        begun.add(number)
        await finish.wait()
        return number

    @server.on("other")
    async def other(_: Socket) -> str:
        return "not kept waiting"

    async with serving(server) as port, joined(port, transport) as (client, _):
        await send_batch(client, [f'2{number}["meet",{number}]' for number in range(5)])
        assert sorted(await begun.wait(5)) == [0, 1, 2, 3, 4]
        assert await ask(client, "other") == ["not kept waiting"]
        finish.set()
        answers = {(await client.receive())[0] for _ in range(5)}
        assert answers == {f"3{number}[{number}]" for number in range(5)}


@trio_test
async def test_no_event_waits_for_another_socket(transport: str) -> None:
    server = Server()
    finish = trio.Event()
    begun = Record()

    @server.on("block")
    async def block(_: Socket) -> None:
        begun.add(None)
        await finish.wait()

    @server.on("quick")
    async def quick(_: Socket) -> str:
        await trio.lowlevel.checkpoint()
        return "done"

    async with serving(server) as port, AsyncExitStack() as stack:
        for _ in range(20):
            client, _ = await stack.enter_async_context(joined(port, transport))
            await client.emit("block")
        await begun.wait(20)
        client, _ = await stack.enter_async_context(joined(port, transport))
        assert await ask(client, "quick") == ["done"]
        finish.set()


@trio_test
async def test_plain_handler_runs_in_the_turn_unless_others_wait() -> None:
    server = Server()
    tasks = Record()
    server.on("plain")(lambda _: tasks.add(trio.lowlevel.current_task()))

    @server.on("async")
    async def waiting(_: Socket) -> None:
        tasks.add(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await send_batch(client, ['2["plain"]', '2["plain"]', '2["async"]', '2["plain"]'])
        first, second, third, fourth = await tasks.wait(4)
        assert first is second
        assert first is not third
        assert third is fourth


variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_each_event_has_a_fresh_context_in_every_step(transport: str, kind: str) -> None:
    server = Server()
    seen = Record()
    variable.set("of the server")

    def begin(_: Socket, number: int) -> None:
        seen.add(variable.get())
        variable.set(f"of {number}")

    async def begin_async(socket: Socket, number: int) -> None:
        begin(socket, number)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            seen.add(variable.get() == f"of {number}")
        try:
            with trio.move_on_after(0):
                await trio.sleep_forever()
        finally:
            seen.add(variable.get() == f"of {number}")

        async def child() -> None:
            seen.add(variable.get() == f"of {number}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    server.on("go", concurrent=kind == "concurrent")(begin if kind == "plain" else begin_async)
    async with serving(server) as port:
        variable.set("of somebody else")
        async with joined(port, transport) as (client, _):
            await send_batch(client, ['2["go",0]', '2["go",1]', '2["go",2]'])
            entries = await seen.wait(3 if kind == "plain" else 18)
    assert [entry for entry in entries if entry is not True] == ["of the server"] * 3
    assert len(entries) == (3 if kind == "plain" else 18)
    assert variable.get() == "of somebody else"


@pytest.mark.parametrize("kind", KINDS)
@trio_test
async def test_failing_handler_is_logged_counted_and_harmless(
    transport: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.on("ping")(lambda _: "pong")

    def fail(_: Socket) -> None:
        raise ZeroDivisionError("the reason")

    async def fail_async(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        fail(socket)

    server.on("bad", concurrent=kind == "concurrent")(fail if kind == "plain" else fail_async)
    async with serving(server) as port, joined(port, transport) as (client, sid):
        await send_batch(client, ['2["bad"]', '2["bad"]'])
        assert await ask(client, "ping") == ["pong"]
        await server._workers.wait_idle()
        assert server.statistics().handler_failures == 2
        assert len(server.of("/").sockets) == 1
    assert caplog.text.count("ZeroDivisionError: the reason") == 2
    assert "'bad'" in caplog.text
    assert sid in caplog.text


@trio_test
async def test_wrong_number_of_arguments_is_the_handlers_failure(transport: str) -> None:
    server = Server()
    server.on("two")(lambda _, one, two: (two, one))
    async with serving(server) as port, joined(port, transport) as (client, _):
        await client.emit("two", 1, ack_id=1)
        await client.emit("two", 1, 2, 3, ack_id=2)
        assert await ask(client, "two", 1, 2) == [2, 1]
        assert server.statistics().handler_failures == 2


@trio_test
async def test_failing_connection_handler_leaves_the_client_connected(transport: str) -> None:
    server = Server()
    server.on("ping")(lambda _: "pong")

    @server.on("connection")
    def connected(_: Socket) -> None:
        raise RuntimeError

    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "ping") == ["pong"]
        assert the_socket(server).connected


@trio_test
async def test_handler_may_use_cancel_scopes_and_nurseries(transport: str) -> None:
    server = Server()

    @server.on("work")
    async def work(_: Socket) -> str:
        with trio.move_on_after(0.01) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep, 0)
        with trio.fail_after(1):
            await trio.to_thread.run_sync(lambda: None)
        return "cancelled" if scope.cancelled_caught else "?"

    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "work") == ["cancelled"]
        assert await ask(client, "work") == ["cancelled"]


@pytest.mark.parametrize("kind", ["plain", "async"])
@trio_test
async def test_slow_handler_is_logged_by_name(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(ServerOptions(slow_handler_s=0.01))

    def hog(_: Socket) -> None:
        time.sleep(0.03)

    async def hog_async(_: Socket) -> None:
        time.sleep(0.03)  # noqa: ASYNC251 - what must not be done

    server.on("hog")(hog if kind == "plain" else hog_async)
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await ask(client, "hog")
    assert "hog" in caplog.text
    assert any(record.levelno == logging.WARNING for record in caplog.records)


# --- the workers alone ---------------------------------------------------------------------------


class Waiting:
    """A job that waits."""

    def __init__(self, until: trio.Event) -> None:
        self.until = until
        self.task: trio.lowlevel.Task | None = None

    async def run(self, workers: Workers) -> bool:
        self.task = trio.lowlevel.current_task()
        await workers.call_async(self.until.wait)
        return True


@trio_test
async def test_workers_are_reused_and_idle_ones_are_bounded() -> None:
    workers = Workers()
    async with trio.open_nursery() as nursery:
        workers.start(nursery)
        finish = trio.Event()
        first = [Waiting(finish) for _ in range(MAX_IDLE_WORKERS + 10)]
        for job in first:
            workers.submit(job)
        await trio.testing.wait_all_tasks_blocked()
        assert len({job.task for job in first}) == len(nursery.child_tasks) == len(first)
        finish.set()
        await workers.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == MAX_IDLE_WORKERS
        second = [Waiting(finish) for _ in range(10)]
        for job in second:
            workers.submit(job)
        await workers.wait_idle()
        assert {job.task for job in second} <= {job.task for job in first}
        nursery.cancel_scope.cancel()
    workers.stop()
    workers.submit(Waiting(finish))  # nobody runs it, and nothing is raised
    await workers.wait_idle()


@trio_test
async def test_events_that_come_before_a_worker_or_after_the_end_are_given_up() -> None:
    server = Server()
    socket = enter(server.of("/"))
    ran: list[str] = []

    async def handle(_: Socket) -> None:
        ran.append("")

    in_order = Handler("a", handle, concurrent=False)
    beside = Handler("b", handle, concurrent=True)
    async with trio.open_nursery() as nursery:
        server._workers.queue_bound = 256
        server._workers.start(nursery)
        for handler in (in_order, beside, in_order):
            socket._open_events().dispatch(handler, [socket])
        server._workers.stop()
        assert server._workers.events_dropped == 3
        assert pending(socket) == 0
        nursery.cancel_scope.cancel()
    socket._open_events().dispatch(in_order, [socket])
    socket._open_events().dispatch(beside, [socket])
    assert server._workers.events_dropped == 5
    assert pending(socket) == 0
    assert not ran


def test_kinds_of_functions_are_told_apart() -> None:
    class Callable_:
        async def __call__(self, _: Socket) -> None: ...

    async def coroutine(_: int, __: Socket) -> None: ...

    def plain(_: int, __: Socket) -> None: ...

    def is_async(function: Any) -> bool:
        return Handler("x", function, concurrent=False).is_async

    assert is_async(Callable_())
    assert is_async(functools.partial(coroutine, 1))
    assert not is_async(functools.partial(plain, 1))
    assert not is_async(len)


@trio_test
async def test_a_plain_handler_that_gives_a_coroutine_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(ServerOptions())

    async def never_awaited() -> None:
        raise AssertionError

    @server.on("wrapped")
    def wrapped(_: Socket) -> Any:
        return never_awaited()

    @server.on("after")
    def after(_: Socket) -> str:
        return "alive"

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await client.emit("wrapped", ack_id=1)
        await client.emit("after", ack_id=2)
        assert await client.receive() == ('32["alive"]', [])
        assert server.statistics().handler_failures == 1
    assert "wrapped of 'wrapped' returned a coroutine" in caplog.text


@pytest.mark.parametrize("kind", ["plain", "async", "plain behind a listener"])
@trio_test
async def test_an_event_without_a_handler_is_told_by_its_name(transport: str, kind: str) -> None:
    server = Server()
    space = server.of("/")
    space.on("known")(lambda _: "known")

    if kind == "async":

        @space.on_unhandled
        async def unhandled(socket: Socket, event: str, *arguments: Any) -> list[Any]:
            await trio.lowlevel.checkpoint()
            return [socket.connected, event, *arguments]
    else:
        space.on_unhandled(lambda socket, *arguments: [socket.connected, *arguments])
    seen = []
    if "listener" in kind:
        server.on("connection")(lambda socket: socket.on_any(lambda event, *_: seen.append(event)))
    with pytest.raises(LocalProtocolError, match="already"):
        space.on_unhandled(print)
    async with serving(server) as port, joined(port, transport) as (client, _):
        assert await ask(client, "known") == ["known"]
        assert await ask(client, "unknown", 1, 2) == [[True, "unknown", 1, 2]]
        assert seen == (["known", "unknown"] if "listener" in kind else [])


@trio_test
async def test_children_inherit_the_handler_of_unhandled_events(transport: str) -> None:
    server = Server()
    parent = server.of(lambda name, auth: True)
    async with serving(server) as port, joined(port, transport, "/child") as (client, _):
        parent.on_unhandled(lambda _, event: event)
        assert await ask(client, "any", namespace="/child") == ["any"]
        await client.connect("/later")
        assert await ask(client, "other", namespace="/later") == ["other"]


def test_what_an_async_function_returns_need_not_be_a_coroutine_of_python_itself() -> None:
    """Compilers have kinds of their own."""

    class Compiled:
        def __await__(self) -> Generator[Any, Any, int]:
            yield from ()
            return 7

    def create() -> Compiled:
        return Compiled()

    assert Workers().begin(create, []) == 7


def test_a_generator_may_be_awaited_if_it_says_that_it_is_a_coroutine() -> None:
    @types.coroutine
    def create() -> Generator[Any, Any, int]:
        yield from ()
        return 7

    assert Workers().begin(create, []) == 7
