"""Takes a server out of service without its clients noticing more than they must."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_socketio.socketio.measures import count_sessions

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drain:
    """What a drain has found.

    Args:
        sessions: how many sessions there are to be closed.
        has_begun: whether it begins with this call; otherwise it was under way, or the server does
            not serve.
    """

    sessions: int
    has_begun: bool


def drain(
    server: "Server", *, delay_s: float | None = None, window_s: float | None = None
) -> Drain:
    """Have a server stop in stages; it may be called any number of times (OPS-31).

    It is not ready from now on, and still accepts clients for the delay. Then its sessions are
    closed over the window: their clients connect to another server at that rate.

    Args:
        server: to be stopped.
        delay_s: None means what the options say. While a drain is under way, a time can bring its
            stages forward, and never puts them off.
        window_s: likewise.
    Raises:
        OptionError: a time is not a number of seconds.
    """
    has_begun = server.state == "serving"
    server.stop(delay_s=delay_s, window_s=window_s)
    found = Drain(count_sessions(server), has_begun)
    if has_begun:
        log.info("draining: %d sessions are to be closed", found.sessions)
    return found
