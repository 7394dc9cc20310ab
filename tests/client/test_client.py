"""The client against our server, on real sockets, over every transport."""

import logging
from types import MappingProxyType
from typing import Any

import pytest
import trio
from tests.client.serving import QUICK, connected, create_server
from tests.codec.test_builtin_values import Pair, Point
from tests.socketio.serving import serving, the_socket, until
from trio.testing import trio_test, wait_all_tasks_blocked

from trio_socketio import (
    AckTimeout,
    Client,
    ClientOptions,
    ConfigurationError,
    ConnectFailed,
    ConnectRefused,
    LocalProtocolError,
    ReceivedEvent,
    Server,
    ServerOptions,
    SessionClosed,
    Socket,
    open_client,
)
from trio_socketio.client.output import Output
from trio_socketio.codec.engine_packet import Outgoing

Transports = tuple[str, ...]
VALUES: list[Any] = [
    [],
    ["text", 1, 2.5, True, None],
    ["é\u2028\U0001f600\x1e"],
    [{"a": [1, {"b": "c"}]}],
    [b"", bytes(range(256))],
    [{"deep": [b"one", {"two": b"2"}]}, b"three"],
]


class TestEvents:
    @pytest.mark.req("CLI-01", "CLI-02", "CLI-04", "CLI-12", "CLI-15")
    @trio_test
    async def test_values_go_both_ways(self, transports: Transports) -> None:
        async with connected(create_server(), transports) as client:
            with client.events() as events:
                for arguments in VALUES:
                    answer = await client.emit_with_ack("echo", *arguments)
                    one = arguments[0] if len(arguments) == 1 else tuple(arguments) or None
                    assert answer == one
                    event = await events.receive()
                    assert (event.name, event.arguments) == ("echo", arguments)

    @pytest.mark.req("SIO5-62")
    @pytest.mark.parametrize("parser", ["json", "msgpack"])
    @trio_test
    async def test_binary_in_other_values_goes_both_ways(
        self, transports: Transports, parser: str
    ) -> None:
        server = create_server(ServerOptions(parser=parser))
        server.on("give")(lambda _: (Pair({b"left"}, Point(b"right")), MappingProxyType({1: 1})))
        async with connected(server, transports, parser=parser) as client:
            given = [[b"left"], {"x": b"right", "y": 0}], {"1": 1}
            assert await client.emit_with_ack("give") == given
            client.on("question")(lambda *arguments: Point(list(arguments), {b"answer"}))
            answer = await client.emit_with_ack("ask me", Pair(1, frozenset([b"asked"])))
            assert answer == {"x": [[1, [b"asked"]]], "y": [b"answer"]}
            with pytest.raises(LocalProtocolError, match=r"cannot send the dict at \[1\]"):
                client.emit("echo", {b"key": 1})

    @pytest.mark.req("CLI-14")
    @trio_test
    async def test_handlers_run_in_order_plain_and_async(self, transports: Transports) -> None:
        seen: list[tuple[str, int]] = []
        done = trio.Event()
        async with connected(create_server(), transports) as client:

            @client.on("number")
            async def number(value: int) -> None:
                if value % 3 == 0:
                    await trio.lowlevel.checkpoint()
                seen.append(("handler", value))

            @client.on("echo")
            def last() -> None:
                done.set()

            @client.on_any
            def anything(name: str, *arguments: Any) -> None:
                if name == "number":
                    seen.append(("any", arguments[0]))

            client.emit("count", 500)
            client.emit("echo")
            await done.wait()
        assert seen == [(kind, n) for n in range(500) for kind in ("any", "handler")]

    @pytest.mark.req("CLI-11")
    @trio_test
    async def test_what_is_emitted_arrives_in_order(self, transports: Transports) -> None:
        server, seen = create_server(), []

        @server.on("note")
        def note(_: Socket, *arguments: Any) -> None:
            seen.append(arguments[0])

        async with serving(server) as port:
            url = f"http://127.0.0.1:{port}"
            async with open_client(url, transports=transports, options=QUICK) as client:
                for number in range(300):  # while the upgrade goes on
                    client.emit("note", number, *([b"x"] if number % 7 == 0 else []))
                    if number % 50 == 0:
                        await trio.sleep(0.001)
            await until(lambda: len(seen) == 300)  # leaving the block flushes
        assert seen == list(range(300))

    @trio_test
    async def test_events_before_the_first_await_are_held(self, transports: Transports) -> None:
        server = create_server()
        seen: list[str] = []

        @server.on("connection")
        def greet(socket: Socket) -> None:
            socket.emit("greeting", "hello")

        async with serving(server) as port:
            url = f"http://127.0.0.1:{port}"
            async with open_client(url, transports=transports) as client:

                @client.on("connect")
                def connect() -> None:
                    seen.append("connect")

                @client.on("greeting")
                def greeting(text: str) -> None:
                    seen.append(text)

                await until(lambda: len(seen) == 2)
        assert seen == ["connect", "hello"]

    @trio_test
    async def test_a_handler_that_fails_is_logged_and_harms_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            seen: list[int] = []

            @client.on("number")
            def number(value: int) -> None:
                seen.append(value)
                raise ValueError("oh no")

            client.emit("count", 2)
            await until(lambda: len(seen) == 2)
            assert await client.emit_with_ack("echo", 1) == 1
        records = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert len(records) == 2
        assert "'number' failed" in records[0].getMessage()
        assert records[0].exc_info is not None

    @trio_test
    async def test_names_that_cannot_be(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            for name in ("connect", "disconnect", "connect_error", "disconnecting"):
                with pytest.raises(LocalProtocolError):
                    client.emit(name)
                with pytest.raises(LocalProtocolError):
                    await client.emit_with_ack(name)
            with pytest.raises(LocalProtocolError):
                client.emit("event", object())
            with pytest.raises(LocalProtocolError, match="reserved"):
                client.on("newListener")(print)
            client.on("x")(print)
            with pytest.raises(LocalProtocolError, match="already"):
                client.on("x")(print)

    @trio_test
    async def test_a_message_larger_than_the_server_takes_is_refused(
        self, transports: Transports
    ) -> None:
        async with connected(create_server(), transports) as client:
            with pytest.raises(LocalProtocolError, match="1000000"):
                client.emit("echo", "x" * 1_000_000)
            with pytest.raises(LocalProtocolError, match="1000000"):
                client.emit("echo", bytes(1_000_001))
            fits = bytes(700_000)
            assert await client.emit_with_ack("echo", fits, fits[:-1]) == (fits, fits[:-1])

    @trio_test
    async def test_volatile_is_sent_when_nothing_waits_and_dropped_else(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            with client.events() as events:
                client.volatile.emit("echo", 1)
                client.volatile.emit("echo", 2)  # the first still waits for the writer
                assert client.packets_dropped == 1
                await client.wait_drained()
                client.volatile.emit("echo", 3)
                assert (await events.receive()).arguments == [1]
                assert (await events.receive()).arguments == [3]


class TestBackPressure:
    @trio_test
    async def test_several_may_wait_until_all_is_sent(self) -> None:
        output = Output(1000)
        output.add(Outgoing(b"42"), bounded=True)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(output.wait_drained)
            await wait_all_tasks_blocked()
            output.take()
            output.add(Outgoing(b"43"), bounded=True)
            output.sent(1)
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 3
            output.sent(len(output.take()))
            await wait_all_tasks_blocked()
            still_waiting = len(nursery.child_tasks)
            nursery.cancel_scope.cancel()
        assert still_waiting == 0

    @pytest.mark.req("CLI-14")
    @trio_test
    async def test_a_stream_that_is_not_read_stops_reading_and_loses_nothing(
        self, transports: Transports
    ) -> None:
        options = ClientOptions(handler_queue=4)
        handled: list[int] = []
        async with connected(create_server(), transports, options=options) as client:
            events = client.events()
            client.on("number")(lambda number: handled.append(number))
            client.emit("count", 1000)
            await until(lambda: len(handled) == 4)
            await trio.sleep(0.05)
            assert len(handled) == 4  # the next waits for room in the stream
            assert [(await events.receive()).arguments for _ in range(1000)] == [
                [number] for number in range(1000)
            ]
            assert await client.emit_with_ack("echo", 1) == 1
            assert handled == list(range(1000))

    @trio_test
    async def test_leaving_does_not_wait_for_it(self, transports: Transports) -> None:
        options = ClientOptions(handler_queue=4, close_timeout_s=30)
        async with connected(create_server(), transports, options=options) as client:
            client.events()
            client.emit("count", 1000)
            await trio.sleep(0.05)
            with trio.fail_after(5):
                client.emit("echo")
                await client.wait_drained()
                began = trio.current_time()
        assert trio.current_time() - began < 5


class TestAcks:
    @pytest.mark.req("CLI-13")
    @trio_test
    async def test_handlers_answer_with_what_they_return(self, transports: Transports) -> None:
        async with connected(create_server(), transports) as client:
            answers: list[Any] = [None, 1, [1, 2], ("a", b"b"), b"bytes", {"x": b"y"}, ()]

            @client.on("question")
            async def question(at: int) -> Any:
                return answers[at]

            for at, answer in enumerate(answers):
                got = await client.emit_with_ack("ask me", at)
                assert got == (answer if answer != () else None)

    @trio_test
    async def test_streams_answer(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            events = client.events()
            async with trio.open_nursery() as nursery:
                got: list[Any] = []

                async def ask() -> None:
                    got.append(await client.emit_with_ack("ask me", 1))

                nursery.start_soon(ask)
                event = await events.receive()
                event.answer("yes", 2)
                assert not event.wants_answer
                with pytest.raises(LocalProtocolError, match="no answer"):
                    event.answer("again")
            assert got == [("yes", 2)]

    @trio_test
    async def test_no_answer_in_time(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            with pytest.raises(AckTimeout):
                await client.emit_with_ack("nobody handles this", timeout_s=0.02)
            assert await client.emit_with_ack("echo", 1) == 1

    @trio_test
    async def test_many_at_once_find_their_own(self, transports: Transports) -> None:
        async with connected(create_server(), transports) as client:
            got: dict[int, Any] = {}

            async def ask(number: int) -> None:
                got[number] = await client.emit_with_ack("echo", number)

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(ask, number)
            assert got == {number: number for number in range(100)}

    @trio_test
    async def test_a_handler_that_awaits_an_ack_behind_a_full_queue(self) -> None:
        options = ClientOptions(handler_queue=4)
        async with connected(create_server(), ("websocket",), options=options) as client:
            got: list[Any] = []

            @client.on("number")
            async def number(value: int) -> None:
                if value == 0:
                    got.append(await client.emit_with_ack("echo", "mine", timeout_s=5))

            client.emit("count", 12)  # the answer stands behind more than the queue holds
            await until(lambda: len(got) == 1)
            assert got == ["mine"]

    @trio_test
    async def test_whoever_waits_is_told_of_the_end(self) -> None:
        async def wait(client: Client) -> None:
            with pytest.raises(SessionClosed, match="io server disconnect"):
                await client.emit_with_ack("nobody handles this")

        async with (
            connected(create_server(), ("websocket",)) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(wait, client)
            await wait_all_tasks_blocked()
            client.emit("put me out", False)


class TestNamespaces:
    @pytest.mark.req("CLI-05", "CLI-06")
    @trio_test
    async def test_several_on_one_connection(self, transports: Transports) -> None:
        server = create_server()

        @server.of("/chat").on("echo")
        def echo(socket: Socket, *arguments: Any) -> Any:
            socket.emit("echo", "chat", *arguments)
            return ["chat", *arguments]

        auth: list[Any] = []

        @server.of("/chat").use
        async def keep(socket: Socket) -> None:
            auth.append(socket.handshake.auth)

        async def tell(namespace: str) -> dict[str, str]:
            return {"for": namespace}

        async with connected(server, transports, namespaces=["/chat", "/"], auth=tell) as client:
            assert client.id == client.of("/chat").id != client.of("/").id
            assert server.statistics().sessions == 1
            with client.events() as chat, client.of("/").events() as main:
                assert await client.emit_with_ack("echo", b"1") == ["chat", b"1"]
                assert await client.of("/").emit_with_ack("echo", 2) == 2
                assert (await chat.receive()).arguments == ["chat", b"1"]
                assert (await main.receive()).arguments == [2]
        assert auth == [{"for": "/chat"}]

    @pytest.mark.req("CLI-07")
    @trio_test
    async def test_refused_with_message_and_data(self, transports: Transports) -> None:
        server = create_server()

        @server.use
        def refuse(_: Socket) -> None:
            raise ConnectRefused("no entry", {"why": [1]})

        async with serving(server) as port:
            with pytest.raises(ConnectRefused) as caught:
                async with open_client(f"http://127.0.0.1:{port}", transports=transports):
                    raise AssertionError("never")
            assert caught.value.message == "no entry"
            assert caught.value.data == {"why": [1]}
            await until(lambda: server.statistics().sessions == 0)

    @trio_test
    async def test_one_of_several_refused_is_refused(self) -> None:
        async with serving(create_server()) as port:
            with pytest.raises(ConnectRefused, match="Invalid namespace"):
                async with open_client(f"http://127.0.0.1:{port}", namespaces=["/", "/none"]):
                    raise AssertionError("never")

    @trio_test
    async def test_joined_later_and_again(self, transports: Transports) -> None:
        server = create_server()
        server.of("/later")
        async with connected(server, transports) as client:
            later = client.of("later")
            assert not later.connected
            await later.connect()
            first = later.id
            assert first
            later.disconnect()
            assert not later.connected
            assert later.id == ""
            with pytest.raises(SessionClosed, match="io client disconnect"):
                later.emit("x")
            await later.connect()
            assert later.id not in ("", first)
            with pytest.raises(ConnectRefused, match="Invalid namespace"):
                await client.of("/none").connect()
            assert client.connected

    @pytest.mark.req("CLI-09")
    @trio_test
    async def test_put_out_by_the_server(self, transports: Transports) -> None:
        async with connected(create_server(), transports) as client:
            reasons: list[str] = []
            client.on("disconnect")(reasons.append)
            events = client.events()
            client.emit("put me out", False)
            assert await client.wait_closed() == "io server disconnect"
            assert [event async for event in events] == []
            assert reasons == ["io server disconnect"]
            with pytest.raises(SessionClosed, match="io server disconnect"):
                client.emit("echo")
            await client.connect()  # the program may come back by itself
            assert await client.emit_with_ack("echo", 1) == 1


class TestTheEnd:
    @pytest.mark.req("CLI-10")
    @trio_test
    async def test_leaving_the_block_says_goodbye(self, transports: Transports) -> None:
        server, reasons = create_server(), []

        @server.on("disconnect")
        def gone(_: Socket, reason: str) -> None:
            reasons.append(reason)

        async with serving(server) as port:
            async with open_client(f"http://127.0.0.1:{port}", transports=transports) as client:
                pass
            assert not client.connected
            await until(lambda: bool(reasons) and server.statistics().sessions == 0)
            with pytest.raises(SessionClosed):
                client.emit("echo")
        assert reasons == ["client namespace disconnect"]

    @pytest.mark.req("CLI-10")
    @trio_test
    async def test_being_cancelled_says_goodbye_too(self, transports: Transports) -> None:
        server, reasons = create_server(), []

        @server.on("disconnect")
        def gone(_: Socket, reason: str) -> None:
            reasons.append(reason)

        async with serving(server) as port:
            with trio.CancelScope() as scope:
                async with open_client(f"http://127.0.0.1:{port}", transports=transports):
                    scope.cancel()
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            await until(lambda: bool(reasons))
        assert reasons == ["client namespace disconnect"]

    @trio_test
    async def test_what_the_block_raises_comes_alone(self) -> None:
        async with serving(create_server()) as port:
            with pytest.raises(ZeroDivisionError):
                async with open_client(f"http://127.0.0.1:{port}"):
                    raise ZeroDivisionError

    @trio_test
    async def test_handlers_end_with_the_block(self) -> None:
        cancelled = trio.Event()
        async with connected(create_server(), ("websocket",)) as client:
            started = trio.Event()

            @client.on("echo")
            async def echo() -> None:
                started.set()
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.set()

            client.emit("echo")
            await started.wait()
        assert cancelled.is_set()

    @trio_test
    async def test_disconnect_and_connect_again(self, transports: Transports) -> None:
        server = create_server()
        async with connected(server, transports) as client:
            events = client.events()
            client.disconnect()
            assert await client.wait_closed() == "io client disconnect"
            await until(lambda: server.statistics().sessions == 0 and client.transport == "")
            with pytest.raises(trio.EndOfChannel):
                await events.receive()
            await client.connect()
            assert await client.emit_with_ack("echo", 1) == 1

    @trio_test
    async def test_a_stream_nobody_reads_any_more_is_dropped(self) -> None:
        async with connected(create_server(), ("websocket",)) as client:
            events = client.events()
            events.close()
            assert await client.emit_with_ack("echo", 1) == 1
            with client.events() as others:
                client.emit("echo", 2)
                event: ReceivedEvent = await others.receive()
                assert repr(event) == "ReceivedEvent('echo', [2])"


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        "settings",
        [
            {"transports": ()},
            {"transports": ("polling", "carrier pigeon")},
            {"namespaces": []},
            {"namespaces": ["a,b"]},
            {"headers": {"bad\nname": "x"}},
            {"headers": {"x": "a\r\nb: c"}},
        ],
    )
    @trio_test
    async def test_arguments(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            async with open_client("http://localhost:1", **settings):
                raise AssertionError("never")

    @trio_test
    async def test_nobody_listens(self) -> None:
        with pytest.raises(ConnectFailed, match="refused"):
            async with open_client("http://127.0.0.1:1"):
                raise AssertionError("never")

    @pytest.mark.req("CLI-03")
    @trio_test
    async def test_the_server_says_why_not(self, transports: Transports) -> None:
        async with serving(Server()) as port:
            with pytest.raises(ConnectFailed, match="404"):
                async with open_client(f"http://127.0.0.1:{port}/elsewhere", transports=transports):
                    raise AssertionError("never")
            with pytest.raises(ConnectFailed, match="Forbidden"):
                async with open_client(
                    f"http://127.0.0.1:{port}",
                    transports=transports,
                    headers={"Origin": "http://evil.example"},
                ):
                    raise AssertionError("never")

    @trio_test
    async def test_auth_that_fails(self) -> None:
        def auth(_: str) -> dict[str, Any]:
            raise ZeroDivisionError

        async with serving(Server()) as port:
            with pytest.raises(ZeroDivisionError):
                async with open_client(f"http://127.0.0.1:{port}", auth=auth):
                    raise AssertionError("never")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"path": "relative"},
            {"path": "/a?b"},
            {"connect_timeout_s": 0},
            {"handler_queue": -1},
            {"reconnect_jitter": 1.5},
            {"reconnect_attempts": 0},
        ],
    )
    def test_options(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            ClientOptions(**wrong)


class TestRequests:
    @trio_test
    async def test_headers_query_and_path_reach_the_server(self, transports: Transports) -> None:
        server = create_server()
        async with serving(server) as port:
            url = f"http://127.0.0.1:{port}/socket.io?room=a%20b"
            async with open_client(
                url, transports=transports, headers={"X-Token": "t"}, auth={"a": 1}
            ):
                handshake = the_socket(server).handshake
                assert handshake.headers["x-token"] == "t"
                assert handshake.query["room"] == "a b"
                assert handshake.auth == {"a": 1}
