"""The text of an exception that was logged, and of those that led to it or are in its group.

The exceptions are not kept, because their frames would keep alive what they hold. The lines of the
source are read when the text is written, which another thread does. All is bounded, because many
records may wait to be written (LOG-03).
"""

from sys import getsizeof
from textwrap import indent
from traceback import StackSummary, walk_tb
from typing import Final

MAX_EXCEPTIONS: Final = 20
"""How many exceptions of one tree are written."""
MAX_FRAMES: Final = 100
"""How many frames of each one; the innermost tell the most."""
MAX_TEXT: Final = 8192
"""How many characters of its text and notes."""

_MAX_NOTES: Final = 10
_FRAME_WEIGHT: Final = 200
_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


class Traceback:
    """An exception as Python shows it, except that groups are indented without lines around them.

    Args:
        error: the exception, which may have causes and members.

    Attributes:
        weight: about how many bytes it holds.
    """

    __slots__ = ("_is_cut", "_parts", "_seen", "weight")

    def __init__(self, error: BaseException) -> None:
        self.weight = 0
        self._parts: list[tuple[int, str | StackSummary]] = []  # each with its depth
        self._seen: set[int] = set()
        self._is_cut = False
        self._collect(error, 0)

    def _collect(self, error: BaseException, depth: int) -> bool:
        """Add an exception; return whether it was added."""
        if id(error) in self._seen:  # the context of an exception may lead back to itself
            return False
        if len(self._seen) >= MAX_EXCEPTIONS:
            self._is_cut = True
            return False
        self._seen.add(id(error))
        before, between = error.__cause__, _CAUSE
        if before is None and not error.__suppress_context__:
            before, between = error.__context__, _CONTEXT
        if before is not None and self._collect(before, depth):
            self._say(depth, between)
        frames = walk_tb(error.__traceback__)
        stack = StackSummary.extract(frames, limit=-MAX_FRAMES, lookup_lines=False)
        if stack:
            self._say(depth, "Traceback (most recent call last):\n")
            self._parts.append((depth, stack))
            self.weight += _FRAME_WEIGHT * len(stack)
        self._say(depth, _describe(error))
        if isinstance(error, BaseExceptionGroup):
            self._collect_members(error.exceptions, depth + 1)
        return True

    def _collect_members(self, members: tuple[BaseException, ...], depth: int) -> None:
        for number, member in enumerate(members):
            if len(self._seen) >= MAX_EXCEPTIONS:
                self._is_cut = True
                return
            self._say(depth, f"{number + 1} of {len(members)}:\n")
            self._collect(member, depth)

    def _say(self, depth: int, text: str) -> None:
        self._parts.append((depth, text))
        self.weight += getsizeof(text)

    def __str__(self) -> str:
        texts = [
            indent(part if isinstance(part, str) else "".join(part.format()), "  " * depth)
            for depth, part in self._parts
        ]
        if self._is_cut:
            texts.append("... (further exceptions are left out)\n")
        return "".join(texts).rstrip("\n")


def _describe(error: BaseException) -> str:
    """Return the lines that name an exception, with its text and notes."""
    kind = type(error)
    own = kind.__module__ in ("builtins", "__main__")
    name = kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"
    text = _text_of(error, "exception")
    lines = [f"{name}: {text}" if text else name]
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        lines += [_text_of(note, "note") for note in notes[:_MAX_NOTES]]
        if len(notes) > _MAX_NOTES:
            lines.append(f"... and {len(notes) - _MAX_NOTES:,} notes more")
    return cut("\n".join(lines), MAX_TEXT) + "\n"


def _text_of(value: object, what: str) -> str:
    try:
        return cut(str(value), MAX_TEXT)
    except Exception:
        return f"<{what} str() failed>"


def cut(text: str, most: int) -> str:
    """Return a text with so many characters at most, and say how many are left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text) - most:,} characters more)"
