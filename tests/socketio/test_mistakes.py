"""Mistakes of a program: told where they are made, and not by the first client."""

import logging
import re
from typing import Any, Final

import pytest
from tests.socketio.in_process import enter
from tests.socketio.serving import serving
from trio.testing import trio_test

from trio_socketio import LocalProtocolError, Server, ServerOptions
from trio_socketio.client.dispatch import Dispatcher
from trio_socketio.runtime.failures import FailureLog

MISFIT: Final = r"called with|not a function"
NO_NAME: Final = r"an event's name is text|parentheses"


def none() -> None: ...


def one(a: Any) -> None: ...


def two(a: Any, b: Any) -> None: ...


def three(a: Any, b: Any, c: Any) -> None: ...


def keyword(a: Any, *, b: Any) -> None: ...


def misfits(*functions: Any) -> list[Any]:
    """Hides from the type checker what it would find by itself."""
    return list(functions)


def registries() -> list[Any]:
    server = Server()
    return [server, server.of("/chat"), server.of(re.compile("/room-.+"))]


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("method", ["on", "on_server_side"])
@pytest.mark.parametrize("event", [two, None, b"x", True, ["x"]])
def test_a_handler_needs_an_event(place: int, method: str, event: Any) -> None:
    with pytest.raises(LocalProtocolError, match=NO_NAME):
        getattr(registries()[place], method)(event)


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(
    ("event", "good", "bad"),
    [
        ("connection", [one, print], [none, two, keyword, 5, None]),
        ("disconnect", [two, lambda *_: None], [none, one, three, "x"]),
        ("disconnecting", [two], [one, three]),
        ("message", [one, two, three, print], [none, keyword, object()]),
        (7, [one], [none]),
    ],
)
def test_a_handler_takes_what_it_is_called_with(
    place: int, event: Any, good: list[Any], bad: list[Any]
) -> None:
    for function in bad:
        registry = registries()[place]
        with pytest.raises(LocalProtocolError, match=MISFIT):
            registry.on(event)(function)
        registry.on(event)(good[0])  # nothing was registered
    for function in good:
        assert registries()[place].on(event)(function) is function


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("place", range(3))
def test_middleware_and_the_rest_take_what_they_are_called_with(place: int) -> None:
    registry = registries()[place]
    for function in (none, two, keyword, "x", None):
        for register in (registry.use, registry.on_session_expired):
            with pytest.raises(LocalProtocolError, match=MISFIT):
                register(function)
    with pytest.raises(LocalProtocolError, match="called with"):
        registry.on_server_side("x")(keyword)
    registry.on_server_side("x")(none)
    registry.use(one)
    registry.on_session_expired(one)


@pytest.mark.req("SURF-36")
def test_what_sees_everything_takes_what_it_is_called_with() -> None:
    server = Server()
    socket = enter(server.of("/"))
    for register in (
        socket.on_any,
        socket.prepend_any,
        socket.on_any_outgoing,
        socket.prepend_any_outgoing,
    ):
        register(one)
        register(three)
        for function in misfits(none, keyword, 5):
            with pytest.raises(LocalProtocolError, match=MISFIT):
                register(function)
    for function in misfits(none, two, 5):
        with pytest.raises(LocalProtocolError, match=MISFIT):
            socket.use(function)
        with pytest.raises(LocalProtocolError, match=MISFIT):
            server.on("new_namespace")(function)
    assert len(socket.listeners_any()) == len(socket.listeners_any_outgoing()) == 4


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("event", ["create_room", "delete_room", "join_room", "leave_room"])
def test_hooks_of_rooms_take_what_they_are_called_with(event: str) -> None:
    adapter = Server().of("/").adapter
    good, bad = (one, two) if event in ("create_room", "delete_room") else (two, one)
    with pytest.raises(LocalProtocolError, match="called with"):
        adapter.on(event)(bad)
    adapter.on(event)(good)
    with pytest.raises(LocalProtocolError, match="parentheses"):
        adapter.on(good)  # type: ignore[arg-type]


@pytest.mark.req("SURF-36")
def test_the_engine_s_hooks_take_what_they_are_called_with() -> None:
    engine = Server().engine
    with pytest.raises(LocalProtocolError, match="called with"):
        engine.use(two)
    with pytest.raises(LocalProtocolError, match="parentheses"):
        engine.on(two)  # type: ignore[arg-type]
    cases: list[tuple[str, Any, Any]] = [
        ("initial_headers", two, one),
        ("headers", two, one),
        ("connection", one, two),
        ("connection_error", one, none),
    ]
    for event, good, bad in cases:
        with pytest.raises(LocalProtocolError, match="called with"):
            engine.on(event)(bad)
        engine.on(event)(good)


@pytest.mark.req("SURF-36")
def test_a_predicate_takes_name_and_auth() -> None:
    server = Server()
    wrong: Any = one
    with pytest.raises(LocalProtocolError, match=r"called with \(name, auth\)"):
        server.of(wrong)
    assert server._namespaces.parents == {}


@pytest.mark.req("SURF-36")
def test_handlers_of_the_client_take_what_they_are_called_with() -> None:
    dispatcher = Dispatcher("/", 1, FailureLog())
    cases: list[tuple[str, Any, Any]] = [
        ("connect", none, one),
        ("disconnect", one, none),
        ("connect_error", one, two),
        ("message", none, keyword),
    ]
    for event, good, bad in cases:
        with pytest.raises(LocalProtocolError, match="called with"):
            dispatcher.add_handler(event, bad)
        dispatcher.add_handler(event, good)
    for function in misfits(none, 5):
        with pytest.raises(LocalProtocolError, match=MISFIT):
            dispatcher.add_any(function)


@pytest.mark.req("SURF-37")
@pytest.mark.parametrize("room", [5, None, b"room", bytearray(b"room"), ["x", 5], [b"x"], [None]])
@trio_test
async def test_a_room_is_text(room: Any) -> None:
    server = Server()
    socket = enter(server.of("/"))
    other = enter(server.of("/"))
    (remote,) = await server.to(other.id).fetch_sockets()
    for broadcasting in (server, server.of("/"), server.of(re.compile("/x")), server.local):
        for method in ("to", "in_", "except_", "sockets_join", "sockets_leave"):
            with pytest.raises(LocalProtocolError, match="a room is text, not"):
                getattr(broadcasting, method)(room)
    for method in ("to", "in_", "except_", "join", "leave"):
        with pytest.raises(LocalProtocolError, match="a room is text, not"):
            getattr(socket, method)(room)
        if method in ("join", "leave"):
            with pytest.raises(LocalProtocolError, match="a room is text, not"):
                getattr(remote, method)(room)
        else:
            with pytest.raises(LocalProtocolError, match="a room is text, not"):
                getattr(socket.volatile, method)(room)
    assert socket.rooms == {socket.id}
    assert other.rooms == {other.id}


def test_rooms_may_come_from_anything_that_gives_text() -> None:
    server = Server()
    socket = enter(server.of("/"))
    socket.join(name for name in ("a", "b"))
    server.of("/").sockets_join({"c": 1})
    server.to(socket.id).sockets_join({"d"})
    assert socket.rooms == {socket.id, "a", "b", "c", "d"}


@pytest.mark.req("SURF-39")
@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({"allow_eio3": True, "cors_origins": "https://a.example"}, True),
        ({"allow_eio3": True, "cors_origins": "*"}, True),
        ({"allow_eio3": True, "cors_origins": "null", "cors_credentials": True}, False),
        ({"allow_eio3": True}, False),
        ({"cors_origins": "https://a.example"}, False),
    ],
)
@trio_test
async def test_old_clients_of_other_origins_need_credentials(
    options: dict[str, Any], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving(Server(ServerOptions(**options))):
            pass
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == warns
    assert all("cors_credentials=True" in line for line in lines)
