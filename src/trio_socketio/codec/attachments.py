"""Binary inside Socket.IO packets: taken out into attachments, and put back.

The reference looks for binary in arrays and objects; here it may also be in what becomes one of
them: a set, a dataclass, a named tuple. The encoder would write it as base64, which no client
expects, so all that is no builtin is converted before it is looked through.
"""

from typing import Any, Final

import msgspec

from trio_socketio.codec.builtin_values import BINARY, to_builtins
from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_ATTACHMENTS: Final = 10
"""Per packet, as the reference's decoder has it."""

_PLAIN: Final = frozenset((str, int, float, bool, type(None), msgspec.Raw))
_is_plain: Final = _PLAIN.issuperset
_is_text: Final = frozenset((str,)).issuperset


def must_deconstruct(value: Any) -> bool:
    """Whether bytes are anywhere inside, or what only becomes a builtin, which may hold some.

    Raises:
        LocalProtocolError: the value contains itself, or is nested too deep.
    """
    if type(value) is list or type(value) is tuple:
        for item in value:
            kind = type(item)
            if kind not in _PLAIN and not (
                kind is dict and _is_text(map(type, item)) and _is_plain(map(type, item.values()))
            ):
                break
        else:
            return False  # most events: a name, a few plain arguments and flat objects
    found = False
    level: list[Any] = [[value]]
    # To the end even if something was found: what follows relies on the bound.
    for left in range(MAX_DEPTH, -1, -1):
        deeper: list[Any] = []
        for container in level:
            items = container
            if isinstance(container, dict):
                items = container.values()
                if not _is_text(map(type, container)):
                    found = True  # a key may be binary, too
            for item in items:
                kind = type(item)
                if kind in _PLAIN:
                    continue
                if kind is dict:  # most are flat, and need no turn of their own
                    if not left or not (
                        _is_text(map(type, item)) and _is_plain(map(type, item.values()))
                    ):
                        deeper.append(item)
                elif isinstance(item, (list, tuple, dict)):
                    deeper.append(item)
                else:
                    found = True
                    if isinstance(item, BINARY):
                        deeper.append(())  # its placeholder is one level more
        if not deeper:
            return found
        # Each only once: a list that holds itself twice would double with every turn.
        level = deeper if len(deeper) < 1000 else list({id(item): item for item in deeper}.values())
    raise LocalProtocolError(f"a value to send is nested more than {MAX_DEPTH} deep")


def deconstruct(value: Any) -> tuple[Any, tuple[bytes, ...]]:
    """Take the binary out: a copy with placeholders, and the attachments in their order.

    Args:
        value: has passed must_deconstruct, so its depth is known to be bounded.
    Raises:
        LocalProtocolError: more than MAX_ATTACHMENTS, which no official peer would accept, or
            something inside cannot be sent.

    Spec: Socket.IO v5, "Packet encoding".
    """
    attachments: list[bytes] = []
    root: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any]] = [(root, 0, value)]  # last first: the order of the text
    while waiting:
        parent, key, item = waiting.pop()
        if not _is_known(item):
            item = to_builtins(item, value)
        if isinstance(item, BINARY):
            parent[key] = {"_placeholder": True, "num": len(attachments)}
            attachments.append(bytes(item))
        elif isinstance(item, dict):
            parent[key] = copy = dict.fromkeys(item)
            waiting += [(copy, name, item[name]) for name in reversed(item)]
        elif isinstance(item, (list, tuple)):
            parent[key] = places = [None] * len(item)
            waiting += [(places, at, item[at]) for at in range(len(item) - 1, -1, -1)]
        else:
            parent[key] = item
    if len(attachments) > MAX_ATTACHMENTS:
        raise LocalProtocolError(
            f"{len(attachments)} binary attachments in one packet; peers accept {MAX_ATTACHMENTS}"
        )
    return root[0], tuple(attachments)


def _is_known(item: Any) -> bool:
    if type(item) is dict:
        return _is_text(map(type, item))
    return type(item) in _PLAIN or isinstance(item, (list, tuple, *BINARY))


def reconstruct(value: Any, attachments: list[bytes]) -> Any:
    """Put attachments where their placeholders stand; lists and dicts are changed in place.

    Raises:
        RemoteProtocolError: a placeholder names no attachment.

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
    if type(number) is not int or not 0 <= number < len(attachments):
        raise RemoteProtocolError("a placeholder names no attachment")
    return attachments[number]
