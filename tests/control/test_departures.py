"""sockets.departed: who has left last, and why."""

from pathlib import Path
from typing import Any

import pytest
from tests.cluster.cluster import open_cluster
from tests.cluster.test_control import add
from tests.control.serving import controlled, peer
from tests.control.test_http import over_http
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test

from trio_socketio.codec.json_rpc import Code
from trio_socketio.control import departures
from trio_socketio.control.departures import Departures


@pytest.mark.req("PAGE-26")
@trio_test
async def test_who_has_left_is_shown_with_the_reason(tmp_path: Path) -> None:
    async with controlled(tmp_path) as where, peer(where) as raw:
        assert await raw.call("sockets.departed") == {"sockets": [], "missing": {}}
        async with where.client() as (_, lost), where.client(transport="polling") as (_, put_out):
            socket = where.server.of("/").sockets[put_out]
            await raw.call("sockets.disconnect", sockets=[put_out])
            await until(lambda: not socket.connected)
        await until(lambda: not where.server.of("/").sockets)
        latest, first = (await raw.call("sockets.departed", limit=2))["sockets"]
        assert (latest["id"], latest["reason"]) == (lost, "transport close")
        assert (first["id"], first["reason"]) == (put_out, "server namespace disconnect")
        assert first["transport"] == "polling"
        assert first["namespace"] == "/"
        assert first["user"] is None
        assert first["address"] == "127.0.0.1"
        assert 0 <= first["left_at_s"] - first["connected_at_s"] < 60
        assert len((await raw.call("sockets.departed", limit=1))["sockets"]) == 1
        for limit in (0, departures.MAX_DEPARTED + 1):
            error = await raw.fail("sockets.departed", limit=limit)
            assert error["code"] == Code.INVALID_PARAMS


@pytest.mark.req("PAGE-26")
@trio_test
async def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    async with over_http(tmp_path) as (where, _), where.client() as (_, socket_id):
        socket = where.server.of("/").sockets[socket_id]
        remembered = Departures()
        for number in range(departures.MAX_DEPARTED + 5):
            remembered.left(socket, f"{number} {'x' * 1000}", False)
        found = remembered.list_departed(departures.MAX_DEPARTED).sockets
        assert len(found) == departures.MAX_DEPARTED
        assert found[0].reason.startswith("204 x")
        assert len(found[0].reason) == 200


@pytest.mark.req("PAGE-26")
@trio_test
async def test_those_of_all_nodes_are_shown(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        for node, when_s in ((a, 1.0), (b, 3.0), (a, 2.0)):
            socket = add(node)
            method: Any = node.service._dispatcher.methods["sockets.departed"]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("time.time", lambda when_s=when_s: when_s)
                method._function.__self__.left(socket, "transport close", False)
        found = await a.call("sockets.departed", limit=2)
        assert [(one["node"], one["left_at_s"]) for one in found["sockets"]] == [("b", 3), ("a", 2)]
        assert found["nodes"] == {"a": 2, "b": 1}
