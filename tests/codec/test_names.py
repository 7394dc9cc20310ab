"""Which characters a name may have."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_socketio.codec.names import unfit_character

ORDINARY: Final = (
    "山田\u3000太郎",  # the space of Japanese
    "Jean\u00a0Luc",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family: three emoji and joiners
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # a word of Persian
    "\U0001f3f4\U000e0067\U000e0062\U000e007f",  # a flag with tags
    "\u05d0\u200f!",
    "\U000fffff",  # of a font of one's own
)
"""Names with characters that Python does not call printable."""


@pytest.mark.req("PRES-05", "IDENT-02", "CHAT-11")
@pytest.mark.parametrize("name", ["", "ann", "Ann Lee", "日本", *ORDINARY])
def test_names_are_written_in_any_script(name: str) -> None:
    assert unfit_character(name) == ""


@pytest.mark.req("PRES-05", "IDENT-02", "CHAT-11")
@pytest.mark.parametrize(
    ("name", "unfit"),
    [
        ("a\0", "U+0000"),
        ("a\nb\0", "U+000A"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\u202eabc", "U+202E"),
        ("\u2066", "U+2066"),
        ("\ufeffa", "U+FEFF"),
        ("\ud800", "U+D800"),
    ],
)
def test_what_breaks_lines_or_reorders_text_is_unfit(name: str, unfit: str) -> None:
    assert unfit_character(name) == unfit


@given(st.text(st.characters(blacklist_categories=())))
def test_what_is_printable_is_fit_and_what_is_fit_can_be_encoded(name: str) -> None:
    unfit = unfit_character(name)
    assert not (unfit and name.isprintable())
    if not unfit:
        assert len(name.encode().decode().splitlines()) <= 1
