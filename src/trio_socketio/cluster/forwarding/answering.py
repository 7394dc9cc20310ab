"""The connections of other nodes, and the requests that these pass on."""

import secrets
from ssl import SSLError
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.http.exchange import HttpReceiver
from trio_socketio.http.request_head import MAX_HEAD_BYTES
from trio_socketio.net.faults import explain_fault
from trio_socketio.protocol.forwarding import (
    NONCE_BYTES,
    PULSE,
    Answerer,
    Arrived,
    Refused,
    State,
)

if TYPE_CHECKING:
    from trio_socketio.http.error_answers import ErrorHeaders
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection

OPENING_S: Final = 2.0
"""How long a node may take until it has proven itself, and has sent something with that."""
KEPT_S: Final = 60.0
"""How long a connection is kept that carries nothing; the other side ends it before."""
REQUEST_S: Final = 10.0
"""How long a request may take to arrive whose line has come, once anything was proven."""
_HEAD_BYTES: Final = MAX_HEAD_BYTES + 256


class Owner(Protocol):
    """The node."""

    max_body_bytes: int

    @property
    def error_headers(self) -> "ErrorHeaders":
        """Gives the headers of errors."""

    def opening(self) -> tuple[str, str, tuple[bytes, ...]]:
        """Return the name and the process of this node, and the secrets."""

    def opening_refused(self, address: str, refused: Refused, /) -> None:
        """Count and log that the connection of another node is refused."""

    def receive_forwarded(self, request: "Request", /) -> None:
        """Answer a request that another node has passed on."""


class Answering:
    """The receiver of a connection of another node.

    Args:
        owner: this node.
        connection: was just accepted.
    """

    __slots__ = ("_arrived", "_connection", "_http", "_machine", "_owner")

    def __init__(self, owner: Owner, connection: "Connection") -> None:
        self._owner = owner
        self._connection = connection
        name, boot, accepted = owner.opening()
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._machine = Answerer(name, boot, accepted, nonce, _HEAD_BYTES, owner.max_body_bytes)
        self._arrived: Arrived | None = None
        self._http = HttpReceiver(
            connection, self._take_request, OPENING_S, KEPT_S, owner.error_headers
        )

    def receive_data(self, data: bytes) -> None:
        machine, connection = self._machine, self._connection
        if machine.state is State.BUSY and self._http.is_at_rest:
            machine.rest()
        was_coming = machine.is_coming and machine.is_proven
        try:
            events = machine.receive(data)
        except Refused as refused:
            self._owner.opening_refused(connection.address, refused)
            self._http.connection_lost("parse error")
            connection.write(refused.line)
            connection.finish()
            return
        for event in events:
            if event.answer:
                connection.write(event.answer)
            if event.answer == PULSE:  # the first line that proves something
                connection.set_deadline(trio.current_time() + KEPT_S)
            if event.releases:
                self._http.release()
            if event.arrived is not None:
                self._arrived = event.arrived
                self._http.receive_data(event.arrived.data)
        # Until then it has the time of its opening: whoever has recorded a hello can repeat it.
        if machine.is_coming and machine.is_proven and not was_coming:
            connection.set_deadline(trio.current_time() + REQUEST_S)

    def _take_request(self, request: "Request") -> None:
        arrived, self._arrived = self._arrived, None
        if arrived is None:  # more than one request came in place of one
            self._connection.lose("parse error")
            return
        request.address, request.secure = arrived.address, arrived.secure  # FWD-31
        request.is_forwarded = True
        self._owner.receive_forwarded(request)

    def receive_more(self) -> None:
        self._http.receive_more()

    def connection_lost(self, reason: str) -> None:
        if not self._machine.is_proven:  # FWD-53
            self._owner.opening_refused(self._connection.address, self._explain_loss(reason))
        self._http.connection_lost(reason)

    def _explain_loss(self, reason: str) -> Refused:
        fault = self._connection.fault
        if reason == "timeout":
            return Refused("late", f"it has not proven within {OPENING_S:g} s that it is a node")
        if isinstance(fault, SSLError):
            return Refused("tls", explain_fault(fault))
        words = "it has left before it had proven that it is a node"
        return Refused("lost", words if fault is None else f"{words}: {explain_fault(fault)}")
