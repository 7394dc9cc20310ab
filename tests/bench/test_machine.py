"""Load and CPU steal as the bench reads them."""

from bench.machine import Ticks, Watch, parse_ticks


def test_guests_are_not_counted_twice() -> None:
    line = "cpu  17662 1 4223 38735 261 2 86 1203 500 7"
    assert parse_ticks(line) == Ticks(17662 + 1 + 4223 + 38735 + 261 + 2 + 86 + 1203, 1203)


def test_old_kernels_have_fewer_columns_of_guests() -> None:
    assert parse_ticks("cpu 1 2 3 4 5 6 7 8") == Ticks(36, 8)


def test_steal_is_a_share_of_what_passed() -> None:
    assert Ticks(1100, 35).stolen_since(Ticks(1000, 10)) == 0.25
    assert Ticks(1000, 10).stolen_since(Ticks(1000, 10)) == 0


def test_conditions_are_read_before_and_after() -> None:
    watch = Watch()
    conditions = watch.after(watch.before())
    assert conditions.load >= 0
    assert 0 <= conditions.steal <= 1
    assert 0 <= conditions.steal_before <= 1
