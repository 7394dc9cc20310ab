"""A node's own name: how it is claimed, kept and lost, so that no two living nodes have it.

::

    OUT --CLAIM--> CLAIMING --FREE--> MEMBER
                    | ^  ^              |
                TAKEN |  +-----LOST-----+
                    v CLAIM
                  REFUSED                      LEAVE leads from everywhere to LEFT

A node claims its name on the channel of that name, to which it has subscribed before. A node that
has the name already answers. If nobody else is subscribed there, the name is free at once;
otherwise once nobody has answered for silence_s. That time begins when the claim has come back,
since a claim that nobody can hear proves nothing.

A member is one as long as its own beats come back to it. If none does for silence_s, the others
have not heard it either, and its name may have been taken. The same holds once its connection was
lost, however shortly. So it claims the name anew, under another boot.
"""

from collections.abc import Iterator
from enum import auto
from math import inf
from typing import Final

import msgspec

from trio_socketio.codec.node_messages import NodeFacts
from trio_socketio.errors import LocalProtocolError
from trio_socketio.protocol.tables import Name


class State(Name):
    """The states of a node's claim to its name."""

    OUT = auto()
    CLAIMING = auto()
    MEMBER = auto()
    REFUSED = auto()  # another node has the name; it is claimed again when that one is silent
    LEFT = auto()


class Input(Name):
    """The inputs to a node's claim to its name."""

    CLAIM = auto()
    FREE = auto()
    TAKEN = auto()
    LOST = auto()
    LEAVE = auto()


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.OUT, Input.CLAIM): State.CLAIMING,
    (State.CLAIMING, Input.FREE): State.MEMBER,
    (State.CLAIMING, Input.TAKEN): State.REFUSED,
    (State.MEMBER, Input.LOST): State.CLAIMING,
    (State.REFUSED, Input.CLAIM): State.CLAIMING,
    (State.OUT, Input.LEAVE): State.LEFT,
    (State.CLAIMING, Input.LEAVE): State.LEFT,
    (State.MEMBER, Input.LEAVE): State.LEFT,
    (State.REFUSED, Input.LEAVE): State.LEFT,
}


class SendClaim(msgspec.Struct, frozen=True):
    """Send a claim on the channel of the own name."""


class SendBeat(msgspec.Struct, frozen=True):
    """Send a beat.

    Args:
        number: of the beat.
        to: the name of the node whose channel it is sent on; empty for that of all nodes.
        asks: whether its receivers are to send theirs.
    """

    number: int
    to: str = ""
    asks: bool = False


class SendBye(msgspec.Struct, frozen=True):
    """Send a bye on the channel of all nodes."""


class Count(msgspec.Struct, frozen=True):
    """Count the subscribers of the channel of the own name, and tell `NodeName.counted`.

    Args:
        boot: of the claim for which they are counted.
    """

    boot: str


class Settled(msgspec.Struct, frozen=True):
    """The state has changed.

    Args:
        state: the new one.
        why: a few words for the log.
        holder: the node that has the name; None unless the state is REFUSED.
    """

    state: State
    why: str
    holder: NodeFacts | None = None


Action = SendClaim | SendBeat | SendBye | Count | Settled


class NodeName:
    """The claim of a node to its name. All times: seconds on the caller's clock.

    Args:
        name: the name.
        started_at_s: when the process was started; of two nodes that claim a name at the same time,
            the older one gets it.
        boots: ids that never come again; each membership has its own.
        interval_s: the time between two beats, and between two claims.
        silence_s: a node that has not been heard for this time is gone.

    Attributes:
        boot: of the current claim or membership.
        lag_s: how long the last beat took to come back.
        state: follows the table.
    """

    def __init__(
        self,
        name: str,
        started_at_s: float,
        boots: Iterator[str],
        interval_s: float,
        silence_s: float,
    ) -> None:
        self.boot = next(boots)
        self.lag_s = 0.0
        self.state = State.OUT
        self._name = name
        self._started_at_s = started_at_s
        self._boots = boots
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._due_at = inf  # when to send the next claim or beat, or to claim again
        self._ends_at = inf  # when an unanswered claim is won, or a member that hears nothing ends
        self._number = 0  # of the last beat
        self._sent_at = 0.0  # when it was sent

    def begin(self, now: float) -> list[Action]:
        """Claim the name: the subscriptions are there, or will be."""
        return self._claim(now, Input.CLAIM)

    def end(self) -> list[Action]:
        """Give the name back."""
        if self.state is State.LEFT:
            return []
        was_member = self.state is State.MEMBER
        self._move(Input.LEAVE)
        self._due_at = self._ends_at = inf
        return [SendBye()] if was_member else []

    def announce(self, now: float) -> list[Action]:
        """Send a beat at once, because what it tells has changed."""
        return [self._beat(now)] if self.state is State.MEMBER else []

    def reconnected(self, now: float) -> list[Action]:
        """Claim the name anew: while there was no connection, it was free for others (NODE-18).

        The boot is a new one, because nodes that have seen the name change hands ignore the old one
        for good.
        """
        if self.state is State.MEMBER:
            return self._claim(now, Input.LOST, "the connection to Redis was lost")
        return [SendClaim()] if self.state is State.CLAIMING else []

    def answer(self, to: str) -> list[Action]:
        """Send a beat to one node that has asked for it."""
        return [SendBeat(self._number, to)] if self.state is State.MEMBER else []

    def counted(self, boot: str, subscribers: int, now: float) -> list[Action]:
        """Take the number of subscribers of the channel of the name.

        Args:
            boot: of the claim for which they were counted.
            subscribers: how many there are, this node included.
            now: the time.
        """
        if self.state is State.CLAIMING and boot == self.boot and subscribers == 1:  # NODE-11
            return self._win(now, "nobody else is subscribed to it")
        return []

    # -- messages about this name

    def receive_claim(self, node: NodeFacts, now: float) -> list[Action]:
        """Take a claim to the name, of another node or of this one."""
        if self.state is State.MEMBER and node.boot != self.boot:  # NODE-12
            return [SendBeat(self._number, self._name)]
        if self.state is not State.CLAIMING:
            return []
        if node.boot == self.boot:
            if self._ends_at < inf:
                return []
            self._ends_at = now + self._silence_s
            return [Count(self.boot)]
        if (node.started_at_s, node.boot) < (self._started_at_s, self.boot):  # NODE-14
            return self._lose(node, now)
        return [SendClaim()]  # so that the other one loses

    def receive_beat(self, node: NodeFacts, number: int, now: float) -> list[Action]:
        """Take a beat under the name, of another node or of this one."""
        if node.boot == self.boot:
            if self.state is State.MEMBER:
                self._ends_at = now + self._silence_s
                if number == self._number:
                    self.lag_s = now - self._sent_at
            return []
        if self.state is State.CLAIMING:  # NODE-12
            return self._lose(node, now)
        if self.state is State.REFUSED:
            self._due_at = now + self._silence_s
        elif self.state is State.MEMBER:  # each of the two claims anew, and one of them wins
            return self._claim(now, Input.LOST, f"boot {node.boot} beats under it, too")
        return []

    def receive_bye(self, boot: str, now: float) -> list[Action]:
        """Take the bye of a node with the name."""
        if self.state is State.REFUSED and boot != self.boot:
            self._due_at = now
        return []

    # -- time

    def advance(self, now: float) -> list[Action]:
        """Do what is due."""
        if self.state is State.CLAIMING:
            if now >= self._ends_at:  # NODE-13
                return self._win(now, "nobody has answered")
            if now >= self._due_at:
                self._due_at = now + self._interval_s
                return [SendClaim()]
        elif self.state is State.MEMBER:
            if now >= self._ends_at:  # NODE-15
                return self._claim(now, Input.LOST, "its own messages do not come back")
            if now >= self._due_at:
                return [self._beat(now)]
        elif self.state is State.REFUSED and now >= self._due_at:
            return self._claim(now, Input.CLAIM)
        return []

    def pardon(self, paused_s: float, now: float) -> None:
        """Allow for a time in which this program has not run, and so has read no answers."""
        if self.state is State.CLAIMING and self._ends_at < inf:
            # The claim may have come back only after that.
            self._ends_at = min(self._ends_at + paused_s, now + self._silence_s)

    def next_deadline(self) -> float:
        """When `advance` has something to do."""
        return min(self._due_at, self._ends_at)

    # -- the steps

    def _claim(self, now: float, occurrence: Input, why: str = "") -> list[Action]:
        if self.state is not State.OUT:
            self.boot = next(self._boots)
        self._move(occurrence)
        self._due_at = now + self._interval_s
        self._ends_at = inf
        lost = [Settled(State.CLAIMING, why)] if occurrence is Input.LOST else []
        return [*lost, SendClaim()]

    def _win(self, now: float, why: str) -> list[Action]:
        self._move(Input.FREE)
        self._ends_at = now + self._silence_s
        return [Settled(State.MEMBER, why), self._beat(now, asks=True)]

    def _lose(self, holder: NodeFacts, now: float) -> list[Action]:
        self._move(Input.TAKEN)
        self._ends_at = inf
        self._due_at = now + self._silence_s
        return [Settled(State.REFUSED, "another node has it", holder)]

    def _beat(self, now: float, *, asks: bool = False) -> SendBeat:  # NODE-10
        self._number += 1
        self._sent_at = now
        self._due_at = now + self._interval_s
        return SendBeat(self._number, asks=asks)

    def _move(self, occurrence: Input) -> None:
        before = self.state
        if (before, occurrence) not in TRANSITIONS:
            raise LocalProtocolError(
                f"{occurrence.name} cannot happen to the name of a node that is {before.name}"
            )
        self.state = TRANSITIONS[before, occurrence]
