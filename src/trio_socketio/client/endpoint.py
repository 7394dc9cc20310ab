"""Where the server is, and how streams to it are opened."""

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

import h11
import trio

from trio_socketio.errors import ConfigurationError, ConnectFailed
from trio_socketio.signatures import find_misfit

OpenStream = Callable[[], Awaitable[trio.abc.Stream]]

_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SECURE: Final = ("https", "wss")
_OURS: Final = re.compile(
    r"host|connection|upgrade|transfer-encoding|content-(?:type|length)|accept-encoding"
    r"|sec-websocket-.*"
).fullmatch
"""Headers that say how a request or its answer is to be read."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server, and the path of Socket.IO there.

    Args:
        host: a name or an address; empty for a Unix socket.
        port: of TCP; 0 for a Unix socket.
        unix_path: the file of the Unix socket; empty for TCP.
        secure: whether to speak TLS.
        authority: the value of the Host header.
        path: of Socket.IO; ends with a slash.
        query: of the URL; sent with every request.
    """

    host: str
    port: int
    unix_path: str
    secure: bool
    authority: str
    path: str
    query: str

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix:{self.unix_path}"
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.path}"

    def target(self, transport: str, sid: str = "") -> str:
        """The request target for a transport, and for a session if there is one (CLI-01)."""
        query = f"{self.query}&" if self.query else ""
        session = f"&sid={quote(sid, safe='')}" if sid else ""
        return f"{self.path}?{query}EIO=4&transport={transport}{session}"


def parse_url(url: str, path: str) -> Endpoint:
    """Read a URL: ``http[s]://host[:port][/path][?query]``, ``ws[s]://...`` or ``unix:/file``.

    Args:
        url: its path, if it has one, is that of Socket.IO; it does not name a namespace.
        path: of Socket.IO, if the URL has none.
    Raises:
        ConfigurationError: it is not such a URL.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"a URL is text, not {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:  # UnicodeError is one
        raise ConfigurationError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme == "unix":
        file = parts.netloc + parts.path
        if not file:
            raise ConfigurationError(f"{url!r} names no file: unix:/path/to/socket")
        return Endpoint("", 0, file, False, "localhost", path, parts.query)
    if parts.scheme not in _PORTS or not host:
        raise ConfigurationError(f"{url!r} is not a URL such as http://localhost:3000")
    if "@" in parts.netloc:
        raise ConfigurationError("credentials in a URL are not sent: use auth, or headers")
    usual = _PORTS[parts.scheme]
    authority = f"[{host}]" if ":" in host else host
    if port is not None and port != usual:
        authority += f":{port}"
    where = quote(parts.path, safe="/%:@!$&'()*+,;=~") if parts.path.strip("/") else path
    return Endpoint(
        host=host,
        port=usual if port is None else port,
        unix_path="",
        secure=parts.scheme in _SECURE,
        authority=authority,
        path=where.rstrip("/") + "/",
        query=quote(parts.query, safe="=&%/?:@!$'()*+,;~"),
    )


class Dialer:
    """Opens streams to an endpoint, and holds the headers of every request to it.

    Args:
        endpoint: the server.
        headers: sent with every request.
        ssl_context: for TLS; None means the defaults of the system.
        open_stream: opens the stream instead, TLS included if there is any.
    Raises:
        ConfigurationError: an argument cannot be used, or a header cannot be sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None = None,
        open_stream: OpenStream | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.authority = endpoint.authority
        self.headers = _check_headers(headers)
        self._cookies: dict[str, str] = {}
        self._ssl_context = ssl_context
        self._open_stream = open_stream
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigurationError(f"ssl_context is an ssl.SSLContext, not {ssl_context!r}")
        if open_stream is not None:
            misfit = find_misfit(open_stream, ())
            if misfit is not None:
                raise ConfigurationError(f"open_stream: {misfit}")
        try:
            h11.Request(
                method="GET",
                target=endpoint.target("polling"),
                headers=[("Host", endpoint.authority), *self.headers],
            )
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise ConfigurationError(f"the URL or a header cannot be sent: {error}") from None

    def request_headers(self) -> list[tuple[str, str]]:
        """The program's own headers, and the cookies of this connection."""
        if not self._cookies:
            return list(self.headers)
        # One header for all of them: RFC 6265, section 5.4, allows no second one.
        cookies = [value for name, value in self.headers if name.lower() == "cookie"]
        cookies += [f"{name}={value}" for name, value in self._cookies.items()]
        others = [(name, value) for name, value in self.headers if name.lower() != "cookie"]
        return [*others, ("Cookie", "; ".join(cookies))]

    def keep_cookies(self, set_cookies: list[str]) -> None:
        """Send the cookies that came with the handshake from now on.

        Load balancers find the node of a session by them. The path, domain and age of a cookie do
        not matter, because all requests of a session go to one path of one server.
        """
        self._cookies = {}
        for text in set_cookies:
            name, equals, value = text.partition(";")[0].partition("=")
            if equals and text.isascii():
                self._cookies[name.strip()] = value.strip()

    async def open_stream(self) -> trio.abc.Stream:
        """Open a stream to the server, TLS included. The caller bounds the time.

        Raises:
            ConnectFailed: the server cannot be reached.
        """
        endpoint = self.endpoint
        if self._open_stream is not None:
            try:
                return await self._open_stream()
            except (OSError, trio.BrokenResourceError) as error:
                raise ConnectFailed(str(first_cause(error))) from error
        try:
            if endpoint.unix_path:
                return await trio.open_unix_socket(endpoint.unix_path)
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
            if not endpoint.secure:
                return stream
            return await self._start_tls(stream)
        except (OSError, trio.BrokenResourceError) as error:
            raise ConnectFailed(_explain(error, endpoint)) from error

    async def _start_tls(self, stream: trio.SocketStream) -> trio.abc.Stream:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        secured = trio.SSLStream(
            stream, self._ssl_context, server_hostname=self.endpoint.host, https_compatible=True
        )
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return secured


def _check_headers(headers: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers are a mapping of names to values, not {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(f"a header is text, not {name!r}: {value!r}")
        if _OURS(name.lower()):
            raise ConfigurationError(f"the header {name} is the client's own")
    return tuple(headers.items())


def first_cause(error: BaseException) -> BaseException:
    """Find the system's error, which trio wraps: for TLS, or in a group for several addresses."""
    if isinstance(error, BaseExceptionGroup):
        return first_cause(error.exceptions[0])
    return error if error.__cause__ is None else first_cause(error.__cause__)


def _explain(error: BaseException, endpoint: Endpoint) -> str:
    """Describe an error so that the reader sees what to change."""
    cause = first_cause(error)
    if isinstance(cause, socket.gaierror):
        return f"unknown host {endpoint.host!r}: {cause.strerror}"
    if isinstance(cause, ConnectionRefusedError):
        return "Connection refused: no server listens there"
    if isinstance(cause, FileNotFoundError) and endpoint.unix_path:
        return f"there is no socket {endpoint.unix_path}: {cause.strerror}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed; perhaps the server does not speak it there: {cause.reason or cause}"
    return str(cause)
