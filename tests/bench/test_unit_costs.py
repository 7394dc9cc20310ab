"""The file of costs that the bench writes is one that ``trio-socketio size --costs`` reads."""

import re
import tomllib
from pathlib import Path
from typing import Final

from bench import unit_costs
from trio_socketio.sizing.costs import TABLE, replace_costs

NOT_MEASURED: Final = {
    "message_wire_bytes", "request_wire_bytes", "bus_wire_bytes", "redis_user_bytes",
    "redis_entry_bytes",
}  # fmt: skip


def test_all_costs_are_measured_but_those_of_the_formats() -> None:
    source = Path(unit_costs.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'"(\w+_(?:us|bytes))":', source)) == set(TABLE) - NOT_MEASURED


def test_the_medians_can_be_read() -> None:
    rounds = [{"seat_us": seat, "token_us": token} for seat, token in ((3, -4), (1, -5), (2.26, 9))]
    costs = replace_costs(tomllib.loads("\n".join(unit_costs.lines(rounds))))
    assert (costs["seat_us"], costs["token_us"]) == (2.3, 0)
