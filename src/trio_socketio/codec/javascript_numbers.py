"""Numbers as JavaScript writes them."""

from math import isfinite
from typing import Final

_MAX_POINT: Final = 21
_MIN_POINT: Final = -6


def number_text(number: float) -> str:
    """Return the text that JavaScript gives a number: the shortest one that reads as the same.

    Spec: ECMA-262, Number::toString.
    """
    if not isfinite(number):
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    if not number:
        return "0"  # of -0, too
    # Python finds the same digits, and only puts them differently.
    mantissa, _, exponent = f"{number!r}e".partition("e")
    sign = "-" if number < 0 else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = f"{whole}{fraction}".lstrip("0")
    # The number is 0.DIGITS times ten to the power of point.
    point = len(whole) + int(exponent.rstrip("e") or 0) - (len(f"{whole}{fraction}") - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _MAX_POINT:
        return f"{sign}{digits:0<{point}}"
    if 0 < point <= _MAX_POINT:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _MIN_POINT < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+}"
