"""What stands in the log, and what no client can make it say."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.ops.log import LEVELS, JsonFormatter, TextFormatter, escape, set_up

NASTY = [
    "line\nfeed",
    "carriage\rreturn",
    "\x1b[2J\x1b[31mterminal",
    "nul\x00",
    "bell\x07",
    "delete\x7f",
    "c1\x9b31m",
    "next\x85line",
    "line\u2028separator",
    "paragraph\u2029separator",
    "right-to-left\u202eoverride",
    "zero\u200bwidth",
    "lone\ud800surrogate",
]


def record(message: str, *arguments: object, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("test.log", logging.WARNING, "", 1, message, arguments, exc_info)


def failed(message: str) -> Any:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards as pytest had it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []  # or set_up would close them
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("text", NASTY)
def test_control_characters_are_made_visible(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert escaped.encode("ascii", "backslashreplace").decode("unicode_escape") == text


def test_a_line_feed_shows_as_in_python() -> None:
    assert escape("a\nb\x1bc\u2028d") == r"a\nb\x1bc\u2028d"


@pytest.mark.parametrize("text", ["plain", "größe", "日本語", "🎉", "a b\\c", ""])
def test_readable_text_stays_as_it_is(text: str) -> None:
    assert escape(text) == text


@given(st.text())
def test_a_text_record_is_one_printable_line(text: str) -> None:
    line = TextFormatter().format(record("said %s", text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


@given(st.text(st.characters(codec="utf-8")))
def test_a_json_record_is_one_line_that_keeps_the_message(text: str) -> None:
    line = JsonFormatter().format(record("said %s", text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"said {text}"


def test_a_text_line_says_when_how_bad_where_and_what() -> None:
    entry = record("%d of %s", 3, "four")
    entry.created = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC).timestamp()
    line = TextFormatter().format(entry)
    assert line == "2026-01-02T03:04:05.678+00:00 WARNING test.log: 3 of four"


def test_a_json_line_says_the_same() -> None:
    entry = record("%d of %s", 3, "four")
    entry.created = datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC).timestamp()
    assert json.loads(JsonFormatter().format(entry)) == {
        "time": "2026-01-02T03:04:05.500000+00:00",
        "level": "warning",
        "logger": "test.log",
        "message": "3 of four",
    }


def test_a_text_traceback_is_indented_below_its_line() -> None:
    first, *rest = TextFormatter().format(record("broken", exc_info=failed("why"))).split("\n")
    assert first.endswith("WARNING test.log: broken")
    assert rest[0] == "    Traceback (most recent call last):"
    assert rest[-1] == "    ValueError: why"
    assert all(line.startswith("    ") for line in rest)


def test_a_json_traceback_stays_in_its_record() -> None:
    line = JsonFormatter().format(record("broken", exc_info=failed("why")))
    assert "\n" not in line
    exception = json.loads(line)["exception"]
    assert exception.startswith("Traceback (most recent call last):\n")
    assert exception.endswith("\nValueError: why")


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\x85", "\u2028", "\x0b", "\x1c"])
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_an_exception_cannot_forge_a_line(formatter: logging.Formatter, break_: str) -> None:
    forged = "2026-01-01T00:00:00.000+00:00 ERROR root: forged"
    text = formatter.format(record(f"x{break_}{forged}", exc_info=failed(f"y{break_}{forged}")))
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01T")]


@given(st.text())
def test_the_message_of_an_exception_only_makes_indented_lines(text: str) -> None:
    first, *rest = TextFormatter().format(record("broken", exc_info=failed(text))).split("\n")
    assert first.isprintable()
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_the_log_goes_to_standard_error(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, output = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", output)
    set_up("info", "text")
    logging.getLogger("some.where").info("hello")
    assert errors.getvalue().endswith(" INFO some.where: hello\n")
    assert output.getvalue() == ""
    assert len(root_logger.handlers) == 1


def test_setting_up_again_replaces_the_format(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    set_up("info", "text")
    set_up("info", "json")
    root_logger.info("once")
    (line,) = errors.getvalue().splitlines()
    assert json.loads(line)["message"] == "once"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.usefixtures("root_logger")
def test_what_is_below_the_level_is_not_told(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    set_up(level, "json")
    for each in LEVELS:
        logging.getLogger("test").log(logging.getLevelName(each.upper()), "said")
    told = [json.loads(line)["level"] for line in errors.getvalue().splitlines()]
    assert told == list(LEVELS[LEVELS.index(level) :])
