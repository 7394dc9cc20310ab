"""How long functions of the program took, in histograms of plain numbers."""

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The upper bounds of the buckets. A plain function that takes the third one fills a turn."""
QUICK_S: Final = BOUNDS_S[0]
"""The upper bound of the first bucket, into which most calls fall."""

MAX_NAMES: Final = 100
OTHER: Final = "other"
"""The name under which functions are summed that come after MAX_NAMES others."""


class Timing:
    """The durations of the functions of one name.

    Attributes:
        buckets: how many durations were in each interval of BOUNDS_S; the last is open.
        sum_s: all durations together.
    """

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, elapsed_s: float) -> None:
        """Add a duration."""
        self.buckets[bisect_left(BOUNDS_S, elapsed_s)] += 1
        self.sum_s += elapsed_s

    def add_quick(self, calls: int, elapsed_s: float) -> None:
        """Add durations of at most QUICK_S.

        Args:
            calls: how many.
            elapsed_s: all together.
        """
        self.buckets[0] += calls
        self.sum_s += elapsed_s


class Timings:
    """The timings of all functions, by their names.

    Attributes:
        by_name: at most MAX_NAMES of them, and OTHER.
    """

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: dict[str | float, Timing] = {}

    def find(self, name: str | float) -> Timing:
        """Return the timing of a name, or of OTHER if there are too many.

        Args:
            name: that the program has given. A client must not be able to make it up.
        """
        timing = self.by_name.get(name)
        if timing is None:
            if len(self.by_name) >= MAX_NAMES:
                name = OTHER
            timing = self.by_name.setdefault(name, Timing())
        return timing
