"""The addresses of the control socket, and the folders of its Unix sockets."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from trio_socketio.control.address import Address, parse_address
from trio_socketio.control.options import ControlOptions
from trio_socketio.errors import ConfigurationError
from trio_socketio.net.tls import create_context
from trio_socketio.runtime.endpoints import Endpoint, TcpEndpoint, UnixEndpoint

_FOLDER_MODE: Final = 0o700
_SOCKET_MODE: Final = 0o660


def open_endpoints(options: ControlOptions) -> list[Endpoint]:
    """Return the places to listen that options name; folders of Unix sockets are made.

    Raises:
        ConfigurationError: a certificate or a folder cannot be used.
    """
    tls = None
    if options.certfile is not None:
        tls = create_context(
            Path(options.certfile), Path(options.keyfile) if options.keyfile else None
        )
    endpoints: list[Endpoint] = []
    for text in options.listen:
        address: Address = parse_address(text)
        if address.path:
            path = Path(address.path)
            prepare_folder(path.parent)
            endpoints.append(UnixEndpoint(path, _SOCKET_MODE))
        else:
            endpoints.append(TcpEndpoint(address.host, address.port, tls))
    return endpoints


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
