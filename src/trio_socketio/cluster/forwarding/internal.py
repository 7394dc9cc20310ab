"""Where a process listens for other nodes, and by what it knows them."""

from typing import TYPE_CHECKING, Final, NamedTuple

from trio_socketio.cluster.forwarding.credentials import Credentials
from trio_socketio.errors import OptionError
from trio_socketio.option_checks import MAX_PORT, join_host_port, split_host_port

if TYPE_CHECKING:
    from trio_socketio.cluster.options import ClusterOptions

_LOOPBACK: Final = "127.0.0.1"


class Internal(NamedTuple):
    """Where a process listens for other nodes.

    Args:
        host, port: the address; port 0 takes a free one.
        credentials: by what the nodes know one another.
        advertise: ``HOST:PORT``, which other nodes are told; None means where it listens.
        within: the node whose workers alone have these credentials; empty if all nodes have them.
    """

    host: str
    port: int
    credentials: Credentials
    advertise: str | None = None
    within: str = ""


def find_internal(
    options: "ClusterOptions", credentials: Credentials | None, worker: int = 1
) -> Internal | None:
    """Return what the options say; None if they have nothing passed on.

    Args:
        options: of the cluster.
        credentials: what was read from the files that they name; None if nothing is passed on.
        worker: the number of a worker: each one after the first takes the next port (WORK-51).
    Raises:
        OptionError: there are not as many ports.
    """
    if options.internal is None or credentials is None:
        return None
    advertise = options.internal_advertise
    if advertise is not None:
        advertise = join_host_port(*_shift("internal_advertise", advertise, worker))
    host, port = _shift("internal", options.internal, worker)
    return Internal(host, port, credentials, advertise)


def among_workers(secret: bytes, parent: str) -> Internal:
    """Return what workers use among themselves where nothing is configured (WORK-50).

    Args:
        secret: of their parent.
        parent: its node.
    """
    return Internal(_LOOPBACK, 0, Credentials((secret,)), within=parent)


def highest_port(workers: int) -> int:
    """Return the highest port that leaves one for each worker; each takes the next (WORK-53)."""
    return MAX_PORT - workers + 1


def _shift(option: str, address: str, worker: int) -> tuple[str, int]:
    host, port = split_host_port(option, address)
    if port > highest_port(worker):
        raise OptionError(option, f"leaves no port for worker {worker}: choose a lower one")
    return host, port + worker - 1 if port else 0
