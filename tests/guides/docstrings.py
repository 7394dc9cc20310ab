"""Takes docstrings in the style of Google apart, and writes them as Markdown."""

import inspect
import re
from typing import Final

_SECTION: Final = re.compile(r"(Args|Attributes|Returns|Yields|Raises):")
_ENTRY: Final = re.compile(r"    ((?:\*{0,2}[\w.]+)(?:, \*{0,2}[\w.]+)*): (.*)")
_WHY_LARGE: Final = re.compile(r"It has \d+ (attributes|methods)|Spec: ")
_REQUIREMENT: Final = re.compile(r" \([A-Z0-9]+-\d+(?:, [A-Z0-9]+-\d+)*\)")
_TITLES: Final = {"Returns": "Returns", "Yields": "Yields", "Raises": "Raises"}


def as_markdown(thing: object, indent: str = "", doc: str | None = None) -> str:
    """Write the docstring of something: its paragraphs, then a list of each section.

    Args:
        thing: has a docstring.
        indent: of each line.
        doc: a docstring instead of its own.
    """
    sections = _sections(inspect.cleandoc(inspect.getdoc(thing) or "" if doc is None else doc))
    paragraphs = _paragraphs(sections.pop("", []))
    items = [item for name, lines in sections.items() for item in _items(name, lines)]
    blocks = [*paragraphs, "\n".join(items)] if items else paragraphs
    text = "\n\n".join(blocks)
    return "\n".join(f"{indent}{line}" if line else "" for line in text.splitlines())


def _sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in text.splitlines():
        matched = _SECTION.fullmatch(line)
        if matched is not None:
            name = matched[1]
            found.setdefault(name, [])
        elif line and not line.startswith(" ") and name:
            name = ""
            found[""] += ["", line]
        else:
            found[name].append(line)
    return found


def _paragraphs(lines: list[str]) -> list[str]:
    blocks = [block for block in "\n".join(lines).split("\n\n") if block.strip()]
    kept = []
    for block in blocks:
        if _WHY_LARGE.match(block.strip()) or block.strip() == "::":
            continue
        is_code = block.startswith("    ")
        kept.append(block.strip("\n") if is_code else _told(block))
    return kept


def _items(name: str, lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry is not None and name not in ("Returns", "Yields"):
            names = ", ".join(f"`{one}`" for one in entry[1].split(", "))
            told = f"raises {names}" if name == "Raises" else names
            items.append(f"- {told}: {entry[2]}")
        elif line.strip() and items:
            items[-1] += f" {line.strip()}"
        elif line.strip():
            items.append(f"- {_TITLES.get(name, name).lower()}: {line.strip()}")
    return [_told(item) for item in items]


def _told(text: str) -> str:
    """Write a paragraph: code has single backticks in Markdown, and a line needs no break."""
    plain = " ".join(text.split()).replace("``", "`").removesuffix("::").rstrip()
    return _REQUIREMENT.sub("", plain)
