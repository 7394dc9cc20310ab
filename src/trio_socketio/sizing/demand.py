"""What a load takes of everything, if a given number of workers on given machines carries it.

The sums are linear in the rates, but for what depends on the number of workers: each of them reads
every message that another one publishes, and without sticky sessions most requests reach a worker
that does not have the session.
"""

from math import exp, log1p
from typing import Final

import msgspec

from trio_socketio.sizing.costs import Costs
from trio_socketio.sizing.load import Load, Sticky

FIRST_REQUESTS: Final = 3
"""Of a session that begins on long-polling: the handshake, the namespace, and the answer to it."""
PASSED_REQUESTS: Final = 3
"""Of these, and the upgrade, those that may reach another worker: all but the handshake."""
RESERVED_DESCRIPTORS: Final = 128
"""The server keeps these for files other than connections (CMD-05)."""
LOG_ENTRIES: Final = 100_000
"""The presence log keeps as many unless it is configured otherwise (max_events)."""
SCRIPTS_PER_SEAT: Final = 2
"""A claim and a release."""


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of CPU a second, of all workers together.

    Args:
        connects: connects, with their tokens and seats.
        heartbeats: pings and pongs.
        events: what clients send, and the app's handlers.
        deliveries: what clients are sent.
        forwarding: what is passed on to other nodes.
        bus: what is published for other nodes, and read of them.
    """

    connects: float
    heartbeats: float
    events: float
    deliveries: float
    forwarding: float
    bus: float

    def parts(self) -> dict[str, float]:
        """Return the parts by their names."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts().values())


class RedisDemand(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis does: nothing if there is one worker.

    Args:
        commands_per_second: messages and scripts.
        core_share: of one core, as Redis runs commands on one. It may be above 1.
        in_bytes_per_second: messages that are published.
        out_bytes_per_second: messages that are sent to nodes.
        memory_bytes: users who are online, and the presence log, twice: see the guide.
    """

    commands_per_second: float = 0.0
    core_share: float = 0.0
    in_bytes_per_second: float = 0.0
    out_bytes_per_second: float = 0.0
    memory_bytes: float = 0.0


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers together take.

    Args:
        workers: that share the load.
        cpu: of the workers.
        memory_bytes: of workers, their parents and the kernel's sockets.
        in_bytes_per_second: of clients, of Redis and of other nodes.
        out_bytes_per_second: to them.
        descriptors_per_worker: the limit of open files that a worker needs.
        forwarded: WebSockets that lead through another worker than their own.
        redis: what Redis does.
    """

    workers: int
    cpu: Cpu
    memory_bytes: float
    in_bytes_per_second: float
    out_bytes_per_second: float
    descriptors_per_worker: int
    forwarded: float
    redis: RedisDemand

    @property
    def core_share(self) -> float:
        """The share of its core that a worker takes."""
        return self.cpu.total / self.workers / 1e6


def demand(load: Load, costs: Costs, *, workers: int, machines: int, sticky: Sticky) -> Demand:
    """Return what a load takes.

    Args:
        load: what is to be carried.
        costs: of one of each.
        workers: that share it evenly.
        machines: on which they run; at most one for each worker.
        sticky: what the load balancer does.
    """
    passed = passed_share(workers, machines, sticky)
    upgraded = (1 - load.polling_share) * load.upgrading_share
    forwarded = load.connections * upgraded * passed
    rates = _Rates(load)
    messages, requests = _forwarding(load, rates, upgraded * passed, passed)
    cpu = Cpu(
        connects=_connects_us(load, costs),
        heartbeats=rates.heartbeats * _either(load, costs["heartbeat_us"], 2 * costs["request_us"]),
        events=rates.events
        * (load.handler_us + _either(load, costs["event_us"], costs["request_us"])),
        deliveries=rates.deliveries * _either(load, _delivery_us(load, costs), costs["request_us"]),
        forwarding=messages * costs["forwarded_message_us"]
        + requests * costs["forwarded_request_us"],
        bus=rates.published * _bus_us(load, costs, workers) if workers > 1 else 0.0,
    )
    redis = _redis(load, rates, costs, workers) if workers > 1 else RedisDemand()
    sent_bytes = _either(load, costs["message_wire_bytes"], costs["request_wire_bytes"])
    heard, told = rates.events + rates.heartbeats, rates.deliveries + rates.heartbeats
    content = load.message_bytes
    # What is passed on is received and sent once more, between two nodes. Of a request both
    # directions have a head, and so both are counted whole.
    again = messages * (costs["message_wire_bytes"] + content) + requests * (
        costs["request_wire_bytes"] + content
    )
    parents = machines if workers > machines else 0
    return Demand(
        workers=workers,
        cpu=cpu,
        memory_bytes=(workers + parents) * costs["process_bytes"]
        + load.connections * (costs["connection_bytes"] + costs["kernel_connection_bytes"])
        + load.connections * load.seats_share * costs["seat_bytes"]
        # Two more sockets: the client's end at the node that passes it on, and one between nodes.
        + forwarded * (costs["forwarded_bytes"] + 2 * costs["kernel_connection_bytes"]),
        in_bytes_per_second=heard * sent_bytes
        + rates.events * content
        + again
        + redis.out_bytes_per_second,
        out_bytes_per_second=told * sent_bytes
        + rates.deliveries * content
        + again
        + redis.in_bytes_per_second,
        descriptors_per_worker=-int(-(load.connections + 2 * forwarded) // workers)
        + RESERVED_DESCRIPTORS,
        forwarded=forwarded,
        redis=redis,
    )


def passed_share(workers: int, machines: int, sticky: Sticky) -> float:
    """Return the share of what belongs to sessions that reaches another worker (SIZE-06)."""
    if sticky is Sticky.NODE:
        return 0.0
    may_take_it = workers if sticky is Sticky.NONE else workers / machines
    return 1 - 1 / may_take_it


def connect_us(load: Load, costs: Costs) -> float:
    """Return the CPU that a connect takes, on average."""
    polling_first = load.polling_share + (1 - load.polling_share) * load.upgrading_share
    first_us = FIRST_REQUESTS * costs["request_us"]
    seat_us = costs["token_us"] + costs["seat_us"]
    return costs["connect_us"] + polling_first * first_us + load.seats_share * seat_us


class _Rates:
    """What happens in a second."""

    def __init__(self, load: Load) -> None:
        self.heartbeats = load.connections / load.ping_interval_s
        self.events = load.messages_per_second
        self.deliveries = load.messages_per_second * load.receivers
        self.published = load.messages_per_second if load.receivers else 0.0
        self.connects = load.connects_per_second


def _either(load: Load, websocket: float, polling: float) -> float:
    """Return the average over clients on WebSocket and clients that stay on long-polling."""
    return (1 - load.polling_share) * websocket + load.polling_share * polling


def _connects_us(load: Load, costs: Costs) -> float:
    return load.connects_per_second * connect_us(load, costs)


def _delivery_us(load: Load, costs: Costs) -> float:
    alone = (1 - load.joined_share) * costs["delivery_us"]
    return alone + load.joined_share * costs["joined_delivery_us"]


def _forwarding(load: Load, rates: _Rates, piped: float, passed: float) -> tuple[float, float]:
    """Return the messages and the requests that are passed on in a second.

    Args:
        load: what is to be carried.
        rates: what happens in a second.
        piped: the share of the clients whose WebSockets lead through another worker.
        passed: the share of requests that reach another worker.
    """
    there_and_back = rates.events + rates.deliveries + 2 * rates.heartbeats
    polling_first = load.polling_share + (1 - load.polling_share) * load.upgrading_share
    polled = load.polling_share * there_and_back
    first = rates.connects * polling_first * PASSED_REQUESTS
    return piped * there_and_back, passed * (polled + first)


def _bus_us(load: Load, costs: Costs, workers: int) -> float:
    """Return the CPU of all workers for a message between them (SIZE-05)."""
    others = workers - 1
    # Receivers are spread over the workers at random: how many of the others have one of them?
    concerned = others * (1 - exp(load.receivers * log1p(-1 / workers)))
    return (
        costs["publish_us"] + concerned * costs["read_us"] + (others - concerned) * costs["skip_us"]
    )


def _redis(load: Load, rates: _Rates, costs: Costs, workers: int) -> RedisDemand:
    seats = load.connections * load.seats_share
    claims = rates.connects * load.seats_share
    message_us = costs["redis_publish_us"] + workers * costs["redis_copy_us"]
    published = rates.published * (load.message_bytes + costs["bus_wire_bytes"])
    log_bytes = LOG_ENTRIES * costs["redis_entry_bytes"] if seats else 0.0
    return RedisDemand(
        commands_per_second=rates.published + SCRIPTS_PER_SEAT * claims,
        core_share=(rates.published * message_us + claims * costs["redis_seat_us"]) / 1e6,
        in_bytes_per_second=published,
        out_bytes_per_second=published * workers,
        memory_bytes=2 * (seats * costs["redis_user_bytes"] + log_bytes),
    )
