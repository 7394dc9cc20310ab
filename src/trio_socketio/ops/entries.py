"""An entry of the log, and its formats. No message can forge another line (LOG-05)."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from sys import getsizeof
from typing import Any, Final

from trio_socketio.codec.control_characters import escape
from trio_socketio.ops.tracebacks import Traceback, cut

MAX_CHARACTERS: Final = 32_768
"""A longer message is cut off, because many messages may wait to be written (LOG-03)."""
_PACKAGE: Final = "trio_socketio."
_ENTRY_WEIGHT: Final = 500


class Entry:
    """The part of a record that is written.

    Its message is already formatted, because the arguments of a log call may change after it. The
    rest of the work can be done by another thread.

    Args:
        created: seconds since 1970.
        level, logger: names.
        message: one line or several; nothing in it is escaped yet.
        fields: details of the event for programs; values that JSON can carry.
        failure: the exception that was logged; None if there is none.

    Attributes:
        weight: about how many bytes the entry holds.
    """

    __slots__ = ("created", "failure", "fields", "level", "logger", "message", "weight")

    def __init__(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        fields: dict[str, Any] | None = None,
        failure: Traceback | None = None,
    ) -> None:
        self.created = created
        self.level = level
        self.logger = logger
        self.message = message
        self.fields = fields
        self.failure = failure
        self.weight = _ENTRY_WEIGHT + getsizeof(message)
        if failure is not None:
            self.weight += failure.weight
        if fields is not None:
            self.weight += sum(map(getsizeof, fields.values()))


def read_record(record: logging.LogRecord) -> Entry:
    """Make an entry of a record. A wrong log call never raises here."""
    try:
        message = record.getMessage()
    except Exception as error:
        message = (
            f"a log call cannot be formatted: {record.pathname}:{record.lineno}: "
            f"{type(error).__name__}"
        )
    raised = record.exc_info[1] if record.exc_info else None
    # Only our own records have fields; values of an app could change, or be of any type.
    fields = getattr(record, "fields", None) if record.name.startswith(_PACKAGE) else None
    return Entry(
        record.created,
        record.levelname,
        record.name,
        cut(message, MAX_CHARACTERS),
        fields,
        None if raised is None else Traceback(raised),
    )


def format_text(entry: Entry) -> str:
    """Return ``time LEVEL logger: message`` with control characters escaped.

    The lines of a traceback are indented, so that none of them looks like a line of its own.
    """
    at = datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="milliseconds")
    line = f"{at} {escape(entry.level)} {escape(entry.logger)}: {escape(entry.message)}"
    if entry.failure is not None:
        line += "".join(f"\n    {escape(part)}" for part in str(entry.failure).splitlines())
    return line


def format_json(entry: Entry) -> str:
    """Return a JSON object: time, level, logger, message, the fields, and perhaps the exception."""
    shown = {
        "time": datetime.fromtimestamp(entry.created, UTC).isoformat(),
        "level": entry.level.lower(),
        "logger": entry.logger,
        "message": entry.message,
    }
    if entry.failure is not None:
        shown["exception"] = str(entry.failure)
    return json.dumps(shown if entry.fields is None else shown | entry.fields)


Format = Callable[[Entry], str]
FORMATTERS: Final[dict[str, Format]] = {"text": format_text, "json": format_json}
"""The formats, by their names in LogOptions."""


def format_for(name: str, worker: int | None) -> Format:
    """Return a format that tells which worker of a program has written an entry.

    Args:
        name: of the format.
        worker: its number; None for a program without workers, and for their parent.
    """
    style = FORMATTERS[name]
    if worker is None:
        return style

    def format_marked(entry: Entry) -> str:  # LOG-26
        message, fields = entry.message, entry.fields
        if name == "json":
            fields = {"worker": worker, **(fields or {})}
        else:
            message = f"worker {worker}: {message}"
        marked = Entry(entry.created, entry.level, entry.logger, message, fields, entry.failure)
        return style(marked)

    return format_marked
