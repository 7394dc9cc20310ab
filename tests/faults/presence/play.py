"""Plays scenarios, and reports what was measured."""

import logging
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from tests.crowd import need_descriptors
from tests.faults.presence import of_logins, of_nodes, of_redis, of_replicas
from tests.faults.presence.scenarios import SCENARIOS, Scenario
from tests.faults.presence.world import SHORT, WHOLE, Row, Size, World, open_world

PARTS: Final = (of_logins, of_nodes, of_redis, of_replicas)
"""They have registered their scenarios when they were imported."""
LIMIT_S: Final = 240.0
STORY: Final = 60
"""How many lines of a story are shown."""
IN_SUITE: Final = ("1", "3", "12")
"""The scenarios of the short form."""


@dataclass
class Outcome:
    """What a scenario has shown.

    Args:
        scenario: it.
        rows: what was measured.
        complaints: what was wrong.
        seconds: how long it took.
        story: of a user who is complained of.
    """

    scenario: Scenario
    rows: list[Row] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0
    story: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not self.complaints and all(row.is_right for row in self.rows)

    def __str__(self) -> str:
        head = f"{self.scenario.key:>5}  {self.scenario.title} ({self.seconds:.0f} s)"
        lines = [head]
        for row in self.rows:
            verdict = "" if row.is_right else "   WRONG"
            lines.append(f"       {row.what:<42} {row.target:<28} {row.measured}{verdict}")
        lines += [f"       WRONG: {one}" for one in self.complaints]
        lines += [f"         {one}" for one in self.story[:STORY]]
        return "\n".join(lines)


def key_order(key: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, key))
    return (int(digits) if digits else 99, key)


def find(keys: Iterable[str]) -> list[Scenario]:
    """Return the scenarios of these keys, or all of them; "6" stands for "6a" and "6b".

    Raises:
        KeyError: there is none of that key.
    """
    wanted = list(keys)
    ordered = sorted(SCENARIOS, key=key_order)
    if not wanted:
        return [SCENARIOS[key] for key in ordered]
    found = []
    for want in wanted:
        named = [key for key in ordered if want in (key, key.rstrip("ab"))]
        if not named:
            raise KeyError(want)
        found += [SCENARIOS[key] for key in named]
    return found


async def play(scenario: Scenario, size: Size) -> Outcome:
    """Play one scenario in a world of its own."""
    outcome = Outcome(scenario)
    began = time.monotonic()
    small = replace(size, users=min(size.users, scenario.users))
    need_descriptors(4 * size.users + 1000)
    with trio.move_on_after(LIMIT_S) as limit:
        try:
            async with open_world(
                small, redis=scenario.redis, with_relays=scenario.with_relays, **scenario.setup
            ) as world:
                await _play_in(world, scenario, outcome)
        except Exception as error:
            outcome.complaints.append(f"{scenario.key} has failed: {describe(error)}")
    if limit.cancelled_caught:
        outcome.complaints.append(f"it took longer than {LIMIT_S:g} s")
    outcome.seconds = time.monotonic() - began
    return outcome


async def _play_in(world: World, scenario: Scenario, outcome: Outcome) -> None:
    outcome.rows, outcome.complaints = world.rows, world.complaints
    if await world.time_until_right(0.0, 10) is None:
        world.complaints.append("not all was right in the beginning")
    await scenario.play(world)
    if not world.is_judged:
        await world.judge()
    outcome.story = tell(world)


def tell(world: World) -> list[str]:
    """Tell what has happened to the first user who is complained of."""
    users = [user for one in world.complaints for user in re.findall(r"\bu[0-9]+\b", one)]
    return [f"the story of {users[0]}:", *world.history.tell(users[0])] if users else []


def describe(error: BaseException) -> str:
    """Return an exception in words, with all that a group holds."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(describe, error.exceptions))
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
    return f"{error!r}{where}"


def main(arguments: list[str]) -> bool:
    """Play what the arguments say, and print it; return whether all was right."""
    size = SHORT if "--short" in arguments else WHOLE
    keys = [one for one in arguments if not one.startswith("--")]
    logging.disable(logging.WARNING)  # what clients of nodes that are gone say is no news
    chosen = find(keys or (IN_SUITE if size is SHORT else ()))
    outcomes = []
    for scenario in chosen:
        outcomes.append(trio.run(play, scenario, size))
        sys.stdout.write(f"{outcomes[-1]}\n")
        sys.stdout.flush()
    wrong = [one.scenario.key for one in outcomes if not one.is_right]
    seconds = sum(one.seconds for one in outcomes)
    said = f"wrong: {', '.join(wrong)}" if wrong else "all as it has to be"
    sys.stdout.write(f"{len(outcomes)} scenarios in {seconds:.0f} s, {said}\n")
    return not wrong
