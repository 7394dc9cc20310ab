"""Messages between a program and its worker processes: one JSON object a line.

They go over a pair of sockets that no other process has. Both ends are of the same version, since a
worker runs the program that has started it, but a worker may have gone wrong in any way.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from trio_socketio.codec.node_messages import NodeName
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

MAX_LINE_BYTES: Final = 16 << 20
"""The longest line of a worker: its metrics, with as many namespaces and events as are counted."""
MAX_ORDER_BYTES: Final = 1 << 16
"""The longest line to a worker."""
MAX_WORKERS: Final = 256

CallName = Literal["reload", "metrics", "statistics"]
_Descriptor = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Index = Annotated[int, Meta(ge=1, le=MAX_WORKERS)]


class WorkerPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process is told that is to be a worker, in a variable of its environment.

    What belongs to one worker alone, and is not secret, has its place here.

    Args:
        index: of this worker, from 1.
        count: how many workers there are.
        node: the name of its node.
        parent: the name of the node that has started it.
        link: the descriptor of the socket on which the parent is reached.
        shares: the descriptor of what the workers have in common; see cluster.workers.shares.
        listeners: the descriptors of the public listening sockets.
        inherited: the purposes for which systemd has opened sockets of the parent.
    """

    index: _Index
    count: _Index
    node: NodeName
    parent: NodeName
    link: _Descriptor
    shares: _Descriptor
    listeners: Annotated[tuple[_Descriptor, ...], Meta(min_length=1, max_length=1024)]
    inherited: tuple[str, ...] = ()


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="drain"):
    """To a worker: stop in stages, as on SIGTERM."""


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="end"):
    """To a worker: end at once, as on a second signal."""


class Call(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="call"):
    """To a worker: do something, and answer.

    Args:
        number: of the call.
        name: what to do.
    """

    number: int
    name: CallName


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ping"):
    """To a worker: say something, so that the parent knows that its event loop runs."""


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="pong"):
    """Of a worker: the answer to a ping."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ready"):
    """Of a worker: it accepts clients."""


class Count(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="count"):
    """Of a worker: how many connections it has."""

    connections: Annotated[int, Meta(ge=0)]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="failed"):
    """Of a worker: it ends with exit code 2, and why; its parent shows the line."""

    reason: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    """Of a worker: the answer to a call.

    Args:
        number: of the call.
        result: what has come of it; none if there is a fault.
        fault: why it was not done; empty if it was.
    """

    number: int
    result: Raw = Raw(b"null")
    fault: str = ""


Order = Drain | End | Call | Ping
Report = Ready | Count | Failed | Answer | Pong

_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_report: Final = msgspec.json.Decoder(Report).decode
_decode_place: Final = msgspec.json.Decoder(WorkerPlace).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_line(message: Order | Report) -> bytes:
    """Encode a message with its line feed, which is nowhere else in JSON (WORK-04).

    Raises:
        LocalProtocolError: it is longer than MAX_LINE_BYTES.
    """
    line = _encode(message) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise LocalProtocolError(f"a line of {len(line)} bytes is too long for the parent")
    return line


def decode_order(line: bytes) -> Order:
    """Decode a message to a worker.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    order: Order = _checked(_decode_order, line)
    return order


def decode_report(line: bytes) -> Report:
    """Decode a message of a worker.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    report: Report = _checked(_decode_report, line)
    return report


def encode_place(place: WorkerPlace) -> str:
    """Encode the place of a worker, for a variable."""
    return _encode(place).decode()


def decode_place(text: str) -> WorkerPlace:
    """Decode the place of a worker.

    Raises:
        RemoteProtocolError: it is malformed.
    """
    place: WorkerPlace = _checked(_decode_place, text.encode(errors="surrogateescape"))
    return place


def _checked(decode: Any, text: bytes) -> Any:
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise RemoteProtocolError(f"a malformed message: {error}") from None
