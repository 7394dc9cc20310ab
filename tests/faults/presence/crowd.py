"""The process of the crowd, as the scenarios see it."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from tests.faults.presence.history import Note

POLLING = 0.1
"""The share of clients that stay on long-polling."""


class Crowd:
    """Users, and what they saw.

    Args:
        process: of the crowd.
        notes: where to write down what its clients saw.

    Attributes:
        notes: all of it.
        inside: the client of each user that is in, the last one that came, with its note.
        entered: how many were let in.
        refused: how many were turned away.
    """

    def __init__(self, process: trio.Process, notes: list[Note]) -> None:
        self.notes = notes
        self.inside: dict[str, Note] = {}
        self.entered = 0
        self.refused = 0
        self._process = process
        self._decode = msgspec.json.Decoder(Note).decode
        self._news = trio.Event()

    async def tell(self, do: str, **more: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"do": do, **more}).encode() + b"\n")

    async def enter(
        self, users: Iterable[str], ports: Sequence[int], *, returns: bool = True
    ) -> None:
        """Log users in at one port after the other."""
        await self.tell("enter", users=list(users), ports=list(ports), returns=returns)

    async def set_ports(self, ports: Iterable[int]) -> None:
        """Say where nodes are up, for those that come back."""
        await self.tell("ports", ports=list(ports), polling=POLLING)

    def at(self, *ports: int) -> list[str]:
        """Return the users that are in at some ports."""
        return [user for user, note in self.inside.items() if note.port in ports]

    async def wait_until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Wait for something that the notes change; return whether it came about."""
        with trio.move_on_after(limit_s):
            while not condition():
                await self._news.wait()
        return condition()

    async def read(self) -> None:
        """Take notes, until cancelled."""
        assert self._process.stdout is not None
        rest = b""
        async for data in self._process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(self._decode(line))
            self._news.set()
            self._news = trio.Event()

    def _take(self, note: Note) -> None:
        self.notes.append(note)
        if note.do == "in":
            self.entered += 1
            self.inside[note.user] = note
        elif note.do == "out":
            last = self.inside.get(note.user)
            if last is not None and last.client == note.client:
                del self.inside[note.user]
        elif note.do == "refused":
            self.refused += 1


@asynccontextmanager
async def open_crowd(notes: list[Note], seed: int = 1) -> AsyncIterator[Crowd]:
    """Have a crowd for a block; at its end all connections are broken."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.faults.presence.crowd_process", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with process.stdin, process.stdout, trio.open_nursery() as nursery:
            crowd = Crowd(process, notes)
            nursery.start_soon(crowd.read)
            yield crowd
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
