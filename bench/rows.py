"""The rows of the table: what is asked of which servers, and what the ratio must be."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bench.servers import ASYNC, PLAIN, SUSPENDS

SMALL, LARGE = 64, 4096
CLIENTS = 100  # connections of echo, ack, binary, polling
WARM_CONNECTS = 3000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        key: names the row on the command line and in the results.
        must: smallest ratio to the reference that will do; 0 is none.
        goal: the ratio aimed at.
        reference: the row whose figure of the reference is compared with.
        best: smallest ratio to the better of Node's two servers that will do; 0 is none.
    """

    key: str
    title: str
    must: float = 0
    goal: float = 0
    reference: str = ""
    best: float = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the load generator: a row for each number of messages in flight."""

    workload: str
    options: tuple[str | int, ...]
    rows: dict[int, Row]


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that one start of a server serves in turn.

    Args:
        is_cluster: whether two nodes serve them, which share a Redis.
    """

    name: str
    jobs: tuple[Job, ...]
    handlers: str = PLAIN
    tls: bool = False
    is_cluster: bool = False


Targets = dict[int, tuple[float, float]]

# What must be reached against the better of Node's two servers, by key of the row.
_BEST: dict[str, float] = {
    "connects": 2.5,
    "echo/64/1": 1.05,
    "echo/64/16": 1.35,
    "ack/64/1": 1.1,
    "ack/64/16": 1.4,
    **dict.fromkeys(("echo/4096/1", "echo/4096/16"), 1.6),
    **{
        f"async-{workload}/{size}/{in_flight}": 1.0
        for workload in ("echo", "ack")
        for size in (SMALL, LARGE)
        for in_flight in (1, 16)
    },
    "broadcast/1000/4": 0.78,
    "broadcast/1000/32": 1.2,
    "polling": 0.9,
    "im/1": 1.2,
    "im/4": 1.2,
    **{f"tls/{size}/{in_flight}": 1.2 for size in (SMALL, LARGE) for in_flight in (1, 16)},
}
_ONE_MESSAGE: dict[str, Targets] = {
    PLAIN: {1: (1.2, 1.5), 16: (2.5, 3.5)},
    ASYNC: {1: (1.0, 1.4), 16: (2.5, 3.5)},
    SUSPENDS: {1: (0.75, 0.95), 16: (0.8, 1.1)},
}
_HANDLERS = {PLAIN: "", ASYNC: ", async handler", SUSPENDS: ", async handler that suspends"}
_LARGE_ECHO: Targets = {1: (1.1, 1.6), 16: (1.1, 1.6)}
_BROADCAST: dict[int, Targets] = {
    1000: {1: (1.5, 1.8), 4: (3.5, 4.5), 8: (7, 10), 32: (0, 0)},
    5000: {1: (1.7, 2.0), 4: (4.5, 6), 8: (8, 12), 32: (0, 0)},
}


def _rows(key: str, title: str, targets: Targets, reference: str = "") -> dict[int, Row]:
    return {
        in_flight: Row(
            f"{key}/{in_flight}",
            f"{title}, {in_flight} in flight",
            must,
            goal,
            f"{reference or key}/{in_flight}",
            _BEST.get(f"{key}/{in_flight}", 0),
        )
        for in_flight, (must, goal) in targets.items()
    }


def _message_group(handlers: str) -> Group:
    jobs: list[Job] = []
    for workload in ("echo", "ack"):
        for size in (SMALL, LARGE):
            targets = _ONE_MESSAGE[handlers]
            if size == LARGE:
                wanted = workload == "echo" and handlers == PLAIN
                targets = _LARGE_ECHO if wanted else {1: (0, 0), 16: (0, 0)}
            key = workload if handlers == PLAIN else f"{handlers}-{workload}"
            title = f"{workload} {size} B{_HANDLERS[handlers]}"
            rows = _rows(f"{key}/{size}", title, targets, f"{workload}/{size}")
            jobs.append(Job(workload, ("--connections", CLIENTS, "--bytes", size), rows))
    if handlers == PLAIN:
        rows = _rows(f"binary/{LARGE}", "binary echo 4 KiB", {1: (0, 0), 16: (0, 0)})
        jobs.append(Job("binary", ("--connections", CLIENTS, "--bytes", LARGE), rows))
    return Group(handlers if handlers != PLAIN else "messages", tuple(jobs), handlers)


def _broadcast_group(count: int) -> Group:
    rows = _rows(f"broadcast/{count}", f"broadcast to {count:,}", _BROADCAST[count])
    return Group(f"broadcast-{count}", (Job("broadcast", ("--connections", count), rows),))


def _cluster_group() -> Group:
    targets: Targets = {1: (1.5, 1.8), 4: (1.5, 3), 16: (1.5, 6)}
    rows = _rows("cluster", "broadcast to 1,000 on two nodes", targets)
    return Group("cluster", (Job("broadcast", ("--connections", 1000), rows),), is_cluster=True)


def _rooms_group() -> Group:
    users: tuple[str | int, ...] = ("--connections", 1000, "--senders", 10)
    small = _rows("rooms", "1,000 rooms of 10", {1: (0, 0), 4: (0, 0)})
    chat = _rows("im", "mixed IM load, rooms of 50", {1: (1.1, 1.5), 4: (1.1, 1.5)})
    rooms: tuple[str | int, ...] = ("--rooms", 1000, "--room-size", 10)
    chats: tuple[str | int, ...] = ("--rooms", 20, "--room-size", 50, "--own-room")
    return Group(
        "rooms",
        (Job("rooms", (*users, *rooms), small), Job("rooms", (*users, *chats), chat)),
    )


def _tls_group() -> Group:
    small = _rows("tls/64", "TLS echo 64 B", {1: (1.0, 1.3), 16: (0, 0)})
    large = _rows("tls/4096", "TLS echo 4096 B", {1: (0, 0), 16: (0, 0)})
    options = ("--connections", CLIENTS, "--tls")
    return Group(
        "tls",
        (
            Job("echo", (*options, "--bytes", SMALL), small),
            Job("echo", (*options, "--bytes", LARGE), large),
        ),
        tls=True,
    )


_CONNECTS = Row("connects", "connects", 3, 6, "connects", _BEST["connects"])
_POLLING = Row("polling", "polling round trips", 1.2, 1.8, "polling", _BEST["polling"])

GROUPS: tuple[Group, ...] = (
    Group(
        "connects",
        (
            Job(
                "connects",
                ("--connections", 64, "--warmup-count", WARM_CONNECTS),
                {1: _CONNECTS},
            ),
        ),
    ),
    _message_group(PLAIN),
    _message_group(ASYNC),
    _message_group(SUSPENDS),
    _broadcast_group(1000),
    _broadcast_group(5000),
    _cluster_group(),
    _rooms_group(),
    Group("polling", (Job("polling", ("--connections", CLIENTS), {1: _POLLING}),)),
    _tls_group(),
)


def all_rows() -> Iterator[Row]:
    for group in GROUPS:
        for job in group.jobs:
            yield from job.rows.values()


def is_asked(key: str, group: str, patterns: Sequence[str]) -> bool:
    """Whether a row is meant: by its group, its key, whole first parts of it, or a pattern with *.

    "echo/64" is the start of echo/64/1 and of echo/64/16; "echo/64/1" is one row alone.
    """
    return any(
        pattern == group
        or key == pattern
        or key.startswith(f"{pattern}/")
        or ("*" in pattern and fnmatchcase(key, pattern))
        for pattern in patterns
    )


def select(patterns: Sequence[str]) -> list[Group]:
    """The groups and jobs with the rows asked for and no others; all when nothing is asked."""
    if not patterns:
        return list(GROUPS)
    asked = {
        row.key
        for group in GROUPS
        for job in group.jobs
        for row in job.rows.values()
        if is_asked(row.key, group.name, patterns)
    }
    return only(GROUPS, asked)


def only(groups: Sequence[Group], keys: Collection[str]) -> list[Group]:
    """The groups and jobs without other rows than these."""
    chosen: list[Group] = []
    for group in groups:
        jobs = [
            replace(job, rows={at: row for at, row in job.rows.items() if row.key in keys})
            for job in group.jobs
        ]
        if kept := tuple(job for job in jobs if job.rows):
            chosen.append(replace(group, jobs=kept))
    return chosen


def unknown(patterns: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    """The patterns that mean no row; others are keys that are not in the groups."""
    keys = [
        (row.key, group.name) for group in GROUPS for job in group.jobs for row in job.rows.values()
    ]
    keys += [(other, "") for other in others]
    return [
        pattern
        for pattern in patterns
        if not any(is_asked(key, group, [pattern]) for key, group in keys)
    ]


def family(keys: Collection[str]) -> set[str]:
    """These rows, and all that are held against the same rows of the reference."""
    references = {row.reference for row in all_rows() if row.key in keys}
    return {row.key for row in all_rows() if row.reference in references}
