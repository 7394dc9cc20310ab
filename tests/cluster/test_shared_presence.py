"""The store of a node gives no lease under a name that another node has."""

from typing import Any

import pytest
from tests.redis_server import RedisServer
from trio.testing import trio_test

from trio_socketio import open_redis
from trio_socketio.cluster.shared_presence import NamedStore
from trio_socketio.im.presence import PresenceOptions, StoreUnavailable
from trio_socketio.protocol.presence_claims import Renewal


class _Nodes:
    fault = ""


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
