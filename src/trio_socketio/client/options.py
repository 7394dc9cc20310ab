"""Settings of a client, frozen, with their units in their names."""

import msgspec

from trio_socketio.option_checks import OptionGroup, check_path, check_range


class ClientOptions(OptionGroup, frozen=True, kw_only=True):
    """How a client behaves. The defaults are the reference's where it has the option.

    Args:
        path: of Socket.IO, unless the URL has a path; a trailing slash is added.
        connect_timeout_s: how long opening a connection may take, and then joining the namespaces.
        send_timeout_s: how long the server may take nothing of what is sent to it.
        close_timeout_s: how long saying goodbye may take.
        reconnect: whether to connect again when the connection is lost.
        reconnect_attempts: how many attempts in a row are made; None means no bound.
        reconnect_delay_s: the delay before the first attempt; it doubles with each.
        reconnect_delay_max_s: the longest delay, before jitter.
        reconnect_jitter: how far a delay may be from its middle, 0 to 1.
        max_message_bytes: of one message from the server with its attachments, or one polling body.
        output_bound_bytes: how much may wait to be sent; an emit above it raises BufferFull.
        handler_queue: how many events of one namespace may wait for handlers before reading
            stops.
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
