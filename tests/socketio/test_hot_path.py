"""What a message costs: no checkpoint and no task; and what it costs others: no long wait."""

import gc
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest
import trio
from tests.apps.bench_app import create
from tests.socketio.serving import frame, joined, open_client, serving
from tests.wire import SocketIOClient, WebSocketEngine
from trio.testing import trio_test

from trio_socketio import Observer, Server, ServerOptions, Socket
from trio_socketio.engine.reader import ReaderV4
from trio_socketio.runtime import poller

ROOT = Path(__file__).resolve().parents[2]
LONGEST_BATCH = 60  # messages; one read hands over 64 in a turn
SLEEP_S = 0.010
LATE_S = 0.015
FLOOD_S = 2.0


class Steps(trio.abc.Instrument):
    """Counts the steps that trio schedules, by task, and the tasks it starts."""

    def __init__(self) -> None:
        self.steps: Counter[trio.lowlevel.Task] = Counter()
        self.spawned = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps[task] += 1

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned += 1

    def clear(self) -> None:
        self.steps.clear()
        self.spawned = 0


def raw_stream(client: SocketIOClient) -> trio.SocketStream:
    assert isinstance(client.engine, WebSocketEngine)
    stream = client.engine.websocket.stream
    assert isinstance(stream, trio.SocketStream)
    return stream


async def exchange(client: SocketIOClient, event: str, count: int) -> Steps:
    """Send count events in one write, read all that comes back, and count the server's steps.

    Answers are as long as the events, without the mask.
    """
    instrument = Steps()
    socket = raw_stream(client).socket
    sent = b"".join(
        frame(f"42{number + 100 if event == 'echo_ack' else ''}" + json.dumps([event, number + 10]))
        for number in range(count)
    )
    expected = b"".join(
        reply(
            f"43{number + 100}[{number + 10}]"
            if event == "echo_ack"
            else f'42["{event}",{number + 10}]'
        )
        for number in range(count)
    )
    await trio.testing.wait_all_tasks_blocked()
    trio.lowlevel.add_instrument(instrument)
    try:
        assert await socket.send(sent) == len(sent)
        received = b""
        with trio.fail_after(5):
            while len(received) < len(expected):
                received += await socket.recv(1 << 20)
    finally:
        trio.lowlevel.remove_instrument(instrument)
    assert received == expected
    del instrument.steps[trio.lowlevel.current_task()]
    return instrument


def reply(text: str) -> bytes:
    return bytes((0x81, len(text))) + text.encode()


@pytest.mark.parametrize("event", ["echo", "echo_ack", "bcast"])
@trio_test
async def test_messages_pass_without_a_checkpoint_or_a_task(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a batch, from its recv to its send, is one step of one task."""
    monkeypatch.setattr(poller, "TURN_S", 60.0)  # else a busy machine divides a batch into turns
    async with (
        serving(create(ServerOptions())) as port,
        joined(port, "websocket") as (client, _),
    ):
        await exchange(client, event, 1)  # whatever is made once has been made
        for count in (1, 2, 20, LONGEST_BATCH):
            cost = await exchange(client, event, count)
            assert cost.spawned == 0
            # One step reads, handles and answers; then the poller waits for more.
            assert len(cost.steps) == 1, cost.steps
            assert cost.steps.total() == 1, cost.steps


@trio_test
async def test_async_handlers_of_a_batch_share_a_task() -> None:
    """For comparison: they cost steps of a worker, but no task for each."""
    server = Server()

    @server.on("echo_ack")
    async def echo_ack(_: object, number: int) -> int:
        return number

    async with serving(server) as port, joined(port, "websocket") as (client, _):
        await exchange(client, "echo_ack", 1)
        cost = await exchange(client, "echo_ack", LONGEST_BATCH)
        assert cost.spawned == 0
        assert cost.steps.total() < 10


def kept_waiting_s() -> float:
    """How long this thread was ready to run while the system ran others, since its start."""
    path = Path("/proc/thread-self/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


async def flood(port: int) -> tuple[float, float]:
    """How late a sleeper wakes at worst: by the clock, and in processor time.

    What the system gave to other programs meanwhile is not the server's doing, and left out.
    """
    command = [sys.executable, "-m", "tests.bare_clients", "flood", str(port), "200"]
    clients = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert clients.stdin is not None
    assert clients.stdout is not None
    late_s = busy_s = 0.0
    try:
        with trio.fail_after(30):
            assert await clients.stdout.receive_some() == b"open\n"
            ends = trio.current_time() + FLOOD_S
            while trio.current_time() < ends:
                began, worked, waited = time.perf_counter(), time.thread_time(), kept_waiting_s()
                await trio.sleep(SLEEP_S)
                late = time.perf_counter() - began - SLEEP_S - (kept_waiting_s() - waited)
                late_s = max(late_s, late)
                busy_s = max(busy_s, time.thread_time() - worked - SLEEP_S)
            await clients.stdin.aclose()
            answers = int(await clients.stdout.receive_some())
            assert answers > 5_000  # it was a flood
            await clients.wait()
    finally:
        if clients.returncode is None:
            clients.kill()
        await clients.stdout.aclose()
    return late_s, busy_s


@pytest.mark.alone
@trio_test
async def test_a_sleeper_wakes_in_time_while_200_clients_flood() -> None:
    gc.collect()
    gc.freeze()  # as the command line does: what the tests before left is not walked here
    try:
        async with serving(create(ServerOptions())) as port:
            late_s, busy_s = await flood(port)
        assert late_s <= LATE_S
        assert busy_s <= LATE_S
    finally:
        gc.unfreeze()


@trio_test
async def test_a_connect_without_middleware_takes_few_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the packet to `joined`: every call is paid by each of 10,000 clients that come back."""
    calls: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "trio_socketio" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_qualname)

    class Last(Observer):
        def joined(self, socket: Socket) -> None:
            sys.setprofile(None)

    receive_text = ReaderV4.receive_text

    def receive_profiled(self: ReaderV4, packet: bytes) -> None:
        sys.setprofile(profile)
        receive_text(self, packet)

    server = Server()
    server.observe(Last())
    monkeypatch.setattr(ReaderV4, "receive_text", receive_profiled)
    async with serving(server) as port, open_client(port) as client:
        await client.send("0")
        await client.receive()
    assert "ReaderV4.receive_text" in calls[0]
    assert len(calls) <= 30, calls
