"""Every cell of the matrix, and what spec/conformance.md says of them."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.interop.conformance import FILE, render
from tests.interop.drivers import Matrix, node_command
from tests.interop.matrix import FEATURES, TABLES, Cell, Family, all_cells
from tests.interop.python_scenarios import SCENARIOS

pytestmark = [pytest.mark.in_background, pytest.mark.time_limit(240)]

CELLS = [cell for cell in all_cells() if not cell.missing]
COMPRESSION = {"compressed_polling", "compressed_websocket"}  # test_compression.py
CROWD = {"two_hundred_clients"}  # test_crowd.py
JOINING = {"joining_again"}  # test_joining_again.py
PRESENCE = {"session_replaced"}  # test_presence.py
RECOVERY = {  # test_javascript_recovery.py
    "msgpack_values",
    "recovery_again_and_again",
    "recovery_after_a_volatile_event",
    "recovery_of_a_forged_session",
    "recovery_after_leaving",
}


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Iterator[Matrix]:
    """The rows of the cells that are tested this time."""
    cells: list[Cell] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.function is test_cell:
            cell = item.callspec.params["cell"]
            assert isinstance(cell, Cell)
            cells.append(cell)
    matrix = Matrix(dict.fromkeys((cell.client, cell.transport) for cell in cells))
    matrix.start()
    try:
        yield matrix
    finally:
        problems = matrix.finish()
    assert not problems, "\n".join(problems)


@pytest.mark.req("EIO3-02", "SIO4-01")
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(matrix: Matrix, cell: Cell) -> None:
    failures = matrix.failures(cell)
    assert not failures, "\n".join(failures)


def test_conformance_is_what_is_tested() -> None:
    # Each cell that has scenarios passes, or fails above: the file need not be made by a run.
    written = FILE.read_text(encoding="utf-8")
    assert written == render(lambda _: True), "run `make conformance` and commit what it wrote"


def test_every_scenario_is_in_a_cell() -> None:
    done = subprocess.run(node_command("list", (), "", ""), capture_output=True, check=True)
    written = {"javascript": set(json.loads(done.stdout)), "python": set(SCENARIOS)}
    elsewhere = COMPRESSION | CROWD | JOINING | PRESENCE | RECOVERY
    named: dict[str, set[str]] = {"javascript": elsewhere, "python": set()}
    for cell in CELLS:
        language = "python" if cell.client.family.in_python else "javascript"
        named[language].update(cell.scenarios)
    assert named == written


def test_every_feature_names_all_families_of_its_tables_or_none() -> None:
    for feature in FEATURES:
        for families in TABLES.values():
            assert feature.by.keys() & set(families) in (set(), set(families)), feature.name
    assert {family for families in TABLES.values() for family in families} == set(Family)
