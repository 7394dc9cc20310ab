"""Imports the names of a package when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its name.
        homes: the module of each name, relative to trio_socketio; then, after a colon, its name in
            that module if it differs.
    """
    namespace = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, original = homes[name].partition(":")
        value = getattr(import_module(f"trio_socketio.{module}"), original or name)
        namespace[name] = value  # so that later look-ups find it without this function
        return value

    return find, lambda: sorted({*(name for name in namespace if name[:2] == "__"), *homes})
