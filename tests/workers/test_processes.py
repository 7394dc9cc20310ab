"""``serve --workers``: real processes, from their start to their end. Each test is long, as
interpreters take their time to start."""

import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from tests.cli_process import ServingProcess, run_cli, serving
from tests.interop.server_process import free_port
from tests.redis_server import RedisServer, running_redis
from tests.socketio.serving import ask, until
from tests.test_cli_services import get
from tests.wire import SocketIOClient
from tests.wire import open_client as open_wire
from trio.testing import trio_test

from trio_socketio import open_client
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError

LIMIT_S = 100

APP = """
import os
import time
from pathlib import Path
from trio_socketio import Server

def create(options):
    sio = Server(options)

    @sio.lifespan
    async def live(server):
        with Path("lifespans").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        yield

    @sio.on("pid")
    def pid(socket):
        return os.getpid()

    @sio.on("block")
    def block(socket):
        time.sleep(1000)

    @sio.on_server_side("news")
    def news(*arguments):
        return os.getpid()

    @sio.on("ask")
    async def ask(socket):
        return await sio.server_side_emit_with_ack("news", timeout_s=5)

    return sio
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


class Operator:
    """What an operator sees of the program."""

    def __init__(self, control: Any) -> None:
        self.control = control

    async def workers(self) -> list[dict[str, Any]]:
        found: Any = await self.control.call("workers.list")
        return list(found["workers"])

    async def wait(self, is_it: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        with trio.fail_after(30):
            while True:
                found = await self.workers()
                if is_it(found):
                    return found
                await trio.sleep(0.1)


def all_serve(workers: list[dict[str, Any]]) -> bool:
    return all(one["state"] == "serving" for one in workers)


def lives(pid: int) -> bool:
    """Whether there is such a process, which has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@asynccontextmanager
async def program(
    folder: Path, redis: RedisServer, *arguments: str
) -> AsyncIterator[tuple[ServingProcess, Operator, int]]:
    """A program with workers that serves, and its port."""
    await trio.Path(folder / "crew_app.py").write_text(APP)
    control = f"unix:{folder / 'run' / 'control.sock'}"
    shared = ("--redis", redis.tcp_url, "--control", control, "--app", "crew_app.py")
    async with serving(*shared, *arguments, cwd=folder, limit_s=LIMIT_S) as process:
        port = await process.wait_port()
        async with open_control(control) as operator:
            yield process, Operator(operator), port


async def logged(process: ServingProcess, part: str) -> None:
    """Read the log up to a line, which may have come before: several processes write it."""
    if not any(part in line for line in process.log):
        await process.wait_logged(part)


async def join_all(stack: AsyncExitStack, port: int, count: int) -> list[SocketIOClient]:
    clients = []
    for _ in range(count):
        client = await stack.enter_async_context(open_wire(port))
        await client.connect()
        clients.append(client)
    return clients


async def pids_of(clients: list[SocketIOClient]) -> list[int]:
    return [(await ask(client, "pid"))[0] for client in clients]


async def poll_and_upgrade(port: int) -> None:
    """Be clients that send each request over whatever connection they have."""

    async def be_client(transports: tuple[str, ...]) -> None:
        async with open_client(f"http://127.0.0.1:{port}", transports=transports) as client:
            await until(lambda: client.transport == transports[-1])
            pids = [await client.emit_with_ack("pid") for _ in range(5)]
            assert len(set(pids)) == 1

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(be_client, ("polling",))
            nursery.start_soon(be_client, ("polling", "websocket"))


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req(
    "WORK-50",
    "WORK-17", "WORK-18", "WORK-21", "WORK-22", "WORK-23", "WORK-24", "WORK-32", "WORK-41",
    "WORK-43", "WORK-44", "WORK-45",
)  # fmt: skip
@trio_test
async def test_two_workers_are_one_server(tmp_path: Path, redis: RedisServer) -> None:
    conf, admin = tmp_path / "conf.toml", free_port()
    await trio.Path(conf).write_text("")
    more = (
        "--workers",
        "2",
        "--node",
        "prog",
        "--admin",
        f"127.0.0.1:{admin}",
        "--config",
        "conf.toml",
    )
    async with (
        program(tmp_path, redis, *more) as (process, operator, port),
        AsyncExitStack() as stack,
    ):
        clients = await join_all(stack, port, 40)

        # They spread over the workers, and the parent has none, nor its lifespans.
        pids = await pids_of(clients)
        first, second = {one["pid"] for one in await operator.workers()}
        assert set(pids) == {first, second}
        assert abs(pids.count(first) - pids.count(second)) <= 6
        text = await trio.Path(tmp_path / "lifespans").read_text()
        assert set(map(int, text.split())) == {first, second}

        # A session is reached by way of whichever worker takes a connection.
        await poll_and_upgrade(port)
        text = (await get(admin, "/metrics")).text
        passed = re.findall(
            r'forwarded_total\{.*direction="out".*result="answered".*\} (\d+)', text
        )
        assert sum(map(int, passed)) > 10

        # An event between servers reaches the other worker, and nobody waits for the parent.
        with trio.fail_after(4):
            (answers,) = await ask(clients[0], "ask")
        assert answers == [second if pids[0] == first else first]

        # Calls on the parent are for all of them.
        reached: Any = await operator.control.call("emit", {"event": "x", "args": [1], "all": True})
        assert reached["reached"] == 40
        assert reached["nodes"]["prog"] == 0
        assert "unknown" not in reached or not reached["unknown"]
        for client in clients:
            assert await client.receive_event() == ["x", 1]
        stats: Any = await operator.control.call("system.stats")
        assert stats["sessions"] == 40
        info: Any = await operator.control.call("system.info")
        assert (info["node"], info["workers"]) == ("prog", 2)
        nodes: Any = await operator.control.call("system.nodes")
        shown = [(one["name"], one["parent"], one["workers"]) for one in nodes["nodes"]]
        assert shown == [("prog", "", 2), ("prog-1", "prog", 0), ("prog-2", "prog", 0)]
        text = (await get(admin, "/metrics")).text
        families = [family.name for family in text_string_to_metric_families(text)]
        assert len(families) == len(set(families))
        found = re.findall(r'tsio_sessions\{worker="(\d)",transport="websocket"\} (\d+)', text)
        assert sum(int(number) for _, number in found) == 40
        assert [index for index, _ in found] == ["1", "2"]
        assert (await get(admin, "/readyz")).status == 200

        # A reload reaches all.
        await trio.Path(conf).write_text("[connections]\nmax_connections = 500\n")
        reloaded: Any = await operator.control.call("system.reload")
        assert reloaded["changed"] == ["[connections] max_connections"]
        for part in ("worker 1: reloaded [conn", "worker 2: reloaded [conn"):
            await logged(process, part)

        # A terminal sends its signals to all; the workers leave them to the parent.
        for pid in (first, second):
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                os.kill(pid, number)
        assert await pids_of(clients) == pids

        # Replaced one after the other.
        process.process.send_signal(signal.SIGUSR2)
        await process.wait_logged("all workers were replaced")
        found_now = await operator.workers()
        assert {one["pid"] for one in found_now} & {first, second} == set()
        assert [one["restarts"] for one in found_now] == [1, 1]
        assert not any(lives(pid) for pid in (first, second))
        again = await join_all(stack, port, 4)
        assert set(await pids_of(again)) <= {one["pid"] for one in found_now}

        assert await process.end() == 0
        assert not any(lives(one["pid"]) for one in found_now)


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-02", "WORK-10", "WORK-13", "WORK-33")
@trio_test
async def test_a_killed_worker_comes_back_and_a_second_signal_ends_all(
    tmp_path: Path, redis: RedisServer
) -> None:
    more = ("--workers", "2", "--stop-window", "60", "--log-format", "json")
    async with (
        program(tmp_path, redis, *more) as (process, operator, port),
        AsyncExitStack() as stack,
    ):
        clients = await join_all(stack, port, 12)
        pids = await pids_of(clients)
        victim = pids[0]
        left = [client for client, pid in zip(clients, pids, strict=True) if pid != victim]
        os.kill(victim, signal.SIGKILL)
        line = json.loads(await process.wait_logged("has died"))
        assert "SIGKILL ended it (perhaps the system ran out of memory)" in line["message"]
        assert set(await pids_of(left)) == {pid for pid in pids if pid != victim}
        newcomers = await join_all(stack, port, 6)  # nobody waits for the dead one
        assert victim not in await pids_of(newcomers)
        found = await operator.wait(all_serve)
        assert sorted(one["restarts"] for one in found) == [0, 1]
        process.process.send_signal(signal.SIGTERM)
        await operator.wait(lambda all_: any(one["state"] == "draining" for one in all_))
        with trio.fail_after(10):
            assert await process.end() == 0
        assert not any(lives(one["pid"]) for one in found)


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-15")
@trio_test
async def test_workers_end_by_themselves_when_their_parent_is_killed(
    tmp_path: Path, redis: RedisServer
) -> None:
    path = tmp_path / "public.sock"
    control = f"unix:{tmp_path / 'run' / 'control.sock'}"
    more = ("--workers", "2", "--redis", redis.tcp_url, "--control", control)
    async with serving("--unix", str(path), *more, limit_s=LIMIT_S) as process:
        await process.wait_logged("serving unix:")
        async with open_control(control) as operator:
            found = await Operator(operator).workers()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            process.process.kill()
            with trio.fail_after(20):
                await until(lambda: not any(lives(one["pid"]) for one in found))


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-60", "WORK-61", "WORK-64", "WORK-65", "WORK-67")
@trio_test
async def test_a_blocked_worker_is_replaced_and_does_not_outlive_its_parent(
    tmp_path: Path, redis: RedisServer
) -> None:
    await trio.Path(tmp_path / "conf.toml").write_text(
        "[workers]\nmax_blocked_s = 3\n[connections]\nmax_connections = 10_000_000\n"
    )
    more = ("--workers", "2", "--config", "conf.toml")
    async with (
        program(tmp_path, redis, *more) as (process, operator, port),
        AsyncExitStack() as stack,
    ):
        limits = [line for line in process.log if "this process may open" in line]
        assert limits, "each worker tells its own"
        assert all(": worker " in line for line in limits)
        clients = await join_all(stack, port, 12)
        pids = await pids_of(clients)
        await clients[0].emit("block")
        found = await operator.wait(lambda all_: any(one["state"] == "blocked" for one in all_))
        assert [one["pid"] for one in found if one["state"] == "blocked"] == pids[:1]
        with trio.fail_after(1), pytest.raises(ControlError, match="it has not answered for"):
            await operator.control.call("system.reload")
        line = await process.wait_logged("has died")
        assert "it has not answered for " in line
        assert "s, and was killed; it is started again now" in line
        found = await operator.wait(lambda all_: all(one["pid"] for one in all_))
        assert not lives(pids[0])

        (other,) = {pid for pid in pids if pid != pids[0]}
        await clients[pids.index(other)].emit("block")
        process.process.kill()
        with trio.fail_after(20):
            while any(lives(one["pid"]) for one in found):  # noqa: ASYNC110 - an end sets no event
                await trio.sleep(0.1)
        await logged(process, "the parent of this worker has gone, and its app has kept it")


LOADS = """
import time
from pathlib import Path
from trio_socketio import Server

def create(options):
    if Path("loaded").exists():
        Path("loading").touch()
        time.sleep(1000)
    Path("loaded").touch()
    return Server(options)
"""


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-19")
@trio_test
async def test_a_stop_does_not_wait_for_workers_that_load_the_app(
    tmp_path: Path, redis: RedisServer
) -> None:
    await trio.Path(tmp_path / "loads_app.py").write_text(LOADS)
    arguments = ("--app", "loads_app.py", "--workers", "2", "--redis", redis.tcp_url)
    async with serving("--port", "0", *arguments, cwd=tmp_path, limit_s=LIMIT_S) as process:
        with trio.fail_after(30):
            await until((tmp_path / "loading").exists)
        process.process.send_signal(signal.SIGTERM)
        with trio.fail_after(4):
            assert await process.wait_end() == 0
    assert process.log[-1].endswith("stopped")
    for part, times in (("has not served yet", 2), ("has ended", 2), ("serving", 0)):
        assert sum(part in line for line in process.log) == times, process.log


ONCE = """
import os
from pathlib import Path
from trio_socketio import Server

def create(options):
    if Path("loaded").exists():
        raise RuntimeError("it can be loaded once")
    Path("loaded").touch()
    return Server(options)
"""
DIES = ONCE.replace('raise RuntimeError("it can be loaded once")', "os._exit(7)")


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-12")
def test_what_no_worker_can_use_ends_the_start_with_one_line(
    tmp_path: Path, redis: RedisServer
) -> None:
    (tmp_path / "once_app.py").write_text(ONCE)
    arguments = ("--app", "once_app.py", "--workers", "2", "--redis", redis.tcp_url)
    done = run_cli("serve", "--port", "0", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "it can be loaded once" in line]
    (line,) = lines
    assert line.startswith("trio-socketio: --app once_app.py: it failed: RuntimeError")
    assert "Traceback" not in done.stderr


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.req("WORK-11")
@trio_test
async def test_workers_that_die_again_and_again_end_the_program(
    tmp_path: Path, redis: RedisServer
) -> None:
    await trio.Path(tmp_path / "dies_app.py").write_text(DIES)
    arguments = ("--app", "dies_app.py", "--workers", "3", "--redis", redis.tcp_url)
    async with serving(*arguments, cwd=tmp_path, limit_s=LIMIT_S) as process:
        assert await process.wait_end() == 1
    assert process.log[-1] == (
        "trio-socketio: workers have died 6 times within 60 s, so the program ends; the last one: "
        "it ended with exit code 7"
    )
    assert not any("Traceback" in line for line in process.log)


@pytest.mark.req("WORK-20", "CMD-13")
def test_a_taken_port_ends_the_start_before_anything_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        nowhere = f"redis://127.0.0.1:{free_port()}"  # for which it would wait
        done = run_cli("serve", "--port", port, "--workers", "2", "--redis", nowhere)
    assert done.returncode == 2
    line = f"--port: cannot listen on 127.0.0.1:{port}: another program has it"
    advice = "end that one, or choose another port"
    assert done.stderr.splitlines()[-1] == f"trio-socketio: {line}; {advice}"
    assert "is started" not in done.stderr
