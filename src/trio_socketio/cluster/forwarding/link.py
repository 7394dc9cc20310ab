"""A connection to another node, which carries one request or pulse after the other."""

from math import inf
from ssl import SSLError
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_socketio.net.connection import Connection
from trio_socketio.net.faults import explain_fault
from trio_socketio.protocol.forwarding import MAX_LINE_BYTES, PULSE, Dialer, Refused
from trio_socketio.protocol.hearing import SILENCE_S

if TYPE_CHECKING:
    from trio_socketio.protocol.hearing import Hearing

OPENING_S: Final = 1.5
"""How long it may take to connect, and for the other node to prove itself."""
IDLE_S: Final = 30.0
"""How long a connection is kept that carries nothing; less than the other node keeps it."""


class User(Protocol):
    """What a link is used for."""

    def link_opened(self, link: "Link", /) -> None:
        """Begin: the other node has proven itself."""

    def receive_answer(self, data: bytes, /) -> None:
        """Take bytes of the answer."""

    def link_lost(self, reason: str, cause: str = "", /) -> None:
        """Note that there will be no answer.

        Args:
            reason: one of counts.REASONS.
            cause: what exactly failed; empty if that is not known.
        """


class Owner(Protocol):
    """The peer that a link leads to."""

    @property
    def hearing(self) -> "Hearing[Any]":
        """Is told when the peer says something."""

    def link_proven(self) -> None:
        """Note that the other node has proven itself on a new link."""

    def link_rests(self, link: "Link", /) -> None:
        """Keep a link for the next user."""

    def link_over(self, link: "Link", /) -> None:
        """Forget a link."""


class _Proving:
    """Uses a link once it is open, if no one is waiting for it any more.

    Until something signed has come over the link, the other node does not keep it, and counts it as
    a stranger's.
    """

    def __init__(self) -> None:
        self._link: Link | None = None

    def link_opened(self, link: "Link") -> None:
        self._link = link
        link.send_pulse()

    def receive_answer(self, data: bytes) -> None:
        assert self._link is not None
        self._link.receive_pulse(data)

    def link_lost(self, reason: str, cause: str = "") -> None:
        """Do nothing: no one is waiting."""


class Link:
    """A connection to another node, and its user.

    Args:
        owner: the peer.
        connection: was just dialed.
        dialer: proves that this is a node, and that the other one is.
        user: begins as soon as that is proven.

    Attributes:
        user: None while the link rests, or while nobody waits for its opening any more.
    """

    __slots__ = ("_line", "_owner", "connection", "dialer", "user")

    def __init__(
        self, owner: Owner, connection: Connection, dialer: Dialer, user: User | None
    ) -> None:
        self._owner = owner
        self.connection = connection
        self.dialer = dialer
        self.user = user
        self._line = b""
        connection.set_receiver(self)
        connection.set_deadline(trio.current_time() + OPENING_S)
        connection.write(dialer.hello)  # goes out when it is connected

    def use(self, user: User) -> None:
        """Give a link that rests to a user."""
        self.user = user
        self.connection.set_deadline(inf)
        user.link_opened(self)

    def rest(self) -> None:
        """End the use of the link: its answer is complete."""
        self.user = None
        connection = self.connection
        connection.set_deadline(connection.owner.deadlines.now() + IDLE_S)
        self._owner.link_rests(self)

    def send_pulse(self) -> None:
        """Ask whether the other node is at work."""
        self.connection.set_deadline(trio.current_time() + SILENCE_S)
        self.connection.write(self.dialer.encode_pulse())

    def receive_pulse(self, data: bytes) -> bool | None:
        """Take bytes of the answer to a pulse, which ends the use of the link.

        Returns:
            Whether it is the right answer; None while it is not complete.
        """
        line, self._line = self._line + data, b""
        if line == PULSE:
            self.rest()
            return True
        if PULSE.startswith(line):  # so no more than that is buffered
            self._line = line
            return None
        self.end()
        return False

    def leave(self) -> None:
        """End the use of the link before there is an answer.

        If the link is not open yet, it is kept. Otherwise the other node notices by its end that
        nobody waits for the answer any more.
        """
        self.user = None
        if self.dialer.is_open:
            self.end()

    def end(self) -> None:
        """Close the connection at once; its user is not told."""
        self.user = None
        self.connection.abort()
        self._owner.link_over(self)

    def fail(self, reason: str, cause: str = "") -> None:
        """Close the connection at once, and tell its user why; see User.link_lost."""
        user = self.user
        self.end()
        if user is not None:
            user.link_lost(reason, cause)

    def receive_data(self, data: bytes) -> None:
        self._owner.hearing.heard = True
        if self.user is not None and self.dialer.is_open:
            self.user.receive_answer(data)
        else:
            self._receive_line(data)

    def _receive_line(self, data: bytes) -> None:
        line, newline, rest = (self._line + data).partition(b"\n")
        if self.dialer.is_open or rest or len(line) > MAX_LINE_BYTES:
            self.fail("malformed")  # nothing was asked that this could answer
        elif not newline:
            self._line = line
        else:
            self._line = b""
            try:
                self.dialer.receive_welcome(line)
            except Refused as error:
                self.fail(error.reason, str(error))
                return
            self._owner.link_proven()
            self.use(self.user or _Proving())

    def receive_more(self) -> None:
        """Do nothing: nothing is left."""

    def connection_lost(self, reason: str) -> None:
        user, self.user = self.user, None
        self._owner.link_over(self)
        if user is not None:
            user.link_lost(*self._explain_loss(reason))

    def _explain_loss(self, reason: str) -> tuple[str, str]:  # FWD-54
        """Return the reason for statistics, and the cause, for User.link_lost."""
        fault = self.connection.fault
        if reason == "timeout":
            return "silent", "" if self.dialer.is_open else f"no answer within {OPENING_S:g} s"
        if fault is not None:
            return "tls" if isinstance(fault, SSLError) else "gone", explain_fault(fault)
        if self.dialer.is_open:
            return "gone", ""
        cause = "it closes the connection without a word"
        return "gone", cause if self.connection.secure else f"{cause}; perhaps it speaks TLS"
