"""Requests of the server itself: to fetch keys, and to ask or tell a backend.

TLS is verified, redirects are not followed, answers are bounded, and each request has one deadline
for everything. Cleartext is spoken with this machine alone.
"""

import hmac
import re
import secrets
import ssl
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from socket import SOCK_STREAM, getaddrinfo
from typing import Final
from urllib.parse import urlsplit

import trio

from trio_socketio.errors import (
    ConfigurationError,
    ConnectFailed,
    OptionError,
    PayloadTooLarge,
    ProtocolError,
    SessionClosed,
    TrioSocketIOError,
)
from trio_socketio.http.client import HttpConnection, Response
from trio_socketio.secret_files import read_secret_file

MAX_ANSWER_BYTES: Final = 65536
SIGNATURE_HEADER: Final = "Trio-SocketIO-Signature"
MIN_SECRET_BYTES: Final = 32
RESOLVERS: Final = 2
"""How many names of hosts may be looked up at once for one target."""
CONNECT_S: Final = 0.5
"""How long an address of a host is tried while there are others."""
_MAX_SECRET_BYTES: Final = 4096
_TARGET: Final = re.compile(r"[!-~]+").fullmatch


class RequestFailed(TrioSocketIOError):
    """A request got no answer that can be used. The message says why, and shows no secret."""


class AnswerUnusable(RequestFailed):
    """An answer came, so that the target is at work, but it is too large or a redirect."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Args:
        host: a name or an address.
        port: of TCP.
        secure: whether to speak TLS.
        authority: the value of the Host header.
        path: with its query.
    """

    host: str
    port: int
    secure: bool
    authority: str
    path: str

    def __str__(self) -> str:
        # Without the query, which may hold a secret.
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.authority}{self.path.partition('?')[0]}"


def parse_target(url: str) -> Target:
    """Read a URL: https, or http to this machine.

    Raises:
        ConfigurationError: it is something else. The message does not show the URL, which may hold
            a secret.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise ConfigurationError(f"expected a URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ConfigurationError("expected a URL such as https://example.org/path")
    if "@" in parts.netloc or parts.fragment:
        raise ConfigurationError("the URL must have no user, password or fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET(path) or not host.isascii():
        raise ConfigurationError("the URL must be written in visible ASCII characters")
    secure = parts.scheme == "https"
    if not secure and not _is_loopback(host):  # IDENT-46
        raise ConfigurationError(
            f"http, which is cleartext, is spoken with this machine alone: write https://{host}"
        )
    authority = f"[{host}]" if ":" in host else host
    usual = 443 if secure else 80
    if port not in (None, usual):
        authority += f":{port}"
    return Target(host, usual if port is None else port, secure, authority, path)


def check_url(name: str, url: str, ca_file: str | None = None) -> None:
    """Refuse the value of an option to which no requests could be sent.

    Args:
        name: of the option.
        url: its value.
        ca_file: the value of the option ca_file beside it.
    Raises:
        OptionError: it is not a URL that `parse_target` reads, or it has no use for certificates.
    """
    try:
        target = parse_target(url)
    except ConfigurationError as error:
        raise OptionError(name, str(error)) from None
    if ca_file is not None and not target.secure:
        raise OptionError("ca_file", f"has no effect, because {name} is not https")


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if _is_address(host) else host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that verifies servers.

    Args:
        ca_file: the certificates to trust; None means those of the system.
    Raises:
        OptionError: the file cannot be used; it names the option ca_file.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise OptionError("ca_file", f"cannot read the certificates {ca_file}: {error}") from None


def read_secret(path: str) -> bytes:
    """Read a secret that signs requests.

    Raises:
        OptionError: it cannot be read, or is too short or too long. It names the option
            secret_file, and does not show the secret.
    """
    try:
        secret = read_secret_file(path, "the secret", _MAX_SECRET_BYTES)
    except ConfigurationError as error:
        raise OptionError("secret_file", str(error)) from None
    if len(secret) < MIN_SECRET_BYTES:
        raise OptionError(
            "secret_file",
            f"{path} must hold at least {MIN_SECRET_BYTES} bytes, such as those of: "
            "openssl rand -hex 32",
        )
    return secret


def sign(secret: bytes, body: bytes, now_s: float) -> tuple[str, str]:
    """Return the header that proves who has sent a body, and when.

    Its value is ``t=TIME,n=NONCE,v1=HMAC``: whole seconds since 1970, 32 random hexadecimal digits,
    and the HMAC-SHA256 of ``TIME.NONCE.BODY``, in hexadecimal digits. A receiver compares the HMAC,
    refuses a time that is long past, and may remember nonces to refuse repetitions.
    """
    time, nonce = str(int(now_s)), secrets.token_hex(16)  # IDENT-25
    digest = hmac.new(secret, f"{time}.{nonce}.".encode() + body, sha256).hexdigest()
    return SIGNATURE_HEADER, f"t={time},n={nonce},v1={digest}"


class Outgoing:
    """Sends requests to one target, on connections that are kept alive.

    Args:
        target: where they go.
        tls: verifies the server; given for https, and only then.
    """

    def __init__(self, target: Target, tls: ssl.SSLContext | None = None) -> None:
        assert target.secure is (tls is not None), "https needs TLS, and nothing else does"
        self.target = target
        self._tls = tls
        # HTTP-67: a resolver that hangs keeps its threads for minutes. They are ours, so that it
        # does not take those of the whole program.
        self._resolvers = trio.CapacityLimiter(RESOLVERS)
        self._idle: deque[HttpConnection] = deque()  # the one that was used last stands last
        self._is_closed = False

    @property
    def authority(self) -> str:
        """Host and port in the form of the Host header."""
        return self.target.authority

    def request_headers(self) -> list[tuple[str, str]]:
        return []

    async def open_stream(self) -> trio.abc.Stream:
        target = self.target
        try:
            stream = await self._connect(await self._resolve())
        except OSError as error:
            raise ConnectFailed(_explain(error)) from None
        if self._tls is None:
            return stream
        secured = trio.SSLStream(
            stream, self._tls, server_hostname=target.host, https_compatible=True
        )
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(secured)
            raise ConnectFailed(f"TLS: {_explain(error)}") from None
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return secured

    async def _resolve(self) -> list[str]:
        """Look up the addresses of the host."""
        host = self.target.host
        if _is_address(host):
            return [host]
        found = await trio.to_thread.run_sync(
            partial(getaddrinfo, host, self.target.port, type=SOCK_STREAM),
            abandon_on_cancel=True,
            limiter=self._resolvers,
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def _connect(self, addresses: list[str]) -> trio.SocketStream:
        """Connect to the first address that answers. The last one has all the time that is left."""
        for address in addresses[:-1]:
            with suppress(OSError), trio.move_on_after(CONNECT_S):
                return await trio.open_tcp_stream(address, self.target.port)
        return await trio.open_tcp_stream(addresses[-1], self.target.port)

    async def request(
        self,
        method: str,
        body: bytes | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        timeout_s: float,
    ) -> Response:
        """Send a request and read its answer.

        Args:
            method: the HTTP method.
            body: JSON; None for a request without a body.
            headers: further ones.
            timeout_s: for everything: connecting, TLS, sending, and reading the answer.
        Raises:
            AnswerUnusable: the answer is too large, or a redirect.
            RequestFailed: there is no answer.
        """
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = HttpConnection(self, MAX_ANSWER_BYTES, shared=True)
        try:
            with trio.fail_after(timeout_s):
                response = await connection.request(
                    method,
                    self.target.path,
                    body,
                    headers=headers,
                    content_type="application/json",
                )
        except BaseException as error:  # HttpConnection has closed itself
            if isinstance(error, trio.TooSlowError):
                raise RequestFailed(f"no answer within {timeout_s:g} s") from None
            if isinstance(error, PayloadTooLarge):
                raise AnswerUnusable(str(error)) from None
            if isinstance(error, (ConnectFailed, SessionClosed, ProtocolError)):
                raise RequestFailed(str(error)) from None
            raise
        await self._keep(connection)
        if 300 <= response.status < 400:  # IDENT-18
            raise AnswerUnusable(f"it answered {response.status}: redirects are not followed")
        return response

    async def _keep(self, connection: HttpConnection) -> None:
        """Keep a connection for the next request; close those that none will use (HTTP-68)."""
        if self._is_closed:  # while this request was under way
            await connection.aclose()
            return
        self._idle.append(connection)
        while self._idle and self._idle[0].is_stale:
            await self._idle.popleft().aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept alive. From now on, none is kept.

        A request that is under way is answered, and closes its connection.
        """
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()


def _explain(error: BaseException) -> str:
    """Say what is wrong with the network; trio wraps the system's error."""
    if isinstance(error, BaseExceptionGroup):
        return _explain(error.exceptions[0])
    if isinstance(error.__cause__, (OSError, BaseExceptionGroup)):
        return _explain(error.__cause__)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return (isinstance(error, OSError) and error.strerror) or str(error)
