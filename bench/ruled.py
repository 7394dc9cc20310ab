"""What rules cost, and what they are good for: messages of users, and clients beside a flood."""

from collections.abc import Sequence
from typing import Any, Final

from bench.crowds import crowd
from bench.generator import Measurement
from bench.identity import configured, tokens_of
from bench.loading import BESIDE, OURS, Answer, load, side_by_side, warm_up, windows
from bench.machine import Cores
from bench.servers import run_server
from bench.throughput import Pace

CLIENTS: Final = 20  # beside the flood
FLOODERS: Final = 4  # who send 5,000 events a second each, of which they may send 100
_MAY_SEND: Final = 100
_ROOMS: Final[tuple[str | int, ...]] = (
    "--connections",
    1000,
    "--senders",
    10,
    "--rooms",
    20,
    "--room-size",
    50,
)
MIXED: Final[tuple[str | int, ...]] = (*_ROOMS, "--own-room", "--in-flight", 1)
_MUCH: Final = {"per_s": 1e6}
RULES: Final[dict[str, Any]] = {
    "name": "/",
    "events": ["join", "room", "echo*"],
    "rooms": ["*"],
    "claim": "im",
    "rates": {
        "user": _MUCH,
        "events": [{"name": "room", **_MUCH}],
        "room": _MUCH,
        "namespace": _MUCH,
        "joins": _MUCH,
    },
}
_FLOOD_RULES: Final[dict[str, Any]] = {"name": "/", "claim": "im", "rates": {"user": _MUCH}}


def mixed_load(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
    """Measure the mixed IM load with identity, rules and presence on, beside it without them.

    No message is refused, and every rule is asked about each.
    """
    who = tokens_of("HS256", {"events": ["join", "room"]})

    def messages(options: Sequence[str]) -> Measurement:
        asked: tuple[str | int, ...] = (*MIXED, *(who if options else ()))
        with run_server("trio", cores, options=options) as server:
            load("rooms", server, cores, *asked, *warm_up(pace))
            return load("rooms", server, cores, *asked, *windows(pace))[0]

    options = configured("HS256", "newest", rules=RULES)
    return {"im-ruled": side_by_side(messages, options, number)}


def beside_a_flood(cores: Cores, pace: Pace, _: int) -> dict[str, Answer]:
    """Measure the p99 of clients beside others who flood the server, against the quiet value."""
    rate = {"per_s": float(_MAY_SEND), "burst": _MAY_SEND}
    flooders, who = tokens_of("HS256", {"rate": rate})[1], tokens_of("HS256")
    options = configured("HS256", "newest", rules=_FLOOD_RULES)
    acks: tuple[str | int, ...] = ("--connections", CLIENTS, "--in-flight", 1, *who)
    with run_server("trio", cores, options=options) as server:
        load("ack", server, cores, *acks, *warm_up(pace))
        quiet = load("ack", server, cores, *acks, *windows(pace))[0]
        with crowd(cores, "bench.flooding", str(server.port), flooders, str(FLOODERS)):
            beside = load("ack", server, cores, *acks, *windows(pace))[0]
    loads = {OURS: beside, BESIDE: quiet}
    return {"flood": Answer(beside.p99_us, quiet.p99_us, loads=loads)}
