"""Takes a server out of service with as little disturbance to its clients as possible."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trio_socketio.socketio.measures import count_sessions

if TYPE_CHECKING:
    from trio_socketio.socketio.server import Server

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drain:
    """The state of the server when a drain was asked for.

    Args:
        sessions: how many sessions are to be closed.
        has_begun: whether the drain begins with this call; otherwise one was under way, or the
            server is not serving.
    """

    sessions: int
    has_begun: bool


def drain(
    server: "Server", *, delay_s: float | None = None, window_s: float | None = None
) -> Drain:
    """Make a server stop in stages; may be called any number of times (OPS-31).

    From now on the server is not ready, but it accepts clients until the delay is over. Then its
    sessions are closed over the window, so their clients reach other servers at that rate.

    Args:
        server: the server to stop.
        delay_s: None means the value of the options. While a drain is under way, a time can bring
            its stages forward, but never puts them off.
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
