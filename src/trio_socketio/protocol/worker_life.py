"""The life of a worker process, as its parent knows it.

::

    STARTING --READY--> SERVING --DRAIN--> DRAINING --ENDED--> DEAD --START--> STARTING
       | |                 |                  ^                 ^
       | +------DRAIN------|------------------+                 |
       +------ENDED--------+--ENDED--> WAITING --DRAIN----------+
                                          |
                                          +--TIME_CAME--> STARTING

    SERVING --SILENT--> BLOCKED --ANSWERED--> SERVING
                           +--DRAIN--> DRAINING
                           +--ENDED--> WAITING

A worker that ends without having been asked to is WAITING to be started again: not at all the first
time, and longer each time that it does not serve for a while. One that was drained is DEAD, and
stays so until the parent wants it back. One that has not answered for a while is BLOCKED; see
Silence.
"""

from collections import deque
from enum import auto
from math import inf
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.backoff import Backoff
from trio_socketio.protocol.tables import Name

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 15.0
"""Of at most this time a worker has fewer than MAX_DEATHS deaths in WINDOW_S."""
STEADY_S: Final = 60.0
"""A worker that has served for so long is started again at once when it dies."""
MAX_DEATHS: Final = 5
"""With more deaths of workers in WINDOW_S, something is wrong that starting again does not mend."""
WINDOW_S: Final = 60.0
LOOK_S: Final = 1.0
"""How often a parent checks whether its workers have answered."""
NOTICE_S: Final = 5.0
"""A worker that has not answered for this long is BLOCKED."""


class State(Name):
    """The states of a worker."""

    STARTING = auto()
    SERVING = auto()
    BLOCKED = auto()  # it serves, but has not answered for a while
    DRAINING = auto()
    WAITING = auto()  # it has died, and is to be started again
    DEAD = auto()


class Input(Name):
    """The inputs to the life of a worker."""

    READY = auto()
    SILENT = auto()
    ANSWERED = auto()
    DRAIN = auto()
    ENDED = auto()
    TIME_CAME = auto()
    START = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.STARTING, Input.READY): State.SERVING,
    (State.STARTING, Input.DRAIN): State.DRAINING,
    (State.STARTING, Input.ENDED): State.WAITING,
    (State.SERVING, Input.DRAIN): State.DRAINING,
    (State.SERVING, Input.ENDED): State.WAITING,
    (State.SERVING, Input.SILENT): State.BLOCKED,
    (State.BLOCKED, Input.ANSWERED): State.SERVING,
    (State.BLOCKED, Input.DRAIN): State.DRAINING,
    (State.BLOCKED, Input.ENDED): State.WAITING,
    (State.DRAINING, Input.ANSWERED): State.DRAINING,
    (State.DRAINING, Input.READY): State.DRAINING,  # it was ready when it was told
    (State.DRAINING, Input.DRAIN): State.DRAINING,
    (State.DRAINING, Input.ENDED): State.DEAD,
    (State.WAITING, Input.DRAIN): State.DEAD,
    (State.WAITING, Input.TIME_CAME): State.STARTING,
    (State.DEAD, Input.DRAIN): State.DEAD,
    (State.DEAD, Input.START): State.STARTING,
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((state, event))  # WORK-01
    if following is None:
        raise LocalProtocolError(f"{event.name} of a worker that is {state.name}")
    return following


class WorkerLife:
    """The life of one worker, over all its processes. All times: seconds on the caller's clock.

    Args:
        now: it is STARTING from then on.

    Attributes:
        state: read-only.
        since: when it came into this state.
        restarts: how often it was started again.
        start_at: when it has to be started again; infinity if it is not WAITING.
    """

    __slots__ = ("_backoff", "_served_at", "_wait_s", "restarts", "since", "start_at", "state")

    def __init__(self, now: float) -> None:
        self.state = State.STARTING
        self.since = now
        self.restarts = 0
        self.start_at = inf
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, jitter=0.0)
        self._served_at = inf
        self._wait_s = 0.0  # before it is started again

    def ready(self, now: float) -> None:
        """Note that it serves."""
        self._served_at = now
        self._move(Input.READY, now)

    def silent(self, now: float) -> None:
        """Note that it no longer answers."""
        self._move(Input.SILENT, now)

    def answered(self, now: float) -> None:
        """Note that it answers again."""
        self._move(Input.ANSWERED, now)

    def drain(self, now: float) -> None:
        """Note that it was asked to end."""
        self._move(Input.DRAIN, now)
        self.start_at = inf

    def ended(self, now: float, *, refused: bool = False) -> None:
        """Note that its process has ended.

        Args:
            now: the time.
            refused: whether it cannot use its configuration. That does not change within seconds.
        """
        self._move(Input.ENDED, now)
        if self.state is not State.WAITING:
            return
        if now - self._served_at >= STEADY_S:
            self._backoff.succeeded()
            self._wait_s = 0.0
        self.start_at = now + (LONGEST_WAIT_S if refused else self._wait_s)  # WORK-02
        self._wait_s = self._backoff.next_delay_s(0.5)
        self._served_at = inf

    def look(self, now: float) -> bool:
        """Return whether it has to be started again now; the caller starts it."""
        if self.state is not State.WAITING or now < self.start_at:
            return False
        self.start_at = inf
        self.restarts += 1
        self._move(Input.TIME_CAME, now)
        return True

    def start(self, now: float) -> None:
        """Note that it is started anew, after it was drained."""
        self.restarts += 1
        self._served_at = inf
        self._move(Input.START, now)

    def _move(self, received: Input, now: float) -> None:
        following = advance(self.state, received)
        if following is not self.state:
            self.state, self.since = following, now


class Verdict(Name):
    """What the parent has to do about a silent worker."""

    NOTHING = auto()
    NOTICED = auto()  # it is BLOCKED from now on
    TOO_LONG = auto()  # it has to be ended; returned once


class Silence:
    """How long a worker's process has not answered. All times: seconds on the caller's clock.

    Silence counts only while the parent has listened: each look counts for LOOK_S at most. So a
    worker is not blamed for time in which its parent itself stood still, because the parent or the
    whole machine was stopped (WORK-62).

    Args:
        most_s: how long it may fail to answer before it has to be ended; 0 means for ever.

    Attributes:
        is_noticed: whether that has lasted for NOTICE_S, or most_s if that is less.
        is_over: whether it has lasted for most_s, and the process has to be ended.
        is_asked: whether a question to it is under way; the caller sets it.
        heard_at: when it last answered; infinity before the first time.
    """

    __slots__ = (
        "_looked_at", "_most_s", "_notice_s", "_silent_s", "heard_at", "is_asked", "is_noticed",
        "is_over",
    )  # fmt: skip

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s or inf
        self._notice_s = min(NOTICE_S, self._most_s)
        self._looked_at = inf
        self._silent_s = 0.0
        self.is_noticed = self.is_over = self.is_asked = False
        self.heard_at = inf

    @property
    def has_begun(self) -> bool:
        """Whether it has said anything. Until then no answer is expected: it is loading the app."""
        return self.heard_at < inf

    def heard(self, now: float) -> float:
        """Note that it has said something; return how long it was BLOCKED, or 0."""
        silent_s = now - self.heard_at if self.is_noticed else 0.0
        self.heard_at = self._looked_at = now
        self._silent_s = 0.0
        self.is_noticed = self.is_asked = False
        return silent_s

    def look(self, now: float, *, is_stopped: bool = False) -> Verdict:
        """Judge it; to be called every LOOK_S.

        Args:
            now: the time.
            is_stopped: whether a signal or a debugger has stopped it. Whoever did that will resume
                it, so it is not ended meanwhile (WORK-63).
        """
        if not self.has_begun:
            return Verdict.NOTHING
        step_s = min(now - self._looked_at, LOOK_S)
        self._looked_at = now
        if self.is_noticed and is_stopped:
            return Verdict.NOTHING
        self._silent_s += step_s
        if not self.is_noticed:
            self.is_noticed = self._silent_s >= self._notice_s
            return Verdict.NOTICED if self.is_noticed else Verdict.NOTHING
        if self.is_over or self._silent_s < self._most_s:
            return Verdict.NOTHING
        self.is_over = (
            True  # returned once: it may take a while to end, such as while it waits for a disk
        )
        return Verdict.TOO_LONG


class Deaths:
    """Counts the deaths of all workers in the last WINDOW_S."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_DEATHS)

    def note(self, now: float) -> bool:
        """Note a death; return whether there were more than MAX_DEATHS (WORK-03)."""
        is_too_many = len(self._times) == MAX_DEATHS and now - self._times[0] < WINDOW_S
        self._times.append(now)
        return is_too_many
