"""An operator's day with one service, from its first configuration to its successor."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import trio_test

from tests.cli_process import ServingProcess, run_cli, serving
from tests.crowd import Member, need_descriptors
from tests.interop.server_process import free_port
from tests.ops.operated import Samples, ask_admin
from tests.socketio.serving import until
from tests.test_cli_reload import Certificate
from trio_socketio.cli import main
from trio_socketio.control import open_control
from trio_socketio.errors import ControlError

MORNING, EVENING = 300, 1000  # clients
POLLING_IN: Final = 10  # one in so many
AT_A_TIME: Final = 100
DELAY_S, WINDOW_S = 1.0, 3.0
LIMIT_S: Final = 80.0
SPARE_DESCRIPTORS: Final = 300
SLOW_BYTES: Final = 200_000  # of waiting output
PATIENCE_BYTES: Final = 1 << 26  # the operator is to put the slow client out, not the server
APP = """
import trio
from trio_socketio import Server

FEED = "x" * 16_000

def create(options):
    sio = Server(options)
    sio.on("follow")(lambda socket: socket.join("feed"))

    @sio.lifespan
    async def lifespan(sio):
        async def feed():
            while True:
                sio.to("feed").emit("feed", FEED)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            yield
            nursery.cancel_scope.cancel()

    return sio
"""


class Service:
    """What the operator looks after: a configuration, and the clients of the service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.admin, self.control = 0, ""
        self.conf = folder / "service.toml"
        self.certificate = Certificate(folder)
        self.members: list[Member] = []
        self.joined = trio.Semaphore(0)
        (folder / "feed.py").write_text(APP)

    def configure(self) -> None:
        """Write the configuration of the next server: the same service, operated at other places.

        The server before it keeps its control socket and its admin port until it has ended.
        """
        self.admin = free_port()
        self.control = f"unix:{self.folder / 'run' / f'{self.admin}.sock'}"
        self.conf.write_text(
            f'[app]\nspec = "{self.folder / "feed.py"}"\n'
            f'[listen]\ncertfile = "{self.certificate.certfile}"\n'
            f'keyfile = "{self.certificate.keyfile}"\n'
            f'[control]\nlisten = ["{self.control}"]\n'
            f'[admin]\nlisten = "127.0.0.1:{self.admin}"\n'
            "[engine]\nping_interval_s = 4\n"
            f"[connections]\noutput_bound_bytes = {PATIENCE_BYTES}\n"
            f"[stop]\ndelay_s = {DELAY_S}\nwindow_s = {WINDOW_S}\n"
        )

    def misconfigure(self) -> list[str]:
        """Write a configuration with mistakes; returns what has to be told of them."""
        self.configure()
        text = self.conf.read_text()
        text = text.replace("[stop]\ndelay_s = 1.0", '[stopp]\n[stop]\ndelay_s = "soon"')
        self.conf.write_text(text.replace("certfile =", "certfil ="))
        return [
            f"trio-socketio: {self.conf}: unknown table [stopp]; did you mean [stop]?",
            f"trio-socketio: {self.conf}: [listen] certfil: unknown option; did you mean certfile?",
            f"trio-socketio: {self.conf}: [listen] keyfile needs [listen] certfile",
            f"trio-socketio: {self.conf}: [stop] delay_s: expected a number, not 'soon'",
        ]

    def serving(self) -> Any:
        return serving("--config", str(self.conf), port=self.port, limit_s=LIMIT_S)

    async def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ctl`` in a terminal of the operator's."""
        return await trio.to_thread.run_sync(
            lambda: run_cli("ctl", "--control", self.control, *arguments)
        )

    async def ask(self, *arguments: str) -> Any:
        """Return the result of a call of ``ctl``, which must succeed."""
        ended = await self.ctl("--json", *arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        return json.loads(ended.stdout)

    async def samples(self) -> Samples:
        return Samples((await ask_admin(self.admin, "GET", "/metrics")).text)

    async def is_ready(self) -> bool:
        return (await ask_admin(self.admin, "GET", "/readyz")).status == 200

    async def grow(self, nursery: trio.Nursery, count: int) -> None:
        """Have clients come until there are so many."""
        while len(self.members) < count:
            for _ in range(min(AT_A_TIME, count - len(self.members))):
                member = Member(is_polling=len(self.members) % POLLING_IN == 0)
                self.members.append(member)
                nursery.start_soon(member.stay, self.port, self.certificate.trust, self.joined)
            await self.wait_joined(min(AT_A_TIME, count))

    async def wait_joined(self, count: int) -> None:
        for _ in range(count):
            await self.joined.acquire()

    async def check_all_answer(self) -> None:
        """Every client answers, the official one included."""
        async with open_control(self.control) as backend:
            answered: Any = await backend.call(
                "emit_with_ack", {"event": "roll call", "all": True, "timeout_s": 10}
            )
        assert len(answered["answers"]) == len(self.members) + 1
        assert answered["unanswered"] == []

    async def check_nobody_is_lost(self, node: "OfficialClient") -> None:
        """Every client answers on the connection with which it came."""
        await self.check_all_answer()
        assert not [member for member in self.members if member.closes]
        assert len(node.told) == 1


class OfficialClient:
    """What a client of the reference has told: {"connected": id} and {"lost": reason}."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self._changed = trio.Event()

    async def wait_told(self, key: str, times: int) -> None:
        while sum(key in line for line in self.told) < times:
            await self._changed.wait()

    async def follow(self, stdout: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for data in stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.told += map(json.loads, lines)
            self._changed.set()
            self._changed = trio.Event()


@asynccontextmanager
async def official_client(service: Service) -> AsyncIterator[OfficialClient]:
    node = shutil.which("node")
    assert node is not None, "node is missing: it runs the official client; install Node 18+"
    script = Path(__file__).parent / "interop" / "coming_back.mjs"
    process = await trio.lowlevel.open_process(
        [node, str(script), f"https://127.0.0.1:{service.port}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(service.certificate.cafile)},
    )
    try:
        async with trio.open_nursery() as nursery:
            client = OfficialClient()
            assert process.stdout is not None
            nursery.start_soon(client.follow, process.stdout)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


@pytest.mark.alone
@pytest.mark.time_limit(100)  # 16 s where little else is at work
@pytest.mark.req("CFG-08", "CFG-10", "CFG-12", "CFG-13", "CFG-15", "OPS-30", "OPS-32", "OPS-33")
@trio_test
async def test_an_operators_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_descriptors(EVENING + SPARE_DESCRIPTORS)
    service = Service(tmp_path)
    # In a thread, because check-config looks up hosts in an event loop of its own.
    await trio.to_thread.run_sync(refuse_a_wrong_configuration, service, capsys)
    service.configure()
    async with service.serving() as server:
        await server.wait_url()
        async with official_client(service) as node, trio.open_nursery() as clients:
            await node.wait_told("connected", 1)
            await service.grow(clients, MORNING)
            await renew_the_certificate(service, server, node)
            await put_a_slow_client_out(service, server, node, clients)
            await service.grow(clients, EVENING)
            began = await drain(service, server)
            service.configure()
            async with service.serving() as successor:
                await successor.wait_url()
                assert await server.wait_end() == 0
                await until(lambda: all(member.closes for member in service.members))
                check_the_closes(service, node, began)
                await check_all_are_back(service, node)
                check_the_stages(server.log)
                clients.cancel_scope.cancel()
                assert await successor.end() == 0


def refuse_a_wrong_configuration(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = service.misconfigure()
    assert main(["check-config", str(service.conf)]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert sorted(errors.splitlines()) == sorted(mistakes)
    ended = run_cli("serve", "--config", str(service.conf))
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert any(line.startswith(mistake) for mistake in mistakes)
    assert line.endswith(f"(and 3 more; trio-socketio check-config {service.conf} lists all)")


async def renew_the_certificate(
    service: Service, server: ServingProcess, node: OfficialClient
) -> None:
    """A good one is taken; a bad one is refused, by whichever way it comes."""
    certificate = service.certificate
    first = await certificate.served_at(service.port)
    second = certificate.replace()
    server.process.send_signal(signal.SIGHUP)
    await server.wait_logged(
        f"reloaded [listen] certfile: {certificate.certfile} has a new certificate or key"
    )
    assert first != second == await certificate.served_at(service.port)
    await service.check_nobody_is_lost(node)

    certificate.certfile.write_text("not a certificate")
    ended = await service.ctl("system.reload")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert f"cannot use certificate {certificate.certfile}" in line
    await server.wait_logged("ERROR trio_socketio.standalone: nothing was reloaded")
    server.process.send_signal(signal.SIGHUP)
    server.log.clear()
    told = await server.wait_logged("nothing was reloaded")
    assert f"cannot use certificate {certificate.certfile}" in told
    assert await certificate.served_at(service.port) == second
    await service.check_nobody_is_lost(node)
    certificate.replace()  # the successor starts with a good one


async def wait_alarmed(service: Service) -> None:
    """Scrape the metrics, as a monitor does, until too much output waits."""
    for _ in range(200):
        if (await service.samples())["tsio_outbound_queue_bytes"] > SLOW_BYTES:
            return
        await trio.sleep(0.05)
    pytest.fail("no output waits for a client that does not read")


async def put_a_slow_client_out(
    service: Service, server: ServingProcess, node: OfficialClient, clients: trio.Nursery
) -> None:
    slow = Member(is_little=True)
    clients.start_soon(slow.stay, service.port, service.certificate.trust, service.joined)
    await service.wait_joined(1)
    sid = slow.id
    slow.stop_reading()
    await slow.emit("follow")
    await wait_alarmed(service)
    page = await service.ask("sockets.list", f"min_waiting_bytes={SLOW_BYTES}")
    assert page["total"] == 1
    (found,) = page["sockets"]
    assert found["id"] == sid
    done = await service.ask("sockets.disconnect", f"sockets={sid}", "close=true")
    assert done == {"done": 1, "missing": {}}
    async with open_control(service.control) as backend:
        with pytest.raises(ControlError, match="there is no socket"):
            await backend.call("sockets.get", {"socket": sid})
    await server.wait_logged(f"session {found['session']} ended: forced server close")
    slow.read_on()
    await until(lambda: bool(slow.closes))
    await service.check_nobody_is_lost(node)


async def drain(service: Service, server: ServingProcess) -> float:
    """Take it out of service; returns when the closing of its sessions began, as it has begun."""
    assert await service.is_ready()
    assert await service.ask("system.drain") == {"state": "draining"}
    assert not await service.is_ready()
    late = Member()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(late.stay, service.port, service.certificate.trust, service.joined)
        await service.wait_joined(1)  # it is still served
        nursery.cancel_scope.cancel()
    told = await server.wait_logged(f"closing {EVENING + 1} sessions over {WINDOW_S:g} s")
    assert (await service.samples())["tsio_drain_remaining"] > EVENING / 10
    return datetime.fromisoformat(told.split()[0]).timestamp()


def check_the_closes(service: Service, node: OfficialClient, began: float) -> None:
    """Clients of either transport were closed evenly, each once and politely."""
    assert min(member.closes[0][0] for member in service.members) > began - 0.1
    for is_polling, goodbye in ((False, 1012), (True, None)):
        members = [member for member in service.members if member.is_polling is is_polling]
        assert {tuple(code for _, code in member.closes) for member in members} == {(goodbye,)}
        times = sorted(member.closes[0][0] for member in members)
        took = times[-1] - times[0]
        assert took > 0.75 * WINDOW_S, took  # on a busy machine it is much longer
        fifths = [0] * 5
        for at in times:
            fifths[min(int((at - times[0]) / took * 5), 4)] += 1
        assert max(fifths) < 0.6 * len(times), fifths  # not all at once
    assert {"lost": "transport close"} in node.told


async def check_all_are_back(service: Service, node: OfficialClient) -> None:
    await service.wait_joined(EVENING)
    await node.wait_told("connected", 2)
    await service.check_all_answer()
    assert (await service.samples()).by("tsio_sessions", "transport") == {
        "polling": EVENING / POLLING_IN,
        "websocket": EVENING - EVENING / POLLING_IN + 1,
    }
    assert [len(member.closes) for member in service.members] == [1] * EVENING


def check_the_stages(lines: list[str]) -> None:
    """The log of a server that was drained tells of them in their order."""
    text = "\n".join(lines)
    stages = [
        f"draining: {EVENING + 1} sessions are to be closed",
        f"stopping: new clients are accepted for another {DELAY_S:g} s",
        f"closing {EVENING + 1} sessions over {WINDOW_S:g} s",
        "ending the services",
        "stopped",
    ]
    places = [text.find(stage) for stage in stages]
    assert -1 not in places, (stages[places.index(-1)], text[-2000:])
    assert places == sorted(places)
