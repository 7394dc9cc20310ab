"""What can be sent: JSON values, binary inside them, packets of both protocols."""

from typing import Any, Final

from hypothesis import strategies as st

from trio_socketio.codec.engine_packet import Packet as EnginePacket
from trio_socketio.codec.engine_packet import PacketType as EngineType
from trio_socketio.codec.socket_packet import MAX_ACK_ID, RESERVED_EVENTS, Packet, PacketType

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""What Python can put on the wire: everything but halves of surrogate pairs."""

KEYS: Final = TEXT | st.sampled_from(["__proto__", "constructor", "_placeholder", "num", "toJSON"])

NUMBERS: Final = (
    st.integers(-(2**70), 2**70)
    | st.sampled_from([2**53, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**300])
    | st.floats(allow_nan=False, allow_infinity=False)
)

SCALARS: Final = st.none() | st.booleans() | NUMBERS | TEXT


def json_values(scalars: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """Anything JSON can carry, as decode_json gives it back."""
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(KEYS.filter(lambda key: key != "_placeholder"), inner, max_size=4)
        ),
        max_leaves=12,
    )


NAMES: Final = TEXT.filter(lambda name: name not in RESERVED_EVENTS) | NUMBERS
NAMESPACES: Final = st.just("/") | TEXT.map(lambda text: "/" + text.replace(",", ""))
ACK_IDS: Final = st.integers(0, MAX_ACK_ID) | st.just(MAX_ACK_ID)


@st.composite
def engine_packets(draw: st.DrawFn) -> EnginePacket:
    if draw(st.booleans()):
        return EnginePacket(EngineType.MESSAGE, draw(st.binary(max_size=40)), binary=True)
    text = draw(TEXT).replace("\x1e", "").encode()
    return EnginePacket(draw(st.sampled_from(EngineType)), text)


@st.composite
def plain_packets(draw: st.DrawFn) -> Packet:
    """Socket.IO packets without binary."""
    kind = draw(st.sampled_from([PacketType(number) for number in range(5)]))
    namespace = draw(NAMESPACES)
    values = json_values()
    if kind is PacketType.EVENT:
        data: Any = [draw(NAMES), *draw(st.lists(values, max_size=3))]
        return Packet(kind, namespace, data, draw(st.none() | ACK_IDS))
    if kind is PacketType.ACK:
        return Packet(kind, namespace, draw(st.lists(values, max_size=3)), draw(ACK_IDS))
    objects = st.dictionaries(KEYS, values, max_size=3)
    if kind is PacketType.CONNECT:
        return Packet(kind, namespace, draw(st.none() | objects))
    if kind is PacketType.CONNECT_ERROR:
        return Packet(kind, namespace, draw(objects | TEXT))
    return Packet(kind, namespace)


def nested(depth: int, *, array: bool = True, leaf: Any = None) -> Any:
    """Arrays or objects inside each other, the innermost empty or with the leaf."""
    value: Any = (
        ([] if leaf is None else [leaf]) if array else ({} if leaf is None else {"a": leaf})
    )
    for _ in range(depth - 1):
        value = [value] if array else {"a": value}
    return value


def nested_text(depth: int, *, array: bool = True) -> bytes:
    """The JSON text of ``nested``, also where Python could not write it."""
    if array:
        return b"[" * depth + b"]" * depth
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def depth_of(value: Any) -> int:
    """How many lists and dicts a chain from ``nested`` has."""
    depth = 0
    while type(value) is list or type(value) is dict:
        depth += 1
        value = next(iter(value.values() if type(value) is dict else value), None)
    return depth


def call_deep(frames: int, function: Any, *arguments: Any) -> Any:
    """Call it with that many Python frames below."""
    if frames:
        return call_deep(frames - 1, function, *arguments)
    return function(*arguments)
