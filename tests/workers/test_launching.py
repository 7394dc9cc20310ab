"""What a worker process is given, and what it is not."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from tests.socketio.serving import until
from tests.workers.fake_workers import FakeWorkers
from tests.workers.test_worker import FakeProgram
from tests.workers.test_worker import Parent as FakeParent
from trio.testing import trio_test

from trio_socketio import Server, TcpEndpoint
from trio_socketio.cli import main
from trio_socketio.cluster.workers.parent import Parent
from trio_socketio.cluster.workers.process import GROUP_SIGNALS, VARIABLE, Launcher
from trio_socketio.codec.worker_messages import WorkerPlace
from trio_socketio.runtime.runtime import open_runtime

TELLS = f"""
import json, os, signal, socket
place = json.loads(os.environ["{VARIABLE}"])
link = socket.socket(fileno=place["link"])
blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
link.sendall(json.dumps([sorted(os.environ), blocked]).encode() + b"\\n")
"""


@pytest.mark.req("WORK-17")
@trio_test
async def test_a_process_gets_no_signal_of_the_group_and_nothing_of_systemd() -> None:
    """Until it ignores them itself, they would end an interpreter that is still importing."""

    def place_of(index: int, link: int) -> WorkerPlace:
        return WorkerPlace(
            index=index, count=2, node="a-1", parent="a", link=link, shares=0, listeners=(0,)
        )

    def inherited() -> Sequence[int]:
        return ()

    given = {"OWN": "1", "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "LISTEN_FDS": "1"}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    launcher = Launcher([sys.executable, "-c", TELLS], given, place_of, inherited)
    with trio.fail_after(30):
        process = await launcher.start(1)
        async with process.link.reading() as lines:
            variables, blocked = json.loads(await anext(lines))
        assert await process.wait() == 0
    process.link.close()
    assert {VARIABLE, "OWN"} <= set(variables)
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} & set(variables)
    assert set(blocked) >= GROUP_SIGNALS
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.req("WORK-63")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
@trio_test
async def test_a_process_that_a_signal_has_stopped_is_known() -> None:
    def place_of(index: int, link: int) -> WorkerPlace:
        return WorkerPlace(
            index=index, count=2, node="a-1", parent="a", link=link, shares=0, listeners=(0,)
        )

    command = [sys.executable, "-c", "import time; time.sleep(100)"]
    process = await Launcher(command, os.environ, place_of, tuple).start(1)
    try:
        assert not process.is_stopped()
        os.kill(process.pid, signal.SIGSTOP)
        await until(process.is_stopped)
        os.kill(process.pid, signal.SIGCONT)
        await until(lambda: not process.is_stopped())
        process.terminate()
        with trio.fail_after(10):
            assert await process.wait() == -signal.SIGTERM
        assert not process.is_stopped()
    finally:
        process.kill()
        process.link.close()


@pytest.mark.req("WORK-63")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
@trio_test
async def test_the_name_of_a_process_may_hold_any_bytes(tmp_path: Path) -> None:
    """It has 15 bytes of the name of the file, or is what the app has set."""

    def place_of(index: int, link: int) -> WorkerPlace:
        return WorkerPlace(
            index=index, count=2, node="a-1", parent="a", link=link, shares=0, listeners=(0,)
        )

    program = os.fsdecode(bytes(tmp_path) + b"/) T \xff\xc3")
    os.symlink(shutil.which("sleep") or "", program)
    process = await Launcher([program, "100"], os.environ, place_of, tuple).start(1)
    try:
        assert b"() T \xff\xc3)" in stat_of(process.pid)
        assert not process.is_stopped()
        os.kill(process.pid, signal.SIGSTOP)
        await until(process.is_stopped)
    finally:
        process.kill()
        with trio.fail_after(10):
            await process.wait()
        process.link.close()


def stat_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/stat").read_bytes()


def test_what_a_worker_has_inherited_is_not_for_what_its_app_starts() -> None:
    parent = FakeParent()
    role = parent.role
    assert not os.get_inheritable(role._sock.fileno())
    assert not os.get_inheritable(role.listeners[0])
    for sock in (role._sock, parent.sock, parent.listener):
        sock.close()
    os.close(role.listeners[0])
    parent.shares.close()


def test_whatever_an_app_starts_is_not_taken_for_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "trio_socketio.cluster.workers.worker"
    monkeypatch.setattr(f"{module}.leave_signals_to_parent", lambda: None)
    monkeypatch.setenv(VARIABLE, "{}")
    assert main(["serve"]) == 2
    assert VARIABLE not in os.environ


@pytest.mark.req("WORK-18")
@trio_test
async def test_a_parent_accepts_nobody_when_the_delay_is_over() -> None:
    """Clients would wait in vain in the backlog of sockets that nobody accepts from."""
    fake, server = FakeWorkers(), Server()
    fake.obey = lambda child, order: None
    parent = Parent("a", 1, [], {}, starter=fake)
    with trio.fail_after(10):
        async with (
            parent.opened(FakeProgram(server), [TcpEndpoint(port=0)]),
            fake.playing(),
            open_runtime() as runtime,
            trio.open_nursery() as nursery,
        ):
            (sock,) = parent._sockets
            address = sock.getsockname()

            async def serve(*, task_status: trio.TaskStatus[list[object]]) -> None:
                await parent.serve(server, runtime, [], task_status=task_status)

            assert await nursery.start(serve) == [address]
            server.stop()
            await until(lambda: sock.fileno() < 0)
            (child,) = fake.living()
            await until(lambda: bool(child.told))  # over a link, which takes a turn or two
            assert child.told == ["Drain"]
            child.end(0)
