"""What is driven against the server: clients, transports and features; each meeting is a cell.

A client and a transport are a row. Which scenarios prove a feature depends on the client's family;
they are named here and written in ``scenarios/`` (for ``client.mjs``) or ``python_scenarios.py``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

TRANSPORTS: Final = ("polling", "websocket", "upgrade")


class Family(Enum):
    """Clients that can be asked the same."""

    V5 = "Socket.IO v5, in JavaScript"
    V4 = "Socket.IO v4, in JavaScript"
    PYTHON = "Socket.IO v5, in Python"
    ENGINE = "Engine.IO, in JavaScript"
    PYTHON_ENGINE = "Engine.IO, in Python"

    @property
    def in_python(self) -> bool:
        return self in {Family.PYTHON, Family.PYTHON_ENGINE}


@dataclass(frozen=True, eq=False)
class Client:
    """Rows of the matrix, one for each transport.

    Args:
        name: for people who name a test; a module for ``client.mjs`` unless there is a loader.
        family: decides which scenarios it runs.
        packages: whose versions tell what was driven: names below ``node_modules``, or on PyPI.
        loader: what the driver loads.
        note: what else is special about it.
        serve: arguments that its server needs.
        lacks: transports that it does not have, and why.
        cannot: scenarios that others of its family run, and why it does not.
    """

    name: str
    family: Family
    packages: tuple[str, ...] = ()
    loader: str = ""
    note: str = ""
    serve: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packages", self.packages or (self.name,))
        object.__setattr__(self, "loader", self.loader or self.name)


class NotApplicable(str):
    """Why a family has no such feature."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Feature:
    """A column.

    Args:
        name: of the column.
        proves: what a cell that passes means.
        by: the scenarios of each family, or why it has none; a family that is not named has
            another table, without this column.
    """

    name: str
    proves: str
    by: Mapping[Family, str | NotApplicable]


@dataclass(frozen=True)
class Cell:
    """A client, by a transport, with a feature."""

    client: Client
    transport: str
    feature: Feature

    def __str__(self) -> str:
        return f"{self.client.name}-{self.transport}-{self.feature.name}".replace(" ", "_")

    @property
    def missing(self) -> str:
        """Why there is nothing to run; empty if there is something."""
        found = self.feature.by[self.client.family]
        reason = found if isinstance(found, NotApplicable) else ""
        return self.client.lacks.get(self.transport, reason)

    @property
    def scenarios(self) -> tuple[str, ...]:
        if self.missing:
            return ()
        named = self.feature.by[self.client.family].split()
        return tuple(name for name in named if name not in self.client.cannot)


EIO3: Final = ("--allow-eio3",)
NO_POLLING: Final = "mini programs have no XMLHttpRequest"
ONLY_WEBSOCKET: Final = {"polling": NO_POLLING, "upgrade": NO_POLLING}

CLIENTS: Final = (
    Client("socket.io-client", Family.V5),
    Client(
        "msgpack",
        Family.V5,
        ("socket.io-client", "socket.io-msgpack-parser"),
        loader="./msgpack.mjs",
        serve=("--parser", "msgpack"),
        cannot={
            "huge_numbers": "its encoder cuts whole numbers to 64 bits",
            "lone_surrogates": "its encoder takes the next character for the other half",
            "binary_kinds": "its encoder sends the whole buffer that a view shows part of",
            "large_text": "MessagePack is base64 on polling: over our limit",
            "large_wide_text": "MessagePack is base64 on polling: over our limit",
        },
    ),
    Client("socket.io-client-4-0", Family.V5),
    Client("socket.io-client-3", Family.V5),
    Client("socket.io-client-2", Family.V4, serve=EIO3),
    Client(
        "socket.io-client-1",
        Family.V4,
        serve=EIO3,
        cannot={
            "binary_kinds": "it takes Buffers and ArrayBuffers for binary, no other views",
            "binary_seen_by_server": "it takes Buffers and ArrayBuffers for binary, no other views",
            "large_wide_text": "it encodes text twice in UTF-8 on polling: over our limit",
        },
    ),
    Client(
        "weapp.socket.io",
        Family.V5,
        loader="./mini_program.mjs?weapp.socket.io",
        note="mini program",
        lacks=ONLY_WEBSOCKET,
    ),
    Client(
        "weapp.socket.io-2",
        Family.V4,
        loader="./mini_program.mjs?weapp.socket.io-2",
        note="mini program",
        serve=EIO3,
        lacks=ONLY_WEBSOCKET,
    ),
    Client("socketio.Client", Family.PYTHON, ("python-socketio",), note="Client"),
    Client("socketio.AsyncClient", Family.PYTHON, ("python-socketio",), note="AsyncClient"),
    Client("engine.io-client", Family.ENGINE),
    Client("engine.io-client-5", Family.ENGINE),
    Client("engine.io-client-4", Family.ENGINE),
    Client("engine.io-client-3", Family.ENGINE, serve=EIO3),
    Client("engineio.Client", Family.PYTHON_ENGINE, ("python-engineio",), note="Client"),
    Client("engineio.AsyncClient", Family.PYTHON_ENGINE, ("python-engineio",), note="AsyncClient"),
)

FEATURES: Final = (
    Feature(
        "handshake",
        "What the server tells about itself, and the upgrade that it offers.",
        {Family.ENGINE: "engine_handshake", Family.PYTHON_ENGINE: "engine_handshake"},
    ),
    Feature(
        "text",
        "Every JSON value and script, alone and many at once, up to 900 kB, both ways.",
        {
            Family.V5: "text huge_numbers unicode unicode_together lone_surrogates large_text"
            " large_wide_text",
            Family.V4: "text huge_numbers unicode unicode_together large_text large_wide_text",
            Family.PYTHON: "text unicode lone_surrogates large_text simple_client",
            Family.ENGINE: "engine_text",
            Family.PYTHON_ENGINE: "engine_text",
        },
    ),
    Feature(
        "binary",
        "Binary of every kind and size, nested, between text, both ways.",
        {
            Family.V5: "binary binary_kinds binary_seen_by_server binary_from_server binary_mixed"
            " large_binary",
            Family.V4: "binary binary_kinds binary_seen_by_server binary_from_server binary_mixed"
            " large_binary legacy_base64",
            Family.PYTHON: "binary binary_from_server large_binary",
            Family.ENGINE: "engine_binary",
            Family.PYTHON_ENGINE: "engine_binary",
        },
    ),
    Feature(
        "order",
        "Nothing lost, doubled or overtaken: in bursts, and while the transport changes.",
        {
            Family.V5: "order_of_a_burst order_of_a_burst_from_server order_while_connecting",
            Family.V4: "order_of_a_burst order_of_a_burst_from_server order_while_connecting",
            Family.PYTHON: "order_of_a_burst",
            Family.ENGINE: "engine_while_upgrading",
            Family.PYTHON_ENGINE: "engine_burst",
        },
    ),
    Feature(
        "client asks",
        "The server's acknowledgements: with any arguments, late, and never.",
        {
            Family.V5: "ack_from_server ack_many_at_once ack_from_server_late ack_never",
            Family.V4: "ack_from_server ack_many_at_once ack_from_server_late ack_never",
            Family.PYTHON: "ack_from_server ack_from_server_late",
        },
    ),
    Feature(
        "server asks",
        "The client's acknowledgements: to one question, to a broadcast, late, and never.",
        {
            Family.V5: "ack_from_client ack_from_client_binary ack_from_client_late"
            " ack_client_leaves gathered_acks",
            Family.V4: "ack_from_client ack_from_client_binary ack_from_client_late"
            " ack_client_leaves gathered_acks",
            Family.PYTHON: "ack_from_client ack_from_client_late gathered_acks",
        },
    ),
    Feature(
        "namespaces",
        "Several on one connection, joined and left one by one, and made on demand.",
        {
            Family.V5: "namespaces_two_at_once namespaces_leave_one namespaces_only_another"
            " dynamic_namespaces",
            Family.V4: "namespaces_two_at_once namespaces_only_another dynamic_namespaces"
            " legacy_ids",
            Family.PYTHON: "namespaces dynamic_namespaces",
        },
    ),
    Feature(
        "auth",
        "What a client says of itself when it connects: auth, or the query of a namespace.",
        {
            Family.V5: "auth auth_by_function auth_none auth_of_each_namespace",
            Family.V4: "legacy_query",
            Family.PYTHON: "auth",
        },
    ),
    Feature(
        "refusal",
        "Connections refused by middleware, with data, and of unknown namespaces.",
        {
            Family.V5: "namespaces_unknown refused refused_by_async_middleware",
            Family.V4: "legacy_refused legacy_admitted",
            Family.PYTHON: "namespaces_unknown refused refused_by_async_middleware",
        },
    ),
    Feature(
        "event middleware",
        "Events changed and dropped on their way to the handler.",
        {
            Family.V5: "event_middleware",
            Family.V4: "event_middleware",
            Family.PYTHON: "event_middleware",
        },
    ),
    Feature(
        "rooms",
        "Broadcasts to rooms, but for the sender, after leaving, and to everybody.",
        {
            Family.V5: "rooms_membership rooms_except_sender rooms_every_member rooms_leave"
            " rooms_own rooms_everybody",
            Family.V4: "rooms_membership rooms_except_sender rooms_every_member rooms_leave"
            " rooms_own rooms_everybody legacy_mixed_room",
            Family.PYTHON: "rooms",
        },
    ),
    Feature(
        "volatile",
        "Events that may be dropped: in order, none twice, dropped when the way is full.",
        {
            Family.V5: "volatile_to_one volatile_to_room volatile_flood volatile_from_client",
            Family.V4: "volatile_to_one volatile_to_room volatile_flood",
            Family.PYTHON: "volatile",
        },
    ),
    Feature(
        "disconnection",
        "Either side ends it: both are told why, once, after what was sent before.",
        {
            Family.V5: "disconnect_by_client disconnect_by_server"
            " disconnect_by_server_with_connection disconnect_by_engine"
            " disconnect_right_after_emit disconnect_then_emit_to_room",
            Family.V4: "disconnect_by_client legacy_disconnected_by_server"
            " disconnect_by_server_with_connection disconnect_by_engine"
            " disconnect_right_after_emit disconnect_then_emit_to_room",
            Family.PYTHON: "disconnect_by_client disconnect_by_server"
            " disconnect_by_server_with_connection",
            Family.ENGINE: "engine_closed_by_client engine_closed_by_server",
            Family.PYTHON_ENGINE: "engine_closed_by_client engine_closed_by_server",
        },
    ),
    Feature(
        "bad input",
        "What is too large, or no packet, ends that connection and no other.",
        {
            Family.V5: "too_large",
            Family.V4: "too_large",
            Family.PYTHON: "too_large",
            Family.ENGINE: "engine_broken_packet engine_too_large",
            Family.PYTHON_ENGINE: "engine_broken_packet engine_too_large",
        },
    ),
    Feature(
        "heartbeat",
        "Pings and pongs, beside the rest of the traffic.",
        {
            Family.V5: "heartbeat",
            Family.V4: "heartbeat",
            Family.PYTHON: "heartbeat",
            Family.ENGINE: "engine_heartbeat",
            Family.PYTHON_ENGINE: "engine_heartbeat",
        },
    ),
    Feature(
        "reconnection",
        "The server stops in order, and crashes: the client is back when it is.",
        {
            Family.V5: "reconnection",
            Family.V4: "reconnection",
            Family.PYTHON: "reconnection",
        },
    ),
)

TABLES: Final = {
    "Socket.IO clients": (Family.V5, Family.V4, Family.PYTHON),
    "Engine.IO clients": (Family.ENGINE, Family.PYTHON_ENGINE),
}


def cells_of(client: Client, transport: str) -> Iterator[Cell]:
    """One row."""
    for feature in FEATURES:
        if client.family in feature.by:
            yield Cell(client, transport, feature)


def all_cells() -> Iterator[Cell]:
    """The whole matrix, row by row."""
    for client in CLIENTS:
        for transport in TRANSPORTS:
            yield from cells_of(client, transport)
