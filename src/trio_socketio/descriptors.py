"""Raises the limit of open files as far as needed, and fits the number of connections to it."""

import sys
from dataclasses import dataclass
from math import inf
from typing import Final

if sys.platform != "win32":  # on Windows, sockets are not files and have no such limit
    import resource

RESERVE: Final = 128
"""Descriptors for everything but the connections of clients: listeners, files, Redis, and
connections that are only accepted to be refused."""
_USUAL_LIMIT: Final = 10_240  # macOS calls its limit infinite and allows this much


@dataclass(frozen=True, slots=True)
class Fitting:
    """The result of fit_descriptors.

    Args:
        max_connections: how many connections there may be.
        lowered: whether that is less than was wanted.
        change: a line for the log; empty if nothing has changed.
    """

    max_connections: int
    lowered: bool = False
    change: str = ""


def fit_descriptors(max_connections: int, *, forwards: bool = False) -> Fitting:
    """Raise the soft limit of open files as far as this number of connections needs it.

    Args:
        max_connections: how many connections there may be.
        forwards: whether a connection may lead to another node. It takes two descriptors then; and
            others of the same number lead here, which each take one.
    """
    if sys.platform == "win32":
        return Fitting(max_connections)
    each = 3 if forwards else 1
    needed = max_connections * each + RESERVE
    soft, hard = (
        inf if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    if soft >= needed:
        return Fitting(max_connections)
    limit = _raise_limit(soft, needed if hard == inf else hard)
    files = f"{limit:.0f} files" + (f" (raised from {soft:.0f})" if limit != soft else "")
    if limit >= needed:
        return Fitting(max_connections, change=f"this process may open {files}")
    fitting = int(limit - min(RESERVE, limit // 2)) // each
    why = f"max_connections is lowered from {max_connections} to {fitting}"
    return Fitting(
        fitting,
        lowered=True,
        change=f"{why}, because this process may open only {files}; to serve more, raise its hard "
        "limit (ulimit -Hn, or LimitNOFILE= of systemd)",
    )


def _raise_limit(soft: float, wanted: float) -> float:
    """Raise the soft limit if possible, and return the one that now holds."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for limit in (wanted, min(wanted, _USUAL_LIMIT)):
            if limit > soft:
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), hard))
                except (ValueError, OSError):
                    continue
                return limit
    return soft
