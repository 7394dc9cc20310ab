"""An entry of the log, and its formats. No message can forge another line (LOG-05)."""

import json
import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from trio_socketio.codec.control_characters import escape

MAX_CHARACTERS: Final = 32_768
"""A longer message is cut off, because many messages may wait to be written (LOG-03)."""
_PACKAGE: Final = "trio_socketio."
_FRAME_WEIGHT: Final = 200
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
        failure: the exception that was logged, and where it came from; None if there is none.
    """

    __slots__ = ("created", "failure", "fields", "level", "logger", "message")

    def __init__(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        fields: dict[str, Any] | None = None,
        failure: traceback.TracebackException | None = None,
    ) -> None:
        self.created = created
        self.level = level
        self.logger = logger
        self.message = message
        self.fields = fields
        self.failure = failure

    @property
    def weight(self) -> int:
        """About how many bytes the entry holds."""
        frames = 0 if self.failure is None else len(self.failure.stack)
        return _ENTRY_WEIGHT + len(self.message) + _FRAME_WEIGHT * frames


def read_record(record: logging.LogRecord) -> Entry:
    """Make an entry of a record. A wrong log call never raises here."""
    try:
        message = record.getMessage()
    except Exception as error:
        message = (
            f"a log call cannot be formatted: {record.pathname}:{record.lineno}: "
            f"{type(error).__name__}"
        )
    if len(message) > MAX_CHARACTERS:
        cut = len(message) - MAX_CHARACTERS
        message = f"{message[:MAX_CHARACTERS]}... ({cut:,} characters more)"
    failure, raised = None, record.exc_info[1] if record.exc_info else None
    if raised is not None:
        # The exception itself is not kept: its frames would keep their objects alive. The lines of
        # the source are read from their files when the entry is written.
        failure = traceback.TracebackException.from_exception(
            raised, lookup_lines=False, compact=True
        )
    # Only our own records have fields; values of an app could change, or be of any type.
    fields = getattr(record, "fields", None) if record.name.startswith(_PACKAGE) else None
    return Entry(
        record.created,
        record.levelname,
        record.name,
        message,
        fields,
        failure,
    )


def format_text(entry: Entry) -> str:
    """Return ``time LEVEL logger: message`` with control characters escaped.

    The lines of a traceback are indented, so that none of them looks like a line of its own.
    """
    at = datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="milliseconds")
    line = f"{at} {entry.level} {entry.logger}: {escape(entry.message)}"
    if entry.failure is not None:
        line += "".join(f"\n    {escape(part)}" for part in _show(entry.failure).splitlines())
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
        shown["exception"] = _show(entry.failure)
    return json.dumps(shown if entry.fields is None else shown | entry.fields)


def _show(failure: traceback.TracebackException) -> str:
    return "".join(failure.format()).rstrip("\n")


Format = Callable[[Entry], str]
FORMATTERS: Final[dict[str, Format]] = {"text": format_text, "json": format_json}
"""The formats, by their names in LogOptions."""
