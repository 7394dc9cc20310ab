"""How failures of handlers are told."""

import logging
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.socketio.serving import ask, joined, serving
from trio.testing import trio_test

from trio_socketio import Server, Socket
from trio_socketio.failures import IN_FULL, INTERVAL_S, MAX_KINDS, FailureLog


class Clock:
    """Stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    """What a FailureLog tells, and how many failures that is."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def in_full(self) -> int:
        return sum(record.exc_info is not None for record in self.records)

    @property
    def sums(self) -> list[int]:
        found = [record.args for record in self.records if "times more" in record.msg]
        return [int(str(args[1])) for args in found if isinstance(args, tuple)]

    def __enter__(self) -> Self:
        logging.getLogger("trio_socketio.failures").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trio_socketio.failures").removeHandler(self)


def test_the_first_come_in_full_and_the_others_once_a_minute() -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for _ in range(1000):
            failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums, len(lines.records)) == (IN_FULL, [], IN_FULL + 1)
        for second in range(1, 181):
            clock.now = 1000 + second
            failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums) == (IN_FULL, [1000 - IN_FULL + 60, 60, 60])
        failures.tell("handler", "id", KeyError("another"))  # is not lost among them
        failures.tell("other", "id", TypeError("x"))
        assert lines.in_full == IN_FULL + 2
        failures.tell("handler", "id", TypeError("x"))
        failures.flush()
        assert lines.sums[-1] == 1


def test_after_a_quiet_minute_tracebacks_come_again() -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for _ in range(IN_FULL + 3):
            failures.tell("handler", "id", TypeError("x"))
        clock.now += INTERVAL_S
        failures.tell("handler", "id", TypeError("x"))
        assert (lines.in_full, lines.sums) == (IN_FULL + 1, [3])


def test_what_is_remembered_is_bounded() -> None:
    failures = FailureLog(Clock())
    with Lines() as lines:
        for _ in range(IN_FULL + 2):
            failures.tell("0", "id", TypeError("x"))
        for number in range(1, MAX_KINDS + 10):
            failures.tell(str(number), "id", TypeError("x"))
        assert len(failures._kinds) == MAX_KINDS
        assert lines.sums == [2]  # of the one that was forgotten


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 1.0, 30.0, 61.0]))))
def test_every_failure_is_told_in_full_or_in_a_sum(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    failures = FailureLog(clock)
    with Lines() as lines:
        for whose, pause_s in steps:
            clock.now += pause_s
            failures.tell(whose, "id", ValueError())
        failures.flush()
        assert lines.in_full + sum(lines.sums) == len(steps)


@trio_test
async def test_a_client_cannot_fill_the_log(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("pair")
    def pair(_: Socket, first: int, second: int) -> None:
        raise AssertionError

    server.on("ping")(lambda _: "pong")
    async with serving(server) as port, joined(port, transport) as (client, _):
        for _ in range(50):
            await client.emit("pair", 1)
        assert await ask(client, "ping") == ["pong"]
        assert server.statistics().handler_failures == 50
        assert caplog.text.count("Traceback") == IN_FULL
    assert f"of 'pair' failed {50 - IN_FULL} times more with TypeError" in caplog.text
