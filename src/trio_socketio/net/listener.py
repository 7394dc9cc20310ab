"""Listening sockets, TCP and Unix, and an accept loop that survives exhaustion."""

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Final

import trio

from trio_socketio.errors import ConfigurationError

log = logging.getLogger(__name__)

BACKLOG: Final = 4096
_ACCEPTS_PER_LOOK: Final = 64
_RETRY_S: Final = 0.1
TELL_S: Final = 10.0
"""Between two lines about failures of the same kind: clients can cause them at will."""

_CLIENT_GONE: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "EINTR", "ENOPROTOOPT", "EOPNOTSUPP",
        "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET", "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
"""Errors of the connection that was to be accepted; Linux hands them on. The next may be fine."""


async def open_tcp_listeners(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that host names.

    Raises:
        ConfigurationError: the port is taken or not ours to take, or the host has no address.
    """
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "this is no host name"
        raise ConfigurationError(f"cannot listen on {host!r}: {what}") from error
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(listeners) > 1:  # every address of a host on the same free port
                address = (address[0], listeners[0].getsockname()[1], *address[2:])
            try:
                listener.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or len(found) == 1:
                    raise
                listeners.remove(listener)  # such as ::1 where IPv6 is off
                listener.close()
            else:
                listener.listen(BACKLOG)
        if not listeners:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except OSError as error:
        for listener in listeners:
            listener.close()
        hint = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigurationError(f"cannot listen on {host}:{port}: {hint}") from error
    return listeners


def open_unix_listener(path: Path, mode: int = 0o660) -> socket.socket:
    """Listen on a Unix socket; a file left behind by a process that died is replaced.

    Raises:
        ConfigurationError: the path is taken by a live server or by something else.
    """
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigurationError(f"cannot listen on {path}: there is a file that is no socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            try:
                listener.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise ConfigurationError(f"cannot listen on {path}: another program has it")
        listener.setblocking(False)
        listener.bind(str(path))
        os.chmod(path, mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror or error}") from error
    except ConfigurationError:
        listener.close()
        raise
    return listener


@trio.lowlevel.enable_ki_protection
async def accept_forever(
    listener: socket.socket, on_accept: Callable[[socket.socket, str], None]
) -> None:
    """Hand over connections with the peer's address until cancelled.

    What fails costs at most the one connection. Out of descriptors or memory, it waits and tries
    again: clients wait in the backlog.

    Args:
        listener: non-blocking.
        on_accept: owns the socket from then on, and closes it if it raises.
    """
    exhausted, lost = (
        _Complaint("cannot accept connections: %s; trying again%s"),
        _Complaint("a connection was accepted and could not be taken: %s; it is closed%s"),
    )
    while True:
        try:
            await trio.lowlevel.wait_readable(listener)
        except OSError as error:  # trio's own epoll object had no memory or slot for it
            exhausted.tell(error)
            await trio.sleep(_RETRY_S)
            continue
        for _ in range(_ACCEPTS_PER_LOOK):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                break
            except (OSError, MemoryError) as error:
                if isinstance(error, OSError) and error.errno in _CLIENT_GONE:
                    continue
                exhausted.tell(error)
                await trio.sleep(_RETRY_S)
                break
            try:
                _prepare(sock)
                on_accept(sock, peer[0] if isinstance(peer, tuple) else "")
            except Exception as error:
                lost.tell(error)


def _prepare(sock: socket.socket) -> None:
    try:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # such as a connection that was reset meanwhile
        sock.close()
        raise


class _Complaint:
    """Tells failures of one kind, the first at once, then how many there were every TELL_S.

    Args:
        line: for the log; takes the last error, and how many there were.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        self._told_at = -inf
        self._untold = 0

    def tell(self, error: BaseException) -> None:
        """One more."""
        self._untold += 1
        now = trio.current_time()
        if now - self._told_at >= TELL_S:
            more = f" ({self._untold} times since the last line)" if self._untold > 1 else ""
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            log.error(self._line, reason, more)
            self._told_at = now
            self._untold = 0
