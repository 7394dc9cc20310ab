"""Times as JavaScript writes them, compared with those of the standard library."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.javascript_dates import iso_text, shown_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = (datetime(1, 1, 2, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
LAST = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


@given(st.integers(FIRST, LAST))
def test_dates_are_those_of_the_calendar(milliseconds: int) -> None:
    at = EPOCH + timedelta(milliseconds=milliseconds)
    wanted = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert iso_text(milliseconds / 1000) == wanted
    seconds = milliseconds // 1000
    assert shown_text(seconds).startswith((EPOCH + timedelta(seconds=seconds)).strftime("%a %b %d"))


@pytest.mark.parametrize(
    ("seconds", "iso", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z", "Thu Jan 01 1970 00:00:00"),
        (1795427203.733, "2026-11-23T09:46:43.733Z", "Mon Nov 23 2026 09:46:43"),
        (951782400, "2000-02-29T00:00:00.000Z", "Tue Feb 29 2000 00:00:00"),
        (951868800, "2000-03-01T00:00:00.000Z", "Wed Mar 01 2000 00:00:00"),
        (4107542399.9996, "2100-03-01T00:00:00.000Z", "Sun Feb 28 2100 23:59:59"),
    ],
)
def test_dates_are_written_as_javascript_writes_them(seconds: float, iso: str, shown: str) -> None:
    assert iso_text(seconds) == iso
    assert shown_text(seconds) == f"{shown} GMT+0000 (Coordinated Universal Time)"
