"""The options of WebSocket frames."""

from trio_socketio.option_checks import OptionGroup, check_range


class PerMessageDeflate(OptionGroup, frozen=True, kw_only=True):
    """How WebSocket messages are compressed with clients that offer permessage-deflate.

    Without context takeover each message is compressed on its own: a connection keeps no window,
    and a broadcast is compressed once for all its receivers. With it messages get smaller, but each
    connection costs up to 300 KiB for what is sent and 40 KiB for what is received, and a broadcast
    is compressed anew for each receiver.

    Args:
        threshold_bytes: smaller messages are not compressed.
        level: the level of zlib, 1 (fast) to 9 (small).
        memory_level: the memory level of zlib, 1 (little memory) to 9 (fast).
        server_no_context_takeover: whether the server keeps no window for what it sends.
        client_no_context_takeover: whether the client keeps no window for what it sends.
        server_max_window_bits: the server's window as a power of two, 9 to 15; clients may ask for
            a smaller one.
        client_max_window_bits: the client's window, 9 to 15; asked of clients that support it.
    """

    _may_be_zero = frozenset(("threshold_bytes",))

    threshold_bytes: int = 1024
    level: int = 1
    memory_level: int = 8
    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "level", 1, 9)
        check_range(self, "memory_level", 1, 9)
        check_range(self, "server_max_window_bits", 9, 15)  # zlib does not support raw windows of 8
        check_range(self, "client_max_window_bits", 9, 15)
