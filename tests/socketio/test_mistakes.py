"""Mistakes of a program: told where they are made, and not by the first client."""

import logging
import re
from types import SimpleNamespace
from typing import Any, Final

import pytest
from tests.socketio.in_process import enter
from tests.socketio.serving import serving
from trio.testing import trio_test

from trio_socketio import ConfigurationError, LocalProtocolError, Server, ServerOptions, open_client
from trio_socketio.client.dispatch import Dispatcher
from trio_socketio.codec.parsers import PARSERS, MsgpackParser
from trio_socketio.protocol.joining import State
from trio_socketio.runtime.failures import FailureLog
from trio_socketio.socketio.steps import Step

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
        adapter.on(good)  # type: ignore[arg-type]  # that is the point


@pytest.mark.req("SURF-36")
def test_the_engine_s_hooks_take_what_they_are_called_with() -> None:
    engine = Server().engine
    with pytest.raises(LocalProtocolError, match="called with"):
        engine.use(two)
    with pytest.raises(LocalProtocolError, match="parentheses"):
        engine.on(two)  # type: ignore[arg-type]  # that is the point
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
    assert all("[cors] credentials" in line for line in lines)


@pytest.mark.req("SURF-61")
@pytest.mark.parametrize("options", [5, 0, {}, [], "json", {"port": 3000}])
def test_a_server_is_given_its_own_kind_of_options(options: Any) -> None:
    says = re.escape(f"options: expected ServerOptions(...), not {options!r}")
    with pytest.raises(ConfigurationError, match=f"^{says}$"):
        Server(options)
    server = Server()
    before = server.options
    with pytest.raises(ConfigurationError, match=f"^{says}$"):
        server.options = options
    assert server.options is before


class Delegating:
    """Has the methods of another object without defining any."""

    def __init__(self, other: object) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


@pytest.mark.req("SURF-61")
def test_a_server_is_given_a_parser_or_its_name() -> None:
    assert Server(parser="msgpack")._host.parser is PARSERS["msgpack"]
    assert Server(parser="json")._host.parser is PARSERS["json"]
    own = MsgpackParser()
    assert Server(parser=own)._host.parser is own
    for wrong in misfits("yaml", "", 5, 0, {}, MsgpackParser):
        with pytest.raises(ConfigurationError) as caught:
            Server(parser=wrong)
        assert str(caught.value) == (
            f"parser: expected 'json', 'msgpack' or a Parser, not {wrong!r}"
        )
    partly, whole = misfits(SimpleNamespace(encode_packet=print), Delegating(own))
    with pytest.raises(ConfigurationError, match=r", which has no arguments_encoder$"):
        Server(parser=partly)
    assert Server(parser=whole)._host.parser is whole


@pytest.mark.req("SURF-61")
@trio_test
async def test_a_parser_given_by_name_is_served() -> None:
    server = Server(parser="msgpack")
    async with (
        serving(server) as port,
        open_client(f"http://127.0.0.1:{port}", parser="msgpack") as client,
    ):
        server.on("ping")(lambda _: "pong")
        assert await client.emit_with_ack("ping", timeout_s=5) == "pong"


@pytest.mark.req("SURF-61")
@pytest.mark.parametrize("adapter", [5, None, none, two])
def test_an_adapter_is_made_with_a_namespace(adapter: Any) -> None:
    with pytest.raises(LocalProtocolError, match=f"^adapter: .*({MISFIT})"):
        Server(adapter=adapter)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]  # how Python says that it has no hash

    def __call__(self, name: str, auth: Any) -> bool:
        return True


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("name", [[], {}, ([],), 5, None, b"/x", re.compile(b"/x")])
def test_a_namespace_needs_a_name_or_a_matcher(name: Any) -> None:
    server = Server()
    with pytest.raises(LocalProtocolError, match="neither a name, nor a compiled pattern of text"):
        server.of(name)


@pytest.mark.req("SURF-36")
def test_a_predicate_can_be_found_again() -> None:
    with pytest.raises(LocalProtocolError, match="a predicate must be hashable"):
        Server().of(Unhashable())


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("steps", [None, 5, [5], [one], "steps", Step(State.SEAT, one)])
def test_steps_are_steps(place: int, steps: Any) -> None:
    registry = registries()[place]
    with pytest.raises(LocalProtocolError, match=r"^expected a list of Step\(\.\.\.\), not "):
        registry.add_steps(steps)
    good = Step(State.SEAT, one)
    with pytest.raises(LocalProtocolError, match=r"^expected a list of Step"):
        registry.add_steps([good, 5])
    registry.add_steps(iter((good,)))


@pytest.mark.req("SURF-36")
@pytest.mark.parametrize(
    ("stage", "function", "timeout_s", "says"),
    [
        (5, one, None, "the stages that have steps are AUTHENTICATING, MIDDLEWARE, SEAT, not 5"),
        (State.JOINED, one, None, "AUTHENTICATING, MIDDLEWARE, SEAT, not JOINED"),
        (State.SEAT, none, None, "seat step: .*will be called with .joining"),
        (State.MIDDLEWARE, 5, None, "middleware step: 5 is not a function"),
        (State.SEAT, one, 0, "a number of seconds above zero or None, not 0"),
        (State.SEAT, one, "5", "a number of seconds above zero or None, not '5'"),
        (State.SEAT, one, float("nan"), "a number of seconds above zero or None, not nan"),
        (State.SEAT, one, True, "a number of seconds above zero or None, not True"),
    ],
)
def test_a_step_is_checked_when_it_is_made(
    stage: Any, function: Any, timeout_s: Any, says: str
) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        Step(stage, function, timeout_s=timeout_s)
