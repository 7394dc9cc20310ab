"""Takes binary values out of Socket.IO packets, as attachments, and puts them back.

The reference looks for binary in arrays and objects. In Python it may also be inside something
that becomes one of them, such as a set, a dataclass or a named tuple. msgspec would write that as
base64, which no client expects, so values that are not builtins are converted before the search.
"""

from typing import Any, Final

import msgspec

from trio_socketio.codec.builtin_values import BINARY, to_builtins
from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_ATTACHMENTS: Final = 10
"""In one packet; the bound of the reference's decoder."""

_PLAIN: Final = frozenset((str, int, float, bool, type(None), msgspec.Raw))
_is_plain: Final = _PLAIN.issuperset
_is_text: Final = frozenset((str,)).issuperset


def must_deconstruct(value: Any) -> bool:
    """Whether a value must go through deconstruct before it is encoded.

    That is so if it holds bytes anywhere, or anything that is not a builtin and so may hold some.

    Raises:
        LocalProtocolError: the value contains itself, or is nested too deep.
    """
    found = False
    if type(value) is list or type(value) is tuple:
        for item in value:
            kind = type(item)
            if kind is str or kind in _PLAIN:
                continue
            if kind is bytes:
                found = True
            elif not (
                kind is dict and _is_text(map(type, item)) and _is_plain(map(type, item.values()))
            ):
                break
        else:
            return found  # the common case: a name, a few plain arguments and flat objects
    level: list[Any] = [[value]]
    # The walk goes on after a find: deconstruct and the encoder rely on the depth being bounded.
    for left in range(MAX_DEPTH, -1, -1):
        deeper: list[Any] = []
        for container in level:
            items = container
            if isinstance(container, dict):
                items = container.values()
                if not _is_text(map(type, container)):
                    found = True  # a key may be binary too, and to_builtins then refuses it
            for item in items:
                kind = type(item)
                if kind in _PLAIN:
                    continue
                if kind is dict:  # most dicts are flat, and need not be walked at the next level
                    if not left or not (
                        _is_text(map(type, item)) and _is_plain(map(type, item.values()))
                    ):
                        deeper.append(item)
                elif isinstance(item, (list, tuple, dict)):
                    deeper.append(item)
                else:
                    found = True
                    if isinstance(item, BINARY):
                        deeper.append(())  # stands for its placeholder, which is one level deeper
        if not deeper:
            return found
        # Each container only once: one that holds itself twice would double at every level.
        level = deeper if len(deeper) < 1000 else list({id(item): item for item in deeper}.values())
    raise LocalProtocolError(f"a value to send is nested more than {MAX_DEPTH} deep")


def deconstruct(value: Any) -> tuple[Any, tuple[bytes, ...]]:
    """Copy a value with placeholders instead of binary.

    Args:
        value: has passed must_deconstruct, so its depth is known to be bounded.
    Returns:
        The copy, and the attachments in the order of their placeholders.
    Raises:
        LocalProtocolError: there are more than MAX_ATTACHMENTS, which no official peer accepts, or
            something inside cannot be sent.

    Spec: Socket.IO v5, "Packet encoding".
    """
    attachments: list[bytes] = []
    root: list[Any] = [None]
    # A stack, so children are pushed in reverse: attachments are numbered in the order of the text.
    waiting: list[tuple[Any, Any, Any]] = [(root, 0, value)]
    while waiting:
        parent, key, item = waiting.pop()
        if type(item) in _PLAIN:
            parent[key] = item
            continue
        if not _is_known(item):
            item = to_builtins(item, value)  # SIO5-62
        if isinstance(item, BINARY):
            parent[key] = {"_placeholder": True, "num": len(attachments)}  # SIO5-49
            attachments.append(bytes(item))
        elif isinstance(item, dict):
            parent[key] = copy = dict.fromkeys(item)
            waiting += [(copy, name, item[name]) for name in reversed(item)]
        elif isinstance(item, (list, tuple)):
            parent[key] = places = [None] * len(item)
            waiting += [(places, at, item[at]) for at in range(len(item) - 1, -1, -1)]
        else:
            parent[key] = item
    if len(attachments) > MAX_ATTACHMENTS:  # SIO5-53
        raise LocalProtocolError(
            f"{len(attachments)} binary attachments in one packet; peers accept {MAX_ATTACHMENTS}"
        )
    return root[0], tuple(attachments)


_KNOWN: Final = (list, tuple, *BINARY)


def _is_known(item: Any) -> bool:
    if type(item) is dict:
        return _is_text(map(type, item))
    return isinstance(item, _KNOWN)


def reconstruct(value: Any, attachments: list[bytes]) -> Any:
    """Replace placeholders by the attachments that they name, in place.

    Returns:
        The value, or the attachment if the value itself was a placeholder.
    Raises:
        RemoteProtocolError: a placeholder names an attachment that does not exist.

    Spec: Socket.IO v5, "Packet encoding".
    """
    root = [value]
    waiting: list[Any] = [root]
    while waiting:
        parent = waiting.pop()
        for key, item in enumerate(parent) if type(parent) is list else parent.items():
            if type(item) is dict and item.get("_placeholder") is True:
                parent[key] = _named_attachment(item.get("num"), attachments)
            elif type(item) is dict or type(item) is list:
                waiting.append(item)
    return root[0]


def _named_attachment(number: Any, attachments: list[bytes]) -> bytes:
    if type(number) is not int or not 0 <= number < len(attachments):  # SIO5-52
        raise RemoteProtocolError("a placeholder names no attachment")
    return attachments[number]
