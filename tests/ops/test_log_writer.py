"""The queue of the log and the thread that writes it: nobody waits, and no loss is silent."""

import fcntl
import json
import logging
import os
import re
import threading
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.errors import OptionError
from trio_socketio.ops import log_queue, log_writer
from trio_socketio.ops.entries import (
    MAX_CHARACTERS,
    Entry,
    format_json,
    format_text,
    read_record,
)
from trio_socketio.ops.log import Log, open_log
from trio_socketio.ops.log_queue import LogQueue
from trio_socketio.ops.options import PARTS, LogOptions
from trio_socketio.ops.tracebacks import Traceback
from trio_socketio.runtime.sampling import REFUSALS, SESSIONS

SOURCE = Path(__file__).resolve().parents[2] / "src" / "trio_socketio"
PAGE = 4096

said = logging.getLogger("test.said")


class Pipe:
    """A pipe as small as the system allows."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PAGE)

    def read_all(self) -> list[str]:
        """Every line that was written, when all writers have closed."""
        self.close_writer()
        data = b""
        while part := os.read(self.reader, 1 << 16):
            data += part
        return data.decode().splitlines()

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close_writer()
    made.close_reader()


def messages(lines: list[str], logger: str = "test.said") -> list[str]:
    return [line.partition(f" {logger}: ")[2] for line in lines if f" {logger}: " in line]


def dropped_in(lines: list[str]) -> int:
    """How many dropped records the log tells of."""
    told = [re.match(r"([\d,]+) records were dropped", line) for line in messages(lines, WRITER)]
    return sum(int(found[1].replace(",", "")) for found in told if found)


WRITER = log_writer.__name__


def until(condition: Any) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


# --- writing


@pytest.mark.req("LOG-01", "LOG-04")
def test_records_are_written_in_order_by_the_end(pipe: Pipe) -> None:
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(pipe.read_all()))
    with open_log(LogOptions(), pipe.writer):
        reader.start()
        for number in range(3000):
            said.info("%d", number)
    reader.join(10)
    assert messages(read) == [str(number) for number in range(3000)]


@pytest.mark.req("LOG-01", "LOG-03")
def test_a_full_pipe_stops_nobody_and_what_is_dropped_is_told(pipe: Pipe) -> None:
    count = 2000
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(pipe.read_all()))
    with open_log(LogOptions(queue_records=100), pipe.writer) as log:
        began = time.monotonic()
        for number in range(count):
            said.info("%d %s", number, "x" * 100)
        assert time.monotonic() - began < 5
        dropped = log.dropped
        assert dropped >= count - 100 - PAGE // 100 - 2 * log_writer.CHUNK
        pipe.close_writer()
        reader.start()
        until(lambda: not len(log._queue))
        said.info("the last")
    reader.join(10)
    written = messages(read)
    assert written[-1] == "the last"
    assert len(written) - 1 + dropped == count
    assert dropped_in(read) == dropped
    numbers = [int(line.split()[0]) for line in written[:-1]]
    assert numbers == sorted(numbers)
    assert "([log] queue_records)" in "".join(read)


@pytest.mark.req("LOG-04")
def test_the_end_waits_only_so_long_for_a_full_pipe(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "CLOSE_S", 0.2)
    with open_log(LogOptions(), pipe.writer) as log:
        for _ in range(200):
            said.info("x" * 100)
        began = time.monotonic()
    assert 0.15 < time.monotonic() - began < 5
    pipe.close_writer()
    while os.read(pipe.reader, 1 << 16):  # so that the thread ends
        pass
    log._writer._thread.join(10)
    assert not log._writer._thread.is_alive()


@pytest.mark.req("LOG-02")
def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe: Pipe) -> None:
    pipe.close_reader()
    with open_log(LogOptions(), pipe.writer) as log:
        for _ in range(3):
            said.info("unread")
            until(lambda: not len(log._queue))
        until(lambda: log.dropped == 3)
    assert not log._writer._thread.is_alive()
    assert log.dropped == 3


@pytest.mark.req("LOG-02")
def test_a_reader_that_comes_back_is_told_what_it_has_missed(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        with open_log(LogOptions(), writer) as log:
            os.close(reader)
            said.info("missed")
            until(lambda: log.dropped == 1)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            said.info("read")
        lines = os.read(reader, 1 << 16).decode().splitlines()
    finally:
        os.close(writer)
        os.close(reader)
    assert messages(lines) == ["read"]
    assert messages(lines, WRITER) == ["1 records could not be written: Broken pipe"]


@pytest.mark.req("LOG-02")
def test_a_program_without_standard_error_logs_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    for descriptor in (2, -1):
        with open_log(LogOptions(), descriptor) as log:
            said.info("unread")
            until(lambda log=log: log.dropped == 1)


@pytest.mark.req("LOG-01")
def test_a_pipe_that_others_have_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    with open_log(LogOptions(), pipe.writer):
        for number in range(200):
            said.info("%d %s", number, "x" * 100)
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.extend(pipe.read_all()))
        time.sleep(0.05)
        pipe.close_writer()
        reader.start()
    reader.join(10)
    assert [int(line.split()[0]) for line in messages(read)] == list(range(200))


@pytest.mark.req("LOG-02")
def test_a_line_that_broke_off_does_not_swallow_the_next(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, fails = os.write, iter([True, True])

    def write_half(descriptor: int, data: bytes) -> int:
        if descriptor != pipe.writer and next(fails, False):
            if len(data) < 20:
                raise OSError(28, "No space left on device")
            return write(descriptor, data[: len(data) - 10])
        return write(descriptor, data)

    monkeypatch.setattr("trio_socketio.ops.log_writer.os.write", write_half)
    with open_log(LogOptions(), pipe.writer) as log:
        said.info("broken off by a full disk")
        until(lambda: log.dropped == 1)
        said.info("whole")
    lines = pipe.read_all()
    assert messages(lines)[-1] == "whole"
    assert lines[0].endswith("broken off by a ")
    assert "No space left on device" in lines[2]


@pytest.mark.req("LOG-03")
def test_what_waits_is_bounded_in_bytes_too() -> None:
    queue = LogQueue(1_000_000)
    count = 2 * log_queue.MAX_WEIGHT // MAX_CHARACTERS
    for _ in range(count):
        queue.put(Entry(0, "INFO", "x", "x" * MAX_CHARACTERS))
    assert len(queue) * MAX_CHARACTERS <= log_queue.MAX_WEIGHT
    assert len(queue) + queue.dropped == count
    taken = queue.take(count)
    assert len(taken) + queue.dropped == count
    queue.put(Entry(0, "INFO", "x", "there is room again"))
    assert len(queue) == 1


@pytest.mark.req("LOG-03")
def test_a_long_message_is_cut_off() -> None:
    entry = read_record(logging.LogRecord("x", 20, "", 1, "y" * (MAX_CHARACTERS + 1234), (), None))
    assert entry.message == "y" * MAX_CHARACTERS + "... (1,234 characters more)"


def logged(error: BaseException) -> Entry:
    """The entry of a line that has logged this exception."""
    info = (type(error), error, error.__traceback__)
    return read_record(logging.LogRecord("x", 40, "", 1, "failed", (), info))


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def chained(count: int) -> Exception:
    error = raised(ValueError(0))
    for number in range(1, count):
        error = raised(ValueError(number), error)
    return error


LONG = "y" * 5_000_000


@pytest.mark.req("LOG-03")
@pytest.mark.parametrize(
    "error",
    [
        ValueError(LONG),
        raised(ValueError("short"), KeyError(LONG)),
        ExceptionGroup(LONG, [ValueError(LONG)] * 1000),
        ExceptionGroup("g", [ValueError(number) for number in range(100_000)]),
        chained(5000),
    ],
    ids=["long", "cause", "group", "many", "chain"],
)
def test_exceptions_are_cut_and_weighed(error: BaseException) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        entries = [logged(error) for _ in range(20)]
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert entries[0].weight < 1 << 20
    assert held < 2 * sum(entry.weight for entry in entries) + PAGE
    assert len(format_text(entries[0])) < 1 << 20


@pytest.mark.req("LOG-03")
def test_notes_are_cut() -> None:
    error = ValueError("noted")
    for number in range(100):
        error.add_note(f"{number} {LONG}")
    assert logged(error).weight < 50_000


def test_causes_and_groups_are_shown() -> None:
    inner = raised(OSError("inner"), KeyError("why"))
    inner.add_note("with a note")
    lines = str(Traceback(raised(ExceptionGroup("both", [inner, ValueError()])))).splitlines()
    shown = [line for line in lines if line and "File " not in line and "raise " not in line]
    assert [line for line in shown if set(line) - set(" ^")] == [
        "Traceback (most recent call last):",
        "ExceptionGroup: both (2 sub-exceptions)",
        "  1 of 2:",
        "  KeyError: 'why'",
        "  The above exception was the direct cause of the following exception:",
        "  Traceback (most recent call last):",
        "  OSError: inner",
        "  with a note",
        "  2 of 2:",
        "  ValueError",
    ]
    assert str(Traceback(chained(30))).endswith("29\n... (further exceptions are left out)")
    looped, other = ValueError("a"), ValueError("b")
    looped.__context__, other.__context__ = other, looped
    assert "ValueError: b\n\nDuring handling of" in str(Traceback(looped))


@pytest.mark.req("LOG-14")
@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    "odd", [{"created": float("nan")}, {"created": 1e300}, {"levelname": 7}, {"created": None}]
)
def test_a_record_that_cannot_be_formatted_costs_itself_alone(
    pipe: Pipe, odd: dict[str, Any], style: str
) -> None:
    fields = {"name": "app", "msg": "odd", "levelno": 40, "levelname": "ERROR", **odd}
    with open_log(LogOptions(format=style), pipe.writer) as log:
        said.info("before")
        logging.getLogger().handle(logging.makeLogRecord(fields))
        said.info("after")
    lines = pipe.read_all()
    if style == "json":
        told = [json.loads(line)["message"] for line in lines]
        assert told[0], told[-1] == ("before", "after")
        assert "a record cannot be formatted: " in told[1]
    else:
        assert messages(lines) == ["before", "after"]
        assert "ERROR trio_socketio.ops.log_writer: a record cannot be formatted: " in lines[1]
    assert len(lines) == 3
    assert log.dropped == 1


@pytest.mark.req("LOG-14")
def test_the_thread_outlives_a_lack_of_memory(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = iter([True])
    take = LogQueue.take

    def take_or_fail(queue: LogQueue, most: int) -> list[Entry]:
        if next(fails, False):
            raise MemoryError
        return take(queue, most)

    monkeypatch.setattr(LogQueue, "take", take_or_fail)
    with open_log(LogOptions(), pipe.writer):
        said.info("written all the same")
    assert messages(pipe.read_all()) == ["written all the same"]


@pytest.mark.req("LOG-15")
def test_a_forked_process_writes_by_itself(pipe: Pipe) -> None:
    with open_log(LogOptions(), pipe.writer):
        said.info("parent")
        process = os.fork()
        if process == 0:
            try:
                said.info("child")
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        said.info("parent again")
    assert sorted(messages(pipe.read_all())) == ["child", "parent", "parent again"]


def test_without_a_thread_nothing_changes(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, len(os.listdir("/proc/self/fd"))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError), open_log(LogOptions(level="error"), pipe.writer):
            raise AssertionError
    assert (root.handlers, root.level, len(os.listdir("/proc/self/fd"))) == before


# --- what is written


@pytest.mark.req("LOG-06")
def test_a_message_is_that_of_the_moment(pipe: Pipe) -> None:
    value = ["before"]
    with open_log(LogOptions(), pipe.writer):
        said.info("%s", value)
        value[0] = "after"
    assert messages(pipe.read_all()) == ["['before']"]


@pytest.mark.req("LOG-06")
def test_a_wrong_log_call_is_named_and_raises_nothing(
    pipe: Pipe, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_log(LogOptions(), pipe.writer):
        said.info("%d of %d", 1)
        said.info("next")
    first, second = messages(pipe.read_all())
    assert re.fullmatch(
        r"a log call cannot be formatted: .*test_log_writer\.py:\d+: TypeError", first
    )
    assert second == "next"
    assert capfd.readouterr().err == ""


class Treacherous(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_without_a_text_is_written(pipe: Pipe) -> None:
    with open_log(LogOptions(), pipe.writer):
        try:
            raise Treacherous
        except Treacherous:
            said.exception("failed")
    lines = pipe.read_all()
    assert messages(lines) == ["failed"]
    assert "Treacherous: <exception str() failed>" in lines[-1]


def test_an_exception_is_not_kept_alive_by_its_line() -> None:
    class Kept:
        """Something in a frame."""

    def fail() -> None:
        kept.append(Kept())
        raise ValueError

    kept: list[Any] = []
    try:
        fail()
    except ValueError as error:
        record = logging.LogRecord(
            "x", 40, "", 1, "y", (), (type(error), error, error.__traceback__)
        )
        entry = read_record(record)
        del record, error
    reference = weakref.ref(kept.pop())
    assert reference() is None
    assert "ValueError" in format_text(entry)


FIELDS = {"session": "0123abcd", "address": "::1", "packets_in": 3, "user_agent": "x\n\x1b[2J"}


@pytest.mark.req("LOG-05")
def test_fields_are_members_of_the_json_object(pipe: Pipe) -> None:
    with open_log(LogOptions(format="json"), pipe.writer):
        logging.getLogger("trio_socketio.engine").info("hello", extra={"fields": FIELDS})
        said.info("an app's own", extra={"fields": object()})
    ours, theirs = map(json.loads, pipe.read_all())
    assert {name: ours[name] for name in FIELDS} == FIELDS
    assert ours["message"] == "hello"
    assert set(theirs) == {"time", "level", "logger", "message"}


@pytest.mark.req("LOG-05")
@given(st.text(), st.text(), st.text(), st.text())
def test_no_field_and_no_message_makes_another_line(
    message: str, value: str, logger: str, level: str
) -> None:
    entry = Entry(0, level, logger, message, {"user_agent": value})
    assert format_text(entry).isprintable()
    line = format_json(entry)
    assert line.isprintable()
    assert json.loads(line)["user_agent"] == value


# --- options


@pytest.mark.req("LOG-07")
def test_new_options_apply_at_once(pipe: Pipe) -> None:
    engine, http = (logging.getLogger(f"trio_socketio.{part}.x") for part in ("engine", "http"))
    app = logging.getLogger("test.app")
    before = (SESSIONS.burst, REFUSALS.per_s)
    with open_log(
        LogOptions(levels={"engine": "debug", "logger:test.app": "error"}), pipe.writer
    ) as log:
        for logger in (engine, http, app):
            logger.debug("debug 1")
            logger.info("info 1")
        log.apply(LogOptions(level="warning", levels={"http": "info"}))
        for logger in (engine, http, app):
            logger.debug("debug 2")
            logger.info("info 2")
            logger.warning("warning 2")
        log.apply(LogOptions(sessions_per_s=7, refusals_per_s=8, queue_records=9))
        assert (SESSIONS.burst, SESSIONS.per_s, REFUSALS.burst, REFUSALS.per_s) == (7, 7, 8, 8)
        assert log._queue.max_entries == 9
    lines = pipe.read_all()
    assert messages(lines, "trio_socketio.engine.x") == ["debug 1", "info 1", "warning 2"]
    assert messages(lines, "trio_socketio.http.x") == ["info 1", "info 2", "warning 2"]
    assert messages(lines, "test.app") == ["warning 2"]
    assert (SESSIONS.burst, REFUSALS.per_s) == before


@pytest.mark.req("LOG-07")
def test_a_new_format_applies_at_once(pipe: Pipe) -> None:
    with open_log(LogOptions(), pipe.writer) as log:
        said.info("text")
        first = os.read(pipe.reader, PAGE).decode()  # it is written by now
        log.apply(LogOptions(format="json"))
        said.info("json")
    assert messages([first.rstrip()]) == ["text"]
    assert [json.loads(line)["message"] for line in pipe.read_all()] == ["json"]


def test_the_end_puts_back_what_was_there(pipe: Pipe) -> None:
    root, named = logging.getLogger(), logging.getLogger("trio_socketio.engine")
    before = root.handlers[:], root.level, named.level
    with suppress(KeyError), open_log(LogOptions(levels={"engine": "debug"}), pipe.writer):
        assert root.handlers != before[0]
        assert named.level == logging.DEBUG
        raise KeyError
    assert (root.handlers, root.level, named.level) == before
    os.fstat(pipe.writer)  # it was left open


@pytest.mark.req("LOG-08")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"level": "loud"}, "level: expected debug, info, warning or error, not 'loud'"),
        ({"format": "xml"}, "format: expected text or json, not 'xml'"),
        (
            {"levels": {"engien": "info"}},
            "levels: 'engien' is not a part; the parts are adapters, app, cli",
        ),
        ({"levels": {"engine": "x"}}, "levels.engine: expected debug, info, warning or error"),
        ({"levels": {"logger:": "info"}}, "levels: 'logger:' is not a part"),
        ({"levels": "debug"}, "levels: expected a level by part, not 'debug'"),
        ({"queue_records": 0}, "queue_records: must be above zero, not 0"),
        ({"sessions_per_s": True}, "sessions_per_s: expected a whole number, not True"),
        ({"refusals_per_s": -1}, "refusals_per_s: must be above zero, not -1"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError) as raised:
        LogOptions(**options)
    assert str(raised.value).startswith(told)


def test_every_part_that_logs_can_be_named() -> None:
    logging_parts = {
        path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for path in SOURCE.rglob("*.py")
        if "getLogger(__name__)" in path.read_text()
    }
    assert logging_parts - set(PARTS) <= {"arguments"}


def test_the_log_is_the_whole_process(pipe: Pipe) -> None:
    with open_log(LogOptions(), pipe.writer) as log:
        assert isinstance(log, Log)
        threads = [threading.Thread(target=said.info, args=("from a thread",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert messages(pipe.read_all()) == ["from a thread"] * 20
