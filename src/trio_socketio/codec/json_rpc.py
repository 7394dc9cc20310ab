"""JSON-RPC 2.0 messages, as the control socket speaks them in both directions.

JSON has no bytes. Those in parameters and results are written as ``{"$bytes": "<base64>"}``. An
object that has exactly that key, or ``$object``, is written as ``{"$object": <the object>}``, so
that it is not taken for bytes (RPC-20, RPC-21). Ids and parameters are kept as they were sent, so
numbers do not change on their way (RPC-22).
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trio_socketio.codec.builtin_values import BINARY, to_builtins
from trio_socketio.codec.json_rpc_codes import Code
from trio_socketio.codec.json_text import (
    MAX_DEPTH,
    decode_json,
    encode_json,
    replace_lone_surrogates,
)
from trio_socketio.errors import ControlError, LocalProtocolError, RemoteProtocolError

__all__ = (
    "BYTES", "MAX_BATCH", "MAX_VALUE_DEPTH", "NULL", "OBJECT", "Code", "Malformed", "Message",
    "Request", "Response", "decode_messages", "decode_value", "encode_batch", "encode_error",
    "encode_request", "encode_result", "encode_value", "escape", "pass_value", "unescape",
)  # fmt: skip

MAX_BATCH: Final = 100
MAX_VALUE_DEPTH: Final = MAX_DEPTH - 16
"""The greatest depth of arrays and objects in a value, marks included. A message adds a few levels,
and must not be too deep for the receiver's decode_json."""

BYTES: Final = "$bytes"
OBJECT: Final = "$object"
NULL: Final = msgspec.Raw(b"null")

_MARKS: Final = (BYTES, OBJECT)
_ABSENT: Final = msgspec.Raw(b"")


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request, or a notification.

    Args:
        method: its name.
        params: an array or an object, as it was sent; None if there are none.
        id: as it was sent; None for a notification, which is not answered.
    """

    method: str
    params: msgspec.Raw | None
    id: msgspec.Raw | None


class Response(msgspec.Struct, frozen=True):
    """The answer to a request of ours.

    Args:
        id: the id of our request; None if it is not one of ours.
        result: as it was sent; None if the request has failed.
        error: why the request failed; None if it did not.
    """

    id: int | None
    result: msgspec.Raw | None
    error: ControlError | None


class Malformed(msgspec.Struct, frozen=True):
    """A message that is neither a request nor a response.

    Args:
        id: for the answer; null if it could not be read.
        error: what is wrong.
    """

    id: msgspec.Raw
    error: ControlError


Message = Request | Response | Malformed


class _Envelope(msgspec.Struct, gc=False):
    """The members of a message, as they were sent."""

    id: msgspec.Raw = _ABSENT
    params: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode

# -- reading


def decode_messages(text: bytes, max_batch: int = MAX_BATCH) -> tuple[list[Message], bool]:
    """Decode a message or a batch.

    Args:
        text: one JSON text; the transport has bounded its size.
        max_batch: how many messages a batch may have.
    Returns:
        The messages in order, and whether they came as a batch, so that they are answered as one.
    Raises:
        ControlError: the text as a whole is answered with this error.

    Spec: JSON-RPC 2.0, sections 4 to 6.
    """
    try:
        value = decode_json(text)
    except RemoteProtocolError as error:
        raise ControlError(Code.PARSE_ERROR, str(error)) from None  # RPC-09
    text = replace_lone_surrogates(text)
    if type(value) is not list:
        return [_read(value, text)], False
    if not value:  # RPC-11
        raise ControlError(Code.INVALID_REQUEST, "a batch must hold at least one message")
    if len(value) > max_batch:  # RPC-13
        raise ControlError(
            Code.TOO_LARGE,
            f"a batch holds at most {max_batch} messages, but this one {len(value)}",
            {"max_batch": max_batch},
        )
    texts = _decode_list(text)
    return [_read(item, bytes(raw)) for item, raw in zip(value, texts, strict=True)], True


def _read(value: Any, text: bytes) -> Message:
    if type(value) is not dict:
        return _malformed(NULL, "a message must be an object")  # RPC-12
    envelope = _decode_envelope(text)
    if "method" not in value and ("result" in value or "error" in value):
        return _read_response(value, envelope)
    given = value.get("id")
    if type(given) not in (str, int, float, type(None)):  # RPC-04
        return _malformed(NULL, "id: expected text, a number or null")
    request_id = None if envelope.id is _ABSENT else envelope.id
    method, params = value.get("method"), value.get("params", ())
    if value.get("jsonrpc") != "2.0":  # RPC-01
        return _malformed(request_id, 'jsonrpc: expected "2.0"')
    if type(method) is not str:  # RPC-02
        return _malformed(request_id, "method: expected text")
    if type(params) not in (list, dict, tuple):  # RPC-03
        return _malformed(request_id, "params: expected an array or an object")
    return Request(method, None if envelope.params is _ABSENT else envelope.params, request_id)


def _malformed(request_id: msgspec.Raw | None, reason: str) -> Malformed:
    # RPC-10: even without an id, because it may not have been meant as a notification.
    return Malformed(request_id or NULL, ControlError(Code.INVALID_REQUEST, reason))


def _read_response(value: dict[str, Any], envelope: _Envelope) -> Response:
    """Read a response. It is never answered, so a malformed response fails its call."""
    given = value.get("id")
    response_id = given if type(given) is int else None
    if value.get("jsonrpc") == "2.0" and ("result" in value) != ("error" in value):
        if "result" in value:
            return Response(response_id, envelope.result, None)
        error = value["error"]
        if type(error) is dict:
            code, message = error.get("code"), error.get("message")
            if type(code) is int and type(message) is str:
                return Response(response_id, None, ControlError(code, message, error.get("data")))
    wrong = ControlError(Code.INTERNAL_ERROR, "the peer's answer is not one of JSON-RPC 2.0")
    return Response(response_id, None, wrong)  # RPC-08


# -- writing


def encode_request(method: str, params: Any, request_id: int | None) -> bytes:
    """Encode a request; without an id, a notification.

    Raises:
        LocalProtocolError: the parameters cannot be sent.
    """
    head = b'{"jsonrpc":"2.0","method":%b' % encode_json(method)
    if request_id is not None:
        head += b',"id":%d' % request_id
    return b'%b,"params":%b}' % (head, encode_value(params))


def encode_result(request_id: msgspec.Raw, result: Any, *, has_bytes: bool = True) -> bytes:
    """Encode the answer to a request that has succeeded (RPC-05).

    Args:
        request_id: as it was sent.
        result: builtins, and values that msgspec converts to them.
        has_bytes: whether the result may hold bytes, or objects from clients.
    Raises:
        LocalProtocolError: the result cannot be sent.
    """
    text = encode_value(result) if has_bytes else encode_json(result)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(request_id), text)


def encode_error(request_id: msgspec.Raw, error: ControlError) -> bytes:
    """Encode the answer to a request that has failed (RPC-06)."""
    told = {"code": int(error.code), "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(request_id), encode_json(told))


def encode_batch(messages: Sequence[bytes]) -> bytes:
    """Join messages to a batch."""
    return b"[%b]" % b",".join(messages)


# -- values with bytes


def encode_value(value: Any) -> bytes:
    """Encode a value that may hold bytes.

    Raises:
        LocalProtocolError: something inside cannot be sent, or is nested too deeply.
    """
    return encode_json(escape(to_builtins(value, value)))


def decode_value(text: bytes) -> Any:
    """Decode a value that may hold bytes; the inverse of encode_value.

    Raises:
        RemoteProtocolError: the text is not JSON, or a mark has the wrong content.
    """
    value = decode_json(text)
    return unescape(value) if _may_have_marks(text) else value


def pass_value(text: msgspec.Raw) -> Any:
    """Decode a value if it holds bytes; otherwise keep it as it was sent (RPC-22).

    Raises:
        RemoteProtocolError: a mark has the wrong content.
    """
    raw = bytes(text)
    return unescape(decode_json(raw)) if _may_have_marks(raw) else text


def _may_have_marks(text: bytes) -> bool:
    return b"$" in text or b"\\u" in text  # a key may be written as "\u0024bytes"


def escape(value: Any) -> Any:
    """Copy a value with marks instead of bytes.

    Args:
        value: of dicts, lists, tuples, plain scalars and bytes.
    Raises:
        LocalProtocolError: it is nested deeper than MAX_VALUE_DEPTH.
    """
    root: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any, int]] = [(root, 0, value, 0)]
    while waiting:
        parent, key, item, depth = waiting.pop()
        if isinstance(item, BINARY):
            parent[key] = {BYTES: base64.b64encode(bytes(item)).decode()}  # RPC-20
            depth += 1
        elif isinstance(item, dict):
            copy: Any = dict.fromkeys(item)
            depth += 1
            if len(item) == 1 and next(iter(item)) in _MARKS:  # RPC-21
                depth += 1
                parent[key] = {OBJECT: copy}
            else:
                parent[key] = copy
            waiting += [(copy, name, inner, depth) for name, inner in item.items()]
        elif isinstance(item, (list, tuple)):
            depth += 1
            copy = parent[key] = [None] * len(item)
            waiting += [(copy, at, inner, depth) for at, inner in enumerate(item)]
        else:
            parent[key] = item
        if depth > MAX_VALUE_DEPTH:  # RPC-23
            raise LocalProtocolError(f"a value to send is nested more than {MAX_VALUE_DEPTH} deep")
    return root[0]


def unescape(value: Any) -> Any:
    """Replace marks by bytes, in place.

    Returns:
        The value, or the bytes if the value itself was a mark.
    Raises:
        RemoteProtocolError: a mark has the wrong content.
    """
    root = [value]
    waiting: list[Any] = [root]
    while waiting:
        parent = waiting.pop()
        for key, item in enumerate(parent) if type(parent) is list else parent.items():
            inner = item
            if type(item) is dict and len(item) == 1:
                if BYTES in item:
                    parent[key] = _decode_bytes(item[BYTES])
                    continue
                if OBJECT in item:
                    inner = parent[key] = item[OBJECT]
                    if type(inner) is not dict:
                        raise RemoteProtocolError(f"{OBJECT}: expected an object")
            if type(inner) is dict or type(inner) is list:
                waiting.append(inner)
    return root[0]


def _decode_bytes(text: Any) -> bytes:
    if type(text) is str:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):  # ValueError for text that is not ASCII
            pass
    raise RemoteProtocolError(f"{BYTES}: expected base64")
