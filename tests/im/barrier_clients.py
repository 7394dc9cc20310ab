"""Logins of one user on several nodes at the same moment, in a process of their own.

``python -m tests.im.barrier_clients PORTS ROUNDS SEED`` plays ROUNDS rounds in each namespace of
RULES. In a round, AT_ONCE clients wait with their sessions open, on WebSocket or long-polling, at
the servers on PORTS (joined by commas) in turn; then all of them ask to be let in, in one go. The
result is one line of JSON; it has the survivors of each round, which the log must name as well.
"""

import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Any, Final

from tests.im.raw_clients import CHAT, STUCK_S, Client, Crowd, Polling, WebSocket

AT_ONCE: Final = 3
LANES: Final = 4
"""So many users of each namespace are busy at a time."""
KEPT: Final = 60
"""So many clients that are out stay connected for a while."""


@dataclass(frozen=True)
class Rule:
    """How a namespace gives its seats.

    Args:
        policy: of the seats.
        most: how many clients of a user may be in.
        refusal: what others are told; empty if they replace the older ones.
    """

    policy: Any
    most: int
    refusal: str


RULES: Final = {
    CHAT: Rule("newest", 1, ""),
    "/reject": Rule("reject", 1, "refused: already connected"),
    "/many": Rule("many", 2, "refused: too many sessions"),
}


class Lane:
    """One round after the other in one namespace.

    With the policy "newest" there is one user, whose survivor may be in, leave or break its
    connection when the next clients come. Otherwise each round has a user of its own, since nobody
    is told when a seat that was given back is free; this one's clients come twice.
    """

    def __init__(self, game: "Game", namespace: str, number: int, rounds: int) -> None:
        self.namespace = namespace
        self.number = number
        self.rounds_left = rounds
        self.user = ""
        self.is_over = False
        self._game = game
        self._rule = RULES[namespace]
        self._clients: list[Client] = []  # of the user, but not those that were out before
        self._survivors: list[Client] = []
        self._fresh: list[Client] = []  # that wait at the barrier

    def __repr__(self) -> str:
        return f"<{self.namespace} {self.rounds_left} left {self._clients}>"

    def begin(self) -> None:
        """Begin a round."""
        self.user = f"{self._rule.policy}{self.number}"
        if self._rule.refusal:
            self.user += f"-{self.rounds_left}"
        self.rounds_left -= 1
        self._open()

    def _open(self) -> None:
        game = self._game
        for port in islice(cycle(game.ports), AT_ONCE):
            kind = Polling if game.dice.random() < 0.4 else WebSocket
            client = Client(
                game.crowd, self.user, port, kind, namespace=self.namespace, is_held=True
            )
            game.lane_of[client] = self
            self._fresh.append(client)
        self._clients += self._fresh

    def look(self) -> None:
        """Go on as far as possible."""
        most = self._rule.most
        if self.is_over:
            return
        if self._fresh:
            if all(client.has_opened for client in self._fresh):
                self._connect()
            return
        inside = self._game.crowd.find_inside(self._clients, most)
        if any(client.state == "coming" for client in self._clients) or len(inside) > most:
            return  # one of them polls, and will learn that it is out
        self._judge(inside)
        self._go_on(inside)

    def _connect(self) -> None:
        """Ask for all at once: nothing is opened or read in between."""
        dice = self._game.dice
        dice.shuffle(self._fresh)
        chance = dice.random()
        if not self._rule.refusal:
            for client in self._survivors:
                if chance < 0.25:
                    client.leave()
                elif chance < 0.5:
                    client.drop()
        for client in self._fresh:
            client.connect()
        self._fresh = []

    def _judge(self, inside: list[Client]) -> None:
        crowd, rule = self._game.crowd, self._rule
        if len(inside) != rule.most:
            crowd.complain(f"{self._clients}: {len(inside)} of them are in")
        if not rule.refusal:
            return
        if {client.why for client in self._clients if client not in inside} - {rule.refusal}:
            crowd.complain(f"{self._clients}: not all of them were refused as they should be")
        if self._survivors and set(self._survivors) != set(inside):
            crowd.complain(f"{inside} have taken the seats of {self._survivors}")

    def _go_on(self, inside: list[Client]) -> None:
        game = self._game
        comes_again = bool(self._rule.refusal) and not self._survivors
        for client in self._clients:
            client.ask_in_vain()
        game.leaving += [client for client in self._clients if client.state == "out"]
        self._clients, self._survivors = inside, list(inside)
        if comes_again and inside:
            self._open()
            return
        game.rounds.append((self.namespace, self.user, [client.id for client in inside]))
        if self._rule.refusal or not self.rounds_left:
            for client in inside:
                client.leave()
            game.leaving += inside
            self._clients, self._survivors = [], []
        self.is_over = not self.rounds_left
        if not self.is_over:
            self.begin()


class Game:
    """All lanes.

    Attributes:
        leaving: clients whose connections are closed a moment later.
        rounds: namespace, user and survivors of each.
    """

    def __init__(self, ports: list[int], rounds: int, seed: int) -> None:
        self.crowd = Crowd()
        self.ports = ports
        self.dice = Random(seed)
        self.leaving: list[Client] = []
        self.lane_of: dict[Client, Lane] = {}
        self.rounds: list[tuple[str, str, list[str]]] = []
        shares = [rounds // LANES + (number < rounds % LANES) for number in range(LANES)]
        self._lanes = [
            Lane(self, namespace, number, share)
            for namespace in RULES
            for number, share in enumerate(shares)
            if share
        ]

    def run(self) -> None:
        crowd = self.crowd
        for lane in self._lanes:
            lane.begin()
        while not all(lane.is_over for lane in self._lanes):
            concerned = crowd.read(0.5)
            for lane in dict.fromkeys(self.lane_of[client] for client in concerned):
                lane.look()
            self._close_some()
            if time.monotonic() - crowd.moved_at > STUCK_S:
                stuck = [lane for lane in self._lanes if not lane.is_over]
                crowd.complain(f"nobody was let in or refused for {STUCK_S} s: {stuck[:5]}")
                return
        crowd.end(self.leaving)

    def _close_some(self) -> None:
        """Close who is out, once that has been sent; the last ones stay for a while."""
        for client in [one for one in self.leaving[:-KEPT] if not one.transport.is_sending]:
            client.drop()
            self.leaving.remove(client)
            del self.lane_of[client]


def main() -> None:
    ports = [int(port) for port in sys.argv[1].split(",")]
    game = Game(ports, *map(int, sys.argv[2:]))
    game.run()
    sys.stdout.write(game.crowd.tell(rounds=game.rounds))


if __name__ == "__main__":
    main()
