"""HTTP long-polling: a GET waits for packets, a POST brings them."""

from math import inf
from typing import TYPE_CHECKING, ClassVar, Protocol

import trio

from trio_socketio.codec.engine_packet import CLOSE, NOOP, Outgoing
from trio_socketio.engine import session as engine_session
from trio_socketio.engine.handshake import BAD_REQUEST
from trio_socketio.engine.inbox import Inbox
from trio_socketio.engine.output import Output
from trio_socketio.net.traffic import Traffic
from trio_socketio.protocol.session import OPEN, Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.engine.admission import Admission
    from trio_socketio.engine.compression import Compression
    from trio_socketio.engine.payloads import Payloads
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import FixedHeaders, Request
    from trio_socketio.net.connection import Connection
    from trio_socketio.runtime.options import ConnectionLimits


class Owner(engine_session.Owner, Protocol):
    """The engine: what a session belongs to, and what its answers are made with."""

    admission: "Admission"
    compression: "Compression | None"
    limits: "ConnectionLimits"


class PollingTransport:
    """Carries a session until an upgrade replaces it.

    It has 13 attributes and 32 methods, because Transport alone has 19 methods. `Inbox` receives
    the POSTs, and `Output` holds the packets that wait for a GET.

    Args:
        owner: the engine.
        session: the session.
        reader: takes the packets that POSTs bring.
        payloads: writes and reads the bodies.

    Attributes:
        inbox: receives the POSTs.
        traffic: the packets and bytes of POSTs, and of answers to GETs.

    Spec: Engine.IO v4, "HTTP long-polling".
    """

    name: ClassVar = "polling"
    connection: ClassVar = None
    direct: ClassVar = None

    __slots__ = (
        "_carrier",
        "_encoding",
        "_get",
        "_is_leaving",
        "_leaving_bytes",
        "_output",
        "_owner",
        "_payloads",
        "_queued",
        "_session",
        "_slow_at",
        "inbox",
        "traffic",
    )

    def __init__(
        self, owner: Owner, session: "Session", reader: "Reader", payloads: "Payloads"
    ) -> None:
        self._owner = owner
        self._session = session
        self._payloads = payloads
        self.traffic = Traffic()
        self.inbox = Inbox(
            owner, session, reader, owner.admission, payloads, self._finish, self.traffic
        )
        self._output = Output(owner.limits.output_bound_bytes)
        self._get: Request | None = None
        self._carrier: Connection | None = None  # the one that took the last answer to a GET
        self._is_leaving = False  # whether the kernel has not been given all of that answer
        self._encoding: Request | None = None  # a GET whose answer is being compressed
        self._queued = False
        self._slow_at = inf
        self._leaving_bytes = 0  # unconfirmed bytes of that answer, when last counted

    # -- requests

    def receive_get(self, request: "Request") -> None:
        """Take a GET of the session: the client asks for packets."""
        session = self._session
        if self._get is not None or self._encoding is not None:  # EIO4-20, EIO4-111
            session.lose("transport error")
            BAD_REQUEST.answer(request, self._owner.admission.headers(request))
            return
        self._get = request
        request.on_abort = self._abort_get
        if request.is_forwarded:
            request.on_release = self.release  # FWD-26
        upgrade = session._upgrade
        if session._life.state is not OPEN:
            if self._finish_closing():
                session._end(Input.FLUSHED)
        elif self._output.packets is not None:
            self._flush_later()  # EIO4-22
        elif upgrade is not None and upgrade.is_probed:
            self.release()  # EIO4-49
        # Otherwise it waits (EIO4-21).

    def _abort_get(self) -> None:
        """Lose the session: the connection of the GET ended before its answer (EIO4-24).

        A connection that ends with no request on it does not matter (EIO4-114).
        """
        self._get = self._encoding = None
        self._session.lose("transport error")

    # -- output

    @property
    def is_writable(self) -> bool:
        """Whether a GET waits."""
        return self._get is not None and self._session.is_open

    @property
    def waiting_bytes(self) -> int:
        """The size of the packets that wait for a GET."""
        return self._output.waiting_bytes

    def send(self, packet: Outgoing) -> None:
        """Keep a packet until the next GET, or until the end of the turn if one waits."""
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
        """Call back once, when a GET has taken everything."""
        self._output.on_drained = callback

    def _flush_later(self) -> None:
        """Answer the GET at the end of the turn, with all that was sent by then."""
        if not self._queued:
            self._owner.poller.mark_dirty(self)  # first: it raises in another thread
            self._queued = True

    def flush(self) -> None:
        """Answer the GET with what waits, at the end of the turn."""
        self._queued = False
        if self._get is not None and self._output.packets is not None:
            self._slow_at = inf
            self._finish(self._output.take())

    def fail(self, error: BaseException) -> None:
        """Lose the session: a defect has surfaced while its output was flushed."""
        self._session.lose("transport error")

    def _take(self) -> list[Outgoing]:
        self._slow_at = inf
        return self._output.take()

    def release(self) -> None:
        """Answer a waiting GET with a noop, so that the client can leave this transport."""
        self._finish([NOOP])

    def _finish(self, packets: list[Outgoing]) -> None:
        """Answer the GET, if one waits."""
        get, self._get = self._get, None
        if get is None:
            return
        self._owner.counts.polling.packets_out += len(packets)
        self._carrier = carrier = get.connection
        carrier.on_drained, self._is_leaving = self._note_left, True
        headers, body = self._payloads.encode(packets)  # EIO4-15: not to be stored
        self.traffic.packets_out += len(packets)
        self.traffic.bytes_out += len(body)
        compression = self._owner.compression
        if (
            compression is None
            or len(body) < compression.threshold_bytes
            or not self._compress(compression, get, packets, headers, body)
        ):
            own = self._owner.admission.packet_headers(get)
            get.respond(200, [*headers, *own] if own else headers, body)

    def _note_left(self) -> None:
        self._is_leaving = False

    def _compress(
        self,
        compression: "Compression",
        get: "Request",
        packets: list[Outgoing],
        headers: "FixedHeaders",
        body: bytes,
    ) -> bool:
        """Answer compressed, now or later (EIO4-74). Returns whether it is so."""
        coding = compression.choose(get, packets)
        if coding is None:
            return False
        header = (b"Content-Encoding", coding.encode())

        def respond(encoded: bytes | None) -> None:
            self._encoding = None
            own = self._owner.admission.packet_headers(get)
            if encoded is None:
                get.respond(200, [*headers, *own], body)
            else:
                get.respond(200, [*headers, header, *own], encoded)

        self._encoding = get
        compression.encode(coding, packets if self._payloads.are_shared else [], body, respond)
        return True

    # -- a client that does not come for what waits

    def next_deadline(self) -> float:
        """When too much has waited for too long."""
        return self._slow_at

    def expire(self, now: float) -> None:
        """Lose a client that makes no progress, not even with its last answer (EIO4-84)."""
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
        # Later, because a broadcast that iterates over sockets may be the caller.
        if self._slow_at != -inf:
            self._slow_at = -inf
            self._owner.poller.defer(lambda: self._session.lose("slow client"))

    def _count_leaving(self) -> int:
        """How many bytes of the last answer to a GET the client has not confirmed."""
        return 0 if self._carrier is None else self._carrier.leaving_bytes

    def note_ping(self) -> None:
        """Do nothing: the next answer carries the ping, and `expire` looks at answers."""

    def delays_ping(self) -> bool:
        """Return False; see note_ping."""
        return False

    # -- input

    def pause(self, user_timeout_s: float) -> None:
        """Do nothing: the inbox asks the session itself whether it is paused."""

    def hold(self) -> None:
        """Do nothing, as in `pause`."""

    def resume(self) -> None:
        """Go on with a POST that was held back."""
        self.inbox.resume()

    def read_on(self) -> bool:
        """Whether a POST is being received.

        Nothing is left to read, because the walk of the deadlines has had every connection read
        before.
        """
        return self.inbox.is_receiving

    # -- the end

    def close(self, code: int) -> bool:
        """Answer a waiting GET with what is left, or with the close packet."""
        return self._get is not None and self._finish_closing()

    def _finish_closing(self) -> bool:
        """Answer the GET of a closing session with what waits, or with the close if nothing does.

        Both in one answer would lose packets: official clients close at once but hand messages on
        later, so they would never tell their user of a DISCONNECT that comes with the close packet
        (EIO4-56).

        Returns:
            Whether this was the close packet.
        """
        if self._output:
            self._finish(self._take())
            return False
        self._finish([CLOSE])
        return True

    def abort(self) -> None:
        """Answer a waiting GET with the close packet (EIO4-37, EIO4-112)."""
        self._finish([CLOSE])

    def sever(self, code: int) -> int:
        """Hang up on a GET that waits, or whose answer has not left, and on a POST."""
        for request in (self._get, self._encoding, self.inbox.take_post()):
            if request is not None:  # LEASE-47
                request.on_abort = None
                request.connection.lose("transport close")
        self._get = self._encoding = None
        if self._is_leaving and self._carrier is not None:
            self._carrier.lose("transport close")
        return 0

    def retire(self) -> list[Outgoing]:
        """Release the GET, and hand over what waits: a WebSocket takes over, and sends it."""
        self.release()
        self.inbox.let_go()
        return self._take()

    def discard(self) -> int:
        """Refuse an unfinished POST, and drop what waits."""
        self.inbox.refuse()
        self.inbox.let_go()
        if self._is_leaving and self._carrier is not None:
            self._carrier.on_drained = None  # the two refer to each other: a cycle
        return len(self._take())
