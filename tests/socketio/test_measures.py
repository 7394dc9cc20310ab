"""Counting over all connections, in slices."""

import dataclasses
import re
from contextlib import AsyncExitStack

import pytest
import trio
from tests.socketio.serving import joined, serving
from trio.testing import trio_test

from trio_socketio import Server
from trio_socketio.socketio import measures

CARRIED = ("packets_in", "packets_out", "bytes_in", "bytes_out")


@pytest.mark.req("OPS-20")
@trio_test
async def test_a_connection_that_ends_meanwhile_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a counter could fall, which Prometheus takes for a restart."""
    server = Server()

    async def count() -> list[int]:
        counts = await measures.count_traffic(server)
        return [counts[name] for name in CARRIED]

    async with AsyncExitStack() as clients, serving(server) as port:
        for _ in range(2):
            await clients.enter_async_context(joined(port, "websocket"))
        connections = server._running.connections if server._running else None
        assert connections is not None
        before = await count()
        assert before[:2] == [2, 4]  # each client's CONNECT; the open packet and the answer

        async def end_all() -> None:
            connections.abort_all()
            await connections.wait_empty()

        monkeypatch.setattr(measures, "_SLICE", 1)
        monkeypatch.setattr(measures, "checkpoint", end_all)
        meanwhile = await count()
        assert len(connections) == 0
        assert meanwhile == before
        assert await count() == before


@pytest.mark.req("CTL-17")
@trio_test
async def test_many_namespaces_are_summarized_in_slices() -> None:
    server = Server()
    server.of(re.compile("/t-.*"))
    for number in range(5000):
        server.of(f"/own-{number}")
    steps = 0

    async def count_steps() -> None:
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    async with serving(server) as port, joined(port, "websocket"), trio.open_nursery() as nursery:
        nursery.start_soon(count_steps)
        found = await measures.summarize(server)
        nursery.cancel_scope.cancel()
        assert steps > 5000 // measures._SLICE / 2
        assert len(found["sockets"]) <= measures.MAX_NAMESPACES + 1
        assert found["sockets"]["/"] == sum(found["sockets"].values()) == 1
        plain = dataclasses.asdict(server.statistics())
        assert found.keys() == plain.keys() | {"traffic"}
        assert {**found, "sockets": 0} == {**plain, "sockets": 0, "traffic": found["traffic"]}
