"""Patterns of the names of events, rooms and users: a name in which one * stands for any text.

There is one * at most, so that a match takes no longer than a comparison, whatever clients send.
"""

from collections.abc import Iterable
from typing import Final

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import OptionError

MAX_PATTERNS: Final = 1000
MAX_PATTERN: Final = 256
"""How many characters a pattern may have."""


def is_text_pattern(pattern: object) -> bool:
    """Whether this can be a pattern."""
    return (
        type(pattern) is str
        and 0 < len(pattern) <= MAX_PATTERN
        and pattern.count("*") <= 1
        and not unfit_character(pattern)
    )


def check_patterns(name: str, patterns: object) -> None:
    """Refuse a value that is neither None nor a list of patterns.

    Raises:
        OptionError: it holds something else, such as a pattern with two *.
    """
    if patterns is None:
        return
    if not isinstance(patterns, (tuple, list)):
        raise OptionError(name, f"expected a list of texts, not {patterns!r}")
    if len(patterns) > MAX_PATTERNS:
        raise OptionError(name, f"expected {MAX_PATTERNS} patterns at most, not {len(patterns)}")
    for pattern in patterns:
        if not is_text_pattern(pattern):
            raise OptionError(
                name,
                f"expected 1 to {MAX_PATTERN} characters, with one * at most and no control "
                f"characters, not {str(pattern)[:MAX_PATTERN]!r}",
            )


class Patterns:
    """Patterns of one list.

    Args:
        patterns: the list.
    """

    __slots__ = ("_affixes", "_names")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._names = frozenset(one for one in patterns if "*" not in one)
        halves = (one.partition("*") for one in patterns if "*" in one)
        self._affixes = tuple((head, tail, len(head) + len(tail)) for head, _, tail in halves)

    def match(self, name: str) -> bool:
        """Whether one of them matches a whole name."""
        if name in self._names:
            return True
        for head, tail, least in self._affixes:
            if len(name) >= least and name.startswith(head) and name.endswith(tail):
                return True
        return False
