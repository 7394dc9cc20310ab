"""A time limit for every test, tests that run alone, and fixtures of several floors."""

import pytest
from trio.testing import MockClock

pytest_plugins = ["tests.time_limit", "tests.alone"]


@pytest.fixture
def mock_clock() -> MockClock:
    """Time stands still until the test jumps; trio_test runs under it."""
    return MockClock()
