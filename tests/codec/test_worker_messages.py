"""Messages between a program and its workers: what is written is read; the rest is an error."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from trio_socketio.codec.worker_messages import (
    MAX_LINE_BYTES,
    Answer,
    Call,
    Count,
    Drain,
    End,
    Failed,
    Order,
    Ping,
    Pong,
    Ready,
    Report,
    WorkerPlace,
    decode_order,
    decode_place,
    decode_report,
    encode_line,
    encode_place,
)
from trio_socketio.errors import LocalProtocolError, RemoteProtocolError

numbers = st.integers(0, 1 << 53)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")
descriptors = st.integers(0, 1 << 20)
raws = (st.text() | st.integers()).map(lambda one: Raw(json.dumps(one).encode()))
orders = st.one_of(
    st.builds(Drain),
    st.builds(End),
    st.builds(Ping),
    st.builds(Call, number=numbers, name=st.sampled_from(["reload", "metrics", "statistics"])),
)
reports = st.one_of(
    st.builds(Ready),
    st.builds(Pong),
    st.builds(Count, connections=numbers),
    st.builds(Failed, reason=st.text()),
    st.builds(Answer, number=numbers, result=raws, fault=st.text()),
)
places = st.builds(
    WorkerPlace,
    index=st.integers(1, 256),
    count=st.integers(1, 256),
    node=names,
    parent=names,
    link=descriptors,
    shares=descriptors,
    listeners=st.lists(descriptors, min_size=1, max_size=5).map(tuple),
    inherited=st.lists(st.text(), max_size=3).map(tuple),
)


def plain(message: Any) -> Any:
    fields = structs.asdict(message)
    return type(message), {
        name: bytes(value) if isinstance(value, Raw) else value for name, value in fields.items()
    }


@pytest.mark.req("WORK-04")
@given(orders)
def test_orders_are_one_line_and_round_trip(order: Order) -> None:
    line = encode_line(order)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert plain(decode_order(line)) == plain(order)


@pytest.mark.req("WORK-04")
@given(reports)
def test_reports_are_one_line_and_round_trip(report: Report) -> None:
    line = encode_line(report)
    assert line.count(b"\n") == 1
    assert plain(decode_report(line)) == plain(report)


@given(places)
def test_places_round_trip(place: WorkerPlace) -> None:
    assert decode_place(encode_place(place)) == place


@given(st.binary(max_size=60))
def test_garbage_raises_nothing_else(line: bytes) -> None:
    for decode in (decode_order, decode_report):
        with suppress(RemoteProtocolError):
            decode(line)
    with suppress(RemoteProtocolError):
        decode_place(line.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "null",
        '{"index":0,"count":2,"node":"a-1","parent":"a","link":3,"shares":4,"listeners":[5]}',
        '{"index":1,"count":2,"node":"a-1","parent":"a","link":-1,"shares":4,"listeners":[5]}',
        '{"index":1,"count":2,"node":"a-1","parent":"a","link":3,"shares":4,"listeners":[]}',
        '{"index":1,"count":2,"node":"a b","parent":"a","link":3,"shares":4,"listeners":[5]}',
        '{"index":1,"count":2,"node":"a-1","parent":"a","link":3,"shares":4,"listeners":[5],"x":1}',
        "[" * 10_000,
        "\udcff",
    ],
)
def test_what_is_no_place_is_an_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_place(text)


def test_a_line_has_a_bound() -> None:
    with pytest.raises(LocalProtocolError, match="too long"):
        encode_line(Failed(reason="x" * MAX_LINE_BYTES))
