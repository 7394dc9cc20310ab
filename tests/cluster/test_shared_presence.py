"""The store of a node gives no lease under a name that another node has."""

from typing import Any, NamedTuple

import pytest
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.cluster.shared_presence import NamedStore
from trio_socketio.im.presence import PresenceOptions, StoreUnavailable
from trio_socketio.protocol.presence_claims import Renewal


class _Node(NamedTuple):
    name: str
    lease_s: float | None


class _Nodes:
    fault = ""

    def __init__(self) -> None:
        self.all = [_Node("b", 5.0), _Node("c", None)]

    def others(self) -> list[_Node]:
        return self.all


class _Cluster:
    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.nodes = _Nodes()


@pytest.mark.req("CLUS-17")
@trio_test
async def test_a_node_without_its_name_does_not_end_the_lease_of_the_one_that_has_it(
    redis_server: RedisServer,
) -> None:
    options = PresenceOptions(lease_s=5.0, max_events=7)
    async with open_redis(redis_server.url) as redis:
        old: Any = _Cluster(redis)
        new: Any = _Cluster(redis)
        late, store = (NamedStore(cluster, "tsio", options) for cluster in (old, new))
        assert store.lease_s == 5
        assert await late.enroll("a", "1") == ()
        old.nodes.fault = "the name 'a' belongs to a node on host b"
        assert await store.enroll("a", "2") == ("1",)
        with pytest.raises(StoreUnavailable, match="belongs to a node on host b"):
            await late.enroll("a", "3")
        assert await store.renew("2") is Renewal.RENEWED
        assert await late.renew("1") is Renewal.ENDED


@pytest.mark.req("CLUS-18")
@trio_test
async def test_nodes_with_leases_of_different_lengths_are_told_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_redis(redis_server.url) as redis:
        cluster: Any = _Cluster(redis)
        store = NamedStore(cluster, "tsio", PresenceOptions(lease_s=5.0))
        await store.expired()
        assert store.fault == ""
        cluster.nodes.all.append(_Node("d", 10.0))
        for _ in range(3):
            await store.expired()
        assert store.fault.startswith("the node 'd' has [presence] lease_s = 10, and this one 5:")
        assert caplog.text.count("the node 'd' has") == 1
        cluster.nodes.all.pop()
        await store.expired()
        assert store.fault == ""
