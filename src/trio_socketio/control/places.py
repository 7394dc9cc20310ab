"""The addresses of the control socket, and the folders of its Unix sockets."""

import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from trio_socketio.control.address import Address, parse_address
from trio_socketio.control.options import ControlOptions
from trio_socketio.errors import ConfigurationError
from trio_socketio.runtime.addresses import is_local
from trio_socketio.runtime.endpoints import (
    Endpoint,
    InheritedEndpoint,
    TcpEndpoint,
    UnixEndpoint,
)

_FOLDER_MODE: Final = 0o700
_SOCKET_MODE: Final = 0o660


def open_endpoints(
    options: ControlOptions, tls: ssl.SSLContext | None = None, inherited: Iterable[int] = ()
) -> list[Endpoint]:
    """Return the places to listen, and make the folders of Unix sockets that the options name.

    Args:
        options: of the control socket.
        tls: has the certificate that the options name; None means cleartext.
        inherited: descriptors of sockets that systemd has opened for it.
    Raises:
        ConfigurationError: a folder cannot be used.
    """
    # No Unix socket speaks TLS: the permissions of its file say who may call.
    endpoints: list[Endpoint] = [
        InheritedEndpoint(number, None if _is_unix(number) else tls) for number in inherited
    ]
    for text in options.listen:
        address: Address = parse_address(text)
        if address.path:
            path = Path(address.path)
            prepare_folder(path.parent)
            endpoints.append(UnixEndpoint(path, _SOCKET_MODE))
        else:
            endpoints.append(TcpEndpoint(address.host, address.port, tls))
    return endpoints


def _is_unix(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as sock:
            return sock.family == socket.AF_UNIX
    except OSError:  # to listen there fails too, and tells
        return False


def check_exposure(endpoint: Endpoint, listener: socket.socket, *, has_tokens: bool) -> None:
    """Check who could connect to a socket that is bound (CONTROL-81).

    The options are checked where they are written, but systemd may hand over any socket, and a name
    may stand for any address.

    Raises:
        ConfigurationError: callers could connect who must not, or secrets would pass in the clear.
    """
    where = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        _check_file(where)
    elif not has_tokens:  # CONTROL-11
        raise ConfigurationError(
            f"the control socket at {_show(where)} needs a token, as it is not a Unix socket: "
            "configure tokens in [control]"
        )
    elif endpoint.tls is None and not is_local(where):  # CONTROL-12
        raise ConfigurationError(
            f"secrets would pass in the clear to the control socket at {_show(where)}: set "
            "certfile in [control], or let it listen on 127.0.0.1"
        )


def _show(where: tuple[Any, ...]) -> str:
    return str(Address(host=str(where[0]), port=int(where[1])))


def _check_file(where: str | bytes) -> None:
    """Check the permissions of a Unix socket: a user who may write to it may call every method."""
    if not where or isinstance(where, bytes):  # an abstract socket has no permissions
        raise ConfigurationError(
            f"every user may connect to the control socket {where!r}: give it a path"
        )
    path = Path(os.fsdecode(where))
    try:
        mode, folder = path.stat().st_mode, path.parent.stat().st_mode
    except OSError as error:
        raise ConfigurationError(
            f"cannot look at the control socket {path}: {error.strerror}"
        ) from None
    if mode & stat.S_IWOTH and folder & stat.S_IXOTH:
        raise ConfigurationError(
            f"every user may connect to the control socket {path}: set its mode to 0660, which is "
            "SocketMode=0660 in a socket unit of systemd"
        )


def prepare_folder(folder: Path) -> None:
    """Make the folder of a Unix socket, accessible to our user alone, or check it (CONTROL-10).

    Raises:
        ConfigurationError: it cannot be made, or others may write to it.
    """
    try:
        folder.mkdir(_FOLDER_MODE, exist_ok=True)
    except OSError as error:
        raise _cannot_make(folder, error.strerror) from None
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Check the folder of a Unix socket; if it does not exist, the folder that will contain it.

    A user who may write to the folder could replace our socket by another one.

    Raises:
        ConfigurationError: it cannot be made, or others may write to it.
    """
    try:
        there = folder.stat()
    except FileNotFoundError:
        if not folder.parent.is_dir():
            raise _cannot_make(folder, f"there is no folder {folder.parent}") from None
        if not os.access(folder.parent, os.W_OK | os.X_OK):
            raise _cannot_make(folder, os.strerror(errno.EACCES)) from None
        return
    except OSError as error:
        raise _cannot_make(folder, error.strerror) from None
    if not stat.S_ISDIR(there.st_mode):
        raise _cannot_make(folder, "there is a file with this name")
    if there.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"the folder {folder} of the control socket belongs to another user: its owner could "
            "replace the socket"
        )
    if there.st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"every user may write to the folder {folder}: put the control socket into a folder of "
            f"its own, such as {folder / 'trio-socketio' / 'control.sock'}"
        )


def _cannot_make(folder: Path, reason: str | None) -> ConfigurationError:
    return ConfigurationError(f"cannot make the folder {folder} for the control socket: {reason}")
