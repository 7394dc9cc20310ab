"""Receives the POSTs of a polling session."""

from collections import deque
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Final

from trio_socketio.codec.engine_packet import NOOP, Packet, PacketType
from trio_socketio.engine.handshake import BAD_REQUEST
from trio_socketio.engine.payloads import NO_STORE
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.http.request import FixedHeaders
from trio_socketio.protocol.session import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.codec.engine_packet import Outgoing
    from trio_socketio.engine.admission import Admission
    from trio_socketio.engine.payloads import Payloads
    from trio_socketio.engine.reader import Reader
    from trio_socketio.engine.session import Owner, Session
    from trio_socketio.http.request import Request
    from trio_socketio.net.traffic import Traffic

# Not text/plain: some browsers offer to download such an answer to the POST of a form.
_OK: Final = FixedHeaders((b"Content-Type", b"text/html"), NO_STORE)
_DIGITS: Final = tuple(b"%d" % kind for kind in PacketType)
_CLOSE: Final = PacketType.CLOSE


class Inbox:
    """Receives one POST after the other, and hands their packets to the reader.

    Args:
        owner: of the session.
        session: is carried by polling.
        reader: takes the packets.
        admission: adds headers to answers.
        payloads: decodes bodies, as the client writes them.
        answer_get: answers a GET that waits.
        traffic: counts the packets and bytes of the POSTs.

    Spec: Engine.IO v4, "HTTP long-polling".
    """

    __slots__ = (
        "_admission",
        "_answer_get",
        "_owner",
        "_packets",
        "_payloads",
        "_post",
        "_reader",
        "_session",
        "_traffic",
    )

    def __init__(
        self,
        owner: "Owner",
        session: "Session",
        reader: "Reader",
        admission: "Admission",
        payloads: "Payloads",
        answer_get: "Callable[[list[Outgoing]], None]",
        traffic: "Traffic",
    ) -> None:
        self._owner = owner
        self._session = session
        self._reader = reader
        self._admission = admission
        self._payloads = payloads
        self._answer_get = answer_get
        self._traffic = traffic
        self._post: Request | None = None
        self._packets: deque[Packet] | None = None  # that are still to be handed over

    @property
    def is_receiving(self) -> bool:
        """Whether a POST has begun whose packets have not all been handed over."""
        return self._post is not None

    def receive_post(self, request: "Request") -> None:
        """Take a POST of the session; its body is still to come."""
        session = self._session
        overlap = self._post is not None
        if overlap or not self._payloads.accepts(request):  # EIO4-14, EIO4-19, EIO4-110
            session.lose("transport error")
            BAD_REQUEST.answer(request, self._admission.headers(request))
            return
        self._post = request
        request.on_abort = self._abort
        request.read_body(self._owner.options.max_http_buffer_size_bytes, self._receive_body)

    def _receive_body(self, body: bytes | None) -> None:
        if body is None:  # too large (EIO4-23); the client may send a smaller one
            self._post = None
            return
        post = self._post
        try:
            packets = [] if post is None else self._payloads.decode(post, body)
        except RemoteProtocolError:  # EIO4-43, EIO3-10
            self._post = None
            self._session.lose("parse error")
            if post is not None:
                BAD_REQUEST.answer(post, self._admission.headers(post))
            return
        self._traffic.packets_in += len(packets)
        self._traffic.bytes_in += len(body)
        self._owner.counts.polling.packets_in += len(packets)
        self._packets = deque(packets)
        self.on_more()

    def on_more(self) -> None:
        """Hand over what the POST has brought; answer "ok" once all of it was taken.

        The answer is withheld while the session is paused, so that the client sends no more
        meanwhile.
        """
        session, reader = self._session, self._reader
        life, liveness = session._life, session._liveness
        packets, self._packets = self._packets, None
        if packets is None:
            return
        # If a packet ends the session, refuse must not answer this POST: it is answered below.
        post, self._post = self._post, None
        turn_ends = self._owner.poller.turn_ends
        while packets:
            # Paused: `resume` will cause another call of on_more.
            if liveness.paused_until < inf and life.state is OPEN:
                self._post, self._packets = post, packets
                return
            packet = packets.popleft()
            if life.state is not OPEN:
                packets.clear()  # they follow a close packet, or one that ended the session
            elif packet.type is _CLOSE:
                self._answer_get([NOOP])  # EIO4-54, EIO3-20: not a close: the client sent it itself
                session.lose("transport close")
            elif packet.binary:
                reader.receive_binary(packet.data)
            else:
                reader.receive_text(_DIGITS[packet.type] + packet.data)
            # Let others have a turn.
            if packets and perf_counter() > turn_ends and life.state is OPEN:
                self._post, self._packets = post, packets
                self.resume()
                return
        if post is not None:  # EIO4-18
            own = self._admission.packet_headers(post)
            post.respond(200, [*_OK, *own] if own else _OK, b"ok")

    def fail(self, error: BaseException) -> None:
        """Lose the session: a defect has surfaced while its packets were handed over."""
        self._session.lose("transport error")

    def resume(self) -> None:
        """Go on with a POST that was interrupted, in the next turn."""
        if self._packets is not None:
            self._owner.poller.call_again(self)

    def refuse(self) -> None:
        """Refuse a POST that is half sent or held back: the session has ended (EIO4-81)."""
        self._packets = None
        post, self._post = self._post, None
        if post is not None:
            BAD_REQUEST.answer(post, self._admission.headers(post))

    def let_go(self) -> None:
        """Release the transport, which has no GET left to answer.

        The two refer to each other, which is a cycle (RUN-44).
        """
        self._answer_get = _answer_nobody

    def take_post(self) -> "Request | None":
        """Return the POST that is not answered, if there is one, and drop what it has brought."""
        post, self._post, self._packets = self._post, None, None
        return post

    def _abort(self) -> None:
        """Lose the session: its POST was cut off before the answer (EIO4-24, EIO4-113)."""
        self._post = self._packets = None
        self._session.lose("transport error")


def _answer_nobody(_: "list[Outgoing]") -> None:
    """Stand in for the transport once it no longer carries the session."""
