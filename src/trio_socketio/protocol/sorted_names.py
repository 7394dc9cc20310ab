"""Names in order, of which a page can be read at any time, however many there are."""

from bisect import bisect_left, bisect_right, insort
from typing import Final

_LARGEST: Final = 1000
"""A part with more names than this is cut in two, so that adding a name moves few others."""


class SortedNames:
    """A set of texts, in the order of their code points.

    To add or remove one takes about 1 us with 100,000 names: they are kept in parts, and only one
    part is touched.
    """

    __slots__ = ("_last", "_parts")

    def __init__(self) -> None:
        self._parts: list[list[str]] = []  # none is empty
        self._last: list[str] = []  # of each part

    def add(self, name: str) -> None:
        """Add a name that is not there yet."""
        parts, last = self._parts, self._last
        at = bisect_left(last, name)
        if at < len(parts):
            insort(parts[at], name)
        elif parts:
            at -= 1
            parts[at].append(name)
            last[at] = name
        else:
            parts.append([name])
            last.append(name)
        part = parts[at]
        if len(part) > _LARGEST:
            middle = len(part) // 2
            parts.insert(at, part[:middle])
            last.insert(at, part[middle - 1])
            del part[:middle]

    def remove(self, name: str) -> None:
        """Remove a name that is there."""
        parts, last = self._parts, self._last
        at = bisect_left(last, name)
        part = parts[at]
        del part[bisect_left(part, name)]
        if part:
            last[at] = part[-1]
        else:
            del parts[at], last[at]

    def page(self, after: str | None, limit: int) -> list[str]:
        """Return the names behind this one, at most limit of them; None begins at the first."""
        parts = self._parts
        at = begin = 0
        if after is not None:
            at = bisect_right(self._last, after)
            begin = bisect_right(parts[at], after) if at < len(parts) else 0
        found: list[str] = []
        while at < len(parts) and len(found) < limit:
            found += parts[at][begin : begin + limit - len(found)]
            at, begin = at + 1, 0
        return found
