"""JSONP: polling by scripts that a page loads and forms that it posts, for browsers without XHR."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from trio_socketio.codec.json_text import encode_json
from trio_socketio.errors import RemoteProtocolError

_FIELD: Final = re.compile(rb"(?:^|&)d=([^&]*)").search
_NEWLINE: Final = re.compile(rb"(\\)?\\n").sub


def encode_script(index: str, payload: bytes) -> bytes:
    """Write the script that gives a payload to one of the page's callbacks.

    Args:
        index: the number of the callback. The caller has checked that it is digits only: anything
            else would let its author run a script in the page.
        payload: UTF-8.

    Spec: Engine.IO v3, "JSONP".
    """
    text = encode_json(payload.decode())
    # JSON allows these two in a string; before ES2019 they ended a line of JavaScript (EIO3-26).
    text = text.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")
    return b"___eio[%b](%b);" % (index.encode("ascii"), text)  # EIO3-23


def decode_form(body: bytes) -> bytes:
    r"""Read the payload that a page posted as the field ``d`` of a form.

    Browsers change line ends in forms, so clients write a line feed as the two characters ``\n``,
    and a backslash before an n as ``\\n``.

    Raises:
        RemoteProtocolError: the form has no field ``d``.

    Spec: Engine.IO v3, "Posting data".
    """
    field = _FIELD(body)
    if field is None:
        raise RemoteProtocolError("the form has no field d")
    payload = unquote_to_bytes(field[1].replace(b"+", b" "))
    return _NEWLINE(lambda escape: b"\\n" if escape[1] else b"\n", payload)  # EIO3-25
