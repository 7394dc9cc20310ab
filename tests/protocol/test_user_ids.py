"""The ids of users."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codec.test_names import ORDINARY

from trio_socketio.codec.names import unfit_character
from trio_socketio.errors import RemoteProtocolError
from trio_socketio.protocol.user_ids import (
    MAX_USER_BYTES,
    is_reserved_room,
    parse_user_id,
    user_room,
)


@pytest.mark.req("PRES-04")
@pytest.mark.parametrize(
    ("value", "user"),
    [("7", "7"), (7, "7"), (-7, "-7"), (0, "0"), (10**20 - 1, "9" * 20), ("Ann Lee", "Ann Lee")],
)
def test_text_and_integers_are_ids(value: Any, user: str) -> None:
    assert parse_user_id(value) == user


@pytest.mark.req("PRES-04")
@pytest.mark.parametrize("value", [None, True, 1.0, [], {}, b"7", 10**20, -(10**20)])
def test_nothing_else_is_an_id(value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match=r"text or an integer, not [a-zA-Z]"):
        parse_user_id(value)


@pytest.mark.req("IDENT-93")
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "true or false"),
        (7.5, "a fraction"),
        ({}, "an object"),
        ([], "a list"),
        (b"7", "bytes"),
    ],
)
def test_what_is_no_id_is_named_in_the_words_of_clients(value: Any, kind: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"text or an integer, not {kind}$"):
        parse_user_id(value)


@pytest.mark.req("PRES-05")
@pytest.mark.parametrize("value", ["a", "x" * MAX_USER_BYTES, "\U0001f600" * 64, "日本", *ORDINARY])
def test_an_id_has_the_characters_of_any_script(value: str) -> None:
    assert parse_user_id(value) == value


@pytest.mark.req("PRES-05")
@pytest.mark.parametrize("value", ["x" * (MAX_USER_BYTES + 1), "\U0001f600" * 65, "\ud800" * 86])
def test_an_id_is_not_long(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match="at most 256 bytes"):
        parse_user_id(value)


@pytest.mark.req("PRES-05")
def test_an_id_is_not_empty() -> None:
    with pytest.raises(RemoteProtocolError, match="cannot be empty"):
        parse_user_id("")


@pytest.mark.req("PRES-05")
@pytest.mark.parametrize("value", ["a\0b", "a\nb", "\ud800", "\x7f", "a\u2028"])
def test_an_id_has_no_other_characters(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"cannot have the character U\+"):
        parse_user_id(value)


@given(st.text(min_size=1, max_size=MAX_USER_BYTES // 4))
def test_an_id_is_what_it_was(value: str) -> None:
    try:
        assert parse_user_id(value) == value
    except RemoteProtocolError:
        assert unfit_character(value)


@pytest.mark.req("PRES-06")
@pytest.mark.parametrize("room", [user_room("7"), "user:", "x" * 20, "user:" + "x" * 15])
def test_rooms_of_users_and_sockets_are_reserved(room: str) -> None:
    assert is_reserved_room(room)


@pytest.mark.req("PRES-06")
@pytest.mark.parametrize("room", ["", "user", "a user:7", "User:7", "x" * 19, "x" * 21])
def test_others_are_not(room: str) -> None:
    assert not is_reserved_room(room)


def test_a_room_for_each_user() -> None:
    assert user_room("7") == "user:7"
