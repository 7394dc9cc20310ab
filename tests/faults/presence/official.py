"""Two official Node servers that share the Redis with our nodes, undisturbed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from tests.faults.presence.world import World
from tests.interop.redis_cluster import Chosen, NodeProcess, node_process

KEY: Final = "socket.io"
CHAT: Final = Chosen("/chat", rooms=("ticked",))
CALLS_S: Final = 10.0


@asynccontextmanager
async def official_servers(world: World) -> AsyncIterator[None]:
    """Have them on the bus for a block; see that both can still do their work at its end."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(node_process(world.redis, KEY, name))
            for name in ("node 1", "node 2")
        ]
        ours = len(world.nodes)
        await _check(world, servers, ours, "before")
        yield
        ours = sum(node.is_up for node in world.nodes.values())
        await _check(world, servers, ours, "after")


async def _check(world: World, servers: list[NodeProcess], ours: int, when: str) -> None:
    first, second = servers
    count = 0
    with trio.move_on_after(CALLS_S):
        while (count := await first.count("/chat")) != ours + 2:  # noqa: ASYNC110 - none tells
            await trio.sleep(0.05)
    await first.tell("/chat", "hello", when)
    await trio.sleep(0.2)
    heard = await second.heard()
    before = len(world.crowd.notes)
    await world.crowd.tell("watch", ports=world.ports())
    await trio.sleep(0.2)  # it is told so by another way than its clients are
    await first.emit(CHAT, "from node", when)
    wanted = sum(user.endswith("0") for user in world.crowd.inside)
    await world.crowd.wait_until(lambda: _got(world, before, when) >= wanted, CALLS_S)
    got = _got(world, before, when)
    is_right = count == ours + 2 and heard == [["/chat", when]] and got == wanted
    world.note(
        f"two servers of Node, {when}",
        f"{ours + 2} servers, {wanted} clients reached",
        f"{count} servers, {got} clients reached",
        is_right=is_right,
    )
    await world.crowd.tell("watch", ports=[])


def _got(world: World, since: int, what: str) -> int:
    text = f'["from node","{what}"]'
    return sum(note.why.endswith(text) for note in world.crowd.notes[since:] if note.do == "got")
