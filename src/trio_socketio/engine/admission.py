"""Decides which requests are served, and which headers their answers carry.

Without hooks the engine decides alone, in `PlainAdmission`. `engine/hook_admission.py` is the
admission of a program that registered hooks.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trio_socketio.engine.handshake import Refusal
    from trio_socketio.engine.options import EngineOptions
    from trio_socketio.engine.session import Session
    from trio_socketio.http.cors import Cors
    from trio_socketio.http.request import Headers, Request
    from trio_socketio.runtime.poller import Poller


class Gate(Protocol):
    """The engine, as far as an admission needs it."""

    options: "EngineOptions"
    poller: "Poller"
    cors: "Cors"
    sessions: "dict[str, Session]"

    def verify(self, request: "Request", *, upgrade: bool) -> "Refusal | None":
        """Return why Engine.IO does not allow this request, or None if it does."""

    def refuse(
        self, request: "Request", refusal: "Refusal", context: str = "", *, upgrade: bool
    ) -> None:
        """Answer a request with an error."""

    def serve(self, request: "Request", *, upgrade: bool) -> None:
        """Serve a request that was admitted."""


class Admission(Protocol):
    """Admits or refuses requests, and adds headers to their answers."""

    def receive(self, request: "Request", *, upgrade: bool) -> None:
        """Have the request served or refused, now or in a later turn."""

    def headers(self, request: "Request") -> "Headers":
        """Return the headers that every answer to the request carries."""

    def packet_headers(self, request: "Request") -> "Headers":
        """Return the headers of an answer that is not an error."""

    def switching_headers(self, request: "Request") -> "Headers":
        """Return the headers that a 101 answer carries besides its own."""

    def name_session(self, request: "Request", sid: str) -> str:
        """Return the sid of the session that the request opens.

        Args:
            request: opens the session.
            sid: a random one, for an admission that has no better.
        """

    def session_opened(self, session: "Session") -> None:
        """Hear that a session has opened; its listener is set."""

    def request_refused(self, request: "Request", refusal: "Refusal", context: str) -> None:
        """Hear that a request is about to be answered with an error."""


class PlainAdmission:
    """Admits every request that Engine.IO allows.

    Args:
        gate: the engine.
    """

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def receive(self, request: "Request", *, upgrade: bool) -> None:
        """Serve or refuse the request at once."""
        refusal = self._gate.verify(request, upgrade=upgrade)
        if refusal is not None:
            self._gate.refuse(request, refusal, upgrade=upgrade)
        else:
            self._gate.serve(request, upgrade=upgrade)

    def headers(self, request: "Request") -> "Headers":
        """Return the CORS headers."""
        return self._gate.cors.headers(request)

    packet_headers = headers

    def switching_headers(self, request: "Request") -> "Headers":
        """Return nothing: CORS has no say in WebSocket handshakes."""
        return ()

    def name_session(self, request: "Request", sid: str) -> str:
        """Return the random sid."""
        return sid

    def session_opened(self, session: "Session") -> None:
        """Do nothing: there is no hook to tell."""

    def request_refused(self, request: "Request", refusal: "Refusal", context: str) -> None:
        """Do nothing: there is no hook to tell."""
