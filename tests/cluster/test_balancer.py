"""The balancer of the tests does what they rely on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio
from tests.cluster.balancer import Balancer, Gone, Wire, open_balancer
from tests.interop.server_process import free_port
from tests.socketio.serving import until
from trio.testing import trio_test

GET: Final = b"GET /socket.io/?EIO=4&sid=aaaa1234 HTTP/1.1\r\nHost: test\r\n\r\n"
UPGRADE: Final = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class FakeNode:
    """Answers with its name; what it is asked decides how.

    Attributes:
        heads: of the requests that it got.
        connections: how many it has had, and how many have ended.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.heads: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self.goes_after = False
        self.is_dying = False
        self.is_slow = False

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        wire = Wire(stream)
        try:
            while True:
                head = await wire.take_head()
                self.heads.append(head)
                body = await wire.take_body(head)
                if b"Upgrade:" in head:
                    await wire.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\nfirst")
                    while True:
                        await wire.read()
                        said = wire.cut()
                        if said == b"bye":
                            return
                        await wire.send(said.upper())
                if self.is_dying:
                    return
                if self.is_slow:
                    await wire.read()  # until the client goes
                answer = self.name.encode() + body
                length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n"
                await wire.send(f"{length}Connection: keep-alive\r\n\r\n".encode() + answer)
                if self.goes_after:
                    return
        except Gone:
            pass
        finally:
            self.ended += 1
            wire.drop()


@asynccontextmanager
async def open_scene() -> AsyncIterator[tuple[Balancer, dict[str, FakeNode]]]:
    nodes = {name: FakeNode(name) for name in "abc"}
    async with trio.open_nursery() as nursery:
        for node in nodes.values():
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            node.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, node.serve, listeners)
        async with open_balancer({name: node.port for name, node in nodes.items()}) as balancer:
            yield balancer, nodes
        nursery.cancel_scope.cancel()


async def connect(balancer: Balancer) -> Wire:
    return await Wire.connect(balancer.port)


async def ask(client: Wire, request: bytes = GET) -> tuple[int, str]:
    with trio.fail_after(5):
        await client.send(request)
        head = await client.take_head()
        return int(head[9:12]), (await client.take_body(head)).decode()


@trio_test
async def test_every_request_goes_to_the_next_node_on_connections_that_are_kept() -> None:
    async with open_scene() as (balancer, nodes):
        client = await connect(balancer)
        assert [await ask(client) for _ in range(6)] == [(200, name) for name in "abcabc"]
        posted = GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 3\r\n\r\nxyz"
        assert await ask(client, posted) == (200, "axyz")
        assert [node.connections for node in nodes.values()] == [1, 1, 1]
        assert all(b"\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n" in head for head in nodes["a"].heads)
        client.drop()


@trio_test
async def test_nodes_that_are_down_or_take_no_connection_are_left_out() -> None:
    async with open_scene() as (balancer, _):
        client = await connect(balancer)
        balancer.targets["a"].is_down = True
        balancer.targets["b"].port = free_port()
        assert [await ask(client) for _ in range(2)] == [(200, "c")] * 2
        balancer.targets["c"].is_down = True
        assert await ask(client) == (502, "")
        balancer.targets["a"].is_down = False
        assert await ask(client) == (200, "a")
        client.drop()


@trio_test
async def test_a_kept_connection_that_has_ended_is_replaced() -> None:
    async with open_scene() as (balancer, nodes):
        nodes["a"].goes_after = True
        client = await connect(balancer)
        assert [await ask(client) for _ in range(4)] == [(200, name) for name in "abca"]
        assert nodes["a"].connections == 2
        client.drop()


@trio_test
async def test_a_request_is_sent_once_even_if_its_node_ends() -> None:
    async with open_scene() as (balancer, nodes):
        nodes["a"].is_dying = True
        client = await connect(balancer)
        assert await ask(client) == (502, "")
        assert [len(node.heads) for node in nodes.values()] == [1, 0, 0]
        assert balancer.answers == {502: 1}
        client.drop()


@trio_test
async def test_a_client_that_goes_takes_its_request_along() -> None:
    async with open_scene() as (balancer, nodes):
        nodes["a"].is_slow = True
        client = await connect(balancer)
        await client.send(GET)
        with trio.fail_after(5):
            await until(lambda: balancer.sessions_over("a") == {"aaaa1234"})
            client.drop()
            await until(lambda: nodes["a"].ended == 1)
        assert not balancer.sessions_over("a")


@pytest.mark.parametrize("ends", ["client", "node"])
@trio_test
async def test_what_was_upgraded_is_passed_on_both_ways(ends: str) -> None:
    async with open_scene() as (balancer, nodes):
        client = await connect(balancer)
        with trio.fail_after(5):
            await client.send(UPGRADE)
            assert (await client.take_head()).startswith(b"HTTP/1.1 101 ")
            assert await client.take(5) == b"first"
            await client.send(b"more")
            assert await client.take(4) == b"MORE"
            assert b"\r\nConnection: Upgrade\r\n" in nodes["a"].heads[0]
            if ends == "client":
                client.drop()
                await until(lambda: nodes["a"].ended == 1)
            else:
                await client.send(b"bye")
                with pytest.raises(Gone):
                    await client.take(1)
                client.drop()
