"""Descriptions of sockets, as servers of Node and ours read and write them."""

from typing import Any

import pytest

from trio_socketio import HandshakeDetails, SocketDetails
from trio_socketio.adapters.redis_records import details_of, options_of, record_of
from trio_socketio.codec.redis_adapter import decode_response, encode_response
from trio_socketio.codec.redis_messages import SocketRecord, SocketsResponse
from trio_socketio.socketio.target import Target

HANDSHAKE = HandshakeDetails(
    headers={"origin": "https://a.example"},
    query={"EIO": "4"},
    url="/socket.io/?EIO=4",
    address="::1",
    secure=True,
    issued_s=1_795_426_800.932,
)


def travelled(details: SocketDetails) -> SocketRecord:
    sent = encode_response(SocketsResponse(request_id="r", sockets=[record_of(details)]))
    (record,) = decode_response(sent, SocketsResponse).sockets
    return record


@pytest.mark.req("BUS-17")
@pytest.mark.parametrize("user", [None, "ada"])
def test_a_description_comes_back(user: str | None) -> None:
    data: dict[str, Any] = {"é": [1, None]}
    details = SocketDetails("id", HANDSHAKE, frozenset(("id", "x")), data, user)
    record = travelled(details)
    assert details_of(record) == details
    time = "Mon Nov 23 2026 09:40:00 GMT+0000 (Coordinated Universal Time)"
    assert record.handshake["time"] == time
    assert (record.handshake["issued"], record.handshake["xdomain"]) == (1_795_426_800_932, True)


@pytest.mark.req("BUS-17")
@pytest.mark.parametrize("value", [object(), "\ud800", {1: object()}])
def test_data_that_json_cannot_carry_is_empty(value: Any) -> None:
    details = SocketDetails("id", HANDSHAKE, frozenset(), {"value": value})
    assert travelled(details).data == {}


def test_binary_in_data_is_a_buffer_of_node() -> None:
    details = SocketDetails("id", HANDSHAKE, frozenset(), {"value": b"\1"})
    assert travelled(details).data == {"value": {"type": "Buffer", "data": [1]}}


def test_headers_and_parameters_may_be_lists() -> None:
    handshake = {"headers": {"a": ["1", 2, "3"], "b": None, "c": "x"}, "query": {"q": ["1", "2"]}}
    read = details_of(SocketRecord(id="i", rooms=[], handshake=handshake)).handshake
    assert read.headers == {"a": "1, 3", "b": "", "c": "x"}
    assert read.query == {"q": "1, 2"}


@pytest.mark.parametrize(("timeout_s", "sent"), [(0.5, 500), (0.0004, 0), (1e300, 2**31 - 1)])
def test_a_timeout_is_one_that_javascript_can_wait(timeout_s: float, sent: int) -> None:
    flags = options_of(Target(), timeout_s).flags
    assert flags is not None
    assert flags.timeout == sent
