"""What some tests of this folder are run with."""

import pytest
from trio.testing import MockClock


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def autojump_clock() -> MockClock:
    """Time that passes as soon as everybody waits."""
    return MockClock(autojump_threshold=0)
