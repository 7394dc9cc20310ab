"""What one of each costs: the one table of figures that sizes are computed from (SIZE-01).

CPU times are microseconds on one core of the machine that they were measured on. Others may be
twice as fast or half as fast, so `python -m bench.unit_costs` measures them anew, and prints them
in the form that ``trio-socketio size --costs FILE`` reads.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

from trio_socketio.errors import ConfigurationError

Costs = Mapping[str, float]
"""The value of each cost by its name, which ends in its unit."""

LARGEST: Final = 1e12
"""No cost can be larger: a terabyte, or eleven days."""


class Cost(NamedTuple):
    """A measured cost.

    Args:
        value: in the unit that the name ends in.
        meaning: what is counted.
        measured: the row of bench/ or the document, the commit or date, and the machine.
    """

    value: float
    meaning: str
    measured: str


MACHINE: Final = "a virtual machine with two cores of an AMD EPYC, CPython 3.11"
"""On which all of it was measured."""

_RESULTS: Final = "bench/results, commit d69fe1c, quiet machine"
_UNIT: Final = "python -m bench.unit_costs, 2026-11-27, machine busy with other things"
_FORMAT: Final = "counted from the formats, not measured"

TABLE: Final[Mapping[str, Cost]] = {
    "connect_us": Cost(
        110,
        "a connect: upgrade to WebSocket, open, namespace, and the close later",
        f"row connects: 100 in {_RESULTS}; 110 to 117 by {_UNIT}",
    ),
    "token_us": Cost(29, "checking the JWT (HS256) of a connect", _UNIT),
    "seat_us": Cost(145, "claiming and releasing a seat in Redis, on the node", _UNIT),
    "event_us": Cost(
        14.2,
        "reading an event and calling an async handler that waits once",
        "an echo of 10,000 connections (16.9, growth) without its delivery (8.0), and what an "
        f"async handler that suspends adds (5.3); {_RESULTS}; 17.2 by {_UNIT}",
    ),
    "delivery_us": Cost(
        8.0,
        "sending an event to one receiver, in a write of its own",
        f"row broadcast to 1,000, 1 in flight; {_RESULTS}; 7.6 by {_UNIT}",
    ),
    "joined_delivery_us": Cost(
        1.1,
        "the same in one write with others for that receiver",
        f"row broadcast to 1,000, 8 in flight; {_RESULTS}; 1.2 by {_UNIT}",
    ),
    "heartbeat_us": Cost(
        34,
        "a ping and its pong while little else happens",
        f"row idle: 0.68 % of a core for 200 of them a second; {_RESULTS}; 34.4 by {_UNIT}",
    ),
    "request_us": Cost(
        28,
        "a GET or POST of long-polling, with the event that it carries",
        f"row polling, half a round trip, the two steady rounds (24 and 28); {_RESULTS}; "
        f"26.6 by {_UNIT}",
    ),
    "forwarded_request_us": Cost(
        55,
        "a request of long-polling, on the node that passes it on",
        f"row forward-poll, 2026-11-26, machine busy with other things; 49 by {_UNIT}",
    ),
    "forwarded_message_us": Cost(
        10,
        "a message of a WebSocket, one way, on the node that passes it on",
        f"row forward-pipe, 2026-11-26, machine busy with other things; 9.4 by {_UNIT}",
    ),
    "publish_us": Cost(11, "publishing a message for the other nodes", f"{_UNIT}; 4 to 19"),
    "skip_us": Cost(
        10.8,
        "a message of another node that concerns no client here, if several come together",
        f"row unconcerned, 2026-11-27, machine busy with other things; 10 to 15 by {_UNIT}; 80 if "
        "it comes alone and wakes the node",
    ),
    "read_us": Cost(
        30,
        "a message of another node that concerns clients here, without its deliveries",
        "python -m bench.worker_costs, messages to rooms of 10 (bench/README.md), machine busy "
        f"with other things; 42 (30 to 105) by {_UNIT}, with both nodes on one core",
    ),
    "redis_publish_us": Cost(3, "a message, in Redis, if several come together", _UNIT),
    "redis_copy_us": Cost(
        1.3,
        "each node that the message is sent to, in Redis, if several go out together",
        f"{_UNIT}; 2.6 to 4 if it goes out alone",
    ),
    "redis_seat_us": Cost(
        110,
        "claiming and releasing a seat, in Redis",
        f"{_UNIT}; 52 on a quiet machine (spec/decisions/0025)",
    ),
    "process_bytes": Cost(68e6, "a worker, or a parent of workers, before its first client", _UNIT),
    "connection_bytes": Cost(
        2950,
        "an idle connection, in the process",
        f"row memory: 2,878 at 10,000 in {_RESULTS}; 2,950 by {_UNIT}",
    ),
    "kernel_connection_bytes": Cost(
        5000, "an idle connection, in the kernel (growth of its slabs)", _UNIT
    ),
    "seat_bytes": Cost(2700, "a user with a seat, in the process", _UNIT),
    "forwarded_bytes": Cost(
        1640,
        "a WebSocket that is passed on, in the process that does so",
        f"row forward-memory; {_UNIT}",
    ),
    "redis_user_bytes": Cost(
        320, "a user who is online, in Redis", "spec/guide/presence_over_nodes.md, Valkey 9.1"
    ),
    "redis_entry_bytes": Cost(
        120, "an entry of the presence log", "spec/guide/presence_over_nodes.md, Valkey 9.1"
    ),
    "message_wire_bytes": Cost(
        80, "what TCP, IP and WebSocket add to a message that is sent alone", _FORMAT
    ),
    "request_wire_bytes": Cost(
        900, "what HTTP, TCP and IP add to a request of long-polling, each way", _FORMAT
    ),
    "bus_wire_bytes": Cost(150, "what a message has besides on its way between nodes", _FORMAT),
}
"""Every cost that sizes are computed from."""


def default_costs() -> dict[str, float]:
    """Return the values of the table."""
    return {name: cost.value for name, cost in TABLE.items()}


def replace_costs(given: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs with some of them replaced (SIZE-02).

    Raises:
        ConfigurationError: a cost is unknown, or its value is not a number that it can have.
    """
    costs = default_costs()
    for name, value in given.items():
        if name not in costs:
            raise ConfigurationError(f"{name} is not a cost; the costs are {', '.join(costs)}")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not isfinite(value) or not 0 <= value <= LARGEST:
            raise ConfigurationError(f"{name}: expected a number (0 to {LARGEST:g}), not {value!r}")
        costs[name] = float(value)
    return costs


def costs_text() -> str:
    """Return the table as TOML, each cost with its meaning and where it was measured."""
    lines = [f"# Measured on {MACHINE}.", "# CPU times are microseconds on one core."]
    for name, cost in TABLE.items():
        lines += [
            "",
            f"# {cost.meaning}",
            f"# measured: {cost.measured}",
            f"{name} = {cost.value:g}",
        ]
    return "\n".join(lines) + "\n"
