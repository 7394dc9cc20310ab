"""Payloads as scripts that a page loads, and as forms that it posts: polling before XHR."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from trio_socketio.codec.json_text import encode_json
from trio_socketio.errors import RemoteProtocolError

_FIELD: Final = re.compile(rb"(?:^|&)d=([^&]*)").search
_NEWLINE: Final = re.compile(rb"(\\)?\\n").sub


def encode_script(index: str, payload: bytes) -> bytes:
    """The script that hands a payload to the page's callback of that index.

    Args:
        index: digits only: whoever lets anything else in lets strangers write scripts.
        payload: UTF-8.

    Spec: Engine.IO v3, "JSONP".
    """
    text = encode_json(payload.decode())
    # Line ends to JavaScript, before 2019 also within a string.
    text = text.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")
    return b"___eio[%b](%b);" % (index.encode("ascii"), text)


def decode_form(body: bytes) -> bytes:
    r"""The payload that a page posted as the field ``d`` of a form.

    Browsers change line ends in forms, so clients write a line feed as ``\n``, and ``\\n``
    for these two characters.

    Raises:
        RemoteProtocolError: there is no such field.

    Spec: Engine.IO v3, "Posting data".
    """
    field = _FIELD(body)
    if field is None:
        raise RemoteProtocolError("the form has no field d")
    payload = unquote_to_bytes(field[1].replace(b"+", b" "))
    return _NEWLINE(lambda escape: b"\\n" if escape[1] else b"\n", payload)
