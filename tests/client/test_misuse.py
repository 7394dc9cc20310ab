"""Mistakes of a program are raised where it makes them, and change nothing."""

import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio
from tests.client.fake_server import FakeServer
from tests.client.serving import connected, create_server
from tests.client.test_reconnecting import joined
from tests.socketio.serving import serving, the_socket
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import (
    Client,
    ClientOptions,
    ConfigurationError,
    ConnectFailed,
    LocalProtocolError,
    ReceivedEvent,
    Server,
    SessionClosed,
    open_client,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.req("CLI-29")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": 5}, "a URL is text, not 5"),
        ({"url": b"http://localhost"}, "a URL is text"),
        ({"namespaces": 5}, "at least one name, not 5"),
        ({"namespaces": [5]}, "the name of a namespace is text, not 5"),
        ({"auth": 5}, "auth is an object or a function"),
        ({"auth": lambda: {"token": 1}}, "auth: .* will be called with \\(namespace\\)"),
        ({"headers": [("a", "b")]}, "headers are a mapping"),
        ({"headers": {"a": 1}}, "a header is text, not 'a': 1"),
        ({"headers": {"Host": "x"}}, "Host is the client's own"),
        ({"headers": {"content-length": "5"}}, "content-length is the client's own"),
        ({"headers": {"Accept-Encoding": "gzip"}}, "Accept-Encoding is the client's own"),
        ({"headers": {"Sec-WebSocket-Key": "x"}}, "Sec-WebSocket-Key is the client's own"),
        ({"open_stream": 5}, "open_stream: 5 is not a function"),
        ({"open_stream": lambda host: host}, "open_stream: .* will be called with \\(\\)"),
        ({"options": {}}, "options are ClientOptions, not {}"),
        ({"parser": 5}, "expected 'json', 'msgpack' or a Parser, not 5"),
        ({"parser": None}, "expected 'json', 'msgpack' or a Parser, not None"),
        ({"transports": 5}, "transports are some of"),
        ({"transports": "polling"}, "transports are some of"),
        ({"ssl_context": True}, "ssl_context is an ssl.SSLContext, not True"),
    ],
)
@trio_test
async def test_arguments_of_open_client(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        async with open_client(**({"url": "http://localhost:1"} | settings)):
            raise AssertionError("never")


@pytest.mark.parametrize("auth", [5, "token", ["a", "b"]])
@trio_test
async def test_a_function_for_auth_that_gives_no_object(auth: Any) -> None:
    failures: list[Exception] = []
    async with serving(Server()) as port:
        try:
            async with open_client(f"http://127.0.0.1:{port}", auth=lambda _: auth):
                raise AssertionError("never")
        except LocalProtocolError as error:
            failures.append(error)
    assert [str(error) for error in failures] == [f"auth for / is an object, not {auth!r}"]


@pytest.mark.req("CLI-29")
@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), "5", None])
@trio_test
async def test_times_that_are_none(timeout_s: Any, autojump_clock: MockClock) -> None:
    fake = FakeServer()
    async with joined(fake) as (client, end, _):
        with pytest.raises(LocalProtocolError, match="a timeout is a number of seconds above zero"):
            await client.emit_with_ack("x", timeout_s=timeout_s)
        client.emit("next")
        assert await end.receive() == '42["next"]'  # the other was not sent


@trio_test
async def test_names_of_namespaces() -> None:
    async with connected(create_server(), ("websocket",)) as client:
        names: list[Any] = [5, None, b"/chat", "a,b", "/a\nb"]
        for name in names:
            with pytest.raises(LocalProtocolError):
                client.of(name)
        assert client.of("chat") is client.of("/chat")
        assert client.of("") is client.of("/")


@trio_test
async def test_cookies_go_into_one_header() -> None:
    server = create_server()
    server.engine.on("initial_headers")(
        lambda headers, _: headers.add("Set-Cookie", "node=1; Path=/")
    )
    cookies: list[str | None] = []
    server.engine.on("headers")(lambda _, request: cookies.append(request.headers.get("cookie")))
    async with serving(server) as port:
        url, own = f"http://127.0.0.1:{port}", {"cookie": "own=2", "X-Other": "3"}
        async with open_client(url, headers=own, transports=("polling",)) as client:
            assert await client.emit_with_ack("echo", 1) == 1
            assert the_socket(server).handshake.headers["x-other"] == "3"
    assert cookies[0] == "own=2"
    assert set(cookies[1:]) == {"own=2; node=1"}


@pytest.mark.req("CLI-28")
class TestAfterTheBlock:
    """The client has ended: nothing that is done to it is lost without a word, or waits."""

    @trio_test
    async def test_nothing_can_be_emitted(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            old = client.of("/old")
        for namespace in (client, old, client.of("/new")):
            with pytest.raises(SessionClosed):
                namespace.emit("x")
            with pytest.raises(SessionClosed):
                namespace.volatile.emit("x")
            with pytest.raises(SessionClosed):
                await namespace.emit_with_ack("x")
            namespace.disconnect()
        assert client.packets_dropped == 0

    @trio_test
    async def test_nothing_is_waited_for(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake, options=ClientOptions(close_timeout_s=1)) as (client, _, _):
            old = client.of("/old")
        began = trio.current_time()
        for namespace in (client, old, client.of("/new")):
            with pytest.raises(ConnectFailed, match="the block of open_client has ended"):
                await namespace.connect()
            assert await namespace.wait_closed() == "io client disconnect"
            await namespace.wait_drained()
            with namespace.events() as events:
                assert [event async for event in events] == []
        assert trio.current_time() == began
        assert len(fake.attempts) == 1


@pytest.mark.req("CLI-33")
class TestThreads:
    """A client belongs to the thread that it was opened in."""

    @trio_test
    async def test_another_thread_changes_nothing(self, autojump_clock: MockClock) -> None:
        fake = FakeServer()
        async with joined(fake) as (client, end, _):
            kept: list[ReceivedEvent] = []
            events = client.events()
            await end.send('4207["question"]')
            kept.append(await events.receive())
            wrong: list[Callable[[], Any]] = [
                lambda: client.emit("x"),
                lambda: client.volatile.emit("x"),
                lambda: client.of("/new"),
                client.disconnect,
                client.of("/old").disconnect,
                lambda: kept[0].answer(1),
            ]
            said: list[str] = []

            def try_all() -> None:
                for function in wrong:
                    try:
                        function()
                    except LocalProtocolError as error:
                        said.append(str(error))

            thread = threading.Thread(target=try_all)
            thread.start()
            thread.join()
            assert len(said) == len(wrong)
            assert set(said) == {
                "this client runs in another thread, and nothing was done: call "
                "trio.from_thread.run_sync(client.emit, ...), or run(...) for what is async"
            }
            assert client.connected
            kept[0].answer(2)  # it was not spent
            client.emit("right")
            assert [await end.receive(), await end.receive()] == ["437[2]", '42["right"]']

    @trio_test
    async def test_the_right_way(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:

            def work() -> Any:
                trio.from_thread.run_sync(client.emit, "echo", 1)
                return trio.from_thread.run(client.emit_with_ack, "echo", 2)

            assert await trio.to_thread.run_sync(work) == 2


@trio_test
async def test_waiting_lets_others_run(autojump_clock: MockClock) -> None:
    """As every async function does, also one that has nothing to wait for."""

    async def produce(client: Client) -> None:
        while True:
            client.volatile.emit("x")
            await client.wait_drained()

    fake = FakeServer()
    async with joined(fake) as (client, end, _), trio.open_nursery() as nursery:
        fake.down = True
        await end.drop()
        await wait_all_tasks_blocked()
        nursery.start_soon(produce, client)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert client.packets_dropped > 1
        nursery.cancel_scope.cancel()
    for wait in (client.wait_closed, client.wait_drained):
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught
