"""What a function that may refuse has said by what it returned."""

from collections.abc import Callable
from typing import Any

from trio_socketio.errors import ConnectRefused, LocalProtocolError


def check_verdict(verdict: Any, function: Callable[..., Any]) -> None:
    """Placeholder until merged."""
    if isinstance(verdict, ConnectRefused):
        raise verdict
    if verdict is False or isinstance(verdict, BaseException):
        raise LocalProtocolError(f"{function!r} returned {verdict!r}: raise ConnectRefused")
