"""Whether the cost of a message grows with the number of connections or rooms."""

import pytest
from bench.growth import BROADCAST, CONNECTIONS, ECHO, ROOMS, Curve


def curve(*points: tuple[int, float]) -> Curve:
    return Curve("trio", ECHO, tuple((size, cost, 1.0) for size, cost in points))


@pytest.mark.parametrize(
    ("points", "verdict"),
    [
        (((100, 10.0), (1000, 9.0), (15_000, 10.7)), "flat within 20%"),
        (((100, 10.0), (15_000, 12.01)), "not flat within 20%: 15,000 cost 20% more than 100"),
        (((100, 13.0), (15_000, 10.0)), "not flat within 20%: 100 cost 30% more than 15,000"),
        (((100, 10.0),), "one point is no curve"),
        (((100, 0.0), (1000, 1.0)), "not flat within 20%: 1,000 cost inf% more than 100"),
    ],
)
def test_a_curve_is_flat_or_not(points: tuple[tuple[int, float], ...], verdict: str) -> None:
    assert curve(*points).verdict == verdict


def test_the_power_of_a_cost_that_grows_with_its_root() -> None:
    found = Curve("trio", BROADCAST, tuple((n, n**0.5, 1.0) for n in CONNECTIONS))
    assert found.exponent == pytest.approx(0.5)


def test_sizes_that_are_asked_of_us() -> None:
    assert (max(CONNECTIONS), min(ROOMS), max(ROOMS)) == (15_000, 10, 100_000)
