"""What an administrator may do, as the Admin UI names it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

COMMANDS: Final[Mapping[str, str]] = {
    "EMIT": "emit",
    "JOIN": "rooms.join",
    "LEAVE": "rooms.leave",
    "DISCONNECT": "sockets.disconnect",
    "MJOIN": "rooms.join",
    "MLEAVE": "rooms.leave",
    "MDISCONNECT": "sockets.disconnect",
}
"""The features that change something, each with the method of the control API that does the same.
Those that begin with M are for many sockets; they have no command of their own."""

AGGREGATED_EVENTS: Final = "AGGREGATED_EVENTS"
ALL_EVENTS: Final = "ALL_EVENTS"


class Grant(NamedTuple):
    """What an administrator was let in for.

    Args:
        name: of the administrator, for the log.
        commands: those of COMMANDS that are allowed.
        credential: names what was given, without telling it; empty where nothing is asked for.
    """

    name: str
    commands: tuple[str, ...] = tuple(COMMANDS)
    credential: str = ""
