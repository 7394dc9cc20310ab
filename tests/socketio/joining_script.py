"""What a client's way into a namespace is told to do: read by the server of the test and its model.

A *position* is a place on the way where user code runs. A plan says what happens there; a position
that is not planned lets the client pass at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

HOOK_S: Final = 10.0
AUTH_S: Final = 20.0
CONNECT_S: Final = 45.85
AWAY_S: Final = 120.95
UNDO_S: Final = 5.0
PUT_OUT: Final = "disconnected by the server"
WIDE: Final = frozenset(("kick all", "close", "kick everybody", "kick and tell"))
"""Actions that concern more than the socket itself."""


@dataclass(frozen=True)
class Visit:
    """What happens at one position.

    Args:
        wait: "" goes on at once; "gate" waits for a gate that the test opens, and can be cancelled;
            "shield" waits for it whatever happens. Async positions only.
        claim: what is claimed before the wait, by how it is undone: "plain", "async", "gated",
            "failing", or "" for nothing.
        late: what is claimed after the wait.
        room: joined on the way.
        outcome: "pass", "refuse", "fail", "false", "kick", "kick all", "close".
    """

    wait: str = ""
    claim: str = ""
    late: str = ""
    room: str = ""
    outcome: str = "pass"


PASS: Final = Visit()
Plan = Mapping[str, Visit]
STEPS: Final = ("auth", "middleware", "seat")


@dataclass(frozen=True)
class Space:
    """How a namespace is set up: which of its functions are async.

    Args:
        slow: positions whose function is async, "connection", "disconnect" included.
        timeout_s: of its async steps; no two deadlines of a client fall together.
        by_event: whether the credentials come as an event.
        kind: "static", "pattern", "predicate", "removable" or "none".
    """

    slow: frozenset[str]
    timeout_s: float
    by_event: bool = False
    kind: str = "static"


def _space(number: int, *slow: str, by_event: bool = False, kind: str = "static") -> Space:
    return Space(frozenset(slow), HOOK_S + number / 10, by_event, kind)


SPACES: Final = {
    "/": _space(1, "middleware"),
    "/plain": _space(2),
    "/async": _space(3, "auth", "middleware", "seat", "connection", "disconnect"),
    "/event": _space(4, "auth", "middleware", by_event=True),
    "/dyn-1": _space(5, "connection", kind="pattern"),
    "/ask-1": _space(6, "auth", "seat", "disconnect", kind="predicate"),
    "/gone": _space(7, "middleware", "seat", kind="removable"),
    "/nowhere": _space(8, kind="none"),
}


def tame(name: str, plan: Plan, pid: str = "") -> Plan:
    """Have what concerns others happen alone: tasks run in any order.

    An action of an async function that touches more than its own socket waits for a gate first,
    and gates are opened one at a time.
    """
    space, plan = SPACES[name], dict(plan)
    connection = plan.get("connection", PASS)
    if connection.outcome in WIDE and "connection" in space.slow:
        plan["connection"] = replace(connection, wait="gate")
    risky = WIDE if not space.by_event else {*WIDE, "refuse", "fail", "false", "kick"}
    if pid and any(plan.get(step, PASS).outcome in risky for step in (*STEPS, "connection")):
        restore = plan.get("restore", PASS)
        plan["restore"] = replace(restore, wait=restore.wait or "gate")
    first = next((step for step in STEPS if step in space.slow), None)
    if first is None:
        return plan
    behind = STEPS[STEPS.index(first) :]
    is_risky = any(plan.get(step, PASS).outcome in risky for step in behind)
    visit = plan.get(first, PASS)
    if (is_risky or connection.outcome in WIDE) and not visit.wait:
        plan[first] = replace(visit, wait="gate")
    return plan


@dataclass(frozen=True)
class Connect:
    """A CONNECT; pid is of the session that it wants to go on with."""

    name: str
    number: int
    plan: Plan
    pid: str = ""


@dataclass(frozen=True)
class Leave:
    """A DISCONNECT."""

    name: str


@dataclass(frozen=True)
class Event:
    """An event for the plain or the async handler.

    Args:
        action: of the handler: "", "kick", "kick and tell" (the others), WIDE.
        gated: whether the handler waits; async ones only.
        ack: whether the client wants an answer.
    """

    name: str
    number: int
    slow: bool = False
    action: str = ""
    gated: bool = False
    ack: bool = False


@dataclass(frozen=True)
class Auth:
    """The event that carries credentials."""

    name: str
    number: int
    right: bool


@dataclass(frozen=True)
class Ack:
    """The answer to a question of the server, or to none."""

    name: str
    question: int


@dataclass(frozen=True)
class Close:
    """The close packet of Engine.IO."""

    name: str = ""


Packet = Connect | Leave | Event | Auth | Ack | Close
