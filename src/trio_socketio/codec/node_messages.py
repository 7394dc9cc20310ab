"""Messages between our nodes, as they travel over Redis: one JSON object each.

They are JSON rather than MessagePack because most of their bytes are calls and answers of the
control API. These are JSON text already, and go into a message and out of it as they are. They may
hold what clients have sent to prove who they are, where a backend on another node is asked.

A message has a version and a type. Fields may be added to a type without a new version, because
fields that are unknown are ignored.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 4 << 20
MAX_NAMESPACES: Final = 100
"""The most namespaces that a node lists by name; more of them are listed as `EVERY_NAMESPACE`."""
MAX_UNREACHED: Final = 20
"""The most unreachable nodes that a node names."""
EVERY_NAMESPACE: Final = "*"

NODE_NAME: Final = r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z"
"""Matches what a node may be called: host:pid by default; a host has up to 64 characters."""
NODE_NAME_RULE: Final = "letters, digits and . _ : -, at most 128, the first a letter or digit"

NodeName = Annotated[str, Meta(pattern=NODE_NAME)]
Boot = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,32}\Z")]
NodeState = Literal["starting", "serving", "draining"]
_Internal = Annotated[
    str, Meta(pattern=r"\A(?:(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,255}):[1-9][0-9]{0,4})?\Z")
]
_SidPrefix = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9_-]{4})?\Z")]
_Namespaces = Annotated[tuple[str, ...], Meta(max_length=MAX_NAMESPACES)]


class UnknownMessage(RemoteProtocolError):
    """A message has a version or a type that this program does not know: a newer node sent it."""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node tells the others about itself.

    It has 16 attributes, because it is all that they know about it.

    Args:
        name: unique among the nodes that live.
        boot: names this incarnation of the node; it never comes again.
        host: the name of its machine.
        pid: of its process.
        version: of trio-socketio.
        started_at_s: when the process was started, seconds since 1970, on its own clock.
        state: starting, serving or draining.
        connections: how many sessions it has.
        backends: the namespaces whose events a backend on this node handles.
        authenticators: the namespaces whose clients a backend on this node identifies.
        shares_presence: whether its seats are in a store that other nodes have, too.
        internal: where it takes requests of other nodes for its sessions, as HOST:PORT; empty if it
            takes none.
        sid_prefix: begins the sids of its sessions; empty if it takes no requests.
        parent: the node whose worker it is; empty if it is none.
        workers: how many workers it has; it has no clients then.
        unreached: the names of some of the nodes to which it cannot pass requests on.
    """

    name: NodeName
    boot: Boot
    host: Annotated[str, Meta(max_length=255)]
    pid: Annotated[int, Meta(ge=0)]
    version: Annotated[str, Meta(max_length=64)]
    started_at_s: float
    state: NodeState
    connections: Annotated[int, Meta(ge=0)]
    backends: _Namespaces = ()
    authenticators: _Namespaces = ()
    shares_presence: bool = False
    internal: _Internal = ""
    sid_prefix: _SidPrefix = ""
    parent: Annotated[str, Meta(max_length=128)] = ""
    workers: Annotated[int, Meta(ge=0)] = 0
    unreached: Annotated[tuple[NodeName, ...], Meta(max_length=MAX_UNREACHED)] = ()


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="claim"):
    """A node wants a name, and asks whether another node has it.

    Args:
        v: the version.
        node: the node, with that name.
    """

    v: Literal[1] = VERSION
    node: NodeFacts


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="beat"):
    """A node lives.

    Args:
        v: the version.
        node: the node.
        number: one more than that of the node's previous beat.
        asks: whether each receiver is to tell this node that it lives, too.
    """

    v: Literal[1] = VERSION
    node: NodeFacts
    number: int
    asks: bool = False


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bye"):
    """A node ends, and answers nothing any more.

    Args:
        v: the version.
        name: of the node.
        boot: of the node.
    """

    v: Literal[1] = VERSION
    name: NodeName
    boot: Boot


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ask"):
    """A node calls a method of others.

    Args:
        v: the version.
        name: of the node that asks.
        boot: of that node.
        to: the boot of the only node that is asked; empty if all are.
        call: a request of JSON-RPC 2.0.
    """

    v: Literal[1] = VERSION
    name: NodeName
    boot: Boot
    to: str = ""
    call: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    """A node answers a call.

    Args:
        v: the version.
        name: of the node that answers.
        boot: of that node.
        to: the boot of the node that has asked.
        reply: a response of JSON-RPC 2.0.
    """

    v: Literal[1] = VERSION
    name: NodeName
    boot: Boot
    to: Boot
    reply: msgspec.Raw


NodeMessage = Claim | Beat | Bye | Ask | Answer


class _Head(msgspec.Struct):
    """The part of a message that every version has."""

    v: int
    type: str


_TYPES: Final = frozenset(("claim", "beat", "bye", "ask", "answer"))
_decode: Final = msgspec.json.Decoder(NodeMessage).decode
_decode_head: Final = msgspec.json.Decoder(_Head).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_node_message(message: NodeMessage) -> bytes:
    """Encode a message (NODE-01).

    Raises:
        LocalProtocolError: it is longer than MAX_MESSAGE_BYTES.
    """
    text = _encode(message)
    if len(text) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(
            f"a message to other nodes may have {MAX_MESSAGE_BYTES} bytes, and this one has "
            f"{len(text)}"
        )
    return text


def decode_node_message(text: bytes) -> NodeMessage:
    """Decode a message.

    The call or reply inside is checked to be JSON, and no further.

    Raises:
        UnknownMessage: it has another version, or an unknown type.
        RemoteProtocolError: it is malformed, or longer than MAX_MESSAGE_BYTES.
    """
    if len(text) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(f"a message of {len(text)} bytes is longer than is allowed")
    try:
        message: NodeMessage = _decode(text)
    except RecursionError:
        raise RemoteProtocolError("a message is nested too deep") from None
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        _check_head(text)
        raise RemoteProtocolError(f"a malformed message: {error}") from None
    return message


def _check_head(text: bytes) -> None:
    """Tell a message of another version, which is no fault of anybody's, from a malformed one.

    Raises:
        UnknownMessage: it has another version, or an unknown type.
    """
    try:
        head = _decode_head(text)
    except (ValueError, RecursionError):
        return
    if head.v != VERSION:  # NODE-02
        raise UnknownMessage(f"a message of version {head.v}; this node knows {VERSION}")
    if head.type not in _TYPES:  # NODE-03
        raise UnknownMessage(f"a message of the unknown type {head.type[:40]!r}")
