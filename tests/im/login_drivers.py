"""Runs the processes of clients that log in."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import trio
from tests.im.login_judging import Outcome
from tests.interop.drivers import HERE, ClientsMissing
from tests.interop.server_process import ROOT

OFFICIAL_PART: Final = 10
"""One of so many users has official clients."""


async def drive_logins(
    outcome: Outcome, ports: Sequence[int], users: int, logins: int, seed: int
) -> None:
    """Log users in with raw and official clients; the outcome gets what these have told."""
    began = time.monotonic()
    of_official = max(1, users // OFFICIAL_PART)

    async def drive_raw() -> None:
        outcome.raw = await _run(_python("login_clients", ports, users - of_official, logins, seed))

    async def drive_official() -> None:
        outcome.official = await _run(_official(ports, of_official, logins, seed))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive_raw)
        nursery.start_soon(drive_official)
    outcome.seconds = time.monotonic() - began


async def drive_barriers(ports: Sequence[int], rounds: int, seed: int) -> dict[str, Any]:
    """Log users in on all ports at the same moment, and return what the clients have told."""
    return await _run(_python("barrier_clients", ports, rounds, seed))


def _python(module: str, ports: Sequence[int], *numbers: int) -> list[str]:
    where = ",".join(map(str, ports))
    return [sys.executable, "-m", f"tests.im.{module}", where, *map(str, numbers)]


def _official(ports: Sequence[int], *numbers: int) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise ClientsMissing("node is missing: it runs the official clients; install Node 18+")
    urls = ",".join(f"http://127.0.0.1:{port}" for port in ports)
    return [node, str(HERE / "logins.mjs"), urls, *map(str, numbers)]


async def _run(command: list[str]) -> dict[str, Any]:
    process = await trio.run_process(
        command, cwd=ROOT, capture_stdout=True, capture_stderr=True, check=False
    )
    if process.returncode:
        said = process.stderr.decode(errors="replace")[-4000:]
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}\n{said}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result
