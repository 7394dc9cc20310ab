"""What can be registered with a namespace can be with a parent of several and with the server."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.socketio.in_process import FakeSession, enter, join
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Namespace, Observer, ParentNamespace, Server, Socket
from trio_socketio.protocol.joining import State
from trio_socketio.socketio.socket_life import lose
from trio_socketio.socketio.steps import Step

ROOM = re.compile("/room-[0-9]")


def of_server(server: Server) -> tuple[Server, Namespace]:
    return server, server.of("/")


def of_namespace(server: Server) -> tuple[Namespace, Namespace]:
    return server.of("/chat"), server.of("/chat")


def of_parent_before(server: Server) -> tuple[ParentNamespace, Namespace]:
    """The parent has a child before anything is registered with it."""
    parent = server.of(ROOM)
    return parent, server.of("/room-1")


KINDS: list[Callable[[Server], Any]] = [of_server, of_namespace, of_parent_before]


@pytest.fixture(params=KINDS)
def registering(request: pytest.FixtureRequest) -> Any:
    """What is registered with, and the namespace that has it then."""
    server = Server()
    return request.param(server)


class Seen(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def joined(self, socket: Socket) -> None:
        self.told.append("joined")

    def left(self, socket: Socket, reason: str, recoverable: bool) -> None:
        self.told.append(f"left: {reason}")


def receive(socket: Socket, *event: Any) -> None:
    socket._open_events().receive(socket, list(event), None)


def test_all_that_is_registered_is_called(registering: Any) -> None:
    registrar, namespace = registering
    told: list[Any] = []
    seen = Seen()
    registrar.use(lambda socket: told.append("use"))
    registrar.add_steps([Step(State.SEAT, lambda joining: told.append("seat"))])
    registrar.observe(seen)
    registrar.on("connection")(lambda socket: told.append("connection"))
    registrar.on("event")(lambda socket, *arguments: told.append(arguments))
    registrar.on_unhandled(lambda socket, name, *arguments: told.append((name, *arguments)))
    registrar.on("disconnect")(lambda socket, reason: told.append(reason))
    socket = enter(namespace)
    receive(socket, "event", 1, 2)
    receive(socket, "other", 3)
    lose(socket, "transport close")
    assert told == ["use", "seat", "connection", (1, 2), ("other", 3), "transport close"]
    assert seen.told == ["joined", "left: transport close"]


def test_what_is_there_already_stays(registering: Any) -> None:
    registrar, namespace = registering
    registrar.on("event")(lambda socket: None)
    registrar.on("connection")(lambda socket: None)
    registrar.on_server_side("news")(lambda: None)
    registrar.on_session_expired(lambda session: None)
    registrar.on_unhandled(lambda socket, name: None)
    again: list[Callable[[], object]] = [
        lambda: registrar.on("event")(lambda socket: None),
        lambda: registrar.on("connection")(lambda socket: None),
        lambda: registrar.on_server_side("news")(lambda: None),
        lambda: registrar.on_session_expired(lambda session: None),
        lambda: registrar.on_unhandled(lambda socket, name: None),
    ]
    for register in again:
        with pytest.raises(LocalProtocolError, match="already"):
            register()
    registry = namespace._registry
    assert registry.server_side.keys() == {"news"}
    assert registry.expired is not None


def test_what_can_never_be_called_is_refused(registering: Any) -> None:
    registrar, namespace = registering

    class Half:
        def joined(self, socket: Any) -> None: ...

    class Short(Observer):
        def left(self, socket: Any) -> None: ...  # type: ignore[override]  # too short: that is the point

    wrong: list[Callable[[], object]] = [
        lambda: registrar.on_unhandled(5),
        lambda: registrar.on_unhandled(lambda: None),
        lambda: registrar.on_unhandled(lambda socket: None),
        lambda: registrar.observe(object()),
        lambda: registrar.observe(Half()),
        lambda: registrar.observe(Short()),
        lambda: registrar.observe(Observer),
    ]
    for register in wrong:
        with pytest.raises(LocalProtocolError):
            register()
    assert namespace._registry.unhandled is None
    assert not namespace._registry.observers.all


def test_a_child_keeps_its_own_handlers() -> None:
    server = Server()
    parent, child = of_parent_before(server)
    told: list[str] = []
    child.on("event")(lambda socket: told.append("child's"))
    parent.on("event")(lambda socket: told.append("parent's"))
    receive(enter(child), "event")
    receive(enter(server.of("/room-2")), "event")
    assert told == ["child's", "parent's"]


def test_steps_of_the_server_are_those_of_every_namespace() -> None:
    server = Server()
    parent, child = of_parent_before(server)
    told: list[str] = []
    server.add_steps([Step(State.AUTHENTICATING, lambda joining: told.append(joining.name))])
    parent.add_steps([Step(State.AUTHENTICATING, lambda joining: told.append("parent's"))])
    for namespace in (server.of("/"), child, server.of("/room-2")):
        assert join(namespace, FakeSession()).state is State.JOINED
    assert told == ["/", "/room-1", "parent's", "/room-2", "parent's"]


@trio_test
async def test_a_registry_forgets_namespaces_that_have_ended() -> None:
    """Clients that go from one dynamic namespace to the next would fill it otherwise."""
    server = Server()
    parent, child = of_parent_before(server)
    await server.remove("/room-1")
    seen = Seen()
    server.observe(seen)
    parent.observe(seen)
    assert child._registry.observers.all == ()
