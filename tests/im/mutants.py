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
LEASE: Final = "im/presence/lease_keeping.py"
LIFE: Final = "im/presence/node_life.py"
SERVICE: Final = "im/presence/service.py"
FEED: Final = "im/presence/feed.py"
DELIVERIES: Final = "im/presence/deliveries.py"
GROUPS: Final = "im/presence/groups.py"
TURNS: Final = "protocol/presence_turns.py"
LOG_READER: Final = "im/presence/log_reader.py"
SUBSCRIPTION: Final = "im/presence/subscription.py"
LUA: Final = "im/presence/lua/"
STORE: Final = "tests/im/test_presence_store.py"
MODEL: Final = f"{STORE}::test_the_store_on_redis_against_the_model"
REDIS_STORE: Final = "tests/im/test_redis_store.py"
NODES: Final = "tests/im/test_feed_nodes.py"
SHARED: Final = "tests/im/test_feed_shared.py"
FOLLOWING: Final = "tests/im/test_feed_machine.py"
FEEDS: Final = "tests/im/test_feed.py"
SESSIONS: Final = "tests/im/test_sessions.py"
SEATING: Final = "tests/im/test_seats.py"
LEASING: Final = "tests/im/test_leases.py"
OUTAGES: Final = "tests/im/test_outages.py"


@dataclass(frozen=True)
class Mistake:
    """A change that makes presence wrong.

    Args:
        name: what is wrong then.
        path: of the module or script, below SOURCE.
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
        NODE,
        "        return is_taken and not claim.awaits\n",
        "        return True\n",
        SESSIONS,
    ),
    Mistake(
        "a client that enters while the old one is in on the same node",
        NODE,
        "        leavers = (self.obey(order) for order in outcome.orders)\n",
        "        leavers: list[Leaver | None] = []\n",
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
        "a claim at once that overtakes a release, or is made without a lease",
        SEATS,
        " or not self._life.has_turn(socket.namespace.name, user):",
        ":",
        SEATING,
    ),
    Mistake(
        "a claim at once without a lease",
        SEATS,
        " or not self._life.has_turn(socket.namespace.name, user):",
        " or self._node.releases.holds(socket.namespace.name, user):",
        LEASING,
    ),
    Mistake(
        "a client that enters at once while a kicked one is in on another node",
        SEATS,
        "if claim.awaits or leavers:",
        "if leavers:",
        SEATING,
    ),
    Mistake(
        "a client that is let in before the old one on its node is told",
        SEATS,
        "if claim.awaits or leavers:",
        "if claim.awaits:",
        SEATING,
    ),
    Mistake(
        "an old client of which nobody knows that it still has to be told",
        NODE,
        "        self._leavers[order.attempt] = leaver = Leaver(session)\n",
        "        leaver = Leaver(session)\n",
        SEATING,
    ),
    Mistake(
        "a claim at once whose step never ends",
        SEATS,
        "            if awaited is None:\n                claim.leave_step()\n",
        "            pass\n",
        SEATING,
    ),
    Mistake(
        "a client that waits for others although the lease has ended in the turn of its claim",
        SEATS,
        "        if self._life.may_give and not node.is_clear(claim):\n",
        "        if not node.is_clear(claim):\n",
        LEASING,
    ),
    Mistake(
        "a release at once of a claim that is being taken anew",
        NODE,
        "if at_once is None or claim in self.reasserting:  #",
        "if at_once is None:  #",
        LEASING,
    ),
    Mistake(
        "a release at once that is lost when the store fails",
        NODE,
        "            return False\n        self._note_released(",
        "            return True\n        self._note_released(",
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
        "a lease that counts from the answer to its renewal",
        LEASE,
        "            self.renewed_at = sent_at\n",
        "            self.renewed_at = self._clock()\n",
        LEASING,
    ),
    Mistake(
        "a lease that counts until its end",
        LEASE,
        "self.renewed_at + lease_s - margin(lease_s)",
        "self.renewed_at + lease_s",
        LEASING,
    ),
    Mistake(
        "a lease whose end is noticed when the store answers",
        LEASE,
        "            nursery.start_soon(self._watch_time, passed)\n",
        "",
        LEASING,
    ),
    Mistake(
        "a loss that waits for the next renewal",
        LEASE,
        "            nursery.start_soon(self._watch_losses)\n",
        "",
        LEASING,
    ),
    Mistake(
        "clients that stay when the lease has ended",
        LIFE,
        '            session.abort("service restart")\n',
        "            del session\n",
        OUTAGES,
    ),
    Mistake(
        "claims that are not taken anew",
        NODE,
        "            self.reasserting.add(claim)\n        return len(held)\n",
        "            pass\n        return len(held)\n",
        OUTAGES,
    ),
    Mistake(
        "a claim whose answer a loss has overtaken",
        SEATS,
        "        if self._life.losses != losses:",
        "        if False:",
        LEASING,
    ),
    Mistake(
        "a release that overtakes the claim being taken anew",
        NODE,
        "        await self.reasserting.wait_taken(claim)  #",
        "        #",
        LEASING,
    ),
    Mistake(
        "a release by a token that may be an old one",
        CLAIMS,
        "token=None if self.is_unsure else self.token",
        "token=self.token",
        LEASING,
    ),
    Mistake(
        "an order to an earlier boot that is obeyed",
        NODE,
        "            and order.boot == self.boot\n",
        "",
        LEASING,
    ),
    Mistake(
        "an order from before a loss that is obeyed",
        NODE,
        "            and (claim.is_unsure or claim.token in (None, order.token))\n",
        "",
        LEASING,
    ),
    Mistake(
        "a seat of a client that was put out while it was taken anew",
        NODE,
        "        if claim.state is State.OVER:  # by an order that the store has lost as well\n",
        "        if False:\n",
        LEASING,
    ),
    Mistake(
        "a client whose seat a later login has",
        NODE,
        """
                self._evict(claim, REPLACED)
            return
""",
        """
                pass
            return
""",
        LEASING,
    ),
    Mistake(
        "a client that is let in while the lease does not count",
        SEATS,
        " or not self._life.may_give:",
        ":",
        LEASING,
    ),
    Mistake(
        "a claim that waits for an answer to an earlier boot",
        NODE,
        "            if claim.is_kept and not all_of_them:\n",
        "            if not all_of_them and claim.state is not State.RELEASING:\n",
        LEASING,
    ),
    Mistake(
        "a release of a boot that has ended",
        NODE,
        "        if not self.boot:  # what is left",
        "        if False:  # what is left",
        LEASING,
    ),
    Mistake(
        "a rebuild without an end",
        LIFE,
        "            await self._store.end_rebuild(boot)\n",
        "            await trio.lowlevel.checkpoint()\n",
        LEASING,
    ),
    Mistake(
        "a rebuild that ends although claims were lost once more",
        LIFE,
        "        if losses == self.losses:\n",
        "        if True:\n",
        LEASING,
    ),
    Mistake(
        "a renewal that counts although its answer was read after the fence",
        LIFE,
        "        if self._clock() >= self._fence.at:  #",
        "        if False:  #",
        LEASING,
    ),
    Mistake(
        "an answer to an earlier boot that a claim taken anew takes over",
        NODE,
        "        if boot != self.boot:\n            claim.is_unsure",
        "        if False:\n            claim.is_unsure",
        "tests/im/test_node.py",
    ),
    Mistake(
        "lost nodes that nobody looks for",
        LIFE,
        "nursery.start_soon(reaper.run)\n",
        "pass\n",
        LEASING,
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
        SHARED,
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
        SHARED,
    ),
    Mistake(
        "members elsewhere that do not learn that they need a snapshot",
        GROUPS,
        "if before is not None and position.losses not in (None, found.losses):",
        "if False:",
        SHARED,
    ),
    Mistake(
        "an acknowledgement that is answered before it is stored",
        "im/presence/group.py",
        "        while not self.position.has_reached(cursor):\n",
        "        while False:\n",
        SHARED,
    ),
    Mistake(
        "a request of the webhook that counts before it is taken",
        "im/presence/report.py",
        """            await self._send([encoded for _, encoded in part], last.cursor)
            await self._accept(turn, parse_cursor(last.cursor))
""",
        """            await self._accept(turn, parse_cursor(last.cursor))
            await self._send([encoded for _, encoded in part], last.cursor)
""",
        "tests/im/test_webhook_nodes.py",
    ),
    Mistake(
        "a request that is not abandoned when the turn is lost",
        "im/presence/report.py",
        "            self._reporting.cancel()\n",
        "            return\n",
        "tests/im/test_webhook_nodes.py",
    ),
    Mistake(
        "a store that does not notice lost writes of others",
        LUA + "begin.lua",
        "    return seen.revision > revision or wrote > by_revision\n",
        "    return wrote > by_revision\n",
        REDIS_STORE,
    ),
    Mistake(
        "a store that does not notice its own lost writes",
        LUA + "begin.lua",
        "    return seen.revision > revision or wrote > by_revision\n",
        "    return seen.revision > revision\n",
        REDIS_STORE,
    ),
    Mistake(
        "a command of a lost connection that is carried out",
        LUA + "begin.lua",
        "if connection < by_connection then\n",
        "if false then\n",
        REDIS_STORE,
    ),
    Mistake(
        "a namespace whose beginning may be lost",
        LUA + "namespace.lua",
        "  write() --",
        "  --",
        REDIS_STORE,
    ),
    Mistake(
        "a claim that waits for nobody in a rebuild",
        LUA + "changing.lua",
        "  if rebuilding == 1 then -- clients may",
        "  if false then -- clients may",
        REDIS_STORE,
    ),
    Mistake(
        "a client that is online without a seat",
        LUA + "changing.lua",
        "    redis.call('HDEL', USERS, user)\n",
        "",
        MODEL,
    ),
    Mistake(
        "a name that stays in the list",
        LUA + "changing.lua",
        "  redis.call('ZREM', NAMES, user)\n",
        "",
        REDIS_STORE,
    ),
    Mistake(
        "a claim in Redis without a lease",
        LUA + "claim.lua",
        "if not is_alive(boot) then -- PRES-21",
        "if false then",
        MODEL,
    ),
    Mistake(
        "a claim in Redis whose node waits no more",
        LUA + "claim.lua",
        "if deadline > 0 and milliseconds() > deadline then",
        "if false then",
        REDIS_STORE,
    ),
    Mistake(
        "a takeover in Redis that tells the old node nothing",
        LUA + "claim.lua",
        "  order(user, orders, {generation, seat[1]}, seat[2], seat[3], reason)\n",
        "",
        MODEL,
    ),
    Mistake(
        "a release in Redis without a comparison",
        LUA + "release.lua",
        "  if seat[2] == boot and meant then\n",
        "  if seat[2] == boot then\n",
        MODEL,
    ),
    Mistake(
        "a lease that is ended although it was renewed",
        LUA + "fence.lua",
        " or (value ~= '' and current ~= value) then",
        " then",
        REDIS_STORE,
    ),
    Mistake(
        "a living node that is reaped",
        LUA + "reap.lua",
        "if is_alive(boot) then\n",
        "if false then\n",
        REDIS_STORE,
    ),
    Mistake(
        "a later login that loses to a claim taken anew",
        LUA + "reassert.lua",
        "  return first < before[1] or",
        "  return true or",
        REDIS_STORE,
    ),
    Mistake(
        "a kicked client that comes back with its node",
        LUA + "reassert.lua",
        "-- RSTORE-54\n",
        "\n  was_kicked = false\n",
        REDIS_STORE,
    ),
    Mistake(
        "a rebuild that ends while a node is at it",
        LUA + "settle.lua",
        "    if flag == 1 then",
        "    if false then",
        REDIS_STORE,
    ),
    Mistake(
        "a rebuild that an answer of before has ended",
        LUA + "rebuilt.lua",
        "if counter and done == epoch then",
        "if counter then",
        REDIS_STORE,
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
