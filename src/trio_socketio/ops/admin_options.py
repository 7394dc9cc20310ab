"""The options of the port for operators."""

from pathlib import Path

from trio_socketio.errors import OptionError
from trio_socketio.option_checks import OptionGroup, split_host_port


class AdminOptions(OptionGroup, frozen=True, kw_only=True):
    """The port that serves the health and the metrics of the program.

    Args:
        listen: ``HOST:PORT``, where an IPv6 address stands in brackets; None means no such port.
        certfile: the certificate chain for TLS; None means cleartext.
        keyfile: its private key; None if certfile holds it.
        hosts: further names that the Host header of a request may have, besides addresses,
            localhost and the host of `listen`. Any other name could be that of a hostile page.
        allow_cleartext: whether other machines may send their tokens without TLS, such as a proxy
            that speaks TLS for the port, or a monitoring system on a private network.
        open_health: whether /livez and /readyz need no token from other machines either, as for a
            load balancer or an orchestrator, which can send none. They show why the program is not
            ready. If there are no tokens, nothing else is served to other machines then.
        max_connections: how many connections may be open; further ones are answered 503.
    """

    _reloadable = frozenset(("certfile", "keyfile"))

    listen: str | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    hosts: tuple[str, ...] = ()
    allow_cleartext: bool = False
    open_health: bool = False
    max_connections: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listen is not None:
            split_listen(self.listen)
        check_names("hosts", self.hosts)
        if self.keyfile is not None and self.certfile is None:
            raise OptionError("keyfile", "has no effect without certfile")


def check_names(name: str, names: object) -> None:
    """Refuse a value that is not a list of names; text would be taken for a list of letters.

    Raises:
        OptionError: the value is something else.
    """
    if not isinstance(names, (tuple, list)) or not all(isinstance(one, str) for one in names):
        raise OptionError(name, f"expected a list of names, not {names!r}")


def split_listen(listen: str) -> tuple[str, int]:
    """Return the host and the port of ``HOST:PORT``.

    Raises:
        OptionError: the text is something else.
    """
    return split_host_port("listen", listen)
