"""Who is let in, and what answers carry: decided by the engine alone, or by hooks as well.

`engine/hook_admission.py` is the admission of a program that has hooks.
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
    """The engine, as far as admission goes."""

    options: "EngineOptions"
    poller: "Poller"
    cors: "Cors"
    sessions: "dict[str, Session]"

    def verify(self, request: "Request", *, upgrade: bool) -> "Refusal | None":
        """Why Engine.IO does not allow this request, if it does not."""

    def refuse(
        self, request: "Request", refusal: "Refusal", context: str = "", *, upgrade: bool
    ) -> None:
        """Answer a request with an error."""

    def serve(self, request: "Request", *, upgrade: bool) -> None:
        """Take a request that was admitted."""


class Admission(Protocol):
    """Decides about requests, and has a say in their answers."""

    def receive(self, request: "Request", *, upgrade: bool) -> None:
        """Have the request served or refused, now or later."""

    def headers(self, request: "Request") -> "Headers":
        """What every answer carries."""

    def packet_headers(self, request: "Request") -> "Headers":
        """What an answer carries that is no error."""

    def switching_headers(self, request: "Request") -> "Headers":
        """What a 101 answer carries besides its own."""

    def name_session(self, request: "Request", sid: str) -> str:
        """The sid of the session that the request opens; the given one is random."""

    def session_opened(self, session: "Session") -> None:
        """A session has opened, and its listener is there."""

    def request_refused(self, request: "Request", refusal: "Refusal", context: str) -> None:
        """A request is about to be answered with an error."""


class PlainAdmission:
    """Lets in whom Engine.IO allows.

    Args:
        gate: see Gate.
    """

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def receive(self, request: "Request", *, upgrade: bool) -> None:
        """See Admission."""
        refusal = self._gate.verify(request, upgrade=upgrade)
        if refusal is not None:
            self._gate.refuse(request, refusal, upgrade=upgrade)
        else:
            self._gate.serve(request, upgrade=upgrade)

    def headers(self, request: "Request") -> "Headers":
        """See Admission."""
        return self._gate.cors.headers(request)

    packet_headers = headers

    def switching_headers(self, request: "Request") -> "Headers":
        """See Admission."""
        return ()

    def name_session(self, request: "Request", sid: str) -> str:
        """See Admission."""
        return sid

    def session_opened(self, session: "Session") -> None:
        """See Admission."""

    def request_refused(self, request: "Request", refusal: "Refusal", context: str) -> None:
        """See Admission."""
