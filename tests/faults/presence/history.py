"""The history of a run, as recorded by nodes, clients, readers of the log and the nemesis.

All of them are processes of one machine, so that the times of all (CLOCK_BOOTTIME, in seconds) can
be compared.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from trio_socketio.protocol.presence_cursor import Cursor
from trio_socketio.protocol.presence_log import Entry

Owner = tuple[str, str, str, str]
"""The token, id, node and boot of a seat."""


class Act(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something that a node did.

    Args:
        at: when it was done; of a question to the store, when it was answered.
        do: "joined" and "left" are told by an observer of the namespace, "handled" by a handler;
            "claim", "reassert" and "release" are questions to the store.
        user: the user.
        namespace: of a question to the store.
        id: the public id of the client's socket; empty for a release, which does not know it.
        boot: of the node; empty where it does not matter.
        outcome: of a question: the name of the answer's class in lower case, or "unknown" if the
            store did not answer.
        token: of the claim that was made, or that was to end or to be reasserted.
        cursor: in the answer to a release.
        reason: why a socket has left, or a claim was released.
    """

    at: float
    do: Literal["joined", "left", "handled", "claim", "reassert", "release"]
    user: str
    namespace: str = "/chat"
    id: str = ""
    boot: str = ""
    outcome: str = ""
    token: str = ""
    cursor: str = ""
    reason: str = ""


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something that a client saw.

    Args:
        at: when.
        do: it was let "in", is "out", was "refused", or "got" a packet while it was watched.
        user: the user.
        client: a number of its own.
        id: of its socket, as it was told.
        port: of its node.
        why: it is out or was refused; of "got", the packet.
        is_strict: whether it learns everything at once: on WebSocket, but not on long-polling.
    """

    at: float
    do: Literal["in", "out", "refused", "got"]
    user: str
    client: int
    id: str = ""
    port: int = 0
    why: str = ""
    is_strict: bool = True


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Something that the nemesis did to a process of a node.

    Args:
        at: when.
        do: what.
        process: its number.
    """

    at: float
    do: Literal["killed", "frozen", "thawed"]
    process: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of the store at one moment, as somebody was told.

    Args:
        at: when.
        cursor: where in the log it was so.
        users: the owner of each user's seat; None if the users were only counted.
        count: how many users were online.
        is_rebuilding: whether the store said that it is not complete.
    """

    at: float
    cursor: Cursor
    users: Mapping[str, Sequence[Owner]] | None
    count: int
    is_rebuilding: bool = False


@dataclass(slots=True)
class Process:
    """One process of a node, from its start to its end.

    Args:
        number: of its own.
        node: the name of its node.
        port: where clients reach it.
        acts: what it did.
    """

    number: int
    node: str
    port: int
    acts: list[Act] = field(default_factory=list)


@dataclass(slots=True)
class History:
    """All that is known of a run.

    Args:
        processes: of nodes.
        notes: of clients.
        marks: of the nemesis.
        log: the entries that were read from the store, in their order.
        read_at: when each of them was read.
        logs: the entries that each node has sent to a backend, by the name of the node.
        seen: states of the store.
    """

    processes: list[Process] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    logs: dict[str, list[Entry]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def tell(self, user: str) -> list[str]:
        """Tell all that has happened to a user, in the order of time."""
        lines: list[tuple[float, str]] = []
        for process in self.processes:
            lines += [
                (act.at, f"{process.node} {_show(act)}") for act in process.acts if act.user == user
            ]
        lines += [(note.at, f"client {_show(note)}") for note in self.notes if note.user == user]
        lines += [
            (at, f"log {_show(entry)}")
            for at, entry in zip(self.read_at, self.log, strict=True)
            if entry.user == user
        ]
        lines += [(mark.at, f"nemesis {_show(mark)}") for mark in self.marks]
        return [f"{at:.3f} {line}" for at, line in sorted(lines)]


def _show(record: Act | Note | Mark | Entry) -> str:
    found = msgspec.structs.asdict(record)
    hidden = ("at", "user", "namespace", "is_strict", "unconfirmed")
    return " ".join(f"{k}={v}" for k, v in found.items() if v and k not in hidden)


def boottime() -> float:
    """Return the time of this machine that all of them write down."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_acts(path: Path, namespace: str) -> list[Act]:
    """Read what a process has written about a namespace.

    Its last line may be cut off, as it may have been killed.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    acts = [_decode_act(line) for line in lines[:-1]]
    return [act for act in acts if act.namespace == namespace]


_decode_act = msgspec.json.Decoder(Act).decode
