"""``make conformance``: runs the matrix, prints it, and writes it to spec/conformance.md.

The text says nothing of when and how long, so that it changes with the results only.
"""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Final

from tests.interop.drivers import NODE_MODULES, Matrix
from tests.interop.matrix import (
    CLIENTS,
    FEATURES,
    TABLES,
    TRANSPORTS,
    Cell,
    Client,
    Family,
    all_cells,
    cells_of,
)
from tests.interop.server_process import ROOT

FILE: Final = ROOT / "spec" / "conformance.md"

HEAD: Final = """\
# Conformance

Foreign clients against this server: each cell is scenarios of `tests/interop/`, with the client as
its registry has it, over real connections. `make conformance` writes this file; `make test` runs
the same cells. `upgrade` begins with polling and goes on when the client is on WebSocket.
"""


def describe(client: Client) -> str:
    """The packages of a client with their versions as installed."""
    found = [
        f"{package} {version(package)}" if client.family.in_python else _npm_version(package)
        for package in client.packages
    ]
    described = " with ".join(found)
    return f"{described}, {client.note}" if client.note else described


def _npm_version(name: str) -> str:
    package = json.loads((NODE_MODULES / name / "package.json").read_text(encoding="utf-8"))
    return f"{package['name']} {package['version']}"


def render(passes: Callable[[Cell], bool]) -> str:
    """The whole file.

    Args:
        passes: says of a cell that has scenarios whether all of them are well.
    """
    parts = [HEAD]
    for title, families in TABLES.items():
        parts += [f"\n## {title}\n\n", *_table(families, passes)]
    return "".join(parts)


def _table(families: tuple[Family, ...], passes: Callable[[Cell], bool]) -> Iterator[str]:
    features = [feature for feature in FEATURES if not feature.by.keys().isdisjoint(families)]
    reasons: list[str] = []

    def show(cell: Cell) -> str:
        if not cell.missing:
            return "pass" if passes(cell) else "**fail**"
        if cell.missing not in reasons:
            reasons.append(cell.missing)
        return f"n/a ({reasons.index(cell.missing) + 1})"

    columns = ["client", "transport", *(feature.name for feature in features)]
    yield f"| {' | '.join(columns)} |\n|{'-|' * len(columns)}\n"
    for client in CLIENTS:
        if client.family in families:
            name = describe(client)
            for transport in TRANSPORTS:
                row = [name, transport, *map(show, cells_of(client, transport))]
                yield f"| {' | '.join(row)} |\n"
    if reasons:
        yield "\nNot applicable:\n\n"
        yield from (f"{number}. {reason}\n" for number, reason in enumerate(reasons, 1))
    yield "\n"
    yield from (f"- **{feature.name}** {feature.proves}\n" for feature in features)
    left_out = [
        f"- {describe(client)}: `{name}`, since {reason}\n"
        for client in CLIENTS
        if client.family in families
        for name, reason in client.cannot.items()
    ]
    if left_out:
        yield from ("\nLeft out of cells that pass:\n\n", *left_out)


def main() -> int:
    """Run everything; the exit code is 1 if anything failed."""
    cells = list(all_cells())
    matrix = Matrix(dict.fromkeys((cell.client, cell.transport) for cell in cells))
    matrix.start()
    failures = {cell: matrix.failures(cell) for cell in cells}
    problems = matrix.finish()
    for cell, failed in failures.items():
        problems += [f"{cell}: {failure}" for failure in failed]
    text = render(lambda cell: not failures[cell])
    FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.stderr.write("".join(f"\n{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
