"""Pages of our own for people: one HTML file each, with its script and style inside.

A page loads nothing, and connects only to the server that it comes from. The browser enforces that
by the policy that is sent with it, which allows exactly the script and the style of the page. What
all pages look like and can do stands beside this module, in page.css and page.js.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_socketio.http.content_coding import CODINGS, encode_content
from trio_socketio.http.files import Bundle, answer_with

if TYPE_CHECKING:
    from trio_socketio.http.request import Request

_LEVEL: Final = 9
_SHARED: Final = (("/* page.css */", "page.css"), ("// page.js", "page.js"))
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_SAFE: Final = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Frame-Options", b"DENY"),  # as frame-ancestors, for browsers that do not know it
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
_REFUSED: Final = [
    (b"Content-Type", b"text/plain; charset=utf-8"),
    (b"Allow", b"GET, HEAD"),
    *_SAFE,
]


class Page:
    """Answers GET and HEAD with a page (PAGE-03).

    It is compressed when it is first asked for, which takes some milliseconds.

    Args:
        file: the HTML. Its scripts and styles are elements without attributes.
        values: what the page is told, by the name of an attribute ``data-NAME`` of its html
            element.
    """

    def __init__(self, file: Path, values: Mapping[str, str] | None = None) -> None:
        text = read_page(file)
        told = "".join(f' data-{name}="{escape(each)}"' for name, each in (values or {}).items())
        self._content = text.replace("<html", f"<html{told}", 1).encode()
        policy = describe_policy(text).encode()
        etag = f'W/"{hashlib.blake2b(self._content, digest_size=12).hexdigest()}"'
        self._etag = etag
        self._headers = [
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Content-Security-Policy", policy),
            (b"Cache-Control", b"no-cache"),
            (b"ETag", etag.encode()),
            (b"Vary", b"Accept-Encoding"),
            *_SAFE,
        ]

    def receive_request(self, request: "Request") -> None:
        """Answer a request; a RequestHandler of http/routes.py."""
        if request.method not in ("GET", "HEAD"):
            request.respond(405, _REFUSED, b"only GET and HEAD")
        else:
            answer_with(request, self._bundle, ())

    @cached_property
    def _bundle(self) -> Bundle:
        bodies: dict[str | None, bytes] = {None: self._content}
        for coding in CODINGS:
            bodies[coding] = encode_content(coding, self._content, _LEVEL)
        return Bundle(self._headers, self._etag, bodies)


def read_page(file: Path) -> str:
    """Read the HTML of a page, and put what all pages share where a comment names it (PAGE-08)."""
    text = file.read_text(encoding="utf-8")
    for comment, name in _SHARED:
        shared = Path(__file__).with_name(name).read_text(encoding="utf-8")
        text = text.replace(comment, shared, 1)
    return text


def describe_policy(text: str) -> str:
    """Return the Content-Security-Policy of a page: its own script and style, and nothing else.

    The browser then keeps the page from reaching any other host (PAGE-02, PAGE-05).
    `connect-src 'self'` covers WebSockets to the same host. Trusted Types have the browser refuse
    text that a script would have it read as HTML.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "connect-src 'self'",
            "img-src data:",  # the icon, which is part of the file
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
