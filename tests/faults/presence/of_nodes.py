"""Scenarios 1 to 5, 12 and 22, and a handler that blocks: nodes and clients fail."""

import re
from collections import Counter
from collections.abc import Iterable
from math import inf

import trio

from tests.faults.presence.checker import NODE_LOST, check_lost
from tests.faults.presence.history import Mark, boottime
from tests.faults.presence.of_redis import is_ready
from tests.faults.presence.official import official_servers
from tests.faults.presence.scenarios import scenario
from tests.faults.presence.world import World

RETURNS_S = 3.0
"""The time within which all has to be right when a fault is over."""


async def _kill(world: World, *names: str) -> None:
    """Kill nodes; half of their users come back elsewhere, the others stay away."""
    users = world.crowd.at(*(world.nodes[name].port for name in names))
    away = users[::2]
    world.wanted -= set(away)
    await world.crowd.tell("stay away", users=away)
    await world.crowd.set_ports(world.ports(*names))
    since = boottime()
    for name in names:
        since = await world.nodes[name].kill()
    world.note_time("all right", await world.time_until_right(since, 30), world.lease_s + 1)
    ended = [
        at
        for at, entry in zip(world.history.read_at, world.history.log, strict=True)
        if entry.reason == NODE_LOST
    ]
    last = max(ended, default=inf) - since
    world.note("the last of them offline", "-", f"{last:.2f} s", is_right=True)
    note_lost(world, away)


def note_lost(world: World, users: Iterable[str]) -> None:
    """Write down whether these users went offline once, and nobody else more than that.

    Whoever is back before the lease has ended does not go offline at all.
    """
    lost = set(users)
    log = world.history.log
    wrong = check_lost(log, lost)
    world.complaints += wrong
    world.note_count("lost users not offline exactly once", len(wrong))
    ended = Counter(entry.user for entry in log if entry.type == "offline")
    again = [user for user, times in ended.items() if times > 1]
    world.note_count("users that went offline more than once", len(again))
    others = len(ended.keys() - lost)
    world.note("others that went offline once", "-", f"{others:,}", is_right=True)


@scenario("1", "kill -9 of one node")
async def kill_one(world: World) -> None:
    async with official_servers(world):
        await _kill(world, "a")


@scenario("2", "kill -9, and start again under the same name")
async def restart(world: World) -> None:
    away = world.at("a")
    world.wanted -= set(away)
    await world.crowd.tell("stay away", users=away)
    await world.nodes["a"].kill()
    started_at = boottime()
    await world.nodes["a"].start()
    since = boottime()
    world.note("ready after its start", "-", f"{since - started_at:.2f} s", is_right=True)
    world.note_time("old incarnation gone", await world.time_until_right(since, 20), 1.0)
    note_lost(world, away)


@scenario("3", "SIGSTOP of a node for two leases")
async def freeze_for_long(world: World) -> None:
    node, users = world.nodes["a"], world.at("a")
    await world.crowd.set_ports(world.ports("a"))
    frozen_at = node.freeze()
    await world.crowd.tell("emit", users=users, event="here")
    await world.crowd.tell("emit", users=users, event="later")
    await world.enter(users[::2], world.ports("a"), limit_s=3 * world.lease_s)
    entered = boottime() - frozen_at
    world.note_time("half of its users in elsewhere", entered, world.lease_s + 1.5)
    await trio.sleep(max(0.0, frozen_at + 2 * world.lease_s - boottime()))
    await world.crowd.tell("watch", ports=[node.port])
    await trio.sleep(0.1)
    thawed_at = node.thaw()
    world.note_time("all right after it goes on", await world.time_until_right(thawed_at, 20), 3.0)
    world.read_acts()
    late = [act for act in node.process.acts if act.do == "handled" and act.at > thawed_at]
    world.note_count("events handled after it goes on", len(late))
    got = [n for n in world.crowd.notes if n.do == "got" and n.at < thawed_at + 1]
    world.note_count("packets sent after it goes on", len(got))


@scenario("4", "SIGSTOP of a node for less than a lease")
async def freeze_for_a_moment(world: World) -> None:
    before, notes = len(world.history.log), len(world.crowd.notes)
    world.nodes["a"].freeze()
    await trio.sleep(0.4 * world.lease_s)
    world.nodes["a"].thaw()
    await trio.sleep(world.lease_s + 1)
    world.note_count("entries in the log", len(world.history.log) - before)
    world.note_count("clients that noticed", len(world.crowd.notes) - notes)


@scenario("5", "kill -9 of two nodes")
async def kill_two(world: World) -> None:
    await _kill(world, "a", "b")


@scenario("12", "one node is cut off from Redis for four leases", with_relays=True)
async def cut_off(world: World) -> None:
    node, relay, port = world.nodes["a"], world.relays["a"], world.nodes["a"].port
    await world.crowd.set_ports(world.ports("a"))
    users = len(world.at("a"))
    relay.is_away = True
    relay.cut()
    since = boottime()
    await world.time_until(lambda: not world.crowd.at(port), since, 20)
    world.note_closed(users, "a", since, world.lease_s)
    world.note_time("all right", await world.time_until_right(since, 20), world.lease_s + RETURNS_S)
    why = await node.why_not_ready()
    world.note("readyz", "not ready", why or "ready", is_right=bool(why))
    await trio.sleep(max(0.0, since + 4 * world.lease_s - boottime()))
    relay.is_away = False
    back, _ = await world.time_until_ready("a", is_ready, boottime(), 20)
    world.note_time("ready again", back, RETURNS_S)
    await world.enter(world.users[:50], [port])


@scenario("22", "clients that freeze", users=1000, ping_interval_s=2.0, ping_timeout_s=2.0)
async def freeze_clients(world: World) -> None:
    users = world.users[: world.size.take(300, 20)]
    world.wanted -= set(users)
    since = boottime()
    await world.crowd.tell("freeze", users=users)
    world.note_time("all of them offline", await world.time_until_right(since, 20), 5.0)
    note_lost(world, users)


@scenario("block", "a handler blocks a node for two leases")
async def block(world: World) -> None:
    node, users = world.nodes["a"], world.at("a")
    await world.crowd.set_ports(world.ports("a"))
    seconds = 2 * world.lease_s
    await world.crowd.tell("emit", users=users[:1], event=f'["block",{seconds}]')
    began = await _block_began(world, users[0])
    number = node.process.number
    world.history.marks.append(Mark(began, "frozen", number))
    await world.crowd.tell("emit", users=users[1:], event="here")
    await world.enter(users[1::2], world.ports("a"), limit_s=3 * world.lease_s)
    world.note_time("half of its users in elsewhere", boottime() - began, world.lease_s + 1.5)
    ends = began + seconds
    world.history.marks.append(Mark(ends, "thawed", number))
    await trio.sleep(max(0.0, ends - boottime()))
    world.note_time("all right when it ends", await world.time_until_right(ends, 20), RETURNS_S)
    named = re.search(r"its lease was not renewed .*of 'block'", node.read_log())
    world.note(
        "the log names the handler",
        "yes",
        named[0] if named else "no",
        is_right=named is not None,
    )
    dead = {entry.boot for entry in world.history.log if entry.reason == NODE_LOST}
    world.note_count("nodes that lost their leases", len(dead | _moved_from(world)), 1)


def _moved_from(world: World) -> set[str]:
    """Return the boots of a, but for the last one."""
    boots = {entry.boot: None for entry in world.history.log if entry.node == "a"}
    return set(list(boots)[:-1])


async def _block_began(world: World, user: str) -> float:
    """Return when the handler was called."""
    node = world.nodes["a"]
    with trio.fail_after(5):
        while True:
            await trio.sleep(0.02)
            node.read_acts()
            for act in node.process.acts:
                if act.do == "handled" and act.user == user:
                    return act.at + 1e-6
