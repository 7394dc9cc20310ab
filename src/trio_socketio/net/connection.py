"""Bytes in, bytes out, bounded: one accepted connection on the poller.

Closing is two steps: `close` and `abort` only mark and silence the connection; the descriptor is
closed after the batch. Nothing is ever called back from inside `write` or `close`.
"""

import socket
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_socketio.net.driving import HANG_UP, READ, WRITE, Poller, Timetable
from trio_socketio.net.receiver import NOBODY, Receiver
from trio_socketio.net.tcp import count_unconfirmed, set_user_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES: Final = 65536
DRAIN_S: Final = 1.0
"""How long a connection that was finished may go on sending what nobody will read."""

HARD_BOUND_FACTOR: Final = 8
"""Times the output bound: a client so far behind is not given time."""
EARLY_FLUSH_BYTES: Final = 1 << 18  # gathered in one turn: past it, the kernel is asked at once


class Owner(Protocol):
    """What a connection belongs to: its poller, its deadlines, its bounds, its end."""

    @property
    def poller(self) -> Poller:
        """Drives it."""

    @property
    def deadlines(self) -> Timetable:
        """Watches its deadlines."""

    output_bound_bytes: int
    slow_client_s: float
    writes_dropped: int
    """Writes to connections that were given up for being too far behind."""

    def connection_released(self, connection: "Connection") -> None:
        """Its descriptor is closed."""


class Connection:
    """A non-blocking stream socket.

    Args:
        owner: see Owner.
        sock: connected and non-blocking; belongs to the connection from now on.
        address: the peer's, as text; empty for a Unix socket.
        secure: whether the peer came over TLS.
    """

    __slots__ = (
        "__weakref__",
        "_blocked",
        "_deadline",
        "_finishing",
        "_heard_all",
        "_held",
        "_left_bytes",
        "_out",
        "_out_bytes",
        "_over",
        "_owner",
        "_paused",
        "_poller",
        "_queued",
        "_receive",
        "_receiver",
        "_slow_at",
        "_sock",
        "_unsent",
        "address",
        "closed",
        "deadline_entry",
        "on_drained",
        "secure",
        "was_behind",
    )

    def __init__(self, owner: Owner, sock: socket.socket, address: str, secure: bool) -> None:
        self._owner = owner
        self._poller = owner.poller
        self._sock = sock
        self.address = address
        self.secure = secure
        self.closed = False
        self.deadline_entry: object = None
        self._deadline = inf
        self._receiver: Receiver = NOBODY
        self._receive: Callable[[bytes], None] = NOBODY.receive_data
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._unsent: memoryview | None = None  # what the kernel refused
        self._queued = False  # in the poller's dirty list, or waiting for WRITE
        self._blocked = False
        self.was_behind = False  # it has never had to be waited for
        self._left_bytes = 0  # that the peer had not confirmed when it was last looked at
        self._paused = False
        self._held = False  # paused, but only until what was read is worked on
        self._finishing = False
        self._heard_all = False  # the peer will send nothing more
        self._over = False  # over the hard bound: given up after this turn
        self._slow_at = inf
        self.on_drained: Callable[[], None] | None = None  # called once, when all output has left

    def set_receiver(self, receiver: Receiver) -> None:
        """Hand the bytes from now on to receiver."""
        self._receiver = receiver
        self._receive = receiver.receive_data

    def fileno(self) -> int:
        """The descriptor; -1 once released."""
        return self._sock.fileno()

    # -- reading

    def on_ready(self, events: int) -> None:
        """See Pollable."""
        if self.closed:
            return
        if events & WRITE:
            self._on_writable()
            if events == WRITE:
                return
        if self._paused:
            # A Unix socket hangs up as soon as its peer has closed, with bytes still to be read.
            if events & HANG_UP and not self._held:
                self.lose("transport close")
            return
        self.on_readable()

    def on_readable(self) -> bool:
        """Read what is there and pass it on; whether there was anything."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            self.lose("transport error")
            return False
        if data:
            self._receive(data)
            return True
        self.lose("transport close")
        return False

    def on_more(self) -> None:
        """See Pollable."""
        if not self.closed:
            self._receiver.receive_more()

    def call_again(self) -> None:
        """Have the receiver's receive_more called in the next turn."""
        self._poller.call_again(self)

    @property
    def turn_ends(self) -> float:
        """See Poller: whoever has more to do then should call again."""
        return self._poller.turn_ends

    def pause_reading(self, user_timeout_s: float) -> None:
        """Stop reading; only a reset is noticed, or a dead peer after user_timeout_s."""
        if self.closed:
            return
        self.hold_reading()
        self._held = False
        set_user_timeout(self._sock, user_timeout_s)

    def hold_reading(self) -> None:
        """Stop reading for the moment: what was read is still being worked on.

        The caller goes on in the next turn, until it resumes or pauses. A hang-up waits for that.
        """
        self._held = True
        if not self._paused and not self.closed:
            self._paused = True
            self._watch()

    def resume_reading(self) -> None:
        """Read again."""
        self._held = False
        if self._paused and not self.closed:
            self._paused = False
            self._watch()

    @property
    def is_held(self) -> bool:
        """Whether what was read is still being worked on; see hold_reading."""
        return self._held

    # -- writing

    @property
    def leaving_bytes(self) -> int:
        """Output that the peer has not confirmed, as far as the system tells: costs a call."""
        return 0 if self.closed else self.waiting_bytes + count_unconfirmed(self._sock)

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel refused output that is still waiting."""
        return self._blocked

    @property
    def waiting_bytes(self) -> int:
        """Output that has not left."""
        return self._out_bytes + (0 if self._unsent is None else len(self._unsent))

    def write(self, data: bytes) -> None:
        """Gather data; it leaves at the end of the turn. Ignored once closed. Never raises."""
        if not self._queued:
            if self.closed:
                return
            self._poller.mark_dirty(self)  # raises in another thread: nothing has changed
            self._queued = True
        elif self._blocked and not self._within_hard_bound():
            return
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > EARLY_FLUSH_BYTES and not self._blocked and not self._finishing:
            self._flush_early()

    def _flush_early(self) -> None:
        try:
            self.flush()  # what the kernel refuses is bounded for the rest of the turn, too
        except Exception as error:
            self.fail(error)
        self._queued = True  # the poller still has it on its list

    def flush(self) -> None:
        """See Flushable: send what was gathered with one call."""
        if self._blocked:  # an earlier flush of this turn was refused: it leaves behind that
            return
        self._queued = False
        out = self._out
        if self.closed or not out:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_bytes = 0
        self._send(self._seal(data))

    def _seal(self, data: bytes) -> bytes:
        return data

    def _send(self, data: bytes | memoryview) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._poller.defer(lambda: self.lose("transport error"))
            return
        if sent == len(data):
            self._unsent = None
            if self._finishing and not self._out:
                self._shut_down()
            if self.on_drained is not None and not self._out:
                on_drained, self.on_drained = self.on_drained, None
                on_drained()
        else:
            self._wait_for_peer(memoryview(data)[sent:], progress=sent > 0)

    def _wait_for_peer(self, unsent: memoryview, *, progress: bool) -> None:
        self._unsent = unsent
        self._left_bytes = self.leaving_bytes
        if not self._blocked:
            self._blocked = self._queued = self.was_behind = True
            self._watch()
        if progress:
            self._prolong()
        if self.waiting_bytes <= self._owner.output_bound_bytes:
            self._slow_at = inf
        elif progress or self._slow_at == inf:
            self._slow_at = trio.current_time() + self._owner.slow_client_s
            self._owner.deadlines.schedule(self)

    def _on_writable(self) -> None:
        unsent = self._unsent
        if unsent is None:
            return
        self._blocked = self._queued = False
        self._send(unsent)
        if not self._blocked and not self.closed:
            self._slow_at = inf
            self._prolong()
            if self._out:
                self.flush()
            if not self._blocked:
                self._watch()

    def _prolong(self) -> None:
        """A peer that takes what we send is not late, however long it takes (HTTP-40)."""
        if self._deadline < inf and not self._heard_all:
            self._deadline = max(self._deadline, trio.current_time() + self._owner.slow_client_s)

    def _is_taking(self) -> bool:
        """Whether the peer has confirmed anything since the last look or partial send.

        The kernel says that it has room only when a third of its buffer is free, which takes a
        steady peer too long; and what it accepts unasked is no measure, for its buffers grow.
        """
        before, self._left_bytes = self._left_bytes, self.leaving_bytes
        return self._left_bytes < before

    def _within_hard_bound(self) -> bool:
        """A client that is hopelessly behind loses what is written, then its connection."""
        if self.closed:
            return False
        if self._over:
            self._owner.writes_dropped += 1
            return False
        if self.waiting_bytes <= self._owner.output_bound_bytes * HARD_BOUND_FACTOR:
            if self._slow_at == inf and self.waiting_bytes > self._owner.output_bound_bytes:
                self._slow_at = trio.current_time() + self._owner.slow_client_s
                self._owner.deadlines.schedule(self)
            return True
        self._over = True  # the caller may be iterating: nobody is closed from here
        self._owner.writes_dropped += 1
        self._poller.defer(lambda: self.lose("slow client"))
        return False

    # -- ending

    def set_deadline(self, at: float) -> None:
        """Give the peer until then (trio's clock); infinity takes it back."""
        self._deadline = at
        self._owner.deadlines.schedule(self)

    def next_deadline(self) -> float:
        """See Expiring."""
        return min(self._deadline, self._slow_at)

    def expire(self, now: float) -> None:
        """See Expiring."""
        if self._blocked and self._is_taking():
            self._prolong()
            if self._slow_at <= now:
                self._slow_at = now + self._owner.slow_client_s
            if self.next_deadline() > now:
                return
        slow = self._slow_at <= now
        self._poller.defer(lambda: self.lose("slow client" if slow else "timeout"))
        self._deadline = self._slow_at = inf

    def lose(self, reason: str) -> None:
        """Give the connection up, and tell the receiver."""
        if not self.closed:
            receiver = self._receiver
            self.abort()
            receiver.connection_lost(reason)

    def fail(self, error: BaseException) -> None:
        """See Flushable."""
        self._poller.defer(lambda: self.lose("transport error"))

    def finish(self, *, heard_all: bool = False) -> None:
        """Send what was written, then close: our direction first, and for good within DRAIN_S.

        A peer that takes nothing for slow_client_s is given up.

        Args:
            heard_all: the peer said that nothing follows, so there is nothing to wait for.
        """
        if self.closed or self._finishing:
            return
        self._finishing = True
        self._heard_all = heard_all
        self.set_receiver(NOBODY)
        self._deadline = trio.current_time() + self._owner.slow_client_s
        self._owner.deadlines.schedule(self)
        self.resume_reading()
        if not self._queued:
            self._shut_down()

    def _shut_down(self) -> None:
        if self._heard_all:
            self.abort()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self.set_deadline(min(self._deadline, trio.current_time() + DRAIN_S))

    def abort(self) -> None:
        """Close without sending what was written."""
        if self.closed:
            return
        self.closed = True
        self._receiver = NOBODY
        self._receive = NOBODY.receive_data
        self._queued = self._blocked = False  # writes find it closed
        self._out.clear()
        self._out_bytes = 0
        self._unsent = None
        self._deadline = self._slow_at = inf
        self._owner.deadlines.forget(self)
        self._poller.close_later(self)

    def release(self) -> None:
        """See Pollable."""
        self._sock.close()
        self._owner.connection_released(self)

    def _watch(self) -> None:
        self._poller.watch(self, (0 if self._paused else READ) | (WRITE if self._blocked else 0))
