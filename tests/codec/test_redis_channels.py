"""The names of channels, and which channels a subscription's pattern matches."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.strategies import TEXT

from trio_socketio.codec.redis_channels import Channels, broadcast_pattern


@pytest.mark.req("BUS-01")
def test_channels_have_the_names_of_the_official_adapter() -> None:
    channels = Channels("socket.io", "/chat")
    assert channels.everyone == b"socket.io#/chat#"
    assert channels.request == b"socket.io-request#/chat#"
    assert channels.response == b"socket.io-response#/chat#"
    assert channels.own_response("0k5BZZ") == b"socket.io-response#/chat#0k5BZZ#"
    assert channels.of_broadcast([]) == b"socket.io#/chat#"
    assert channels.of_broadcast(["a", "b"]) == b"socket.io#/chat#"
    assert channels.of_broadcast(["é #1"]) == "socket.io#/chat#é #1#".encode()


@pytest.mark.req("BUS-01")
@given(TEXT.filter(bool))
def test_a_room_is_found_in_its_channel(room: str) -> None:
    channels = Channels("socket.io", "/")
    assert channels.room_of(channels.of_broadcast([room])) == room


@pytest.mark.req("BUS-02")
@pytest.mark.parametrize("key", ["a*", "a?", "[ab]", "\\d"])
def test_a_key_is_no_pattern(key: str) -> None:
    pattern = broadcast_pattern(key)
    for namespace in ("/", "/chat", "/a*"):
        assert matches(pattern, Channels(key, namespace).everyone)
        assert matches(pattern, Channels(key, namespace).of_broadcast(["room"]))
        for other in ("ab", "a", "d", "axy"):
            assert not matches(pattern, Channels(other, namespace).everyone)


@pytest.mark.req("BUS-02")
@pytest.mark.parametrize("channel", [b"", b"k#/b#", b"k#/a", b"k#/a#room", b"k#/a#\xff#"])
def test_other_channels_are_none_of_the_namespace(channel: bytes) -> None:
    assert Channels("k", "/a").room_of(channel) is None
    assert Channels("k", "/a").room_of(b"k#/a#") == ""


def matches(pattern: bytes, channel: bytes) -> bool:
    """Match as Redis does, where a backslash makes the next character plain."""
    translated, at = "", 0
    text = pattern.decode()
    while at < len(text):
        if text[at] == "\\":
            at += 1
            translated += f"[{text[at]}]" if text[at] in "*?[" else text[at]
        else:
            translated += text[at]
        at += 1
    return fnmatch.fnmatchcase(channel.decode(), translated)


@given(st.text("*?[]\\ab", max_size=6))
def test_a_pattern_matches_the_channels_of_its_key(key: str) -> None:
    assert matches(broadcast_pattern(key), Channels(key, "/").everyone)
