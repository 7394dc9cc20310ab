"""Checks JSONP requests: a script of a foreign page must not read the messages of its visitor."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from trio_socketio.http.request import Request

_MAX_DIGITS: Final = 10
_OWN_SITES: Final = ("same-origin", "none")  # none: the user typed the URL, or used a bookmark
_NO_PAGE: Final = "null"  # what browsers send for an origin that they do not tell


def is_index(text: str) -> bool:
    """Whether the parameter ``j`` is the index of a callback. It is written into a script.

    Spec: Engine.IO v3, "JSONP" (EIO3-24).
    """
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def name_page(request: "Request") -> None:
    """Add the Origin that browsers do not send with requests of scripts and forms.

    Without one, any page could load such a script, and read with its visitor's cookies what no XHR
    would show it. The origin is taken from Referer, and the usual check decides about it. A client
    that is not a browser names no page and carries no visitor's cookies, so it is let through
    (EIO3-27).
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
