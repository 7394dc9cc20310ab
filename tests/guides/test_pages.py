"""The guides as a whole: the index names each, made pages are up to date, and anchors exist."""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.guides.guide import FOLDER, ROOT, Guide, guide
from tests.guides.references import make_all

PAGES: Final = [ROOT / "README.md", *sorted(FOLDER.glob("*.md"))]
_LINK: Final = re.compile(r"\]\(([^)#\s]*\.md)?#([^)\s]+)\)")
_CODE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def test_pages_that_are_made_are_up_to_date() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in make_all().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "what they are made of has changed: make references"


def test_the_index_names_every_guide_once() -> None:
    linked = re.findall(r"\]\((\w+\.md)\)", guide("README.md").text)
    assert sorted(linked) == sorted(path.name for path in PAGES[1:] if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_headings(page: Path) -> None:
    for name, anchor in _LINK.findall(Guide(page).text):
        target = (page.parent / name).resolve() if name else page
        assert anchor in anchors(target), f"{name}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_charts_of_the_bench_are_shown() -> None:
    shown = re.findall(r"results/(\w+\.svg)\)", guide("performance.md").text)
    assert sorted(shown) == sorted(path.name for path in (ROOT / "bench/results").glob("*.svg"))
    commands = guide("performance.md").commands()
    assert commands == ["make bench"]
