"""A backend on one node serves the clients of all nodes that have none of their own."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from msgspec import Raw
from tests.cluster.cluster import Node, Operator, open_cluster
from tests.cluster.test_control import add, events
from trio.testing import MockClock, trio_test

from trio_socketio.codec.json_rpc import Code, encode_value
from trio_socketio.control import backends_elsewhere
from trio_socketio.control.api import Authentication
from trio_socketio.control.methods import rpc
from trio_socketio.errors import ControlError
from trio_socketio.protocol.nodes import INTERVAL_S, SILENCE_S

Answer = Callable[[str, Any], Any]


class FakePeer:
    """A backend that is connected to a node."""

    def __init__(self, name: str, answer: Answer = lambda method, params: "done") -> None:
        self.name = name
        self.pending = 0
        self.is_there = True
        self.may_authenticate = True
        self.calls: list[tuple[str, Any]] = []
        self._answer = answer

    def may_be_backend(self) -> bool:
        return self.is_there

    def allows(self, method: str) -> bool:
        return self.is_there and self.may_authenticate

    def on_end(self, callback: Callable[[], None]) -> None:
        """It does not end."""

    def notify(self, message: bytes) -> None:
        """It is told nothing."""

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()

    async def call(self, method: str, params: Any, timeout_s: float) -> Raw:
        self.calls.append((method, params))
        await trio.sleep(0.01)
        answer = self._answer(method, params)
        if isinstance(answer, ControlError):
            raise answer
        return Raw(encode_value(answer))

    ask = call


async def register(node: Node, peer: FakePeer, **params: Any) -> None:
    await node.call("backend.register", by=Operator(peer), **params)
    await trio.sleep(0.01)  # the other nodes hear of it


async def send(node: Node, socket: Any, event: str, *arguments: Any) -> Any:
    """A client of a node sends an event; what answers it."""
    backends = node.service.backends
    answer = await backends._handle(socket.namespace.name, socket, event, *arguments)
    return bytes(answer) if isinstance(answer, Raw) else answer


@pytest.mark.req("NODE-48")
@trio_test
async def test_an_event_is_handled_by_a_backend_of_another_node(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"]
        socket = add(a, user="ann")
        peer = FakePeer("p1")
        await register(cluster.nodes["b"], peer)
        assert await send(a, socket, "order", 7, b"\0", {"$bytes": 1}) == b'"done"'
        ((method, params),) = peer.calls
        assert method == "backend.event"
        assert params == {
            "namespace": "/",
            "event": "order",
            "args": [7, b"\0", {"$bytes": 1}],
            "socket": socket.public_id,
            "user": "ann",
        }
        assert (a.service.backends.handled, a.service.backends.failed) == (1, 0)
        assert (cluster.nodes["b"].service.backends.handled) == 0


@pytest.mark.req("NODE-48")
@trio_test
async def test_a_backend_of_the_same_node_comes_first(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        near, far = FakePeer("near"), FakePeer("far")
        await register(cluster.nodes["b"], far)
        await register(a, near)
        for _ in range(3):
            await send(a, add(a), "order")
        assert (len(near.calls), len(far.calls)) == (3, 0)


@pytest.mark.req("NODE-49")
@trio_test
async def test_a_socket_keeps_its_backend_on_another_node(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"]
        peers = [FakePeer(f"p{number}") for number in range(4)]
        for number, peer in enumerate(peers):
            await register(cluster.nodes["bbcc"[number]], peer)
        sockets = [add(a) for _ in range(4)]
        for _ in range(3):
            for socket in sockets:
                await send(a, socket, "order")
                await send(a, socket, "order")
        owners = {
            socket.public_id: {
                one.name for one in peers for _, told in one.calls
                if told["socket"] == socket.public_id
            }
            for socket in sockets
        }  # fmt: skip
        assert all(len(names) == 1 for names in owners.values())
        assert len(set().union(*owners.values())) == 4
        near = FakePeer("near")
        await register(a, near)
        await send(a, sockets[0], "order")
        assert near.calls == []
        (name,) = owners[sockets[0].public_id]
        gone = next(one for one in peers if one.name == name)
        gone.is_there = False
        await send(a, sockets[0], "order")  # its neighbour takes over
        assert near.calls == []
        cluster.nodes["b"].scope.cancel()
        cluster.nodes["c"].scope.cancel()
        await trio.sleep(0.01)
        await send(a, sockets[0], "order")
        assert len(near.calls) == 1


@pytest.mark.req("NODE-48")
@trio_test
async def test_without_any_backend_the_client_is_told(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        socket = add(a)
        refused = await send(a, socket, "order")
        assert refused["error"]["code"] == Code.UNAVAILABLE
        assert events(socket)[0][0] == "backend_error"
        peer = FakePeer("p")
        await register(b, peer, namespaces=["/other"])
        assert (await send(a, socket, "order"))["error"]["code"] == Code.UNAVAILABLE
        await register(b, peer)
        assert await send(a, socket, "order") == b'"done"'
        b.service.backends.forget(peer)
        await trio.sleep(0.01)
        assert [one.backends for one in a.nodes.others()] == [()]
        assert (await send(a, socket, "order"))["error"]["code"] == Code.UNAVAILABLE


@trio_test
async def test_a_backend_that_has_just_gone_is_not_asked(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b", "c") as cluster:
        a = cluster.nodes["a"]
        gone, left = FakePeer("gone"), FakePeer("left")
        await register(cluster.nodes["b"], gone)
        await register(cluster.nodes["c"], left)
        gone.is_there = False  # and no heartbeat has told it yet
        for _ in range(4):
            assert await send(a, add(a), "order") == b'"done"'
        assert (len(gone.calls), len(left.calls)) == (0, 4)


@trio_test
async def test_the_error_of_a_backend_reaches_the_client(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        error = ControlError(1234, "sold out", {"left": 0})
        peer = FakePeer("p", lambda method, params: error)
        await register(cluster.nodes["b"], peer)
        socket = add(a)
        assert await send(a, socket, "order") == {"error": {"code": 1234, "message": "sold out"}}


@pytest.mark.req("NODE-31")
@trio_test
async def test_a_backend_on_a_dead_node_ends_the_wait(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        socket = add(a)
        await register(b, FakePeer("p"))
        b.kill()
        began = trio.current_time()
        refused = await send(a, socket, "order")
        assert trio.current_time() - began <= SILENCE_S + INTERVAL_S
        assert refused["error"] == {
            "code": Code.UNAVAILABLE,
            "message": "the node of the backend, 'b', has gone",
        }


@trio_test
async def test_a_backend_that_does_not_answer_costs_the_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        peer = FakePeer("p")

        async def hang(method: str, params: Any, timeout_s: float) -> Raw:
            await trio.sleep(timeout_s + 10)
            raise AssertionError

        peer.call = hang  # type: ignore[method-assign]  # a backend that answers too late
        await register(b, peer)
        began = trio.current_time()
        refused = await send(a, add(a), "order")
        assert trio.current_time() - began == pytest.approx(5.0)
        assert refused["error"]["code"] == Code.TIMEOUT


QUESTION = Authentication(namespace="/", token="t", auth={}, address="192.0.2.1", socket="s")


@pytest.mark.req("NODE-48")
@trio_test
async def test_a_client_is_identified_by_a_backend_of_another_node(
    autojump_clock: MockClock,
) -> None:
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        authenticate = a.service.backends.authenticate
        with pytest.raises(ControlError) as caught:
            await authenticate("/", QUESTION, 1.0)
        assert caught.value.code == Code.UNAVAILABLE
        handler, knower = FakePeer("h"), FakePeer("k", lambda method, params: {"user": "ann"})
        await register(cluster.nodes["b"], handler)
        await register(cluster.nodes["b"], knower, namespaces=["/"], authenticate=True)
        assert await authenticate("/", QUESTION, 1.0) == b'{"user":"ann"}'
        assert knower.calls[0][0] == "backend.authenticate"
        assert knower.calls[0][1]["token"] == "t"
        assert handler.calls == []
        with pytest.raises(ControlError):
            await authenticate("/other", QUESTION, 1.0)


@trio_test
async def test_what_can_go_wrong_between_nodes_is_an_error(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        a, b = cluster.nodes["a"], cluster.nodes["b"]
        authenticate = a.service.backends.authenticate
        peer = FakePeer("k", lambda method, params: ControlError(1, "unknown", [1]))
        await register(b, peer, authenticate=True)
        with pytest.raises(ControlError, match="unknown") as caught:
            await authenticate("/", QUESTION, 1.0)
        assert caught.value.data == [1]
        peer.is_there = False  # and no heartbeat has told it yet
        with pytest.raises(ControlError, match="no backend is registered"):
            await authenticate("/", QUESTION, 1.0)
        deep: Any = []
        for _ in range(600):
            deep = [deep]
        for wrong, code in ((deep, Code.TOO_LARGE), ("x" * (5 << 20), Code.TOO_LARGE)):
            with pytest.raises(ControlError) as caught:
                await authenticate("/", wrong, 1.0)
            assert caught.value.code == code
        with pytest.raises(ControlError, match="no backend is registered"):
            await authenticate("/", QUESTION, 0.0)
        methods = b.nodes._exchange.calls.dispatcher.methods
        del methods["node.authenticate"]
        with pytest.raises(ControlError) as caught:
            await authenticate("/", QUESTION, 1.0)
        assert caught.value.code == Code.METHOD_NOT_FOUND
        del methods["node.backend_event"]
        b.nodes.serve(OtherVersion())
        with pytest.raises(ControlError, match="'b' is wrong"):
            await authenticate("/", QUESTION, 1.0)


class OtherVersion:
    @rpc("node.authenticate")
    def authenticate(self, namespace: str, params: Raw, timeout_s: float) -> int:
        """Answer something else.

        Args:
            namespace: the namespace.
            params: the question.
            timeout_s: the time.
        """
        return 7


@trio_test
async def test_strangers_have_a_bound_of_their_own(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends_elsewhere, "MAX_STRANGERS", 1)
    async with open_cluster("a", "b") as cluster:
        a = cluster.nodes["a"]
        await register(cluster.nodes["b"], FakePeer("k"), authenticate=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.service.backends.authenticate, "/", QUESTION, 1.0)
            await trio.sleep(0.002)
            with pytest.raises(ControlError) as caught:
                await a.service.backends.authenticate("/", QUESTION, 1.0)
            assert caught.value.code == Code.OVERLOADED
        assert await send(a, add(a), "order") == b'"done"'


@trio_test
async def test_many_or_long_namespaces_are_told_as_all(autojump_clock: MockClock) -> None:
    async with open_cluster("a", "b") as cluster:
        for names, told in (
            ([f"/{number}" for number in range(101)], ("*",)),
            (["/" + "x" * 5000], ("*",)),
            (["y", "/x"], ("/x", "/y")),
        ):
            peer = FakePeer("p")
            await register(cluster.nodes["b"], peer, namespaces=names, authenticate=True)
            (b,) = cluster.nodes["a"].nodes.others()
            assert b.backends == b.authenticators == told
            cluster.nodes["b"].service.backends.forget(peer)
