"""What one node knows of the cluster: its own name, and the other nodes. Without I/O.

Every input returns what is to be done: messages to send, and news of nodes. However messages were
lost, all nodes agree on who lives soon after messages arrive again (NODE-17). A node beats once in
INTERVAL_S, and is gone when it has not been heard for SILENCE_S. That is three beats, because a
program that does one thing for two seconds, or a Redis that writes a file, is no reason to give a
node up. A hundred nodes cost each of them a hundred small messages a second.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from trio_socketio.codec.node_messages import Beat, Bye, Claim
from trio_socketio.protocol.node_name import Action, NodeName, State
from trio_socketio.protocol.node_roster import News, Roster

INTERVAL_S: Final = 1.0
SILENCE_S: Final = 3.0

Output = Action | News


class NodesMachine:
    """The name of a node, and its roster of others. All times: seconds on the caller's clock.

    Args:
        name: the name of this node.
        started_at_s: when its process was started, seconds since 1970.
        boots: ids that never come again.
        interval_s: the time between two beats.
        silence_s: a node that has not been heard for this time is gone.
        keeps_s: how long a node may have clients after it has gone without a goodbye.

    Attributes:
        own: the claim of this node to its name.
        roster: the other nodes.
    """

    def __init__(
        self,
        name: str,
        started_at_s: float,
        boots: Iterator[str],
        interval_s: float = INTERVAL_S,
        silence_s: float = SILENCE_S,
        keeps_s: float = 0.0,
    ) -> None:
        self.own = NodeName(name, started_at_s, boots, interval_s, silence_s)
        self.roster = Roster(silence_s, keeps_s)
        self._name = name
        self._interval_s = interval_s
        self._awake_at = 0.0  # when advance was called last

    @property
    def is_member(self) -> bool:
        """Whether this node has its name, and the others know of it."""
        return self.own.state is State.MEMBER

    def begin(self, now: float) -> Iterable[Output]:
        """Claim the name."""
        self._awake_at = now
        return self.own.begin(now)

    def receive(self, message: Claim | Beat | Bye, now: float) -> Iterable[Output]:
        """Take a message of any node, this one included."""
        if isinstance(message, Claim):
            is_own = message.node.name == self._name
            return self.own.receive_claim(message.node, now) if is_own else ()
        if isinstance(message, Bye):
            if message.name == self._name:
                return self.own.receive_bye(message.boot, now)
            return self.roster.receive_bye(message.name, message.boot)
        if message.node.name == self._name:
            return self.own.receive_beat(message.node, message.number, now)
        news = self.roster.receive_beat(message.node, now)
        return [*news, *self.own.answer(message.node.name)] if message.asks else news

    def advance(self, now: float) -> Iterable[Output]:
        """Do what is due.

        It is to be called once in interval_s at least. After a longer time this program has not
        run, and nobody is judged by what it has not read meanwhile.
        """
        paused_s = now - self._awake_at - self._interval_s
        self._awake_at = now
        if paused_s > self._interval_s:
            self.own.pardon(paused_s, now)
            self.roster.pardon(paused_s, now)
        return [*self.own.advance(now), *self.roster.advance(now)]

    def next_deadline(self) -> float:
        """When `advance` is to be called, at the latest."""
        soon = self._awake_at + self._interval_s
        return min(soon, self.own.next_deadline(), self.roster.next_deadline())
