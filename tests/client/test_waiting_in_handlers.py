"""A handler that waits for the server, while events pile up behind it.

What it waits for stands on the wire behind events that the client would not read while its queue is
full. So more may pile up for as long as somebody waits, whichever namespace he waits in.
"""

from typing import Any

import pytest
import trio
from tests.client.fake_server import FakeServer, options
from tests.client.serving import create_server
from tests.socketio.serving import serving, until
from trio.testing import MockClock, trio_test, wait_all_tasks_blocked

from trio_socketio import Client, ClientOptions, open_client

FEW = ClientOptions(handler_queue=4)


@pytest.mark.req("CLI-36")
@trio_test
async def test_an_answer_in_another_namespace(transports: tuple[str, ...]) -> None:
    server = create_server()
    server.of("/other").on("echo")(lambda _, value: value)
    got: list[Any] = []
    async with (
        serving(server) as port,
        open_client(
            f"http://127.0.0.1:{port}",
            namespaces=["/", "/other"],
            transports=transports,
            options=FEW,
        ) as client,
    ):

        @client.on("number")
        async def number(value: int) -> None:
            if value == 0:
                await trio.sleep(0.05)  # the queue is full, and reading has stopped
                answer = client.of("/other").emit_with_ack("echo", "mine", timeout_s=5)
                got.append(await answer)
            got.append(value)

        client.emit("count", 12)
        await until(lambda: len(got) == 13)
    assert got == ["mine", *range(12)]


@pytest.mark.req("CLI-36")
@trio_test
async def test_joining_another_namespace(transports: tuple[str, ...]) -> None:
    server = create_server()
    server.of("/other")
    got: list[Any] = []
    async with (
        serving(server) as port,
        open_client(f"http://127.0.0.1:{port}", transports=transports, options=FEW) as client,
    ):

        @client.on("number")
        async def number(value: int) -> None:
            if value == 0:
                await trio.sleep(0.05)  # the queue is full, and reading has stopped
                with trio.fail_after(5):
                    await client.of("/other").connect()
            got.append(value)

        client.emit("count", 12)
        await until(lambda: len(got) == 12)
        assert client.of("/other").connected
    assert got == list(range(12))


@pytest.mark.req("CLI-36")
@trio_test
async def test_it_is_bounded_all_the_same(autojump_clock: MockClock) -> None:
    """Four times handler_queue may wait, whichever namespace somebody waits in."""

    async def join(client: Client) -> None:
        await client.of("/other").connect()

    fake = FakeServer()
    async with trio.open_nursery() as nursery:
        accepting = trio.Event()

        @nursery.start_soon
        async def accept() -> None:
            await (await fake.accept_websocket()).join()
            accepting.set()

        async with fake.client(options=options(handler_queue=4)) as client:
            assert accepting.is_set()
            started: list[int] = []

            @client.on("number")
            async def number(value: int) -> None:
                started.append(value)
                await trio.sleep_forever()

            session = client._link.session
            assert session is not None
            reader: Any = session._reader
            dispatcher = client._membership.dispatcher
            nursery.start_soon(join, client)
            await wait_all_tasks_blocked()
            for value in range(16):
                assert not dispatcher.is_full(4)
                reader.receive_text(b'42["number",%d]' % value)
                await wait_all_tasks_blocked()
            assert started == [0]
            assert not dispatcher.is_full(4)
            reader.receive_text(b'42["number",16]')
            assert dispatcher.is_full(4)
            with trio.move_on_after(1) as scope:
                await reader.wait_ready()
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()
