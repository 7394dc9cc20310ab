"""How many files the program may open, and how many connections that leaves room for."""

import subprocess
import sys
import textwrap

import pytest

from tests.cli_process import LIMIT_S
from trio_socketio import descriptors
from trio_socketio.descriptors import RESERVE, Fitting, fit_descriptors

INFINITE = -1


class Limits:
    """A machine's limits of open files."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = INFINITE

    def __init__(self, soft: int, hard: int, most: float = float("inf")) -> None:
        self.now = soft, hard
        self.most = most  # that the system allows, whatever it says

    def getrlimit(self, kind: int) -> tuple[int, int]:
        assert kind == self.RLIMIT_NOFILE
        return self.now

    def setrlimit(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == self.RLIMIT_NOFILE
        assert all(type(limit) is int for limit in limits)
        if limits[0] > self.most:
            raise ValueError("current limit exceeds maximum limit")
        self.now = limits


def fit(limits: Limits, wanted: int) -> Fitting:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descriptors, "resource", limits)
        return fit_descriptors(wanted)


@pytest.mark.req("CMD-05")
@pytest.mark.parametrize(
    "limits",
    [Limits(1000 + RESERVE, 5000), Limits(INFINITE, INFINITE), Limits(5000, 5000)],
)
def test_what_is_enough_is_left_alone(limits: Limits) -> None:
    before = limits.now
    assert fit(limits, 1000) == Fitting(1000)
    assert limits.now == before


@pytest.mark.req("CMD-05")
def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    limits = Limits(1024, 524_288)
    change = "this process may open 524288 files (raised from 1024)"
    assert fit(limits, 100_000) == Fitting(100_000, change=change)
    assert limits.now == (524_288, 524_288)


@pytest.mark.req("CMD-05")
def test_without_a_hard_limit_it_is_raised_to_what_is_needed() -> None:
    limits = Limits(256, INFINITE)
    assert fit(limits, 50_000).max_connections == 50_000
    assert limits.now == (50_000 + RESERVE, INFINITE)


@pytest.mark.req("CMD-06")
def test_connections_are_fitted_to_a_hard_limit_that_is_too_low() -> None:
    limits = Limits(1024, 4096)
    fitting = fit(limits, 100_000)
    assert fitting.max_connections == 4096 - RESERVE
    assert fitting.lowered
    assert limits.now == (4096, 4096)
    assert f"from 100000 to {4096 - RESERVE}" in fitting.change
    assert "only 4096 files (raised from 1024)" in fitting.change
    assert "LimitNOFILE=" in fitting.change


@pytest.mark.req("CMD-06")
@pytest.mark.parametrize(
    ("limits", "fitting", "soft"),
    [
        (Limits(1024, 1024), 1024 - RESERVE, 1024),
        (Limits(64, 64), 32, 64),  # half of it, where the reserve would leave nobody
        (Limits(3, 3), 2, 3),
        (Limits(256, INFINITE, most=10_240), 10_240 - RESERVE, 10_240),  # as on macOS
        (Limits(512, 100_000, most=600), 512 - RESERVE, 512),
    ],
)
def test_other_limits(limits: Limits, fitting: int, soft: int) -> None:
    assert fit(limits, 100_000).max_connections == fitting
    assert limits.now[0] == soft


@pytest.mark.req("CMD-05", "CMD-06")
@pytest.mark.parametrize(
    ("arguments", "fitting", "says"),
    [
        ((), 384, "INFO trio_socketio.standalone: max_connections is lowered from 100000 to 384"),
        (
            ("--max-connections", "500"),
            384,
            "WARNING trio_socketio.standalone: max_connections is lowered from 500 to 384",
        ),
        (("--max-connections", "300"), 300, "this process may open 512 files (raised from 256)"),
        (("--max-connections", "100"), 100, ""),
    ],
)
def test_the_program_tells_it_in_one_line(
    arguments: tuple[str, ...], fitting: int, says: str
) -> None:
    program = textwrap.dedent("""
        import resource, sys
        from trio_socketio import cli
        from trio_socketio.socketio.server import Server
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))

        async def stop_at_once(self, **settings):
            print(self.options.max_connections)
            settings["task_status"].started([("127.0.0.1", 1)])

        Server.serve, Server.state = stop_at_once, "serving"
        sys.exit(cli.main(["serve", *sys.argv[1:]]))
    """)
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    lines = ended.stderr.splitlines()
    # Then: who may enter, the page of the lobby, where it serves, and that it has stopped.
    assert len(lines) == (5 if says else 4)
    assert says in lines[0]
    assert ended.stdout == f"{fitting}\n"
