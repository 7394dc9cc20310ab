"""Which exceptions leave the blocks of a runtime and of a server, and what they bring along."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from trio.testing import trio_test

from trio_socketio import ConfigurationError, Server, open_server
from trio_socketio.runtime.endpoints import TcpEndpoint
from trio_socketio.runtime.runtime import open_runtime


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[None]:
    sio = Server()
    async with (
        open_runtime() as runtime,
        sio.mounted(runtime) as connections,
        runtime.listening(connections, TcpEndpoint(port=port)),
    ):
        yield


@asynccontextmanager
async def in_lifespan() -> AsyncIterator[None]:
    sio = Server()

    @sio.lifespan
    async def lifespan(_: Server) -> AsyncIterator[None]:
        async with trio.open_nursery():
            yield

    async with open_runtime() as runtime, sio.mounted(runtime):
        yield


Block = Callable[[], AbstractAsyncContextManager[object]]

BLOCKS: dict[str, Block] = {
    "open_runtime": open_runtime,
    "mounted, listening": listening,
    "mounted, with a lifespan": in_lifespan,
    "open_server": lambda: open_server(Server()),
}
blocks = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())


def fail_with_cause() -> None:
    try:
        raise KeyError("db")
    except KeyError as error:
        raise ValueError("mine") from error


def check_intact(error: BaseException) -> None:
    assert isinstance(error.__cause__, KeyError)
    assert error.__context__ is error.__cause__
    assert error.__cause__.__context__ is None, "no cycle, and no group"


@blocks
@trio_test
async def test_an_exception_of_the_block_comes_alone_with_its_cause(block: Block) -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        async with block():
            fail_with_cause()
    check_intact(caught.value)


@blocks
@trio_test
async def test_a_group_of_the_block_stays_as_it_is(block: Block) -> None:
    mine = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as caught:
        async with block():
            raise mine
    assert caught.value is mine
    assert mine.__context__ is None


@trio_test
async def test_an_exception_of_a_service_comes_alone_with_its_cause() -> None:
    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        fail_with_cause()

    async def run() -> None:
        async with open_runtime() as runtime:
            await runtime.start_service("redis", service)
            await trio.sleep_forever()

    with pytest.raises(ValueError, match="mine") as caught:
        await run()
    check_intact(caught.value)


@trio_test
async def test_several_exceptions_come_as_a_group() -> None:
    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("theirs")

    async def run() -> None:
        async with open_runtime() as runtime:
            await runtime.start_service("redis", service)
            raise KeyError("mine")

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert sorted(map(repr, caught.value.exceptions)) == [
        "KeyError('mine')",
        "ValueError('theirs')",
    ]


@trio_test
async def test_an_address_that_is_taken_is_told_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="another program"):
            async with listening(port):
                """Never reached."""
        with pytest.raises(ConfigurationError, match="another program"):
            async with open_server(Server(), port=port):
                """Never reached."""
