"""A snapshot of what a server does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of a running server.

    Args:
        connections: open connections, whatever they carry.
        connections_refused: connections answered 503 because there were too many, since the start.
        sessions: Engine.IO sessions of the Socket.IO path.
        sessions_unjoined: those of them whose clients have not joined a namespace yet.
        sessions_refused: requests for a session answered 503 or 429, because too many had not
            joined.
        sockets: sockets by namespace.
        joining: clients that are joining a namespace.
        packets_dropped: packets for clients that were gone, too far behind or, if volatile, behind
            at all.
        handler_failures: handlers, middleware and other functions of the program that raised.
        events_dropped: events that still waited for their handlers when the server stopped,
            "disconnect" among them; and events of clients that were not authenticated, which none
            was called for.
        input_held: weight of what clients have sent and their handlers have not finished with,
            without sockets whose waiting events weigh up to 1 KiB together; see input_bound_bytes.
        input_dropped: large packets whose clients were lost, or closed for an overload, before it
            was their turn to be decoded.
        defects: exceptions that only the last barrier stopped.
        sessions_saved: saved sessions whose clients are away and may go on with them.
        sessions_recovered: saved sessions that clients went on with.
        sessions_expired: saved sessions that were given up, each told to on_session_expired.
        recoveries_refused: clients that came back, and had to start a new session.
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
