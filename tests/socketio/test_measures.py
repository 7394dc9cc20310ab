"""Counting over all connections, in slices."""

from contextlib import AsyncExitStack

import pytest
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
