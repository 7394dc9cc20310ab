"""The formats of the log, for people and for machines. No message can forge another line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, Protocol

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")


class TextFormatter(logging.Formatter):
    """Writes ``time LEVEL logger: message`` with control characters escaped.

    The lines of a traceback are indented, so that none of them looks like a line of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as text."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"{at} {record.levelname} {record.name}: {escape(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {escape(part)}" for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """Writes a JSON object a line: time, level, logger, message, and exception if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def escape(text: str) -> str:
    """Escape control characters, so that text of a client cannot look like a line of ours."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Options(Protocol):
    """What decides how the log is written; see ops.options.LogOptions."""

    @property
    def level(self) -> str:
        """One of LEVELS."""

    @property
    def format(self) -> str:
        """One of FORMATS."""


def set_up(level: str, style: str) -> None:
    """Write the program's log to standard error.

    Args:
        level: one of LEVELS.
        style: one of FORMATS.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def apply(options: Options) -> None:
    """Write the log as the options say from now on."""
    set_up(options.level, options.format)
