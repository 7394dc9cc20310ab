"""How polling bodies are written and read: by revision, and as scripts for JSONP."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from trio_socketio.codec import engine_payload, engine_payload_v3
from trio_socketio.codec.jsonp import decode_form, encode_script

if TYPE_CHECKING:
    from trio_socketio.codec.engine_packet import Outgoing, Packet
    from trio_socketio.http.request import Headers, Request

_TEXT: Final = ((b"Content-Type", b"text/plain; charset=UTF-8"),)
_BINARY: Final = ((b"Content-Type", b"application/octet-stream"),)  # EIO4-13, EIO3-15
_SCRIPT: Final = (
    (b"Content-Type", b"text/javascript; charset=UTF-8"),
    (b"X-Content-Type-Options", b"nosniff"),
)


class Payloads(Protocol):
    """What one client's bodies look like."""

    are_shared: bool
    """Whether a packet that is alone in a body has the same body for every session like this."""

    def accepts(self, post: "Request") -> bool:
        """Whether a body of the type that post announces can be read."""

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """The packets of a body.

        Raises:
            RemoteProtocolError: the body is not a payload.
        """

    def encode(self, packets: "list[Outgoing]") -> "tuple[Headers, bytes]":
        """The answer to a GET: the headers that say what it is, and the body."""


class PayloadsV4:
    """Text. Spec: Engine.IO v4, "HTTP long-polling"."""

    are_shared = True
    __slots__ = ()

    def accepts(self, post: "Request") -> bool:
        """See Payloads."""
        return not _is_binary(post)

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """See Payloads."""
        return engine_payload.decode_payload(body)

    def encode(self, packets: "list[Outgoing]") -> "tuple[Headers, bytes]":
        """See Payloads."""
        return _TEXT, engine_payload.encode_payload(packets)


class PayloadsV3:
    """Text, or binary if a packet is binary and the client can read that.

    Args:
        base64: whether the client can read text only.

    Spec: Engine.IO v3, "Payload".
    """

    are_shared = False
    __slots__ = ("_base64",)

    def __init__(self, *, base64: bool) -> None:
        self._base64 = base64

    def accepts(self, post: "Request") -> bool:
        """See Payloads."""
        return True

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """See Payloads."""
        if _is_binary(post):  # EIO3-14
            return engine_payload_v3.decode_binary_payload(body)
        return engine_payload_v3.decode_payload(body)

    def encode(self, packets: "list[Outgoing]") -> "tuple[Headers, bytes]":
        """See Payloads."""
        if not self._base64 and engine_payload_v3.needs_binary(packets):
            return _BINARY, engine_payload_v3.encode_binary_payload(packets)
        return _TEXT, engine_payload_v3.encode_payload(packets)


class ScriptPayloads:
    """Scripts to the client, forms from it.

    Args:
        payloads: write and read what is inside, as text.
        index: of the page's callback; digits only.

    Spec: Engine.IO v3, "JSONP".
    """

    are_shared = False
    __slots__ = ("_index", "_payloads")

    def __init__(self, payloads: Payloads, index: str) -> None:
        self._payloads = payloads
        self._index = index

    def accepts(self, post: "Request") -> bool:
        """See Payloads."""
        return not _is_binary(post)

    def decode(self, post: "Request", body: bytes) -> "list[Packet]":
        """See Payloads."""
        return self._payloads.decode(post, decode_form(body))

    def encode(self, packets: "list[Outgoing]") -> "tuple[Headers, bytes]":
        """See Payloads."""
        return _SCRIPT, encode_script(self._index, self._payloads.encode(packets)[1])


def _is_binary(post: "Request") -> bool:
    # EIO4-16: without a type it is text
    return post.headers.get("content-type") == "application/octet-stream"


_V4: Final = PayloadsV4()
_V3: Final = PayloadsV3(base64=False)
_V3_BASE64: Final = PayloadsV3(base64=True)


def choose_payloads(protocol: int, query: Mapping[str, str]) -> Payloads:
    """The payloads of a session that was opened with this query, which has been verified."""
    index = query.get("j")
    payloads: Payloads = _V4
    if protocol == 3:
        payloads = _V3 if index is None and not query.get("b64") else _V3_BASE64  # EIO3-13
    return payloads if index is None else ScriptPayloads(payloads, index)
