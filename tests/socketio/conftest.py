"""Every test that takes `transport` runs on both."""

import pytest


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
