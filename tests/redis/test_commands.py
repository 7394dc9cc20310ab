"""Which commands are sent, and how they are written."""

from typing import Any

import pytest

from trio_socketio.errors import LocalProtocolError
from trio_socketio.redis.commands import check_command, pack


def test_arguments_are_text_bytes_and_numbers() -> None:
    packed = pack("SET", "é", b"\x00", 5, 0.5)
    assert packed == (
        b"*5\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n\x00\r\n$1\r\n5\r\n$3\r\n0.5\r\n"
    )


@pytest.mark.parametrize("argument", [None, True, ["a"], object(), "\ud800"])
def test_other_arguments_are_refused(argument: Any) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent to Redis"):
        pack("SET", "key", argument)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("get", "multi"), "GET"),
        ((b"XREAD", "COUNT", 2, "STREAMS", "block", "$"), "XREAD"),
        (("CLIENT", "LIST"), "CLIENT"),
        (("SET", "key", b"\xff" * 100), "SET"),
        (("PUBSUB", "NUMSUB", "news"), "PUBSUB"),
    ],
)
def test_a_command_has_a_name(arguments: tuple[Any, ...], name: str) -> None:
    assert check_command(arguments) == name


@pytest.mark.req("REDIS-16")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("subscribe", "news"), "SUBSCRIBE would change the connection"),
        ((b"MULTI",), "MULTI would change"),
        (("SELECT", 1), "SELECT would change"),
        (("client", "reply", "off"), "CLIENT would change"),
        (("RESET",), "RESET would change"),
        (("BLPOP", "list", 0), "BLPOP would hold up"),
        (("XREAD", "COUNT", 2, "BLOCK", 0, "STREAMS", "s", "$"), "XREAD would hold up"),
        (("xreadgroup", "GROUP", "g", "c", "block", 0, "STREAMS", "s", ">"), "would hold up"),
        (("WAIT", 1, 0), "WAIT would hold up"),
        ((), "begins with its name"),
        ((5,), "begins with its name"),
    ],
)
def test_what_would_disturb_others_is_refused(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(LocalProtocolError, match=told):
        check_command(arguments)
