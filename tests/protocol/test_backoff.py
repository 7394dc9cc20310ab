import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.protocol.backoff import Backoff

chances = st.floats(0, 1)


@pytest.mark.req("CLI-21")
def test_the_middle_doubles_up_to_the_bound_and_begins_again() -> None:
    backoff = Backoff(1.0, 5.0, 0.5)
    assert [backoff.next_delay_s(0.5) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.succeeded()
    assert backoff.next_delay_s(0.5) == 1.0


@pytest.mark.req("CLI-21")
@pytest.mark.parametrize(("chance", "delay_s"), [(0.0, 2.5), (0.5, 5.0), (1.0, 7.5)])
def test_the_longest_delays_are_spread_as_well(chance: float, delay_s: float) -> None:
    assert Backoff(1.0, 5.0, 0.5, attempts=100).next_delay_s(chance) == delay_s


@given(
    first_s=st.floats(0.001, 100),
    longest_s=st.floats(0.001, 1000),
    jitter=chances,
    attempts=st.integers(0, 10**9),
    chance=chances,
)
def test_every_delay_is_within_its_spread(
    first_s: float, longest_s: float, jitter: float, attempts: int, chance: float
) -> None:
    delay_s = Backoff(first_s, longest_s, jitter, attempts).next_delay_s(chance)
    assert 0 <= delay_s <= longest_s * (1 + jitter)
    assert delay_s >= min(first_s, longest_s) * (1 - jitter) * 0.999
