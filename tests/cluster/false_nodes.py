"""What is no node and says that it is one, or is one and does not behave."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from tests.cluster.forwarding_nodes import SECRET, ForwardingNode, target_of
from tests.wire import HttpClient

from trio_socketio.codec.node_messages import NodeFacts
from trio_socketio.protocol.forwarding import Answerer, Dialer

UNKNOWN = {"code": 1, "message": "Session ID unknown"}
HEAD = b"POST %b HTTP/1.1\r\nhost:h\r\ncontent-length:2\r\n\r\n"


async def connect(node: ForwardingNode) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", node.internal_port)


async def read_all(stream: trio.SocketStream) -> bytes:
    """What comes until the node closes."""
    received = b""
    with trio.fail_after(10):
        async for data in stream:
            received += bytes(data)
    return received


async def open_as(node: ForwardingNode, secret: bytes = SECRET) -> tuple[Dialer, trio.SocketStream]:
    """A connection on which both sides have proven themselves."""
    dialer = Dialer("x", node.name, node.nodes.process, secret, b"n" * 16)
    stream = await connect(node)
    await stream.send_all(dialer.hello)
    with trio.fail_after(5):
        dialer.receive_welcome(bytes(await stream.receive_some()).rstrip(b"\n"))
    return dialer, stream


Behave = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def false_node(
    node: ForwardingNode, behave: Behave, *, host: str | None = None
) -> AsyncIterator[int]:
    """Something that the others take for a node with the prefix "fake"; gives its port."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, behave, [listener])
        assert node.forwarding._peers is not None
        node.forwarding._peers.node_came(
            NodeFacts(
                name="fake", boot="x", host=host or node.nodes.host, pid=1, version="",
                started_at_s=1.0, state="serving", connections=0,
                internal=f"127.0.0.1:{port}", sid_prefix="fake",
            )
        )  # fmt: skip
        yield port
        nursery.cancel_scope.cancel()


async def welcome(stream: trio.SocketStream, secret: bytes = SECRET) -> Answerer:
    """Open a connection as the false node would if it had the secret."""
    machine = Answerer("fake", "1-1000000", (secret,), b"m" * 16, 20_000, 100_000)
    (event,) = machine.receive(bytes(await stream.receive_some()))
    await stream.send_all(event.answer)
    return machine


FAKE_SID = "fake0123456789abcdef"


async def poll(node: ForwardingNode) -> tuple[int, object, float]:
    """Poll for a session of the false node; give the answer, and how long it took."""
    http = HttpClient(node.port)
    began = trio.current_time()
    with trio.fail_after(60):
        await http.send("GET", target_of(FAKE_SID))
        answer = await http.receive()
    await http.aclose()
    return answer.status, answer.json(), trio.current_time() - began
