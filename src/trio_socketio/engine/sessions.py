"""The lines of the log about sessions: one when a session opens, and one when it ends."""

import logging
from time import time
from typing import TYPE_CHECKING, Any, Final

from trio_socketio.engine.ids import shorten_sid
from trio_socketio.net.traffic import Traffic
from trio_socketio.runtime.sampling import SESSIONS, SampledLog

if TYPE_CHECKING:
    from trio_socketio.engine.session import Session
    from trio_socketio.engine.transport import Transport
    from trio_socketio.net.driving import Timetable

log = logging.getLogger(__name__)

MAX_USER_AGENT: Final = 160
"""The most characters of a client's User-Agent that are logged."""


class SessionLog:
    """Logs sessions that open and end, and sums up those that come too fast (LOG-10, LOG-13).

    Args:
        deadlines: those of the runtime.
    """

    def __init__(self, deadlines: "Timetable | None" = None) -> None:
        self._lines = SampledLog(log, logging.INFO, SESSIONS, deadlines)

    def opened(self, session: "Session") -> None:
        """Log that a session has opened."""
        if self._lines.admits("sessions opened"):
            fields = _describe(session, session.transport)
            log.info(
                "session %(session)s opened: %(transport)s from %(address)s, "
                "Engine.IO %(eio)d, %(user_agent)r",
                fields,
                extra={"fields": fields},
            )

    def closed(self, session: "Session", transport: "Transport") -> None:
        """Log that a session has ended.

        Args:
            session: the session that has ended.
            transport: the last transport of the session, which still has its counts.
        """
        if not self._lines.admits("sessions ended"):
            return
        earlier = session._earlier
        traffic = Traffic()
        for part in (earlier, transport.traffic):
            if part is not None:
                traffic.add(part)
        fields = _describe(session, transport.name)
        fields |= {
            "upgraded": earlier is not None,
            "reason": session.reason,
            "duration_s": round(max(0.0, time() - session.handshake.issued_s), 3),
            "packets_in": traffic.packets_in,
            "bytes_in": traffic.bytes_in,
            "packets_out": traffic.packets_out,
            "bytes_out": traffic.bytes_out,
        }
        log.info(
            "session %s ended: %s after %.1f s; %s%s from %s, Engine.IO %d, %r; "
            "in %d packets, %d bytes; out %d packets, %d bytes",
            fields["session"],
            session.reason,
            fields["duration_s"],
            transport.name,
            " (upgraded)" if earlier is not None else "",
            fields["address"],
            session.protocol,
            fields["user_agent"],
            traffic.packets_in,
            traffic.bytes_in,
            traffic.packets_out,
            traffic.bytes_out,
            extra={"fields": fields},
        )

    def flush(self) -> None:
        """Write the sums of the lines that were only counted, because the server stops."""
        self._lines.flush()


def _describe(session: "Session", transport: str) -> dict[str, Any]:
    """Return the fields that both lines have."""
    handshake = session.handshake
    user_agent = handshake.find_header("user-agent")
    return {
        "session": shorten_sid(session.sid),
        "transport": transport,
        "address": show_address(handshake.address),
        "eio": session.protocol,
        "user_agent": shorten(user_agent, MAX_USER_AGENT),
    }


def show_address(address: str) -> str:
    """Return an address for the log. The scope of an address from a proxy can be any text."""
    if not address:
        return "a Unix socket"
    return address if address.isprintable() else ascii(address)


def shorten(text: str, most: int) -> str:
    """Cut text from a client, so that it cannot make a line long (LOG-25)."""
    return text if len(text) <= most else f"{text[:most]}..."
