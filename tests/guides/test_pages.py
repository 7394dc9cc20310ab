"""The guides as a whole: the index names each, made pages are up to date, and anchors exist."""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.guides.guide import FOLDER, ROOT, Guide, guide
from tests.guides.references import make_all
from tests.test_exports import MEMBERS

import trio_socketio
import trio_socketio.control as control
import trio_socketio.im.presence as presence
from trio_socketio.configuration.tables import TABLES, options_of

PAGES: Final = [ROOT / "README.md", *sorted(FOLDER.glob("*.md"))]
_LINK: Final = re.compile(r"\]\(([^)#\s]*\.md)?#([^)\s]+)\)")
_SECTION: Final = re.compile(r"^#### `(\w+)`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.req("GUIDE-01", "GUIDE-02")
def test_pages_that_are_made_are_up_to_date() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in make_all().items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "what they are made of has changed: make references"


@pytest.mark.req("GUIDE-01")
def test_every_option_is_in_the_reference() -> None:
    sections = guide("configuration.md").text.split("\n### `[")
    found = {
        (section.partition("]")[0], name)
        for section in sections
        for name in re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.MULTILINE)
    }
    told = {(table, name) for table, kind in TABLES.items() for name in options_of(table, kind)}
    assert found == told


@pytest.mark.req("GUIDE-02")
def test_every_public_name_and_member_is_in_the_reference() -> None:
    text = guide("api.md").text
    for module in (trio_socketio, control, presence):
        names = set(module.__all__) - {"__version__"}
        assert [name for name in names if f"\n#### `{name}`\n" not in text] == []
    sections = dict(_SECTION.findall(f"{text}\n##"))
    shared = MEMBERS["Broadcast"].split()
    for name, members in MEMBERS.items():
        left_out = [
            member
            for member in members.split()
            if not re.search(rf"\b{member}\b", sections[name])
            and not (member in shared and "It is a `Broadcast`" in sections[name])
        ]
        assert left_out == [], name


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
