"""A hang is a failure with a name; runs pytest on tests that hang."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.time_limit(180)  # each runs a whole pytest

LIMIT_S: Final = 100
ROOT: Final = Path(__file__).resolve().parent.parent
OPTIONS: Final = (
    *("-q", "-p", "tests.time_limit", "-p", "tests.alone"),
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
    *("-W", "ignore::ResourceWarning", "--tb=short"),
)
# A worker that has died is not replaced: --dist loadfile gives the next one the same test.
PARALLEL: Final = (
    *("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
    *("--max-worker-restart", "0"),
)

HANGS: Final = """
import threading, time
import pytest, trio
from trio.testing import trio_test

def swallow():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@pytest.fixture
def slow():
    time.sleep(60)

@pytest.fixture
def slow_at_the_end():
    yield
    time.sleep(60)

def test_sleeps(): time.sleep(60)

@trio_test
async def test_waits_in_trio(): await trio.sleep_forever()

@trio_test
async def test_waits_in_a_task_of_trio():
    async def wait_for_nothing(): await trio.Event().wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_nothing)

@trio_test
async def test_shields_itself():
    with trio.CancelScope(shield=True): await trio.sleep_forever()

@trio_test
async def test_loops_in_trio():
    while True: time.sleep(0.001)

@trio_test
async def test_swallows_the_cancelling():
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return

def test_a_fixture_hangs(slow): pass
def test_a_fixture_hangs_at_the_end(slow_at_the_end): pass
def test_is_well(): pass

@pytest.mark.time_limit(600)
def test_may_take_longer(): time.sleep(0.8)
"""


def run(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    alone\n    in_background\n    time_limit(seconds)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_whatever_hangs_fails_and_the_others_go_on(tmp_path: Path) -> None:
    said = run(tmp_path, HANGS, "--time-limit-factor", "0.005").stdout  # 0.3 s
    hung = [
        *("test_sleeps", "test_waits_in_trio", "test_waits_in_a_task_of_trio"),
        *("test_shields_itself", "test_loops_in_trio", "test_swallows_the_cancelling"),
    ]
    for name in hung:
        assert f"FAILED test_it.py::{name} - Failed: test_it.py::{name} took more than" in said
    for name in ("test_a_fixture_hangs", "test_a_fixture_hangs_at_the_end"):
        assert f"ERROR test_it.py::{name} - Failed: test_it.py::{name} took more than" in said
    assert "6 failed, 3 passed, 2 errors" in said, said
    assert "await trio.Event().wait()" in said  # where the task waits


def test_what_cannot_be_stopped_ends_the_process_with_its_name(tmp_path: Path) -> None:
    source = HANGS + "\ndef test_never_ends(): swallow()\n"
    ended = run(tmp_path, source, "--time-limit-factor", "0.005", "-k", "never_ends")
    assert ended.returncode == 1
    assert "test_it.py::test_never_ends took more than" in ended.stderr
    assert "in swallow" in ended.stderr


SHARED: Final = """
import os, time
from pathlib import Path
import pytest

def stay(name):
    Path("at work", name).touch()
    time.sleep(0.2)
    others = os.listdir("at work")
    Path("at work", name).unlink()
    return others

@pytest.mark.parametrize("n", range(3))
def test_ordinary(n):
    assert "alone" not in stay(f"ordinary {n} {__name__}")
"""

ALONE: Final = """
@pytest.mark.alone
@pytest.mark.parametrize("n", range(3))
def test_alone(n):
    assert stay("alone") == ["alone"]
    if n == 1 and DIES:
        os._exit(3)
"""

BACKGROUND: Final = """
import pytest
from pathlib import Path

pytestmark = pytest.mark.in_background

@pytest.fixture(scope="module", autouse=True)
def background():
    Path("at work/background").touch()
    yield
    Path("at work/background").unlink()

@pytest.mark.parametrize("n", range(2))
def test_foreground(n): pass
"""


@pytest.mark.parametrize("dies", [False, True])
def test_beside_a_test_that_runs_alone_nothing_runs(tmp_path: Path, dies: bool) -> None:
    (tmp_path / "at work").mkdir()
    (tmp_path / "test_background.py").write_text(BACKGROUND)
    (tmp_path / "test_others.py").write_text(SHARED)
    (tmp_path / "test_more.py").write_text(SHARED + ALONE.replace("DIES", "False"))
    ended = run(tmp_path, SHARED + ALONE.replace("DIES", str(dies)), *PARALLEL, ".")
    if dies:
        assert ended.returncode
        assert "crashed while running 'test_it.py::test_alone[1]'" in ended.stdout, ended.stdout
    else:
        assert "17 passed" in ended.stdout, ended.stdout


def test_this_is_how_make_test_runs() -> None:
    assert " ".join(PARALLEL[2:]) in (ROOT / "Makefile").read_text()
