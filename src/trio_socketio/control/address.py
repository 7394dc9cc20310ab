"""The addresses of control sockets: ``unix:PATH``, ``tcp:HOST:PORT`` and, for clients, ``tls:``.

It uses only the standard library, as the client for threads does.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple

from trio_socketio.errors import ConfigurationError

_FORMS: Final = "unix:PATH, tcp:HOST:PORT or tls:HOST:PORT"
_FILE: Final = "control.sock"


class Address(NamedTuple):
    """Where a control socket listens.

    Args:
        path: of the Unix socket; empty for TCP.
        host: a name or an address; empty for a Unix socket.
        port: of TCP; 0 for a Unix socket.
        secure: whether a client speaks TLS. A server speaks it when it has a certificate.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    secure: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.secure else 'tcp'}:{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether its text shows that only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name may stand for any address


def parse_address(text: str) -> Address:
    """Read the address of a control socket.

    Raises:
        ConfigurationError: it is not one.
    """
    given: object = text
    if not isinstance(given, str):
        raise ConfigurationError(f"an address is {_FORMS}, not {text!r}")
    kind, colon, where = text.partition(":")
    if kind == "unix" and where.startswith("~"):  # it would be the name of a folder
        raise ConfigurationError(f"{text!r}: write the whole path, as ~ is not expanded here")
    if kind == "unix" and where and "\0" not in where:
        return Address(path=where)
    host, _, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"{text!r}: an IPv6 address stands in brackets, as in tcp:[::1]:1")
    if kind not in ("tcp", "tls") or not colon or not host:
        hint = "" if colon or "/" not in text else f"; did you mean unix:{text}?"
        raise ConfigurationError(f"{text!r} is not an address: expected {_FORMS}{hint}")
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise ConfigurationError(f"{text!r}: {port!r} is not a port (0 to 65535)")
    return Address(host=host, port=int(port), secure=kind == "tls")


def default_address(environment: Mapping[str, str] = os.environ) -> str:
    """Return the address that is used by default.

    It is in the folder that systemd has made for the service, or in that of the user's session.

    Raises:
        ConfigurationError: the environment names no such folder.
    """
    if folder := environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return f"unix:{os.path.join(folder, _FILE)}"
    if folder := environment.get("XDG_RUNTIME_DIR", ""):
        return f"unix:{os.path.join(folder, 'trio-socketio', _FILE)}"
    raise ConfigurationError(
        "there is no address for the control socket: name one, such as unix:/run/NAME/control.sock,"
        " as neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set"
    )
