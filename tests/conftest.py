"""A time limit for every test, tests that run alone, and fixtures of several floors."""

import pytest
from trio.testing import MockClock

pytest_plugins = [
    *("tests.time_limit", "tests.alone", "tests.shared_rewriting"),
    *("tests.properties", "tests.redis_server"),
]


@pytest.fixture
def mock_clock() -> MockClock:
    """Time stands still until the test jumps; trio_test runs under it."""
    return MockClock()


@pytest.fixture
def autojump_clock() -> MockClock:
    """Time passes as soon as every task waits."""
    return MockClock(autojump_threshold=0)


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> str:
    """Every test that takes it runs on both."""
    name: str = request.param
    return name
