"""The checker of presence finds every kind of violation in invented histories."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.faults.presence import checker
from tests.faults.presence.history import Act, History, Mark, Note, Process, Seen
from tests.faults.presence.sessions import check_end
from trio_socketio.protocol.presence_cursor import parse_cursor
from trio_socketio.protocol.presence_log import Entry, EntryType

LEASE_S = 5.0


def entry(
    cursor: str,
    type_: EntryType,
    user: str,
    id_: str,
    *,
    boot: str = "boot-a",
    token: str = "",
    prev: str | None = None,
    reason: str | None = None,
) -> Entry:
    return Entry(
        cursor=cursor,
        type=type_,
        namespace="/chat",
        user=user,
        id=id_,
        node=boot[-1],
        boot=boot,
        token=token or cursor,
        prev=prev,
        reason=reason,
        at=float(cursor.partition("-")[2]),
    )


def claim(at: float, user: str, id_: str, token: str, boot: str = "boot-a") -> Act:
    outcome = "claimed" if token else "fenced"
    return Act(at=at, do="claim", user=user, id=id_, boot=boot, token=token, outcome=outcome)


def joined(at: float, user: str, id_: str) -> Act:
    return Act(at=at, do="joined", user=user, id=id_)


def left(at: float, user: str, id_: str) -> Act:
    return Act(at=at, do="left", user=user, id=id_, reason="transport close")


def handled(at: float, user: str, id_: str) -> Act:
    return Act(at=at, do="handled", user=user, id=id_)


def note(at: float, do: str, client: int, port: int, user: str = "ann", id_: str = "") -> Note:
    return msgspec.convert(
        {"at": at, "do": do, "user": user, "client": client, "port": port, "id": id_}, Note
    )


def right() -> History:
    """Ann moves from a to b, and Bob goes offline with the node a, which is frozen for too long."""
    log = [
        entry("1-1", "online", "ann", "A1"),
        entry("1-2", "online", "bob", "B1"),
        entry("1-3", "moved", "ann", "A2", boot="boot-b", prev="1-1", reason="replaced"),
        entry("1-4", "offline", "bob", "B1", token="1-2", reason="node_lost"),
        entry("1-5", "online", "cid", "C1", boot="boot-b"),
        entry("1-6", "offline", "cid", "C1", boot="boot-b", token="1-5", reason="transport close"),
    ]
    a = Process(
        1,
        "a",
        3001,
        [
            claim(1.0, "ann", "A1", "1-1"),
            joined(1.1, "ann", "A1"),
            claim(2.0, "bob", "B1", "1-2"),
            joined(2.1, "bob", "B1"),
            handled(2.2, "bob", "B1"),
            left(2.9, "ann", "A1"),
            left(20.1, "bob", "B1"),
            claim(20.2, "bob", "B9", ""),
        ],
    )
    b = Process(
        2,
        "b",
        3002,
        [
            claim(3.0, "ann", "A2", "1-3", "boot-b"),
            joined(3.0, "ann", "A2"),
            claim(5.0, "cid", "C1", "1-5", "boot-b"),
            joined(5.1, "cid", "C1"),
            left(6.0, "cid", "C1"),
            Act(
                at=6.1,
                do="release",
                user="cid",
                boot="boot-b",
                token="1-5",
                cursor="1-6",
                outcome="released",
            ),
        ],
    )
    notes = [
        note(1.2, "in", 1, 3001, id_="A1"),
        note(2.95, "out", 1, 3001),
        note(3.1, "in", 2, 3002, id_="A2"),
        note(2.2, "in", 3, 3001, "bob", "B1"),
        note(20.2, "out", 3, 3001, "bob"),
        note(5.2, "in", 4, 3002, "cid", "C1"),
        note(6.0, "out", 4, 3002, "cid"),
    ]
    owner = ("1-3", "A2", "b", "boot-b")
    seen = [
        Seen(3.5, parse_cursor("1-2"), None, 2),
        Seen(30.0, parse_cursor("1-6"), {"ann": [owner]}, 1),
    ]
    marks = [Mark(7.0, "frozen", 1), Mark(20.0, "thawed", 1)]
    return History([a, b], notes, marks, log, [], {"a": log[:4], "b": log[1:]}, seen)


def test_a_right_history_is_not_complained_of() -> None:
    history = right()
    assert checker.check(history) == []
    end = history.seen[-1]
    assert check_end(end, history.processes, history.marks, history.notes) == []
    assert checker.check_lost(history.log, ["bob"]) == []


def change_entry(number: int, **changes: object) -> Callable[[History], None]:
    def change(history: History) -> None:
        old = history.log[number]
        history.log[number] = msgspec.structs.replace(old, **changes)
        history.logs.clear()

    return change


def change_state(**changes: Any) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.seen[-1] = replace(history.seen[-1], **changes)

    return change


def add_entry(new: Entry) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.log.append(new)

    return change


def add_act(process: int, act: Act) -> Callable[[History], None]:
    def change(history: History) -> None:
        acts = history.processes[process].acts
        acts.append(act)
        acts.sort(key=lambda one: one.at)

    return change


def add_notes(*new: Note) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.notes += new

    return change


def drop_from_reader(history: History) -> None:
    del history.logs["a"][1]


def repeat_to_reader(history: History) -> None:
    history.logs["a"].append(history.logs["a"][-1])


def change_for_reader(history: History) -> None:
    history.logs["a"][0] = msgspec.structs.replace(history.logs["a"][0], user="eve")


def drop_marks(history: History) -> None:
    history.marks.clear()
    history.processes[1].acts.append(joined(9.0, "bob", "B2"))


TWO = [("1-3", "A2", "b", "boot-b"), ("1-1", "A1", "a", "boot-a")]
OTHER = {"ann": [("1-1", "A1", "a", "boot-a")]}
MORE = {"ann": [("1-3", "A2", "b", "boot-b")], "bob": [("1-2", "B1", "a", "boot-a")]}


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("I1", change_entry(2, type="seat_added")),
        ("I1", change_state(users={"ann": TWO})),
        ("I2", change_state(users=OTHER)),
        ("I2", change_state(users=MORE, count=1)),
        ("I2", change_state(users={}, count=1)),
        ("I2", change_state(cursor=parse_cursor("1-7"))),
        ("I3", change_entry(2, type="online")),
        ("I3", change_entry(2, prev="1-0")),
        ("I3", change_entry(3, token="1-1")),
        ("I3", add_entry(entry("1-7", "offline", "bob", "B1", token="1-2"))),
        ("I3", add_entry(entry("1-7", "moved", "cid", "C2", prev="1-5"))),
        ("I4", change_entry(4, cursor="1-9", token="1-9")),
        ("I4", change_entry(4, token="1-2")),
        ("I4", add_entry(entry("2-2", "online", "bob", "B3", boot="boot-b"))),
        ("I4", add_entry(entry("1-6", "online", "bob", "B3", boot="boot-b"))),
        ("I5", add_entry(entry("1-7", "online", "eve", "E1"))),  # a boot that is dead
        ("I5", add_entry(entry("1-7", "online", "bob", "B9"))),  # it was told that it is fenced
        ("I5", add_act(1, claim(8.0, "eve", "E1", "1-7", "boot-b"))),
        ("I5", add_act(1, claim(8.0, "eve", "E1", "1-3", "boot-b"))),
        (
            "I5",
            add_act(1, Act(at=8, do="release", user="x", cursor="1-3", outcome="released")),
        ),
        ("I7", add_act(1, joined(2.5, "ann", "A3"))),
        ("I7", drop_marks),
        ("I7", add_act(0, handled(20.05, "bob", "B1"))),
        ("I7", add_act(0, handled(25.0, "bob", "B1"))),
        ("I7", add_notes(note(2.93, "in", 7, 3002))),
        ("I7", add_notes(note(6.9, "in", 7, 3002, "bob"))),
        ("I8", change_state(count=2)),
        ("fence", add_notes(note(20.1, "got", 3, 3001, "bob"))),
        ("left something out", drop_from_reader),
        ("after 1-4", repeat_to_reader),
        ("in the store it is", change_for_reader),
    ],
)
def test_each_violation_is_found(what: str, spoil: Callable[[History], None]) -> None:
    history = right()
    spoil(history)
    complaints = checker.check(history)
    assert any(what in one for one in complaints), complaints


def test_a_client_of_a_frozen_node_is_out_unless_that_goes_on() -> None:
    """A session that goes on after the freeze was there all the time."""
    history = right()
    acts = history.processes[0].acts
    history.processes[0].acts = [act for act in acts if act.at < 20]
    history.processes[0].acts.append(left(40.0, "bob", "B1"))
    history.processes[1].acts.append(joined(13.0, "bob", "B2"))
    assert any("I7" in one for one in checker.check(history))


def test_polling_may_learn_late_that_it_is_out() -> None:
    history = right()
    history.notes[0] = msgspec.structs.replace(history.notes[0], is_strict=False)
    history.notes[1] = msgspec.structs.replace(history.notes[1], at=6.0)
    assert checker.check(history) == []
    history.notes[1] = msgspec.structs.replace(history.notes[1], at=24.0)
    assert any("I7" in one for one in checker.check(history))


def test_entries_that_a_failing_server_took_along_are_not_asked_for() -> None:
    history = right()
    add_act(1, claim(8.0, "eve", "E1", "1-7", "boot-b"))(history)
    add_entry(entry("2-1", "online", "ann", "A2", boot="boot-b"))(history)
    add_act(1, claim(8.1, "ann", "A2", "2-1", "boot-b"))(history)
    assert checker.check(history) == []


@pytest.mark.parametrize(
    "spoil",
    [
        add_act(1, joined(8.0, "eve", "E1")),
        add_act(1, left(8.0, "ann", "A2")),
        add_notes(note(8.0, "in", 7, 3002, "eve", "E1")),
        add_notes(note(8.0, "out", 2, 3002)),
        change_state(is_rebuilding=True),
    ],
)
def test_the_end_has_to_be_right(spoil: Callable[[History], None]) -> None:
    history = right()
    spoil(history)
    end = history.seen[-1]
    found = check_end(end, history.processes, history.marks, history.notes)
    assert found
    assert all("I6" in one for one in found)


def test_clients_of_a_node_that_was_killed_need_no_end() -> None:
    history = right()
    history.processes.append(Process(3, "c", 3003, [joined(8.0, "eve", "E1")]))
    history.marks.append(Mark(9.0, "killed", 3))
    end = history.seen[-1]
    assert check_end(end, history.processes, history.marks, history.notes) == []
    assert checker.check(history) == []


def test_whom_a_lost_node_had_goes_offline_once() -> None:
    log = right().log
    assert checker.check_lost(log, ["ann"]) == ["ann went offline 0 times"]
    again = [*log, entry("1-7", "online", "bob", "B3"), entry("1-8", "offline", "bob", "B3")]
    assert checker.check_lost(again, ["bob"]) == ["bob went offline 2 times"]
    assert len(checker.check_quiet(log)) == 2
    assert checker.check_quiet(log[:3]) == []
