"""The nodes of a deployment, and what drives them through a proxy."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import trio
from tests.cli_process import ServingProcess, serving
from tests.crowd import Closed, Member, Polling
from tests.deployment.proxies import ADDRESSES, NAMES, Place
from tests.interop.drivers import SERVE, driver_command
from tests.interop.matrix import CLIENTS
from tests.interop.server_process import ROOT

from trio_socketio.control import open_control

LIMIT_S: Final = 110.0
TRANSPORTS: Final = ("polling", "upgrade", "websocket")
DRIVEN: Final = (
    "socket.io-client",
    "socket.io-client-3",
    "socket.io-client-2",
    "socket.io-client-1",
)
SCENARIOS: Final = (
    *("text", "binary", "large_text", "ack_from_server", "ack_from_client"),
    *("order_of_a_burst", "order_of_a_burst_from_server", "namespaces_two_at_once"),
    *("heartbeat", "disconnect_by_client", "disconnect_by_server_with_connection"),
)
"""Several clients may run these side by side."""
POLLING_IN: Final = 10  # one in so many
AT_A_TIME: Final = 100


@asynccontextmanager
async def open_node(
    name: str, place: Place, *arguments: str, app: str = ""
) -> AsyncIterator[ServingProcess]:
    """Start a node with the configuration of ``init --deploy``."""
    own = ("--app", app, *SERVE) if app else ()
    command = ("--config", str(place.configure(name)), *own, *arguments)
    async with serving(
        *command, cwd=ROOT if app else place.folder, port=place.port, limit_s=LIMIT_S
    ) as node:
        yield node


@asynccontextmanager
async def open_nodes(place: Place, app: str = "") -> AsyncIterator[dict[str, ServingProcess]]:
    """Start all nodes, and wait until they serve."""
    async with AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(open_node(name, place, app=app))
            for name in NAMES[: place.nodes]
        }
        for name, node in nodes.items():
            assert ADDRESSES[name] in await node.wait_url()
        yield nodes


async def drive_official_clients(url: str) -> list[str]:
    """Run the scenarios with official clients of all versions; return what has failed."""
    failures: list[str] = []
    lanes = trio.CapacityLimiter(3)

    async def drive(name: str, transport: str) -> None:
        (client,) = [client for client in CLIENTS if client.name == name]
        scenarios = [scenario for scenario in SCENARIOS if scenario not in client.cannot]
        command = driver_command(client, url, scenarios, transport)
        async with lanes:
            done = await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
            )
        said = [json.loads(line) for line in done.stdout.splitlines()]
        errors = {**dict.fromkeys(scenarios, done.stderr.decode()[-1000:] or "not reported")}
        errors.update((one["scenario"], one["error"]) for one in said)
        failures.extend(
            f"{name}, {transport}, {at}: {error}" for at, error in errors.items() if error
        )

    async with trio.open_nursery() as nursery:
        for name in DRIVEN:
            for transport in TRANSPORTS:
                nursery.start_soon(drive, name, transport)
    return failures


class BrowserPolling(Polling):
    """Connects again as browsers do: a proxy may close a connection between two requests."""

    async def _request(self, method: str, body: str = "") -> str:
        try:
            head, answer = await self._ask(method, body)
        except (Closed, trio.BrokenResourceError):
            await self.pipe.reopen()
            head, answer = await self._ask(method, body)
        if "\r\nconnection: close\r\n" in head:
            await self.pipe.reopen()
        return answer


class BrowserMember(Member):
    """A client of the crowd that does so."""

    polling = BrowserPolling


class Crowd:
    """Many clients that come over TLS: one in ten on long-polling, the others on WebSocket."""

    def __init__(self, place: Place) -> None:
        self.members: list[Member] = []
        self._place = place
        self._joined = trio.Semaphore(0)

    async def grow(self, nursery: trio.Nursery, count: int) -> None:
        """Have clients come until there are so many."""
        while len(self.members) < count:
            for _ in range(min(AT_A_TIME, count - len(self.members))):
                member = BrowserMember(is_polling=len(self.members) % POLLING_IN == 0)
                self.members.append(member)
                nursery.start_soon(member.stay, self._place.https, self._place.trust, self._joined)
            await self.wait_joined(min(AT_A_TIME, count))

    async def wait_joined(self, count: int) -> None:
        for _ in range(count):
            await self._joined.acquire()

    async def check_all_answer(self) -> None:
        """Every client answers, on whatever node it is."""
        async with open_control(self._place.control("a")) as backend:
            answered: Any = await backend.call(
                "emit_with_ack", {"event": "roll call", "all": True, "timeout_s": 10}
            )
        assert answered["unanswered"] == []
        assert len(answered["answers"]) == len(self.members), answered["missing"]

    def lost(self) -> list[Member]:
        """Those whose connection was closed at some time."""
        return [member for member in self.members if member.closes]
