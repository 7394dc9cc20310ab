"""JSONP requests: what a page elsewhere could read through a script, and must not."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from trio_socketio.http.request import Request

_MAX_DIGITS: Final = 10
_OWN_SITES: Final = ("same-origin", "none")  # none: typed in, or a bookmark
_NO_PAGE: Final = "null"  # how browsers write the origin that they keep to themselves


def is_index(text: str) -> bool:
    """Whether the parameter ``j`` is the index of a callback: it is written into a script.

    Spec: Engine.IO v3, "JSONP" (EIO3-24).
    """
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def name_page(request: "Request") -> None:
    """Give the request of a script or a form the Origin that browsers do not send with it.

    Without it, the page of a stranger could load such scripts, and read with its visitor's cookies
    what no XHR would show it. The usual check decides about the origin that is found. A program
    that is not a browser is let through: it names no page and brings nobody's cookies (EIO3-27).
    """
    headers = request.headers
    site = headers.get("sec-fetch-site")
    if "origin" in headers or site in _OWN_SITES:
        return
    referer = headers.get("referer")
    if referer is not None:
        headers["origin"] = _origin_of(referer)
    elif site is not None or "cookie" in headers:
        headers["origin"] = _NO_PAGE


def _origin_of(url: str) -> str:
    try:
        page = urlsplit(url)
    except ValueError:
        return _NO_PAGE
    return f"{page.scheme}://{page.netloc}"
