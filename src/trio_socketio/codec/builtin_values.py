"""Converts Python values to what the wire can carry: dicts, lists, text, numbers, None and bytes.

spec/guide/apps.md has a table of what may be sent. msgspec converts most of it (dataclasses, enums,
dates); this module adds the rest, and an error that names the part of a value that cannot be sent.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from trio_socketio.codec.json_text import decode_json
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

BINARY: Final = (bytes, bytearray, memoryview)
_SCALARS: Final = frozenset((str, int, float, bool, bytes, type(None)))


def to_builtins(value: Any, whole: Any) -> Any:
    """Rebuild a value out of dicts with text keys, lists, tuples and plain scalars; binary stays.

    Args:
        value: any part of what is to be sent.
        whole: all that is to be sent, in which an error locates the part.
    Raises:
        LocalProtocolError: something inside cannot be sent, or is nested too deep (SIO5-64).
    """
    try:
        return _convert(value)
    except RecursionError:
        raise LocalProtocolError("a value to send is nested too deep") from None
    except (TypeError, ValueError, OverflowError) as error:
        path, culprit = _locate(whole)
        kind = type(culprit).__qualname__
        raise LocalProtocolError(
            f"cannot send the {kind} at {path or 'the top'}: {error}"
        ) from error


def _convert(value: Any) -> Any:
    return msgspec.to_builtins(
        value, str_keys=True, builtin_types=BINARY, enc_hook=_convert_foreign
    )


def _convert_foreign(value: Any) -> Any:
    """Convert what msgspec does not know: subclasses of scalars, numpy scalars, mappings."""
    # SIO5-63. The base's own method is called, because a subclass may override __str__ and its
    # like to show something other than its value.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, msgspec.Raw):
        try:
            return decode_json(bytes(value))
        except RemoteProtocolError as error:
            raise TypeError(f"a msgspec.Raw holds JSON: {error}") from None
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a numpy scalar or the like
        scalar = value.item()
        if type(scalar) in _SCALARS:
            return scalar
    raise TypeError("the guide to apps has a table of what can be sent")


def _locate(whole: Any) -> tuple[str, Any]:
    """Find the innermost part that cannot be sent; return its path, in Python's syntax, and it."""
    path, part = "", whole
    while True:
        for step, inner in _parts(part):
            if not _is_sendable(inner):
                path, part = path + step, inner
                break
        else:
            return path, part


def _is_sendable(value: Any) -> bool:
    try:
        _convert(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r:.40}]", inner) for key, inner in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value))
    elif isinstance(value, AbstractSet):
        yield from (("[an element]", inner) for inner in value)
    else:
        for kind in ("__dataclass_fields__", "__struct_fields__"):
            for name in getattr(type(value), kind, ()):
                yield f".{name}", getattr(value, name, None)
