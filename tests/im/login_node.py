"""A node with seats in a process of its own: ``python -m tests.im.login_node NAME REDIS REPORT``.

REDIS is a URL, or empty for a store in memory. It prints a line of JSON with its port once it
serves. It follows the logs all the time and compares them with the state at the same cursors. A
line on its standard input asks it to wait until nobody is in or online any more, and to write to
REPORT what it has seen; it prints another line then. It ends with its standard input.
"""

import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio
from tests.crowd import need_descriptors
from tests.im.barrier_clients import RULES
from tests.im.inside import Inside, Stay
from tests.im.presence_reader import Reader

from trio_socketio import (
    Joining,
    JoiningState,
    Server,
    ServerOptions,
    Step,
    open_redis,
    open_server,
)
from trio_socketio.im.presence import Entry, MemoryStore, Presence, PresenceStore
from trio_socketio.im.presence.redis_store import RedisStore

log = logging.getLogger(__name__)

DESCRIPTORS: Final = 10_000
LEASE_S: Final = 10.0
LOOKS_S: Final = 0.2
SLOW_S: Final = 3.0
SETTLES_S: Final = 30.0
OPTIONS: Final = ServerOptions(
    allow_eio3=True, ping_interval_s=5, ping_timeout_s=20, stop_grace_s=1, stop_flush_s=1
)


class Seen(msgspec.Struct):
    """What a node has seen of a namespace.

    Args:
        entries: the whole log.
        stays: who was in on this node.
        complaints: whatever is wrong.
    """

    entries: list[Entry]
    stays: list[Stay]
    complaints: list[str]


class LoginNode:
    """A server with the namespaces of RULES.

    Args:
        name: of the node.
        store: has the seats.
    """

    def __init__(self, name: str, store: PresenceStore) -> None:
        self.server = Server(OPTIONS)
        self.inside = {namespace: Inside(rule.most) for namespace, rule in RULES.items()}
        self.readers = {namespace: Reader(store, namespace, page=500) for namespace in RULES}
        presence = Presence(self.server, store, node=name)
        for namespace, rule in RULES.items():
            space, inside = self.server.of(namespace), self.inside[namespace]
            space.add_steps([Step(JoiningState.AUTHENTICATING, identify)])
            space.on("here")(inside.answer)
            presence.seat(namespace, policy=rule.policy, maximum=rule.most)
            space.observe(inside)

    async def follow(self) -> None:
        """Compare the logs with the state again and again, as they grow (I1 to I4, I8)."""
        while True:
            began = trio.current_time()
            for reader in self.readers.values():
                await reader.follow()
            ended = trio.current_time()
            await trio.sleep(LOOKS_S)
            late_s = trio.current_time() - ended - LOOKS_S
            if ended - began > SLOW_S or late_s > SLOW_S:
                log.warning("reading took %.1f s; %.1f s late", ended - began, late_s)

    async def settle(self) -> None:
        """Wait until nobody is in on this node, and nobody is online anywhere."""
        with trio.move_on_after(SETTLES_S):
            while not self._is_empty():  # noqa: ASYNC110 - nothing tells of all of it
                await trio.sleep(LOOKS_S / 10)

    def _is_empty(self) -> bool:
        is_in = any(inside.by_user for inside in self.inside.values())
        return not is_in and not any(reader.users for reader in self.readers.values())

    async def report(self) -> dict[str, Seen]:
        """Return what was seen of each namespace, up to now."""
        seen = {}
        for namespace, reader in self.readers.items():
            await reader.follow()
            inside = self.inside[namespace]
            complaints = list(inside.complaints)
            if inside.by_user or reader.users:  # I6
                left = list(inside.by_user)[:3], list(reader.users)[:3]
                complaints.append(f"left behind: in {left[0]}, online {left[1]}")
            seen[namespace] = Seen(reader.entries, inside.stays, complaints)
        return seen


def identify(joining: Joining) -> None:
    """Take clients at their word."""
    joining.identify(joining.auth["user"])


@asynccontextmanager
async def open_store(redis: str) -> AsyncIterator[PresenceStore]:
    """A store in memory, or that of a Redis."""
    if not redis:
        yield MemoryStore()
        return
    async with open_redis(redis) as connection:
        yield RedisStore(connection, lease_s=LEASE_S)


async def main(name: str, redis: str, report: trio.Path) -> None:
    need_descriptors(DESCRIPTORS)
    async with open_store(redis) as store:
        node = LoginNode(name, store)
        async with (
            open_server(node.server, port=0) as addresses,
            trio.lowlevel.FdStream(os.dup(0)) as asked,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.follow)
                tell(json.dumps({"port": addresses[0][1]}))
                if not await asked.receive_some():
                    return
                await node.settle()
                nursery.cancel_scope.cancel()
            await report.write_bytes(msgspec.msgpack.encode(await node.report()))
            tell("done")
            await asked.receive_some()


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
    trio.run(main, sys.argv[1], sys.argv[2], trio.Path(sys.argv[3]))
