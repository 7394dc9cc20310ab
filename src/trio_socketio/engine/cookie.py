"""The cookie that holds a session's id (EIO4-72). Spec: RFC 6265, section 4.1."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_socketio.engine.options import Cookie


def encode_cookie(cookie: "Cookie", sid: str) -> str:
    """The value of a Set-Cookie header.

    Args:
        cookie: its attributes, validated where they were given.
        sid: of characters that a cookie can hold.
    """
    parts = [f"{cookie.name}={sid}"]
    if cookie.max_age_s is not None:
        parts.append(f"Max-Age={cookie.max_age_s}")
    if cookie.domain is not None:
        parts.append(f"Domain={cookie.domain}")
    if cookie.path is not None:
        parts.append(f"Path={cookie.path}")
    if cookie.http_only:
        parts.append("HttpOnly")
    if cookie.secure:
        parts.append("Secure")
    if cookie.partitioned:
        parts.append("Partitioned")
    if cookie.same_site is not None:
        parts.append(f"SameSite={cookie.same_site.capitalize()}")
    return "; ".join(parts)
