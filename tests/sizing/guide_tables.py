"""Writes the tables of spec/guide/sizing.md: python -m tests.sizing.guide_tables."""

import re
from pathlib import Path
from typing import Final

from trio_socketio.cli.size import STAY_S, bytes_text
from trio_socketio.sizing.calculation import Size, size
from trio_socketio.sizing.costs import default_costs
from trio_socketio.sizing.load import Load, Machines, Sticky

GUIDE: Final = Path(__file__).resolve().parents[2] / "spec" / "guide" / "sizing.md"
CONNECTIONS: Final = (1_000, 10_000, 100_000, 1_000_000)
CHAT, QUIET = "chat", "quiet"


def load_of(kind: str, connections: int, **more: float) -> Load:
    """A load of the guide: who chats writes once a minute, a quiet client hears once in an hour."""
    every_s, receivers, seats_share = (60, 10, 1.0) if kind == CHAT else (3600, 1, 0.0)
    options: dict[str, float] = {
        "messages_per_second": connections / every_s,
        "receivers": receivers,
        "message_bytes": 200,
        "connects_per_second": connections / STAY_S,
        "seats_share": seats_share,
        **more,
    }
    return Load(connections=connections, **options)


def _sizes() -> list[list[str]]:
    rows = []
    for kind in (CHAT, QUIET):
        for connections in CONNECTIONS:
            load = load_of(kind, connections)
            found = size(load, Machines(), default_costs())
            clusters = f"{found.clusters}" if found.clusters else "-"
            if found.clusters != 1 and found.clusters:
                part = load_of(kind, connections // found.clusters)
                found = size(part, Machines(), default_costs())
            sent = f"{load.messages_per_second:,.1f}"
            rows.append([f"{connections:,}", kind, sent, clusters, *_row(found)])
    return rows


def _row(found: Size) -> list[str]:
    demand, redis, loss = found.demand, found.demand.redis, found.loss
    back = "-" if loss.back_s is None else f"{loss.back_s:.0f} s"
    return [
        f"{found.workers:,}",
        f"{found.machines:,}",
        f"{demand.cpu.total / 1e6:.2f}",
        bytes_text(demand.memory_bytes),
        bytes_text(demand.out_bytes_per_second) + "/s",
        f"{redis.core_share:.2f}" if found.workers > 1 else "-",
        f"{found.largest} {found.largest_share:.0%}",
        f"{loss.disconnected:,.0f}",
        back,
    ]


SIZE_HEAD: Final = (
    "connections", "load", "messages/s", "clusters", "workers", "machines", "cores busy", "memory",
    "sent", "Redis", "most CPU", "lost with one", "back after",
)  # fmt: skip


def _stickiness() -> list[list[str]]:
    rows = []
    clients: dict[str, dict[str, float]] = {
        "WebSocket at once": {"upgrading_share": 0.0},
        "long-polling, then WebSocket": {},
        "one in five stays on long-polling": {"polling_share": 0.2},
        "all stay on long-polling": {"polling_share": 1.0},
    }
    for name, more in clients.items():
        row = [name]
        for sticky in Sticky:
            found = size(load_of(CHAT, 500_000, **more), Machines(sticky=sticky), default_costs())
            cpu = found.demand.cpu
            row.append(f"{cpu.total / 1e6:.2f} ({cpu.forwarding / cpu.total:.0%})")
        rows.append(row)
    return rows


STICKY_HEAD: Final = ("clients", *(f"`--sticky {sticky.value}`" for sticky in Sticky))


def tables() -> dict[str, str]:
    """The text of each table, by its name."""
    return {
        "sizes": _table(SIZE_HEAD, _sizes()),
        "stickiness": _table(STICKY_HEAD, _stickiness()),
    }


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(text: str) -> str:
    """The guide with the tables as they are computed now."""
    for name, table in tables().items():
        between = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert len(between.findall(text)) == 1, f"the guide has no place for the table {name}"
        text = between.sub(lambda found, table=table: found[1] + table + found[2], text)  # type: ignore[misc] # mypy does not infer a lambda with a default
    return text


if __name__ == "__main__":
    GUIDE.write_text(written(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
