"""Which pages of other origins may connect, and the headers that let them read our answers.

The requests of any other page are refused, and its WebSockets too: browsers send cookies with both,
and leave it to the server to check the Origin.
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
"""Browsers write origins in visible ASCII. Nothing else is passed on to checks or repeated in an
answer."""

_VARY: Final = (b"Vary", b"Origin")


class FailureLog(Protocol):
    """Counts and logs what user code raises."""

    def log_failure(self, whose: str, socket_id: str, error: BaseException, /) -> None:
        """Count and log a failure."""


class Cors:
    """The rules of one server.

    Args:
        options: the origins that are allowed by name, and what their pages may do.
        workers: logs the failures of checks.
        checks: plain functions that return True for further origins that are allowed.
        trusted_proxies: the networks of proxies whose X-Forwarded-Host is believed.
    """

    def __init__(
        self,
        options: "CorsOptions",
        workers: FailureLog,
        checks: "Sequence[Callable[[str], bool]]" = (),
        trusted_proxies: "tuple[Network, ...]" = (),
    ) -> None:
        self._workers = workers
        self._trusted_proxies = trusted_proxies
        self.apply(options, checks)

    def apply(self, options: "CorsOptions", checks: "Sequence[Callable[[str], bool]]" = ()) -> None:
        """Use these rules from the next request on."""
        self.is_configured = bool(options.origins or checks)
        self._any = "*" in options.origins
        self._names = frozenset(options.origins)
        self._checks = checks
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
        """Whether a request is allowed by its Origin (EIO4-66).

        Only browsers send an Origin; a request without one comes from no page, and is allowed.
        """
        origin = request.headers.get("origin")
        if origin is None or self._any or self._names_origin(origin):
            return True
        host = request.headers.get("host", "")
        if self._trusted_proxies and is_within(request.address, self._trusted_proxies):
            host = nearest(request, "x-forwarded-host") or host
        return _is_same_host(origin, host)

    def headers(self, request: "Request") -> list[tuple[bytes, bytes]]:
        """The headers that let the page which sent a request read our answer."""
        return self.headers_for(request.headers.get("origin"))

    def headers_for(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The headers that let pages of an origin read our answer; None for an unknown origin."""
        if not self.is_configured:
            return []
        return self._origin_headers(origin, self._exposed)

    def answer_preflight(self, request: "Request") -> None:
        """Answer an OPTIONS request of an allowed origin."""
        origin = request.headers.get("origin")
        headers = [*self._origin_headers(origin, self._always), *self._preflight]
        if self._allowed_headers is None:
            asked = request.headers.get("access-control-request-headers")
            # A list that holds anything but names is not repeated, and the browser then refuses the
            # request itself. Repeated headers were joined by ", ", so an item may be empty or have
            # blanks around it.
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
            # Only True allows: a coroutine, for one, is truthy.
            return any(check(origin) is True for check in self._checks)
        except BaseException as error:  # a check that fails allows nothing
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
    except ValueError:  # the origin or the Host is malformed
        return False
