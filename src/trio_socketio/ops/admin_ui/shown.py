"""Sockets as the Admin UI is told of them."""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.codec.javascript_dates import shown_text
from trio_socketio.codec.shown_values import shorten

if TYPE_CHECKING:
    from trio_socketio.socketio.remote_socket import SocketDetails

HIDDEN: Final = "(hidden)"
MAX_HEADERS: Final = 64
MAX_VALUE: Final = 512
"""How many characters of a header or of a parameter are shown."""
MAX_ROOMS: Final = 1000

_SECRET: Final = (
    "auth", "bearer", "code", "cookie", "credential", "csrf", "jwt", "key", "otp", "pass", "pwd",
    "secret", "session", "sid", "sig", "ticket", "token", "xsrf",
)  # fmt: skip
"""The value of a header or parameter with one of these in its name is not shown (AUI-18)."""
_LOCATIONS: Final = ("referer", "referrer", "uri", "url", "path")
"""A header with one of these in its name has a URL, whose query may hold secrets, too."""
_CLIENT_CHARACTERS: Final = 12
_YEAR_10000_S: Final = 253_402_300_800
"""Other servers may say anything; a time that is not before this is shown as 1970."""


def show_socket(
    details: "SocketDetails", namespace: str, max_shown_characters: int
) -> dict[str, Any]:
    """Describe a socket of any node (AUI-17).

    Args:
        details: from its node, which may be a server of Node that does not tell of the client.
        namespace: its name.
        max_shown_characters: how much of its data is shown.
    """
    handshake, client = details.handshake, details.client
    issued_s = handshake.issued_s if 0 <= handshake.issued_s < _YEAR_10000_S else 0.0
    shown: dict[str, Any] = {
        "id": details.id,
        # The UI puts sockets together to clients by this. Those that it is not told stay apart.
        "clientId": details.id[:_CLIENT_CHARACTERS] if client is None else client.id,
        "nsp": namespace,
        "data": show_data(details.data, max_shown_characters),
        "handshake": {
            "address": handshake.address,
            "headers": _show_texts(handshake.headers, _without_query),
            "query": _show_texts(handshake.query),
            "issued": round(issued_s * 1000),
            "secure": handshake.secure,
            "time": shown_text(issued_s),
            "url": handshake.url.partition("?")[0][:MAX_VALUE],  # the query is shown apart
            "xdomain": "origin" in handshake.headers,
        },
        "rooms": list(islice(details.rooms, MAX_ROOMS)),
    }
    if client is not None:
        shown["transport"] = client.transport
    return shown


def show_data(data: dict[str, Any], max_shown_characters: int) -> Any:
    """Return the data of a socket as it is shown: always an object, as the UI reads its members."""
    return shorten((data,), max_shown_characters)[0]


def _show_texts(
    texts: Mapping[str, str], show: Callable[[str, str], str] = lambda _, value: value
) -> dict[str, str]:
    return {
        name[:MAX_VALUE]: HIDDEN if _has(name, _SECRET) else show(name, value)[:MAX_VALUE]
        for name, value in islice(texts.items(), MAX_HEADERS)
    }


def _without_query(name: str, value: str) -> str:
    """Return a header without the query and the fragment of the URL that it holds (AUI-18)."""
    return re.split(r"[?#]", value, maxsplit=1)[0] if _has(name, _LOCATIONS) else value


def _has(name: str, parts: tuple[str, ...]) -> bool:
    lower = name.lower()
    return any(part in lower for part in parts)
