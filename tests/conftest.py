"""Fixtures of several floors."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def mock_clock() -> MockClock:
    """Time stands still until the test jumps; trio_test runs under it."""
    return MockClock()
