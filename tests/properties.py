"""How many examples Hypothesis tries of each property.

The suite tries a few in each run, others every time. `make properties` tries 25 times as many.
"""

from typing import Final

import pytest
from hypothesis import HealthCheck, settings

IN_SUITE: Final = 40
IN_DEPTH: Final = 1000

# How fast inputs are made depends on the machine here; `make properties` tells a slow strategy.
_ON_BUSY_MACHINES: Final = (HealthCheck.too_slow,)
settings.register_profile("suite", max_examples=IN_SUITE, suppress_health_check=_ON_BUSY_MACHINES)
settings.register_profile("depth", max_examples=IN_DEPTH, deadline=None)
if settings.get_current_profile_name() in ("default", "ci"):  # and nobody has chosen another
    settings.load_profile("suite")


def examples(in_suite: int) -> int:
    """Return how many examples to try of a property of which the suite tries this many."""
    return max(1, in_suite * settings().max_examples // IN_SUITE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that run a state machine; Hypothesis marks all its other tests itself."""
    for item in items:
        if isinstance(item, pytest.Function):
            code = getattr(item.function, "__wrapped__", item.function).__code__
            if "run_state_machine_as_test" in code.co_names:
                item.add_marker("hypothesis")
