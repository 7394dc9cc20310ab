"""What is not sent or not handled is counted and logged."""

import json
import logging
from typing import Any

import pytest
import trio
from tests.client.fake_server import HANDSHAKE, FakeHttp, FakeServer, options
from tests.client.serving import connected, create_server, wait_transport
from tests.client.test_reconnecting import joined
from tests.socketio.serving import until
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import ConnectFailed


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


class Breaking(trio.abc.Stream):
    """A stream that takes nothing more once it is told to break."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.broken:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class BreakingServer(FakeServer):
    """Its streams can be broken."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[Breaking] = []

    async def open_stream(self) -> trio.abc.Stream:
        self.streams.append(Breaking(await super().open_stream()))
        return self.streams[-1]


class TestPackets:
    @pytest.mark.req("CLI-45")
    @trio_test
    async def test_those_that_a_failed_send_had_taken(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake = BreakingServer()
        async with joined(fake, options=options(reconnect=False)) as (client, _, _):
            fake.streams[0].broken = True
            for number in range(5):
                client.emit("x", number)
            await wait_all_tasks_blocked()
            assert not client.connected
            assert client.packets_dropped == 5
        assert client.packets_dropped == 5
        lost = "5 packets were not sent: the connection was lost: transport error"
        assert warnings(caplog) == [lost]

    @pytest.mark.req("CLI-45", "CMD-08")
    @trio_test
    async def test_those_before_the_client_is_there_are_told_by_its_error_alone(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake = BreakingServer()

        async def serve() -> None:
            end = await fake.accept_websocket()
            fake.streams[0].broken = True  # so that the CONNECT does not leave
            await end.send("0" + json.dumps(HANDSHAKE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectFailed, match="lost at once: transport error"):
                async with fake.client(transports=("websocket",)):
                    raise AssertionError
        assert warnings(caplog) == []

    @pytest.mark.req("CLI-45")
    @trio_test
    async def test_the_answer_to_a_ping_is_none_of_them(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake = BreakingServer()
        async with joined(fake, options=options(reconnect=False)) as (client, end, _):
            fake.streams[0].broken = True
            await end.send("2")
            await wait_all_tasks_blocked()
            assert not client.connected
        assert client.packets_dropped == 0
        assert warnings(caplog) == []

    @pytest.mark.req("CLI-45")
    @trio_test
    async def test_those_of_an_answered_post_are_none_of_them(
        self, autojump_clock: MockClock
    ) -> None:
        """Each POST has room for one event, and the second is not answered."""
        fake, bodies = FakeServer(), list[bytes]()

        async def serve(getter: FakeHttp) -> None:
            await getter.receive()
            await getter.answer("0" + json.dumps(HANDSHAKE | {"maxPayload": 10}))
            await getter.receive()
            poster = await fake.accept_http()
            for _ in range(2):
                _, _, body = await poster.receive()
                bodies.append(body)
                await poster.answer("ok")
                if body == b"40":
                    await getter.answer('40{"sid":"s"}')
            _, _, body = await poster.receive()
            bodies.append(body)
            await trio.aclose_forcefully(poster.stream)

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def accept() -> None:
                await serve(await fake.accept_http())

            async with fake.client(
                transports=("polling",), options=options(reconnect=False)
            ) as client:
                for number in range(4):
                    client.emit("x", number)
                await wait_all_tasks_blocked()
                assert not client.connected
                assert client.packets_dropped == 3
        assert bodies == [b"40", b'42["x",0]', b'42["x",1]']

    @pytest.mark.req("CLI-45")
    @trio_test
    async def test_those_whose_answer_comes_with_the_end_are_none_of_them(
        self, autojump_clock: MockClock
    ) -> None:
        """Trio runs the reader and the writer in any order, so that ten attempts show both."""
        fake = FakeServer()

        async def serve() -> None:
            getter, poster = await fake.join_polling()
            await poster.receive()
            async with trio.open_nursery() as both:
                both.start_soon(getter.answer, "1")
                both.start_soon(poster.answer, "ok")

        for _ in range(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                async with fake.client(
                    transports=("polling",), options=options(reconnect=False)
                ) as client:
                    client.emit("x")
                    assert await client.wait_closed() == "transport close"
                assert client.packets_dropped == 0

    @pytest.mark.req("CLI-45")
    @trio_test
    async def test_an_emit_upon_which_the_server_ends_the_connection_has_arrived(
        self, transports: tuple[str, ...]
    ) -> None:
        """On polling its POST is answered when the end is read already."""
        async with connected(create_server(), transports) as client:
            for _ in range(10):
                await wait_transport(client, transports[-1])
                client.emit("put me out", True)
                await client.wait_closed()
                await client.connect()
            assert client.packets_dropped == 0


class TestEvents:
    @pytest.mark.req("CLI-46")
    @pytest.mark.parametrize("listener", ["handler", "catch-all", "stream"])
    @trio_test
    async def test_those_that_wait_when_the_block_ends(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, listener: str
    ) -> None:
        fake, handled = FakeServer(), list[Any]()
        async with joined(fake, options=options(handler_queue=4)) as (client, end, _):

            async def handle(*arguments: Any) -> None:
                handled.append(arguments[-1])
                await trio.sleep_forever()

            if listener == "handler":
                client.on("x")(handle)
            elif listener == "catch-all":
                client.on_any(handle)
            else:
                stream = client.events()
            client.on("y")(lambda: None)  # and a hook is no event
            for number in range(3):
                await end.send(f'42["x",{number}]')
            await end.send('42["y"]')
            if listener == "stream":  # it holds the four that are sent before
                await end.send('42["x",4]')
                await end.send('42["x",5]')
                await end.send('42["x",6]')
            await end.send('42["nobody handles this"]')
            await wait_all_tasks_blocked()
        if listener == "stream":
            handled = [event.arguments for event in [event async for event in stream]]
            assert handled == [[0], [1], [2], []]
            assert client.events_dropped == 4
        else:
            assert handled == [0]
            assert client.events_dropped == (4 if listener == "catch-all" else 3)
        assert warnings(caplog) == [
            f"{client.events_dropped} events were not handled: the block of open_client has ended"
        ]

    @pytest.mark.req("CLI-46")
    @trio_test
    async def test_a_quiet_end_drops_nothing(self, transports: tuple[str, ...]) -> None:
        async with connected(create_server(), transports) as client:
            echoed = trio.Event()
            client.on("echo")(echoed.set)
            client.emit("echo")
            await until(echoed.is_set)
        assert (client.events_dropped, client.packets_dropped) == (0, 0)
