"""Links of the documents lead to something that is there."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENTS: Final = sorted(
    [
        *(path for place in ("*.md", ".github/*.md", "spec/**/*.md") for path in ROOT.glob(place)),
        ROOT / "bench" / "README.md",
    ]
)
_LINK: Final = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_guide_shows_a_test_for_every_feature() -> None:
    text = (ROOT / "spec" / "guide" / "features.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 15
    untested = [row for row in rows if "/tests/" not in row]
    assert [row.split("|")[1].strip() for row in untested] == ["WebTransport"]
