"""Checks of options that need Redis, and of those of several processes."""

from collections.abc import Iterator
from typing import Final

from trio_socketio.cluster.forwarding.internal import highest_port
from trio_socketio.cluster.workers.options import AUTO
from trio_socketio.configuration.environment import PREFIX
from trio_socketio.configuration.settings import Settings
from trio_socketio.configuration.tables import Configuration, Place
from trio_socketio.option_checks import split_host_port

REDIS: Final[Place] = ("redis", "url")


def find_faults_of_redis(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for each option that cannot be without Redis, or with several workers.

    Args:
        configuration: the options.
        settings: where each of them comes from.
    """
    yield from _faults_of_store(configuration, settings)
    yield from _faults_of_forwarding(configuration, settings)
    yield from _faults_of_workers(configuration, settings)


def _faults_of_store(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error if presence is to be kept in a Redis that is not there (CFG-34)."""
    if configuration.presence.store == "redis" and configuration.redis.url is None:
        where = settings["presence", "store"].where
        yield (
            f"{where} is redis, but there is none: set {named_like(where, REDIS, '--redis')}, or "
            "leave it out"
        )


def _faults_of_forwarding(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error if nodes are to be listened for that cannot be found (FWD-40)."""
    if configuration.cluster.internal is not None and configuration.redis.url is None:
        where = settings["cluster", "internal"].where
        yield (
            f"{where} is for other nodes, which are found over Redis: set "
            f"{named_like(where, REDIS, '--redis')}, or leave it out"
        )


def _faults_of_workers(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield what keeps several workers from running.

    They lack Redis (WORK-40), share a prefix (WORK-52), or have too few ports (WORK-53).
    """
    number = configuration.workers.number
    if number == 1:
        return
    where = settings["workers", "count"].where
    if configuration.engine.sid_prefix is not None:
        yield (
            f"{settings['engine', 'sid_prefix'].where} and {where} contradict each other, because "
            "each worker needs a prefix of its own, by which the others find its sessions: leave "
            "out sid_prefix"
        )
    most = highest_port(number)
    for option in ("internal", "internal_advertise"):  # WORK-53
        address = getattr(configuration.cluster, option)
        port = 0 if address is None else split_host_port(option, address)[1]
        if port > most:
            yield (
                f"{settings['cluster', option].where}: port {port} leaves no port for worker "
                f"{number - (port - most) + 1} of {number}, as each takes the next one: choose "
                f"{most} or lower"
            )
    if configuration.redis.url is None:
        auto = f" (auto is {number} here)" if configuration.workers.count == AUTO else ""
        redis = named_like(where, REDIS, "--redis")
        yield (
            f"{where}{auto}: several workers need Redis, because without it neither broadcasts nor "
            f"presence would reach the clients of the others: set {redis}"
        )


def named_like(where: str, place: Place, flag: str | None) -> str:
    """Name an option as the source of another one would spell it."""
    if where.startswith("--") and flag is not None:
        return flag
    if where.startswith(PREFIX):
        return f"{PREFIX}{'__'.join(place)}".upper()
    return f"[{place[0]}] {place[1]}"
