"""The kinds of places where a program can listen: TCP, Unix sockets, inherited sockets."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from trio_socketio.errors import ConfigurationError, OptionError
from trio_socketio.runtime.listeners import AddressTaken, open_tcp_listeners, open_unix_listener


class Endpoint(Protocol):
    """A place to listen."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context for TLS; None means cleartext."""

    def listen(self) -> AbstractAsyncContextManager[list[socket.socket]]:
        """Listen while the block runs, which is given the listening sockets.

        Raises:
            ConfigurationError: it is not possible to listen there.
        """


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A TCP port.

    Args:
        host: a name or address, or several; "all" is every address, IPv4 and IPv6.
        port: the port, the same on all addresses; 0 takes a free one.
        tls: the context for TLS; None means cleartext.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    host: str | Sequence[str] = "127.0.0.1"
    port: int = 3000
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        _check_host(self.host)
        _check_number("port", self.port, 65535)
        _check_tls(self.tls)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """Listen on all addresses of the host while the block runs."""
        listeners = await open_tcp_listeners(self.host, self.port)
        try:
            yield listeners
        finally:
            _close(listeners)


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A Unix socket. A file that was left behind by a process that died is replaced.

    Args:
        path: the path of its file, which is removed at the end. Text becomes a Path.
        mode: the file's permissions.
        tls: the context for TLS; None means cleartext.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    path: Path | str
    mode: int = 0o660
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _as_path(self.path))
        _check_number("mode", self.mode, 0o7777, "0o{:o}")
        _check_tls(self.tls)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """Listen on the Unix socket while the block runs."""
        listener = open_unix_listener(Path(self.path), self.mode)
        try:
            ours = os.stat(self.path)
        except OSError as error:  # another process has removed the file at once
            listener.close()
            raise ConfigurationError(f"cannot listen on {self.path}: {error.strerror}") from error
        try:
            await trio.lowlevel.checkpoint()
            yield [listener]
        finally:
            listener.close()
            with suppress(OSError):  # the file may be gone already
                # A server that started after us may have put its own file there.
                if os.path.samestat(os.stat(self.path), ours):
                    os.unlink(self.path)


@dataclass(frozen=True, slots=True)
class InheritedEndpoint:
    """A listening socket that a parent process or systemd has opened.

    Args:
        fileno: its descriptor, which is closed at the end.
        tls: the context for TLS; None means cleartext.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    fileno: int
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        _check_number("fileno", self.fileno, 2**31 - 1)
        _check_tls(self.tls)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """Listen on the inherited socket while the block runs."""
        try:
            listener = socket.socket(fileno=self.fileno)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on the inherited descriptor {self.fileno}: {error.strerror}"
            ) from error
        try:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):  # RUN-06
                raise ConfigurationError(
                    f"the inherited descriptor {self.fileno} is a socket that does not listen"
                )
            listener.setblocking(False)
            await trio.lowlevel.checkpoint()
            yield [listener]
        finally:
            listener.close()


class CheckedEndpoint:
    """An endpoint whose sockets are checked when they are bound, before any peer is accepted.

    Args:
        endpoint: where to listen.
        check: called with the endpoint and each of its listening sockets. It raises
            ConfigurationError if no peer may be accepted there.
    """

    def __init__(
        self, endpoint: Endpoint, check: Callable[[Endpoint, socket.socket], None]
    ) -> None:
        self._endpoint = endpoint
        self._check = check

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._endpoint.tls

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        async with self._endpoint.listen() as listeners:
            for listener in listeners:
                self._check(self._endpoint, listener)
            yield listeners


class RenewableEndpoint:
    """An endpoint whose certificate can be renewed while it is listened on.

    Open connections keep the context with which they began (CFG-15).

    Args:
        endpoint: where to listen, and the first context.
        option: the option that says where; it is named if another program listens there (CMD-13).
    """

    def __init__(self, endpoint: Endpoint, option: str = "") -> None:
        self._endpoint = endpoint
        self._option = option
        self._tls = endpoint.tls

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._tls

    def renew(self, tls: ssl.SSLContext) -> None:
        """Use this context for every connection that is accepted from now on."""
        self._tls = tls

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        async with AsyncExitStack() as stack:
            try:
                listeners = await stack.enter_async_context(self._endpoint.listen())
            except AddressTaken as error:
                if not self._option:
                    raise
                raise AddressTaken(f"{self._option}: {error}") from error
            yield listeners


@asynccontextmanager
async def bind(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """Open an endpoint's sockets now, for a block in which they are listened on later.

    So an address that cannot be used is an error before anything else is started (RUN-07). Clients
    that connect in the meantime wait in the backlog.

    Raises:
        ConfigurationError: it is not possible to listen there.
    """
    async with endpoint.listen() as listeners:
        yield _Bound(listeners, endpoint)


class _Bound:
    """An endpoint whose sockets are open already."""

    def __init__(self, listeners: list[socket.socket], endpoint: Endpoint) -> None:
        self._listeners = listeners
        self._endpoint = endpoint

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._endpoint.tls

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """Listen while the block runs; clients that come after it are refused at once."""
        try:
            await trio.lowlevel.checkpoint()
            yield self._listeners
        finally:
            _close(self._listeners)


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


# -- checks (RUN-40): a bad value is an error where it is written, not when the server starts


def _check_host(host: object) -> None:
    hosts = (host,) if isinstance(host, str) else host
    if isinstance(hosts, (bytes, bytearray)) or not isinstance(hosts, Sequence):
        raise OptionError("host", f"expected text or a sequence of texts, not {host!r}")
    if not hosts:
        raise OptionError("host", "must name at least one host")
    for name in hosts:
        if not isinstance(name, str) or not name:
            raise OptionError("host", f"a host is a name, an address or 'all', not {name!r}")


def _check_number(option: str, number: object, most: int, form: str = "{}") -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
        wanted = form.format(most)
        raise OptionError(option, f"expected a whole number from 0 to {wanted}, not {number!r}")


def _as_path(path: object) -> Path:
    if not isinstance(path, (str, Path)):
        raise OptionError("path", f"expected a pathlib.Path or text, not {path!r}")
    if not path or "\0" in str(path):  # the kernel's abstract sockets are not files
        raise OptionError("path", f"{path!r} cannot be the path of a file")
    return Path(path)


def _check_tls(tls: object) -> None:
    if tls is None:
        return
    if not isinstance(tls, ssl.SSLContext):
        raise OptionError("tls", f"expected an ssl.SSLContext or None, not {tls!r}")
    if tls.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise OptionError(
            "tls",
            "this context is for clients; a server needs ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) "
            "or ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)",
        )
