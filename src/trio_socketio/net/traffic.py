"""What the connections of one kind have carried, in plain numbers."""


class Traffic:
    """Numbers that connections of one kind add to, at every read and every flush (OPS-20).

    Attributes:
        bytes_in, bytes_out: read from the kernel and given to it; with TLS, bytes of its records.
        connections: how many connections of this kind are open.
        packets_in: packets that were read.
        packets_out: packets that were sent, where those who send them count them.
        writes: pieces of output that were written, counted at the flush. On WebSocket each is a
            packet with its attachments, because what is not a packet is written with
            Connection.write_apart.
    """

    __slots__ = ("bytes_in", "bytes_out", "connections", "packets_in", "packets_out", "writes")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.connections = 0
        self.packets_in = 0
        self.packets_out = 0
        self.writes = 0
