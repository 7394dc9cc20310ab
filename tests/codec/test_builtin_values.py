"""What Python's values become on the wire, and what is refused, with the place where it is."""

import enum
import json
from collections import OrderedDict, deque, namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest

from trio_socketio.codec import msgpack_packet, socket_packet
from trio_socketio.codec.builtin_values import to_builtins
from trio_socketio.codec.parsers import JSON
from trio_socketio.codec.socket_packet import Packet, PacketType
from trio_socketio.errors import LocalProtocolError


class Text(str):
    """Like markupsafe.Markup: it shows itself as something else."""

    def __str__(self) -> str:
        return f"shown {self!r}"


class Name(str):
    pass


class Count(int):
    def __int__(self) -> int:
        return -1

    def __str__(self) -> str:
        return "many"


class Share(float):
    def __str__(self) -> str:
        return "some"


class Blob(bytes):
    pass


class Scalar:
    """Like numpy's scalars that are no subclass of a builtin."""

    shape: tuple[int, ...] = ()

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


class Array(Scalar):
    shape = (2,)


class Table(Mapping[str, Any]):
    def __init__(self, **values: Any) -> None:
        self.values_ = values

    def __getitem__(self, key: str) -> Any:
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


class Color(str, enum.Enum):  # noqa: UP042 - not what StrEnum is
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Magic(enum.Enum):
    PNG = b"\x89PNG"


@dataclass
class Point:
    x: Any
    y: Any = 0


class File(msgspec.Struct, rename="camel"):
    file_name: str
    content: Any = None


class Pair(NamedTuple):
    left: Any
    right: Any


Old = namedtuple("Old", "only")  # noqa: PYI024 - programs have such, too


def sent_json(*arguments: Any) -> tuple[Any, tuple[bytes, ...]]:
    """Arguments as JSON's parser writes them, with placeholders, and the attachments."""
    header = socket_packet.encode_header(PacketType.EVENT, "/")
    outgoing = socket_packet.encode_arguments(header, list(arguments), None)
    count = len(outgoing.attachments)
    start = f"45{count}-".encode() if count else b"42"
    assert outgoing.text.startswith(start + b"[")
    return json.loads(outgoing.text[len(start) :]), outgoing.attachments


def sent_msgpack(*arguments: Any) -> Any:
    outgoing = msgpack_packet.encode_packet(Packet(PacketType.EVENT, "/", list(arguments)))
    return msgspec.msgpack.decode(outgoing.attachments[0])["data"]


HERE = {"_placeholder": True, "num": 0}

HOLDERS: list[tuple[Any, Any]] = [
    ([b"x"], [HERE]),
    ((b"x",), [HERE]),
    ({b"x"}, [HERE]),
    (frozenset([b"x"]), [HERE]),
    ({"k": b"x"}, {"k": HERE}),
    ({1: b"x"}, {"1": HERE}),
    (OrderedDict(k=b"x"), {"k": HERE}),
    (MappingProxyType({"k": b"x"}), {"k": HERE}),
    (Table(k=b"x"), {"k": HERE}),
    (Point(b"x"), {"x": HERE, "y": 0}),
    (Point(0, Point([{b"x"}])), {"x": 0, "y": {"x": [[HERE]], "y": 0}}),
    (File("a", b"x"), {"fileName": "a", "content": HERE}),
    (Pair(b"x", 1), [HERE, 1]),
    (Old(b"x"), [HERE]),
    (b"x", HERE),
    (bytearray(b"x"), HERE),
    (memoryview(b"x"), HERE),
    (Blob(b"x"), HERE),
    (Scalar(b"x"), HERE),
    ({"a": [Point({frozenset([b"x"])})]}, {"a": [{"x": [[HERE]], "y": 0}]}),
]


def fill(value: Any) -> Any:
    """The value with the binary that stands in it."""
    if value == HERE:
        return b"x"
    if isinstance(value, dict):
        return {key: fill(inner) for key, inner in value.items()}
    return [fill(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.req("SIO5-62")
@pytest.mark.parametrize(("value", "arrives"), HOLDERS)
def test_binary_is_an_attachment_wherever_it_is(value: Any, arrives: Any) -> None:
    assert sent_json("f", value) == (["f", arrives], (b"x",))
    assert sent_msgpack("f", value) == ["f", fill(arrives)]


def test_binary_in_an_enum_is_binary() -> None:
    assert sent_json("f", Magic.PNG) == (["f", HERE], (b"\x89PNG",))
    assert sent_msgpack("f", Magic.PNG) == ["f", b"\x89PNG"]


SCALARS: list[tuple[Any, Any]] = [
    (Text("a"), "a"),
    (Count(7), 7),
    (Share(0.5), 0.5),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    (Scalar(3), 3),
    (Scalar(1.5), 1.5),
    (Scalar(True), True),
    (Scalar("a"), "a"),
    (Decimal("1.50"), "1.50"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), "2020-01-02T03:04:05Z"),
    (date(2020, 1, 2), "2020-01-02"),
    (timedelta(days=1), "P1D"),
]


@pytest.mark.req("SIO5-63")
@pytest.mark.parametrize(("value", "arrives"), SCALARS)
def test_scalars_are_sent_as_what_they_are(value: Any, arrives: Any) -> None:
    for holder, around in [
        (value, arrives),
        ([value], [arrives]),
        ({"k": value}, {"k": arrives}),
        (Point(value, b"x"), {"x": arrives, "y": HERE}),
    ]:
        binary = (b"x",) if isinstance(holder, Point) else ()
        assert sent_json("f", holder) == (["f", around], binary)
        assert sent_msgpack("f", holder) == ["f", fill(around)]
    for name in sent_json("f", value)[0], sent_msgpack("f", value):
        assert type(name[1]) is type(arrives)


@pytest.mark.req("SIO5-63")
@pytest.mark.parametrize(
    ("key", "arrives"),
    [(Name("a"), "a"), (Color.RED, "red"), (7, "7"), (Level.HIGH, "3"), (1.5, "1.5"),
     (Count(7), "7"), (Scalar(7), "7"), (date(2020, 1, 2), "2020-01-02")],
)  # fmt: skip
def test_keys_become_text(key: Any, arrives: str) -> None:
    assert sent_json("f", {key: 1})[0] == ["f", {arrives: 1}]
    assert sent_msgpack("f", {key: 1}) == ["f", {arrives: 1}]


def test_raw_json_is_sent_as_it_is() -> None:
    raw = msgspec.Raw(b'{"a":[1]}')
    assert sent_json("f", raw)[0] == ["f", {"a": [1]}]
    assert sent_json("f", Point(raw))[0] == ["f", {"x": {"a": [1]}, "y": 0}]
    assert sent_msgpack("f", raw) == ["f", {"a": [1]}]


class Loop:
    """A scalar that is its own item."""

    shape: tuple[int, ...] = ()

    def item(self) -> "Loop":
        return self


@pytest.mark.req("SIO5-64")
@pytest.mark.parametrize(
    ("value", "place", "kind"),
    [
        (object(), "[1]", "object"),
        ({"a": [0, object()]}, "[1]['a'][1]", "object"),
        (Point(0, {"k": deque()}), "[1].y['k']", "deque"),
        (File("n", [1j]), "[1].content[0]", "complex"),
        ({"in a set": {1, Fraction(1, 2)}}, "[1]['in a set'][an element]", "Fraction"),
        ({"k": {b"binary": 1}}, "[1]['k']", "dict"),
        ([{Blob(b"binary"): 1}], "[1][0]", "dict"),
        ({True: 1}, "[1]", "dict"),
        ({None: 1}, "[1]", "dict"),
        ({(1, 2): 1}, "[1]", "dict"),
        (Table(k=[Array([1, 2])]), "[1]['k'][0]", "Array"),
        ([Loop()], "[1][0]", "Loop"),
        (Point(msgspec.Raw(b"{")), "[1].x", "Raw"),
        (range(3), "[1]", "range"),
        ((letter for letter in "abc"), "[1]", "generator"),
        (ValueError("an error"), "[1]", "ValueError"),
        ({"type": str}, "[1]['type']", "type"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(value: Any, place: str, kind: str) -> None:
    for send in (sent_json, sent_msgpack):
        with pytest.raises(LocalProtocolError) as caught:
            send("f", value)
        assert str(caught.value).startswith(f"cannot send the {kind} at {place}: ")


def test_the_place_may_be_the_top() -> None:
    with pytest.raises(LocalProtocolError, match="cannot send the object at the top: "):
        JSON.encode_packet(Packet(PacketType.CONNECT_ERROR, "/", object()))


def test_objects_that_hold_themselves_are_refused() -> None:
    point = Point(0)
    point.x = point
    for send in (sent_json, sent_msgpack):
        with pytest.raises(LocalProtocolError, match="nested too deep"):
            send("f", point)
    deep: Any = 0
    for _ in range(100_000):
        deep = Point(deep)
    with pytest.raises(LocalProtocolError, match="nested too deep"):
        to_builtins(deep, deep)
    while isinstance(deep, Point):  # one by one, for the interpreter's stack
        deep = deep.x


@pytest.mark.req("SIO5-62")
@pytest.mark.parametrize("kind", [PacketType.CONNECT, PacketType.CONNECT_ERROR])
def test_only_events_and_answers_carry_binary(kind: PacketType) -> None:
    for data in ({"k": b"x"}, {"k": [{b"x"}]}):
        with pytest.raises(LocalProtocolError, match=f"{kind.name} packet cannot carry binary"):
            JSON.encode_packet(Packet(kind, "/", data))
    sent = JSON.encode_packet(Packet(kind, "/", {"user": Text("ann"), "ids": frozenset([1])}))
    assert sent.text == b'4%d{"user":"ann","ids":[1]}' % kind


@pytest.mark.req("SIO5-62")
def test_answers_carry_binary_too() -> None:
    header = socket_packet.encode_header(PacketType.ACK, "/a")
    outgoing = socket_packet.encode_arguments(header, (Point(b"x"),), 7)
    assert outgoing.text == b'461-/a,7[{"x":{"_placeholder":true,"num":0},"y":0}]'
    assert outgoing.attachments == (b"x",)
