"""Listening sockets, TCP and Unix, and an accept loop that survives exhaustion."""

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from trio_socketio.errors import ConfigurationError

log = logging.getLogger(__name__)

BACKLOG: Final = 4096
_ACCEPTS_PER_LOOK: Final = 64
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_EXHAUSTED_WAIT_S: Final = 0.1


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


async def accept_forever(
    listener: socket.socket, on_accept: Callable[[socket.socket, str], None]
) -> None:
    """Hand over connections with the peer's address until cancelled.

    Out of descriptors or memory, it waits and tries again: clients wait in the backlog.
    """
    complained = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        for _ in range(_ACCEPTS_PER_LOOK):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # the client gave up before we came
                if not complained:
                    log.error("cannot accept connections: %s; trying again", error.strerror)
                    complained = True
                await trio.sleep(_EXHAUSTED_WAIT_S)
                break
            complained = False
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            on_accept(sock, peer[0] if isinstance(peer, tuple) else "")
