"""Pages of other origins: who may talk to us, and what lets a page read our answers.

A page that was not allowed is refused, WebSocket included: browsers send cookies with both, and
leave it to the server to look at Origin.
"""

import re
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from trio_socketio.http.forwarded import is_within, nearest
from trio_socketio.option_checks import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_socketio.http.options import CorsOptions
    from trio_socketio.http.request import Request
    from trio_socketio.option_checks import Network

_ORIGIN: Final = re.compile(r"[!-~]+").fullmatch
"""Browsers write hosts in ASCII. What else a header may hold is not repeated in an answer."""

_VARY: Final = (b"Vary", b"Origin")


class FailureLog(Protocol):
    """Is told what user code raises."""

    def log_failure(self, whose: str, socket_id: str, error: BaseException, /) -> None:
        """A function raised: that is counted and logged."""


class Cors:
    """The rules of one server, made of its options.

    Args:
        options: see CorsOptions.
        workers: are told of checks that fail.
        checks: plain functions of an origin, which say whether it is meant too.
        trusted_proxies: networks of the proxies whose X-Forwarded-Host is believed.
    """

    def __init__(
        self,
        options: "CorsOptions",
        workers: FailureLog,
        checks: "Sequence[Callable[[str], bool]]" = (),
        trusted_proxies: "tuple[Network, ...]" = (),
    ) -> None:
        self._workers = workers
        self.is_configured = bool(options.origins or checks)
        self._any = "*" in options.origins
        self._names = frozenset(options.origins)
        self._checks = checks
        self._trusted_proxies = trusted_proxies
        self._always: list[tuple[bytes, bytes]] = []
        if options.credentials:
            self._always.append((b"Access-Control-Allow-Credentials", b"true"))
        self._exposed = list(self._always)
        if options.exposed_headers:
            self._exposed.append(
                (b"Access-Control-Expose-Headers", ",".join(options.exposed_headers).encode())
            )
        self._preflight = [(b"Access-Control-Allow-Methods", ",".join(options.methods).encode())]
        if options.max_age_s is not None:
            self._preflight.append((b"Access-Control-Max-Age", b"%d" % options.max_age_s))
        self._allowed_headers = options.allowed_headers

    def allows(self, request: "Request") -> bool:
        """Whether the page that makes this request may talk to us; no Origin is no page."""
        origin = request.headers.get("origin")
        if origin is None or self._any or self._names_origin(origin):
            return True
        host = request.headers.get("host", "")
        if self._trusted_proxies and is_within(request.address, self._trusted_proxies):
            host = nearest(request, "x-forwarded-host") or host
        return _is_same_host(origin, host)

    def headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """What lets the page read our answer; nothing for pages of our own origin."""
        return self.headers_for(request.headers.get("origin"))

    def headers_for(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """What lets a page of that origin read our answer; None is an origin that is unknown."""
        if not self.is_configured:
            return []
        return self._origin_headers(origin, self._exposed)

    def answer_preflight(self, request: "Request") -> None:
        """Answer an OPTIONS request of an allowed origin."""
        origin = request.headers.get("origin")
        headers = [*self._origin_headers(origin, self._always), *self._preflight]
        if self._allowed_headers is None:
            asked = request.headers.get("access-control-request-headers")
            # A list that holds anything but names is not repeated: the browser refuses then. A
            # repeated header was joined, and may end in the blank before an empty last one.
            if asked is not None and all(
                TOKEN(name.strip(" \t") or "-") for name in asked.split(",")
            ):
                headers.append((b"Access-Control-Allow-Headers", asked.strip().encode("ascii")))
        else:
            headers.append(
                (b"Access-Control-Allow-Headers", ",".join(self._allowed_headers).encode())
            )
        request.respond(204, headers)

    def _origin_headers(
        self, origin: str | None, more: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        if self._any:
            return [(b"Access-Control-Allow-Origin", b"*"), *more]
        if origin is None or not self._names_origin(origin):
            return [_VARY]
        return [(b"Access-Control-Allow-Origin", origin.encode("ascii")), _VARY, *more]

    def _names_origin(self, origin: str) -> bool:
        if origin in self._names:
            return True
        if not _ORIGIN(origin):
            return False
        try:
            # True itself: a coroutine, for one, would count as true.
            return any(check(origin) is True for check in self._checks)
        except BaseException as error:  # the origin is refused
            self._workers.log_failure("the check of an origin in cors_origins", "", error)
            return False


def _is_same_host(origin: str, host: str) -> bool:
    try:
        page = urlsplit(origin)
        here = urlsplit(f"{page.scheme}://{host}")
        default = {"http": 80, "https": 443}.get(page.scheme)
        return (
            default is not None
            and page.hostname is not None
            and page.hostname == here.hostname
            and (page.port or default) == (here.port or default)
        )
    except ValueError:  # no URL: "null", or nonsense
        return False
