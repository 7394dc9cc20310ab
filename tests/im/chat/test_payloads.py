"""No payload makes a handler fail, reaches clients that it should not, or names a secret."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.im.chat.scene import MESSAGE_KEYS, Scene, events_of
from tests.socketio.in_process import session_of

EVENTS = (
    "join", "leave", "chat/rooms", "chat/users", "chat/broadcast", "signal/room", "signal/user",
    "signal/broadcast",
)  # fmt: skip
SECRET = b"the-secret-of-a-session"

names = st.sampled_from(
    ["r1", "r2", "", "user:ann", "user:bob", "x" * 20, "/demo#the-secret-of-a-session", "a\nb"]
) | st.text(max_size=5)
users = st.sampled_from(["ann", "bob", "7", 7, 0, 10**19, 10**25, "", True, 1.5]) | st.text()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(["ver", "meta", "evt", "id", "from", "at", "roomId", "userId", "msg"])


def nearly(**fields: Any) -> st.SearchStrategy[Any]:
    """Objects that have these fields, or not, or others, too."""
    right = st.fixed_dictionaries({}, optional=fields)
    return right | st.builds(lambda one, more: {**one, **more}, right, odd) | values


odd = st.dictionaries(keys | st.text(max_size=3), values, max_size=2)
messages = nearly(
    ver=st.text(max_size=3),
    meta=st.text(max_size=3) | st.dictionaries(st.text(), values, max_size=2),
    evt=st.sampled_from(EVENTS),
    id=st.sampled_from(["", "m1"]),
    **{"from": users},
)
entries = nearly(
    roomId=names, userId=users, nspName=st.sampled_from(["", "demo", "/demo", "x"]), msg=messages
)
rooms = nearly(rooms=st.lists(nearly(roomId=names), max_size=3))
payloads = st.lists(entries, max_size=3) | entries | rooms | values


@pytest.mark.req("CHAT-04", "CHAT-05", "CHAT-12", "CHAT-27")
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.lists(payloads, max_size=2)), max_size=8))
def test_no_payload_harms_anybody(sent: list[tuple[str, list[Any]]]) -> None:
    scene = Scene()
    sender, other = scene.member("ann", old=True), scene.member("bob")
    outside = scene.enter("7")
    for event, arguments in sent:
        session_of(sender).sent.clear()
        sender._open_events().receive(sender, [event, *arguments], 5)
        answers = [one for one in session_of(sender).sent if one.text[1:2] == b"3"]
        assert len(answers) == 1  # CHAT-04
        assert scene.server.statistics().handler_failures == 0
        assert all(SECRET not in one.text for one in session_of(sender).sent)
    assert {"user:ann", sender.id} <= sender.rooms
    for room in sender.rooms - {"user:ann", sender.id}:
        assert 0 < len(room) != 20
        assert not room.startswith(("user:", "/demo#"))
    for one in (other, outside):
        for packet in session_of(one).sent:
            assert SECRET not in packet.text
        if all(not packet.attachments for packet in session_of(one).sent):
            for _, got in events_of(one):
                assert list(got) == MESSAGE_KEYS
                assert got["from"] == "ann"


@pytest.mark.req("CHAT-10", "CHAT-13")
@given(st.lists(st.sampled_from(["r1", "r2", "r3", "a\tb", "user:x"]), max_size=12))
def test_a_client_is_in_the_rooms_that_it_was_told(wanted: list[str]) -> None:
    scene = Scene()
    socket = scene.enter()
    inside: set[str] = set()
    for number, room in enumerate(wanted):
        event = "leave" if number % 3 == 2 else "join"
        session_of(socket).sent.clear()
        socket._open_events().receive(socket, [event, {"rooms": [{"roomId": room}]}], 5)
        answer = session_of(socket).sent[-1].text
        if b'"errcode":0' in answer:
            (inside.discard if event == "leave" else inside.add)(room)
    assert socket.rooms - {socket.id, "user:ann"} == inside
