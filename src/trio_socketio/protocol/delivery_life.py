"""The life of a confirmed delivery: a message that each of its users has to acknowledge.

::

    DUE <--TIME_CAME-- WAITING
     |                    ^
     +----SENT------------+
     |                    |
     +---ALL_CONFIRMED----+---> CONFIRMED
     +---RAN_OUT----------+---> EXPIRED

In DUE a copy has to be sent to every user who has not confirmed yet, and in WAITING the answers may
come, until the next retry or the end. CONFIRMED and EXPIRED are final: what comes later changes
nothing, so a report that somebody has read remains true.
"""

from collections.abc import Iterable, Sequence
from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a delivery."""

    DUE = auto()
    WAITING = auto()
    CONFIRMED = auto()  # by all users
    EXPIRED = auto()  # before all of them have confirmed


class Input(Name):
    """The inputs to the life of a delivery."""

    SENT = auto()
    TIME_CAME = auto()  # of a retry
    ALL_CONFIRMED = auto()
    RAN_OUT = auto()  # the time for all of it


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.DUE, Input.SENT): State.WAITING,
    (State.DUE, Input.ALL_CONFIRMED): State.CONFIRMED,
    (State.DUE, Input.RAN_OUT): State.EXPIRED,
    (State.WAITING, Input.TIME_CAME): State.DUE,
    (State.WAITING, Input.ALL_CONFIRMED): State.CONFIRMED,
    (State.WAITING, Input.RAN_OUT): State.EXPIRED,
}


def advance(state: State, event: Input) -> State:
    """Apply one input.

    Raises:
        LocalProtocolError: it cannot happen in this state.
    """
    following = TRANSITIONS.get((state, event))  # DELIV-01
    if following is None:
        raise LocalProtocolError(f"{event.name} of a delivery that is {state.name}")
    return following


class DeliveryLife:
    """Knows who has yet to confirm, and when the next copies have to be sent.

    All times are in seconds on one clock, which the caller hands in. A delivery that another
    process has begun starts in DUE as well: its users get one more copy, with the same id.

    Args:
        users: those who have not confirmed yet.
        accepted_at: when the message was accepted.
        schedule_s: how long after that the retries follow, ascending.
        expires_at: when it ends, whoever has confirmed.

    Attributes:
        state: read-only.
        pending: the users who have not confirmed, in order.
        next_at: when `look` has something to do; only that and `confirm` change the state.
    """

    __slots__ = ("_retries", "expires_at", "next_at", "pending", "state")

    def __init__(
        self,
        users: Iterable[str],
        accepted_at: float,
        schedule_s: Sequence[float],
        expires_at: float,
    ) -> None:
        self.state = State.DUE
        self.pending = dict.fromkeys(users)
        self.expires_at = expires_at
        self.next_at = accepted_at
        self._retries = [accepted_at + after_s for after_s in reversed(schedule_s)]
        if not self.pending:
            self.state = advance(self.state, Input.ALL_CONFIRMED)

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in (State.CONFIRMED, State.EXPIRED)

    def look(self, now: float) -> tuple[str, ...]:
        """Return the users to whom a copy has to be sent now; the caller sends it.

        Retries that were missed, because no process was there, become one (DELIV-04).
        """
        if self.is_over:
            return ()
        if now >= self.expires_at:  # DELIV-03
            self.state = advance(self.state, Input.RAN_OUT)
            return ()
        if self.state is State.WAITING:
            if now < self.next_at:
                return ()
            self.state = advance(self.state, Input.TIME_CAME)
        while self._retries and self._retries[-1] <= now:
            self._retries.pop()
        self.next_at = self._retries[-1] if self._retries else self.expires_at  # DELIV-02
        self.state = advance(self.state, Input.SENT)
        return tuple(self.pending)

    def confirm(self, user: str) -> bool:
        """Note that a user has confirmed; return whether that is new.

        It is not if the user is none of those who have to, or the delivery is over (DELIV-05).
        """
        if self.is_over or user not in self.pending:
            return False
        del self.pending[user]
        if not self.pending:
            self.state = advance(self.state, Input.ALL_CONFIRMED)
        return True
