"""Logins over several nodes: processes of their own that share a Redis."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import trio
from tests.im.barrier_clients import AT_ONCE, RULES
from tests.im.login_drivers import drive_barriers, drive_logins
from tests.im.login_judging import (
    Outcome,
    judge_clients,
    judge_doubts,
    judge_log,
    judge_rounds,
    judge_stays,
)
from tests.im.login_node import SETTLES_S, Seen
from tests.interop.server_process import ROOT
from tests.redis_server import running_redis

STARTS_S: Final = 30.0
ENDS_S: Final = 30.0
SHOWN: Final = 30
"""How many lines of the log of each node are shown."""


class NodeProcess:
    """A node of tests.im.login_node."""

    def __init__(self, name: str, redis: str, folder: Path) -> None:
        self.name = name
        self.port = 0
        self._redis = redis
        self._report = folder / f"{name}.report"
        self._log = folder / f"{name}.log"

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Run the process until `end` is called; a task that is cancelled kills it."""
        arguments = [self.name, self._redis, str(self._report)]
        with self._log.open("wb") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "tests.im.login_node", *arguments],
                cwd=ROOT,
                stdin=-1,
                stdout=-1,
                stderr=log,
            )
        try:
            with trio.fail_after(STARTS_S):
                self.port = json.loads(await self._hear())["port"]
            task_status.started()
            await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                with trio.CancelScope(shield=True):
                    await self.process.wait()
        if self.process.returncode:
            raise RuntimeError(f"node {self.name} has failed:\n{self._log.read_text()[-4000:]}")

    async def _hear(self) -> bytes:
        assert self.process.stdout is not None
        line = await self.process.stdout.receive_some()
        if not line:
            await self.process.wait()
            raise RuntimeError(f"node {self.name} has ended:\n{self._log.read_text()[-4000:]}")
        return bytes(line)

    async def report(self) -> dict[str, Seen]:
        """Return what the node has seen, once nobody is online."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"report\n")
        with trio.fail_after(SETTLES_S + ENDS_S):
            await self._hear()
        return msgspec.msgpack.decode(self._report.read_bytes(), type=dict[str, Seen])

    def read_log(self) -> list[str]:
        """Return the lines of its log: warnings and errors."""
        return self._log.read_text().splitlines()

    async def end(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()


async def run_over_nodes(
    count: int, users: int, logins: int, seed: int = 1, *, rounds: int = 0
) -> Outcome:
    """Log users in over nodes, and then several times at the same moment.

    Args:
        count: of nodes. One alone has its store in memory.
        users: how many.
        logins: of each.
        seed: of the dice.
        rounds: of logins at the same moment, for each policy.
    Returns:
        What that has shown.
    """
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="logins-") as folder, ExitStack() as servers:
        redis = servers.enter_context(running_redis()).url if count > 1 else ""
        nodes = [NodeProcess(f"node{at}", redis, Path(folder)) for at in range(1, count + 1)]
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for node in nodes:
                    starting.start_soon(nursery.start, node.run)
            ports = [node.port for node in nodes]
            if users:
                await drive_logins(outcome, ports, users, logins, seed)
            if rounds:
                began = time.monotonic()
                outcome.barriers = await drive_barriers(ports, rounds, seed)
                outcome.barriers_s = time.monotonic() - began
            seen = await _read_all(nodes)
            for node in nodes:
                await node.end()
        for node in nodes:
            outcome.logged += [f"{node.name}: {line}" for line in node.read_log()[:SHOWN]]
    _judge(outcome, seen)
    return outcome


async def _read_all(nodes: Sequence[NodeProcess]) -> list[dict[str, Seen]]:
    seen = []

    async def read(node: NodeProcess) -> None:
        seen.append(await node.report())

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(read, node)
    return seen


def _judge(outcome: Outcome, seen: Sequence[dict[str, Seen]]) -> None:
    judge_clients(outcome)
    complaints, unknown = outcome.complaints, outcome.entered
    for namespace, rule in RULES.items():
        log = seen[0][namespace].entries
        stays = [stay for node in seen for stay in node[namespace].stays]
        for node in seen:
            complaints += node[namespace].complaints
            if node[namespace].entries != log:
                complaints.append(f"the nodes have read different logs of {namespace}")
        unknown.difference_update(stay.id for stay in stays)
        judge_log(outcome, log)
        judge_stays(outcome, log, stays, rule.most)
        judge_doubts(outcome, log)
        judge_rounds(outcome, log, namespace, rule.most if rule.refusal else AT_ONCE)
    if unknown:
        complaints.append(f"nodes know nothing of {len(unknown)} clients that were let in")
