"""The settings with which a program opened a client."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trio_socketio.client.options import ClientOptions
from trio_socketio.codec.parsers import Parser

Auth = Mapping[str, Any] | Callable[[str], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that all parts of one client use.

    Args:
        options: times and bounds.
        auth: what a CONNECT carries, or the function that is asked for it each time.
        parser: writes and reads packets.
    """

    options: ClientOptions
    auth: Auth | None
    parser: Parser
