"""The options of the program itself: which app it serves, and where it listens."""

from pathlib import Path

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup


class AppOptions(OptionGroup, frozen=True, kw_only=True):
    """The app that is served.

    Args:
        spec: ``FILE.py[:NAME]`` or ``MODULE[:NAME]``, where NAME is a Server, or a function of
            ServerOptions that returns one; None means a small built-in lobby, or with [identity] a
            server with the namespaces that [identity] and [presence] name, where backends handle
            the events of clients over [control].
    """

    spec: str | None = None


class ListenOptions(OptionGroup, frozen=True, kw_only=True):
    """The addresses on which the server listens.

    Args:
        host: names or addresses to listen on; "all" is every address, IPv4 and IPv6.
        port: the TCP port; 0 takes a free one.
        unix: the path of a Unix socket to listen on instead of TCP.
        fds: inherited listening descriptors, which are used instead of both.
        certfile: the certificate chain for TLS in PEM form; None means no TLS.
        keyfile: its private key; None if certfile holds it.
    """

    _may_be_zero = frozenset(("port",))
    _reloadable = frozenset(("certfile", "keyfile"))

    host: tuple[str, ...] = ("127.0.0.1",)
    port: int = 3000
    unix: Path | None = None
    fds: tuple[int, ...] = ()
    certfile: Path | None = None
    keyfile: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port > 65535:
            raise OptionError("port", f"must be 0 to 65535, not {self.port}")
        if not self.host or not all(self.host):
            raise OptionError("host", "expected at least one name or address, and none empty")
        if any(number < 0 for number in self.fds):
            raise OptionError("fds", f"descriptors are 0 or more, not {list(self.fds)}")
