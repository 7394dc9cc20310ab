"""Programs of the guides, saved and run."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import trio


def saved(folder: Path, name: str, code: str, port: int = 3000) -> Path:
    """Save a program that uses another port than 3000."""
    path = folder / name
    path.write_text(code.replace("3000", str(port)), encoding="utf-8")
    return path


async def read_lines(process: trio.Process, count: int) -> list[str]:
    """Read lines of a process's output."""
    assert process.stdout is not None
    data = b""
    while data.count(b"\n") < count:
        more = await process.stdout.receive_some()
        assert more, data
        data += more
    return data.decode().splitlines()


class Program:
    """A program that runs; what it shows is read as it comes.

    Args:
        process: its output is a pipe.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.text = ""

    async def wait(self, part: str) -> None:
        """Wait until it has shown something, behind what was waited for before."""
        assert self.process.stdout is not None
        while part not in self.text:
            data = await self.process.stdout.receive_some()
            assert data, f"it ended without showing {part!r}: {self.text}"
            self.text += data.decode()
        self.text = self.text.partition(part)[2]


@asynccontextmanager
async def running(
    *command: str, cwd: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run a program while the block runs; it is killed at the end."""
    process = await trio.lowlevel.open_process(
        command, cwd=cwd, stdout=PIPE, env=None if variables is None else dict(variables)
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
