"""Every test that takes `transports` runs on each way to be connected."""

import pytest

WAYS = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}


@pytest.fixture(params=list(WAYS))
def transports(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return WAYS[request.param]
