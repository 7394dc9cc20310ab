"""The options of chat events."""

from typing import Any

import pytest

from trio_socketio import Server
from trio_socketio.errors import OptionError
from trio_socketio.im.chat import Chat, ChatOptions


@pytest.mark.req("CHAT-29")
@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("namespaces", ("/",), "/ has no chat events"),
        ("namespaces", ("demo",), "expected names of namespaces"),
        ("namespaces", "/demo", "expected a list of names"),
        ("namespaces", ("/a", "/a"), "is there twice"),
        ("namespaces", (7,), "expected names of namespaces"),
        ("confirm", ("/demo",), "'/demo' is not one of namespaces"),
        ("max_targets", 1001, "must be 1 to 1000"),
        ("max_targets", 0, "must be above zero"),
    ],
)
def test_what_cannot_be_used_is_refused(option: str, value: Any, reason: str) -> None:
    options: dict[str, Any] = {"namespaces": ("/a",), option: value}
    with pytest.raises(OptionError, match=reason) as caught:
        ChatOptions(**options)
    assert caught.value.option == option


@pytest.mark.req("CHAT-29")
def test_nothing_is_confirmed_without_deliveries() -> None:
    with pytest.raises(OptionError, match="needs confirmed delivery"):
        Chat(Server(), ChatOptions(namespaces=("/a",), confirm=("/a",)))


@pytest.mark.req("CHAT-29")
def test_namespaces_may_be_patterns() -> None:
    ChatOptions(namespaces=("/a", "/room-*", "/*"), confirm=("/room-*",))
