"""Mistakes that presence must not have, made on purpose: ``python -m tests.im.mutants [NAME]...``.

Each is a change of one line or a few. It is made in a copy of the tree, where the tests that are
named with it must fail. Exits 1 if one of them passes.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants import ROOT, SOURCE, copy_tree, run_tests, say

LIMIT_S: Final = 300.0

BOOK: Final = "protocol/presence_book.py"
LEASES: Final = "protocol/leases.py"
MEMORY: Final = "im/presence/memory.py"
CLAIMS: Final = "im/presence/claims.py"
NODE: Final = "im/presence/node.py"
SEATS: Final = "im/presence/seats.py"
SERVICE: Final = "im/presence/service.py"
FEED: Final = "im/presence/feed.py"
DELIVERIES: Final = "im/presence/deliveries.py"
GROUPS: Final = "im/presence/groups.py"
TURNS: Final = "protocol/presence_turns.py"
LOG_READER: Final = "im/presence/log_reader.py"
SUBSCRIPTION: Final = "im/presence/subscription.py"
STORE: Final = "tests/im/test_presence_store.py"
NODES: Final = "tests/im/test_feed_nodes.py"
FOLLOWING: Final = "tests/im/test_feed_machine.py"
FEEDS: Final = "tests/im/test_feed.py"
SESSIONS: Final = "tests/im/test_sessions.py"
SEATING: Final = "tests/im/test_seats.py"


@dataclass(frozen=True)
class Mistake:
    """A change that makes presence wrong.

    Args:
        name: what is wrong then.
        path: of the module, below SOURCE.
        old: occurs there once.
        new: stands there instead.
        tests: those that must notice.
    """

    name: str
    path: str
    old: str
    new: str
    tests: str

    def apply(self, source: str) -> str:
        assert source.count(self.old) == 1, f"{self.name}: {self.path} has changed"
        return source.replace(self.old, self.new)


MISTAKES: Final = (
    Mistake(
        "a release without a comparison",
        BOOK,
        "if seat.boot == ref.boot and _is_meant(ref, seat):",
        "if seat.boot == ref.boot:",
        STORE,
    ),
    Mistake(
        "a release by the user alone",
        BOOK,
        "if seat.boot == ref.boot and _is_meant(ref, seat):",
        "if True:",
        STORE,
    ),
    Mistake(
        "a token that is used again",
        BOOK,
        "            token=self.log.next_cursor(),  # PRES-02\n",
        "            token=self.log.next_cursor() if last is None else last.token,\n",
        STORE,
    ),
    Mistake(
        "a claim without a lease",
        BOOK,
        "if not alive(request.boot):  # PRES-21",
        "if False:",
        STORE,
    ),
    Mistake(
        "a node that is reaped before it is fenced",
        MEMORY,
        """        if self._leases.is_alive(boot, now):
            return None
        self._leases.end(boot, now)  # PRES-24: first, so that no claim can be added meanwhile
""",
        "",
        STORE,
    ),
    Mistake(
        "a lease that comes back after its end",
        LEASES,
        """        if not self.is_alive(boot, now):
            return False
        self._by_boot[boot].ends_at""",
        "        self._by_boot[boot].ends_at",
        STORE,
    ),
    Mistake(
        "a counter that misses a takeover",
        BOOK,
        "return Count(len(self.users), self.log.head)",
        """steps = {"online": 1, "moved": 1, "offline": -1}
        entries = self.log._entries.values()
        return Count(sum(steps.get(entry.type, 0) for entry in entries), self.log.head)""",
        STORE,
    ),
    Mistake(
        "an event before the state",
        MEMORY,
        "        outcome = shelf.book.claim(request, self._alive(), time.time())\n",
        """        before = shelf.book.users.copy()
        outcome = shelf.book.claim(request, self._alive(), time.time())
        shelf.book.users, after = before, shelf.book.users
        await trio.lowlevel.checkpoint()
        shelf.book.users = after
""",
        STORE,
    ),
    Mistake(
        "offline at each seat",
        BOOK,
        '"seat_removed" if user in self.users else "offline"',
        '"offline"',
        STORE,
    ),
    Mistake(
        "a claim that is not undone, because its answer was lost",
        BOOK,
        "return seat.attempt == ref.attempt if ref.token is None else seat.token == ref.token",
        "return seat.token == ref.token",
        STORE,
    ),
    Mistake(
        "a kick that no node is told of",
        BOOK,
        "            self._order(user, seat, KICKED, alive)\n",
        "",
        STORE,
    ),
    Mistake(
        "a takeover that waits for nobody",
        BOOK,
        "return Claimed(token=token, orders=tuple(own), awaits=tuple(others))",
        "return Claimed(token=token, orders=tuple(own), awaits=())",
        STORE,
    ),
    Mistake(
        "a recovery that takes the seat back",
        BOOK,
        "    if request.recovers:  # PRES-17\n        return SEAT_TAKEN\n",
        "",
        STORE,
    ),
    Mistake(
        "a kick that is lost while its client joins",
        NODE,
        "        was_lingering = claim.state is State.LINGERING\n",
        """        was_lingering = claim.state is State.LINGERING
        if not was_lingering and claim.state is not State.SEATED:
            return
""",
        SESSIONS,
    ),
    Mistake(
        "a release by the handler of disconnect",
        SERVICE,
        "        channel.observe(seats)\n",
        '        channel.on("disconnect")(lambda one, reason: seats.left(one, reason, False))\n',
        SESSIONS,
    ),
    Mistake(
        "a claim that is not undone",
        SEATS,
        "        joining.undo(undo)  #",
        "        del undo  #",
        SESSIONS,
    ),
    Mistake(
        "a client that enters while the old one is in on another node",
        SEATS,
        "        if outcome.awaits and claim.state is State.HELD:\n",
        "        if False:\n",
        SESSIONS,
    ),
    Mistake(
        "a client that enters while the old one is in on the same node",
        SEATS,
        "            node.obey(order)\n",
        "            del order\n",
        SESSIONS,
    ),
    Mistake(
        "a claim that is forgotten when its answer is lost",
        "protocol/claim_life.py",
        "    (State.ASKING, Input.LEFT): State.RELEASING,\n",
        "    (State.ASKING, Input.LEFT): State.OVER,\n",
        SEATING,
    ),
    Mistake(
        "a seat that is held for ever for a lost client",
        NODE,
        "                    self.release(claim, claim.left_by)\n",
        "                    del claim\n",
        SESSIONS,
    ),
    Mistake(
        "a group that goes on from what was sent",
        FEED,
        "            group.move(one.window.acked)\n",
        "            group.move(one.window.sent)\n",
        FOLLOWING,
    ),
    Mistake(
        "a group that begins where its next member says",
        FEED,
        "one.begin if group.acked is None else group.acked\n",
        "one.begin\n",
        FOLLOWING,
    ),
    Mistake(
        "an acknowledgement of what was not sent",
        FEED,
        "if cursor.generation != sent.generation or cursor > sent:  # FEED-16",
        "if cursor.generation != sent.generation:",
        FOLLOWING,
    ),
    Mistake(
        "an acknowledgement that takes another back",
        SUBSCRIPTION,
        "        if cursor > self.acked:\n",
        "        if True:\n",
        FOLLOWING,
    ),
    Mistake(
        "credit that is not looked at",
        SUBSCRIPTION,
        "        while self.in_flight >= self._credit:\n",
        "        while False:\n",
        FOLLOWING,
    ),
    Mistake(
        "two active members of a group",
        FEED,
        "        one = group.active\n        if one is None",
        "        one = own or group.active\n        if one is None",
        FOLLOWING,
    ),
    Mistake(
        "an active member that is never replaced",
        DELIVERIES,
        "is_awaited = one.group is not None and one.group.has_others  # FEED-24",
        "is_awaited = False",
        FOLLOWING,
    ),
    Mistake(
        "a wake-up that is lost",
        LOG_READER,
        "        if self.tail is None or self.tail <= cursor:\n",
        "        if True:\n",
        FEEDS,
    ),
    Mistake(
        "a group that is forgotten with its last member",
        TURNS,
        "not group.waiting and not group.holder and group.position is None:",
        "not group.waiting and not group.holder:",
        FOLLOWING,
    ),
    Mistake(
        "a token that is not looked at again",
        DELIVERIES,
        "            if not peer.allows(SUBSCRIBE):  # FEED-28\n",
        "            if False:\n",
        FEEDS,
    ),
    Mistake(
        "a peer that does not read and is sent everything",
        DELIVERIES,
        "            await peer.wait_room()\n",
        "",
        FEEDS,
    ),
    Mistake(
        "a turn that is two nodes' at once",
        TURNS,
        "(group.holder, group.number) == (turn.boot, turn.number)",
        "group.holder",
        NODES,
    ),
    Mistake(
        "a turn of a node that is gone, and nobody gets",
        TURNS,
        'group.holder not in ("", boot) and alive(group.holder):',
        'group.holder not in ("", boot):',
        NODES,
    ),
    Mistake(
        "a turn that is not given to other nodes",
        FEED,
        "group.yields or (was_active and group.others)",
        "False",
        "tests/im/test_feed_shared.py",
    ),
    Mistake(
        "a member that goes on without its turn",
        GROUPS,
        "        self._deliveries.suspend(group)\n",
        "",
        NODES,
    ),
    Mistake(
        "turns that are kept under an old boot",
        GROUPS,
        'if self.turns.boot not in ("", turn.boot):  # FEED-65',
        "if False:",
        "tests/im/test_feed_shared.py",
    ),
    Mistake(
        "members elsewhere that do not learn that they need a snapshot",
        GROUPS,
        "if before is not None and position.losses not in (None, found.losses):",
        "if False:",
        NODES,
    ),
    Mistake(
        "an acknowledgement that is answered before it is stored",
        "im/presence/group.py",
        "        while not self.position.has_reached(cursor):\n",
        "        while False:\n",
        NODES,
    ),
)


def main(names: list[str]) -> int:
    chosen = [one for one in MISTAKES if not names or any(name in one.name for name in names)]
    survivors = [] if chosen else [f"nothing is called {' or '.join(names)}"]
    with tempfile.TemporaryDirectory(prefix="mistakes-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        survivors += [
            f"anything: {tests} fails without a mistake"
            for tests in sorted({one.tests for one in chosen})
            if not run_tests(tree, [tests], LIMIT_S, first=True)
        ]
        for one in chosen if not survivors else ():
            module = tree / SOURCE / one.path
            original = module.read_text(encoding="utf-8")
            module.write_text(one.apply(original), encoding="utf-8")
            began = time.monotonic()
            passed = run_tests(tree, [one.tests], LIMIT_S)
            module.write_text(original, encoding="utf-8")
            seconds = time.monotonic() - began
            say(f"{'missed' if passed else 'noticed'} in {seconds:5.1f} s: {one.name}")
            survivors += [one.name] if passed else []
    for name in survivors:
        say(f"not noticed: {name}")
    return 1 if survivors else 0


def read_module(mistake: Mistake) -> str:
    return (ROOT / SOURCE / mistake.path).read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
