"""Ends the run at once, with one clear line, if a program is not there that the tests drive."""

import pytest
from tests.balancers.balancing import Missing, find

PROGRAMS = ("nginx", "haproxy", "node", "promtool", "systemd-analyze")


def pytest_sessionstart() -> None:
    try:
        for program in PROGRAMS:
            find(program)
    except Missing as error:
        pytest.exit(str(error), returncode=2)
