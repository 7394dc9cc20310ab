"""Judges the results of a run of logins."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.im.inside import Stay
from tests.im.raw_clients import HUNG_UP

from trio_socketio.im.presence import Entry, parse_cursor

HUNG_UP_PART: Final = 0.01
"""The part of logins that may be put off because the machine is too busy."""

_CLAIMS: Final = frozenset(("online", "moved", "seat_added"))


@dataclass
class Outcome:
    """What a run has shown.

    Args:
        seconds: that the logins took.
        raw: what the raw clients have told.
        official: what the official clients have told.
        barriers_s: how long the rounds took.
        barriers: what the clients of the rounds have told.
        types: the entries of the logs.
        reasons: why seats have ended.
        complaints: whatever is wrong.
        logged: what the nodes have warned of.
    """

    seconds: float = 0.0
    raw: dict[str, Any] = field(default_factory=dict)
    official: dict[str, Any] = field(default_factory=dict)
    barriers_s: float = 0.0
    barriers: dict[str, Any] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        if self.raw:
            official = self.official
            logins = self.raw["logins"] + official["logins"]
            lines += [
                f"{logins:,} logins in {self.seconds:.1f} s, {logins / self.seconds:,.0f}/s",
                f"raw clients: {_tell(self.raw)}",
                f"official clients: {official['entered']:,} were in, {official['kinds']}; ends: "
                f"{official['ends']}; old ones knew it {official['latest_s'] * 1000:.0f} ms after "
                "the new ones at most",
            ]
        if self.barriers:
            rounds = Counter(namespace for namespace, _, _ in self.barriers["rounds"])
            lines += [
                f"logins at the same moment: {dict(rounds)} rounds in {self.barriers_s:.1f} s",
                f"their clients: {_tell(self.barriers)}",
            ]
        lines += [f"logs: {dict(self.types)}", f"reasons: {dict(self.reasons)}"]
        lines += [f"WRONG: {one}" for one in self.complaints]
        return "\n".join([*lines, *(self.logged if self.complaints else ())])

    @property
    def entered(self) -> set[str]:
        """The ids of all raw clients that were let in."""
        return {*self.raw.get("entered", ()), *self.barriers.get("entered", ())}


def _tell(told: dict[str, Any]) -> str:
    return (
        f"{len(told['entered']):,} were in; ends: {told['ends']}; {told['late']:,} on long-polling "
        f"learned later that they are out, by {told['latest_s'] * 1000:.0f} ms at most"
    )


def judge_clients(outcome: Outcome) -> None:
    """Take over what the clients complain of."""
    for told in (outcome.raw, outcome.official, outcome.barriers):
        outcome.complaints += told.get("complaints", ())
    for told in (outcome.raw, outcome.official):
        hung_up = told.get("ends", {}).get(HUNG_UP, 0)
        if hung_up > told.get("logins", 0) * HUNG_UP_PART:
            outcome.complaints.append(f"{hung_up} clients were hung up on: the store was too late")


def judge_log(outcome: Outcome, entries: Sequence[Entry]) -> None:
    """Judge a whole log by itself (I3, I4)."""
    outcome.types.update(entry.type for entry in entries)
    outcome.reasons.update(entry.reason for entry in entries if entry.reason is not None)
    cursors = [parse_cursor(entry.cursor) for entry in entries]
    if any(cursor.sequence != number for number, cursor in enumerate(cursors, 1)):
        outcome.complaints.append("an entry is twice in the log, or missing")
    seats: Counter[str] = Counter()
    for entry in entries:
        held = seats[entry.user]
        wanted = ("online",) if not held else ("moved", "seat_added", "seat_removed")
        if held == 1:
            wanted = ("moved", "seat_added", "offline")
        if entry.type not in wanted:
            outcome.complaints.append(f"{entry.user}: {entry.type} with {held} seats")
        seats[entry.user] += {"moved": 0, "offline": -1, "seat_removed": -1}.get(entry.type, 1)


def judge_stays(
    outcome: Outcome, entries: Iterable[Entry], stays: Iterable[Stay], maximum: int = 1
) -> None:
    """Judge who was in, on all nodes, and in which order (I7).

    A node notes that a client is out before it confirms that, and another one notes that a client
    is in after it has heard so. All have the same clock.
    """
    claims = _claims_of(entries)
    by_user: dict[str, list[Stay]] = {}
    for stay in sorted(stays, key=lambda stay: stay.joined_at):
        by_user.setdefault(stay.user, []).append(stay)
    for user, visits in by_user.items():
        inside: list[Stay] = []
        for stay in visits:
            inside = [one for one in inside if one.left_at > stay.joined_at] + [stay]
            if len(inside) > maximum:
                outcome.complaints.append(f"{user}: all these were in at once: {inside}")
        in_order = iter(claims.get(user, ()))
        if maximum == 1 and not all(stay.id in in_order for stay in visits):
            outcome.complaints.append(f"{user}: clients were let in in another order than the log")


def judge_doubts(outcome: Outcome, entries: Iterable[Entry]) -> None:
    """Judge clients that were in beside one on long-polling: that one must be older (I7)."""
    order = {entry.id: number for number, entry in enumerate(entries) if entry.type in _CLAIMS}
    for told in (outcome.raw, outcome.barriers):
        for one, polling in told.get("doubts", ()):
            if one in order and polling in order and order[one] < order[polling]:
                outcome.complaints.append(
                    f"{one} did not know that it is out when {polling} was in"
                )


def judge_rounds(outcome: Outcome, entries: Iterable[Entry], namespace: str, count: int) -> None:
    """Judge logins at the same moment: the survivors must be the last of the log.

    Args:
        outcome: has the rounds, and gets the complaints.
        entries: of the log.
        namespace: its name.
        count: how many claims a round has: one for each login, or for each seat.
    """
    claims = _claims_of(entries)
    users = set()
    for name, user, survivors in outcome.barriers.get("rounds", ()):
        if name != namespace:
            continue
        users.add(user)
        made = claims.get(user, [])[:count]
        del claims.get(user, [])[:count]
        if len(made) != count or set(made[-len(survivors) :]) != set(survivors):
            outcome.complaints.append(f"{user}: {survivors} are in, and the log has {made}")
    left = {user: claims[user] for user in users if claims.get(user)}
    if left:
        outcome.complaints.append(f"these claims belong to no round: {left}")


def _claims_of(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Return the ids of the clients that got seats, in the order of the log, by user."""
    claims: dict[str, list[str]] = {}
    for entry in entries:
        if entry.type in _CLAIMS:
            claims.setdefault(entry.user, []).append(entry.id)
    return claims
