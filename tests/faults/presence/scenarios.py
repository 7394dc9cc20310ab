"""The scenarios, each played in a world of its own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults.presence.world import World

Play = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Args:
        key: names it on the command line.
        title: what happens.
        play: does it, and measures.
        redis: options of the server of Redis.
        with_relays: whether each node reaches Redis through a relay.
        setup: of the nodes.
        users: how many there are at most.
    """

    key: str
    title: str
    play: Play
    redis: Sequence[str] = ()
    with_relays: bool = False
    setup: Mapping[str, Any] = field(default_factory=dict)
    users: int = 3000


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(
    key: str,
    title: str,
    *,
    redis: Sequence[str] = (),
    with_relays: bool = False,
    users: int = 3000,
    **setup: Any,
) -> Callable[[Play], Play]:
    """Register a scenario."""

    def register(play: Play) -> Play:
        SCENARIOS[key] = Scenario(key, title, play, redis, with_relays, setup, users)
        return play

    return register
