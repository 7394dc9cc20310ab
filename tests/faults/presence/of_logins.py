"""Scenarios 18 to 21: users log in again and again, at once, and leave late."""

import json
import sys
from typing import Any, Final

import trio

from tests.faults.presence.history import boottime
from tests.faults.presence.of_redis import note_quiet
from tests.faults.presence.scenarios import scenario
from tests.faults.presence.world import World

MAX_EVENTS: Final = 5000
LOG: Final = "tsio:{presence#0}:ns:/chat:log"
LATE_S: Final = 5.0


async def _drive(world: World, module: str, *arguments: int) -> dict[str, Any]:
    """Have clients in a process of their own play on all nodes; return what they tell."""
    ports = ",".join(map(str, world.ports()))
    command = [sys.executable, "-m", module, ports, *map(str, arguments)]
    process = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    if process.returncode:
        said = process.stderr.decode(errors="replace")[-2000:]
        world.complaints.append(f"{module} ended with {process.returncode}: {said}")
        return {}
    told: dict[str, Any] = json.loads(process.stdout)
    world.complaints += told["complaints"]
    return told


@scenario("18", "200 users with 50 alternating logins each", users=300)
async def log_in_again_and_again(world: World) -> None:
    users, times = world.size.take(200, 10), world.size.take(50, 10)
    began = boottime()
    told = await _drive(world, "tests.im.login_clients", users, times, 1)
    seconds = boottime() - began
    world.note_count("logins played", told.get("logins", 0), users * times)
    world.note_count("complaints of clients", len(told.get("complaints", ["none came"])))
    world.note("logins a second", "-", f"{users * times / seconds:,.0f}", is_right=True)


@scenario("19", "logins at three nodes in the same moment, a thousand times", users=300)
async def log_in_at_once(world: World) -> None:
    rounds = world.size.take(1000, 30)
    told = await _drive(world, "tests.im.barrier_clients", rounds, 1)
    played = [one for one in told.get("rounds", ()) if one[0] == "/chat"]
    world.note_count("rounds played", len(played), rounds)
    alone = sum(len(survivors) == 1 for _, _, survivors in played)
    world.note_count("rounds with one survivor", alone, rounds)
    world.note_count("complaints of clients", len(told.get("complaints", ["none came"])))


@scenario("20", "sockets that were replaced disconnect 5 s late", users=1000)
async def disconnect_late(world: World) -> None:
    users = world.at("a")[: world.size.take(200, 20)]
    await world.enter(users, world.ports("a"))
    await trio.sleep(world.size.take(LATE_S))
    before = len(world.history.log)
    await world.crowd.tell("hang up", users=users)
    await trio.sleep(1.0)
    world.note_count("entries in the log after that", len(world.history.log) - before)
    note_quiet(world)


async def _come_back(world: World, users: list[str]) -> None:
    """Log those in who are not, and wait until they are: a busy machine makes it take longer."""
    crowd = world.crowd
    out = [user for user in users if user not in crowd.inside]
    await world.enter(out)


@scenario("21", "500 users come and go once a second", users=500, max_events=MAX_EVENTS)
async def flap(world: World) -> None:
    users = world.users[: world.size.take(500, 40)]
    halves = (users[: len(users) // 2], users[len(users) // 2 :])
    seconds = world.size.take(60, 4)
    written = len(world.history.log)
    began = boottime()
    for number in range(2 * seconds):
        some, others = halves[number % 2], halves[1 - number % 2]
        await world.crowd.tell(("leave", "drop")[number // 2 % 2], users=some)
        await _come_back(world, others)
        await trio.sleep(max(0.0, began + (number + 1) / 2 - boottime()))
    took = boottime() - began
    await _come_back(world, users)
    right = await world.time_until_right(boottime(), 10)
    world.note_time("all right in the end", right, 3.0)
    rate = (len(world.history.log) - written) / took
    world.note("entries a second", "-", f"{rate:,.0f}", is_right=True)
    length = world.redis.command("XLEN", LOG)
    world.note(
        "entries that are kept",
        f"{MAX_EVENTS:,} and a few",
        f"{length:,}",
        is_right=length <= 1.2 * MAX_EVENTS,
    )
