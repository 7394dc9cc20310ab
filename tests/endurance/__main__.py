"""``python -m tests.endurance [--minutes 30] [--nodes N]``: does anything grow in half an hour?

The product with everything on, while clients come and go in every way: a server that speaks JSON
and one that speaks MessagePack, each with its own disk; or, with --nodes, servers that share a
Redis. What was measured is printed; the exit code is 1 if anything was wrong.
"""

import argparse
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import trio

from tests.endurance.soak import Length, play
from tests.redis_server import running_redis


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance")
    whole = Length()
    parser.add_argument(
        "--minutes", type=float, default=whole.minutes, help="how long clients come"
    )
    parser.add_argument("--nodes", type=int, default=whole.nodes, help="that share a Redis")
    parser.add_argument("--clients", type=int, default=whole.clients, help="at a time")
    parser.add_argument("--per-s", type=float, default=whole.per_s, help="that come, at most")
    parser.add_argument("--seed", type=int, default=whole.seed, help="of the dice")
    asked = parser.parse_args()
    length = Length(**vars(asked))
    # As Ctrl-C, which trio delivers where all servers are ended; an exception anywhere would not.
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells may have ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        running_redis() if length.nodes else nullcontext() as redis,
    ):
        url = "" if redis is None else redis.url
        report = trio.run(play, length, Path(folder), url, _tell)
    _tell(report.tell())
    _tell("nothing has grown" if not report.faults else "FAILED: see above")
    return bool(report.faults)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
