"""Listening sockets, and an accept loop that outlives a lack of memory or descriptors."""

import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Final

import trio

from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.addresses import Address, resolve_hosts
from trio_socketio.runtime.poller import TURN_S

log = logging.getLogger(__name__)

BACKLOG: Final = 4096
_RETRY_S: Final = 0.1
TELL_S: Final = 10.0
"""The time between two log lines about failures of one kind, which clients can cause at will."""

_CLIENT_GONE: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "EINTR", "ENOPROTOOPT", "EOPNOTSUPP",
        "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET", "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Errors of the connection that was to be accepted, which Linux reports by accept. The next
connection may be fine."""
_NOT_HERE: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
_FREE_PORT_ATTEMPTS: Final = 20
_LONGEST_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103  # of sun_path, without its NUL


async def open_tcp_listeners(host: str | Sequence[str], port: int) -> list[socket.socket]:
    """Listen on every address that the hosts name, all on the same port (CMD-01).

    An address that this machine does not have, such as ``::1`` where IPv6 is off, is left out with
    a line in the log if its host has another one.

    Args:
        host: a name or address, or several; "all" is every address, IPv4 and IPv6.
        port: the port; 0 takes one that is free on all addresses.
    Raises:
        ConfigurationError: the port is taken or may not be taken, or a host has no address.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port must be 0 to 65535, not {port}")
    addresses = await resolve_hosts(host)
    attempts_left = 1 if port else _FREE_PORT_ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            return _listen_on_all(addresses, port)
        except AddressTaken:
            # Port 0: the one that the system chose for the first address is taken on another.
            if not attempts_left:
                raise


class AddressTaken(ConfigurationError):
    """Another program listens on this port, or on this Unix socket; another one may be free."""


def _listen_on_all(addresses: list[Address], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    missing: list[Address] = []
    try:
        for address in addresses:
            try:
                listeners.append(_listen(address, port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise _complaint(address, port, error) from error
                missing.append(address)  # CMD-02
            else:
                port = port or listeners[0].getsockname()[1]
        there = {address.host for address in addresses if address not in missing}
        for address in missing:
            if address.host not in there:
                raise _complaint(address, port, OSError(errno.EADDRNOTAVAIL, "not here"))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    for address in missing:
        log.info("not listening on %s: %s", address.show(port), address.absence)
    return listeners


def _listen(address: Address, port: int) -> socket.socket:
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            # Otherwise [::] would take the IPv4 port too on most systems, though not on all.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address.to_bind(port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _complaint(address: Address, port: int, error: OSError) -> ConfigurationError:
    where = f"cannot listen on {address.show(port)}"
    if error.errno == errno.EADDRINUSE:
        return AddressTaken(
            f"{where}: another program has it; end that one, or choose another port"
        )
    if error.errno in _NOT_HERE:
        return ConfigurationError(f"{where}: {address.absence}")
    if error.errno == errno.EACCES and 0 < port < 1024:
        return ConfigurationError(
            f"{where}: ports below 1024 need root, or CAP_NET_BIND_SERVICE on Linux"
        )
    return ConfigurationError(f"{where}: {error.strerror}")


def open_unix_listener(path: Path, mode: int = 0o660) -> socket.socket:
    """Listen on a Unix socket; a file that was left behind by a process that died is replaced.

    Args:
        path: the path of the socket's file.
        mode: the file's permissions.
    Raises:
        ConfigurationError: a running server has the path, it is not a socket, or it cannot be used.
    """
    check_unix_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        if path.exists():
            try:
                listener.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except FileNotFoundError:
                log.debug("%s has vanished: the program that had it has just ended", path)
            except BlockingIOError as error:  # a process listens there, and its backlog is full
                raise _taken(path) from error
            else:
                raise _taken(path)
        listener.bind(str(path))
        os.chmod(path, mode)  # before listen, because until then no client can connect
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror or error}") from error
    except ConfigurationError:
        listener.close()
        raise
    return listener


def check_unix_path(path: Path) -> None:
    """Check the path of a Unix socket as far as is possible without listening there.

    Raises:
        ConfigurationError: it is a file that is not a socket, or it cannot be used.
    """
    if "\0" in str(path):  # the system would take what is before it for the path
        raise ConfigurationError(f"cannot listen on {str(path)!r}: a path has no NUL")
    try:
        is_taken = path.exists() and not stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:  # too long, or not permitted
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror}") from error
    if is_taken:
        raise ConfigurationError(f"cannot listen on {path}: there is a file that is not a socket")
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise ConfigurationError(
            f"cannot listen on {path}: the path of a Unix socket has at most "
            f"{_LONGEST_PATH_BYTES} bytes"
        )
    if not path.parent.is_dir():
        raise ConfigurationError(f"cannot listen on {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"cannot listen on {path}: the server may not make files in the folder {path.parent}"
        )


def _taken(path: Path) -> AddressTaken:
    return AddressTaken(
        f"cannot listen on {path}: another program has it; end that one, or choose another path"
    )


async def need_no_place(_: str) -> None:
    """Stand in for what waits for a place, where nothing is bounded."""


@trio.lowlevel.enable_ki_protection
async def accept_forever(
    listener: socket.socket,
    on_accept: Callable[[socket.socket, str], None],
    wait_place: Callable[[str], Awaitable[None]] = need_no_place,
) -> None:
    """Accept connections, and hand them over, until cancelled.

    A failure costs at most the one connection (SYS-02). Without descriptors or memory the loop
    waits and tries again; clients wait in the backlog in the meantime.

    Args:
        listener: a non-blocking socket.
        on_accept: called with each connection and its peer's address, which is empty for a Unix
            socket. It owns the connection, and closes it if it raises.
        wait_place: awaited, with the address, before on_accept is called. It waits while the
            connection would be refused, if a place is about to become free.
    """
    accepting = Accepting(listener, on_accept, wait_place)
    while True:
        if await accepting.wait():
            ends = perf_counter() + TURN_S
            while await accepting.take() and perf_counter() <= ends:  # RUN-54
                pass
            await accepting.rest()


class Accepting:
    """Accepts the connections of one listening socket, one at a time.

    Args:
        listener: a non-blocking socket.
        on_accept: called with each connection; see accept_forever.
        wait_place: called before that; see accept_forever.
    """

    def __init__(
        self,
        listener: socket.socket,
        on_accept: Callable[[socket.socket, str], None],
        wait_place: Callable[[str], Awaitable[None]],
    ) -> None:
        self._listener = listener
        self._on_accept = on_accept
        self._wait_place = wait_place
        self._over_tcp = listener.family != socket.AF_UNIX
        self._is_exhausted = False
        self._exhausted = _Complaint("cannot accept connections: %s; trying again%s")
        self._lost = _Complaint(
            "a connection was accepted and could not be taken: %s; it is closed%s"
        )

    async def wait(self) -> bool:
        """Wait until there may be a connection; return whether that could be waited for."""
        try:
            await trio.lowlevel.wait_readable(self._listener)
        except OSError as error:  # the kernel has no memory or epoll watch for trio's own epoll
            self._exhausted.tell(error)
            await trio.sleep(_RETRY_S)
            return False
        return True

    async def take(self) -> bool:
        """Accept a connection if there is one; return whether there may be more.

        It is not a checkpoint unless the connection has to wait for a place.
        """
        try:
            sock, peer = self._listener.accept()
        except BlockingIOError:
            return False
        except (OSError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in _CLIENT_GONE:
                return True
            self._exhausted.tell(error)
            self._is_exhausted = True
            return False
        address = peer[0] if isinstance(peer, tuple) else ""
        try:
            _prepare(sock, over_tcp=self._over_tcp)
            try:
                await self._wait_place(address)  # RUN-58
            except BaseException:
                sock.close()
                raise
            self._on_accept(sock, address)
        except Exception as error:
            self._lost.tell(error)
        return True

    async def rest(self) -> None:
        """Wait a little if the system had nothing left for another connection."""
        if self._is_exhausted:
            self._is_exhausted = False
            await trio.sleep(_RETRY_S)


def _prepare(sock: socket.socket, *, over_tcp: bool) -> None:
    try:
        sock.setblocking(False)
        if over_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # for one, the connection may have been reset by now
        sock.close()
        raise


class _Complaint:
    """Logs failures of one kind: the first at once, then their number every TELL_S (SYS-03).

    Args:
        line: the format of the line; it takes the last error and the number.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        self._told_at = -inf
        self._untold = 0

    def tell(self, error: BaseException) -> None:
        """Log or count one more failure."""
        self._untold += 1
        now = trio.current_time()
        if now - self._told_at >= TELL_S:
            more = f" ({self._untold} times since the last line)" if self._untold > 1 else ""
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            log.error(self._line, reason, more)
            self._told_at = now
            self._untold = 0
