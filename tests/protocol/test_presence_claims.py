"""What passes between a node and a presence store: values, which nobody changes."""

import gc
from typing import Any

import msgspec
import pytest

from trio_socketio.protocol import presence_claims, presence_log
from trio_socketio.protocol.presence_cursor import Cursor

STRUCTS = [
    kind
    for module in (presence_claims, presence_log)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, msgspec.Struct)
    and kind.__module__ == module.__name__
]
BY_NAME = {"ClaimRequest", "ClaimRef", "Seat", "Order", "Claimed", "Entry"}


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_a_value_is_not_changed_and_costs_the_collector_nothing(kind: Any) -> None:
    fields = kind.__struct_fields__
    value = kind(**{name: Cursor(1, number) for number, name in enumerate(fields)})
    assert not gc.is_tracked(value)
    assert (kind.__struct_config__.frozen, kind.__struct_config__.gc) == (True, False)
    for name in fields:
        with pytest.raises(AttributeError):
            setattr(value, name, None)


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_fields_that_are_easily_confused_are_named(kind: Any) -> None:
    fields = kind.__struct_fields__
    values = list(range(len(fields)))
    if kind.__name__ in BY_NAME:
        with pytest.raises(TypeError):
            kind(*values)
    else:
        assert kind(*values) == kind(**dict(zip(fields, values, strict=True)))


def test_a_request_is_for_one_seat_and_strict_unless_it_says_otherwise() -> None:
    request = presence_claims.ClaimRequest(
        namespace="/", user="ann", id="x", node="a", boot="a1", attempt=1
    )
    assert (request.policy, request.maximum, request.takeover) == ("newest", 1, "strict")
    assert request.recovers is False
