"""Official clients that talk in a room of the lobby, in a process of their own."""

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import trio

SCRIPT: Final = Path(__file__).with_name("lobby_clients.mjs")
LIMIT_S: Final = 20.0


@dataclass
class Place:
    """Where a client is at present: its session, and its transport."""

    kind: str
    sid: str
    transport: str

    @property
    def prefix(self) -> str:
        """That of the ids of sessions of its node."""
        return self.sid[:4]


class Clients:
    """Official clients in one process; see lobby_clients.mjs.

    Attributes:
        at: where each connected client is, by its number.
        lost: how often clients have lost their connections, by number.
        reasons: why they did, and why attempts to connect have failed.
        heard: what has arrived, by client and text.
        numbers: of what has arrived, the texts that are numbers, by client: a list for each of its
            connections.
    """

    def __init__(self, process: trio.Process, count: int, limit_s: float) -> None:
        self.count = count
        self._limit_s = limit_s
        self.at: dict[int, Place] = {}
        self.lost: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.heard: Counter[tuple[int, str]] = Counter()
        self.numbers: dict[int, list[list[int]]] = defaultdict(lambda: [[]])
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
                self.at[client] = Place(event["kind"], event["sid"], event["transport"])
            case {"heard": client}:
                self.heard[client, str(event["text"])] += 1
                if isinstance(event["text"], int):
                    self.numbers[client][-1].append(event["text"])
            case {"lost": client}:
                if self.at.pop(client, None):  # it may not have joined yet
                    self.lost[client] += 1
                    self.numbers[client].append([])
                self.reasons[event["reason"]] += 1
            case _:
                self.reasons[event["reason"]] += 1

    async def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that the clients report."""
        with trio.move_on_after(self._limit_s) as scope:
            while not is_so():
                await self._changed.wait()
        assert not scope.cancelled_caught, (self.at, self.lost, self.reasons, self.heard)

    async def wait_lost(self, count: int) -> None:
        """Wait until so many have lost their connections, since the beginning."""
        await self.wait(lambda: len(self.lost) == count)

    async def wait_joined(self) -> None:
        """Wait until all have joined."""
        await self.wait(lambda: len(self.at) == self.count)

    async def wait_numbers(self) -> None:
        """Wait until each has heard some numbers on its present connection."""
        await self.wait(
            lambda: all(len(self.numbers[client][-1]) > 5 for client in range(self.count))
        )

    async def talk(self, text: str) -> None:
        """Have everybody say something; wait until everybody has heard all others, once."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{text}\n".encode())
        wanted = self.count - 1
        await self.wait(
            lambda: all(self.heard[client, text] >= wanted for client in range(self.count))
        )
        assert all(self.heard[client, text] == wanted for client in range(self.count))

    async def say(self, client: int, text: str) -> None:
        """Have one say something; wait until all others have heard it, once."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{json.dumps([client, text])}\n".encode())
        others = {*range(self.count)} - {client}
        await self.wait(lambda: all(self.heard[one, text] for one in others))
        assert all(self.heard[one, text] == (one != client) for one in range(self.count))

    def on(self, prefix: str) -> set[int]:
        """The clients on the node with this prefix."""
        return {client for client, place in self.at.items() if place.prefix == prefix}


@asynccontextmanager
async def open_clients(
    port: int, each: int, *kinds: str, room: str = "lobby", limit_s: float = LIMIT_S
) -> AsyncIterator[Clients]:
    """Connect clients, a number of each kind, and wait until they have joined a room.

    Args:
        port: to which they connect.
        each: how many of each kind there are.
        kinds: see lobby_clients.mjs.
        room: that they join.
        limit_s: how long anything may take that is awaited of them.
    """
    node = shutil.which("node")
    assert node is not None, "node is missing: install Node 18+"
    command = [node, str(SCRIPT), f"http://127.0.0.1:{port}", str(each), *kinds]
    process = await trio.lowlevel.open_process(
        command, stdin=PIPE, stdout=PIPE, env={**os.environ, "ROOM": room}
    )
    try:
        async with trio.open_nursery() as nursery:
            clients = Clients(process, each * len(kinds), limit_s)
            nursery.start_soon(clients.read)
            await clients.wait_joined()
            yield clients
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
