"""One accepted connection on the poller: bytes in and bytes out, within bounds.

A connection is closed in two steps. `abort` only marks and silences it; its descriptor is closed
after the poller's batch, in which the number might otherwise be reused. `write` and `abort` never
call back: whatever goes wrong in them is deferred to the end of the turn.
"""

import socket
from functools import partial
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from trio_socketio.net.backlog import Backlog
from trio_socketio.net.driving import HANG_UP, READ, WRITE, Entry, Owner
from trio_socketio.net.receiver import NOBODY, Receiver
from trio_socketio.net.tcp import count_unconfirmed, set_user_timeout
from trio_socketio.net.traffic import Traffic
from trio_socketio.protocol.connection import (
    BLOCKED,
    CLOSED,
    FINISHING,
    HELD,
    IDLE,
    OFF,
    ON,
    OPEN,
    OVER,
    PARTING,
    PAUSED,
    QUEUED,
    SHUT,
    Input,
    Reading,
    advance,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_socketio.net.shared_output import SharedOutput

READ_BYTES: Final = 65536
DRAIN_S: Final = 1.0  # how long we go on reading, and discarding, after our last byte
EARLY_FLUSH_BYTES: Final = 1 << 18
"""Output above this is sent within the turn, so that the bounds hold within a turn too: BND-11."""


class Connection:
    """A non-blocking stream socket.

    It has 19 attributes and 38 methods, because three others drive it: the poller, the timetable,
    and what reads from it and writes to it. What concerns slow peers only is in `Backlog`. The
    output of a turn is not a part of its own: every message would take one more call.

    Args:
        owner: the group that it belongs to.
        sock: connected and non-blocking; the connection closes it.
        address: the peer's address as text; empty for a Unix socket.

    Attributes:
        secure: whether the peer uses TLS.
        life: follows the table of protocol.connection.
        reading: whether it is read; changed by hold_reading, pause_reading and resume_reading.
        traffic: the numbers to which it adds what it carries; shared until count_apart.
        backlog: what the kernel has refused; None if it has always taken everything.
        on_drained: called once, when all output has been given to the kernel.
        on_end: stops reading when the peer sends no more; without it, the connection is lost then.
        fault: the error that ended it; None if it ended in another way.
    """

    secure: ClassVar[bool] = False

    __slots__ = (
        "__weakref__",
        "_apart",
        "_deadline",
        "_out",
        "_out_bytes",
        "_output",
        "_receive",
        "_receiver",
        "_shared",
        "_sock",
        "address",
        "backlog",
        "deadline_entry",
        "fault",
        "life",
        "on_drained",
        "on_end",
        "owner",
        "reading",
        "traffic",
    )

    def __init__(self, owner: Owner, sock: socket.socket, address: str) -> None:
        self.owner, self.traffic = owner, owner.traffic
        self._sock, self.address = sock, address
        self.deadline_entry: Entry | None = None
        self._deadline = inf
        self._receiver: Receiver = NOBODY
        self._receive: Callable[[bytes], None] = NOBODY.receive_data
        self.life, self.reading, self._output = OPEN, ON, IDLE
        self._out: list[bytes] = []  # written in this turn
        self._out_bytes = self._apart = 0  # its size; how many of its pieces are not packets
        self._shared: SharedOutput | None = None  # what follows it, in this turn
        self.backlog: Backlog | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.fault: OSError | None = None

    @property
    def closed(self) -> bool:
        """Whether it has ended; its descriptor may be open until the end of the batch."""
        return self.life is CLOSED

    def set_receiver(self, receiver: Receiver) -> None:
        """Hand what is read from now on to a receiver."""
        self._receiver = receiver
        self._receive = receiver.receive_data

    def count_apart(self) -> None:
        """Count what it carries from now on by itself; of output that waits, the bytes alone."""
        self.traffic = Traffic()
        self._apart = len(self._out)

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._sock.fileno()

    # -- reading

    def on_ready(self, events: int) -> bool:
        """Send what waits, and read once; return whether bytes came."""
        if events & WRITE:
            self._on_writable()
            if events == WRITE:
                return False
        if self.reading is not ON:
            # A Unix socket reports a hang-up as soon as its peer has closed, even if bytes are left
            # to read. While reading is held, the receiver still works on these and reads on
            # afterwards. If it is off, another connection of the batch may have closed this one.
            if events & HANG_UP and self.reading is PAUSED:
                self.lose("transport close")
            return False
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self.lose("transport error", error)
            return False
        if data:
            self.traffic.bytes_in += len(data)
            self._receive(data)
            return True
        if self.on_end is not None and self.life is OPEN:
            self.on_end()
        else:
            self.lose("transport close")
        return False

    def on_more(self) -> None:
        if not self.closed:
            self._receiver.receive_more()

    def call_again(self) -> None:
        """Have the receiver's receive_more called in the poller's next turn."""
        self.owner.poller.call_again(self)

    def pause_reading(self, user_timeout_s: float) -> None:
        """Stop reading until resume_reading.

        Only a reset is noticed, and a peer that confirms none of our output for user_timeout_s.
        """
        if self.closed:
            return
        self._set_reading(PAUSED)
        set_user_timeout(self._sock, user_timeout_s)

    def hold_reading(self) -> None:
        """Stop reading while what was read is still being handled; a hang-up is not noticed.

        The caller goes on in the next turn, and in the end calls resume_reading or pause_reading.
        """
        self._set_reading(HELD)

    def resume_reading(self) -> None:
        """Read again after hold_reading or pause_reading."""
        self._set_reading(ON)

    def _set_reading(self, reading: Reading) -> None:
        before = self.reading
        if before is not OFF:
            self.reading = reading
            # A hang-up is reported once, and ignored if reading is held: watching reports it again.
            if reading is not before and (before is ON or reading is not HELD):
                self._watch()

    # -- writing

    @property
    def leaving_bytes(self) -> int:
        """Bytes of output that the peer has not confirmed. Asking costs a system call."""
        return 0 if self.closed else self.waiting_bytes + count_unconfirmed(self._sock)

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel refused output that is still waiting."""
        return self._output is BLOCKED or self._output is OVER

    @property
    def waiting_bytes(self) -> int:
        """Bytes of output that the kernel has not accepted."""
        return self.unflushed[1] + (0 if self.backlog is None else len(self.backlog.unsent))

    @property
    def unflushed(self) -> tuple[int, int]:
        """The packets and bytes that were written since the last flush."""
        shared = self._shared
        pieces, byte_count = (0, 0) if shared is None else (len(shared.pieces), shared.byte_count)
        return len(self._out) - self._apart + pieces, self._out_bytes + byte_count

    def write(self, data: bytes) -> None:
        """Have data sent at the end of the turn, unless our direction is closed. Never raises."""
        if self._output is not QUEUED:
            if self._output is IDLE:
                self.owner.poller.mark_dirty(self)  # first, because it raises in another thread
                self._output = QUEUED
            elif not self._admits():
                return
        self._out.append(data)
        self._out_bytes += len(data)
        # The flush of a connection that is being finished has to be the last one.
        if self._out_bytes > EARLY_FLUSH_BYTES and self._output is QUEUED and self.life is OPEN:
            self._flush_early()

    def write_apart(self, data: bytes) -> None:
        """Write something that does not count as a packet, such as the close of a WebSocket."""
        before = len(self._out)
        self._apart += 1
        self.write(data)
        if len(self._out) == before and self._apart:  # neither kept nor flushed early
            self._apart -= 1

    def _flush_early(self) -> None:
        if self.owner.poller.is_fenced():  # LEASE-43: it may have to be dropped
            return
        try:
            self.flush()  # if the kernel refuses some, the bounds apply to the next write already
        except Exception as error:
            self.fail(error)

    def drop_output(self) -> int:
        """Drop what the kernel was not given yet. Returns how many packets that were."""
        if self._shared is not None:
            self._shared.detach(self)
        dropped = len(self._out) - self._apart
        self._out.clear()
        self._out_bytes = self._apart = 0
        return dropped

    def flush(self) -> None:
        out, traffic, shared = self._out, self.traffic, self._shared
        if shared is not None:
            self._shared = None
            data = shared.take()
            traffic.packets_out += len(shared.pieces)
            if out:
                data = b"".join((*out, data))
        elif self._output is QUEUED:
            data = out[0] if len(out) == 1 else b"".join(out)
        else:  # it was flushed earlier in this turn
            return
        self._output = IDLE
        if out:
            traffic.packets_out += len(out) - self._apart
            out.clear()
            self._out_bytes = self._apart = 0
        traffic.bytes_out += len(data)
        self._send(data)

    def _send(self, data: bytes | memoryview) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.owner.poller.defer(partial(self.lose, "transport error", error))
            return
        if sent != len(data):
            self._wait_for_peer(memoryview(data)[sent:], progress=sent > 0)
            return
        if self.life is not OPEN and not self._out:
            self._shut_down()
        if self.on_drained is not None and not self._out:
            on_drained, self.on_drained = self.on_drained, None
            on_drained()

    def _wait_for_peer(self, unsent: memoryview, *, progress: bool) -> None:
        backlog = self.backlog or Backlog(self.owner.output_bound_bytes, self.owner.slow_client_s)
        self.backlog, self._output = backlog, BLOCKED
        backlog.unsent = unsent
        backlog.is_taking(self.leaving_bytes)  # remembers how much that is
        self._watch()
        if progress:
            self._prolong()
        self._judge(backlog, progress=progress)

    def _on_writable(self) -> None:
        backlog = self.backlog
        if backlog is None or self._output is not BLOCKED:
            return
        self._output = IDLE
        self._send(backlog.take())
        if self.is_blocked or self.closed:
            return
        backlog.gives_up_at = inf
        self._prolong()
        if self._out:
            self._output = QUEUED
            self.flush()
        if not self.is_blocked:
            self._watch()

    def _prolong(self) -> None:
        """Move the deadline of a peer that takes our output: it is not late (HTTP-40)."""
        if self._deadline < inf and self.life in (OPEN, FINISHING):
            self._deadline = max(self._deadline, trio.current_time() + self.owner.slow_client_s)

    def _judge(self, backlog: Backlog, *, progress: bool) -> None:
        backlog.judge(self.waiting_bytes, trio.current_time(), progress=progress)
        if backlog.gives_up_at < inf:
            self.owner.deadlines.schedule(self)

    def _admits(self) -> bool:
        """Whether there may be more output behind what waits; if not, it is dropped."""
        if self._shared is not None:
            self._shared.detach(self)
            return True
        backlog = self.backlog
        if self._output is SHUT or backlog is None:
            return False
        waiting_bytes = self.waiting_bytes
        if self._output is BLOCKED and not backlog.is_too_long(waiting_bytes):
            if backlog.gives_up_at == inf and waiting_bytes > self.owner.output_bound_bytes:
                self._judge(backlog, progress=False)
            return True
        self.owner.writes_dropped += 1
        if self._output is BLOCKED:
            # HTTP-41. Deferred: the caller may be a broadcast that iterates over its receivers.
            self._output = OVER
            self.owner.poller.defer(lambda: self.lose("slow client"))
        return False

    # -- ending

    def set_deadline(self, at: float) -> None:
        """Lose the connection at this time on trio's clock; infinity sets no deadline."""
        self._deadline = at
        if (entry := self.deadline_entry) is None or at < entry.at:  # else it is checked in time
            self.owner.deadlines.schedule(self)

    def next_deadline(self) -> float:
        backlog = self.backlog
        return self._deadline if backlog is None else min(self._deadline, backlog.gives_up_at)

    def expire(self, now: float) -> None:
        backlog, reason = self.backlog, "timeout"
        if backlog is not None:
            if self._output is BLOCKED and backlog.is_taking(self.leaving_bytes):  # HTTP-40
                self._prolong()
                backlog.judge(self.waiting_bytes, now, progress=True)
                if self.next_deadline() > now:
                    return
            if backlog.gives_up_at <= now:
                reason = "slow client"
            backlog.gives_up_at = inf
        self._deadline = inf
        self.owner.poller.defer(lambda: self.lose(reason))

    def lose(self, reason: str, fault: OSError | None = None) -> None:
        """Abort the connection, and tell its receiver the reason; a fault is kept for later."""
        if not self.closed:
            receiver, self.fault = self._receiver, fault and fault.with_traceback(None)
            self.abort()
            receiver.connection_lost(reason)

    def fail(self, error: BaseException) -> None:
        self.owner.poller.defer(lambda: self.lose("transport error"))

    def finish(self, *, heard_all: bool = False) -> None:
        """Send all output, then close the connection; nothing is handed to the receiver any more.

        First only our direction is closed, and what the peer still sends is thrown away for up to
        DRAIN_S: to close both at once with bytes unread would reset the connection, and the peer
        might lose our last output (HTTP-19). A peer that takes nothing for slow_client_s is lost.

        Args:
            heard_all: whether the peer sends nothing more, so that nothing has to be drained.
        """
        if self.life is not OPEN:
            return
        self.life = advance(self.life, Input.PART if heard_all else Input.FINISH)
        self.set_receiver(NOBODY)
        self.set_deadline(trio.current_time() + self.owner.slow_client_s)
        if not (heard_all and self.reading is PAUSED):  # it would read the end, and lose the output
            self.resume_reading()
        if self._output is IDLE:
            self._shut_down()

    def _shut_down(self) -> None:
        """Close our direction, because all output was sent."""
        if self.life is PARTING:
            self._close(Input.SENT)
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self.life = advance(self.life, Input.SENT)
        self._output = SHUT
        self.set_deadline(min(self._deadline, trio.current_time() + DRAIN_S))

    def abort(self) -> None:
        """Close the connection, and drop its output. The receiver is not told."""
        if not self.closed:
            self._close(Input.ABORT)

    def _close(self, event: Input) -> None:
        self.life = advance(self.life, event)
        self._receiver, self._receive, self.on_end = NOBODY, NOBODY.receive_data, None
        self.drop_output()
        self.reading, self._output, self._deadline = OFF, SHUT, inf
        if self.backlog is not None:
            self.backlog.take()
            self.backlog.gives_up_at = inf
        self.owner.deadlines.forget(self)
        self.owner.poller.close_later(self)

    def release(self) -> None:
        self._sock.close()
        self.owner.connection_released(self)

    def _watch(self) -> None:
        events = (READ if self.reading is ON else 0) | (WRITE if self.is_blocked else 0)
        self.owner.poller.watch(self, events)
