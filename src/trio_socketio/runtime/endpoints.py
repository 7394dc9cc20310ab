"""Where a program listens: TCP, Unix sockets, and sockets that it has inherited."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.listeners import open_tcp_listeners, open_unix_listener


class Endpoint(Protocol):
    """A place to listen."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """TLS is spoken with it; None means cleartext."""

    def listen(self) -> AbstractAsyncContextManager[list[socket.socket]]:
        """Listen while the block runs.

        Raises:
            ConfigurationError: that is not possible.
        """


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A TCP port.

    Args:
        host: a name or address, or several; "all" is every address, IPv4 and IPv6.
        port: the same on all of them; 0 takes a free one.
        tls: speak TLS.
    """

    host: str | Sequence[str] = "127.0.0.1"
    port: int = 3000
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """See Endpoint."""
        listeners = await open_tcp_listeners(self.host, self.port)
        try:
            yield listeners
        finally:
            _close(listeners)


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A Unix socket. A file left behind by a process that died is replaced.

    Args:
        path: of its file, which is removed at the end.
        mode: of the file.
        tls: speak TLS.
    """

    path: Path
    mode: int = 0o660
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """See Endpoint."""
        listener = open_unix_listener(self.path, self.mode)
        try:
            ours = os.stat(self.path)
            await trio.lowlevel.checkpoint()
            yield [listener]
        finally:
            listener.close()
            with suppress(OSError):  # a server that came after us has put its own file there
                if os.path.samestat(os.stat(self.path), ours):
                    os.unlink(self.path)


@dataclass(frozen=True, slots=True)
class InheritedEndpoint:
    """A listening socket that a parent process or systemd has opened.

    Args:
        fileno: its descriptor, which is this program's own from now on.
        tls: speak TLS.
    """

    fileno: int
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """See Endpoint."""
        try:
            listener = socket.socket(fileno=self.fileno)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on the inherited descriptor {self.fileno}: {error.strerror}"
            ) from error
        try:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ConfigurationError(
                    f"the inherited descriptor {self.fileno} is a socket that does not listen"
                )
            listener.setblocking(False)
            await trio.lowlevel.checkpoint()
            yield [listener]
        finally:
            listener.close()


@asynccontextmanager
async def bind(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """Open an endpoint's sockets now, and give one to listen at later.

    An address that cannot be used is known before anything else is started. Clients that come
    meanwhile wait until they are accepted.

    Raises:
        ConfigurationError: cannot listen there.
    """
    async with endpoint.listen() as listeners:
        yield _Bound(listeners, endpoint.tls)


class _Bound:
    """An endpoint whose sockets are open."""

    def __init__(self, listeners: list[socket.socket], tls: ssl.SSLContext | None) -> None:
        self._listeners = listeners
        self.tls = tls

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """See Endpoint. Clients that come after the block are refused at once."""
        try:
            await trio.lowlevel.checkpoint()
            yield self._listeners
        finally:
            _close(self._listeners)


def _close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
