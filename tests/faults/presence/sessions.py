"""Finds in a history whether two clients of a user were in at once (I6, I7).

Every function is pure. It returns complaints, which name the invariant that is violated.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from tests.faults.presence.history import Act, Mark, Note, Process, Seen

RESUMES_S: Final = 3.0
"""The time in which a node that was frozen for too long has to put its clients out.

It does so as the first thing it does; the time is for the clients of a busy machine.
"""
LATE_S: Final = 5.0
"""How late a client on long-polling may learn that it is out."""


@dataclass(frozen=True, slots=True)
class Stay:
    """The time for which a client was in.

    Args:
        user: the user.
        who: names the client in complaints.
        begins: when it was let in.
        ends: when it was out; infinity if it is still in.
        late_s: how much later than others its end may be noticed.
    """

    user: str
    who: str
    begins: float
    ends: float
    late_s: float = 0.0


def check_nodes(processes: Iterable[Process], marks: Sequence[Mark]) -> list[str]:
    """Check that no two clients of a user were in at once, as nodes saw it (I7).

    A client of a node that stands still is out when that begins, provided that the node puts it out
    as soon as it goes on (I7), and has done nothing for it meanwhile.
    """
    stays: list[Stay] = []
    complaints: list[str] = []
    for process in processes:
        holes = _holes(marks, process.number)
        end = min(
            (m.at for m in marks if m.process == process.number and m.do == "killed"), default=inf
        )
        begun: dict[str, Act] = {}
        for act in process.acts:
            if act.do == "joined":
                begun[act.id] = act
            elif act.do == "left":
                joined = begun.pop(act.id)
                ends = _shift(act.at, holes)
                stays.append(Stay(act.user, f"{act.id} at {process.node}", joined.at, ends))
            elif act.do == "handled":
                if act.id not in begun:
                    complaints.append(f"I7: an event of {act.user} was handled, who is out: {act}")
                elif _shift(act.at, holes) != act.at and _is_out_soon(process, act, holes):
                    complaints.append(f"I7: an event was handled before the fence: {act}")
        stays += [
            Stay(one.user, f"{one.id} at {process.node}", one.at, end) for one in begun.values()
        ]
    return complaints + overlaps(stays)


def _is_out_soon(process: Process, handled: Act, holes: Sequence[tuple[float, float]]) -> bool:
    """Whether the client of an event was put out as its node went on after a hole."""
    return any(
        act.do == "left" and act.id == handled.id and _shift(act.at, holes) != act.at
        for act in process.acts
    )


def check_clients(
    notes: Iterable[Note], processes: Iterable[Process], marks: Sequence[Mark]
) -> list[str]:
    """Check that no two clients of a user were in at once, as they saw it (I7)."""
    by_port: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for process in processes:
        by_port[process.port] += _holes(marks, process.number)
    stays: list[Stay] = []
    begun: dict[int, Note] = {}
    for note in notes:
        if note.do == "in":
            begun[note.client] = note
        elif note.do == "out" and note.client in begun:
            one = begun.pop(note.client)
            ends = _shift(note.at, by_port[note.port])
            late_s = 0.0 if one.is_strict else LATE_S
            stays.append(Stay(one.user, f"client {note.client}", one.at, ends, late_s))
    stays += [
        Stay(one.user, f"client {one.client}", one.at, inf, 0.0 if one.is_strict else LATE_S)
        for one in begun.values()
    ]
    return overlaps(stays)


def overlaps(stays: Iterable[Stay]) -> list[str]:
    """Complain of every two stays of a user that overlap."""
    complaints: list[str] = []
    by_user: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        by_user[stay.user].append(stay)
    for user, its in by_user.items():
        its.sort(key=lambda stay: stay.begins)
        last = its[0]
        for stay in its[1:]:
            if last.ends - last.late_s > stay.begins:
                over_s = min(last.ends, stay.ends) - stay.begins
                complaints.append(
                    f"I7: {user}: {stay.who} was in {over_s:.3f} s before {last.who} was out"
                )
            last = max(last, stay, key=lambda one: one.ends)
    return complaints


def _holes(marks: Iterable[Mark], process: int) -> list[tuple[float, float]]:
    """Return when a process stood still."""
    holes: list[tuple[float, float]] = []
    begins = inf
    for mark in marks:
        if mark.process == process:
            if mark.do == "frozen":
                begins = mark.at
            elif begins < inf:  # it went on, or was killed while it stood still
                holes.append((begins, mark.at))
                begins = inf
    return [*holes, (begins, inf)] if begins < inf else holes


def _shift(at: float, holes: Iterable[tuple[float, float]]) -> float:
    """Return when something was over that has ended while its node stood still, or just after."""
    for begins, ends in holes:
        if begins <= at <= ends + RESUMES_S:
            return begins
    return at


def check_resumed(
    notes: Iterable[Note], processes: Iterable[Process], marks: Sequence[Mark]
) -> list[str]:
    """Check that a client that is put out by a fence has got nothing before that.

    Only packets of clients that were being watched are known.
    """
    holes = {process.port: _holes(marks, process.number) for process in processes}
    return [
        f"client {note.client} of {note.user} got {note.why} after a fence"
        for note in notes
        if note.do == "got" and _shift(note.at, holes.get(note.port, ())) != note.at
    ]


def check_end(
    state: Seen, processes: Iterable[Process], marks: Iterable[Mark], notes: Iterable[Note]
) -> list[str]:
    """Check that those are online who have a live client, as nodes and clients see it (I6)."""
    killed = {mark.process for mark in marks if mark.do == "killed"}
    inside: dict[str, str] = {}
    for process in processes:
        if process.number not in killed:
            for act in process.acts:
                if act.do == "joined":
                    inside[act.id] = act.user
                elif act.do == "left":
                    inside.pop(act.id, None)
    clients: dict[int, Note] = {}
    for note in notes:
        if note.do == "in":
            clients[note.client] = note
        elif note.do == "out":
            clients.pop(note.client, None)
    online = {(owner[1], user) for user, owners in (state.users or {}).items() for owner in owners}
    live = set(inside.items())
    known = {(note.id, note.user) for note in clients.values()}
    found = [
        ("online without a client at a node", online - live),
        ("in at a node and not online", live - online),
        ("online, and no client knows of it", online - known),
        ("a client that is in and not online", known - online),
    ]
    complaints = [
        f"I6: {len(which)}: {what}, such as {sorted(which)[:3]}" for what, which in found if which
    ]
    return [*complaints, "I6: it is still rebuilding"] if state.is_rebuilding else complaints
