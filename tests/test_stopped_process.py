"""A server process that is stopped for longer than its lease, and then goes on."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import h11
import pytest
import trio
from trio.testing import trio_test

from tests.apps.lease_app import LEASE_S
from tests.cli_process import ServingProcess, serving
from tests.socketio.serving import until
from tests.wire import ConnectionEnded, PollingEngine, SocketIOClient, open_client

APP: Final = "tests/apps/lease_app.py:create"
FLOOD: Final = 8_000_000


@asynccontextmanager
async def joined(port: int, transport: str = "websocket") -> AsyncIterator[SocketIOClient]:
    """A client that is told of ticks all the time."""
    async with open_client(port, transport) as client:
        await client.connect()
        yield client


@asynccontextmanager
async def stopped(server: ServingProcess) -> AsyncIterator[None]:
    """Stop the process while the block runs."""
    server.process.send_signal(signal.SIGSTOP)
    flags = os.WSTOPPED | os.WNOWAIT
    await trio.to_thread.run_sync(os.waitid, os.P_PID, server.process.pid, flags)
    yield
    server.process.send_signal(signal.SIGCONT)


async def read_up(client: SocketIOClient) -> None:
    """Read all that the server has sent before it was stopped."""
    while True:
        with trio.move_on_after(0.1) as waited:
            await client.receive()
        if waited.cancelled_caught:
            return


async def poll(engine: PollingEngine, answers: list[str]) -> None:
    """Poll until there is no answer, or one that does not bring packets."""
    while not answers or answers[-1].startswith("4"):
        try:
            response = await engine.poll()
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            answers.append("hung up")
        else:
            answers.append(response.text if response.status == 200 else "refused")


async def read_to_end(client: SocketIOClient) -> tuple[int | None, list[str]]:
    """Read on until the server closes; the code that it gave, and the packets before."""
    packets = []
    try:
        while True:
            packets.append((await client.receive())[0])
    except ConnectionEnded as ended:
        return ended.code, packets


async def ask(client: SocketIOClient, event: str, number: int) -> None:
    """Emit an event, and wait for its answer among the ticks."""
    await client.emit(event, number, ack_id=number)
    while (await client.receive())[0] != f"3{number}[{number}]":
        pass


def noted(server: ServingProcess) -> list[int]:
    """The numbers that were handled."""
    return [int(line.rpartition(" ")[2]) for line in server.log if " noted " in line]


@pytest.mark.alone
@pytest.mark.req("LEASE-40", "LEASE-41", "LEASE-46", "LEASE-47", "LEASE-58")
@trio_test
async def test_nothing_is_handled_and_nothing_sent_after_it() -> None:
    async with serving("--app", APP, limit_s=40, is_child=True) as server:
        port = await server.wait_port()
        async with (
            joined(port) as reader,
            joined(port) as laggard,
            joined(port, "polling") as poller,
            trio.open_nursery() as nursery,
        ):
            assert isinstance(poller.engine, PollingEngine)
            answers: list[str] = []
            nursery.start_soon(poll, poller.engine, answers)
            await ask(reader, "note", 1)
            await ask(reader, "note later", 2)
            await laggard.emit("flood", FLOOD)  # of which the kernel takes a part
            await ask(reader, "note", 3)
            async with stopped(server):
                await read_up(reader)
                for number in range(10, 20):
                    await reader.emit("note", number)
                    await reader.emit("note later", number)
                await trio.sleep(1.5 * LEASE_S)
                polled = len(answers)  # all that was sent before has been read by now
            assert await read_to_end(reader) == (1012, [])
            code, packets = await read_to_end(laggard)
            assert code is None
            assert not [text for text in packets if "flood" in text]
            await until(lambda: len(answers) > polled)
            # The rest of a slice of a flush that the stop has interrupted is sent (LEASE-41).
            await until(lambda: not answers[-1].startswith("4"))
            if answers[polled:][0] == '42["tick"]':
                polled += 1
            # A poll that the server had not read when it was stopped is for no session any more.
            assert answers[polled:] in (["hung up"], ["refused"])
            async with joined(port) as newcomer:
                await ask(newcomer, "note", 30)
        assert await server.end() == 0
        assert noted(server) == [1, 2, 3, 30]
        (told,) = [line for line in server.log if "the lease has ended" in line]
        # If it was stopped while a handler ran, it cannot know which of the two cost the lease.
        assert (
            "the lease has ended: nothing of the program ran for " in told
            or "or the process was stopped" in told
        )
        assert len([line for line in server.log if "has left: service restart" in line]) == 3
        assert "Traceback" not in "\n".join(server.log)


@pytest.mark.alone
@trio_test
async def test_a_stop_that_is_shorter_than_the_lease_changes_nothing() -> None:
    async with serving("--app", APP, limit_s=40, is_child=True) as server:
        port = await server.wait_port()
        async with joined(port) as client:
            async with stopped(server):
                await client.emit("note", 1)
                await trio.sleep(0.3 * LEASE_S)
            await ask(client, "note later", 2)
        assert await server.end() == 0
        assert noted(server) == [1, 2]
        assert not [line for line in server.log if "the lease has ended" in line]
