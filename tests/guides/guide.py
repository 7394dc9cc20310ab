"""A page of spec/guide: its blocks of code, found by their language and a part that one has."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "spec" / "guide"
MODULES: Final = ROOT / "tests" / "interop" / "node_modules"
SERVE: Final = "trio-socketio serve"
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Guide:
    """A page, and its blocks in their order.

    Args:
        path: of the page.
    """

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.blocks: list[tuple[str, str]] = _BLOCK.findall(self.text)

    def all(self, language: str, part: str = "") -> list[str]:
        """The blocks of a language that have a part in them."""
        return [code for kind, code in self.blocks if kind == language and part in code]

    def block(self, language: str, part: str = "") -> str:
        """The only block of a language that has a part in it."""
        (found,) = self.all(language, part)
        return found

    @property
    def heads(self) -> list[tuple[str, str]]:
        """The language and the first line of each block; a test says which ones it runs."""
        return [(kind, code.partition("\n")[0]) for kind, code in self.blocks]

    def commands(self, beginning: str = "") -> list[str]:
        """The command lines that begin so, without their comments."""
        lines = [line for kind, code in self.blocks if not kind for line in code.splitlines()]
        lines = [line.partition("#")[0].strip() for line in lines]
        return [line for line in lines if line and line.startswith(beginning)]


def shown_tables() -> list[str]:
    """The tables of the configuration that the references show; they go together in one file."""
    names = ("control.md", "identity.md", "chat.md", "configuration.md")
    return [code for name in names for code in guide(name).all("toml")]


def guide(name: str) -> Guide:
    """The page of this name."""
    return Guide(FOLDER / name)
