"""Official clients against nodes without sticky sessions: rows of the matrix of tests/interop."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio
from tests.interop.drivers import driver_command
from tests.interop.matrix import CLIENTS, TRANSPORTS, Client, Family, cells_of
from tests.interop.server_process import ROOT

AT_ONCE: Final = 3
ROW_S: Final = 60.0

_JAVASCRIPT: Final = (
    "text binary large_text ack_from_server ack_from_client ack_from_client_binary gathered_acks"
    " order_of_a_burst order_of_a_burst_from_server order_while_connecting namespaces_two_at_once"
    " rooms_except_sender rooms_every_member heartbeat disconnect_by_client"
    " disconnect_by_server_with_connection"
)
SHORT: Final = {
    Family.V5: f"{_JAVASCRIPT} auth refused",
    Family.V4: f"{_JAVASCRIPT} legacy_mixed_room legacy_ids legacy_refused",
    Family.PYTHON: "text binary binary_from_server large_text order_of_a_burst ack_from_server"
    " ack_from_client gathered_acks auth refused rooms heartbeat disconnect_by_client"
    " disconnect_by_server_with_connection",
    Family.ENGINE: "engine_handshake engine_text engine_binary engine_while_upgrading"
    " engine_heartbeat engine_closed_by_server engine_broken_packet",
    Family.PYTHON_ENGINE: "engine_handshake engine_text engine_binary engine_burst"
    " engine_heartbeat engine_closed_by_server engine_broken_packet",
}
"""What proves most, by family: these scenarios of several clients may run side by side."""
ON_ONE_NODE: Final = {
    "engine_closed_by_client": "the app tells it to a session of the same process",
    "reconnection": "the driver restarts the only server",
}
"""Scenarios that cannot be run against several nodes, and why."""

JSONP: Final = Client(
    "JSONP",
    Family.V4,
    ("socket.io-client-2",),
    loader="./jsonp.mjs",
    serve=("--allow-eio3",),
    lacks=dict.fromkeys(("upgrade", "websocket"), "it is a kind of polling"),
    cannot={"too_large": "a page is not told of the status that a form was answered with"},
)


@dataclass(frozen=True)
class Row:
    """An official client on a transport, and what it does there."""

    client: Client
    transport: str
    scenarios: tuple[str, ...]


def named(name: str) -> Client:
    """A client of the matrix."""
    (client,) = [client for client in CLIENTS if client.name == name]
    return client


def short_row(client: Client, transport: str) -> Row:
    scenarios = [name for name in SHORT[client.family].split() if name not in client.cannot]
    return Row(client, transport, tuple(scenarios))


def all_rows() -> Iterable[Row]:
    """The whole matrix, but what cannot be run against several nodes, and JSONP."""
    for client in (*CLIENTS, JSONP):
        for transport in TRANSPORTS:
            scenarios = [name for cell in cells_of(client, transport) for name in cell.scenarios]
            if kept := tuple(name for name in scenarios if name not in ON_ONE_NODE):
                yield Row(client, transport, kept)


async def drive(url: str, row: Row) -> list[str]:
    """Run the scenarios of a row; return what has failed."""
    command = driver_command(row.client, url, row.scenarios, row.transport)
    errors: dict[str, str | None] = dict.fromkeys(row.scenarios, "not reported")
    with trio.move_on_after(ROW_S):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
        )
        for line in done.stdout.splitlines():
            said: dict[str, Any] = json.loads(line)
            errors[said["scenario"]] = said["error"]
    where = f"{row.client.name}, {row.transport}"
    return [f"{where}, {name}: {error}" for name, error in errors.items() if error]


async def drive_all(url: str, rows: Iterable[Row], at_once: int = AT_ONCE) -> list[str]:
    """Run rows, some at once; return what has failed."""
    failures: list[str] = []
    lanes = trio.CapacityLimiter(at_once)

    async def run(row: Row) -> None:
        async with lanes:
            failures.extend(await drive(url, row))

    async with trio.open_nursery() as nursery:
        for row in rows:
            nursery.start_soon(run, row)
    return failures
