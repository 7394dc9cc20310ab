"""Every method that programs or other modules may call has its contract written down once."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).resolve().parents[1] / "src" / "trio_socketio"

Method = ast.FunctionDef | ast.AsyncFunctionDef


def public_methods(source: str) -> Iterator[tuple[str, Method]]:
    """The methods of public classes, each with its class's name."""
    for owner in ast.walk(ast.parse(source)):
        if isinstance(owner, ast.ClassDef) and not owner.name.startswith("_"):
            for method in owner.body:
                if isinstance(method, Method) and not method.name.startswith("_"):
                    yield owner.name, method


def undocumented(sources: dict[str, str]) -> list[str]:
    """The methods without a docstring that implement none which has one.

    A method may leave its docstring out when its contract is that of the base class or Protocol
    that declares it. The declaration is found by the method's name.
    """
    found = [
        (file, owner, method)
        for file, source in sources.items()
        for owner, method in public_methods(source)
    ]
    documented = {method.name for _, _, method in found if ast.get_docstring(method)}
    return [
        f"{file}:{method.lineno}: {owner}.{method.name}"
        for file, owner, method in found
        if not ast.get_docstring(method) and method.name not in documented
    ]


def test_every_public_method_has_a_docstring_or_implements_one_that_has() -> None:
    sources = {
        path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
    }
    assert undocumented(sources) == []


DECLARED: Final = 'class Base:\n    def read(self):\n        """Read."""\n'


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (DECLARED, []),
        (DECLARED + "class Other(Base):\n    def read(self): ...", []),
        ("class Other:\n    async def read(self): ...", ["x.py:2: Other.read"]),
        ("class _Other:\n    def read(self): ...", []),
        ("class Other:\n    def _read(self): ...", []),
    ],
)
def test_a_method_without_a_docstring_is_found(source: str, found: list[str]) -> None:
    assert undocumented({"x.py": source}) == found
