"""Makes the references of spec/guide out of the code, and the figures out of bench/results.

``make references`` writes them; a test says when they are out of date.
"""

import re
from pathlib import Path
from typing import Final

from tests.guides.api_reference import api_text
from tests.guides.configuration_reference import configuration_text
from tests.guides.figures import performance_text, readme_text
from tests.guides.guide import FOLDER, ROOT

_BETWEEN: Final = re.compile(
    r"(<!-- (\w+): made by `make references`[^\n]*-->\n).*?(<!-- end of \2 -->\n)", re.DOTALL
)


def put_between(path: Path, made: str) -> str:
    """The text of a page, with what is made between its two marks."""
    text = path.read_text(encoding="utf-8")
    assert len(_BETWEEN.findall(text)) == 1, f"{path} has not one pair of marks"
    return _BETWEEN.sub(lambda found: f"{found[1]}\n{made.rstrip()}\n\n{found[3]}", text)


def make_all() -> dict[Path, str]:
    """The text of every page that is made, in whole or in part."""
    return {
        ROOT / "README.md": put_between(ROOT / "README.md", readme_text()),
        FOLDER / "api.md": api_text(),
        FOLDER / "configuration.md": put_between(FOLDER / "configuration.md", configuration_text()),
        FOLDER / "performance.md": put_between(FOLDER / "performance.md", performance_text()),
    }


if __name__ == "__main__":
    for path, text in make_all().items():
        path.write_text(text, encoding="utf-8")
