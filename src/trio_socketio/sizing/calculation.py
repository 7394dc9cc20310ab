"""How many workers and machines a load needs, and what happens when one is lost."""

from bisect import bisect_left
from math import ceil, floor
from typing import Final

import msgspec
from msgspec.structs import replace

from trio_socketio.sizing.costs import Costs
from trio_socketio.sizing.demand import Demand, connect_us, demand
from trio_socketio.sizing.load import Load, Machines, Sticky

MOST_WORKERS: Final = 500
"""No more are tried: each reads what all others publish, so that more do not help for long."""
MOST_CLUSTERS: Final = 8
"""No more are proposed: a load that needs more is better looked at by hand."""
MEASURED_CONNECTIONS: Final = 10_000
"""The costs were measured with at most so many connections to one process."""
LEASE_S: Final = 11.0
"""Seats of a lost node are free after its lease (lease_s = 10) and a second."""
GIB: Final = 1024**3


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when a machine is lost, or if there is one alone, a worker.

    Args:
        what: "machine", "worker", or "server" if nothing else is there.
        disconnected: clients that lose their connection.
        core_share: of the cores of the others, once all clients are back; None if there are none.
        back_s: until all clients are back; None if the others or Redis cannot carry them.
    """

    what: str
    disconnected: float
    core_share: float | None
    back_s: float | None


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a load needs.

    Args:
        workers: processes that serve.
        machines: on which they run; Redis has one of its own.
        demand: what they take.
        core_share: of its core that a worker takes.
        decides: what the number of machines follows from.
        largest: the part of the CPU that is the largest.
        largest_share: of the CPU.
        loss: what happens when one is lost.
        faults: why it cannot be done like this; empty if it can.
        clusters: how many clusters, each with the same part of everything and a Redis of its own,
            would carry it; None if not even MOST_CLUSTERS would.
        warnings: what to know before it is done like this.
    """

    workers: int
    machines: int
    demand: Demand
    core_share: float
    decides: str
    largest: str
    largest_share: float
    loss: Loss
    faults: list[str]
    clusters: int | None
    warnings: list[str]


def size(load: Load, place: Machines, costs: Costs) -> Size:
    """Return what a load needs, and if one cluster cannot carry it, how many can."""
    found = _one_cluster(load, place, costs)
    if not found.faults:  # SIZE-05
        return found
    for clusters in range(2, MOST_CLUSTERS + 1):
        part = replace(
            load,
            connections=ceil(load.connections / clusters),
            messages_per_second=load.messages_per_second / clusters,
            connects_per_second=load.connects_per_second / clusters,
        )
        if not _one_cluster(part, place, costs).faults:
            return replace(found, clusters=clusters)
    return found


def _one_cluster(load: Load, place: Machines, costs: Costs) -> Size:
    """Return what a load needs in one cluster.

    The smallest number of workers is taken that leaves the spare share of each core free. If there
    is none, it is the number with which cores are the least busy, and a fault says so.
    """
    fewest = max(1, ceil(load.connections / place.connections_per_worker))
    found, machines = _fewest_workers(load, place, costs, fewest)
    faults = [] if _fits(found, machines, place) else [_why_not(found, machines)]
    workers = found.workers
    free = 1 - place.spare_share
    if found.redis.core_share > free:
        faults.append(
            f"Redis would take {found.redis.core_share:.2f} of the one core that it uses, and only "
            f"{free:.2f} may be taken"
        )
    loss = _lose(load, place, costs, workers, machines)
    warnings = []
    if loss.core_share is not None and loss.back_s is None:
        warnings.append(f"when a {loss.what} is lost, the others cannot carry its clients")
    if load.connections / workers > MEASURED_CONNECTIONS:
        warnings.append(
            f"a worker has more than {MEASURED_CONNECTIONS:,} connections, and costs were not "
            "measured with more: try it before you rely on it"
        )
    parts = found.cpu.parts()
    largest = max(parts, key=lambda name: parts[name])
    return Size(
        workers=workers,
        machines=machines,
        demand=found,
        core_share=found.core_share,
        decides=_decides(load, place, costs, workers, fewest),
        largest=largest,
        largest_share=parts[largest] / found.cpu.total if found.cpu.total else 0.0,
        loss=loss,
        faults=faults,
        clusters=None if faults else 1,
        warnings=warnings,
    )


def _fewest_workers(load: Load, place: Machines, costs: Costs, fewest: int) -> tuple[Demand, int]:
    """Return what the fewest workers take that can carry it, or those that are the least busy."""
    least_busy: tuple[bool, float] | None = None
    best = _on_machines(load, place, costs, fewest)
    for workers in range(fewest, max(fewest, MOST_WORKERS) + 1):
        found, machines = _on_machines(load, place, costs, workers)
        if _fits(found, machines, place):
            return found, machines
        busy = machines > workers, found.core_share
        if least_busy is None or busy < least_busy:
            least_busy, best = busy, (found, machines)
    return best


def _fits(found: Demand, machines: int, place: Machines) -> bool:  # SIZE-03
    return machines <= found.workers and found.core_share <= 1 - place.spare_share


def _why_not(found: Demand, machines: int) -> str:
    if machines > found.workers:
        return "the memory or network of a machine is too small for what one worker takes"
    return (
        "no number of workers can carry it, because each of them reads the messages of all others"
    )


def _on_machines(load: Load, place: Machines, costs: Costs, workers: int) -> tuple[Demand, int]:
    """Return what so many workers take, and the fewest machines on which they have room.

    If that is not even one machine for each worker, the machines are more than the workers.
    """

    def on(machines: int) -> Demand:
        return demand(load, costs, workers=workers, machines=machines, sticky=place.sticky)

    def have_room(machines: int) -> bool:
        return max(_needed(on(machines), place).values()) <= machines

    # SIZE-04. Each further machine has more room than it takes: a parent at most.
    possible = range(ceil(workers / place.workers), workers + 1)
    at = 0 if have_room(possible[0]) else bisect_left(possible, True, key=have_room)
    if at == len(possible):
        found = on(workers)
        return found, max(workers + 1, *_needed(found, place).values())
    return on(possible[at]), possible[at]


def _needed(found: Demand, place: Machines) -> dict[str, int]:
    """Return how many machines what is not the CPU needs."""
    free = 1 - place.spare_share
    busiest = max(found.in_bytes_per_second, found.out_bytes_per_second)
    return {
        "memory": ceil(found.memory_bytes / (place.memory_gib * GIB * free)),
        "network": ceil(busiest * 8 / (place.network_gbit * 1e9 * free)),
    }


def _decides(load: Load, place: Machines, costs: Costs, workers: int, fewest: int) -> str:
    found, machines = _on_machines(load, place, costs, workers)
    if workers > fewest:  # why is one less not enough?
        fewer, _ = _on_machines(load, place, costs, workers - 1)
        if fewer.core_share > 1 - place.spare_share:
            by_cores = "CPU"
        else:
            needed = _needed(fewer, place)
            return max(needed, key=lambda name: needed[name])
    else:
        by_cores = "connections per worker" if fewest > 1 else "nothing: one worker is enough"
    needed = _needed(found, place)
    if machines > ceil(workers / place.workers):
        return max(needed, key=lambda name: needed[name])
    return by_cores


def _lose(load: Load, place: Machines, costs: Costs, workers: int, machines: int) -> Loss:
    # SIZE-07
    if workers == 1:
        return Loss(what="server", disconnected=load.connections, core_share=None, back_s=None)
    machines = min(machines, workers)
    before = demand(load, costs, workers=workers, machines=machines, sticky=place.sticky)
    lost, what, left = 1.0, "worker", machines
    if machines > 1:
        lost, what, left = workers / machines, "machine", machines - 1
    own = load.connections * lost / workers
    through = before.forwarded * lost / workers
    if place.sticky is Sticky.NONE:  # of these, the sessions are elsewhere, and they are lost too
        through *= (workers - lost) / (workers - 1)
    elif what == "machine":
        through = 0.0  # a WebSocket leads through workers of the machine of its session alone
    gone = own + through
    rest = max(1, floor(workers - lost))
    after = demand(load, costs, workers=rest, machines=min(left, rest), sticky=place.sticky)
    if after.core_share >= 1 or after.redis.core_share >= 1:
        return Loss(what=what, disconnected=gone, core_share=after.core_share, back_s=None)
    work_s = gone * connect_us(load, costs) / 1e6
    back_s = max(place.reconnect_s, work_s / (rest * (1 - after.core_share)))
    if load.seats_share and rest > 1:
        redis_s = gone * load.seats_share * costs["redis_seat_us"] / 1e6
        back_s = max(back_s, redis_s / (1 - after.redis.core_share))
    if load.seats_share:
        back_s = max(back_s, LEASE_S)
    return Loss(what=what, disconnected=gone, core_share=after.core_share, back_s=back_s)
