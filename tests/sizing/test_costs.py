"""The table of costs, and files that replace some of them."""

import tomllib
from math import inf, nan

import pytest

from trio_socketio.errors import ConfigurationError
from trio_socketio.sizing.calculation import size
from trio_socketio.sizing.costs import TABLE, costs_text, default_costs, replace_costs
from trio_socketio.sizing.load import Load, Machines

UNITS = ("_us", "_bytes")
EVERYTHING = Load(
    connections=200_000,
    messages_per_second=2000,
    receivers=5,
    polling_share=0.3,
    joined_share=0.3,
    connects_per_second=100,
    seats_share=0.5,
)
"""A load that has something of everything."""


@pytest.mark.req("SIZE-01")
@pytest.mark.parametrize("name", TABLE)
def test_each_cost_has_a_unit_and_a_source_and_counts(name: str) -> None:
    cost = TABLE[name]
    assert name.endswith(UNITS)
    assert cost.value > 0
    assert cost.meaning
    assert cost.measured
    costs = default_costs()
    before = size(EVERYTHING, Machines(), costs)
    after = size(EVERYTHING, Machines(), {**costs, name: 1.1 * cost.value})
    assert (before.demand, before.loss) != (after.demand, after.loss)


@pytest.mark.req("SIZE-01", "SIZE-02")
def test_the_table_can_be_printed_and_read_again() -> None:
    text = costs_text()
    assert replace_costs(tomllib.loads(text)) == default_costs()
    for cost in TABLE.values():
        assert f"# {cost.meaning}\n# measured: {cost.measured}\n" in text


@pytest.mark.req("SIZE-02")
def test_costs_are_replaced_and_the_others_stay() -> None:
    costs = replace_costs({"event_us": 7, "delivery_us": 0.5})
    assert (costs["event_us"], costs["delivery_us"]) == (7, 0.5)
    assert {**costs, "event_us": 0, "delivery_us": 0} == {
        **default_costs(),
        "event_us": 0,
        "delivery_us": 0,
    }


@pytest.mark.req("SIZE-02")
@pytest.mark.parametrize("value", [-1, nan, inf, 1e13, "7", True, [1], {}])
def test_what_is_no_cost_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"event_us: expected a number \(0 to 1e\+12\)"):
        replace_costs({"event_us": value})


@pytest.mark.req("SIZE-02")
def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="events_us is not a cost; the costs are connect"):
        replace_costs({"events_us": 1})
