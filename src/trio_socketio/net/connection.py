"""One accepted connection on the poller: bytes in and bytes out, within bounds.

A connection is closed in two steps. `abort` only marks and silences it; its descriptor is closed
after the poller's batch, in which the number might otherwise be reused. `write` and `abort` never
call back: whatever goes wrong in them is deferred to the end of the turn.
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
"""How long the peer may go on sending after we have sent all; what it sends is thrown away."""

HARD_BOUND_FACTOR: Final = 8
"""A client with this many times its output bound waiting is closed at once."""
EARLY_FLUSH_BYTES: Final = 1 << 18
"""Output above this is sent within the turn, so that the bounds hold within a turn too: BND-11."""


class Owner(Protocol):
    """The group that a connection belongs to; see runtime.connections.Connections."""

    @property
    def poller(self) -> Poller:
        """The poller that drives the connection."""

    @property
    def deadlines(self) -> Timetable:
        """The timetable that watches its deadlines."""

    output_bound_bytes: int
    slow_client_s: float
    writes_dropped: int
    """How many writes were dropped because their connections were too far behind."""

    def connection_released(self, connection: "Connection") -> None:
        """Take note that the connection's descriptor is closed."""


class Connection:
    """A non-blocking stream socket.

    Args:
        owner: the group that the connection belongs to.
        sock: connected and non-blocking; the connection closes it.
        address: the peer's address as text; empty for a Unix socket.
        secure: whether the peer uses TLS.

    Attributes:
        closed: whether it was aborted; its descriptor may be open until the end of the batch.
        was_behind: whether the kernel has ever refused output.
        on_drained: called once, when all output has been given to the kernel.
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
        self._queued = False  # on the poller's list of dirty items, or waiting for WRITE
        self._blocked = False  # waiting for WRITE
        self.was_behind = False
        self._left_bytes = 0  # bytes that the peer had not confirmed at the last look
        self._paused = False
        self._held = False  # paused, but only until what was read has been handled
        self._finishing = False
        self._heard_all = False  # the peer will send nothing more
        self._over = False  # over the hard bound, and lost at the end of the turn
        self._slow_at = inf  # when the peer is given up for taking nothing
        self.on_drained: Callable[[], None] | None = None

    def set_receiver(self, receiver: Receiver) -> None:
        """Hand what is read from now on to a receiver."""
        self._receiver = receiver
        self._receive = receiver.receive_data

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._sock.fileno()

    # -- reading

    def on_ready(self, events: int) -> None:
        if self.closed:  # by another connection of the same batch
            return
        if events & WRITE:
            self._on_writable()
            if events == WRITE:
                return
        if self._paused:
            # A Unix socket reports a hang-up as soon as its peer has closed, even if bytes are left
            # to read. While it is held, the receiver still works on these and reads on afterwards.
            if events & HANG_UP and not self._held:
                self.lose("transport close")
            return
        self.on_readable()

    def on_readable(self) -> bool:
        """Read once and hand over what came; return whether there was anything."""
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
        if not self.closed:
            self._receiver.receive_more()

    def call_again(self) -> None:
        """Have the receiver's receive_more called in the poller's next turn."""
        self._poller.call_again(self)

    @property
    def turn_ends(self) -> float:
        """When this turn should end; a receiver that has more to do then should call again."""
        return self._poller.turn_ends

    def pause_reading(self, user_timeout_s: float) -> None:
        """Stop reading until resume_reading.

        Meanwhile only a reset by the peer is noticed, and a peer that confirms nothing of our
        output for user_timeout_s.
        """
        if self.closed:
            return
        self.hold_reading()
        self._held = False
        set_user_timeout(self._sock, user_timeout_s)

    def hold_reading(self) -> None:
        """Stop reading while what was read is still being handled.

        The caller goes on in the next turn, and in the end calls resume_reading or pause_reading. A
        hang-up of the peer is not noticed before.
        """
        self._held = True
        if not self._paused and not self.closed:
            self._paused = True
            self._watch()

    def resume_reading(self) -> None:
        """Read again after hold_reading or pause_reading."""
        self._held = False
        if self._paused and not self.closed:
            self._paused = False
            self._watch()

    @property
    def is_held(self) -> bool:
        """Whether what was read is still being handled; see hold_reading."""
        return self._held

    # -- writing

    @property
    def leaving_bytes(self) -> int:
        """Bytes of output that the peer has not confirmed, as far as the system tells.

        Asking costs a system call.
        """
        return 0 if self.closed else self.waiting_bytes + count_unconfirmed(self._sock)

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel refused output that is still waiting."""
        return self._blocked

    @property
    def waiting_bytes(self) -> int:
        """Bytes of output that the kernel has not accepted."""
        return self._out_bytes + (0 if self._unsent is None else len(self._unsent))

    def write(self, data: bytes) -> None:
        """Add to the output, which is sent at the end of the turn. Does nothing once closed.

        Never raises in trio's thread.
        """
        if not self._queued:
            if self.closed:
                return
            self._poller.mark_dirty(self)  # first, because it raises in another thread
            self._queued = True
        elif self._blocked and not self._within_hard_bound():
            return
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > EARLY_FLUSH_BYTES and not self._blocked and not self._finishing:
            self._flush_early()

    def _flush_early(self) -> None:
        try:
            self.flush()  # if the kernel refuses some, the bounds apply to the next write already
        except Exception as error:
            self.fail(error)
        self._queued = True  # the connection is still on the poller's list

    def flush(self) -> None:
        if (
            self._blocked
        ):  # the kernel refused an earlier flush of this turn, and output is in order
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
        """What to send for data; TLS makes records of it."""
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
        """Move the deadline of a peer that takes our output: it is not late (HTTP-40)."""
        if self._deadline < inf and not self._heard_all:
            self._deadline = max(self._deadline, trio.current_time() + self._owner.slow_client_s)

    def _is_taking(self) -> bool:
        """Whether the peer has confirmed anything since the last look or partial send.

        Progress cannot be told by when the kernel accepts more: it says that it has room only when
        a third of its buffer is free, which a slow but steady peer may not reach in time; and it
        accepts data without any progress of the peer while it enlarges the buffer.
        """
        before, self._left_bytes = self._left_bytes, self.leaving_bytes
        return self._left_bytes < before

    def _within_hard_bound(self) -> bool:
        """Whether a blocked connection may have more output; above the hard bound it is lost."""
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
        # HTTP-41. Deferred, because the caller may be a broadcast that iterates over its receivers.
        self._over = True
        self._owner.writes_dropped += 1
        self._poller.defer(lambda: self.lose("slow client"))
        return False

    # -- ending

    def set_deadline(self, at: float) -> None:
        """Lose the connection at this time on trio's clock; infinity sets no deadline."""
        self._deadline = at
        self._owner.deadlines.schedule(self)

    def next_deadline(self) -> float:
        return min(self._deadline, self._slow_at)

    def expire(self, now: float) -> None:
        if self._blocked and self._is_taking():  # HTTP-40
            self._prolong()
            if self._slow_at <= now:
                self._slow_at = now + self._owner.slow_client_s
            if self.next_deadline() > now:
                return
        slow = self._slow_at <= now
        self._poller.defer(lambda: self.lose("slow client" if slow else "timeout"))
        self._deadline = self._slow_at = inf

    def lose(self, reason: str) -> None:
        """Abort the connection, and tell its receiver the reason."""
        if not self.closed:
            receiver = self._receiver
            self.abort()
            receiver.connection_lost(reason)

    def fail(self, error: BaseException) -> None:
        self._poller.defer(lambda: self.lose("transport error"))

    def finish(self, *, heard_all: bool = False) -> None:
        """Send all output, then close the connection; nothing is handed to the receiver any more.

        First only our direction is closed, and what the peer still sends is thrown away for up to
        DRAIN_S: to close both at once with bytes unread would reset the connection, and the peer
        might lose our last output (HTTP-19). A peer that takes nothing for slow_client_s is lost.

        Args:
            heard_all: whether the peer has said that it sends nothing more, so that the connection
                can be closed at once when the output is sent.
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
        """Close the connection, and drop its output. The receiver is not told."""
        if self.closed:
            return
        self.closed = True
        self._receiver = NOBODY
        self._receive = NOBODY.receive_data
        self._queued = self._blocked = False  # so that write looks at closed
        self._out.clear()
        self._out_bytes = 0
        self._unsent = None
        self._deadline = self._slow_at = inf
        self._owner.deadlines.forget(self)
        self._poller.close_later(self)

    def release(self) -> None:
        self._sock.close()
        self._owner.connection_released(self)

    def _watch(self) -> None:
        self._poller.watch(self, (0 if self._paused else READ) | (WRITE if self._blocked else 0))
