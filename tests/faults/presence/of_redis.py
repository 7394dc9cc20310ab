"""Scenarios 6 to 8, 10, 11 and 13 to 17: Redis and the way to it fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from tests.faults.presence.checker import check_quiet
from tests.faults.presence.history import boottime
from tests.faults.presence.scenarios import scenario
from tests.faults.presence.world import World

RIGHT_S: Final = 3.0
"""The time within which all has to be right when Redis is back."""
REBUILT_S: Final = 5.0
"""The same when it has lost what it had."""
FAILS_S: Final = 2.0
"""The time in which a login that cannot succeed has to fail."""
RATE: Final = 200
"""Logins per second, in the scenarios that have some all the time."""


@asynccontextmanager
async def logins(world: World, rate: float = RATE) -> AsyncIterator[None]:
    """Have users log in anew, each at another node than before, while the block runs.

    If the machine is too busy for the rate, it is lower: nobody logs in who would have to queue.
    """
    crowd, ports, users = world.crowd, world.ports(), world.users
    rate *= min(1.0, len(users) / 3000)

    async def log_in() -> None:
        began, due, told = trio.current_time(), 0, 0
        before = crowd.entered + crowd.refused
        while True:
            await trio.sleep(0.05)
            due, last = int((trio.current_time() - began) * rate), due
            if told - (crowd.entered + crowd.refused - before) > rate:
                continue
            for number in range(last, due):
                user, turn = number % len(users), number // len(users)
                await crowd.enter([users[user]], [ports[(user + turn + 1) % len(ports)]])
            told += due - last

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_in)
        yield
        nursery.cancel_scope.cancel()


def note_quiet(world: World) -> None:
    """Write down how many users went offline: none of them may."""
    world.note_count("users that went offline", len(check_quiet(world.history.log)))


def count_outs(world: World, since: int) -> int:
    """Return how many clients were put out or lost since so many notes."""
    return sum(note.do == "out" for note in world.crowd.notes[since:])


def is_ready(why: str | None) -> bool:
    """Whether /readyz says that a node is ready."""
    return why == ""


async def _log_in_in_vain(world: World, name: str, count: int) -> None:
    """Have strangers log in, and see how soon they are told that they cannot."""
    crowd = world.crowd
    before, since = crowd.refused, boottime()
    users = [f"{name}{number}" for number in range(count)]
    await crowd.enter(users, world.ports(), returns=False)
    failed = await world.time_until(lambda: crowd.refused >= before + count, since, 10)
    world.note_time(f"{count} logins {name}", failed, FAILS_S)


@scenario("6a", "Redis stands still for two leases, outage = available", outage="available")
async def stand_still_available(world: World) -> None:
    notes = len(world.crowd.notes)
    world.redis.freeze()
    began = boottime()
    await _log_in_in_vain(world, "refused at once", 20)
    await trio.sleep(max(0.0, began + 1.2 * world.lease_s - boottime()))
    await _log_in_in_vain(world, "refused when fenced", 20)
    await trio.sleep(max(0.0, began + 2 * world.lease_s - boottime()))
    world.redis.thaw()
    since = boottime()
    world.note_count("clients that were closed", count_outs(world, notes))
    ready = [(await world.time_until_ready(name, is_ready, since, 20))[0] for name in world.nodes]
    world.note_time("all nodes are ready", None if None in ready else ready[-1], RIGHT_S)
    await world.enter(world.users[:20])
    world.note_time("all right, new logins too", await world.time_until_right(since, 20), RIGHT_S)
    note_quiet(world)


@scenario("6b", "Redis stands still for two leases, outage = strict")
async def stand_still_strict(world: World) -> None:
    users = {name: len(world.at(name)) for name in world.nodes}
    since = boottime()
    world.redis.freeze()
    await trio.sleep(2 * world.lease_s)
    for name, count in users.items():
        world.note_closed(count, name, since, world.lease_s)
    world.redis.thaw()
    since = boottime()
    world.note_time("all are in again", await world.time_until_right(since, 30), REBUILT_S)


@scenario(
    "7",
    "Redis is killed and starts again from its append-only file",
    redis=("--appendonly", "yes"),
)
async def restart_with_file(world: World) -> None:
    async with logins(world):
        await trio.sleep(world.size.take(3))
        world.redis.stop()
        await trio.sleep(0.5)
        await trio.to_thread.run_sync(world.redis.start)
        since = boottime()
        await trio.sleep(1.0)
    world.note_time("all right", await world.time_until_right(since, 20), REBUILT_S)
    world.note_count("generations", world.reader.resets)
    note_quiet(world)


@scenario("8", "Redis is killed and starts again empty")
async def restart_empty(world: World) -> None:
    notes = len(world.crowd.notes)
    world.redis.stop()
    await trio.to_thread.run_sync(world.redis.start)
    await _rebuild(world, boottime())
    world.note_count("clients that were closed", count_outs(world, notes))


@scenario("10", "FLUSHALL, with 200 logins a second")
async def flush_all(world: World) -> None:
    async with logins(world):
        await trio.sleep(world.size.take(2))
        world.redis.command("FLUSHALL")
        since = boottime()
        await trio.sleep(0.5)
    await _rebuild(world, since)


async def _rebuild(world: World, since: float) -> None:
    reader = world.reader

    def is_complete() -> bool:
        return reader.resets > 0 and reader.fold.owners.keys() == world.wanted

    rebuilt = await world.time_until(is_complete, since, 30)
    world.note_time(f"all {len(world.wanted):,} online again", rebuilt, REBUILT_S)
    # A login that was under way enters when each node has had a lease to say who is there.
    right = await world.time_until_right(since, 30)
    world.note_time("all right", right, max(REBUILT_S, world.lease_s + 1))
    world.note_count("generations that have begun", reader.resets, 1)
    note_quiet(world)


@scenario("11", "SCRIPT FLUSH again and again, with 200 logins a second")
async def flush_scripts(world: World) -> None:
    notes = len(world.crowd.notes)
    async with logins(world):
        for _ in range(world.size.take(20, 5)):
            await trio.sleep(0.2)
            world.redis.command("SCRIPT", "FLUSH")
        since = boottime()
    world.note_time("all right", await world.time_until_right(since, 20), 1.0)
    world.note_refused(notes)
    world.note_unanswered()
    note_quiet(world)


@scenario("13", "the connection of one node to Redis is half open", with_relays=True)
async def half_open(world: World) -> None:
    relay = world.relays["a"]
    await world.crowd.set_ports(world.ports("a"))
    users = world.at("a")
    relay.hold()
    since = boottime()
    detected, why = await world.time_until_ready("a", bool, since, 20)
    world.note_time("readyz says so", detected, 5.0)
    world.note("readyz", "a reason", why or "", is_right=bool(why))
    await world.time_until(lambda: not world.at("a"), since, 20)
    world.note_closed(len(users), "a", since, world.lease_s)
    right = await world.time_until_right(since, 30)
    world.note_time("all right", right, world.lease_s + RIGHT_S)
    await trio.sleep(max(0.0, since + 2 * world.lease_s - boottime()))
    relay.go_on()
    back, _ = await world.time_until_ready("a", is_ready, boottime(), 20)
    world.note_time("ready again", back, RIGHT_S)


@scenario("14", "one node gets answers of Redis, but no messages", with_relays=True)
async def starve(world: World) -> None:
    relay = world.relays["a"]
    relay.starves = True
    since = boottime()
    users = world.at("a")[: world.size.take(200, 20)]
    await world.enter(users, world.ports("a"))
    world.note_time("logins elsewhere, which its inbox allows", boottime() - since, RIGHT_S)

    async def is_found() -> bool:
        node = world.nodes["a"]
        return await node.count("tsio_redis_probe_failures_total") > 0

    with trio.move_on_after(30):
        while not await is_found():  # noqa: ASYNC110 - another process does not tell
            await trio.sleep(0.1)
    found = boottime() - since
    relay.starves = False
    world.note_time("found by its probes", found, 15.0)
    note_quiet(world)


@scenario("15", "Redis answers 50 ms later, with 200 logins a second", with_relays=True)
async def slow_down(world: World) -> None:
    for relay in world.relays.values():
        relay.delay_s = 0.025
    notes = len(world.crowd.notes)
    async with logins(world):
        await trio.sleep(world.size.take(3 * world.lease_s, 2 * world.lease_s))
    world.note_time("all right", await world.time_until_right(boottime(), 20), RIGHT_S)
    world.note_refused(notes)
    world.note_unanswered()
    note_quiet(world)


@scenario("16", "Redis is out of memory")
async def run_out_of_memory(world: World) -> None:
    world.redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    world.redis.command("CONFIG", "SET", "maxmemory", "1")
    since = boottime()
    noticed, why = await world.time_until_ready("a", bool, since, 20)
    world.note_time("not ready", noticed, world.lease_s)
    world.note("readyz", "memory", why or "", is_right="memory" in (why or "").lower())
    await _log_in_in_vain(world, "refused", 20)
    await trio.sleep(max(0.0, since + 2 * world.lease_s - boottime()))
    world.redis.command("CONFIG", "SET", "maxmemory", "0")
    since = boottime()
    ready, _ = await world.time_until_ready("a", is_ready, since, 20)
    world.note_time("ready again", ready, RIGHT_S)
    world.note_time("all right", await world.time_until_right(since, 30), REBUILT_S)


@scenario("17", "CLIENT KILL TYPE pubsub, a hundred times", users=1000)
async def kill_subscribers(world: World) -> None:
    async with logins(world, 50):
        for _ in range(world.size.take(100, 10)):
            world.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await trio.sleep(0.1)
        since = boottime()
    # Pauses before connecting again have grown to 2 s, and those before logging in again as well.
    world.note_time("all right", await world.time_until_right(since, 20), REBUILT_S)
    counts = [await node.count("tsio_redis_reconnects_total") for node in world.nodes.values()]
    least = min(counts)
    world.note("reconnects of each node", "some", f"{least:,.0f} or more", is_right=least > 0)
