"""Load balancers as the guide configures them, and official clients behind them."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from tests.cluster_guide import Ports, block, blocks

SCRIPT: Final = Path(__file__).parents[1] / "interop" / "lobby_clients.mjs"
KINDS: Final = ("polling", "upgrade", "websocket")
WAYS: Final = ("prefix", "cookie")
"""In the order in which the guide shows them."""
LIMIT_S: Final = 20.0


class Missing(Exception):
    """A program is not there that the tests drive."""


def find(program: str) -> str:
    """Return the path of a program.

    Raises:
        Missing: it is not on PATH.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(
            f"{program} is not on PATH; these tests drive nginx, haproxy and node, so install all "
            "three (on Debian: apt-get install nginx haproxy nodejs)"
        )
    return found


def nginx_command(folder: Path, way: str, ports: Ports) -> list[str]:
    """Write the files of nginx; return the command that runs it."""
    (folder / "nodes.conf").write_text(
        ports.put_into(blocks("nginx", "# nodes.conf")[WAYS.index(way)])
    )
    # What a system has in its own files: where to write, so that nginx writes nowhere else.
    places = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = ports.put_into(block("nginx", "# nginx.conf"))
    text = text.replace("http {\n", f"http {{\n    access_log off;\n{places}", 1)
    (folder / "nginx.conf").write_text(text)
    user = "user root; " if os.geteuid() == 0 else ""  # its workers read and write the folder
    own = f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/balancer.log;"
    return [find("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", own]


def haproxy_command(folder: Path, way: str, ports: Ports) -> list[str]:
    """Write the files of HAProxy; return the command that runs it."""
    nodes = blocks("haproxy", "# nodes.cfg")[WAYS.index(way)]
    (folder / "haproxy.cfg").write_text(ports.put_into(block("haproxy", "# haproxy.cfg")))
    (folder / "nodes.cfg").write_text(ports.put_into(nodes))
    files = [str(folder / "haproxy.cfg"), "-f", str(folder / "nodes.cfg")]
    return [find("haproxy"), "-db", "-f", *files]


BALANCERS: Final[dict[str, Callable[[Path, str, Ports], list[str]]]] = {
    "nginx": nginx_command,
    "haproxy": haproxy_command,
}


@asynccontextmanager
async def open_balancer(name: str, way: str, folder: Path, ports: Ports) -> AsyncIterator[None]:
    """Run a balancer with the files of the guide, for as long as the block lasts."""
    command = BALANCERS[name](folder, way, ports)
    log = folder / "balancer.out"
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=output)
    try:
        with trio.fail_after(LIMIT_S):
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", ports[3000])).aclose()
                except OSError:
                    await trio.sleep(0.02)
                else:
                    break
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await process.wait()


@dataclass
class Place:
    """Where a client is at present: the prefix of its node, and its transport."""

    kind: str
    prefix: str
    transport: str


class Clients:
    """Official clients in one process; see lobby_clients.mjs.

    Attributes:
        at: where each connected client is, by its number.
        lost: how often clients have lost their connections, by number.
        reasons: why they did, and why attempts to connect have failed.
        heard: what has arrived, by client and text.
    """

    def __init__(self, process: trio.Process, count: int) -> None:
        self.count = count
        self.at: dict[int, Place] = {}
        self.lost: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.heard: Counter[tuple[int, str]] = Counter()
        self._process = process
        self._changed = trio.Event()

    async def read(self) -> None:
        """Follow what the clients report, until cancelled."""
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            self._changed.set()
            self._changed = trio.Event()

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"joined": client}:
                self.at[client] = Place(event["kind"], event["prefix"], event["transport"])
            case {"heard": client}:
                self.heard[client, event["text"]] += 1
            case {"lost": client}:
                del self.at[client]
                self.lost[client] += 1
                self.reasons[event["reason"]] += 1
            case _:
                self.reasons[event["reason"]] += 1

    async def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that the clients report."""
        with trio.move_on_after(LIMIT_S) as scope:
            while not is_so():
                await self._changed.wait()
        assert not scope.cancelled_caught, (self.at, self.lost, self.reasons, self.heard)

    async def wait_joined(self) -> None:
        """Wait until all have joined."""
        await self.wait(lambda: len(self.at) == self.count)

    async def talk(self, text: str) -> None:
        """Have everybody say something; wait until everybody has heard all others, once."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{text}\n".encode())
        wanted = self.count - 1
        await self.wait(
            lambda: all(self.heard[client, text] >= wanted for client in range(self.count))
        )
        assert all(self.heard[client, text] == wanted for client in range(self.count))

    def on(self, prefix: str) -> set[int]:
        """The clients on the node with this prefix."""
        return {client for client, place in self.at.items() if place.prefix == prefix}


@asynccontextmanager
async def open_clients(port: int, each: int, *kinds: str) -> AsyncIterator[Clients]:
    """Connect clients, a number of each kind, and wait until they have joined."""
    command = [find("node"), str(SCRIPT), f"http://127.0.0.1:{port}", str(each), *kinds]
    process = await trio.lowlevel.open_process(command, stdin=-1, stdout=-1)
    try:
        async with trio.open_nursery() as nursery:
            clients = Clients(process, each * len(kinds))
            nursery.start_soon(clients.read)
            await clients.wait_joined()
            yield clients
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
