"""A request of a client that another node is to answer."""

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.cluster.forwarding.pipe import HELD_BYTES, PATIENCE_S, join
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.connection import ON, OPEN
from trio_socketio.protocol.forwarded_answer import ForwardedAnswer

if TYPE_CHECKING:
    from trio_socketio.cluster.forwarding.counts import Kind
    from trio_socketio.cluster.forwarding.link import Link
    from trio_socketio.http.request import Request
    from trio_socketio.net.connection import Connection

_OF_THIS_CONNECTION: Final = frozenset(
    ("connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection",
     "te", "trailer", "transfer-encoding", "upgrade")
)  # fmt: skip
"""Headers that concern one connection alone, or that are written anew."""
_OF_SESSIONS: Final = (200, 101)
"""The answers to requests of open sessions. That node alone knows which clients have joined."""


class Gate(Protocol):
    """The engine that has received the request."""

    def refuse_foreign(self, request: "Request", /) -> None:
        """Answer that the session is unknown."""


class Peer(Protocol):
    """The node that is to answer."""

    @property
    def is_draining(self) -> bool:
        """Whether this node stops, so that its clients had better go to other nodes."""

    def take_link(self, passage: "Passage", /) -> "Link | None":
        """Give a link, which may not be open yet; None if there can be none: fail was called."""

    def note_waiting(self, passage: "Passage", /) -> None:
        """Note that the passage waits for the node to prove itself."""

    def note_sent(self, passage: "Passage", /) -> None:
        """Note that the request is sent, and that the passage waits for the answer."""

    def passage_over(self, passage: "Passage", /, *, answered: bool = False) -> None:
        """Forget a passage."""

    def passage_failed(self, passage: "Passage", reason: str, cause: str, /) -> None:
        """Count and log that a passage has failed; see link.User.link_lost."""

    def pipe_began(self, link: "Link", client: "Connection", /) -> None:
        """Note that a link and the connection of a client are one pipe."""

    def pipe_over(self, client: "Connection", /) -> None:
        """Note that a pipe has ended."""


class Passage:
    """One request under way. It is sent once, and never again (FWD-12).

    Args:
        peer: the node that is to answer.
        request: of a client.
        gate: refuses the request if the node does not answer.
        kind: for statistics.
        is_upgrade: whether it asks to switch to WebSocket.
    """

    __slots__ = (
        "_answer",
        "_body",
        "_closes",
        "_gate",
        "_has_begun",
        "_is_upgrade",
        "_link",
        "_peer",
        "kind",
        "request",
    )

    def __init__(
        self, peer: Peer, request: "Request", gate: Gate, kind: "Kind", *, is_upgrade: bool
    ) -> None:
        self._peer = peer
        self._gate = gate
        self._link: Link | None = None
        self._answer = ForwardedAnswer()
        self._body = b""
        self._has_begun = False  # a part of the answer was passed on
        self._closes = False  # whether the client is told to use another connection
        self._is_upgrade = is_upgrade
        self.kind = kind
        self.request = request
        request.on_abort = self.abort

    def begin(self, max_body_bytes: int) -> None:
        """Pass the request on, once its body has come."""
        if has_body(self.request):
            self.request.read_body(max_body_bytes, self._take_body)
        else:
            self._go()

    def _take_body(self, body: bytes | None) -> None:
        if body is None:  # it was too long, and that is answered
            self._peer.passage_over(self)
            return
        self._body = body
        self._go()

    def _go(self) -> None:
        link = self._link = self._peer.take_link(self)
        if link is not None:
            if link.dialer.is_open:
                link.use(self)
            else:
                self._peer.note_waiting(self)

    # -- the other node

    def link_opened(self, link: "Link") -> None:
        request, body, self._body = self.request, self._body, b""
        head = encode_head(request, len(body), is_upgrade=self._is_upgrade)
        self._peer.note_sent(self)  # the welcome does not mean that this will have come
        link.connection.write(
            link.dialer.encode_request(head, body, request.address, secure=request.secure)
        )
        if self._peer.is_draining:
            self.release()

    def release(self) -> None:
        """Ask for the answer now, if the request is a poll, which may wait for long (FWD-26)."""
        link = self._link
        if self.kind == "poll" and link is not None and link.dialer.is_open:
            link.connection.write(link.dialer.encode_release())

    def receive_answer(self, data: bytes) -> None:
        link, answer = self._link, self._answer
        assert link is not None
        began = answer.status
        try:
            data = answer.receive(data)
            switches = answer.switches
            if switches and not self._is_upgrade:
                raise RemoteProtocolError("101 was not asked for")
        except RemoteProtocolError:
            link.fail("malformed")
            return
        if not (began or switches) and answer.status and self._peer.is_draining:
            self._closes = True  # FWD-26
            if not answer.closes:
                data = data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        if switches:
            self._switch(link, data)
        elif answer.is_over:
            self._part()
            if answer.closes:
                link.end()
            else:
                if link.connection.reading is not ON:
                    link.connection.resume_reading()  # TLS hands over more after _hold_back
                link.rest()
            self.request.pass_on(data, is_last=True, closes=self._closes)
        elif data:
            self._has_begun = True
            self.request.pass_on(data, is_last=False)
            self._hold_back(link.connection)

    def _hold_back(self, node: "Connection") -> None:
        """Read no more of the answer while the client has much of it to take (FWD-14)."""
        client = self.request.connection
        if client.waiting_bytes <= HELD_BYTES:
            return
        before = client.on_drained  # of an answer before this one

        def go_on() -> None:
            if before is not None:
                before()
            # Once the answer is over, the client has another deadline, and the node other users.
            if self._link is not None and client.life is OPEN:
                client.set_deadline(inf)
                node.resume_reading()

        client.on_drained = go_on
        client.set_deadline(trio.current_time() + PATIENCE_S)
        node.pause_reading(PATIENCE_S)

    def _switch(self, link: "Link", data: bytes) -> None:
        """Make one pipe of both connections; data begins with the answer 101."""
        self._part()
        link.user = None
        client, held = self.request.take_over()
        node = link.connection
        self._peer.pipe_began(link, client)
        join(self._peer, client, node)
        client.write(data)
        if held:
            node.write(held)

    def link_lost(self, reason: str, cause: str = "") -> None:
        self._link = None
        self.fail(reason, cause)

    # -- the end

    def _part(self) -> None:
        """Note that the node has answered. What refers to the passage is freed without a search."""
        self._peer.passage_over(self, answered=True)
        self._link = None
        self.request.on_abort = None
        if self._answer.status in _OF_SESSIONS:  # RUN-53
            connection = self.request.connection
            connection.owner.poller.prefer(connection)

    def abort(self) -> None:
        """Give up: the client has gone."""
        self._peer.passage_over(self)
        link, self._link = self._link, None
        if link is not None:
            link.leave()

    def fail(self, reason: str, cause: str = "") -> None:
        """Tell the client that its session is unknown, or end an answer that has begun.

        Args:
            reason: one of counts.REASONS.
            cause: what exactly failed; empty if that is not known.
        """
        self.abort()
        self._peer.passage_failed(self, reason, cause)
        request = self.request
        request.on_abort = None
        if self._has_begun:
            request.connection.lose("transport error")
        else:
            self._gate.refuse_foreign(request)


def has_body(request: "Request") -> bool:
    """Return whether something follows the head of a request that belongs to it."""
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def encode_head(request: "Request", body_bytes: int, *, is_upgrade: bool) -> bytes:
    """Write the head of a request anew, in the form that is read fastest.

    It says the same, and is never longer than the one that was read, but for the length.
    """
    target = request.target
    if not target.startswith("/"):
        target = f"{request.path}?{request.query_text}"
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [
        f"{name}:{value}"
        for name, value in request.headers.items()
        if name not in _OF_THIS_CONNECTION
    ]
    if "host" not in request.headers:
        lines.append("host:")
    if is_upgrade:
        lines.append("upgrade:websocket\r\nconnection:Upgrade")
    elif body_bytes or request.method == "POST":
        lines.append(f"content-length:{body_bytes}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")
