"""Tasks that publish to Redis: python -m bench.publishers CLIENT PATH SECONDS WARMUP

CLIENT is ours, awaited (ours, too), threads (redis-py) or coredis; PATH is the Unix socket of a
server. Each of 64 tasks or threads publishes a message and goes on: ours with `Redis.publish`,
which does not wait, and all others when Redis has answered. Only what Redis has taken counts. The
messages of a second are written as JSON. This runs in the environment of the client, so it imports
nothing of the bench.
"""

import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable

TASKS = 64
CHANNEL = "bench"
PAYLOAD = b"x" * 120


class Counter:
    """Counts messages in a window of time.

    Args:
        warmup_s: how long nothing is counted.
        seconds: how long it is counted then.
    """

    def __init__(self, warmup_s: float, seconds: float) -> None:
        self._seconds = seconds
        self.begins = time.monotonic() + warmup_s
        self.ends = self.begins + seconds
        self.counts = [0] * TASKS

    def goes_on(self, task: int) -> bool:
        """Count a message of a task; whether it is to publish another."""
        now = time.monotonic()
        if now >= self.begins:
            self.counts[task] += 1
        return now < self.ends

    @property
    def per_second(self) -> float:
        return sum(self.counts) / self._seconds


async def _publish(publish: Callable[[], Awaitable[object]], counter: Counter, task: int) -> None:
    while counter.goes_on(task):
        await publish()


def ours(path: str, make: Callable[[], Counter]) -> Counter:
    import trio

    from trio_socketio import open_redis

    async def main() -> Counter:
        async with open_redis(f"unix://{path}") as redis:
            counter = make()

            async def publish() -> None:
                while not redis.publish(CHANNEL, PAYLOAD):  # noqa: ASYNC110 - the queue is full
                    await trio.sleep(0.001)
                await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as nursery:
                for task in range(TASKS):
                    nursery.start_soon(_publish, publish, counter, task)
                await trio.sleep(counter.begins - time.monotonic())
                before = redis.statistics().published
                await trio.sleep(counter.ends - time.monotonic())
                taken = redis.statistics().published - before
        counter.counts = [taken]
        return counter

    return trio.run(main)


def awaited(path: str, make: Callable[[], Counter]) -> Counter:
    import trio

    from trio_socketio import open_redis

    async def main() -> Counter:
        async with open_redis(f"unix://{path}") as redis:
            counter = make()
            async with trio.open_nursery() as nursery:
                for task in range(TASKS):
                    nursery.start_soon(
                        _publish, lambda: redis.execute("PUBLISH", CHANNEL, PAYLOAD), counter, task
                    )
        return counter

    return trio.run(main)


def coredis(path: str, make: Callable[[], Counter]) -> Counter:
    import trio
    from coredis import Redis  # type: ignore[import-not-found] # it is in the peers' environment

    async def main() -> Counter:
        async with Redis(unix_socket_path=path) as client:
            counter = make()
            async with trio.open_nursery() as nursery:
                for task in range(TASKS):
                    nursery.start_soon(
                        _publish, lambda: client.publish(CHANNEL, PAYLOAD), counter, task
                    )
        return counter

    return trio.run(main)


def threads(path: str, make: Callable[[], Counter]) -> Counter:
    import redis

    client = redis.Redis(unix_socket_path=path, max_connections=TASKS)
    counter = make()

    def publish(task: int) -> None:
        while counter.goes_on(task):
            client.publish(CHANNEL, PAYLOAD)

    started = [threading.Thread(target=publish, args=(task,)) for task in range(TASKS)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return counter


CLIENTS = {"ours": ours, "awaited": awaited, "threads": threads, "coredis": coredis}


def main(client: str, path: str, seconds: str, warmup: str) -> None:
    counter = CLIENTS[client](path, lambda: Counter(float(warmup), float(seconds)))
    print(json.dumps(counter.per_second))


if __name__ == "__main__":
    main(*sys.argv[1:])
