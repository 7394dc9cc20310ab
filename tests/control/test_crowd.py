"""Many backends at once, some of which misbehave: nothing is lost, and memory is bounded."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from tests.control.serving import RawPeer, controlled, little_buffer, peer
from tests.socketio.serving import until
from trio.testing import trio_test

from trio_socketio.control.options import BackendOptions, ForwardedEvents

BACKENDS = 200
CLIENTS = 20
EVENTS = 20


async def serve(raw: RawPeer, handled: list[int]) -> None:
    """Answer every event with its argument."""
    while True:
        call = await raw.receive(timeout_s=60)
        (number,) = call["params"]["args"]
        handled.append(number)
        await raw.send({"jsonrpc": "2.0", "id": call["id"], "result": number})


@pytest.mark.req("CONTROL-25", "CONTROL-31", "CONTROL-32")
@trio_test
async def test_two_hundred_backends(tmp_path: Path) -> None:
    options = BackendOptions(forward=(ForwardedEvents(),), deadline_s=30)
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(
            controlled(tmp_path, backends=options, output_bound_bytes=20_000, slow_peer_s=0.5)
        )
        handled: list[int] = []
        nursery = await stack.enter_async_context(trio.open_nursery())
        for _ in range(BACKENDS):
            raw = await stack.enter_async_context(peer(where))
            await raw.call("backend.register")
            nursery.start_soon(serve, raw, handled)
        greedy = await stack.enter_async_context(peer(where))
        little_buffer(greedy.stream)
        noisy = await stack.enter_async_context(peer(where))

        async def ask_and_never_read() -> None:
            line = json.dumps(greedy.request("rpc.discover")).encode() + b"\n"
            try:
                while True:
                    await greedy.stream.send_all(line * 20)
            except trio.BrokenResourceError:
                return  # it was closed, as it had to be

        async def make_noise() -> None:
            while True:
                await noisy.send(b"\x00\xff{[", b"[]", b'{"method":')
                for _ in range(3):
                    assert (await noisy.receive())["error"]["code"] < 0
                await trio.sleep(0.01)

        nursery.start_soon(ask_and_never_read)
        nursery.start_soon(make_noise)
        clients = [await stack.enter_async_context(where.client()) for _ in range(CLIENTS)]

        async def ask(number: int) -> None:
            client, _ = clients[number]
            for event in range(EVENTS):
                sent = number * EVENTS + event
                await client.emit("e", sent, ack_id=event)
            for event in range(EVENTS):  # in their order
                sent = number * EVENTS + event
                assert (await client.receive())[0] == f"3{event}[{sent}]"

        async with trio.open_nursery() as asking:
            for number in range(CLIENTS):
                asking.start_soon(ask, number)
        assert sorted(handled) == list(range(CLIENTS * EVENTS))
        statistics = where.service.statistics()
        assert statistics.events_handled == CLIENTS * EVENTS
        assert statistics.events_failed == 0
        assert statistics.backends == BACKENDS
        await until(lambda: where.service.statistics().peers == BACKENDS + 1)
        nursery.cancel_scope.cancel()
