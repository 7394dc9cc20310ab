"""Shortens the values of an event to what a person can look at, whatever they are."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from trio_socketio.codec.builtin_values import BINARY, to_builtins

MAX_ITEMS: Final = 100
"""How many items of a list or object are shown."""
MAX_DEPTH: Final = 8
"""How deep values are shown; what is nested deeper is only named."""

_SEQUENCES: Final = frozenset((list, tuple, set, frozenset))
_CUT: Final = "…"
_SCALAR: Final = 8
"""What a number or the like counts in characters."""
_MAX_KEY: Final = 64
_MAX_KEY_BITS: Final = 128
_EXACT: Final = 1 << 53
"""Numbers of JavaScript are exact up to this one."""


def shorten(values: Sequence[Any], max_characters: int) -> list[Any]:
    """Return a copy of values that JSON and MessagePack can carry, and that is not large (AUI-24).

    What is left out is named: long text ends with the number of its characters, binary is replaced
    by its size, and what cannot be sent by its type. The work is bounded like the result, except
    for a value that has to be converted first, such as a dataclass.

    Args:
        values: any objects.
        max_characters: about how many characters the result may have.
    """
    shown: list[Any] = _Shortening(max_characters).show_items(values, len(values), MAX_DEPTH)
    return shown


class _Shortening:
    """Shortens one list of values.

    Args:
        left: how many characters may still be shown.
    """

    __slots__ = ("_left",)

    def __init__(self, left: int) -> None:
        self._left = left

    def show(self, value: Any, depth: int) -> Any:
        """Return one value as it is shown."""
        if self._left <= 0:
            return _CUT
        self._left -= _SCALAR
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int:
            if -_EXACT <= value <= _EXACT:
                return value
            bits = value.bit_length()
            return str(value) if bits <= 128 else f"<integer of {bits:,} bits>"
        if type(value) is str:
            return self._show_text(value)
        if isinstance(value, BINARY):
            size = value.nbytes if isinstance(value, memoryview) else len(value)
            return f"<{size:,} bytes>"
        # Exactly these, because classes of a program may do anything while they are looked through.
        if type(value) is dict or type(value) in _SEQUENCES:
            if not depth:
                return f"<{type(value).__name__} of {len(value):,}>"
            if type(value) is dict:
                return self._show_entries(value, depth)
            return self.show_items(value, len(value), depth)
        return self._show_other(value, depth)

    def show_items(self, values: Iterable[Any], count: int, depth: int) -> list[Any]:
        """Return the first of some values as they are shown."""
        shown: list[Any] = []
        for value in values:
            if len(shown) == MAX_ITEMS or (self._left <= 0 and shown):
                shown.append(f"{_CUT} {count - len(shown):,} more")
                break
            shown.append(self.show(value, depth - 1))
        return shown

    def _show_entries(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in values.items():
            if len(shown) == MAX_ITEMS or self._left <= 0:
                shown[_CUT] = f"{len(values) - len(shown):,} more"
                break
            name = key if type(key) is str else _name_key(key)
            name = _sendable(name if len(name) <= _MAX_KEY else name[:_MAX_KEY] + _CUT)
            self._left -= len(name)
            shown[name] = self.show(value, depth - 1)
        return shown

    def _show_text(self, text: str) -> str:
        if len(text) <= self._left:
            self._left -= len(text)
            return _sendable(text)
        left, self._left = max(self._left, 0), 0
        return f"{_sendable(text[:left])}{_CUT} ({len(text):,} characters)"

    def _show_other(self, value: Any, depth: int) -> Any:
        try:
            plain = to_builtins(value, value)
        except Exception:  # whatever code of the program raises; to be shown must never fail
            return f"<{type(value).__name__}>"
        return self.show(plain, depth)


def _name_key(key: Any) -> str:
    """Return a key that is not text as it is shown; Python refuses to write very long integers."""
    is_short = type(key) is int and key.bit_length() <= _MAX_KEY_BITS
    return str(key) if is_short else type(key).__name__


def _sendable(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot carry."""
    return text if text.isascii() else text.encode(errors="replace").decode()
