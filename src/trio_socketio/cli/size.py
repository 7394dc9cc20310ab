"""``trio-socketio size``: computes how many workers and machines a load needs."""

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from trio_socketio.cli.arguments import (
    MOST,
    amount,
    complain,
    count,
    positive,
    print_out,
    seconds,
    share,
)
from trio_socketio.cli.tables import render
from trio_socketio.errors import ConfigurationError
from trio_socketio.sizing.calculation import LEASE_S, Size, size
from trio_socketio.sizing.costs import MACHINE, Costs, costs_text, default_costs, replace_costs
from trio_socketio.sizing.load import Load, Machines, Sticky

STAY_S: Final = 1800
"""How long a client stays, unless --connects-per-second is given."""
MOST_COSTS_BYTES: Final = 65_536
_LOAD, _MACHINES = Load(connections=1), Machines()
DESCRIPTION = (
    "Compute what a load needs: workers and their cores, memory, network, open files, Redis and "
    "machines; what decides; and what happens when a machine is lost. It multiplies what was "
    "measured for one connection, message and so on. Shares are from 0 to 1."
)
EPILOG = (
    "Exit codes: 0; 1 if it cannot be done like this, which the output explains, or if the output "
    "cannot be written; 2 if an argument or the file of costs cannot be used."
)

# Which option each part of the CPU goes back to.
_INPUTS: Final = {
    "connects": "--connects-per-second",
    "heartbeats": "--connections",
    "events": "--messages-per-second",
    "deliveries": "--messages-per-second times --receivers",
    "forwarding": "--sticky",
    "bus": "--messages-per-second",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``size`` to its parser."""
    load = command.add_argument_group("the load, of all clients together")
    _add(load, "connections", count, None, "clients that are connected at the same time")
    _add(
        load, "messages-per-second", amount, _LOAD.messages_per_second,
        "events that clients or backends send",
    )  # fmt: skip
    _add(load, "receivers", amount, _LOAD.receivers, "clients that each of them goes to")
    _add(load, "bytes", amount, _LOAD.message_bytes, "of an event, its name and JSON included")
    _add(load, "polling", share, _LOAD.polling_share, "share that stays on long-polling")
    _add(
        load, "upgrading", share, _LOAD.upgrading_share,
        "share of the others that begins on long-polling, as official clients do; 0 if all have "
        'transports: ["websocket"]',
    )  # fmt: skip
    _add(
        load, "joined", share, _LOAD.joined_share,
        "share of the deliveries that go out in one write with others for the same client, which "
        "is cheaper, and happens if clients get hundreds a second",
    )  # fmt: skip
    load.add_argument(
        "--connects-per-second",
        type=amount,
        metavar="N",
        help=f"clients that connect (default: each stays for {STAY_S} s)",
    )
    _add(load, "seats", share, _LOAD.seats_share, "share that has a JWT and a seat (presence)")
    _add(load, "handler-us", amount, _LOAD.handler_us, "CPU of your own code for a message, in us")
    _add(load, "ping-interval-s", seconds, _LOAD.ping_interval_s, "between two heartbeats")
    place = command.add_argument_group("the machines")
    _add(place, "cores", count, _MACHINES.cores, "of a machine")
    _add(place, "memory-gib", positive, _MACHINES.memory_gib, "of a machine")
    _add(place, "gbit", positive, _MACHINES.network_gbit, "a second, of a machine, each way")
    _add(
        place, "spare", share, _MACHINES.spare_share,
        "share of cores, memory, network and Redis that stays free; less than 1",
    )  # fmt: skip
    _add(
        place, "connections-per-worker", count, _MACHINES.connections_per_worker,
        "no more are given to one worker",
    )  # fmt: skip
    place.add_argument(
        "--sticky",
        choices=[one.value for one in Sticky],
        default=_MACHINES.sticky.value,
        help="where the load balancer sends requests of a session: to any worker (none), to the "
        "machine of the session, or to its very process (node) (default: %(default)s)",
    )
    _add(
        place, "reconnect-s", seconds, _MACHINES.reconnect_s,
        "within which the clients of a lost machine come back",
    )  # fmt: skip
    command.add_argument(
        "--costs",
        type=Path,
        metavar="FILE",
        help="TOML with costs of your own, as python -m bench.unit_costs prints them",
    )
    command.add_argument(
        "--print-costs",
        action="store_true",
        help="print the costs as such a file, with where each was measured, and nothing else",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _add(group: Any, name: str, kind: Any, default: Any, text: str) -> None:
    shown = "" if default is None else f" (default: {default:g})"
    group.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text}{shown}")


def run(asked: argparse.Namespace) -> int:
    """Compute a size, and print it.

    Returns:
        The exit code: 0, 1 if it cannot be done or the output cannot be written, or 2 if an
        argument cannot be used (SIZE-10).
    """
    if asked.print_costs:
        return print_out(costs_text())
    try:
        load, place = load_of(asked), machines_of(asked)
        costs = default_costs() if asked.costs is None else _read_costs(asked.costs)
    except ConfigurationError as error:
        return complain(error)
    found = size(load, place, costs)
    if asked.json:
        told = {
            "load": msgspec.to_builtins(load),
            "machine": msgspec.to_builtins(place),
            "size": msgspec.to_builtins(found),
            "assumed": assumptions(load, place, own=asked.costs is not None),
            "costs": dict(costs),
        }
        code = print_out(json.dumps(told, indent=2) + "\n")
    else:
        code = print_out(text_of(found, load, place, own=asked.costs is not None))
    return code or (1 if found.faults else 0)


def load_of(asked: argparse.Namespace) -> Load:
    """Return the load that was asked about.

    Raises:
        ConfigurationError: the number of connections is missing or too large.
    """
    if asked.connections is None:
        raise ConfigurationError("size needs --connections N (see trio-socketio size --help)")
    if asked.connections > MOST:
        raise ConfigurationError(f"--connections: expected at most {MOST:,}")
    connects = asked.connects_per_second
    return Load(
        connections=asked.connections,
        messages_per_second=asked.messages_per_second,
        receivers=asked.receivers,
        message_bytes=asked.bytes,
        polling_share=asked.polling,
        upgrading_share=asked.upgrading,
        joined_share=asked.joined,
        connects_per_second=asked.connections / STAY_S if connects is None else connects,
        seats_share=asked.seats,
        handler_us=asked.handler_us,
        ping_interval_s=asked.ping_interval_s,
    )


def machines_of(asked: argparse.Namespace) -> Machines:
    """Return the machines that were asked about.

    Raises:
        ConfigurationError: nothing of them may be used.
    """
    if asked.spare >= 1:
        raise ConfigurationError("--spare: expected a share below 1: something has to be used")
    return Machines(
        cores=asked.cores,
        memory_gib=asked.memory_gib,
        network_gbit=asked.gbit,
        spare_share=asked.spare,
        connections_per_worker=asked.connections_per_worker,
        sticky=Sticky(asked.sticky),
        reconnect_s=asked.reconnect_s,
    )


def _read_costs(path: Path) -> Costs:
    """Read a file of costs (SIZE-02).

    Raises:
        ConfigurationError: it cannot be read, is too large, or has something else in it.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_COSTS_BYTES + 1)
        if len(text) > MOST_COSTS_BYTES:
            raise ConfigurationError(f"{path}: larger than {MOST_COSTS_BYTES} bytes")
        given = tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError, too
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    try:
        return replace_costs(given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def text_of(found: Size, load: Load, place: Machines, *, own: bool) -> str:
    """Return what people are shown (SIZE-08).

    Args:
        found: the size.
        load: that was asked about.
        place: that was asked about.
        own: whether there are costs of the reader's own.
    """
    demand, redis = found.demand, found.demand.redis
    parts = sorted(demand.cpu.parts().items(), key=lambda part: -part[1])
    whole = demand.cpu.total or 1.0
    shares = ", ".join(
        f"{name} {part / whole:.0%}" for name, part in parts if part / whole >= 0.005
    )
    rows = {
        "workers": f"{found.workers:,}, each with {load.connections / found.workers:,.0f} "
        f"connections and {found.core_share:.2f} of a core busy",
        "machines": f"{found.machines:,} of {place.cores} cores and {place.memory_gib:g} GiB"
        + (", and one for Redis" if found.workers > 1 else ""),
        "decides": f"{found.decides}; the most CPU goes to {found.largest} "
        f"({found.largest_share:.0%}), so to {_INPUTS[found.largest]}",
        "CPU": f"{demand.cpu.total / 1e6:.2f} cores: {shares or 'none'}",
        "memory": f"{bytes_text(demand.memory_bytes)} in all",
        "network": f"{bytes_text(demand.in_bytes_per_second)}/s in, "
        f"{bytes_text(demand.out_bytes_per_second)}/s out, in all",
        "open files": f"{demand.descriptors_per_worker:,} for each worker (LimitNOFILE=)",
        "passed on": f"{demand.forwarded:,.0f} WebSockets lead through another worker",
        "Redis": f"{redis.commands_per_second:,.0f} commands/s, {redis.core_share:.2f} of a core, "
        f"{bytes_text(redis.in_bytes_per_second)}/s in, "
        f"{bytes_text(redis.out_bytes_per_second)}/s out, {bytes_text(redis.memory_bytes)}"
        if found.workers > 1
        else "not needed with one worker",
        f"a {found.loss.what} is lost": loss_text(found),
    }
    lines = [render(rows), ""]
    lines += [f"It cannot be done like this: {fault}." for fault in found.faults]
    if found.faults and found.clusters:
        lines.append(
            f"{found.clusters} clusters can carry it, each with a Redis of its own and an equal "
            "part of everything, if those who write to each other are in the same one."
        )
    lines += [f"Note: {warning}." for warning in found.warnings]
    lines += ["Assumed:", *(f"- {one}" for one in assumptions(load, place, own=own))]
    return "\n".join(lines) + "\n"


def loss_text(found: Size) -> str:
    """Say what happens when one machine or worker is lost."""
    loss = found.loss
    gone = f"{loss.disconnected:,.0f} clients lose their connection"
    if loss.core_share is None:
        return f"{gone}, and nothing serves them until it is back"
    if loss.back_s is None:
        return f"{gone}, and the others and Redis cannot carry them"
    return (
        f"{gone}, are back after {loss.back_s:.0f} s, and the others are {loss.core_share:.2f} busy"
    )


def bytes_text(number: float) -> str:
    """Write a number of bytes in the unit that fits."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000:
            return (
                f"{number:.0f} {unit}"
                if number >= 10 or unit == "bytes"
                else f"{number:.1f} {unit}"
            )
        number /= 1000
    return f"{number:,.1f} TB"


def assumptions(load: Load, place: Machines, *, own: bool) -> list[str]:
    """Return what the figures depend on, besides the options."""
    found = [
        "costs were measured on your machines"
        if own
        else f"costs were measured on {MACHINE}; measure yours: see spec/guide/sizing.md",
        "connections, messages and receivers are spread evenly over the workers; peaks are not "
        "known, and the spare share is for them",
        f"{load.connects_per_second:,.1f} clients connect in a second, and as many leave",
        f"your own code takes {load.handler_us:g} us for a message",
        "one core of a machine is left to the kernel"
        if place.cores > 1
        else "the kernel has the same core",
        "clients speak to the workers without TLS; it is the load balancer's work",
        "memory is that of idle clients; what waits for slow clients is bounded apart",
        "Redis runs commands on one core, and every message is published to all workers",
    ]
    if load.seats_share:
        found.append(f"seats of a lost machine are free after {LEASE_S:g} s (lease_s = 10)")
    return found
