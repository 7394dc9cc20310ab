"""Each async method may be cancelled at each of its checkpoints, and leaves nothing behind."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count, product

import pytest
import trio
from tests.client.fake_server import HANDSHAKE, FakeServer, FakeWebSocket, options
from tests.client.test_leaving import client_tasks
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import Client, ClientNamespace

EVENT = re.compile(r'42(/chat,)?(\d*)\["(.*?)"')


class TinyServer(FakeServer):
    """Lets everybody in, answers what asks for an answer, and does what it is told.

    Attributes:
        open: how many connections there are.
        got: the names of all events that have arrived.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.got: list[str] = []

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._serve_one, await self.accept())

    async def _serve_one(self, stream: trio.abc.Stream) -> None:
        self.open += 1
        end = FakeWebSocket(stream)
        data = await stream.receive_some(65536)
        if data:
            await end.shake_hands(read=bytes(data))
            await end.send("0" + json.dumps(HANDSHAKE))
            with suppress(trio.ClosedResourceError):  # it was told to drop the connection
                while (message := await end.receive()) != "closed":
                    assert isinstance(message, str)
                    await self._answer(end, message)
        self.open -= 1

    async def _answer(self, end: FakeWebSocket, message: str) -> None:
        if message.startswith("40"):
            await end.send(f'{message}{{"sid":"s"}}')
        found = EVENT.match(message)
        if found is None:
            return
        namespace, ack_id, name = found.groups("")
        self.got.append(name)
        if ack_id:
            await end.send(f'43{namespace}{ack_id}["answer"]')
        if name == "tell me":
            await end.send(f'42{namespace}["told"]')
        elif name == "put me out":
            await end.send(f"41{namespace}")
        elif name == "drop me":
            await end.drop()


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when a task comes to a checkpoint for the nth time."""

    def __init__(self, number: int) -> None:
        self.scope = trio.CancelScope()
        self._task = trio.lowlevel.current_task()
        self._left = number

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.scope.cancel()


async def cancel_at(number: int, operation: Callable[[], Awaitable[object]]) -> bool:
    """Run an operation, cancelled at its nth checkpoint; gives whether it came so far."""
    canceller = CancelAtStep(number)
    trio.lowlevel.add_instrument(canceller)
    try:
        with canceller.scope:
            await operation()
            await trio.lowlevel.cancel_shielded_checkpoint()
    finally:
        trio.lowlevel.remove_instrument(canceller)
    return canceller.scope.cancelled_caught


@asynccontextmanager
async def serving() -> AsyncIterator[TinyServer]:
    server = TinyServer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve)
        yield server
        await wait_all_tasks_blocked()
        assert client_tasks() == []
        assert server.open == 0
        nursery.cancel_scope.cancel()


Namespace = Client | ClientNamespace


async def connect(namespace: Namespace) -> None:
    await namespace.connect()
    assert namespace.connected


async def connect_again(namespace: Namespace) -> None:
    namespace.disconnect()
    await namespace.connect()
    assert namespace.connected


async def ask(namespace: Namespace) -> None:
    assert await namespace.emit_with_ack("asked") == "answer"


async def drain(namespace: Namespace) -> None:
    namespace.emit("x")
    await namespace.wait_drained()


async def be_put_out(namespace: Namespace) -> None:
    namespace.emit("put me out")
    assert await namespace.wait_closed() == "io server disconnect"


async def iterate(namespace: Namespace) -> None:
    async with namespace.events() as events:
        namespace.emit("tell me")
        async for event in events:
            assert event.name == "told"
            return


OPERATIONS = [connect, connect_again, ask, drain, be_put_out, iterate]


@pytest.mark.req("CLI-47")
@pytest.mark.parametrize(
    ("operation", "of", "lost"),
    [
        *product(OPERATIONS, ["client", "namespace"], [False]),
        *product([connect, ask], ["client", "namespace"], [True]),
        (connect, "namespace not joined", False),
        (connect, "namespace not joined", True),
    ],
)
@trio_test
async def test_a_method(
    autojump_clock: MockClock,
    operation: Callable[[Namespace], Awaitable[None]],
    of: str,
    lost: bool,
) -> None:
    cancelled_at = []
    for number in count(1):
        asked = ["/"] if of == "namespace not joined" else ["/", "/chat"]
        async with (
            serving() as server,
            server.client(options=options(), namespaces=asked) as client,
        ):
            await wait_all_tasks_blocked()
            namespace: Namespace = client if of == "client" else client.of("/chat")
            before = sorted(client_tasks())
            if lost:
                client.emit("drop me")
                await wait_all_tasks_blocked()
                assert not client.connected
            cancelled = await cancel_at(number, partial(operation, namespace))
            await check_usable(client, namespace, server, before)
        if not cancelled:
            break
        cancelled_at.append(number)
    assert cancelled_at == list(range(1, number))
    assert cancelled_at, "it has a checkpoint"


async def check_usable(
    client: Client, namespace: Namespace, server: TinyServer, tasks: list[str]
) -> None:
    """Nothing is left behind, nothing is lost uncounted, and the client goes on."""
    await wait_all_tasks_blocked()
    outboxes = [client._outbox, client.of("/chat")._outbox]
    assert [outbox._pending for outbox in outboxes] == [{}, {}]
    for outbox in outboxes:
        assert outbox._kept_bytes == sum(packet.byte_count() for packet, _ in outbox._kept)
    assert not any(b"asked" in packet.text for outbox in outboxes for packet, _ in outbox._kept)
    await namespace.connect()
    await client.connect()
    assert await namespace.emit_with_ack("still there?") == "answer"
    assert await client.emit_with_ack("still there?") == "answer"
    namespace.emit("tell me")  # which shows a stream that nobody reads any more
    await wait_all_tasks_blocked()
    assert sorted(client_tasks()) == tasks
    assert not namespace._dispatcher._streams.are_open
    assert (client.packets_dropped, client.events_dropped) == (0, 0)
    for outbox in outboxes:
        assert (outbox._pending, list(outbox._kept), outbox._kept_bytes) == ({}, [], 0)
    session = client._link.session
    assert session is not None
    assert session.output.is_empty


@pytest.mark.req("CLI-47")
@trio_test
async def test_a_client_from_its_beginning_to_its_end(autojump_clock: MockClock) -> None:
    cancelled_at = []
    for number in count(1):
        clients: list[Client] = []
        finished = False

        async def run(server: TinyServer, clients: list[Client] = clients) -> None:
            nonlocal finished
            async with server.client(options=options(), namespaces=["/", "/chat"]) as client:
                clients.append(client)
                client.of("/later").emit("never sent")
                client.emit("x")
                await client.wait_drained()
                assert await client.emit_with_ack("asked") == "answer"
                finished = True

        async with serving() as server:
            cancelled = await cancel_at(number, partial(run, server))
            await wait_all_tasks_blocked()
            for client in clients:
                assert client._outbox._pending == {}
                assert not client.connected
                assert client.packets_dropped == 1
                assert "x" in server.got
        if not cancelled:
            break
        cancelled_at.append(number)
    assert finished
    assert cancelled_at == list(range(1, number))
