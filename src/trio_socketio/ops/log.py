"""The log of a program: its levels, its format and its output.

A log call only formats the message and queues it. One thread does the rest, so clients are served
even while the log is not read.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trio_socketio.codec.control_characters import escape
from trio_socketio.ops.entries import format_for, format_json, format_text, read_record
from trio_socketio.ops.log_queue import LogQueue
from trio_socketio.ops.log_writer import LogWriter
from trio_socketio.ops.options import FORMATS, LEVELS, LogOptions, logger_of
from trio_socketio.runtime.sampling import REFUSALS, SESSIONS, Pace

__all__ = (
    "FORMATS",
    "LEVELS",
    "JsonFormatter",
    "Log",
    "LogOptions",
    "TextFormatter",
    "escape",
    "open_log",
    "set_up",
)

_STANDARD_ERROR: Final = 2


class TextFormatter(logging.Formatter):
    """Formats records as text, for a handler of the standard library."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return format_text(read_record(record))


class JsonFormatter(logging.Formatter):
    """Formats records as JSON, for a handler of the standard library."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return format_json(read_record(record))


class _QueueHandler(logging.Handler):
    """Queues the records that are logged. In a forked process, which has no writer, it writes."""

    def __init__(self, queue: LogQueue, writer: LogWriter) -> None:
        super().__init__()
        self._queue = queue
        self._writer = writer
        self._process = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if os.getpid() == self._process:
                self._queue.put(read_record(record))  # under the handler's lock, so one at a time
            else:
                self._writer.write_now(read_record(record))  # LOG-15
        except Exception:  # such as a lack of memory; the caller goes on
            self._queue.dropped += 1


class Log:
    """The log of the whole process, while it is open; see `open_log`."""

    def __init__(self, queue: LogQueue, writer: LogWriter, worker: int | None = None) -> None:
        self._queue = queue
        self._writer = writer
        self._worker = worker
        self._levels: dict[str, int] = {}  # of loggers, as they were before `apply`
        self._paces = [(pace, pace.burst, pace.per_s) for pace in (SESSIONS, REFUSALS)]
        self._level = logging.getLogger().level

    @property
    def dropped(self) -> int:
        """How many records were dropped or could not be written."""
        return self._queue.dropped + self._writer.lost

    def apply(self, options: LogOptions) -> None:
        """Use these options from now on (LOG-07)."""
        self._queue.max_entries = options.queue_records
        self._writer.style = format_for(options.format, self._worker)
        logging.getLogger().setLevel(options.level.upper())
        asked = {logger_of(part): level.upper() for part, level in options.levels.items()}
        for name in self._levels.keys() - asked.keys():
            logging.getLogger(name).setLevel(self._levels.pop(name))
        for name, level in asked.items():
            logger = logging.getLogger(name)
            self._levels.setdefault(name, logger.level)
            logger.setLevel(level)
        _set_pace(SESSIONS, options.sessions_per_s, options.sessions_per_s)
        _set_pace(REFUSALS, options.refusals_per_s, options.refusals_per_s)

    def _restore(self) -> None:
        """Put back what `apply` has changed."""
        logging.getLogger().setLevel(self._level)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        for pace, burst, per_s in self._paces:
            _set_pace(pace, burst, per_s)


def _set_pace(pace: Pace, burst: float, per_s: float) -> None:
    pace.burst, pace.per_s = burst, per_s


@contextmanager
def open_log(
    options: LogOptions, descriptor: int = _STANDARD_ERROR, worker: int | None = None
) -> Iterator[Log]:
    """Write the log of this process while the block runs, instead of handlers set up before.

    A thread writes. At the end of the block, queued records are written, for CLOSE_S at most.

    Args:
        options: the levels, the format and the bounds.
        descriptor: the log is written to it, and it is left open. If it is closed, records are lost
            as if the log were not read.
        worker: the number of this worker, which its lines tell; None for other programs.
    """
    root = logging.getLogger()
    queue = LogQueue(options.queue_records)
    writer = LogWriter(queue, format_for(options.format, worker), _duplicate(descriptor))
    handlers = root.handlers[:]
    log = Log(queue, writer, worker)
    process = os.getpid()
    writer.start()  # first, because it may fail, and then nothing has changed
    try:
        log.apply(options)
        root.handlers[:] = [_QueueHandler(queue, writer)]
        yield log
    finally:
        root.handlers[:] = handlers
        log._restore()
        if os.getpid() == process:  # a forked process has no thread that could be waited for
            writer.close()


def _duplicate(descriptor: int) -> int:
    """Return a descriptor of our own, or -1 if there is nothing to write to.

    If standard error was closed when the program started, its number may belong to a client by now.
    """
    if descriptor == _STANDARD_ERROR and sys.stderr is None:
        return -1
    try:
        return os.dup(descriptor)
    except OSError:
        return -1


def set_up(level: str, style: str) -> None:
    """Write the log of a program that ends soon to standard error, line by line as it comes.

    Args:
        level: one of LEVELS.
        style: one of FORMATS.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
