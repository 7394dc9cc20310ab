"""The control API as a whole: the methods of control/, and those that the folders here add."""

from typing import Any, Final

from trio_socketio.control.service import describe_api
from trio_socketio.im.identity.methods import AuthMethods

FURTHER: Final[tuple[type, ...]] = (AuthMethods,)
"""The classes of further methods. Another one is a line here."""


def describe_whole_api() -> dict[str, Any]:
    """Return the OpenRPC document that rpc.discover of the binary answers."""
    return describe_api(FURTHER)
