"""Finds in a history whatever cannot be true if presence keeps what it promises (I1 to I8).

Every function is pure. It returns complaints, which name the invariant that is violated.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.faults.presence.history import History, Owner, Process, Seen
from tests.faults.presence.sessions import check_clients, check_nodes, check_resumed
from trio_socketio.protocol.presence_cursor import Cursor, parse_cursor
from trio_socketio.protocol.presence_log import Entry

STARTS: Final = ("online", "moved")
NODE_LOST: Final = "node_lost"
NOT_JOINED: Final = "not joined"
SHOWN: Final = 5
"""How many complaints of a kind are shown."""


def check(history: History) -> list[str]:
    """Check everything that holds at any time."""
    fold = Fold()
    parts = [
        check_log(history.log, history.seen, fold),
        check_readers(history.log, history.logs),
        check_acts(history.log, history.processes),
        check_dead(history.log),
        check_nodes(history.processes, history.marks),
        check_clients(history.notes, history.processes, history.marks),
        check_resumed(history.notes, history.processes, history.marks),
    ]
    return [one for part in parts for one in _shorten(part)]


def _shorten(complaints: list[str]) -> list[str]:
    more = len(complaints) - SHOWN
    return [*complaints[:SHOWN], f"... and {more} more of these"] if more > 0 else complaints


# --- the log, and the state -----------------------------------------------------------------------


class Fold:
    """The state that the log tells: the log of a generation begins with nobody.

    Attributes:
        cursor: of the last entry.
        owners: the entry that made the claim of each user who is online.
    """

    def __init__(self) -> None:
        self.cursor = Cursor(0, 0)
        self.owners: dict[str, Entry] = {}

    def take(self, entry: Entry) -> Iterator[str]:
        """Take the next entry; complain of what it cannot be."""
        cursor = parse_cursor(entry.cursor)
        if cursor.generation > self.cursor.generation:
            self.cursor = Cursor(cursor.generation, 0)
            self.owners.clear()
        if cursor != (self.cursor.generation, self.cursor.sequence + 1):
            yield f"I4: {cursor} comes after {self.cursor}"
        self.cursor = cursor
        owner = self.owners.get(entry.user)
        if entry.type == "online":
            if owner is not None:
                yield f"I3: {cursor}: {entry.user} is online again, with the seat {owner.token}"
        elif owner is None:
            yield f"I3: {cursor}: {entry.type} of {entry.user}, who is not online"
        elif entry.type == "moved" and entry.prev != owner.token:
            yield f"I3: {cursor}: moved from {entry.prev}, and the seat was {owner.token}"
        elif entry.type == "offline" and entry.token != owner.token:
            yield f"I3: {cursor}: offline of {entry.token}, and the seat was {owner.token}"
        if entry.type in STARTS:
            if entry.token != entry.cursor:
                yield f"I4: {cursor} has the token {entry.token}"
            self.owners[entry.user] = entry
        elif entry.type == "offline":
            self.owners.pop(entry.user, None)
        else:
            yield f"I1: {cursor}: {entry.type} of {entry.user}, who may have one seat"

    def show(self) -> dict[str, Owner]:
        """Return the owner of each seat."""
        return {user: owner_of(entry) for user, entry in self.owners.items()}


def owner_of(entry: Entry) -> Owner:
    return (entry.token, entry.id, entry.node, entry.boot)


def check_log(log: Iterable[Entry], seen: Iterable[Seen], fold: Fold) -> list[str]:
    """Check the log (I1, I3, I4), and each state against the log up to its cursor (I2, I8)."""
    complaints: list[str] = []
    states = sorted(seen, key=lambda state: state.cursor)
    entries = iter(log)
    entry = next(entries, None)
    for state in states:
        while entry is not None and parse_cursor(entry.cursor) <= state.cursor:
            complaints += fold.take(entry)
            entry = next(entries, None)
        if state.cursor.generation > fold.cursor.generation and not state.cursor.sequence:
            fold.cursor = state.cursor  # nobody has claimed anything there yet
            fold.owners.clear()
        complaints += _compare(state, fold)
    while entry is not None:
        complaints += fold.take(entry)
        entry = next(entries, None)
    return complaints


def _compare(state: Seen, fold: Fold) -> Iterator[str]:
    if fold.cursor != state.cursor:
        yield f"I2: a state at {state.cursor}, and the log was read to {fold.cursor}"
        return
    if state.count != len(fold.owners):
        yield f"I8: {state.count} users at {state.cursor}, and the log says {len(fold.owners)}"
    if state.users is None:
        return
    told = fold.show()
    for user, owners in state.users.items():
        if len(owners) != 1:
            yield f"I1: {user} has {len(owners)} seats at {state.cursor}"
        elif told.get(user) != owners[0]:
            yield f"I2: {user} at {state.cursor} is {owners[0]}, the log says {told.get(user)}"
    for user in told.keys() - state.users.keys():
        yield f"I2: {user} is not online at {state.cursor}, the log says {told[user]}"


def check_readers(log: Sequence[Entry], logs: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Check that what nodes send is what the store has: the same entries, in the same order."""
    complaints: list[str] = []
    written = {entry.cursor: entry for entry in log}
    read = Read(log)
    for node, entries in logs.items():
        last = Cursor(0, 0)
        for entry in entries:
            cursor = parse_cursor(entry.cursor)
            if cursor <= last:
                complaints.append(f"{node} has sent {cursor} after {last}")
            elif cursor.generation == last.generation and cursor.sequence != last.sequence + 1:
                complaints.append(f"{node} has left something out between {last} and {cursor}")
            last = cursor
            so = written.get(entry.cursor)
            if so != entry and entry.cursor in read:
                complaints.append(f"{node} has sent {entry}: in the store it is {so}")
    return complaints


# --- the operations of nodes ----------------------------------------------------------------------


def check_acts(log: Iterable[Entry], processes: Iterable[Process]) -> list[str]:
    """Check each answer of the store against the log: who got a no has changed nothing (I5)."""
    complaints: list[str] = []
    entries = list(log)
    made = {entry.token: entry for entry in entries if entry.type in STARTS}
    at = {entry.cursor: entry for entry in entries}
    read = Read(entries)
    asked: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for process in processes:
        for act in process.acts:
            if act.do in ("claim", "reassert"):
                asked[act.boot, act.user, act.id].add(act.outcome)
                if act.outcome == "claimed" and act.token in read:
                    entry = made.get(act.token)
                    if entry is None:
                        complaints.append(f"I5: {act} is not in the log")
                    elif (entry.boot, entry.user, entry.id) != (act.boot, act.user, act.id):
                        complaints.append(f"I5: {act} and {entry}")
            elif act.do == "release" and act.outcome == "released" and act.cursor in read:
                ended = at.get(act.cursor)
                if ended is None or ended.type != "offline" or ended.user != act.user:
                    complaints.append(f"I5: {act} and {ended}")
    for entry in entries:
        if entry.type in STARTS:
            outcomes = asked.get((entry.boot, entry.user, entry.id), set())
            # A process that was killed has not written down what it was about to be told.
            if outcomes and not outcomes & {"claimed", "unknown"}:
                complaints.append(f"I5: {entry} was made, and its node was told {outcomes}")
    return complaints


class Read:
    """The cursors whose entries a reader must have seen.

    A server that loses what it has may take entries along that nobody had read.
    """

    def __init__(self, log: Sequence[Entry]) -> None:
        cursors = [parse_cursor(entry.cursor) for entry in log]
        self._first = min(cursors, default=Cursor(0, 0))
        self._last = max(cursors, default=Cursor(0, 0))
        self._ends: dict[int, int] = {}
        for generation, sequence in cursors:
            self._ends[generation] = max(sequence, self._ends.get(generation, 0))

    def __contains__(self, text: str) -> bool:
        cursor = parse_cursor(text)
        if cursor < self._first:
            return False
        is_newest = cursor.generation >= self._last.generation
        return is_newest or cursor.sequence <= self._ends.get(cursor.generation, 0)


def check_dead(log: Iterable[Entry]) -> list[str]:
    """Check that a boot whose lease has ended claims nothing any more (I5)."""
    complaints: list[str] = []
    dead: dict[str, str] = {}
    for entry in log:
        if entry.reason == NODE_LOST and entry.type == "offline":
            dead.setdefault(entry.boot, entry.cursor)
        elif entry.type in STARTS and entry.boot in dead:
            complaints.append(f"I5: {entry} of a boot that was dead at {dead[entry.boot]}")
    return complaints


def check_lost(log: Iterable[Entry], users: Iterable[str]) -> list[str]:
    """Check that each of these users has gone offline exactly once."""
    ended = Counter(entry.user for entry in log if entry.type == "offline")
    return _shorten(
        [f"{user} went offline {ended[user]} times" for user in users if ended[user] != 1]
    )


def check_quiet(log: Iterable[Entry]) -> list[str]:
    """Check that nobody went offline, but for logins that had taken a seat and then failed."""
    ended = [entry for entry in log if entry.type == "offline" and entry.reason != NOT_JOINED]
    return _shorten([f"{entry.user} went offline: {entry.reason}" for entry in ended])
