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
    if type(value) is list:
        for item in value:
            if type(item) not in _PLAIN:
                break
        else:
            return False  # most events: a name and a few plain arguments
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for item in level:
            if type(item) in _PLAIN:
                continue
            if isinstance(item, _BINARY):
                return True
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, (list, tuple)):
                deeper.extend(item)
        if not deeper:
            return False
        level = deeper
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
    stripped = _strip(value, attachments)
    if len(attachments) > MAX_ATTACHMENTS:
        raise LocalProtocolError(
            f"{len(attachments)} binary attachments in one packet; peers accept {MAX_ATTACHMENTS}"
        )
    return stripped, tuple(attachments)


def _strip(value: Any, attachments: list[bytes]) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, _BINARY):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, dict):
        return {key: _strip(item, attachments) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strip(item, attachments) for item in value]
    return value


def reconstruct(value: Any, attachments: list[bytes]) -> Any:
    """Put attachments where their placeholders stand; lists and dicts are changed in place.

    Raises:
        RemoteProtocolError: a placeholder names no attachment.

    Spec: Socket.IO v5, "Packet encoding".
    """
    if type(value) is dict:
        if value.get("_placeholder") is True:
            number = value.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise RemoteProtocolError("a placeholder names no attachment")
            return attachments[number]
        for key, item in value.items():
            if type(item) is dict or type(item) is list:
                value[key] = reconstruct(item, attachments)
    elif type(value) is list:
        for index, item in enumerate(value):
            if type(item) is dict or type(item) is list:
                value[index] = reconstruct(item, attachments)
    return value
