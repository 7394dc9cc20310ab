"""The errors of methods, with data for programs."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from trio_socketio.codec.json_rpc import Code
from trio_socketio.errors import ControlError


def invalid(parameter: str, reason: str, **data: Any) -> ControlError:
    """A parameter cannot be used; the message and the data name it (CONTROL-03)."""
    return ControlError(
        Code.INVALID_PARAMS, f"{parameter}: {reason}", {"parameter": parameter, **data}
    )


def not_found(parameter: str, what: str, value: str) -> ControlError:
    """A parameter names something that does not exist."""
    return ControlError(
        Code.NOT_FOUND, f"{parameter}: there is no {what} {value!r}", {"parameter": parameter}
    )


def unknown_method(name: str, known: Iterable[str]) -> ControlError:
    """There is no such method."""
    similar = get_close_matches(name[:100], known, 1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    return ControlError(
        Code.METHOD_NOT_FOUND, f"there is no method {name[:100]!r}{hint}", {"method": name[:100]}
    )


def unauthorized(message: str) -> ControlError:
    """The caller is not known."""
    return ControlError(Code.UNAUTHORIZED, message)


def forbidden(method: str, token: str) -> ControlError:
    """The caller is known, and may not call this method."""
    return ControlError(
        Code.FORBIDDEN, f"the token {token!r} may not call {method}", {"method": method}
    )


def timed_out(message: str) -> ControlError:
    """A call took too long; it may have been done all the same."""
    return ControlError(Code.TIMEOUT, message, {"retryable": False})


def overloaded(message: str, retry_after_ms: int = 1000) -> ControlError:
    """Too much is under way; nothing was done."""
    return ControlError(
        Code.OVERLOADED, message, {"retryable": True, "retry_after_ms": retry_after_ms}
    )


def store_unavailable(message: str, retry_after_ms: int = 1000) -> ControlError:
    """The store cannot be reached; what was to be read was not, and nothing was changed."""
    return ControlError(
        Code.STORE_UNAVAILABLE, message, {"retryable": True, "retry_after_ms": retry_after_ms}
    )


def unavailable(message: str, retry_after_ms: int = 1000) -> ControlError:
    """No backend or service can do it at the moment; nothing was done."""
    return ControlError(
        Code.UNAVAILABLE, message, {"retryable": True, "retry_after_ms": retry_after_ms}
    )


def too_large(message: str, **data: Any) -> ControlError:
    """Something does not fit into a line."""
    return ControlError(Code.TOO_LARGE, message, {"retryable": False, **data})
