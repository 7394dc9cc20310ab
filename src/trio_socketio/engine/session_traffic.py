"""What passes between a session and its client, in packets and bytes."""


class SessionTraffic:
    """Counts of one session or one transport.

    They are added up for each read, flush, POST or answer, so a message costs nothing (LOG-12).

    Args:
        packets_in: packets of Engine.IO that were received, each attachment being one.
        bytes_in: their WebSocket frames, or the bodies that brought them.
        packets_out: packets that were sent. One with attachments counts as one.
        bytes_out: their WebSocket frames, or the bodies that took them.
    """

    __slots__ = ("bytes_in", "bytes_out", "packets_in", "packets_out")

    def __init__(
        self, packets_in: int = 0, bytes_in: int = 0, packets_out: int = 0, bytes_out: int = 0
    ) -> None:
        self.packets_in = packets_in
        self.bytes_in = bytes_in
        self.packets_out = packets_out
        self.bytes_out = bytes_out

    def __add__(self, other: "SessionTraffic") -> "SessionTraffic":
        return SessionTraffic(
            self.packets_in + other.packets_in,
            self.bytes_in + other.bytes_in,
            self.packets_out + other.packets_out,
            self.bytes_out + other.bytes_out,
        )
