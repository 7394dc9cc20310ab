"""Writes and reads polling bodies, by revision, and as scripts for JSONP."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.codec import engine_payload, engine_payload_v3
from trio_socketio.codec.jsonp import decode_form, encode_script
from trio_socketio.http.request import FixedHeaders

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing, Packet
    from trio_socketio.http.request import Request

_BINARY_TYPE: Final = "application/octet-stream"

NO_STORE: Final = (b"cache-control", b"no-store")
_TEXT: Final = FixedHeaders((b"Content-Type", b"text/plain; charset=UTF-8"), NO_STORE)
_BINARY: Final = FixedHeaders(  # EIO4-13, EIO3-15
    (b"Content-Type", b"application/octet-stream"), NO_STORE
)
_SCRIPT: Final = FixedHeaders(
    (b"Content-Type", b"text/javascript; charset=UTF-8"),
    (b"X-Content-Type-Options", b"nosniff"),
    NO_STORE,
)


class Payloads(Protocol):
    """How the bodies of one client are written and read."""

    are_shared: bool
    """Whether a packet alone in a body has the same body for all sessions with these payloads."""

    def accepts(self, post: "Request") -> bool:
        """Whether a body of the content type that the POST announces can be read."""

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """Return the packets of a body.

        Raises:
            RemoteProtocolError: the body is not a payload.
        """

    def encode(self, packets: "list[Outgoing]") -> tuple[FixedHeaders, bytes]:
        """Return the answer to a GET: the headers that go with its body, and the body."""


class PayloadsV4:
    """Payloads of revision 4: always text. Spec: Engine.IO v4, "HTTP long-polling"."""

    are_shared = True
    __slots__ = ()

    def accepts(self, post: "Request") -> bool:
        """Whether the body is text (EIO4-14)."""
        return post.headers.get("content-type") != _BINARY_TYPE

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """Split the text at U+001E."""
        return engine_payload.decode_payload(body)

    def encode(self, packets: "list[Outgoing]") -> tuple[FixedHeaders, bytes]:
        """Join the packets with U+001E."""
        return _TEXT, engine_payload.encode_payload(packets)


class PayloadsV3:
    """Payloads of revision 3: text, or binary if a packet is binary and the client can read that.

    Args:
        base64: whether the client can read text only.

    Spec: Engine.IO v3, "Payload".
    """

    are_shared = False
    __slots__ = ("_base64",)

    def __init__(self, *, base64: bool) -> None:
        self._base64 = base64

    def accepts(self, post: "Request") -> bool:
        """Return True: the client may send text and binary payloads."""
        return True

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """Read a text or binary payload, as the content type says."""
        if _is_binary(post):  # EIO3-14
            return engine_payload_v3.decode_binary_payload(body)
        return engine_payload_v3.decode_payload(body)

    def encode(self, packets: "list[Outgoing]") -> tuple[FixedHeaders, bytes]:
        """Write a binary payload if one is needed and the client can read it, text otherwise."""
        if not self._base64 and engine_payload_v3.needs_binary(packets):
            return _BINARY, engine_payload_v3.encode_binary_payload(packets)
        return _TEXT, engine_payload_v3.encode_payload(packets)


class ScriptPayloads:
    """Payloads of JSONP: scripts to the client, forms from it.

    Args:
        payloads: write and read what is inside, as text.
        index: of the callback in the page; digits only.

    Spec: Engine.IO v3, "JSONP".
    """

    are_shared = False
    __slots__ = ("_index", "_payloads")

    def __init__(self, payloads: Payloads, index: str) -> None:
        self._payloads = payloads
        self._index = index

    def accepts(self, post: "Request") -> bool:
        """Whether the body is text: a form."""
        return not _is_binary(post)

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """Read the payload out of the form."""
        return self._payloads.decode(post, decode_form(body))

    def encode(self, packets: "list[Outgoing]") -> tuple[FixedHeaders, bytes]:
        """Write a script that calls the callback with the payload."""
        return _SCRIPT, encode_script(self._index, self._payloads.encode(packets)[1])


def _is_binary(post: "Request") -> bool:
    # EIO4-16: a body without a content type is text
    return post.headers.get("content-type") == _BINARY_TYPE


_V4: Final = PayloadsV4()
_V3: Final = PayloadsV3(base64=False)
_V3_BASE64: Final = PayloadsV3(base64=True)


def choose_payloads(protocol: int, query: Mapping[str, str]) -> Payloads:
    """Return the payloads of a session that was opened with this query, which is verified."""
    index = query.get("j")
    payloads: Payloads = _V4
    if protocol == 3:
        payloads = _V3 if index is None and not query.get("b64") else _V3_BASE64  # EIO3-13
    return payloads if index is None else ScriptPayloads(payloads, index)
