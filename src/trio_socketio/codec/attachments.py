"""Binary inside Socket.IO packets: taken out into attachments, and put back.

Binary is looked for in lists, tuples and dicts, as the reference does in arrays and objects.
"""

from typing import Any, Final

from trio_socketio.codec.json_text import MAX_DEPTH
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_ATTACHMENTS: Final = 10
"""Per packet, as the reference's decoder has it."""

_BINARY: Final = (bytes, bytearray, memoryview)
_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def has_binary(value: Any) -> bool:
    """Whether bytes are anywhere inside.

    Raises:
        LocalProtocolError: the value contains itself, or is nested too deep.
    """
    if type(value) is list or type(value) is tuple:
        for item in value:
            if type(item) not in _PLAIN:
                break
        else:
            return False  # most events: a name and a few plain arguments
    found = False
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):  # to the end even if found: what follows relies on the bound
        deeper: list[Any] = []
        for container in level:
            for item in container.values() if isinstance(container, dict) else container:
                if type(item) in _PLAIN:
                    continue
                if isinstance(item, _BINARY):
                    found = True
                    deeper.append(())  # its placeholder is one level more
                elif isinstance(item, (dict, list, tuple)):
                    deeper.append(item)
        if not deeper:
            return found
        # Each only once: a list that holds itself twice would double with every turn.
        level = deeper if len(deeper) < 1000 else list({id(item): item for item in deeper}.values())
    raise LocalProtocolError(f"a value to send is nested more than {MAX_DEPTH} deep")


def deconstruct(value: Any) -> tuple[Any, tuple[bytes, ...]]:
    """Take the binary out: a copy with placeholders, and the attachments in their order.

    Args:
        value: has passed has_binary, so its depth is known to be bounded.
    Raises:
        LocalProtocolError: more than MAX_ATTACHMENTS, which no official peer would accept.

    Spec: Socket.IO v5, "Packet encoding".
    """
    attachments: list[bytes] = []
    root: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any]] = [(root, 0, value)]  # last first: the order of the text
    while waiting:
        parent, key, item = waiting.pop()
        if isinstance(item, _BINARY):
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
