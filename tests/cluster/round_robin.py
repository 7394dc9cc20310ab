"""A thousand official clients behind a balancer that knows no sessions, with figures.

    python -m tests.cluster.round_robin [CLIENTS] [MINUTES]

They are of seven kinds, and in rooms of their processes. They come, and talk for some minutes; then
one node is killed, and another one is drained. It fails if a client is lost that has nothing to do
with that node, or if it does not hear exactly once what is said in its room.
"""

import math
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio
from tests.cluster.three_nodes import PREFIXES, Nodes, open_nodes
from tests.crowd import need_descriptors
from tests.interop.lobby_clients import Clients, Place, open_clients
from tests.redis_server import running_redis

KINDS: Final = (
    *("polling", "upgrade", "websocket"),
    *("polling2", "upgrade2", "websocket2", "jsonp"),
)
EACH: Final = 12  # of a kind, in one process
BACK_S: Final = 60.0  # a client that has failed several times waits for up to 5 s

Member = tuple[int, int]
"""A client: the number of its process, and its own."""


class Crowd:
    """The clients of all processes."""

    def __init__(self, processes: Sequence[Clients], nodes: Nodes) -> None:
        self._processes = processes
        self._nodes = nodes

    def on(self, name: str) -> set[Member]:
        """Those who have their session on a node."""
        return self._find(lambda place: place.prefix == PREFIXES[name])

    def over(self, name: str) -> set[Member]:
        """Those whose requests or WebSockets go over a node at present."""
        sids = self._nodes.balancer.sessions_over(name)
        return self._find(lambda place: place.sid in sids)

    def _find(self, is_meant: Callable[[Place], bool]) -> set[Member]:
        return {
            (number, client)
            for number, process in enumerate(self._processes)
            for client, place in process.at.items()
            if is_meant(place)
        }

    def lost(self) -> set[Member]:
        """Those who have lost their connections."""
        return {
            (number, client)
            for number, process in enumerate(self._processes)
            for client in process.lost
        }

    def reasons(self) -> Counter[str]:
        return sum((process.reasons for process in self._processes), Counter[str]())

    def forget(self) -> None:
        for process in self._processes:
            process.lost.clear()
            process.reasons.clear()

    async def say(self, text: str) -> None:
        """Have somebody in each room say something, which all others there hear once."""
        async with trio.open_nursery() as nursery:
            for number, process in enumerate(self._processes):
                speaker = number % process.count
                nursery.start_soon(process.say, speaker, text)

    async def wait_back(self, concerned: set[Member]) -> None:
        """Wait until these have lost their connections, and all are there."""
        for number, process in enumerate(self._processes):
            losing = {client for which, client in concerned if which == number}
            await process.wait(partial(losing.issubset, process.lost))
            await process.wait_joined()


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(count: int, minutes: float) -> None:
    processes = math.ceil(count / (EACH * len(KINDS)))
    count = processes * EACH * len(KINDS)
    need_descriptors(2 * count + 500)
    with running_redis() as redis, tempfile.TemporaryDirectory() as folder:
        serve = ("--allow-eio3", "--stop-window", "3")
        async with AsyncExitStack() as stack:
            nodes = await stack.enter_async_context(open_nodes(redis, Path(folder), "", *serve))
            began = time.monotonic()
            opened = []
            for number in range(processes):
                clients = open_clients(
                    nodes.balancer.port, EACH, *KINDS, room=f"lobby-{number}", limit_s=BACK_S
                )
                opened.append(await stack.enter_async_context(clients))
            crowd = Crowd(opened, nodes)
            took = time.monotonic() - began
            tell(f"{count} clients of {len(KINDS)} kinds have come in {took:.1f} s")
            await talk(crowd, minutes)
            assert not crowd.reasons(), crowd.reasons()
            await lose(crowd, nodes, "a", signal.SIGKILL)
            await lose(crowd, nodes, "b", signal.SIGTERM)
            for name, target in nodes.balancer.targets.items():
                tell(f"{name} was sent {target.requests} requests")
            tell(f"answers: {dict(nodes.balancer.answers)}")


async def talk(crowd: Crowd, minutes: float) -> None:
    began, rounds = time.monotonic(), 0
    while not rounds or time.monotonic() < began + 60 * minutes:
        rounds += 1
        await crowd.say(f"round {rounds}")
        await trio.sleep(0.5)
    took = time.monotonic() - began
    tell(f"nobody was lost in {took:.0f} s, and everybody heard what was said in {rounds} rounds")


async def lose(crowd: Crowd, nodes: Nodes, name: str, number: signal.Signals) -> None:
    """End a node: those that it concerns come back, and nobody else is lost."""
    crowd.forget()
    on, over = crowd.on(name), crowd.over(name)
    began = time.monotonic()
    await nodes.end(name, number)
    await crowd.wait_back(on)
    took = time.monotonic() - began
    await crowd.say(f"without {name}")
    lost = crowd.lost()
    assert on <= lost <= on | over, lost - on - over
    if number is signal.SIGKILL:  # what goes over a node that drains may come to its end
        assert lost == on | over, over - lost
    how = "was killed" if number is signal.SIGKILL else "was drained"
    tell(f"{name} {how}: {len(on)} clients on it and {len(lost - on)} of {len(over - on)} over it")
    tell(f"were back after {took:.1f} s: {dict(crowd.reasons())}")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    trio.run(run, int(given.get(1, "1000")), float(given.get(2, "1")))
