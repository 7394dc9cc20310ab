"""Three nodes that pass requests on to one another, behind a balancer that knows no sessions."""

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
from tests.cli_process import ServingProcess, serving
from tests.cluster.balancer import Balancer, open_balancer
from tests.interop.server_process import ROOT
from tests.redis_server import RedisServer

PREFIXES: Final = {"a": "aaaa", "b": "bbbb", "c": "cccc"}
SECRET: Final = "a secret of the nodes of a test, and of no others"
KEY: Final = "TRIO_SOCKETIO__CLUSTER__KEY"
REDIS_PREFIX: Final = "TRIO_SOCKETIO__REDIS__PREFIX"
SID_PREFIX: Final = "TRIO_SOCKETIO__ENGINE__SID_PREFIX"
LIMIT_S: Final = 120.0
INTERNAL: Final = ("--internal", "127.0.0.1:0")


@dataclass(frozen=True)
class Nodes:
    """The nodes by their names, and the balancer in front of them."""

    processes: dict[str, ServingProcess]
    balancer: Balancer
    ended: dict[str, trio.Event]

    def log(self, name: str) -> str:
        return "\n".join(self.processes[name].log)

    async def end(self, name: str, number: signal.Signals) -> None:
        """Send a node a signal, and wait until it has ended; it gets no request meanwhile.

        This is what a balancer does that asks for /readyz. Once the node has ended, it takes no
        connection.
        """
        self.balancer.targets[name].is_down = True
        self.processes[name].process.send_signal(number)
        await self.ended[name].wait()
        self.balancer.targets[name].is_down = False

    async def follow(self, name: str) -> None:
        """Read the log of a node until it ends: nobody else does."""
        await self.processes[name].wait_end()
        self.ended[name].set()


@asynccontextmanager
async def open_nodes(
    redis: RedisServer,
    folder: Path,
    app: str = "",
    *arguments: str,
    cluster: str = "",
    ports: Mapping[str, int] | None = None,
) -> AsyncIterator[Nodes]:
    """Start nodes and a balancer, and end them with the block.

    Args:
        redis: that they share.
        folder: for their secret.
        app: what they serve; the lobby by default.
        arguments: further ones of ``serve``.
        cluster: keeps them apart from others that have the same Redis.
        ports: where they listen; free ones by default.
    """
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    own = ("--app", app) if app else ()
    shared = ("--redis", redis.url, *INTERNAL, "--cluster-secret-file", str(secret))
    apart = {KEY: f"cluster{cluster}", REDIS_PREFIX: f"cluster{cluster}:"} if cluster else {}
    asked = ports or dict.fromkeys(PREFIXES, 0)
    async with AsyncExitStack() as stack:
        processes = {
            name: await stack.enter_async_context(
                serving(
                    *("--node", name, *own, *shared, *arguments),
                    cwd=ROOT,
                    port=port,
                    limit_s=LIMIT_S,
                    variables={SID_PREFIX: PREFIXES[name], **apart},
                )
            )
            for name, port in asked.items()
        }
        found = {name: await process.wait_port() for name, process in processes.items()}
        async with open_balancer(found) as balancer, trio.open_nursery() as reading:
            nodes = Nodes(processes, balancer, {name: trio.Event() for name in found})
            for name in processes:
                reading.start_soon(nodes.follow, name)
            yield nodes
            reading.cancel_scope.cancel()
