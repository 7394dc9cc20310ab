"""What an engine needs of whatever passes requests on to other nodes."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.http.error_answers import ErrorHeaders
    from trio_socketio.http.request import Request
    from trio_socketio.net.traffic import Traffic
    from trio_socketio.runtime.options import ConnectionLimits


class Gate(Protocol):
    """The engine, as far as forwarding needs it."""

    @property
    def options(self) -> "EngineOptions":
        """The options of the engine."""

    def refuse_foreign(self, request: "Request", /) -> None:
        """Answer that the session is unknown."""


class Forwarding(Protocol):
    """Passes requests on to the nodes of their sessions; see cluster/forwarding."""

    @property
    def prefix(self) -> str:
        """The 4 characters that the sids of this node start with."""

    def begin(
        self,
        receive_request: "Callable[[Request], None]",
        error_headers: "ErrorHeaders",
        max_body_bytes: int,
    ) -> None:
        """Hand requests that come from other nodes to a server from now on."""

    def forward(self, request: "Request", gate: Gate) -> bool:
        """Pass a request on to another node, if that is where it belongs.

        Returns:
            Whether it is answered elsewhere, or refused by way of the gate.
        """

    def limit(self, limits: "ConnectionLimits") -> None:
        """Use these bounds from now on."""

    def drain(self) -> "list[Callable[[], None]]":
        """Take no more; return what ends each request and WebSocket that leads to another node."""

    def traffic_apart(self) -> "list[Traffic]":
        """The numbers of the connections of other nodes that carry sessions of this one."""

    @property
    def incoming_count(self) -> int:
        """How many connections of other nodes are open."""
