"""Writes times as the Date of JavaScript does, in UTC, whatever the language of this machine."""

from typing import Final, NamedTuple

_DAYS: Final = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # 1970 began on a Thursday
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_DAY_S: Final = 86_400
_YEAR_DAYS: Final = 365
_ERA_DAYS: Final = 146_097  # of 400 years, after which the calendar repeats itself
_CENTURY_DAYS: Final = 36_524
_FOUR_YEARS_DAYS: Final = 1461
_TO_MARCH_0: Final = 719_468
"""The days from 1 March of the year 0, with which an era begins, to 1970."""


class _Moment(NamedTuple):
    year: int
    month: int
    day: int
    weekday: str
    clock: str


def _take_apart(seconds: int) -> _Moment:
    """Return the parts of a date.

    Years are counted from March on, so that a leap day is the last day of its year.
    """
    days, rest = divmod(seconds, _DAY_S)
    era, of_era = divmod(days + _TO_MARCH_0, _ERA_DAYS)
    year = (
        of_era
        - of_era // (_FOUR_YEARS_DAYS - 1)
        + of_era // _CENTURY_DAYS
        - of_era // (_ERA_DAYS - 1)
    ) // _YEAR_DAYS
    of_year = of_era - (_YEAR_DAYS * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153  # from March on: 153 days in each five months
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    year += 400 * era + (month <= 2)
    return _Moment(year, month, day, _DAYS[days % 7], f"{hour:02}:{minute:02}:{second:02}")


def iso_text(seconds: float) -> str:
    """Return what ``Date.toJSON`` returns, such as ``2026-11-23T09:46:43.733Z``.

    Args:
        seconds: since 1970; the year has four digits.
    """
    milliseconds = round(seconds * 1000)
    at = _take_apart(milliseconds // 1000)
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{at.clock}.{milliseconds % 1000:03}Z"


def shown_text(seconds: float) -> str:
    """Return what ``Date.toString`` returns where the time zone is UTC.

    Args:
        seconds: since 1970; the year has four digits.
    """
    at = _take_apart(int(seconds))
    return (
        f"{at.weekday} {_MONTHS[at.month - 1]} {at.day:02} {at.year} {at.clock} "
        "GMT+0000 (Coordinated Universal Time)"
    )
