"""The traffic of connections or sessions, in plain numbers."""


class Traffic:
    """Packets and bytes, added up for each read, flush, POST or answer (OPS-20, LOG-12).

    Args:
        packets_in: packets of Engine.IO that were received, each attachment being one.
        bytes_in: read from the kernel, with TLS those of its records; or bodies that were received.
        packets_out: packets that were sent, each with its attachments. A connection counts pieces
            of output, which are packets if they are not written with Connection.write_apart. Those
            of a connection that speaks HTTP mean nothing.
        bytes_out: given to the kernel, with TLS those of its records; or bodies that were sent.
    """

    __slots__ = ("bytes_in", "bytes_out", "packets_in", "packets_out")

    def __init__(
        self, packets_in: int = 0, bytes_in: int = 0, packets_out: int = 0, bytes_out: int = 0
    ) -> None:
        self.packets_in = packets_in
        self.bytes_in = bytes_in
        self.packets_out = packets_out
        self.bytes_out = bytes_out

    def add(self, other: "Traffic") -> None:
        """Add what another one has carried."""
        self.packets_in += other.packets_in
        self.bytes_in += other.bytes_in
        self.packets_out += other.packets_out
        self.bytes_out += other.bytes_out
