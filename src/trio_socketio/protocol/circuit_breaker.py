"""Stops asking somebody who does not answer, so that nobody waits for that answer in vain.

::

    CLOSED --TRIPPED--> OPEN --COOLED--> HALF_OPEN --SUCCEEDED--> CLOSED
                         ^                   |
                         +-FAILED, ABANDONED-+

While it is OPEN nothing is asked. HALF_OPEN lets one question pass; its answer decides.
"""

from dataclasses import dataclass
from enum import auto
from typing import Final

from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a circuit breaker."""

    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()  # one question is under way


class Input(Name):
    """What can happen to a circuit breaker."""

    TRIPPED = auto()  # too many questions in a row have failed
    COOLED = auto()  # it was open for long enough, and a question comes
    SUCCEEDED = auto()
    FAILED = auto()
    ABANDONED = auto()  # whoever asked has left before the answer came


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.CLOSED, Input.SUCCEEDED): State.CLOSED,
    (State.CLOSED, Input.FAILED): State.CLOSED,
    (State.CLOSED, Input.TRIPPED): State.OPEN,  # IDENT-20
    # Clients that come and go at once must not stop the logins of all others (IDENT-22).
    (State.CLOSED, Input.ABANDONED): State.CLOSED,
    (State.OPEN, Input.COOLED): State.HALF_OPEN,  # IDENT-21
    (State.HALF_OPEN, Input.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Input.FAILED): State.OPEN,
    (State.HALF_OPEN, Input.ABANDONED): State.OPEN,
}


@dataclass(slots=True)
class CircuitBreaker:
    """A circuit breaker. All times are seconds on the caller's clock.

    Args:
        max_failures: after so many failures in a row nothing is asked for a while.
        open_s: for how long.
        state: changed by this object alone.
        failures: how many questions in a row have failed.
        cools_at: when a question may be asked again.
        turn: tells apart the questions of different states; handed out by `ask`.
    """

    max_failures: int
    open_s: float
    state: State = State.CLOSED
    failures: int = 0
    cools_at: float = 0.0
    turn: int = 0

    def ask(self, now: float) -> int | None:
        """Ask whether a question may be asked.

        Returns:
            What to hand to `succeeded`, `failed` or `abandoned`, once; None if it must not be
            asked. What was asked before the state changed does not change it again.
        """
        if self.state is State.HALF_OPEN or (self.state is State.OPEN and now < self.cools_at):
            return None
        if self.state is State.OPEN:
            self._move(Input.COOLED)
        return self.turn

    def succeeded(self, turn: int) -> None:
        """Note that a question was answered."""
        if turn == self.turn:
            self.failures = 0
            self._move(Input.SUCCEEDED)

    def failed(self, turn: int, now: float) -> None:
        """Note that a question was not answered."""
        if turn != self.turn:
            return
        self.failures += 1
        if self.state is State.CLOSED and self.failures < self.max_failures:
            self._move(Input.FAILED)
            return
        self._move(Input.TRIPPED if self.state is State.CLOSED else Input.FAILED)
        self.cools_at = now + self.open_s

    def abandoned(self, turn: int) -> None:
        """Note that nobody waits for the answer any more; the next question decides instead."""
        if turn == self.turn:
            self._move(Input.ABANDONED)

    def _move(self, occurrence: Input) -> None:
        before = self.state
        if (before, occurrence) not in TRANSITIONS:
            raise LocalProtocolError(
                f"{occurrence.name} cannot happen to a breaker that is {before.name}"
            )
        self.state = TRANSITIONS[before, occurrence]
        if self.state is not before:
            self.turn += 1
