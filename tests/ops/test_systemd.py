"""What systemd is told, and the sockets that it hands over."""

import configparser
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tests.ops.operated import ask_admin
from tests.ops.test_drain import PROGRAM, running
from trio.testing import MockClock, trio_test

from trio_socketio import ConfigurationError, Server
from trio_socketio.ops.systemd import Inherited, Systemd, inherited_listeners, inherited_purposes

GUIDE = Path(__file__).resolve().parents[2] / "spec" / "guide" / "operating.md"


class Manager:
    """Listens as systemd does."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address

    def messages(self) -> list[list[str]]:
        found = []
        while True:
            try:
                found.append(self.sock.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        yield Manager(sock, address)


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    place = str(tmp_path / "notify")
    with manager("@" + place if request.param == "abstract" else place) as found:
        yield found


@pytest.mark.req("OPS-40", "OPS-41")
def test_what_is_told(told: Manager) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": told.address})
    systemd.ready("serving\nREADY=0")
    systemd.status("10 sessions")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with systemd.reloading():
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.stopping("draining")
    first, status, reloading, *rest = told.messages()
    assert first == ["READY=1", "STATUS=serving READY=0"]
    assert status == ["STATUS=10 sessions"]
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].startswith("MONOTONIC_USEC=")
    assert before <= int(reloading[1].partition("=")[2]) <= after
    assert rest == [first, ["STOPPING=1", "STATUS=draining"]]


@pytest.mark.req("OPS-45")
def test_reloads_are_told_only_while_the_program_serves(told: Manager) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": told.address})
    with systemd.reloading():
        assert told.messages() == []
    systemd.ready("serving")
    with systemd.reloading():
        assert [lines[0] for lines in told.messages()] == ["READY=1", "RELOADING=1"]
        systemd.stopping("draining")
    with systemd.reloading():
        systemd.ready("serving")  # it was told to stop before it had started
    assert told.messages() == [["STOPPING=1", "STATUS=draining"]]


@pytest.mark.req("OPS-40")
def test_a_manager_that_does_not_listen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    for _ in range(3):
        systemd.ready("serving")
    (record,) = caplog.records
    assert "cannot notify systemd of READY=1: No such file" in record.getMessage()


@pytest.mark.req("OPS-40")
def test_a_manager_that_does_not_read(told: Manager, caplog: pytest.LogCaptureFixture) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": told.address})
    began = time.monotonic()
    for _ in range(5000):  # the queue of a datagram socket is short
        systemd.status("x" * 1000)
    assert time.monotonic() - began < 5
    assert len(caplog.records) == 1


@pytest.mark.req("OPS-44")
@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
@trio_test
async def test_without_a_manager_nothing_is_told(
    address: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {} if address is None else {"NOTIFY_SOCKET": address}
    systemd = Systemd({**environment, "WATCHDOG_USEC": "1000"})
    assert systemd.watchdog_s is None
    systemd.ready("serving")
    with systemd.reloading(), trio.fail_after(1):
        await systemd.keep_watchdog()
        await systemd.follow(Server())
    assert len(caplog.records) == (1 if address else 0)


@pytest.mark.req("OPS-42")
@trio_test
async def test_the_watchdog(autojump_clock: MockClock, told: Manager) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": told.address, "WATCHDOG_USEC": "30000000"})
    assert systemd.watchdog_s == 30
    with trio.move_on_after(100):
        await systemd.keep_watchdog()
    assert told.messages() == [["WATCHDOG=1"]] * 7  # at 0, 15, ... and 90 s


@pytest.mark.req("OPS-42")
@trio_test
async def test_a_loop_that_stands_still_tells_nothing(told: Manager) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": told.address, "WATCHDOG_USEC": "40000"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(systemd.keep_watchdog)
        await trio.sleep(0.2)
        assert len(told.messages()) >= 3
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is to stand still
        assert told.messages() == []
        nursery.cancel_scope.cancel()


@pytest.mark.req("OPS-42")
@pytest.mark.parametrize(
    "environment",
    [
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {},
    ],
)
def test_no_watchdog(told: Manager, environment: dict[str, str]) -> None:
    assert Systemd({"NOTIFY_SOCKET": told.address, **environment}).watchdog_s is None


def test_the_watchdog_of_this_process(told: Manager) -> None:
    environment = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid())}
    assert Systemd({"NOTIFY_SOCKET": told.address, **environment}).watchdog_s == 0.001


# -- sockets


@contextmanager
def numbers_from_three() -> Iterator[None]:
    """Descriptors 3 to 5, which pytest may use itself, are listening sockets meanwhile."""
    kept = {number: os.dup(number) for number in (3, 4, 5) if is_open(number)}
    sockets = [socket.socket() for _ in range(3)]
    try:
        for number, sock in zip((3, 4, 5), sockets, strict=True):
            os.dup2(sock.fileno(), number)
        yield
    finally:
        for number in (3, 4, 5):
            os.close(number)
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        for sock in sockets:
            sock.close()


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def handed(count: object, names: str | None, pid: object = None) -> dict[str, str]:
    environment = {
        "LISTEN_FDS": str(count),
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "OTHER": "1",
    }
    return environment if names is None else {**environment, "LISTEN_FDNAMES": names}


@pytest.mark.req("OPS-43")
@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("public:control:admin", Inherited((3,), (4,), (5,))),
        ("admin:public:public", Inherited((4, 5), (), (3,))),
        ("trio-socketio.socket:unknown:control", Inherited((3, 4), (5,))),
        (None, Inherited((3, 4, 5))),
    ],
)
def test_sockets_are_found_by_name(names: str | None, found: Inherited) -> None:
    environment = handed(3, names)
    with numbers_from_three():
        assert inherited_listeners(environment) == found
        assert not any(os.get_inheritable(number) for number in (3, 4, 5))
    assert environment == {"OTHER": "1"}  # children must not take them for theirs


@pytest.mark.req("OPS-44")
@pytest.mark.parametrize("environment", [{}, {"LISTEN_FDS": "1"}, handed(2, "public:admin", pid=1)])
def test_no_sockets(environment: dict[str, str]) -> None:
    assert inherited_listeners(environment) == Inherited()


@pytest.mark.req("OPS-43")
@pytest.mark.parametrize(
    ("environment", "error"),
    [
        (handed("many", None), "LISTEN_FDS: expected a number, not 'many'"),
        (handed(2, "public"), "LISTEN_FDNAMES: expected 2 names, not 1"),
        (handed(1, "metrics"), "FileDescriptorName=metrics: expected public, control, admin"),
    ],
)
def test_variables_that_cannot_be_used(environment: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(error)):
        inherited_listeners(environment)


# -- a process


@pytest.mark.req("OPS-40", "OPS-42", "OPS-43")
@trio_test
async def test_a_process_under_systemd(tmp_path: Path) -> None:
    with (
        manager(str(tmp_path / "notify")) as told,
        socket.create_server(("127.0.0.1", 0)) as public,
        socket.create_server(("127.0.0.1", 0)) as admin,
    ):
        environment = {
            "NOTIFY_SOCKET": told.address,
            "WATCHDOG_USEC": "200000",
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "public:admin",
            "DELAY_S": "0.5",
        }
        fds = public.fileno(), admin.fileno()
        start = (
            "import os, sys\n"
            f"os.dup2({fds[0]}, 3), os.dup2({fds[1]}, 4)\n"
            "os.environ['LISTEN_PID'] = str(os.getpid())\n"
            f"os.execv(sys.executable, [sys.executable, {str(PROGRAM)!r}])\n"
        )
        command = (sys.executable, "-c", start)
        async with running(command, environment, pass_fds=fds) as (program, *ports):
            assert ports == [public.getsockname()[1], admin.getsockname()[1]]
            assert (await ask_admin(ports[0], "GET", "/")).status == 404
            assert (await ask_admin(ports[1], "GET", "/livez")).status == 200
            await trio.sleep(0.5)
            messages = told.messages()
            assert messages.count(["WATCHDOG=1"]) >= 3
            assert ["READY=1", "STATUS=serving"] in messages
            with trio.fail_after(10):
                assert await program.end(signal.SIGTERM) == 0
            assert ["STOPPING=1", "STATUS=draining: 0 sessions left"] in told.messages()


class Units(configparser.ConfigParser):
    """Reads the units of systemd, whose options have capital letters."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_the_purposes_of_inherited_sockets_are_known_before_they_are_taken() -> None:
    told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "control:public"}
    assert inherited_purposes(told) == {"control", "public"}
    assert inherited_purposes(told | {"LISTEN_PID": "1"}) == set()
    assert not inherited_purposes({})


def test_the_units_of_the_guide(caplog: pytest.LogCaptureFixture) -> None:
    units = re.findall(r"```ini\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    parsed = {}
    for name, text in units:
        parser = parsed[name] = Units(strict=True, interpolation=None)
        parser.read_string(text)
    assert set(parsed) == {
        "trio-socketio.service",
        "trio-socketio.socket",
        "trio-socketio-admin.socket",
    }
    service = parsed["trio-socketio.service"]["Service"]
    assert service["Type"] == "notify-reload"
    assert float(service["WatchdogSec"]) > 0
    assert service["ExecStart"].split()[1:3] == ["serve", "--config"]
    # The delay and the window of the stop, and what follows them, fit into it.
    assert float(service["TimeoutStopSec"]) >= 5 + 30 + 10
    sockets = [parsed[name]["Socket"] for name in parsed if name.endswith(".socket")]
    assert {unit["FileDescriptorName"] for unit in sockets} <= set(Inherited._fields)
    assert {unit["Service"] for unit in sockets} == {"trio-socketio.service"}
    assert logging.WARNING not in {record.levelno for record in caplog.records}
