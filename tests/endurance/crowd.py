"""The clients of the soak, in a process of their own: ``python -m tests.endurance.crowd``.

Its argument is a plan in JSON. Each line of its input is "go" or "rest": after "rest" no
client comes any more, and when the last one has gone it prints "rested" and how many have come. At
the end of its input it prints what the clients have seen, in JSON.
"""

import json
import sys
from random import Random
from typing import Final

import msgspec
import trio

from tests.crowd import need_descriptors
from tests.endurance.ways import Life, Seen

LATE_S: Final = 0.25
"""If this process is later than this, no further client comes before it has caught up."""


class Plan(msgspec.Struct):
    """What the clients do.

    Args:
        ports: of the servers that speak JSON.
        packed_ports: of those that speak MessagePack.
        secret: signs the tokens of the users.
        clients: how many there are at a time.
        per_s: how many come in a second, at most.
        seed: of the dice.
    """

    ports: list[int]
    packed_ports: list[int]
    secret: str
    clients: int
    per_s: float
    seed: int


class Crowd:
    """All clients."""

    def __init__(self, plan: Plan) -> None:
        self.seen = Seen()
        self._plan = plan
        self._dice = Random(plan.seed)
        self._come = 0
        self._is_going = trio.Event()
        self._is_empty = trio.Event()
        self._limit = trio.CapacityLimiter(plan.clients)

    async def run(self) -> None:
        orders = trio.lowlevel.FdStream(sys.stdin.fileno())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._have_come)
            async for order in orders:
                if order == b"go\n":
                    self._is_going.set()
                    continue
                self._is_going = trio.Event()
                while self._limit.borrowed_tokens:  # noqa: ASYNC110 - nothing tells of it
                    await trio.sleep(0.05)
                _tell(f"rested {self._come}")
            nursery.cancel_scope.cancel()
        told = {"done": self.seen.done, "faults": self.seen.faults}
        _tell(json.dumps({**told, "acknowledged": self.seen.acknowledged}))

    async def _have_come(self) -> None:
        """Let one client after the other come, in a nursery of their own."""
        async with trio.open_nursery() as lives:
            while True:
                await self._is_going.wait()
                due = trio.current_time() + 1 / self._plan.per_s
                await trio.sleep_until(due)
                if trio.current_time() - due > LATE_S:
                    self.seen.done["late"] += 1
                    await trio.sleep(LATE_S)
                await self._limit.acquire_on_behalf_of(self._come)
                if self._is_going.is_set():
                    lives.start_soon(self._live, self._come)
                else:
                    self._limit.release_on_behalf_of(self._come)
                self._come += 1

    async def _live(self, number: int) -> None:
        plan = self._plan
        dice = Random(self._dice.getrandbits(64))
        life = Life(number, plan.ports, plan.packed_ports, plan.secret, self.seen, dice)
        try:
            await life.live()
        finally:
            self._limit.release_on_behalf_of(number)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    need_descriptors(4 * plan.clients + 100)
    trio.run(Crowd(plan).run)


if __name__ == "__main__":
    main()
