"""Each method of the client may be cancelled at each of its checkpoints, and nothing is left."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import trio
from tests.client.test_cancelling import cancel_at
from tests.control.serving import Controlled, controlled
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.control import BackendOptions, Control, ForwardedEvents, open_control
from trio_socketio.control.wire import WAITING_BYTES, Wire
from trio_socketio.errors import SessionClosed


async def call(control: Control) -> None:
    assert (await control.call("system.info"))["pid"] == 1


async def wait(control: Control) -> None:
    assert (await control.call("system.reload"))["changed"]


async def make_batch(control: Control) -> None:
    assert len(await control.batch([("system.info", None)] * 3)) == 3


async def notify(control: Control) -> None:
    await control.notify("emit", {"event": "e", "all": True})


async def register(control: Control) -> None:
    await control.register(lambda event: event)


@pytest.mark.parametrize("operation", [call, wait, make_batch, notify, register])
@trio_test
async def test_a_call_is_cancelled_anywhere(
    tmp_path: Path, operation: Callable[[Control], Awaitable[None]]
) -> None:
    async with controlled(tmp_path) as where, open_control(where.address) as control:
        for number in count(1):
            was_cancelled = await cancel_at(number, lambda: operation(control))
            assert len(control._asked) == 0
            await call(control)  # its answer is its own
            if not was_cancelled:
                break
        assert number > 1 or operation is notify  # which is done at once


@trio_test
async def test_opening_is_cancelled_anywhere(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where:

        async def open_and_call(where: Controlled = where) -> None:
            async with open_control(where.address) as control:
                await call(control)

        for number in count(1):
            if not await cancel_at(number, open_and_call):
                break
        assert number > 5
        await until(lambda: where.service.statistics().peers == 0)


@trio_test
async def test_the_block_is_cancelled_while_a_handler_is_at_work(tmp_path: Path) -> None:
    options = BackendOptions(forward=(ForwardedEvents(),))
    begun = trio.Event()

    async def handle(_: object) -> None:
        begun.set()
        await trio.sleep_forever()

    async with controlled(tmp_path, backends=options) as where, where.client() as (client, _):
        async with open_control(where.address) as control:
            await control.register(handle)
            await client.emit("e")
            await begun.wait()
        _, told = await client.receive_event()
        assert told["message"] == "the backend has gone"


@trio_test
async def test_the_service_ends_while_calls_wait(tmp_path: Path) -> None:
    ended: list[str] = []

    async def ask(address: str, socket_id: str) -> None:
        params = {"event": "q", "sockets": [socket_id], "timeout_s": 60}
        async with open_control(address) as control:
            try:
                await control.call("emit_with_ack", params)
            except SessionClosed as error:
                ended.append(error.reason)

    async with (
        trio.open_nursery() as nursery,
        controlled(tmp_path) as where,
        where.client() as (client, socket_id),
    ):
        nursery.start_soon(ask, where.address, socket_id)
        assert (await client.receive())[0] == '20["q"]'
        where.runtime._services.cancel_scope.cancel()
        await until(lambda: bool(ended))
    assert ended == ["the server has closed the connection"]


@trio_test
async def test_a_wire_holds_so_much_and_no_more() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    gate = trio.Event()

    async def wait_for_gate() -> None:
        await gate.wait()

    ours.send_stream.send_all_hook = wait_for_gate
    wire = Wire(ours)
    line = b"x" * (WAITING_BYTES // 4)
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.run, lambda _: None, lambda _: None)

        async def send() -> None:
            nonlocal sent
            for _ in range(12):
                await wire.send(line)
                sent += 1

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == 4  # more waits than may
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert sent == 12
        gate = trio.Event()
        ours.send_stream.send_all_hook = gate.wait
        sent = 0
        nursery.start_soon(send_until_closed, wire, line)
        await trio.testing.wait_all_tasks_blocked()
        wire.lose("for the test")
    assert await wire.wait_closed() == "for the test"
    assert theirs.receive_stream is not None


async def send_until_closed(wire: Wire, line: bytes) -> None:
    with suppress(SessionClosed):
        while True:
            await wire.send(line)
    wire.send_nowait(line)  # does nothing any more
