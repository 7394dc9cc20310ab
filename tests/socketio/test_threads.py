"""Other threads: wrong calls raise and change nothing, right ones are all made."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any

import pytest
import trio
import trio.lowlevel
from tests.socketio.serving import ask, joined, serving, the_socket, until
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, ServerOptions, Socket, open_server
from trio_socketio.engine.listener import NOBODY

TRANSPORTS = ["websocket", "polling"]


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in another thread; a call that hangs fails the test rather than hanging it."""
    with trio.fail_after(5):
        return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True)


async def refused(function: Callable[..., Any], *arguments: Any) -> None:
    """It raises in another thread, with the advice."""
    with pytest.raises(LocalProtocolError, match=r"from_thread"):
        await in_thread(function, *arguments)


def run_trio(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an async function in a trio of the thread's own."""
    return trio.run(partial(function, *arguments))


def mutators(sio: Server, socket: Socket) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All that a program can ask for, and that changes something."""

    async def nothing() -> None:
        """An async function."""

    room = socket.to("room")
    for name, speaker in (
        ("server", sio),
        ("namespace", sio.of("/")),
        ("parent", sio.of(is_wanted)),
        ("broadcast", sio.to("room")),
        ("socket's broadcast", room),
    ):
        yield f"{name}.emit", partial(speaker.emit, "wrong")
        yield f"{name}.send", partial(speaker.send, "wrong")
        yield f"{name}.volatile", partial(speaker.volatile.emit, "wrong")
        yield f"{name}.sockets_join", partial(speaker.sockets_join, "wrong")
        yield f"{name}.sockets_leave", partial(speaker.sockets_leave, "room")
        yield f"{name}.disconnect_sockets", partial(speaker.disconnect_sockets, True)
        yield f"{name}.emit_with_ack", partial(run_trio, speaker.emit_with_ack, "wrong")
        yield f"{name}.fetch_sockets", partial(run_trio, speaker.fetch_sockets)
    for name, namespace in (
        ("server", sio),
        ("namespace", sio.of("/")),
        ("parent", sio.of(is_wanted)),
    ):
        yield f"{name}.on", partial(lambda it: it.on("wrong")(print), namespace)
        yield f"{name}.use", partial(namespace.use, print)
        yield f"{name}.on_server_side", partial(lambda it: it.on_server_side("x")(print), namespace)
        yield f"{name}.on_session_expired", partial(namespace.on_session_expired, print)
        yield f"{name}.server_side_emit", partial(namespace.server_side_emit, "wrong")
    for name, one in (("socket", socket), ("flagged socket", socket.compress(True))):
        yield f"{name}.emit", partial(one.emit, "wrong")
        yield f"{name}.send", partial(one.send, "wrong")
        yield f"{name}.emit_with_ack", partial(run_trio, one.emit_with_ack, "wrong")
    yield "socket.join", partial(socket.join, "wrong")
    yield "socket.leave", partial(socket.leave, "room")
    yield "socket.disconnect", partial(socket.disconnect, True)
    yield "socket.wait_drained", partial(run_trio, socket.wait_drained)
    yield "socket.use", partial(socket.use, print)
    yield "socket.on_any", partial(socket.on_any, print)
    yield "socket.prepend_any", partial(socket.prepend_any, print)
    yield "socket.off_any", socket.off_any
    yield "socket.on_any_outgoing", partial(socket.on_any_outgoing, print)
    yield "socket.prepend_any_outgoing", partial(socket.prepend_any_outgoing, print)
    yield "socket.off_any_outgoing", socket.off_any_outgoing
    yield "of", partial(sio.of, "/wrong")
    yield "of a matcher", partial(sio.of, lambda _, __: True)
    yield "mount", partial(sio.mount, "/wrong", lambda _: NOBODY)
    yield "stop", sio.stop
    yield "session.close", socket.session.close
    yield "new_namespace", lambda: sio.on("new_namespace")(print)


def is_wanted(_: str, __: Any) -> bool:
    return True


@pytest.mark.req("THREAD-01")
@pytest.mark.parametrize("state_recovery", [False, True])
@trio_test
async def test_every_call_from_another_thread_raises_and_changes_nothing(
    state_recovery: bool,
) -> None:
    sio = Server(ServerOptions(state_recovery=state_recovery))
    sio.on("ask")(lambda socket: sorted(socket.rooms - {socket.id}))
    sio.of(is_wanted)
    async with serving(sio) as port, joined(port, "websocket") as (client, _):
        socket = the_socket(sio)
        socket.join("room")
        (remote,) = await sio.fetch_sockets()
        calls: list[tuple[str, Callable[[], Any]]] = [
            *mutators(sio, socket),
            ("remote.emit", partial(remote.emit, "wrong")),
            ("remote.join", partial(remote.join, "wrong")),
            ("remote.leave", partial(remote.leave, "room")),
            ("remote.disconnect", partial(remote.disconnect, True)),
        ]
        for name, call in calls:
            try:
                await refused(call)
            except BaseException as error:
                raise AssertionError(f"{name} was not refused") from error
        assert await ask(client, "ask") == [["room"]]  # nothing came before the answer
        assert socket.rooms == {socket.id, "room"}
        assert socket.listeners_any() == socket.listeners_any_outgoing() == []
        assert list(sio.namespaces) == ["/"]
        assert await in_thread(sio.statistics) == sio.statistics()


@pytest.mark.req("THREAD-01")
def test_a_server_that_does_not_serve_belongs_to_any_thread() -> None:
    sio = Server()

    def build() -> None:
        sio.on("ask")(lambda _: 1)
        sio.of("/chat").use(lambda _: None)
        sio.emit("nobody hears it")

    thread = Thread(target=build)
    thread.start()
    thread.join()

    async def main() -> None:
        async with serving(sio) as port, joined(port, "websocket") as (client, _):
            assert await ask(client, "ask") == [1]
            await refused(sio.emit, "wrong")

    for _ in range(2):
        thread = Thread(target=trio.run, args=(main,))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    build_again = Thread(target=partial(sio.emit, "not any more"))
    build_again.start()
    build_again.join()


@pytest.mark.req("THREAD-02")
@pytest.mark.parametrize("transport", TRANSPORTS)
@trio_test
async def test_each_call_is_made_before_it_returns(transport: str) -> None:
    sio = Server()
    sio.of("/chat")
    async with (
        serving(sio) as port,
        joined(port, transport) as (client, _),
        joined(port, transport) as (other, other_id),
    ):
        away = sio.from_thread
        await in_thread(away.to(other_id).sockets_join, "room")
        assert sio.of("/").sockets[other_id].rooms == {other_id, "room"}
        await in_thread(away.emit, "all", 1, b"two")
        await in_thread(away.in_("room").emit, "room")
        await in_thread(away.except_("room").compress(False).local.send, "except")
        await in_thread(away.to("nobody").volatile.emit, "nobody")
        await in_thread(lambda: away.of("/chat").emit("nobody"))
        await in_thread(lambda: away.of("/new").emit("nobody"))
        assert "/new" in sio.namespaces
        assert (await client.receive())[1] == [b"two"]
        assert (await client.receive())[0] == '2["message","except"]'
        assert (await other.receive())[1] == [b"two"]
        assert (await other.receive())[0] == '2["room"]'
        await in_thread(away.to(other_id).sockets_leave, "room")
        assert sio.of("/").sockets[other_id].rooms == {other_id}
        with pytest.raises(LocalProtocolError, match="reserved"):
            await in_thread(away.emit, "connect")
        await in_thread(away.to(other_id).disconnect_sockets)
        assert other_id not in sio.of("/").sockets


@pytest.mark.req("THREAD-02")
@trio_test
async def test_any_function_can_be_run() -> None:
    sio = Server()
    server_thread = threading.get_ident()

    def fail() -> None:
        raise SystemExit(3)

    async def fail_late() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("late")

    async with serving(sio) as port, joined(port, "websocket") as (client, _):
        run = sio.from_thread.run
        assert await in_thread(run, threading.get_ident) == server_thread
        assert await in_thread(run, the_socket, sio) is the_socket(sio)
        with pytest.raises(SystemExit, match="3"):
            await in_thread(run, fail)
        with pytest.raises(KeyError, match="late"):
            await in_thread(run, fail_late)
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def ask_client() -> None:
                answers.extend(await in_thread(run, sio.emit_with_ack, "question"))

            nursery.start_soon(ask_client)
            assert (await client.receive())[0] == '20["question"]'
            await client.send("30[42]")
        assert answers == [42]


@pytest.mark.req("THREAD-03")
@trio_test
async def test_in_its_own_thread_it_raises_rather_than_waiting_for_itself() -> None:
    sio = Server()
    async with serving(sio):
        with pytest.raises(LocalProtocolError, match="call the server directly"):
            sio.from_thread.emit("wrong")
        # A thread of the server's own program is another one.
        await trio.to_thread.run_sync(sio.from_thread.emit, "right")


@pytest.mark.req("THREAD-03")
@trio_test
async def test_without_a_server_that_serves_it_raises() -> None:
    sio = Server()
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="does not serve"):
            await in_thread(sio.from_thread.emit, "early")
        with pytest.raises(LocalProtocolError, match="does not serve"):
            sio.from_thread.emit("early")
        async with open_server(sio):
            await in_thread(sio.from_thread.emit, "right")
            await in_thread(sio.from_thread.stop)
            with pytest.raises(LocalProtocolError, match="does not serve"):
                await in_thread(sio.from_thread.emit, "late")


@pytest.mark.req("THREAD-03")
@pytest.mark.parametrize("cancelled", [False, True])
def test_calls_under_way_return_or_raise_when_the_server_ends(cancelled: bool) -> None:
    sio = Server(ServerOptions(stop_grace_s=0.05))
    outcomes: list[str] = []
    began = threading.Semaphore(0)

    def call(function: Callable[..., Any], *arguments: Any) -> None:
        began.release()
        try:
            while True:
                sio.from_thread.run(function, *arguments)
        except LocalProtocolError as error:
            outcomes.append(str(error))

    threads = [Thread(target=call, args=(trio.sleep_forever,), daemon=True) for _ in range(5)]
    threads += [Thread(target=call, args=(sio.emit, "x"), daemon=True) for _ in range(5)]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(sio.serve, port=0))
            for thread in threads:
                thread.start()
            for _ in threads:
                began.acquire()
            await trio.sleep(0.1)
            if cancelled:
                nursery.cancel_scope.cancel()
            else:
                sio.stop()

    trio.run(main)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert len(outcomes) == 10
    assert sum("before the call ended" in outcome for outcome in outcomes) == 5


def test_calls_are_answered_when_a_system_task_crashes() -> None:
    sio = Server()
    outcomes: list[BaseException] = []

    def call() -> None:
        try:
            sio.from_thread.run(trio.sleep_forever)
        except BaseException as error:
            outcomes.append(error)

    thread = Thread(target=call, daemon=True)

    async def main() -> None:
        async with open_server(sio):
            thread.start()
            await trio.sleep(0.1)
            trio.lowlevel.spawn_system_task(crash)
            await trio.sleep_forever()

    async def crash() -> None:
        raise ValueError("no system task may raise")

    with suppress(trio.TrioInternalError):
        trio.run(main)
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(outcomes[0], LocalProtocolError)


@contextmanager
def threads_of(count: int, work: Callable[[int], None]) -> Iterator[list[BaseException]]:
    """Threads at work while the block runs; gives what ended them too early."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    yield failures
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


THREADS, BUSY_S = 50, 1.5


@pytest.mark.alone
@pytest.mark.req("THREAD-01", "THREAD-02")
@pytest.mark.parametrize("transport", TRANSPORTS)
@trio_test
async def test_fifty_threads_emit_wrongly_and_rightly(transport: str) -> None:
    sio = Server()
    sent = [0] * THREADS
    refusals = [0] * THREADS
    received: dict[int, int] = dict.fromkeys(range(THREADS), 0)
    ends = time.monotonic() + BUSY_S

    def work(number: int) -> None:
        while time.monotonic() < ends:
            try:
                sio.emit("wrong")
            except LocalProtocolError:
                refusals[number] += 1
            sio.from_thread.emit("right", number, sent[number])
            sent[number] += 1

    async with serving(sio) as port, joined(port, transport) as (client, _):

        async def read() -> None:
            while True:
                text, _ = await client.receive()
                assert text.startswith('2["right",'), text
                number, count = map(int, text[len('2["right",') : -1].split(","))
                assert received[number] == count  # in order, none twice
                received[number] += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            with threads_of(THREADS, work) as failures:
                await trio.sleep_until(trio.current_time() + BUSY_S + 0.2)
            await until(lambda: list(received.values()) == sent)
            nursery.cancel_scope.cancel()
        assert failures == []
        assert refusals == sent
        assert min(sent) > 0
        assert sio.statistics().defects == 0
