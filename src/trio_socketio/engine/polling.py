"""HTTP long-polling: one GET that waits for packets, one POST that brings them."""

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final

from trio_socketio.codec.engine_packet import NOOP, Outgoing, Packet, PacketType
from trio_socketio.engine.handshake import BAD_REQUEST
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.upgrade import State as UpgradeState

if TYPE_CHECKING:
    from trio_socketio.engine.payloads import Payloads
    from trio_socketio.engine.server import EngineServer
    from trio_socketio.engine.session import Session
    from trio_socketio.http.request import Headers, Request
    from trio_socketio.net.connection import Connection

_NO_STORE: Final = (b"cache-control", b"no-store")
# Not text/plain: some browsers offered the answer of a form's POST for download.
_OK: Final = (b"Content-Type", b"text/html")


class PollingTransport:
    """Carries a session until an upgrade replaces it.

    Args:
        server, session: whom it serves.
        payloads: how the client writes and reads bodies.

    Spec: Engine.IO v4, "HTTP long-polling".
    """

    __slots__ = (
        "_carrier",
        "_encoding",
        "_get",
        "_inbox",
        "_payloads",
        "_post",
        "_queued",
        "_server",
        "_session",
    )

    def __init__(self, server: "EngineServer", session: "Session", payloads: "Payloads") -> None:
        self._server = server
        self._session = session
        self._payloads = payloads
        self._get: Request | None = None
        self._carrier: Connection | None = None  # of the last answer to a GET
        self._encoding: Request | None = None  # a GET whose answer is being compressed
        self._post: Request | None = None
        self._inbox: deque[Packet] | None = None  # of a POST that is held back
        self._queued = False

    @property
    def is_waiting(self) -> bool:
        """Whether a GET is there to take packets."""
        return self._get is not None

    @property
    def is_receiving(self) -> bool:
        """Whether a POST has begun whose packets were not all handed over."""
        return self._post is not None

    @property
    def leaving_bytes(self) -> int:
        """Of the last answer to a GET: what the client has not confirmed."""
        return 0 if self._carrier is None else self._carrier.leaving_bytes

    def receive_get(self, request: "Request") -> None:
        """The client asks for packets."""
        session = self._session
        if self._get is not None or self._encoding is not None:
            session.lose("transport error")
            BAD_REQUEST.answer(request, self._server.headers(request))
            return
        self._get = request
        request.on_abort = self._get_aborted
        upgrade = session.upgrade
        if not session.is_open:
            session.finish_polling()
        elif session.has_buffered:
            self.flush_later()
        elif upgrade is not None and upgrade.state is UpgradeState.PROBED:
            self.release()

    def receive_post(self, request: "Request") -> None:
        """The client brings packets; its body is still to come."""
        session = self._session
        overlap = self._post is not None
        if overlap or not self._payloads.accepts(request):
            session.lose("transport error")
            BAD_REQUEST.answer(request, self._server.headers(request))
            return
        self._post = request
        request.on_abort = self._post_aborted
        request.read_body(self._server.options.max_http_buffer_size_bytes, self._receive_body)

    def _receive_body(self, body: bytes | None) -> None:
        if body is None:  # too large; the client may send less
            self._post = None
            return
        post = self._post
        try:
            packets = [] if post is None else self._payloads.decode(post, body)
        except RemoteProtocolError:
            self._post = None
            self._session.lose("parse error")
            if post is not None:
                BAD_REQUEST.answer(post, self._server.headers(post))
            return
        self._inbox = deque(packets)
        self.on_more()

    def on_more(self) -> None:
        """See Resumable: hand over what the POST brought; `ok` only once all of it was taken."""
        session = self._session
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        # Whoever ends the session in the meantime does not answer this POST: it is answered below.
        post, self._post = self._post, None
        turn_ends = self._server.poller.turn_ends
        while inbox:
            if session.paused:
                self._post, self._inbox = post, inbox
                return
            packet = inbox.popleft()
            if not session.is_open:
                inbox.clear()  # what follows a close, or a packet that ended the session
            elif packet.type is PacketType.CLOSE:
                session.lose("transport close", last=NOOP)
            elif packet.binary:
                session.receive_binary(packet.data)
            else:
                session.receive_text(b"%d%b" % (packet.type, packet.data))
            if perf_counter() > turn_ends and inbox and session.is_open:  # others want their turn
                self._post, self._inbox = post, inbox
                self.resume()
                return
        if post is not None:
            post.respond(200, [_OK, _NO_STORE, *self._server.packet_headers(post)], b"ok")

    def resume(self) -> None:
        """Go on with a POST that was interrupted, in the next turn."""
        if self._inbox is not None:
            self._server.poller.call_again(self)

    def refuse_post(self) -> None:
        """The session has ended: refuse a POST that is half sent or held back (EIO4-81)."""
        self._inbox = None
        post, self._post = self._post, None
        if post is not None:
            BAD_REQUEST.answer(post, self._server.headers(post))

    def flush_later(self) -> None:
        """Answer the GET at the end of the turn with all that was sent until then."""
        if not self._queued:
            self._server.poller.mark_dirty(self)  # raises in another thread: nothing has changed
            self._queued = True

    def flush(self) -> None:
        """See Flushable."""
        self._queued = False
        if self._get is not None:
            packets = self._session.take_buffer()
            if packets:
                self.finish(packets)

    def fail(self, error: BaseException) -> None:
        """See Flushable."""
        self._session.lose("transport error")

    def release(self) -> None:
        """Answer a waiting GET with nothing, so that the client can leave this transport."""
        if self._get is not None:
            self.finish([NOOP])

    def finish(self, packets: list[Outgoing]) -> None:
        """Answer the GET."""
        get, self._get = self._get, None
        if get is not None:
            self._carrier = get.connection
            headers, body = self._payloads.encode(packets)
            if len(body) < self._server.compress_from_bytes or not self._compress(
                get, packets, headers, body
            ):
                get.respond(200, [*headers, _NO_STORE, *self._server.packet_headers(get)], body)

    def _compress(
        self, get: "Request", packets: list[Outgoing], headers: "Headers", body: bytes
    ) -> bool:
        """Answer compressed, now or later; whether that is so."""
        compression = self._server.compression
        coding = None if compression is None else compression.choose(get, packets)
        if compression is None or coding is None:
            return False
        header = (b"Content-Encoding", coding.encode())

        def respond(encoded: bytes) -> None:
            self._encoding = None
            every = self._server.packet_headers(get)
            get.respond(200, [*headers, _NO_STORE, header, *every], encoded)

        self._encoding = get
        compression.encode(coding, packets if self._payloads.are_shared else [], body, respond)
        return True

    def _get_aborted(self) -> None:
        """The connection of the GET ended before its answer."""
        self._get = self._encoding = None
        self._session.lose("transport error")

    def _post_aborted(self) -> None:
        """The connection of the POST ended before its answer; a waiting GET gets one."""
        self._post = self._inbox = None
        self._session.lose("transport error")
