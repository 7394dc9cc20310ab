"""What the tests of our pages have in common: servers, a checker of accessibility, bad text."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.browser.chromium import Page
from tests.browser.conftest import MODULES
from tests.interop.server_process import ServerProcess

AXE: Final = MODULES / "axe-core" / "axe.min.js"
RUN_AXE: Final = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) =>
  violations.map(({id, help, nodes}) =>
    `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`))"""

HOSTILE: Final = [
    "<img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "&lt;b&gt;' onmouseover='x' \"",
    "{{7*7}} ${7*7} %3Cb%3E",
    "\u0000\u0007\u001b[31mred\u009b",
    "\u202egpj.exe\u2066\u2067 \u200f\u200e",
    "e" + "\u0301" * 200,
    "\U0001f600" * 30 + "\ufeff\u2028\u2029",
    "x" * 1_000_000,
]


class LobbyProcess(ServerProcess):
    """The lobby as ``trio-socketio serve`` starts it: without an app."""

    def options(self) -> Sequence[str]:
        return self.arguments


def find_faults(page: Page) -> list[str]:
    """What axe-core finds in what the page shows now, in both themes."""
    page.inject(AXE.read_text(encoding="utf-8"))
    faults = []
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = {theme!r}")
        found: list[str] = page.evaluate(RUN_AXE)
        faults += [f"{theme}: {one}" for one in found]
    page.evaluate("document.documentElement.dataset.theme = 'auto'")
    return faults


def is_too_wide(page: Page) -> bool:
    """Whether there is something to scroll to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def foreign(page: Page, *own: str) -> list[str]:
    """The requests of a page that have gone to other hosts than its own."""
    hosts = {urlsplit(one).netloc for one in own}
    return [
        one
        for one in page.requested
        if urlsplit(one).netloc not in hosts and not one.startswith("data:")
    ]


def quoted(value: Any) -> str:
    """A value as an expression of JavaScript."""
    return json.dumps(value)


def shot(page: Page, name: str) -> None:
    """Save what is seen, for a person to look at, if SCREENSHOTS names a folder."""
    if "SCREENSHOTS" in os.environ:
        folder = Path(os.environ["SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        page.save_screenshot(folder / f"{name}.png")
