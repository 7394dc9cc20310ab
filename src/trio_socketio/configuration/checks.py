"""Checks that concern several options."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from trio_socketio.configuration.settings import Settings
from trio_socketio.configuration.tables import TABLES, Configuration, Place

_CONTROL: Final[Place] = ("control", "listen")
_ADMIN: Final[Place] = ("admin", "listen")
_NEEDS: Final[Mapping[Place, tuple[Place, ...]]] = {
    **{
        ("cors", name): (("cors", "origins"),)
        for name in ("credentials", "methods", "allowed_headers", "exposed_headers", "max_age_s")
    },
    **{
        ("recovery", name): (("recovery", "enabled"),)
        for name in (
            "max_disconnection_s", "skip_middlewares", "max_packets", "max_bytes", "max_sessions",
            "max_session_bytes",
        )
    },
    ("client_files", "folder"): (("client_files", "serve"),),
    # Backends register on a connection of the control socket, so events that nobody could be given
    # would only be refused.
    ("control", "backends", "forward"): (_CONTROL,),
    **{
        ("control", name): (_CONTROL,)
        for name in (
            "certfile", "max_connections", "max_in_flight", "auth_timeout_s",
            "output_bound_bytes", "slow_peer_s",
        )
    },
    **{("control", name): (_CONTROL, _ADMIN) for name in ("tokens", "max_line_bytes", "max_batch")},
    **{("control", name): (_ADMIN,) for name in ("hosts", "max_http_calls")},
    **{
        ("admin", name): (_ADMIN,)
        for name in ("certfile", "hosts", "allow_cleartext", "max_connections")
    },
}  # fmt: skip
"""Options that change what another one turns on, each with those of which one has to be set."""


def find_contradictions(configuration: Configuration, settings: Settings) -> Iterator[str]:
    """Yield an error for every two options that cannot be used together; it names both (CFG-07)."""
    listen = configuration.listen
    host, port = settings.get(("listen", "host")), settings.get(("listen", "port"))
    if listen.fds:
        others = [(host, "host"), (port, "port")]
        others += [(settings.get(("listen", "unix")), "unix")] if listen.unix else []
        given = [other.where for other, _ in others if other is not None]
        if given:  # CMD-10
            where = settings["listen", "fds"].where
            yield (
                f"{where} listens on an inherited descriptor: leave out {where} or "
                f"{' and '.join(given)}"
            )
    elif listen.unix is not None:
        where = settings["listen", "unix"].where
        for other, name in ((host, "host"), (port, "port")):
            if other is not None:
                yield f"{where} does not listen on a {name}: leave out {where} or {other.where}"
    certfile = settings.get(("listen", "certfile"))
    if listen.keyfile is not None and (certfile is None or certfile.value is False):
        where = settings["listen", "keyfile"].where
        yield f"{where} needs {_named_like(where, '--certfile', '[listen] certfile')}"
    if configuration.engine.allow_eio3 and configuration.sockets.parser != "json":
        eio3, parser = settings["engine", "allow_eio3"].where, settings["sockets", "parser"].where
        yield (
            f"{eio3} and {parser} contradict each other: clients 1.x and 2.x speak JSON only, so "
            "the parser must be json"
        )


def _named_like(where: str, flag: str, option: str) -> str:
    return flag if where.startswith("--") else option


def find_idle(
    configuration: Configuration,
    settings: Settings,
    flags: Mapping[Place, str],
    inherited: Collection[str] = (),
) -> Iterator[str]:
    """Yield a warning for every option that was given, and changes what is not on (CMD-11).

    Args:
        configuration: the effective one; the app may have turned on what the option changes.
        settings: what was given.
        flags: the flag of each option that has one.
        inherited: the tables for which systemd has opened sockets.
    """
    for place, needed in _NEEDS.items():
        setting = next((one for at, one in settings.items() if at[: len(place)] == place), None)
        if setting is None or any(
            _option(configuration, other) or (other[1] == "listen" and other[0] in inherited)
            for other in needed
        ):
            continue
        default = getattr(TABLES[place[0]](), place[1])
        if _option(configuration, place[:2]) == default:
            continue  # what is given is the default, as in an example whose comments were removed
        if len(place) > 2 and _within(configuration, place) == getattr(default, place[2]):
            continue
        wanted = []
        for other in needed:
            option = f"[{other[0]}] {other[1]}"
            wanted.append(_named_like(setting.where, flags.get(other, option), option))
        yield f"{setting.where} has no effect without {' or '.join(wanted)}"


def _option(configuration: Configuration, place: Place) -> Any:
    return getattr(getattr(configuration, place[0]), place[1])


def _within(configuration: Configuration, place: Place) -> Any:
    return getattr(_option(configuration, place), place[2])
