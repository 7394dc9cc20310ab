"""The table of what can be sent, row by row, read by the reference's parsers."""

import base64
import enum
import json
import re
import shutil
import subprocess
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import inf, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from tests.codec.test_builtin_values import Color, Count, Level, Magic, Name, Pair, Scalar, Share

from trio_socketio import LocalProtocolError
from trio_socketio.codec.parsers import PARSERS
from trio_socketio.codec.socket_packet import PacketType

HERE: Final = Path(__file__).parent
GUIDE: Final = HERE.parent.parent / "spec" / "guide" / "apps.md"
BYTES: Final = {"$bytes": "eA=="}
Old = namedtuple("Old", "left right")  # noqa: PYI024 - programs have such, too


@dataclass
class Point:
    x: Any = 1
    y: Any = None


class File(msgspec.Struct, rename="camel"):
    file_name: str
    content: Any = None


class Side(enum.Enum):
    LEFT = "left"


# By the first cell of its row: a value, its type in JavaScript, and how JSON shows it there.
ROWS: Final[dict[str, list[tuple[Any, str, Any]]]] = {
    "`str`": [("é\n😀", "string", "é\n😀"), (Name("a"), "string", "a")],
    "`int`": [
        (7, "number", 7),
        (-(2**53) + 1, "number", -(2**53) + 1),
        (2**53 + 1, "number", 2**53),
        (Count(7), "number", 7),
        (Level.HIGH, "number", 3),
    ],
    "`float`": [(1.5, "number", 1.5), (Share(0.5), "number", 0.5)],
    "`bool`": [(True, "boolean", True), (False, "boolean", False)],
    "`None`": [(None, "null", None)],
    "`list`, `tuple`, named tuples": [
        ([1, [b"x"]], "Array", [1, [BYTES]]),
        ((), "Array", []),
        (Pair(1, b"x"), "Array", [1, BYTES]),
        (Old("a", 2), "Array", ["a", 2]),
    ],
    "`set`, `frozenset`": [({b"x"}, "Array", [BYTES]), (frozenset(["a"]), "Array", ["a"])],
    "`dict` and other mappings": [
        ({"a": b"x", 1: 2, Color.RED: 3}, "Object", {"a": BYTES, "1": 2, "red": 3}),
        (MappingProxyType({"a": b"x"}), "Object", {"a": BYTES}),
        ({UUID(int=1): 0}, "Object", {"00000000-0000-0000-0000-000000000001": 0}),
    ],
    "dataclasses, `msgspec.Struct`, attrs classes": [
        (Point(b"x"), "Object", {"x": BYTES, "y": None}),
        (File("a", [b"x"]), "Object", {"fileName": "a", "content": [BYTES]}),
    ],
    "`bytes`, `bytearray`, `memoryview`": [
        (b"x", "Buffer", BYTES),
        (bytearray(b"x"), "Buffer", BYTES),
        (memoryview(b"x"), "Buffer", BYTES),
    ],
    "numpy's scalars": [
        (Scalar(3), "number", 3),
        (Scalar(0.5), "number", 0.5),
        (Scalar(True), "boolean", True),
        (Scalar("a"), "string", "a"),
        (Scalar(b"x"), "Buffer", BYTES),
    ],
    "enums": [
        (Color.RED, "string", "red"),
        (Side.LEFT, "string", "left"),
        (Level.HIGH, "number", 3),
        (Magic.PNG, "Buffer", {"$bytes": base64.b64encode(Magic.PNG.value).decode()}),
    ],
    "`datetime`, `date`, `time`, `timedelta`": [
        (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), "string", "2020-01-02T03:04:05Z"),
        (datetime(2020, 1, 2, 3, 4, 5), "string", "2020-01-02T03:04:05"),
        (date(2020, 1, 2), "string", "2020-01-02"),
        (time(3, 4, 5), "string", "03:04:05"),
        (timedelta(hours=25), "string", "P1DT3600S"),
    ],
    "`Decimal`, `UUID`": [
        (Decimal("1.50"), "string", "1.50"),
        (UUID(int=1), "string", "00000000-0000-0000-0000-000000000001"),
    ],
    "`msgspec.Raw`": [(msgspec.Raw(b'{"a":[1]}'), "Object", {"a": [1]})],
    "anything else": [(object(), "error", None), ({b"x": 1}, "error", None), (1j, "error", None)],
}
NOT_FINITE: Final = [(nan, "NaN"), (inf, "Infinity"), (-inf, "-Infinity")]


def read_table() -> dict[str, str]:
    """The rows of the guide's table: first cell to second."""
    section = GUIDE.read_text().split("\n## What can be sent\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return dict(rows[1:])  # without its head


def arrives(parser: str, values: list[Any]) -> list[tuple[str, Any]]:
    """What the reference's parser makes of values that ours sends."""
    encode = PARSERS[parser].arguments_encoder(PacketType.EVENT, "/")
    lines = []
    for value in values:
        outgoing = encode(["f", value], None)
        attachments = [base64.b64encode(part).decode() for part in outgoing.attachments]
        text = outgoing.text[1:].decode()
        lines.append(json.dumps({"parser": parser, "text": text, "attachments": attachments}))
    node = shutil.which("node")
    assert node is not None, "node is missing: it reads what was sent; install Node 18+"
    output = subprocess.run(
        [node, str(HERE / "values.mjs")],
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    ).stdout
    answers = [json.loads(line) for line in output.splitlines()]
    return [(answer["type"], answer.get("json")) for answer in answers]


def test_the_table_has_these_rows() -> None:
    assert list(read_table()) == list(ROWS)


@pytest.mark.req("SIO5-62", "SIO5-63")
@pytest.mark.parametrize("parser", list(PARSERS))
def test_every_row_of_the_table_is_true(parser: str) -> None:
    rows = [
        (name, value, type_, shown)
        for name, examples in ROWS.items()
        for value, type_, shown in examples
        if type_ != "error"
    ]
    found = arrives(parser, [value for _, value, _, _ in rows])
    table = read_table()
    for (name, value, type_, shown), arrived in zip(rows, found, strict=True):
        assert arrived == (type_, shown), value
        if name not in ("enums", "numpy's scalars", "`msgspec.Raw`"):  # those tell of the value
            assert type_ in table[name]


@pytest.mark.req("SIO5-64")
@pytest.mark.parametrize("parser", list(PARSERS))
@pytest.mark.parametrize(("value", "type_", "_"), ROWS["anything else"])
def test_the_last_row_is_true(parser: str, value: Any, type_: str, _: None) -> None:
    with pytest.raises(LocalProtocolError, match=r"cannot send the \w+ at \[1\]"):
        PARSERS[parser].arguments_encoder(PacketType.EVENT, "/")(["f", value], None)


@pytest.mark.req("SIO5-46")
def test_numbers_that_are_none() -> None:
    values = [value for value, _ in NOT_FINITE]
    assert arrives("json", values) == [("null", None)] * 3
    assert arrives("msgpack", values) == [("number", shown) for _, shown in NOT_FINITE]


def test_integers_beyond_64_bits() -> None:
    assert arrives("json", [2**70]) == [("number", 2**70)]
    with pytest.raises(LocalProtocolError):
        arrives("msgpack", [2**70])
