"""What everything together costs: a node with all of the product on, beside a bare one."""

from collections.abc import Callable, Sequence
from typing import Final

from bench.generator import Measurement
from bench.identity import configured, tokens_of
from bench.loading import Answer, load, measure_connects, side_by_side, warm_up, windows
from bench.machine import BUILD, Cores
from bench.nodes import SharedRedis
from bench.rows import CLIENTS, SMALL
from bench.ruled import MIXED, RULES
from bench.servers import run_server
from bench.throughput import Pace

_CONTROL: Final = ("--control", f"unix:{BUILD / 'run' / 'product.sock'}")
_WATCHED: Final = (*_CONTROL, "--admin", "127.0.0.1:0", "--log-level", "info")
_ECHO: Final = ("--connections", CLIENTS, "--bytes", SMALL, "--in-flight", 16)
_CONNECTS: Final = "connects"
LOADS: Final[dict[str, tuple[str, tuple[str | int, ...]]]] = {
    "echo": ("echo", _ECHO),
    _CONNECTS: (_CONNECTS, ()),
    "im": ("rooms", MIXED),
}


def beside_bare(name: str) -> Callable[[Cores, Pace, int], dict[str, Answer]]:
    """Measure a node with all of the product on, beside one with none of it.

    That is: JWTs, seats in Redis (the default of a node with a Redis), every rule that there is,
    the control socket, the admin port, the log at info, and the adapter. No message is refused.
    """
    workload, fixed = LOADS[name]

    def run(cores: Cores, pace: Pace, number: int) -> dict[str, Answer]:
        who = tokens_of("HS256", {"events": ["join", "room", "echo"]})

        def figure(options: Sequence[str]) -> Measurement:
            asked: tuple[str | int, ...] = (*fixed, *(who if options else ()))
            with run_server("trio", cores, options=options) as server:
                if name == _CONNECTS:
                    return measure_connects(server, cores, *asked, *windows(pace))
                load(workload, server, cores, *asked, *warm_up(pace))
                return load(workload, server, cores, *asked, *windows(pace))[0]

        identified = configured("HS256", "newest", rules=RULES)
        with SharedRedis(cores) as redis:
            options = (*identified, *_WATCHED, "--redis", redis.start().url)
            return {f"product/{name}": side_by_side(figure, options, number)}

    return run
