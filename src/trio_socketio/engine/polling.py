"""HTTP long-polling: one GET that waits for packets, one POST that brings them."""

from math import inf
from typing import TYPE_CHECKING, ClassVar, Protocol

import trio

from trio_socketio.codec.engine_packet import CLOSE, NOOP, Outgoing
from trio_socketio.engine import session as engine_session
from trio_socketio.engine.handshake import BAD_REQUEST
from trio_socketio.engine.inbox import NO_STORE, Inbox
from trio_socketio.engine.output import Output
from trio_socketio.protocol.session import Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.admission import Admission
    from trio_socketio.engine.compression import Compression
    from trio_socketio.engine.payloads import Payloads
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Headers, Request
    from trio_socketio.net.connection import Connection
    from trio_socketio.runtime.options import ConnectionLimits


class Owner(engine_session.Owner, Protocol):
    """What a session belongs to, and what its answers are made with."""

    admission: "Admission"
    compression: "Compression | None"
    limits: "ConnectionLimits"


class PollingTransport:
    """Carries a session until an upgrade replaces it.

    It has 30 methods, as 16 of them are those of Transport; what POSTs bring and what waits for a
    GET are parts of their own.

    Args:
        owner, session: whom it serves.
        reader: is handed what POSTs bring.
        payloads: how the client writes and reads bodies.

    Spec: Engine.IO v4, "HTTP long-polling".
    """

    name: ClassVar = "polling"
    direct: ClassVar = None

    __slots__ = (
        "_carrier",
        "_encoding",
        "_get",
        "_leaving_bytes",
        "_output",
        "_owner",
        "_payloads",
        "_queued",
        "_session",
        "_slow_at",
        "inbox",
    )

    def __init__(
        self, owner: Owner, session: "Session", reader: "Reader", payloads: "Payloads"
    ) -> None:
        self._owner = owner
        self._session = session
        self._payloads = payloads
        self.inbox = Inbox(owner, session, reader, owner.admission, payloads, self._finish)
        self._output = Output(owner.limits.output_bound_bytes)
        self._get: Request | None = None
        self._carrier: Connection | None = None  # of the last answer to a GET
        self._encoding: Request | None = None  # a GET whose answer is being compressed
        self._queued = False
        self._slow_at = inf  # when too much has waited for too long
        self._leaving_bytes = 0  # what the client had not confirmed when it was last looked at

    # -- requests

    def receive_get(self, request: "Request") -> None:
        """The client asks for packets."""
        session = self._session
        if self._get is not None or self._encoding is not None:  # EIO4-20, EIO4-111
            session.lose("transport error")
            BAD_REQUEST.answer(request, self._owner.admission.headers(request))
            return
        self._get = request
        request.on_abort = self._abort_get
        upgrade = session._upgrade
        if not session.is_open:
            if self._finish_closing():
                session._end(Input.FLUSHED)
        elif self._output:
            self._flush_later()  # EIO4-22
        elif upgrade is not None and upgrade.is_probed:
            self.release()  # EIO4-49
        # Otherwise it waits (EIO4-21).

    def _abort_get(self) -> None:
        """The connection of the GET ended before its answer (EIO4-24).

        One that ends with no request on it is not missed (EIO4-114).
        """
        self._get = self._encoding = None
        self._session.lose("transport error")

    # -- output

    @property
    def is_writable(self) -> bool:
        """See Transport."""
        return self._get is not None and self._session.is_open

    @property
    def waiting_bytes(self) -> int:
        """See Transport."""
        return self._output.waiting_bytes

    def send(self, packet: Outgoing) -> None:
        """See Transport. The packet waits for a GET, or for the end of the turn if there is one."""
        output = self._output
        if not output.hold(packet):
            self._owner.packets_dropped += 1
            self._give_up()
        elif self._get is not None:
            self._flush_later()
        elif output.is_over:
            if output.is_hopeless:
                self._give_up()
            else:
                self._give_time()

    def call_when_drained(self, callback: "Callable[[], None]") -> None:
        """See Transport."""
        self._output.on_drained = callback

    def _flush_later(self) -> None:
        """Answer the GET at the end of the turn with all that was sent until then."""
        if not self._queued:
            self._owner.poller.mark_dirty(self)  # raises in another thread: nothing has changed
            self._queued = True

    def flush(self) -> None:
        """See Flushable."""
        self._queued = False
        if self._get is not None:
            packets = self._take()
            if packets:
                self._finish(packets)

    def fail(self, error: BaseException) -> None:
        """See Flushable."""
        self._session.lose("transport error")

    def _take(self) -> list[Outgoing]:
        self._slow_at = inf
        return self._output.take()

    def release(self) -> None:
        """Answer a waiting GET with nothing, so that the client can leave this transport."""
        self._finish([NOOP])

    def _finish(self, packets: list[Outgoing]) -> None:
        """Answer the GET, if one waits."""
        get, self._get = self._get, None
        if get is None:
            return
        self._carrier = get.connection
        headers, body = self._payloads.encode(packets)
        compression = self._owner.compression
        if (
            compression is None
            or len(body) < compression.threshold_bytes
            or not self._compress(compression, get, packets, headers, body)
        ):
            own = self._owner.admission.packet_headers(get)
            get.respond(200, [*headers, NO_STORE, *own], body)  # EIO4-15

    def _compress(
        self,
        compression: "Compression",
        get: "Request",
        packets: list[Outgoing],
        headers: "Headers",
        body: bytes,
    ) -> bool:
        """Answer compressed, now or later; whether that is so (EIO4-74)."""
        coding = compression.choose(get, packets)
        if coding is None:
            return False
        header = (b"Content-Encoding", coding.encode())

        def respond(encoded: bytes) -> None:
            self._encoding = None
            own = self._owner.admission.packet_headers(get)
            get.respond(200, [*headers, NO_STORE, header, *own], encoded)

        self._encoding = get
        compression.encode(coding, packets if self._payloads.are_shared else [], body, respond)
        return True

    # -- a client that does not come for what waits

    def next_deadline(self) -> float:
        """See Transport."""
        return self._slow_at

    def expire(self, now: float) -> None:
        """See Transport: it may still be taking the answer to its last GET (EIO4-84)."""
        before, self._leaving_bytes = self._leaving_bytes, self._count_leaving()
        if self._leaving_bytes < before:
            self._slow_at = now + self._owner.limits.slow_client_s
        else:
            self._session.lose("slow client")

    def _give_time(self) -> None:
        if self._slow_at == inf:
            self._leaving_bytes = self._count_leaving()
            self._slow_at = trio.current_time() + self._owner.limits.slow_client_s
            self._session.reschedule()

    def _give_up(self) -> None:
        if self._slow_at != -inf:  # the caller may be iterating: nobody is closed from here
            self._slow_at = -inf
            self._owner.poller.defer(lambda: self._session.lose("slow client"))

    def _count_leaving(self) -> int:
        """Of the last answer to a GET: the bytes that the client has not confirmed."""
        return 0 if self._carrier is None else self._carrier.leaving_bytes

    def note_ping(self) -> None:
        """See Transport: the next answer carries it, and answers are looked at in expire."""

    def delays_ping(self) -> bool:
        """See Transport."""
        return False

    # -- input

    def pause(self, user_timeout_s: float) -> None:
        """See Transport: the inbox looks for itself whether the session is read."""

    def hold(self) -> None:
        """See pause."""

    def resume(self) -> None:
        """See Transport."""
        self.inbox.resume()

    def read_on(self) -> bool:
        """See Transport. The walk of the deadlines has had all connections read before."""
        return self.inbox.is_receiving

    # -- the end

    def close(self, code: int) -> bool:
        """See Transport."""
        return self._get is not None and self._finish_closing()

    def _finish_closing(self) -> bool:
        """A closing session has a GET: answer it with what waits, the next one with the close.

        Not with both at once: official clients hand messages on later than they close, and would
        never tell their user of a DISCONNECT that comes together with the close packet (EIO4-56).

        Returns:
            Whether that was the close.
        """
        if self._output:
            self._finish(self._take())
            return False
        self._finish([CLOSE])
        return True

    def abort(self) -> None:
        """See Transport: a GET that waits is told (EIO4-37, EIO4-112)."""
        self._finish([CLOSE])

    def retire(self) -> list[Outgoing]:
        """A WebSocket takes over; what waits is its to send."""
        self.release()
        return self._take()

    def discard(self) -> int:
        """See Transport."""
        self.inbox.refuse()
        return len(self._take())
