"""What contributors are told."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def test_contributors_are_told_of_commands_that_exist() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    named = {*re.findall(r"\bmake ([a-z-]+)", text)}
    assert len(named) > 10
    assert named <= {*targets.split()}
