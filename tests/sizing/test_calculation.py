"""How many workers and machines are needed, what decides, and what happens when one is lost."""

from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.properties import examples

from trio_socketio.sizing.calculation import (
    LEASE_S,
    MEASURED_CONNECTIONS,
    MOST_CLUSTERS,
    size,
)
from trio_socketio.sizing.costs import default_costs
from trio_socketio.sizing.demand import Demand, connect_us, demand, passed_share
from trio_socketio.sizing.load import Load, Machines, Sticky

COSTS = default_costs()
FREE: dict[str, float] = dict.fromkeys(COSTS, 0.0)
"""Where nothing costs anything; a test then sets what it is about."""
GIB = 1024**3
SHARES = st.floats(0, 1)
LOADS = st.builds(
    Load,
    connections=st.integers(1, 2_000_000),
    messages_per_second=st.floats(0, 30_000),
    receivers=st.floats(0, 1000),
    polling_share=SHARES,
    upgrading_share=SHARES,
    joined_share=SHARES,
    connects_per_second=st.floats(0, 5000),
    seats_share=SHARES,
    handler_us=st.floats(0, 1000),
)
PLACES = st.builds(
    Machines,
    cores=st.integers(1, 64),
    memory_gib=st.floats(1, 256),
    network_gbit=st.floats(1, 40),
    spare_share=st.floats(0, 0.8),
    connections_per_worker=st.integers(1000, 100_000),
    sticky=st.sampled_from(Sticky),
)


def carried(load: Load, place: Machines, workers: int, machines: int) -> Demand:
    return demand(load, COSTS, workers=workers, machines=machines, sticky=place.sticky)


def is_enough(load: Load, place: Machines, workers: int, machines: int) -> bool:
    """Whether everything that is to stay free does."""
    found = carried(load, place, workers, machines)
    free = 1 - place.spare_share
    busiest = max(found.in_bytes_per_second, found.out_bytes_per_second) * 8
    return (
        load.connections <= workers * place.connections_per_worker
        and found.core_share <= free
        and workers <= machines * place.workers
        and found.memory_bytes <= machines * place.memory_gib * GIB * free * (1 + 1e-9)
        and busiest <= machines * place.network_gbit * 1e9 * free * (1 + 1e-9)
    )


@pytest.mark.req("SIZE-03", "SIZE-04")
@settings(max_examples=examples(30), deadline=None)
@given(LOADS, PLACES)
def test_what_is_found_is_enough_and_a_machine_less_is_not(load: Load, place: Machines) -> None:
    found = size(load, place, COSTS)
    machines = min(found.machines, found.workers)  # a fault says so if there are more
    assert found.demand == carried(load, place, found.workers, machines)
    if not found.faults:
        assert is_enough(load, place, found.workers, found.machines)
        if found.machines > 1:
            fewer = found.machines - 1
            assert not is_enough(load, place, found.workers, fewer)


@pytest.mark.req("SIZE-03")
@settings(max_examples=examples(30), deadline=None)
@given(LOADS)
def test_a_worker_less_is_not_enough(load: Load) -> None:
    place = Machines(cores=100_000, memory_gib=1e9, network_gbit=1e9)
    found = size(load, place, COSTS)
    if not found.faults and found.workers > 1:
        assert found.machines == 1
        assert not is_enough(load, place, found.workers - 1, 1)


@pytest.mark.req("SIZE-03")
def test_the_cost_of_everything_is_added_up() -> None:
    load = Load(
        connections=1000, messages_per_second=100, receivers=20, connects_per_second=7,
        seats_share=0.5, handler_us=400, ping_interval_s=20, upgrading_share=0, joined_share=0.25,
    )  # fmt: skip
    costs = FREE | {
        "connect_us": 100, "token_us": 20, "seat_us": 40, "event_us": 10, "delivery_us": 8,
        "joined_delivery_us": 4, "heartbeat_us": 3,
    }  # fmt: skip
    cpu = demand(load, costs, workers=1, machines=1, sticky=Sticky.NONE).cpu
    assert cpu.parts() == {
        "connects": 7 * (100 + 30),
        "heartbeats": 50 * 3,
        "events": 100 * 410,
        "deliveries": 2000 * 7,
        "forwarding": 0,
        "bus": 0,
    }
    assert cpu.total == 910 + 150 + 41_000 + 14_000


@pytest.mark.req("SIZE-03")
def test_long_polling_pays_for_requests() -> None:
    load = Load(
        connections=1000, messages_per_second=100, receivers=20, connects_per_second=7,
        ping_interval_s=20, polling_share=1,
    )  # fmt: skip
    found = demand(
        load, FREE | {"request_us": 1}, workers=1, machines=1, sticky=Sticky.NONE
    ).cpu.parts()
    # Three requests for a connect, two for a heartbeat, one for each event and delivery.
    assert list(found.values()) == [21, 100, 100, 2000, 0, 0]


@pytest.mark.req("SIZE-04")
@pytest.mark.parametrize(
    ("more", "place", "machines", "decides"),
    [
        ({}, {}, 1, "nothing: one worker is enough"),
        ({"messages_per_second": 1000, "handler_us": 4500}, {}, 2, "CPU"),
        ({"messages_per_second": 1000, "handler_us": 4500}, {"cores": 2}, 10, "CPU"),
        ({"connections": 400_000}, {}, 2, "connections per worker"),
        ({"connections": 400_000}, {"memory_gib": 2}, 4, "memory"),
        (
            {"messages_per_second": 100, "message_bytes": 1e6, "receivers": 0.0},
            {"cores": 2},
            2,
            "network",
        ),
    ],
)
def test_what_decides_is_named(
    more: dict[str, Any], place: dict[str, Any], machines: int, decides: str
) -> None:
    load = Load(**{"connections": 1000, "upgrading_share": 0.0, "ping_interval_s": 1e6} | more)
    found = size(load, Machines(**place), COSTS)
    assert (found.machines, found.decides, found.faults) == (machines, decides, [])


@pytest.mark.req("SIZE-04")
def test_memory_is_that_of_processes_connections_seats_and_pipes() -> None:
    load = Load(connections=1000, seats_share=0.5, upgrading_share=0.5)
    costs = FREE | {
        "process_bytes": 10_000, "connection_bytes": 100, "kernel_connection_bytes": 10,
        "seat_bytes": 6, "forwarded_bytes": 30,
    }  # fmt: skip
    alone = demand(load, costs, workers=1, machines=1, sticky=Sticky.NONE)
    assert alone.memory_bytes == 10_000 + 110_000 + 3000
    assert (alone.forwarded, alone.descriptors_per_worker) == (0, 1128)
    several = demand(load, costs, workers=4, machines=2, sticky=Sticky.NONE)
    assert several.forwarded == 375
    assert several.memory_bytes == 6 * 10_000 + 110_000 + 3000 + 375 * 50  # two parents
    assert several.descriptors_per_worker == 438 + 128  # 1,750 of them, rounded up
    nodes = demand(load, costs, workers=2, machines=2, sticky=Sticky.NODE)
    assert nodes.memory_bytes == 20_000 + 110_000 + 3000


@pytest.mark.req("SIZE-05")
def test_each_worker_reads_what_others_publish() -> None:
    load = Load(connections=1000, messages_per_second=100, receivers=1, upgrading_share=0)
    costs = FREE | {"publish_us": 1, "read_us": 100, "skip_us": 10}

    def bus_us(workers: int) -> float:
        return demand(load, costs, workers=workers, machines=1, sticky=Sticky.NONE).cpu.bus

    assert bus_us(1) == 0
    # The one receiver is on another worker three times out of four.
    assert bus_us(4) == pytest.approx(100 * (1 + 0.75 * 100 + 2.25 * 10))
    unheard = replace(load, receivers=0.0)
    assert demand(unheard, costs, workers=4, machines=1, sticky=Sticky.NONE).cpu.bus == 0


@pytest.mark.req("SIZE-05")
def test_redis_sends_each_message_to_each_worker() -> None:
    load = Load(
        connections=1000, messages_per_second=100, connects_per_second=10, seats_share=0.5,
        message_bytes=50, upgrading_share=0, ping_interval_s=1e9,
    )  # fmt: skip
    costs = FREE | {
        "redis_publish_us": 5, "redis_copy_us": 2, "redis_seat_us": 300, "bus_wire_bytes": 150,
        "redis_user_bytes": 1000, "redis_entry_bytes": 1,
    }  # fmt: skip
    found = demand(load, costs, workers=4, machines=1, sticky=Sticky.NONE)
    redis = found.redis
    assert redis.commands_per_second == 100 + 10
    assert redis.core_share == pytest.approx((100 * (5 + 4 * 2) + 5 * 300) / 1e6)
    assert (redis.in_bytes_per_second, redis.out_bytes_per_second) == (20_000, 80_000)
    assert redis.memory_bytes == 2 * (500 * 1000 + 100_000)
    assert found.in_bytes_per_second == pytest.approx(100 * 50 + 80_000)
    alone = demand(load, costs, workers=1, machines=1, sticky=Sticky.NONE)
    assert alone.redis.commands_per_second == alone.redis.core_share == 0


@pytest.mark.req("SIZE-05")
def test_what_no_number_of_workers_can_carry_is_told() -> None:
    load = Load(connections=1000, messages_per_second=100_000)
    found = size(load, Machines(network_gbit=1000), COSTS)
    workers, redis = found.faults
    assert workers.startswith("no number of workers can carry it")
    assert redis.startswith("Redis would take")
    clusters = found.clusters
    assert clusters is not None
    for count in (clusters - 1, clusters):
        part = replace(
            load,
            connections=ceil(1000 / count),
            messages_per_second=load.messages_per_second / count,
        )
        assert bool(size(part, Machines(network_gbit=1000), COSTS).faults) == (count < clusters)
    far_too_much = replace(load, messages_per_second=100_000.0 * 3 * MOST_CLUSTERS)
    assert size(far_too_much, Machines(network_gbit=1000), COSTS).clusters is None


@pytest.mark.req("SIZE-05")
def test_redis_alone_may_be_the_limit() -> None:
    load = Load(connections=100_000, messages_per_second=1000)
    found = size(load, Machines(), COSTS | {"redis_publish_us": 600.0})
    (fault,) = found.faults
    assert fault == (
        "Redis would take 0.60 of the one core that it uses, and only 0.50 may be taken"
    )
    assert found.clusters == 2


@pytest.mark.req("SIZE-04")
def test_a_machine_that_is_too_small_for_a_worker_is_told() -> None:
    found = size(Load(connections=1000), Machines(memory_gib=0.1), COSTS)
    assert found.faults == [
        "the memory or network of a machine is too small for what one worker takes"
    ]


@pytest.mark.req("SIZE-06")
@pytest.mark.parametrize(
    ("sticky", "workers", "machines", "passed"),
    [
        (Sticky.NONE, 1, 1, 0),
        (Sticky.NONE, 4, 1, 0.75),
        (Sticky.NONE, 8, 2, 0.875),
        (Sticky.MACHINE, 8, 2, 0.75),
        (Sticky.MACHINE, 2, 2, 0),
        (Sticky.NODE, 8, 2, 0),
    ],
)
def test_what_is_passed_on_depends_on_the_balancer(
    sticky: Sticky, workers: int, machines: int, passed: float
) -> None:
    assert passed_share(workers, machines, sticky) == passed
    load = Load(
        connections=1000, messages_per_second=100, receivers=3, ping_interval_s=10,
        polling_share=0.5, upgrading_share=0.5, connects_per_second=8,
    )  # fmt: skip
    # A quarter of the clients has upgraded, a half stays on long-polling; 100 events, 300
    # deliveries, 200 pings and pongs; and three requests of each client that begins on polling.
    for cost, expected in (
        ("forwarded_message_us", 600 / 4),
        ("forwarded_request_us", 600 / 2 + 8 * 0.75 * 3),
    ):
        cpu = demand(load, FREE | {cost: 1}, workers=workers, machines=machines, sticky=sticky).cpu
        assert cpu.forwarding == pytest.approx(passed * expected)


@pytest.mark.req("SIZE-06")
def test_clients_that_begin_on_websocket_are_never_passed_on() -> None:
    load = Load(connections=100_000, messages_per_second=100, upgrading_share=0)
    found = demand(load, COSTS, workers=8, machines=2, sticky=Sticky.NONE)
    assert (found.forwarded, found.cpu.forwarding) == (0, 0)


def lost(sticky: Sticky, connections: int = 700_000, **more: float) -> Any:
    load = Load(connections=connections, **more)
    found = size(load, Machines(sticky=sticky), COSTS)
    assert found.faults == []
    return load, found


@pytest.mark.req("SIZE-07")
@pytest.mark.parametrize(
    ("sticky", "through"),
    [(Sticky.NONE, 700_000 * 13 / 14 / 2 * 7 / 13), (Sticky.MACHINE, 0), (Sticky.NODE, 0)],
)
def test_a_lost_machine_takes_its_sessions_and_what_leads_through_it(
    sticky: Sticky, through: float
) -> None:
    _, found = lost(sticky)
    assert (found.workers, found.machines, found.loss.what) == (14, 2, "machine")
    assert found.loss.disconnected == pytest.approx(350_000 + through)


@pytest.mark.req("SIZE-07")
@pytest.mark.parametrize("sticky", [Sticky.NONE, Sticky.MACHINE])
def test_if_there_is_one_machine_a_worker_is_lost(sticky: Sticky) -> None:
    _, found = lost(sticky, 100_000)
    assert (found.workers, found.machines, found.loss.what) == (2, 1, "worker")
    assert found.loss.disconnected == pytest.approx(75_000)


@pytest.mark.req("SIZE-07")
def test_if_there_is_one_worker_all_are_lost() -> None:
    _, found = lost(Sticky.NONE, 1000)
    loss = found.loss
    assert (loss.what, loss.disconnected, loss.core_share, loss.back_s) == (
        "server", 1000, None, None,
    )  # fmt: skip


@pytest.mark.req("SIZE-07")
def test_clients_are_back_when_the_others_have_let_them_in() -> None:
    load, found = lost(Sticky.NODE)
    rest = demand(load, COSTS, workers=7, machines=1, sticky=Sticky.NODE)
    assert found.loss.core_share == rest.core_share
    work_s = 350_000 * connect_us(load, COSTS) / 1e6
    assert found.loss.back_s == pytest.approx(work_s / 7 / (1 - rest.core_share))
    slow = size(load, Machines(sticky=Sticky.NODE, reconnect_s=100), COSTS)
    assert slow.loss.back_s == 100


@pytest.mark.req("SIZE-07")
def test_with_seats_clients_wait_for_the_lease_and_for_redis() -> None:
    load = Load(connections=100_000, seats_share=1)
    assert (
        size(load, Machines(), COSTS | {"connect_us": 0.0, "seat_us": 0.0}).loss.back_s == LEASE_S
    )
    # Three quarters of them, 1 ms in Redis each. The one worker that is left needs no bus.
    three = replace(load, connections=150_000)
    slow = size(three, Machines(), COSTS | {"redis_seat_us": 1000.0})
    assert slow.loss.disconnected > 80_000
    assert slow.loss.back_s == pytest.approx(slow.loss.disconnected / 1000)


@pytest.mark.req("SIZE-07")
def test_what_the_others_cannot_carry_is_a_warning() -> None:
    load = Load(connections=1000, messages_per_second=1000, handler_us=1500)
    found = size(load, Machines(spare_share=0.1), COSTS)
    assert found.workers == 2
    assert found.loss.back_s is None
    assert found.faults == []
    assert "when a worker is lost, the others cannot carry its clients" in found.warnings


@pytest.mark.req("SIZE-08")
@pytest.mark.parametrize("connections", [MEASURED_CONNECTIONS, MEASURED_CONNECTIONS + 1])
def test_more_connections_than_were_measured_are_a_warning(connections: int) -> None:
    found = size(Load(connections=connections), Machines(), COSTS)
    assert bool(found.warnings) == (connections > MEASURED_CONNECTIONS)
