"""Whether two decoded JSON values are the same value, however they were written."""

from typing import Any, Final

_NUMBERS: Final = frozenset((int, float))


def are_equal_json(one: Any, other: Any) -> bool:
    """Compare two values as JSON.

    The order of an object's members does not matter. Numbers are compared as JavaScript reads them:
    1 and 1.0 are the same, and so are integers that have the same nearest double. But true is not
    1, as it is for ``==`` in Python. The time it takes is bounded by the smaller value.

    Args:
        one: of dict, list, str, int, float, bool and None. There is no bound on its depth.
        other: likewise.
    """
    waiting = [(one, other)]
    while waiting:
        left, right = waiting.pop()
        kind = type(left)
        if kind in _NUMBERS:
            if type(right) not in _NUMBERS or not _are_equal_numbers(left, right):
                return False
        elif kind is not type(right):
            return False
        elif kind is dict:
            if left.keys() != right.keys():
                return False
            waiting += [(value, right[name]) for name, value in left.items()]
        elif kind is list:
            if len(left) != len(right):
                return False
            waiting += zip(left, right, strict=True)
        elif left != right:
            return False
    return True


def _are_equal_numbers(one: float, other: float) -> bool:
    try:
        return float(one) == float(other)
    except OverflowError:  # an integer beyond every double, which JavaScript reads as infinity
        return one == other
