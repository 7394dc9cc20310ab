"""A snapshot of what a server does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a running server.

    Args:
        connections: open connections, whatever they carry.
        connections_refused: answered 503 for being too many, since the start.
        sessions: Engine.IO sessions of the Socket.IO path.
        sessions_unjoined: of those, whose clients have not joined a namespace yet.
        sessions_refused: requests for a session that were answered 503 or 429, as too many had not.
        sockets: sockets by namespace.
        joining: clients that are on their way into a namespace.
        packets_dropped: sent to clients that were gone or, if volatile, behind.
        handler_failures: handlers and middleware that raised.
        events_dropped: that still waited for their handlers, "disconnect" among them, when the
            server stopped.
        input_held: weight of what clients have sent and their handlers have not finished with; see
            input_bound_bytes.
        input_dropped: large packets whose clients were lost, or closed for an overload, before it
            was their turn to be decoded.
        defects: exceptions that only the last barrier stopped.
        sessions_saved: whose clients were lost and may go on with them; see state_recovery.
        sessions_recovered: that clients went on with.
        sessions_expired: that were given up, each told to on_session_expired.
        recoveries_refused: clients that came back, and had to begin anew.
    """

    connections: int
    connections_refused: int
    sessions: int
    sessions_unjoined: int
    sessions_refused: int
    sockets: dict[str, int]
    joining: int
    packets_dropped: int
    handler_failures: int
    events_dropped: int
    input_held: int
    input_dropped: int
    defects: int
    sessions_saved: int
    sessions_recovered: int
    sessions_expired: int
    recoveries_refused: int
