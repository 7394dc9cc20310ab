"""A guard before the handlers of a namespace."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.socketio.serving import ask, joined, send_batch, serving
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.socketio.handlers import Handler, PrivateHandler
from trio_socketio.socketio.registry import Registry


class Guarded(Handler):
    """Says that it was called."""

    def __init__(self, inner: Handler, calls: list[str]) -> None:
        def call(socket: Socket, *arguments: Any) -> Any:
            calls.append(str(inner.name))
            return inner.function(socket, *arguments)

        super().__init__(inner.name, inner.function)
        self.function = call


def guard(calls: list[str]) -> Callable[[Handler], Handler]:
    return lambda inner: Guarded(inner, calls)


def answer(name: str) -> Callable[..., str]:
    return lambda *_: name


@pytest.mark.req("RULE-01")
@trio_test
async def test_every_event_passes_the_guard_whenever_its_handler_was_registered() -> None:
    server, calls = Server(), list[str]()
    server.on("early")(answer("early"))
    server._namespaces.main._registry.guard(guard(calls))
    server.on("late")(answer("late"))

    @server.on("slow")
    async def slow(_: Socket) -> str:
        return "slow"

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        for event in ("early", "late", "slow"):
            assert await ask(client, event) == [event]
        await send_batch(client, ['2["nobody"]'])
        server.on_unhandled(answer("unhandled"))
        assert await ask(client, "other") == ["unhandled"]
    assert calls == ["early", "late", "slow", "nobody", "other"]


@pytest.mark.req("RULE-01")
@trio_test
async def test_listeners_and_middleware_of_a_socket_do_not_lead_around_the_guard() -> None:
    server, calls = Server(), list[str]()
    server.on("sum")(lambda _, *numbers: sum(numbers))
    server._namespaces.main._registry.guard(guard(calls))

    @server.on("connection")
    def connected(socket: Socket) -> None:
        socket.use(lambda packet: packet.append(10))

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        assert await ask(client, "sum", 1) == [11]
    assert calls == ["sum"]


@trio_test
async def test_a_guard_is_replaced_and_taken_away_while_clients_are_there() -> None:
    server, first, second = Server(), list[str](), list[str]()
    server.on("event")(answer("event"))
    registry = server._namespaces.main._registry
    async with serving(server) as port, joined(port, "websocket") as (client, _):
        for make in (guard(first), guard(second), None):
            registry.guard(make)
            assert await ask(client, "event") == ["event"]
    assert (first, second) == (["event"], ["event"])


def test_what_is_not_an_event_of_a_client_is_left_alone() -> None:
    server, calls = Server(), list[str]()
    registry = server._namespaces.main._registry
    private = PrivateHandler("auth", answer("auth"))
    registry.add_handler(private)
    for event in ("connection", "disconnecting", "disconnect"):
        server.on(event)(lambda *_: None)
    registry.guard(guard(calls))
    assert registry.handlers["auth"] is private
    for handler in (registry.connection, *registry.handlers.values()):
        assert not isinstance(handler, Guarded)


def test_heirs_inherit_handlers_without_the_guard() -> None:
    server, calls = Server(), list[str]()
    registry = server._namespaces.main._registry
    server.on("event")(answer("event"))
    plain = registry.handlers["event"]
    registry.guard(guard(calls))
    heir = Registry("/heir", registry.workers)
    registry.bequeath(heir)
    assert heir.handlers["event"] is plain


def test_a_handler_is_removed_from_behind_its_guard() -> None:
    server, calls = Server(), list[str]()
    registry = server._namespaces.main._registry
    handler, other = Handler("event", answer("event")), Handler("event", answer("other"))
    registry.add_handler(handler)
    registry.guard(guard(calls))
    registry.remove_handler(other)
    assert "event" in registry.handlers
    for _ in range(2):  # the second time it is gone
        registry.remove_handler(handler)
    registry.guard(None)
    assert "event" not in registry.handlers
    registry.add_handler(other)
    registry.remove_handler(other)
    registry.remove_handler(other)
    assert "event" not in registry.handlers


@pytest.mark.req("RULE-02")
def test_without_a_guard_the_table_holds_what_was_registered() -> None:
    server = Server()
    registry = server._namespaces.main._registry
    handler = Handler("event", answer("event"))
    registry.add_handler(handler)
    assert registry.handlers == {"event": handler}
    registry.guard(lambda inner: inner)
    registry.guard(None)
    assert registry.handlers == {"event": handler}
    assert registry.unhandled_for("nobody") is None
