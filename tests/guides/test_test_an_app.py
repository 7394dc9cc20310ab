"""The tests of the guide to tests pass, and they can fail."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.guides.guide import MODULES, guide

GUIDE: Final = guide("test_an_app.md")


def test_the_tests_pass_and_can_fail(tmp_path: Path) -> None:
    """In one process, with an app that is right and with one that is wrong."""
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "bid.mjs").write_text(GUIDE.block("js", "// bid.mjs"))
    app, parts = GUIDE.block("python", "# auction.py"), GUIDE.all("python", "# test_auction.py")
    (tmp_path / "auction.py").write_text(app)
    (tmp_path / "test_auction.py").write_text("\n".join(parts))
    wrong = app.replace("<= max(bids", "< max(bids").replace('"sold"', '"gone"')
    (tmp_path / "wrong.py").write_text(wrong)
    code = "\n".join(parts[:2]).replace("from auction", "from wrong")
    (tmp_path / "test_wrong.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    failed = re.findall(r"^FAILED (\w+)\.py::(\w+)", done.stdout, re.MULTILINE)
    assert failed == [
        ("test_wrong", "test_the_higher_bid_wins"),
        ("test_wrong", "test_it_is_sold_after_a_minute"),
    ], done.stdout
    assert "2 failed, 3 passed" in done.stdout


def test_every_block_is_run() -> None:
    assert [(kind, head.split()[1]) for kind, head in GUIDE.heads] == [
        ("python", "auction.py"),
        ("python", "test_auction.py"),
        ("python", "test_auction.py,"),
        ("js", "bid.mjs"),
        ("python", "test_auction.py,"),
    ]
