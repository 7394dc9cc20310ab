"""Settings of a client, frozen, with their units in their names."""

import msgspec

from trio_socketio.option_checks import OptionGroup, check_path, check_range


class ClientOptions(OptionGroup, frozen=True, kw_only=True):
    """How a client behaves. The defaults are the reference's where it has the option.

    Args:
        path: where Socket.IO answers, unless the URL has a path; a trailing slash is added.
        connect_timeout_s: for a connection to open and for every namespace to answer.
        send_timeout_s: for the server to take what is sent to it.
        close_timeout_s: for saying goodbye.
        reconnect: whether to connect again when the connection is lost.
        reconnect_attempts: in a row, before it gives up; None is no bound.
        reconnect_delay_s: before the first attempt; doubles with each.
        reconnect_delay_max_s: the longest, before jitter.
        reconnect_jitter: how far a delay may be from its middle, 0 to 1.
        max_message_bytes: one message from the server with its attachments, or one polling body.
        output_bound_bytes: what may wait to be sent; an emit over it raises BufferFull.
        handler_queue: events of one namespace that wait for handlers, before reading stops.
    """

    _may_be_zero = frozenset(("reconnect_jitter",))

    path: str = "/socket.io/"
    connect_timeout_s: float = 20.0
    send_timeout_s: float = 20.0
    close_timeout_s: float = 2.0
    reconnect: bool = True
    reconnect_attempts: int | None = None
    reconnect_delay_s: float = 1.0
    reconnect_delay_max_s: float = 5.0
    reconnect_jitter: float = 0.5
    max_message_bytes: int = 1 << 24
    output_bound_bytes: int = 1 << 24
    handler_queue: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "reconnect_jitter", 0, 1)
        check_path(self.path)
        msgspec.structs.force_setattr(self, "path", self.path.rstrip("/") + "/")
